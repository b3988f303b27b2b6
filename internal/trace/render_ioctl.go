package trace

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"rumptools/pkg/netbsd"
)

// structureOf shows a value of v's type.
func (r *renderer) structureOf(v any, b []byte) string { return r.structure(reflect.TypeOf(v), b) }

// ioctl shows the data of an ioctl: as it was, and if the kernel has changed it,
// as it is after.
func (r *renderer) ioctl(cmd uint32, addr uint64) string {
	c := r.c
	size := uint64(netbsd.IoctlSize(cmd))
	if cmd&netbsd.IOC_DIRMASK == netbsd.IOC_VOID && size == 4 {
		return strconv.Itoa(int(int32(addr)))
	}
	if addr == 0 || size == 0 {
		return pointer(addr)
	}
	i, known := netbsd.LookupIoctl(r.m, cmd)
	if netbsd.IoctlOut(cmd) && !r.ended() {
		r.wait = true
	}
	before := c.mem.read(fromClient, addr, size)
	after := c.mem.read(toClient, addr, size)
	if uint64(len(after)) < size {
		after = nil
	}
	show := func(b []byte, out bool) string {
		if !known {
			return r.t.quote(b, size)
		}
		return r.ioctlData(i, b, out)
	}
	switch {
	case uint64(len(before)) == size && after != nil:
		// A request's name is the same: what it got is of interest.
		was, is := show(before, false), show(after, true)
		if was == is || known && isRequest(i) {
			return is
		}
		return was + " => " + is
	case uint64(len(before)) == size:
		return show(before, false)
	case after != nil:
		return show(after, true)
	}
	return r.later(addr)
}

// isRequest tells whether a command only asks: what it is given is a name.
func isRequest(i *netbsd.Ioctl) bool {
	return (strings.HasPrefix(i.Name, "SIOCG") || i == netbsd.SIOCIFGCLONERS) && i != netbsd.SIOCGIFCONF && i != netbsd.SIOCGLINKSTR && i != netbsd.SIOCGDRVSPEC
}

