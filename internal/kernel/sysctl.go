package kernel

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"rumptools/pkg/netbsd"
)

// sysctlTree is the tree of names. It is changed only before the kernel
// serves, but the interfaces' branches come and go with them.
type sysctlTree struct {
	mu   sync.RWMutex
	root *Node
	vers uint32
}

func newSysctlTree() *sysctlTree {
	t := &sysctlTree{root: &Node{Type: netbsd.CTLTYPE_NODE}}
	for _, top := range []struct {
		name string
		num  int32
		desc string
	}{
		{"kern", netbsd.CTL_KERN, "High kernel"},
		{"vm", netbsd.CTL_VM, "Virtual memory"},
		{"vfs", netbsd.CTL_VFS, "Virtual file system"},
		{"net", netbsd.CTL_NET, "Networking"},
		{"debug", netbsd.CTL_DEBUG, "Debugging"},
		{"hw", netbsd.CTL_HW, "Generic CPU, I/O"},
		{"machdep", netbsd.CTL_MACHDEP, "Machine dependent"},
		{"user", netbsd.CTL_USER, "User-level"},
	} {
		t.insert(t.root, &Node{Name: top.name, Num: top.num, Type: netbsd.CTLTYPE_NODE, Desc: top.desc})
	}
	return t
}

// AddSysctl adds a node. Its place is path, the names of its ancestors from
// the root with dots between: "net.inet.ip". Each must exist.
func (k *Kernel) AddSysctl(path string, n *Node) {
	t := k.sysctls
	t.mu.Lock()
	defer t.mu.Unlock()
	parent := t.root
	for _, name := range strings.Split(path, ".") {
		i := slices.IndexFunc(parent.children, func(c *Node) bool { return c.Name == name })
		if i < 0 {
			panic(fmt.Sprintf("kernel: sysctl %s has no parent %s", n.Name, path))
		}
		parent = parent.children[i]
	}
	t.insert(parent, n)
}

// dynamicNodes is where numbers begin that the kernel chooses (CREATE_BASE).
const dynamicNodes = 1024

// insert adds n below parent; children stand in the order of their numbers.
func (t *sysctlTree) insert(parent, n *Node) {
	if n.Num == netbsd.CTL_CREATE {
		n.Num = dynamicNodes
		for _, c := range parent.children {
			n.Num = max(n.Num, c.Num+1)
		}
	}
	t.vers++
	n.parent, n.version = parent, t.vers
	for p := parent; p != nil; p = p.parent {
		p.version = t.vers
	}
	i, dup := slices.BinarySearchFunc(parent.children, n.Num, func(c *Node, num int32) int { return int(c.Num) - int(num) })
	if dup {
		panic(fmt.Sprintf("kernel: sysctl %s has the number of %s", n.Name, parent.children[i].Name))
	}
	parent.children = slices.Insert(parent.children, i, n)
}

// find follows a name as far as there are nodes, and gives what is left of it.
func (t *sysctlTree) find(name []int32) (*Node, []int32, error) {
	n := t.root
	for len(name) > 0 && name[0] >= 0 {
		if n.Type != netbsd.CTLTYPE_NODE {
			return nil, nil, netbsd.ENOTDIR
		}
		if n.Get != nil {
			break
		}
		i := slices.IndexFunc(n.children, func(c *Node) bool { return c.Num == name[0] })
		if i < 0 {
			return nil, nil, netbsd.ENOENT
		}
		n, name = n.children[i], name[1:]
	}
	return n, name, nil
}

// maxSysctlNew is the most bytes of a new value.
const maxSysctlNew = 64 << 10

// sysSysctl is __sysctl(2).
func sysSysctl(c *Call) (uint64, error) {
	namep, namelen := c.args.Ptr(), c.args.Uint()
	oldp, oldlenp := c.args.Ptr(), c.args.Ptr()
	newp, newlen := c.args.Ptr(), c.args.Word()
	m := c.k.machine
	room := uint64(0)
	if oldlenp != 0 {
		b := make([]byte, m.WordSize)
		if err := c.CopyIn(oldlenp, b); err != nil {
			return 0, err
		}
		room = m.Word(b)
	}
	if namelen == 0 || namelen > netbsd.CTL_MAXNAME {
		return 0, netbsd.EINVAL
	}
	raw := make([]byte, 4*namelen)
	if err := c.CopyIn(namep, raw); err != nil {
		return 0, err
	}
	name := make([]int32, namelen)
	for i := range name {
		name[i] = int32(m.Order.Uint32(raw[4*i:]))
	}
	if newlen > maxSysctlNew {
		return 0, netbsd.EINVAL
	}
	req := &SysctlRequest{Call: c, Probe: oldp == 0, Room: int(min(room, 1<<30))}
	value, err := c.k.sysctls.access(req, name, newp, int(newlen))
	size := uint64(len(value))
	if err == nil && oldp != 0 && len(value) > 0 {
		fit := value[:min(size, room)]
		if cerr := c.CopyOut(oldp, fit); cerr != nil {
			return 0, cerr
		}
		if size > room {
			err = netbsd.ENOMEM
		}
	}
	if oldlenp != 0 {
		b := m.AppendWord(nil, size)
		if cerr := c.CopyOut(oldlenp, b); cerr != nil {
			return 0, cerr
		}
	}
	return 0, err
}

