//go:build linux

package procnet

import (
	"context"
	"fmt"
	"reflect"
	"slices"

	"rumptools/internal/hijack/netview"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
)

// moment is a kernel as it is at one time: it is asked each question once. It
// is for one goroutine, and for questions of which package netview asks several
// for one list.
type moment struct {
	netview.Kernel
	values   map[string][]byte
	nodes    map[string]node
	requests map[string]any
}

type node struct {
	mib  []int32
	node netbsd.Sysctlnode
	err  error
}

func newMoment(k netview.Kernel) *moment {
	return &moment{k, map[string][]byte{}, map[string]node{}, map[string]any{}}
}

// SysctlBytes implements [netview.Kernel].
func (m *moment) SysctlBytes(ctx context.Context, mib []int32) ([]byte, error) {
	key := fmt.Sprint(mib)
	if b, ok := m.values[key]; ok {
		return b, nil
	}
	b, err := m.Kernel.SysctlBytes(ctx, mib)
	if err == nil {
		m.values[key] = b
	}
	return b, err
}

// SysctlNode implements [netview.Kernel]. That there is none is an answer, too.
func (m *moment) SysctlNode(ctx context.Context, name string) ([]int32, netbsd.Sysctlnode, error) {
	n, ok := m.nodes[name]
	if !ok {
		n.mib, n.node, n.err = m.Kernel.SysctlNode(ctx, name)
		m.nodes[name] = n
	}
	return slices.Clone(n.mib), n.node, n.err
}

// IoctlStruct implements [netview.Kernel]. Sockets of one family are all the
// same to the requests that are made here, none of which changes anything.
func (m *moment) IoctlStruct(ctx context.Context, fd spclient.FD, req *netbsd.Ioctl, v any) error {
	to := reflect.ValueOf(v).Elem()
	key := req.Name + string(netbsd.Marshal(m.Machine(), v))
	if answer, ok := m.requests[key]; ok {
		to.Set(reflect.ValueOf(answer))
		return nil
	}
	err := m.Kernel.IoctlStruct(ctx, fd, req, v)
	if err == nil {
		m.requests[key] = to.Interface()
	}
	return err
}
