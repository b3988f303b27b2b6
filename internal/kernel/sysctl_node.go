package kernel

import "rumptools/pkg/netbsd"

// Node is a node of the sysctl tree (sysctl(7)). The functions are called
// concurrently.
type Node struct {
	// Num is the node's number below its parent; netbsd.CTL_CREATE has the
	// tree choose one.
	Num  int32
	Name string
	Desc string
	// Type is netbsd.CTLTYPE_NODE, _INT, _QUAD, _STRING, _BOOL or
	// _STRUCT.
	Type uint32
	// Size is the size in bytes of a value of fixed size, for queries; 0
	// for others.
	Size int
	// Get gives the value in the machine's layout. A node of type
	// CTLTYPE_NODE that has a Get takes what follows in the name as its
	// parameters, as net.route does.
	Get func(r *SysctlRequest) ([]byte, error)
	// Set takes a new value in the machine's layout. Without it the node
	// is read-only, and writing gives EPERM.
	Set func(r *SysctlRequest, value []byte) error

	children []*Node
	parent   *Node
	version  uint32
}

// Int is a read-only node of an int.
func Int(name string, num, v int32) *Node {
	return &Node{
		Name: name, Num: num, Type: netbsd.CTLTYPE_INT, Size: 4,
		Get: func(r *SysctlRequest) ([]byte, error) {
			return r.Machine().Order.AppendUint32(nil, uint32(v)), nil
		},
	}
}

// IntFunc is a node of an int that set, unless nil, changes.
func IntFunc(name string, num int32, get func() int32, set func(int32) error) *Node {
	n := &Node{
		Name: name, Num: num, Type: netbsd.CTLTYPE_INT, Size: 4,
		Get: func(r *SysctlRequest) ([]byte, error) {
			return r.Machine().Order.AppendUint32(nil, uint32(get())), nil
		},
	}
	if set != nil {
		n.Set = func(r *SysctlRequest, value []byte) error {
			return set(int32(r.Machine().Order.Uint32(value)))
		}
	}
	return n
}

// String is a read-only node of a string.
func String(name string, num int32, v string) *Node {
	return &Node{
		Name: name, Num: num, Type: netbsd.CTLTYPE_STRING, Size: len(v) + 1,
		Get: func(*SysctlRequest) ([]byte, error) { return append([]byte(v), 0), nil },
	}
}

// Struct is a read-only node of a structure that get makes.
func Struct(name string, num int32, get func(*SysctlRequest) any) *Node {
	return &Node{
		Name: name, Num: num, Type: netbsd.CTLTYPE_STRUCT,
		Get: func(r *SysctlRequest) ([]byte, error) { return netbsd.Marshal(r.Machine(), get(r)), nil },
	}
}

// SysctlRequest is a read or write of a sysctl value.
type SysctlRequest struct {
	*Call
	// Params are the numbers of the name after the node's own.
	Params []int32
	// Probe is set when the caller gave no buffer and asks for the size
	// only. A Get may then return more than it needs to leave room for
	// growth.
	Probe bool
	// Room is how many bytes the caller has room for.
	Room int
}

// Machine is the kernel's machine, for which values are laid out.
func (r *SysctlRequest) Machine() *netbsd.Machine { return r.Call.Machine() }