// access reads the old value and sets the new one.
func (t *sysctlTree) access(r *SysctlRequest, name []int32, newp uint64, newlen int) ([]byte, error) {
	if last := name[len(name)-1]; last == netbsd.CTL_QUERY || last == netbsd.CTL_DESCRIBE {
		return t.list(r, name, newp, newlen)
	}
	t.mu.RLock()
	n, rest, err := t.find(name)
	t.mu.RUnlock()
	switch {
	case err != nil:
		return nil, err
	case len(rest) > 0 && rest[0] < 0 && n.Type == netbsd.CTLTYPE_NODE && n.Get == nil:
		// CTL_CREATE and its kin: the tree is the kernel's own.
		return nil, netbsd.EPERM
	case len(rest) > 0 && n.Type != netbsd.CTLTYPE_NODE:
		return nil, netbsd.ENOTDIR
	case n.Get == nil:
		return nil, netbsd.EISDIR
	}
	r.Params = rest
	if newp != 0 && n.Set == nil {
		return nil, netbsd.EPERM
	}
	old, err := n.Get(r)
	if err != nil {
		return nil, err
	}
	if newp != 0 {
		if newlen != n.Size && (n.Type != netbsd.CTLTYPE_STRING || newlen > n.Size) {
			return nil, netbsd.EINVAL
		}
		value, err := r.buffer(newlen)
		if err != nil {
			return nil, err
		}
		if err := r.CopyIn(newp, value); err != nil {
			return nil, err
		}
		if err := n.Set(r, value); err != nil {
			return nil, err
		}
	}
	return old, nil
}

// list is CTL_QUERY and CTL_DESCRIBE, the last element of name, of the node
// before it.
func (t *sysctlTree) list(r *SysctlRequest, name []int32, newp uint64, newlen int) ([]byte, error) {
	// The caller's memory is asked for without the lock: the answer may take
	// for ever.
	given, badNew := t.checkVersion(r, newp, newlen)
	t.mu.RLock()
	defer t.mu.RUnlock()
	n, rest, err := t.find(name)
	switch {
	case err != nil:
		return nil, err
	case n.Type != netbsd.CTLTYPE_NODE:
		return nil, netbsd.ENOTDIR
	case len(rest) > 1:
		// Parameters, which have nothing below them.
		return nil, netbsd.ENOENT
	case badNew != nil:
		return nil, badNew
	case rest[0] == netbsd.CTL_QUERY:
		return t.query(r, n)
	}
	return t.describe(r, n, given)
}

// checkVersion sees that the caller's idea of struct sysctlnode is this one.
func (t *sysctlTree) checkVersion(r *SysctlRequest, newp uint64, newlen int) (*netbsd.Sysctlnode, error) {
	if newp == 0 {
		return nil, nil
	}
	var node netbsd.Sysctlnode
	if newlen != netbsd.Sizeof(r.Machine(), node) {
		return nil, netbsd.EINVAL
	}
	if err := r.copyInStruct(newp, &node); err != nil {
		return nil, err
	}
	if node.Flags&netbsd.SYSCTL_VERS_MASK != netbsd.SYSCTL_VERSION {
		return nil, netbsd.EINVAL
	}
	return &node, nil
}

// query is CTL_QUERY: the nodes below n.
func (t *sysctlTree) query(r *SysctlRequest, n *Node) ([]byte, error) {
	m := r.Machine()
	var out []byte
	for _, c := range n.children {
		node := netbsd.Sysctlnode{
			Flags: netbsd.SYSCTL_VERSION | netbsd.CTLFLAG_PERMANENT | c.Type,
			Num:   c.Num, Ver: c.version, Size: uint64(c.Size),
		}
		copy(node.Name[:], c.Name)
		if c.Type == netbsd.CTLTYPE_NODE {
			node.Size = uint64(netbsd.Sizeof(m, node))
			node.SetChildren(m, uint32(len(c.children)), uint32(len(c.children)))
		}
		if c.Set != nil {
			node.Flags |= netbsd.CTLFLAG_READWRITE
		}
		out = netbsd.Append(m, out, &node)
	}
	return out, nil
}

// describe is CTL_DESCRIBE: the descriptions of the nodes below n, or of the
// one that the caller names.
func (t *sysctlTree) describe(r *SysctlRequest, n *Node, only *netbsd.Sysctlnode) ([]byte, error) {
	m := r.Machine()
	var out []byte
	for _, c := range n.children {
		if only != nil && only.Num != c.Num {
			continue
		}
		out = m.Order.AppendUint32(out, uint32(c.Num))
		out = m.Order.AppendUint32(out, c.version)
		out = m.Order.AppendUint32(out, uint32(len(c.Desc)+1))
		out = append(append(out, c.Desc...), 0)
		for len(out)%4 != 0 {
			out = append(out, 0)
		}
	}
	if only != nil && out == nil {
		return nil, netbsd.ENOENT
	}
	return out, nil
}
