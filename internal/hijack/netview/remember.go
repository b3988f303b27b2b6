//go:build linux

package netview

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
)

// Remember makes a kernel that is asked only once for the numbers of sysctl
// nodes, which takes a call or two for each part of a name. They are forgotten
// when the kernel is another.
func Remember(k Kernel) Kernel {
	if r, ok := k.(*remembering); ok {
		return r
	}
	return &remembering{Kernel: k}
}

type remembering struct {
	Kernel

	mu sync.Mutex
	of spclient.FD // what descriptor 0 is in the kernel that they are of
	// children are the nodes below a node, by its path.
	children map[string][]netbsd.Sysctlnode
}

// SysctlNode implements [Kernel].
func (r *remembering) SysctlNode(ctx context.Context, name string) ([]int32, netbsd.Sysctlnode, error) {
	var mib []int32
	var node netbsd.Sysctlnode
	path := ""
	for part := range strings.SplitSeq(name, ".") {
		children, err := r.below(ctx, path, mib)
		if err != nil {
			return nil, node, err
		}
		i := slices.IndexFunc(children, func(n netbsd.Sysctlnode) bool { return netbsd.CString(n.Name[:]) == part })
		if i < 0 {
			// What was not there may have come.
			return r.Kernel.SysctlNode(ctx, name)
		}
		node = children[i]
		mib = append(mib, node.Num)
		path += "." + part
	}
	return mib, node, nil
}

// below lists the nodes below a node.
func (r *remembering) below(ctx context.Context, path string, mib []int32) ([]netbsd.Sysctlnode, error) {
	of := r.FD(0)
	r.mu.Lock()
	if r.of != of {
		r.of, r.children = of, map[string][]netbsd.Sysctlnode{}
	}
	list, ok := r.children[path]
	r.mu.Unlock()
	if ok {
		return list, nil
	}
	list, err := r.Kernel.SysctlQuery(ctx, mib)
	if err != nil {
		// It may be a node that has no list.
		if refused(err) {
			return nil, nil
		}
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	// Who asked may have been the one that found the kernel lost.
	if r.of == of && r.FD(0) == of {
		r.children[path] = list
	}
	return list, nil
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
