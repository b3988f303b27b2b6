package trace

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"rumptools/pkg/netbsd"
)

func ip6(a [16]byte) string { return netip.AddrFrom16(a).String() }

// readMIB is the path that a call of sysctl(2) gives; nil if it was not read.
func (c *call) readMIB() []int32 {
	n := min(c.arg("namelen"), netbsd.CTL_MAXNAME)
	b := c.mem.read(fromClient, c.arg("name"), 4*n)
	if uint64(len(b)) < 4*n {
		return nil
	}
	mib := make([]int32, n)
	for i := range mib {
		mib[i] = int32(c.conn.machine.Order.Uint32(b[4*i:]))
	}
	return mib
}

// mib shows a path by the names of its nodes.
func (r *renderer) mib(addr uint64) string {
	mib := r.c.readMIB()
	if len(mib) == 0 {
		if r.c.arg("namelen") == 0 {
			return "[]"
		}
		return r.later(addr)
	}
	return r.t.sysctl.format(mib)
}

// sysctlArg shows the old or the new value of a node.
func (r *renderer) sysctlArg(a *netbsd.Arg, addr uint64) string {
	c := r.c
	dir := fromClient
	n := c.value(a.LenArg)
	if a.Kind == netbsd.ArgOut {
		dir = toClient
		var ok bool
		if n, ok = c.readLength(a); !ok || c.lost {
			return pointer(addr)
		}
	}
	b := c.mem.read(dir, addr, min(n, maxPiece))
	if len(b) == 0 {
		if dir == toClient {
			return pointer(addr)
		}
		return r.later(addr)
	}
	mib := c.readMIB()
	if len(mib) == 0 {
		return r.t.quote(b, n)
	}
	return r.sysctlValue(mib, b, n)
}

// sysctlValue shows the value of a node, n bytes of which b are known.
func (r *renderer) sysctlValue(mib []int32, b []byte, n uint64) string {
	switch last := mib[len(mib)-1]; last {
	case netbsd.CTL_QUERY, netbsd.CTL_CREATE, netbsd.CTL_DESTROY:
		return r.sysctlNodes(b, n)
	case netbsd.CTL_DESCRIBE:
		return r.sysctlDescriptions(b)
	}
	if len(mib) == 6 && mib[0] == netbsd.CTL_NET && mib[1] == netbsd.PF_ROUTE {
		return r.routeMessages(b)
	}
	if len(mib) == 2 && mib[0] == netbsd.CTL_KERN {
		switch {
		case mib[1] == netbsd.KERN_BOOTTIME && len(b) == typeSize(r.m, "timespec"):
			return r.structure(types["timespec"], b)
		case mib[1] == netbsd.KERN_CLOCKRATE && len(b) == netbsd.Sizeof(r.m, netbsd.Clockinfo{}):
			return r.structureOf(netbsd.Clockinfo{}, b)
		}
	}
	switch typ := r.t.sysctl.typeOf(mib); {
	case typ == netbsd.CTLTYPE_STRING:
		return r.t.quote([]byte(netbsd.CString(b)), min(n, uint64(len(netbsd.CString(b)))))
	case (typ == netbsd.CTLTYPE_INT || typ == 0) && n == 4 && len(b) == 4:
		return fmt.Sprintf("[%d]", int32(r.m.Order.Uint32(b)))
	case (typ == netbsd.CTLTYPE_QUAD || typ == 0) && n == 8 && len(b) == 8:
		return fmt.Sprintf("[%d]", r.m.Order.Uint64(b))
	case typ == netbsd.CTLTYPE_BOOL && n == 1:
		return fmt.Sprintf("[%t]", b[0] != 0)
	}
	if size := netbsd.Sizeof(r.m, netbsd.KinfoPcb{}); strings.HasSuffix(r.t.sysctl.format(mib[:max(len(mib)-4, 1)]), ".pcblist") && len(b) >= size {
		return r.pcbs(b, n)
	}
	return r.t.quote(b, n)
}

