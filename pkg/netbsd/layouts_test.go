package netbsd

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
)

// structs maps C names to the structures of this package.
var structs = map[string]any{
	"bpf_dltlist":       BpfDltlist{},
	"bpf_hdr":           BpfHdr{},
	"bpf_insn":          BpfInsn{},
	"bpf_program":       BpfProgram{},
	"bpf_stat":          BpfStat{},
	"bpf_version":       BpfVersion{},
	"clockinfo":         Clockinfo{},
	"cmsghdr":           Cmsghdr{},
	"dirent":            Dirent{},
	"if_addrprefreq":    IfAddrprefreq{},
	"if_announcemsghdr": IfAnnouncemsghdr{},
	"if_clonereq":       IfClonereq{},
	"if_data":           IfData{},
	"if_laddrreq":       IfLaddrreq{},
	"if_msghdr":         IfMsghdr{},
	"ifa_msghdr":        IfaMsghdr{},
	"ifaliasreq":        Ifaliasreq{},
	"ifbaconf":          Ifbaconf{},
	"ifbareq":           Ifbareq{},
	"ifbifconf":         Ifbifconf{},
	"ifbreq":            Ifbreq{},
	"ifbrparam":         Ifbrparam{},
	"ifcapreq":          Ifcapreq{},
	"ifconf":            Ifconf{},
	"ifdatareq":         Ifdatareq{},
	"ifdrv":             Ifdrv{},
	"ifmediareq":        Ifmediareq{},
	"ifreq":             Ifreq{},
	"in6_addrlifetime":  In6Addrlifetime{},
	"in6_aliasreq":      In6Aliasreq{},
	"in6_defrouter":     In6Defrouter{},
	"in6_ifreq":         In6Ifreq{},
	"in6_nbrinfo":       In6Nbrinfo{},
	"in6_ndireq":        In6Ndireq{},
	"in6_pktinfo":       In6Pktinfo{},
	"in6_prefix":        In6Prefix{},
	"in_aliasreq":       InAliasreq{},
	"in_pktinfo":        InPktinfo{},
	"iovec":             Iovec{},
	"kevent":            Kevent{},
	"kinfo_file":        KinfoFile{},
	"kinfo_pcb":         KinfoPcb{},
	"linger":            Linger{},
	"loadavg":           Loadavg{},
	"mmsghdr":           Mmsghdr{},
	"msghdr":            Msghdr{},
	"nd_ifinfo":         NdIfinfo{},
	"pollfd":            Pollfd{},
	"rt_metrics":        RtMetrics{},
	"rt_msghdr":         RtMsghdr{},
	"sockaddr":          RawSockaddr{},
	"sockaddr_dl":       RawSockaddrDl{},
	"sockaddr_in":       RawSockaddrIn{},
	"sockaddr_in6":      RawSockaddrIn6{},
	"sockaddr_inarp":    RawSockaddrInarp{},
	"sockaddr_storage":  RawSockaddrStorage{},
	"sockaddr_un":       RawSockaddrUn{},
	"stat":              Stat{},
	"sysctldesc":        Sysctldesc{},
	"sysctlnode":        Sysctlnode{},
	"timespec":          Timespec{},
	"timeval":           Timeval{},
	"vlanreq":           Vlanreq{},
}

// otherStructs are the structures that compilers have not been asked about.
var otherStructs = []any{
	BpfDExt{}, Eccapreq{}, FdSet{}, Flock{}, Icmp6Filter{}, In6Addrpolicy{}, In6Drlist{},
	In6Ndifreq{}, IpMreq{}, Ipv6Mreq{}, Itimerspec{}, Itimerval{},
	KfilterMapping{}, KinfoDrivers{}, KinfoProc2{}, Ortentry{}, Rlimit{}, Rusage{}, Sockcred{}, Statvfs{},
	TcpInfo{}, Termios{}, Timespec50{}, Timeval50{}, Unpcbid{}, Winsize{},
}