// ioctlData shows the data of a command that is known.
func (r *renderer) ioctlData(i *netbsd.Ioctl, b []byte, out bool) string {
	switch i.Arg {
	case reflect.TypeFor[netbsd.Ifreq]():
		var v netbsd.Ifreq
		if netbsd.Unmarshal(r.m, b, &v) == nil {
			return r.ifreq(i, &v, out)
		}
	case reflect.TypeFor[netbsd.In6Ifreq]():
		var v netbsd.In6Ifreq
		if netbsd.Unmarshal(r.m, b, &v) == nil {
			return r.in6Ifreq(i, &v, out)
		}
	case reflect.TypeFor[netbsd.Ifconf]():
		var v netbsd.Ifconf
		if netbsd.Unmarshal(r.m, b, &v) == nil {
			return r.ifconf(&v, out)
		}
	case reflect.TypeFor[netbsd.Ifdrv]():
		var v netbsd.Ifdrv
		if netbsd.Unmarshal(r.m, b, &v) == nil {
			return r.ifdrv(i, &v)
		}
	case reflect.TypeFor[netbsd.Ifmediareq]():
		var v netbsd.Ifmediareq
		if netbsd.Unmarshal(r.m, b, &v) == nil {
			s := fmt.Sprintf("{ifm_name=%s", cname(v.Name[:]))
			if out {
				s += fmt.Sprintf(", ifm_current=%#x, ifm_status=%#x, ifm_active=%#x", uint32(v.Current), uint32(v.Status), uint32(v.Active))
			}
			list := pointer(uint64(v.Ulist))
			if got := r.c.mem.read(toClient, uint64(v.Ulist), 4*uint64(max(v.Count, 0))); out && len(got) > 0 {
				list = r.words(got)
			}
			return s + fmt.Sprintf(", ifm_count=%d, ifm_ulist=%s}", v.Count, list)
		}
	case reflect.TypeFor[netbsd.IfClonereq]():
		var v netbsd.IfClonereq
		if netbsd.Unmarshal(r.m, b, &v) == nil {
			list := pointer(uint64(v.Buffer))
			if got := r.c.mem.read(toClient, uint64(v.Buffer), netbsd.IFNAMSIZ*uint64(max(v.Count, 0))); out && len(got) > 0 {
				list = nameArray(got)
			}
			return fmt.Sprintf("{ifcr_total=%d, ifcr_count=%d, ifcr_buffer=%s}", v.Total, v.Count, list)
		}
	case reflect.TypeFor[netbsd.BpfProgram]():
		var v netbsd.BpfProgram
		if netbsd.Unmarshal(r.m, b, &v) == nil {
			return r.bpfProgram(&v)
		}
	case reflect.TypeFor[netbsd.BpfDltlist]():
		var v netbsd.BpfDltlist
		if netbsd.Unmarshal(r.m, b, &v) == nil {
			list := pointer(uint64(v.List))
			if got := r.c.mem.read(toClient, uint64(v.List), 4*uint64(v.Len)); len(got) > 0 {
				var names []string
				for ; len(got) >= 4; got = got[4:] {
					names = append(names, netbsd.DataLinkTypes.Format(int64(r.m.Order.Uint32(got))))
				}
				list = "[" + strings.Join(names, ", ") + "]"
			}
			return fmt.Sprintf("{bfl_len=%d, bfl_list=%s}", v.Len, list)
		}
	case reflect.TypeFor[netbsd.KfilterMapping]():
		var v netbsd.KfilterMapping
		if netbsd.Unmarshal(r.m, b, &v) == nil {
			name := r.c.mem.read(toClient, uint64(v.Name), uint64(v.Len))
			if len(name) == 0 {
				name = r.c.mem.read(fromClient, uint64(v.Name), uint64(v.Len))
			}
			text := pointer(uint64(v.Name))
			if len(name) > 0 {
				text = cname(name)
			}
			return fmt.Sprintf("{name=%s, len=%d, filter=%s}", text, v.Len, netbsd.KeventFilters.Format(int64(v.Filter)))
		}
	case reflect.TypeFor[uint32]():
		if i == netbsd.BIOCGDLT || i == netbsd.BIOCSDLT {
			return "[" + netbsd.DataLinkTypes.Format(int64(r.m.Order.Uint32(b))) + "]"
		}
	case reflect.TypeFor[netbsd.In6Aliasreq]():
		var v netbsd.In6Aliasreq
		if netbsd.Unmarshal(r.m, b, &v) == nil {
			return fmt.Sprintf("{ifra_name=%s, ifra_addr=%s, ifra_dstaddr=%s, ifra_prefixmask=%s, ifra_flags=%s, ifra_lifetime={vltime=%s, pltime=%s}}",
				cname(v.Name[:]), sockaddr(r.m, v.Addr[:]), sockaddr(r.m, v.Dstaddr[:]), sockaddr(r.m, v.Prefixmask[:]),
				netbsd.In6AddressFlags.Format(uint64(uint32(v.Flags))), lifetime(v.Lifetime.Vltime), lifetime(v.Lifetime.Pltime))
		}
	case reflect.TypeFor[netbsd.In6Ndireq]():
		var v netbsd.In6Ndireq
		if netbsd.Unmarshal(r.m, b, &v) == nil {
			if !out && isRequest(i) {
				return fmt.Sprintf("{ifname=%s}", cname(v.Ifname[:]))
			}
			n := &v.Ndi
			return fmt.Sprintf("{ifname=%s, ndi={linkmtu=%d, maxmtu=%d, basereachable=%d, reachable=%d, retrans=%d, flags=%s, chlim=%d}}",
				cname(v.Ifname[:]), n.Linkmtu, n.Maxmtu, n.Basereachable, n.Reachable, n.Retrans,
				netbsd.ND6InterfaceFlags.Format(uint64(n.Flags)), n.Chlim)
		}
	case reflect.TypeFor[netbsd.In6Nbrinfo]():
		var v netbsd.In6Nbrinfo
		if netbsd.Unmarshal(r.m, b, &v) == nil {
			s := fmt.Sprintf("{ifname=%s, addr=%s", cname(v.Ifname[:]), ip6(v.Addr))
			if out {
				s += fmt.Sprintf(", asked=%d, isrouter=%d, state=%s, expire=%d", v.Asked, v.Isrouter,
					netbsd.NeighbourStates.Format(int64(v.State)), v.Expire)
			}
			return s + "}"
		}
	case reflect.TypeFor[netbsd.IfLaddrreq]():
		var v netbsd.IfLaddrreq
		if netbsd.Unmarshal(r.m, b, &v) == nil {
			return fmt.Sprintf("{iflr_name=%s, flags=%s, prefixlen=%d, addr=%s, dstaddr=%s}", cname(v.Name[:]),
				netbsd.LinkAddressFlags.Format(uint64(v.Flags)), v.Prefixlen, sockaddr(r.m, v.Addr[:]), sockaddr(r.m, v.Dstaddr[:]))
		}
	case reflect.TypeFor[netbsd.Ifdatareq]():
		var v netbsd.Ifdatareq
		if netbsd.Unmarshal(r.m, b, &v) == nil && !out {
			return fmt.Sprintf("{ifdr_name=%s}", cname(v.Name[:]))
		}
	case nil:
		return r.t.quote(b, uint64(len(b)))
	}
	return r.structure(i.Arg, b)
}

