//go:build linux

package procnet

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"sync"

	"rumptools/internal/hijack/netview"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
)

// moment is a kernel as it is at one time: it is asked each question once, by
// whoever is the first of several goroutines.
type moment struct {
	netview.Kernel
	values   answers[[]byte]
	nodes    answers[node]
	requests answers[any]
}

type node struct {
	mib  []int32
	node netbsd.Sysctlnode
}

// answers are the answers to questions of a kind.
type answers[T any] struct {
	mu   sync.Mutex
	list map[string]*answer[T]
}

type answer[T any] struct {
	once  sync.Once
	value T
	err   error
}

// of is the answer to a question, which ask asks. That there is none is one,
// too.
func (a *answers[T]) of(question string, ask func() (T, error)) (T, error) {
	a.mu.Lock()
	if a.list == nil {
		a.list = map[string]*answer[T]{}
	}
	w := a.list[question]
	if w == nil {
		w = new(answer[T])
		a.list[question] = w
	}
	a.mu.Unlock()
	w.once.Do(func() { w.value, w.err = ask() })
	return w.value, w.err
}

func newMoment(k netview.Kernel) *moment { return &moment{Kernel: k} }

// SysctlBytes implements [netview.Kernel].
func (m *moment) SysctlBytes(ctx context.Context, mib []int32) ([]byte, error) {
	return m.values.of(fmt.Sprint(mib), func() ([]byte, error) { return m.Kernel.SysctlBytes(ctx, mib) })
}

// SysctlNode implements [netview.Kernel].
func (m *moment) SysctlNode(ctx context.Context, name string) ([]int32, netbsd.Sysctlnode, error) {
	n, err := m.nodes.of(name, func() (node, error) {
		mib, n, err := m.Kernel.SysctlNode(ctx, name)
		return node{mib, n}, err
	})
	return slices.Clone(n.mib), n.node, err
}

// IoctlStruct implements [netview.Kernel]. Sockets of one family are all the
// same to the requests that are made here, none of which changes anything.
func (m *moment) IoctlStruct(ctx context.Context, fd spclient.FD, req *netbsd.Ioctl, v any) error {
	to := reflect.ValueOf(v).Elem()
	question := req.Name + string(netbsd.Marshal(m.Machine(), v))
	answer, err := m.requests.of(question, func() (any, error) {
		err := m.Kernel.IoctlStruct(ctx, fd, req, v)
		return to.Interface(), err
	})
	if err == nil {
		to.Set(reflect.ValueOf(answer))
	}
	return err
}