// unionMembers are the offsets that accessors of unions use; the union's own
// offset is taken from its structure.
var unionMembers = map[string]func(m *Machine) (offset, size int){
	"ifreq!ifr_addr":                            func(*Machine) (int, int) { return 16, 16 },
	"ifreq!ifr_dstaddr":                         func(*Machine) (int, int) { return 16, 16 },
	"ifreq!ifr_broadaddr":                       func(*Machine) (int, int) { return 16, 16 },
	"ifreq!ifr_space":                           func(*Machine) (int, int) { return 16, 128 },
	"ifreq!ifr_flags":                           ifruMember(2, func(r *Ifreq, m *Machine) { r.SetFlags(m, 0xffff) }),
	"ifreq!ifr_metric":                          ifruMember(4, func(r *Ifreq, m *Machine) { r.SetMetric(m, -1) }),
	"ifreq!ifr_mtu":                             ifruMember(4, func(r *Ifreq, m *Machine) { r.SetMTU(m, -1) }),
	"ifreq!ifr_dlt":                             ifruMember(4, func(r *Ifreq, m *Machine) { r.SetValue(m, -1) }),
	"ifreq!ifr_value":                           ifruMember(4, func(r *Ifreq, m *Machine) { r.SetValue(m, -1) }),
	"ifreq!ifr_media":                           ifruMember(4, func(r *Ifreq, m *Machine) { r.SetValue(m, -1) }),
	"ifreq!ifr_data":                            ifruMember(0, func(r *Ifreq, m *Machine) { r.SetData(m, 1<<64-1) }),
	"ifreq!ifr_buf":                             ifruMember(0, func(r *Ifreq, m *Machine) { r.SetBuf(m, 1<<64-1, 0) }),
	"ifreq!ifr_buflen":                          ifruMember(4, func(r *Ifreq, m *Machine) { r.SetBuf(m, 0, 1<<32-1) }),
	"in6_ifreq!ifr_ifru.ifru_addr":              func(*Machine) (int, int) { return 16, 28 },
	"in6_ifreq!ifr_ifru.ifru_flags":             func(*Machine) (int, int) { return 16, 2 },
	"in6_ifreq!ifr_ifru.ifru_flags6":            in6IfruMember(func(r *In6Ifreq, m *Machine) { r.SetFlags6(m, -1) }),
	"in6_ifreq!ifr_ifru.ifru_metric":            func(*Machine) (int, int) { return 16, 4 },
	"in6_ifreq!ifr_ifru.ifru_data":              func(m *Machine) (int, int) { return 16, m.WordSize },
	"in6_ifreq!ifr_ifru.ifru_lifetime":          in6IfruMember(func(r *In6Ifreq, m *Machine) { r.SetLifetime(m, In6Addrlifetime{-1, -1, 1<<32 - 1, 1<<32 - 1}) }),
	"in6_ifreq!ifr_ifru.ifru_stat":              func(*Machine) (int, int) { return 16, 20 * 8 },
	"in6_ifreq!ifr_ifru.ifru_icmp6stat":         in6IfruMember(func(r *In6Ifreq, m *Machine) { fillStats(r, m) }),
	"ifaliasreq!ifra_broadaddr":                 func(m *Machine) (int, int) { return Offsetof(m, Ifaliasreq{}, "ifra_dstaddr"), 16 },
	"sysctlnode!sysctl_un.scu_alias":            sysctlUnMember(func(n *Sysctlnode, m *Machine) { n.SetIdata(m, -1) }),
	"sysctlnode!sysctl_un.scu_idata":            sysctlUnMember(func(n *Sysctlnode, m *Machine) { n.SetIdata(m, -1) }),
	"sysctlnode!sysctl_un.scu_qdata":            sysctlUnMember(func(n *Sysctlnode, m *Machine) { n.SetQdata(m, 1<<64-1) }),
	"sysctlnode!sysctl_un.scu_child.suc_csize":  sysctlUnMember(func(n *Sysctlnode, m *Machine) { n.SetChildren(m, 1<<32-1, 0) }),
	"sysctlnode!sysctl_un.scu_child.suc_clen":   sysctlUnMember(func(n *Sysctlnode, m *Machine) { n.SetChildren(m, 0, 1<<32-1) }),
	"sysctlnode!sysctl_un.scu_child._suc_child": func(*Machine) (int, int) { return 56, 8 },
	"sysctlnode!sysctl_un.scu_data._sud_data":   func(*Machine) (int, int) { return 48, 8 },
	"sysctlnode!sysctl_un.scu_data._sud_offset": func(*Machine) (int, int) { return 56, 8 },
}

// ones returns the offset of the first byte of b that is 0xff, and the number
// of such bytes.
func ones(b []byte) (offset, n int) {
	offset = strings.IndexByte(string(b), 0xff)
	for _, c := range b {
		if c == 0xff {
			n++
		}
	}
	return offset, n
}

func ifruMember(size int, set func(*Ifreq, *Machine)) func(*Machine) (int, int) {
	return func(m *Machine) (int, int) {
		var r Ifreq
		set(&r, m)
		offset, n := ones(Marshal(m, &r))
		if size != 0 && n != size {
			return -1, n
		}
		return offset, n
	}
}

func in6IfruMember(set func(*In6Ifreq, *Machine)) func(*Machine) (int, int) {
	return func(m *Machine) (int, int) {
		var r In6Ifreq
		set(&r, m)
		return ones(Marshal(m, &r))
	}
}