func cname(b []byte) string { return quoteBytes([]byte(netbsd.CString(b))) }

func lifetime(v uint32) string {
	if v == netbsd.ND6_INFINITE_LIFETIME {
		return "ND6_INFINITE_LIFETIME"
	}
	return strconv.FormatUint(uint64(v), 10)
}

// words shows an array of ints in hexadecimal.
func (r *renderer) words(b []byte) string {
	var parts []string
	for ; len(b) >= 4; b = b[4:] {
		if len(parts) == maxElements && !r.t.o.Whole {
			parts = append(parts, "...")
			break
		}
		parts = append(parts, fmt.Sprintf("%#x", r.m.Order.Uint32(b)))
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

func nameArray(b []byte) string {
	var names []string
	for ; len(b) >= netbsd.IFNAMSIZ; b = b[netbsd.IFNAMSIZ:] {
		names = append(names, cname(b[:netbsd.IFNAMSIZ]))
	}
	return "[" + strings.Join(names, ", ") + "]"
}

// ifreq shows the member of the union that the command uses.
func (r *renderer) ifreq(i *netbsd.Ioctl, v *netbsd.Ifreq, out bool) string {
	name := "{ifr_name=" + cname(v.Name[:])
	if !out && isRequest(i) {
		return name + "}"
	}
	m := r.m
	member := ""
	switch i {
	case netbsd.SIOCGIFFLAGS, netbsd.SIOCSIFFLAGS:
		member = "ifr_flags=" + netbsd.InterfaceFlags.Format(uint64(v.Flags(m)))
	case netbsd.SIOCGIFMTU, netbsd.SIOCSIFMTU:
		member = fmt.Sprintf("ifr_mtu=%d", v.MTU(m))
	case netbsd.SIOCGIFMETRIC, netbsd.SIOCSIFMETRIC:
		member = fmt.Sprintf("ifr_metric=%d", v.Metric(m))
	case netbsd.SIOCGIFINDEX:
		member = fmt.Sprintf("ifr_index=%d", v.Value(m))
	case netbsd.SIOCGIFDLT:
		member = "ifr_dlt=" + netbsd.DataLinkTypes.Format(int64(v.Value(m)))
	case netbsd.SIOCSIFMEDIA:
		member = fmt.Sprintf("ifr_media=%#x", uint32(v.Value(m)))
	case netbsd.SIOCGIFAFLAG_IN:
		if !out {
			member = "ifr_addr=" + sockaddr(m, v.Addr())
		} else {
			member = "ifr_addrflags=" + netbsd.InAddressFlags.Format(uint64(uint32(v.Value(m))))
		}
	case netbsd.SIOCGIFADDR, netbsd.SIOCSIFADDR, netbsd.SIOCDIFADDR:
		member = "ifr_addr=" + sockaddr(m, v.Addr())
	case netbsd.SIOCGIFDSTADDR, netbsd.SIOCSIFDSTADDR, netbsd.SIOCGIFPDSTADDR:
		member = "ifr_dstaddr=" + sockaddr(m, v.Addr())
	case netbsd.SIOCGIFBRDADDR, netbsd.SIOCSIFBRDADDR:
		member = "ifr_broadaddr=" + sockaddr(m, v.Addr())
	case netbsd.SIOCGIFNETMASK, netbsd.SIOCSIFNETMASK, netbsd.SIOCADDMULTI, netbsd.SIOCDELMULTI, netbsd.SIOCGIFPSRCADDR:
		member = "ifr_addr=" + sockaddr(m, v.Addr())
	case netbsd.SIOCIFCREATE, netbsd.SIOCIFDESTROY, netbsd.BIOCSETIF, netbsd.BIOCGETIF, netbsd.SIOCDIFPHYADDR:
	default:
		member = "ifr_data=" + pointer(v.Data(m))
	}
	if member != "" {
		name += ", " + member
	}
	return name + "}"
}

func (r *renderer) in6Ifreq(i *netbsd.Ioctl, v *netbsd.In6Ifreq, out bool) string {
	name := "{ifr_name=" + cname(v.Name[:])
	m := r.m
	member := "ifr_addr=" + sockaddr(m, v.Addr())
	switch {
	case i == netbsd.SIOCGIFAFLAG_IN6 && out:
		member = "ifr_flags6=" + netbsd.In6AddressFlags.Format(uint64(uint32(v.Flags6(m))))
	case i == netbsd.SIOCGIFALIFETIME_IN6 && out:
		l := v.Lifetime(m)
		member = fmt.Sprintf("ifr_lifetime={expire=%d, preferred=%d, vltime=%s, pltime=%s}", l.Expire, l.Preferred,
			lifetime(l.Vltime), lifetime(l.Pltime))
	case i == netbsd.SIOCGIFSTAT_IN6, i == netbsd.SIOCGIFSTAT_ICMP6:
		if !out {
			return name + "}"
		}
		member = fmt.Sprintf("ifr_stat=[%d, %d, %d, %d, ...]", v.Stat(m, 0), v.Stat(m, 1), v.Stat(m, 2), v.Stat(m, 3))
	case i == netbsd.SIOCSNDFLUSH_IN6, i == netbsd.SIOCSPFXFLUSH_IN6, i == netbsd.SIOCSRTRFLUSH_IN6:
		return name + "}"
	}
	return name + ", " + member + "}"
}

func (r *renderer) ifconf(v *netbsd.Ifconf, out bool) string {
	buf := pointer(uint64(v.Buf))
	if out {
		size := netbsd.Sizeof(r.m, netbsd.Ifreq{})
		b := r.c.mem.read(toClient, uint64(v.Buf), min(uint64(uint32(v.Len)), maxPiece))
		var parts []string
		for ; len(b) >= size; b = b[size:] {
			if len(parts) == maxElements && !r.t.o.Whole {
				parts = append(parts, "...")
				break
			}
			var q netbsd.Ifreq
			if netbsd.Unmarshal(r.m, b, &q) == nil {
				parts = append(parts, fmt.Sprintf("{ifr_name=%s, ifr_addr=%s}", cname(q.Name[:]), sockaddr(r.m, q.Addr())))
			}
		}
		if len(parts) > 0 {
			buf = "[" + strings.Join(parts, ", ") + "]"
		}
	}
	return fmt.Sprintf("{ifc_len=%d, ifc_buf=%s}", v.Len, buf)
}

// ifdrv shows a request that names a driver's command and its data.
func (r *renderer) ifdrv(i *netbsd.Ioctl, v *netbsd.Ifdrv) string {
	data := pointer(uint64(v.Data))
	dir := fromClient
	if i == netbsd.SIOCGLINKSTR || i == netbsd.SIOCGDRVSPEC {
		dir = toClient
	}
	n := uint64(v.Len)
	if i == netbsd.SIOCGLINKSTR || i == netbsd.SIOCSLINKSTR {
		n = netbsd.MAXPATHLEN
	}
	if b := r.c.mem.read(dir, uint64(v.Data), min(n, maxPiece)); len(b) > 0 && v.Data != 0 {
		if i == netbsd.SIOCGLINKSTR || i == netbsd.SIOCSLINKSTR {
			data = cname(b)
		} else {
			data = r.t.quote(b, n)
		}
	}
	cmd := strconv.FormatUint(uint64(v.Cmd), 10)
	if i == netbsd.SIOCGLINKSTR && v.Cmd == netbsd.IFLINKSTR_QUERYLEN {
		cmd = "IFLINKSTR_QUERYLEN"
	}
	if i == netbsd.SIOCSLINKSTR && v.Cmd == netbsd.IFLINKSTR_UNSET {
		cmd = "IFLINKSTR_UNSET"
	}
	return fmt.Sprintf("{ifd_name=%s, ifd_cmd=%s, ifd_len=%d, ifd_data=%s}", cname(v.Name[:]), cmd, v.Len, data)
}

func (r *renderer) bpfProgram(v *netbsd.BpfProgram) string {
	size := netbsd.Sizeof(r.m, netbsd.BpfInsn{})
	insns := pointer(uint64(v.Insns))
	b := r.c.mem.read(fromClient, uint64(v.Insns), min(uint64(v.Len), netbsd.BPF_MAXINSNS)*uint64(size))
	if len(b) > 0 {
		var parts []string
		for ; len(b) >= size; b = b[size:] {
			if len(parts) == maxElements && !r.t.o.Whole {
				parts = append(parts, "...")
				break
			}
			var in netbsd.BpfInsn
			if netbsd.Unmarshal(r.m, b, &in) == nil {
				parts = append(parts, fmt.Sprintf("{%#x, %d, %d, %#x}", in.Code, in.Jt, in.Jf, in.K))
			}
		}
		insns = "[" + strings.Join(parts, ", ") + "]"
	} else if v.Len > 0 {
		r.wait = true
	}
	return fmt.Sprintf("{bf_len=%d, bf_insns=%s}", v.Len, insns)
}
