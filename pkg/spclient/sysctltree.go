package spclient

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"rumptools/pkg/netbsd"
)

// sysctlQueryGuess is the room for the children of a node that is tried first.
// Few nodes have more.
const sysctlQueryGuess = 64

// SysctlQuery returns the children of a node of the sysctl tree (CTL_QUERY),
// and those of the root for an empty mib.
func (c *Conn) SysctlQuery(ctx context.Context, mib []int32) ([]netbsd.Sysctlnode, error) {
	m := c.Machine()
	query := append(append(make([]int32, 0, maxMIB), mib...), netbsd.CTL_QUERY)
	version := netbsd.Marshal(m, &netbsd.Sysctlnode{Flags: netbsd.SYSCTL_VERSION})
	size := len(version)
	n := sysctlQueryGuess * size
	for range sysctlTries {
		buf := make([]byte, n)
		got, err := c.Sysctl(ctx, query, buf, version)
		if isErrno(err, netbsd.ENOMEM) {
			if got > MaxSysctl {
				break
			}
			n = max(got, n) + 8*size
			continue
		}
		if err != nil {
			return nil, err
		}
		nodes := make([]netbsd.Sysctlnode, got/size)
		for i := range nodes {
			if err := netbsd.Unmarshal(m, buf[i*size:], &nodes[i]); err != nil {
				return nil, err
			}
		}
		return nodes, nil
	}
	return nil, &SyscallError{"sysctl", netbsd.ENOMEM}
}

// SysctlNode finds a node of the sysctl tree by its name, "net.inet.ip.ttl". Parts
// of the name may be numbers. Names that the tree does not have, below a node
// that makes its own of them, must be numbers ("net.route.0.0.3.0"); the node
// that is returned is the last that the tree has.
func (c *Conn) SysctlNode(ctx context.Context, name string) ([]int32, netbsd.Sysctlnode, error) {
	var mib []int32
	node := netbsd.Sysctlnode{Flags: netbsd.CTLTYPE_NODE}
	for rest := strings.TrimPrefix(name, "."); rest != ""; {
		var part string
		part, rest, _ = strings.Cut(rest, ".")
		if len(mib) == maxMIB {
			return nil, node, noSysctl(name)
		}
		num, numErr := strconv.ParseInt(part, 10, 32)
		var found *netbsd.Sysctlnode
		if node.Type() == netbsd.CTLTYPE_NODE {
			children, err := c.SysctlQuery(ctx, mib)
			// A node that makes names of its own takes the question for one
			// of them, or for a change.
			var e *SyscallError
			if err != nil && (len(mib) == 0 || !errors.As(err, &e)) {
				return nil, node, sysctlOf(name, err)
			}
			for i := range children {
				ch := &children[i]
				if numErr == nil && ch.Num == int32(num) || netbsd.CString(ch.Name[:]) == part {
					found = ch
					break
				}
			}
		}
		switch {
		case found != nil:
			node = *found
			mib = append(mib, found.Num)
		case numErr == nil && len(mib) > 0:
			mib = append(mib, int32(num))
		default:
			return nil, node, noSysctl(name)
		}
	}
	if len(mib) == 0 {
		return nil, node, noSysctl(name)
	}
	return mib, node, nil
}

// noSysctl is the error for a name that the tree does not have.
func noSysctl(name string) error {
	return &SyscallError{"sysctl " + name, netbsd.ENOENT}
}

// SysctlByName reads a value by its name (sysctlbyname(3)) and returns the node
// that tells its type.
func (c *Conn) SysctlByName(ctx context.Context, name string) ([]byte, netbsd.Sysctlnode, error) {
	mib, node, err := c.SysctlNode(ctx, name)
	if err != nil {
		return nil, node, err
	}
	b, err := c.SysctlBytes(ctx, mib)
	if err != nil {
		err = sysctlOf(name, err)
	}
	return b, node, err
}

// sysctlOf puts a node's name into an error.
func sysctlOf(name string, err error) error {
	var e *SyscallError
	if errors.As(err, &e) {
		return &SyscallError{"sysctl " + name, e.Errno}
	}
	return fmt.Errorf("sysctl %s: %w", name, err)
}