func fillStats(r *In6Ifreq, m *Machine) {
	for i := range 40 {
		r.SetStat(m, i, 1<<64-1)
	}
}

func sysctlUnMember(set func(*Sysctlnode, *Machine)) func(*Machine) (int, int) {
	return func(m *Machine) (int, int) {
		var n Sysctlnode
		set(&n, m)
		return ones(Marshal(m, &n))
	}
}

// constants are the constants of layouts.json.
var constants = map[string]func(m *Machine) int{
	"AF_INET6":           func(*Machine) int { return AF_INET6 },
	"AF_LINK":            func(*Machine) int { return AF_LINK },
	"AF_LOCAL":           func(*Machine) int { return AF_LOCAL },
	"AF_ROUTE":           func(*Machine) int { return AF_ROUTE },
	"BPF_ALIGNMENT":      func(m *Machine) int { return m.BpfAlign },
	"BPF_WORDALIGN(1)":   func(m *Machine) int { return BpfWordalign(m, 1) },
	"CMSG_LEN(0)":        func(m *Machine) int { return CmsgLen(m, 0) },
	"CMSG_LEN(4)":        func(m *Machine) int { return CmsgLen(m, 4) },
	"CMSG_SPACE(1)":      func(m *Machine) int { return CmsgSpace(m, 1) },
	"CMSG_SPACE(4)":      func(m *Machine) int { return CmsgSpace(m, 4) },
	"CTL_MAXNAME":        func(*Machine) int { return CTL_MAXNAME },
	"IFLINKSTR_QUERYLEN": func(*Machine) int { return IFLINKSTR_QUERYLEN },
	"IFLINKSTR_UNSET":    func(*Machine) int { return IFLINKSTR_UNSET },
	"IFNAMSIZ":           func(*Machine) int { return IFNAMSIZ },
	"IOCPARM_MAX":        func(*Machine) int { return IOCPARM_MAX },
	"MAXPATHLEN":         func(*Machine) int { return MAXPATHLEN },
	"NET_RT_DUMP":        func(*Machine) int { return NET_RT_DUMP },
	"NET_RT_FLAGS":       func(*Machine) int { return NET_RT_FLAGS },
	"NET_RT_IFLIST":      func(*Machine) int { return NET_RT_IFLIST },
	"PF_OROUTE":          func(*Machine) int { return PF_OROUTE },
	"RTM_CHGADDR":        func(*Machine) int { return RTM_CHGADDR },
	"RTM_DELADDR":        func(*Machine) int { return RTM_DELADDR },
	"RTM_IFINFO":         func(*Machine) int { return RTM_IFINFO },
	"RTM_NEWADDR":        func(*Machine) int { return RTM_NEWADDR },
	"RTM_VERSION":        func(*Machine) int { return RTM_VERSION },
	"RT_ROUNDUP(1)":      func(*Machine) int { return RoundUp(1) },
	"RT_ROUNDUP(16)":     func(*Machine) int { return RoundUp(16) },
	"RT_ROUNDUP(5)":      func(*Machine) int { return RoundUp(5) },
	"SYSCTL_NAMELEN":     func(*Machine) int { return SYSCTL_NAMELEN },
	"SYSCTL_VERSION":     func(*Machine) int { return SYSCTL_VERSION },
	"UIO_MAXIOV":         func(*Machine) int { return UIO_MAXIOV },
	"_SS_MAXSIZE":        func(*Machine) int { return SizeofSockaddrStorage },
	"sizeof(fd_set)":     func(m *Machine) int { return Sizeof(m, FdSet{}) },
	"sizeof(long)":       func(m *Machine) int { return Sizeof(m, Long(0)) },
	"sizeof(off_t)":      func(m *Machine) int { return Sizeof(m, int64(0)) },
	"sizeof(register_t)": func(m *Machine) int { return m.WordSize },
	"sizeof(size_t)":     func(m *Machine) int { return Sizeof(m, SizeT(0)) },
	"sizeof(socklen_t)":  func(m *Machine) int { return Sizeof(m, Msghdr{}.Namelen) },
	"sizeof(time_t)":     func(m *Machine) int { return Sizeof(m, Timespec{}.Sec) },
}

func layoutsJSON(t *testing.T) map[string]map[string]int64 {
	t.Helper()
	b, err := os.ReadFile("testdata/layouts.json")
	if err != nil {
		t.Fatal(err)
	}
	var l map[string]map[string]int64
	if err := json.Unmarshal(b, &l); err != nil {
		t.Fatal(err)
	}
	return l
}

