//go:build linux

package netview

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
)

// Remember makes a kernel of which the numbers of sysctl nodes, which take a
// call for each part of a name, are asked for only once. They are forgotten when
// the kernel is another.
func Remember(k Kernel) Kernel { return &remembering{Kernel: k} }

type remembering struct {
	Kernel

	mu    sync.Mutex
	of    spclient.FD // what descriptor 0 is in the kernel that they are of
	nodes map[string]rememberedNode
}

type rememberedNode struct {
	mib  []int32
	node netbsd.Sysctlnode
}

// SysctlNode implements [Kernel].
func (r *remembering) SysctlNode(ctx context.Context, name string) ([]int32, netbsd.Sysctlnode, error) {
	of := r.FD(0)
	r.mu.Lock()
	if r.of != of {
		r.of, r.nodes = of, map[string]rememberedNode{}
	}
	n, ok := r.nodes[name]
	r.mu.Unlock()
	if ok {
		return slices.Clone(n.mib), n.node, nil
	}
	mib, node, err := r.Kernel.SysctlNode(ctx, name)
	if err != nil {
		return nil, node, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	// Who asked may have been the one that found the kernel lost.
	if r.of == of && r.FD(0) == of {
		r.nodes[name] = rememberedNode{slices.Clone(mib), node}
	}
	return mib, node, nil
}

// SysctlBytes implements [Kernel]. What another kernel than that of the numbers
// answers is not given, for they may mean something else there; net.route's are
// fixed.
func (r *remembering) SysctlBytes(ctx context.Context, mib []int32) ([]byte, error) {
	of := r.FD(0)
	b, err := r.Kernel.SysctlBytes(ctx, mib)
	fixed := len(mib) > 1 && mib[0] == netbsd.CTL_NET && mib[1] == netbsd.PF_ROUTE
	if err == nil && !fixed && r.FD(0) != of {
		return nil, fmt.Errorf("sysctl: %w", spclient.ErrLost)
	}
	return b, err
}
