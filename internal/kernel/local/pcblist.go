package local

import (
	"slices"

	"rumptools/internal/kernel"
	"rumptools/pkg/netbsd"
)

// kernelAddress makes an address out of a socket's number: programs show them
// and tell sockets apart by them.
func kernelAddress(s *socket) uint64 {
	if s == nil {
		return 0
	}
	return 0x1000_0000 + s.id*0x100
}

// addSysctls adds net.local and the lists of its sockets.
func (d *Domain) addSysctls(k *kernel.Kernel) {
	dir := func(path, name string, num int32) {
		k.AddSysctl(path, &kernel.Node{Name: name, Num: num, Type: netbsd.CTLTYPE_NODE})
	}
	dir("net", "local", netbsd.PF_LOCAL)
	for _, kind := range []struct {
		name string
		typ  int32
	}{{"stream", netbsd.SOCK_STREAM}, {"seqpacket", netbsd.SOCK_SEQPACKET}, {"dgram", netbsd.SOCK_DGRAM}} {
		dir("net.local", kind.name, kind.typ)
		k.AddSysctl("net.local."+kind.name, &kernel.Node{
			Name: "pcblist", Num: netbsd.CTL_CREATE, Type: netbsd.CTLTYPE_NODE,
			Desc: "SOCK_" + kind.name + " protocol control block list",
			Get:  func(r *kernel.SysctlRequest) ([]byte, error) { return d.list(r, kind.typ) },
		})
	}
}

// probeRoom is how many sockets more than there are the caller should have
// room for.
const probeRoom = 10

// list is a pcblist: struct kinfo_pcb for each socket. The parameters are an
// operation, its argument, the size of an element and how many at most.
func (d *Domain) list(r *kernel.SysctlRequest, typ int32) ([]byte, error) {
	m := r.Machine()
	size := netbsd.Sizeof(m, netbsd.KinfoPcb{})
	if len(r.Params) != 4 {
		return nil, netbsd.EINVAL
	}
	limit := int(r.Params[3])
	if !r.Probe && int(r.Params[2]) != size {
		return nil, netbsd.EINVAL
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []*socket
	for s := range d.sockets {
		if s.typ == typ {
			all = append(all, s)
		}
	}
	slices.SortFunc(all, func(a, b *socket) int { return int(a.id) - int(b.id) })
	if r.Probe {
		return make([]byte, (len(all)+probeRoom)*size), nil
	}
	var out []byte
	for i, s := range all {
		if i >= limit {
			break
		}
		p := netbsd.KinfoPcb{
			Pcbaddr: kernelAddress(s), Sockaddr: kernelAddress(s),
			Family: netbsd.AF_LOCAL, Type: uint32(typ),
			Rcvq: uint64(s.queued), Conn: kernelAddress(s.peer),
		}
		copy(p.Src[:], orNone(s.addr))
		if s.peer != nil {
			copy(p.Dst[:], orNone(s.peerAddr))
		}
		out = netbsd.Append(m, out, &p)
	}
	return out, nil
}