// TestLayouts compares every row that compilers gave for three machines:
// sizes, alignments, offsets, ioctl numbers and constants. Every row must be
// known here.
func TestLayouts(t *testing.T) {
	byName := make(map[string]*Ioctl)
	for _, i := range Ioctls() {
		byName[i.Name] = i
	}
	byName["SIOCSETVLAN"], byName["SIOCGETVLAN"] = SIOCSETVLAN, SIOCGETVLAN
	for name, rows := range layoutsJSON(t) {
		t.Run(name, func(t *testing.T) {
			m, ok := MachineByName(name)
			if !ok {
				t.Fatalf("no machine %q", name)
			}
			if len(rows) < 900 {
				t.Fatalf("only %d rows", len(rows))
			}
			for row, want := range rows {
				group, rest, _ := strings.Cut(row, "!")
				switch group {
				case "CON":
					f, ok := constants[rest]
					if !ok {
						t.Errorf("constant %s is not known", rest)
					} else if got := f(m); int64(got) != want {
						t.Errorf("%s = %d, want %d", rest, got, want)
					}
					continue
				case "IOC":
					i, ok := byName[rest]
					if !ok {
						t.Errorf("ioctl %s is not known", rest)
						continue
					}
					if got := i.Cmd(m); got != uint32(want) {
						t.Errorf("%s = %#x, want %#x", rest, got, uint32(want))
					}
					if got := IoctlSize(uint32(want)); got != i.Size(m) {
						t.Errorf("%s: size %d, want %d", rest, i.Size(m), got)
					}
					continue
				}
				checkStructRow(t, m, group, rest, int(want))
			}
		})
	}
}

func checkStructRow(t *testing.T, m *Machine, name, row string, want int) {
	t.Helper()
	v, ok := structs[name]
	if !ok {
		t.Errorf("struct %s is not known", name)
		return
	}
	field, sz := strings.CutSuffix(row, "!sz")
	switch field {
	case "size":
		if got := Sizeof(m, v); got != want {
			t.Errorf("sizeof(struct %s) = %d, want %d", name, got, want)
		}
		return
	case "align":
		if got := Alignof(m, v); got != want {
			t.Errorf("alignof(struct %s) = %d, want %d", name, got, want)
		}
		return
	}
	for _, f := range Fields(m, v) {
		if f.Name != field {
			continue
		}
		if got := f.Offset; !sz && got != want {
			t.Errorf("offsetof(struct %s, %s) = %d, want %d", name, field, got, want)
		}
		if got := f.Size; sz && got != want {
			t.Errorf("sizeof(struct %s.%s) = %d, want %d", name, field, got, want)
		}
		return
	}
	member, ok := unionMembers[name+"!"+field]
	if !ok {
		t.Errorf("struct %s: field %s is not known", name, field)
		return
	}
	offset, size := member(m)
	if !sz && offset != want {
		t.Errorf("offsetof(struct %s, %s) = %d, want %d", name, field, offset, want)
	}
	if sz && size != want {
		t.Errorf("sizeof(struct %s.%s) = %d, want %d", name, field, size, want)
	}
}

// TestOtherSizes checks structures that are not in layouts.json: their sizes
// and alignments are those that compilers for amd64 and i386 gave.
func TestOtherSizes(t *testing.T) {
	for _, tt := range []struct {
		v                                  any
		amd64, amd64Align, i386, i386Align int
	}{
		{Itimerval{}, 32, 8, 24, 4},
		{Itimerspec{}, 32, 8, 24, 4},
		{Rusage{}, 144, 8, 80, 4},
		{Statvfs{}, 2256, 8, 2228, 4},
		{TcpInfo{}, 236, 4, 236, 4},
		{KfilterMapping{}, 24, 8, 12, 4},
		{KinfoProc2{}, 680, 8, 680, 4},
		{Ortentry{}, 56, 8, 48, 4},
		{In6Addrpolicy{}, 72, 8, 72, 4},
		{Termios{}, 44, 4, 44, 4},
		{Sockcred{}, 28, 4, 28, 4},
		{Flock{}, 24, 8, 24, 4},
		{In6Drlist{}, 416, 8, 296, 4},
		{In6Ndifreq{}, 24, 8, 20, 4},
		{Rlimit{}, 16, 8, 16, 4},
		{BpfDExt{}, 64, 8, 60, 4},
	} {
		for _, c := range []struct {
			m           *Machine
			size, align int
		}{{AMD64, tt.amd64, tt.amd64Align}, {I386, tt.i386, tt.i386Align}} {
			if size, align := Sizeof(c.m, tt.v), Alignof(c.m, tt.v); size != c.size || align != c.align {
				t.Errorf("%T on %s: size %d, alignment %d, want %d, %d", tt.v, c.m, size, align, c.size, c.align)
			}
		}
	}
}