// pcbs shows a list of sockets.
func (r *renderer) pcbs(b []byte, n uint64) string {
	size := netbsd.Sizeof(r.m, netbsd.KinfoPcb{})
	var parts []string
	for i := uint64(0); i < n/uint64(size); i++ {
		if len(b) < size || len(parts) == maxElements && !r.t.o.Whole {
			parts = append(parts, "...")
			break
		}
		var v netbsd.KinfoPcb
		if netbsd.Unmarshal(r.m, b, &v) == nil {
			s := fmt.Sprintf("{ki_family=%s, ki_type=%s, ki_protocol=%s, ki_s=%s, ki_d=%s", netbsd.AddressFamilies.Format(int64(v.Family)),
				netbsd.SocketTypes.Format(int64(v.Type)), netbsd.IPProtocols.Format(int64(v.Protocol)),
				sockaddr(r.m, v.Src[:]), sockaddr(r.m, v.Dst[:]))
			if v.Protocol == netbsd.IPPROTO_TCP {
				s += ", ki_tstate=" + netbsd.TCPStates.Format(int64(v.Tstate))
			}
			parts = append(parts, s+"}")
		}
		b = b[size:]
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

// sysctlNodes shows nodes, as CTL_QUERY gives them.
func (r *renderer) sysctlNodes(b []byte, n uint64) string {
	size := netbsd.Sizeof(r.m, netbsd.Sysctlnode{})
	var parts []string
	for uint64(len(parts)) < n/uint64(size) {
		if len(b) < size || len(parts) == maxElements && !r.t.o.Whole {
			parts = append(parts, "...")
			break
		}
		var v netbsd.Sysctlnode
		if netbsd.Unmarshal(r.m, b, &v) == nil {
			if name := netbsd.CString(v.Name[:]); name == "" && v.Num == 0 {
				parts = append(parts, fmt.Sprintf("{sysctl_flags=SYSCTL_VERS_%d}", v.Flags>>24))
			} else {
				parts = append(parts, fmt.Sprintf("{sysctl_num=%d, sysctl_name=%s, %s}", v.Num, quoteBytes([]byte(name)),
					netbsd.SysctlTypes.Format(int64(v.Type()))))
			}
		}
		b = b[size:]
	}
	if len(parts) == 1 {
		return parts[0]
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

func (r *renderer) sysctlDescriptions(b []byte) string {
	var parts []string
	for len(b) >= netbsd.SysctldescStr {
		var v netbsd.Sysctldesc
		if netbsd.Unmarshal(r.m, b, &v) != nil {
			break
		}
		if len(parts) == maxElements && !r.t.o.Whole {
			parts = append(parts, "...")
			break
		}
		text := b[netbsd.SysctldescStr:]
		text = text[:min(uint64(v.Len), uint64(len(text)))]
		s := netbsd.CString(text)
		parts = append(parts, fmt.Sprintf("{descr_num=%d, descr_str=%s}", v.Num, r.t.quote([]byte(s), uint64(len(s)))))
		next := netbsd.SysctldescStr + (uint64(v.Len)+3)&^3
		b = b[min(next, uint64(len(b))):]
	}
	if len(parts) == 1 {
		return parts[0]
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

// sysctlNames are the names of sysctl nodes. Some have the same numbers
// everywhere; those of others are learnt from the answers of the kernel to
// CTL_QUERY.
type sysctlNames struct {
	nodes map[string]sysctlNode // by the path's numbers, "4.2.0.64"
}

type sysctlNode struct {
	name string
	typ  uint32 // CTLTYPE_*, 0 if it is not known
}

// maxNodes is how many nodes are learnt.
const maxNodes = 8192

func newSysctlNames() *sysctlNames { return &sysctlNames{nodes: make(map[string]sysctlNode)} }

func mibKey(mib []int32) string {
	var b []byte
	for _, n := range mib {
		b = strconv.AppendInt(b, int64(n), 10)
		b = append(b, '.')
	}
	return string(b)
}

// learn takes the names of nodes from a call that has succeeded.
func (s *sysctlNames) learn(c *call) {
	if c.num != netbsd.SYS___sysctl {
		return
	}
	mib := c.readMIB()
	if len(mib) == 0 || mib[len(mib)-1] != netbsd.CTL_QUERY {
		return
	}
	oldv := &c.info.Args[2]
	n, ok := c.readLength(oldv)
	if !ok {
		return
	}
	m := c.conn.machine
	size := netbsd.Sizeof(m, netbsd.Sysctlnode{})
	parent := mibKey(mib[:len(mib)-1])
	for b := c.mem.read(toClient, c.arg("oldv"), min(n, maxPiece*4)); len(b) >= size; b = b[size:] {
		var v netbsd.Sysctlnode
		if netbsd.Unmarshal(m, b, &v) != nil || v.Name[0] == 0 {
			continue
		}
		key := parent + strconv.Itoa(int(v.Num)) + "."
		if _, ok := s.nodes[key]; ok || len(s.nodes) < maxNodes {
			s.nodes[key] = sysctlNode{clip(netbsd.CString(v.Name[:])), v.Type()}
		}
	}
}

func (s *sysctlNames) lookup(mib []int32) (sysctlNode, bool) {
	key := mibKey(mib)
	if n, ok := s.nodes[key]; ok {
		return n, true
	}
	n, ok := fixedNodes[key]
	return n, ok
}

func (s *sysctlNames) typeOf(mib []int32) uint32 {
	n, _ := s.lookup(mib)
	return n.typ
}

// format shows a path: names as far as they are known, else numbers.
func (s *sysctlNames) format(mib []int32) string {
	parts := make([]string, len(mib))
	for i, n := range mib {
		if name, ok := netbsd.SysctlMeta.Name(int64(n)); ok && i == len(mib)-1 {
			parts[i] = name
			continue
		}
		if node, ok := s.lookup(mib[:i+1]); ok {
			parts[i] = node.name
			continue
		}
		parts[i] = strconv.Itoa(int(n))
		if mib[0] == netbsd.CTL_NET && len(mib) == 6 && mib[1] == netbsd.PF_ROUTE {
			switch i {
			case 3:
				parts[i] = netbsd.AddressFamilies.Format(int64(n))
				if n == 0 {
					parts[i] = "0"
				}
			case 4:
				parts[i] = netbsd.SysctlRoute.Format(int64(n))
			}
		}
	}
	return strings.Join(parts, ".")
}
