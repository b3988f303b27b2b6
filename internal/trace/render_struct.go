package trace

import (
	"fmt"
	"net/netip"
	"reflect"
	"strconv"
	"strings"

	"rumptools/pkg/netbsd"
)

// structure shows a value of a type with a layout, member by member.
func (r *renderer) structure(t reflect.Type, b []byte) string {
	v := reflect.New(t)
	if netbsd.Unmarshal(r.m, b, v.Interface()) != nil {
		return r.t.quote(b, uint64(len(b)))
	}
	s := r.any("", v.Elem())
	if t.Kind() != reflect.Struct {
		return "[" + s + "]"
	}
	return s
}

// maxMembers is how many members of a structure are shown unless all are.
const maxMembers = 12

// any shows a member of the C name.
func (r *renderer) any(name string, v reflect.Value) string {
	if show, ok := members[name]; ok {
		return show(r, v)
	}
	switch v.Kind() {
	case reflect.Struct:
		var parts []string
		t := v.Type()
		for i := range t.NumField() {
			field, _, _ := strings.Cut(t.Field(i).Tag.Get("abi"), ",")
			if strings.Contains(field, "spare") || strings.Contains(field, "pad") || strings.HasPrefix(field, "__") {
				continue
			}
			if len(parts) == maxMembers && !r.t.o.Whole {
				parts = append(parts, "...")
				break
			}
			parts = append(parts, field+"="+r.any(field, v.Field(i)))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	case reflect.Array:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return r.byteArray(name, v.Bytes())
		}
		var parts []string
		for i := range v.Len() {
			if i == maxElements && !r.t.o.Whole {
				parts = append(parts, "...")
				break
			}
			parts = append(parts, r.any("", v.Index(i)))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return strconv.FormatInt(v.Int(), 10)
	}
	if v.Type() == reflect.TypeFor[netbsd.Ptr]() {
		return pointer(v.Uint())
	}
	return strconv.FormatUint(v.Uint(), 10)
}

// byteArray shows an array of bytes by what its name tells of it.
func (r *renderer) byteArray(name string, b []byte) string {
	switch {
	case strings.HasSuffix(name, "name"), strings.HasSuffix(name, "parent"):
		return quoteBytes([]byte(netbsd.CString(b)))
	case len(b) == 4 && strings.Contains(name, "addr"), strings.HasSuffix(name, "interface") && len(b) == 4:
		return netip.AddrFrom4([4]byte(b)).String()
	case len(b) == 16 && strings.Contains(name, "addr") && !strings.HasPrefix(name, "ifra_") && !strings.HasPrefix(name, "rt_"):
		return netip.AddrFrom16([16]byte(b)).String()
	case strings.Contains(name, "addr"), strings.Contains(name, "mask"), name == "rt_dst", name == "rt_gateway", name == "ki_s", name == "ki_d":
		return sockaddr(r.m, b)
	}
	return r.t.quote(b, uint64(len(b)))
}

func enumMember(e netbsd.Enum) func(*renderer, reflect.Value) string {
	return func(_ *renderer, v reflect.Value) string {
		if v.CanInt() {
			return e.Format(v.Int())
		}
		return e.Format(int64(v.Uint()))
	}
}

func flagMember(s netbsd.FlagSet) func(*renderer, reflect.Value) string {
	return func(_ *renderer, v reflect.Value) string {
		if v.CanInt() {
			bits := 8 * int(v.Type().Size())
			return s.Format(uint64(v.Int()) << (64 - bits) >> (64 - bits))
		}
		return s.Format(v.Uint())
	}
}

// members shows members whose values have names, by the C names of the members.
var members = map[string]func(*renderer, reflect.Value) string{
	"st_mode": func(_ *renderer, v reflect.Value) string {
		return fileMode(v.Uint())
	},
	"st_dev":            hexMember,
	"st_rdev":           hexMember,
	"f_flag":            flagMember(netbsd.MountFlags),
	"l_type":            enumMember(netbsd.LockTypes),
	"l_whence":          enumMember(netbsd.SeekOrigins),
	"ifi_type":          enumMember(netbsd.InterfaceTypes),
	"ifi_link_state":    enumMember(netbsd.LinkStates),
	"ifcr_capenable":    flagMember(netbsd.InterfaceCapabilities),
	"ifm_type":          enumMember(netbsd.RouteMessages),
	"ifm_flags":         flagMember(netbsd.InterfaceFlags),
	"ifan_what":         enumMember(netbsd.InterfaceArrivals),
	"ki_family":         enumMember(netbsd.AddressFamilies),
	"ki_type":           enumMember(netbsd.SocketTypes),
	"ki_protocol":       enumMember(netbsd.IPProtocols),
	"msg_flags":         flagMember(netbsd.MessageFlags),
	"tcpi_state":        enumMember(netbsd.TCPStates),
	"ifcr_capabilities": flagMember(netbsd.InterfaceCapabilities),
}

func hexMember(_ *renderer, v reflect.Value) string { return fmt.Sprintf("%#x", v.Uint()) }

// fileMode shows st_mode: "S_IFCHR|0600".
func fileMode(mode uint64) string {
	s := octal(mode &^ netbsd.S_IFMT)
	if name, ok := netbsd.FileTypes.Name(int64(mode & netbsd.S_IFMT)); ok {
		return name + "|" + s
	}
	return octal(mode)
}

// sockaddr shows a socket address.
func sockaddr(m *netbsd.Machine, b []byte) string {
	sa, err := netbsd.ParseSockaddr(m, b)
	if err != nil {
		if len(b) < 2 {
			return "{}"
		}
		return "{" + quoteBytes(b[:min(len(b), 32)]) + "}"
	}
	family := "sa_family=" + netbsd.AddressFamilies.Format(int64(sa.Family))
	switch sa.Family {
	case netbsd.AF_INET:
		return fmt.Sprintf("{%s, sin_port=%d, sin_addr=%s}", family, sa.Port(), sa.Addr())
	case netbsd.AF_INET6:
		s := fmt.Sprintf("{%s, sin6_port=%d, sin6_addr=%s", family, sa.Port(), sa.Addr())
		if sa.Flowinfo != 0 {
			s += fmt.Sprintf(", sin6_flowinfo=%#x", sa.Flowinfo)
		}
		if sa.ScopeID != 0 {
			s += fmt.Sprintf(", sin6_scope_id=%d", sa.ScopeID)
		}
		return s + "}"
	case netbsd.AF_LOCAL:
		return fmt.Sprintf("{%s, sun_path=%s}", family, quoteBytes([]byte(sa.Path)))
	case netbsd.AF_LINK:
		s := fmt.Sprintf("{%s, sdl_index=%d", family, sa.DL.Index)
		if sa.DL.Type != 0 {
			s += ", sdl_type=" + netbsd.InterfaceTypes.Format(int64(sa.DL.Type))
		}
		if sa.DL.Name != "" {
			s += ", name=" + quoteBytes([]byte(sa.DL.Name))
		}
		if len(sa.DL.Addr) > 0 {
			s += ", addr=" + strings.ReplaceAll(fmt.Sprintf("% x", sa.DL.Addr), " ", ":")
		}
		return s + "}"
	}
	if len(strings.Trim(string(sa.Data), "\x00")) == 0 {
		return "{" + family + "}"
	}
	return fmt.Sprintf("{%s, sa_data=%s}", family, quoteBytes(sa.Data[:min(len(sa.Data), 32)]))
}

// routeMessages shows messages of a routing socket, or of a list of the kernel's.
func (r *renderer) routeMessages(b []byte) string {
	var parts []string
	for len(b) > 0 {
		if len(parts) == maxElements && !r.t.o.Whole {
			parts = append(parts, "...")
			break
		}
		msg, rest, err := netbsd.NextRtMessage(r.m, b)
		if err != nil && msg.Raw == nil {
			parts = append(parts, r.t.quote(b, uint64(len(b))))
			break
		}
		parts = append(parts, r.routeMessage(&msg))
		b = rest
	}
	if len(parts) == 1 {
		return parts[0]
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

func (r *renderer) routeMessage(msg *netbsd.RtMessage) string {
	var b strings.Builder
	typ := netbsd.RouteMessages.Format(int64(msg.Type))
	family := uint8(0)
	switch {
	case msg.Rtm != nil:
		h := msg.Rtm
		fmt.Fprintf(&b, "{rtm_msglen=%d, rtm_type=%s, rtm_index=%d, rtm_flags=%s, rtm_addrs=%s, rtm_pid=%d, rtm_seq=%d",
			h.Msglen, typ, h.Index, netbsd.RouteFlags.Format(uint64(uint32(h.Flags))),
			netbsd.RouteAddresses.Format(uint64(uint32(h.Addrs))), h.Pid, h.Seq)
		if h.Errno != 0 {
			fmt.Fprintf(&b, ", rtm_errno=%s", netbsd.Errno(uint32(h.Errno)).Name())
		}
		if h.Inits != 0 {
			fmt.Fprintf(&b, ", rtm_inits=%s", netbsd.RouteMetrics.Format(uint64(uint32(h.Inits))))
		}
	case msg.Ifm != nil:
		h := msg.Ifm
		fmt.Fprintf(&b, "{ifm_msglen=%d, ifm_type=%s, ifm_addrs=%s, ifm_flags=%s, ifm_index=%d, ifm_data={ifi_type=%s, ifi_mtu=%d, ...}",
			h.Msglen, typ, netbsd.RouteAddresses.Format(uint64(uint32(h.Addrs))), netbsd.InterfaceFlags.Format(uint64(uint16(h.Flags))), h.Index,
			netbsd.InterfaceTypes.Format(int64(h.Data.Type)), h.Data.Mtu)
	case msg.Ifam != nil:
		h := msg.Ifam
		fmt.Fprintf(&b, "{ifam_msglen=%d, ifam_type=%s, ifam_addrs=%s, ifam_flags=%#x, ifam_index=%d",
			h.Msglen, typ, netbsd.RouteAddresses.Format(uint64(uint32(h.Addrs))), uint32(h.Flags), h.Index)
	case msg.Ifan != nil:
		h := msg.Ifan
		fmt.Fprintf(&b, "{ifan_msglen=%d, ifan_type=%s, ifan_index=%d, ifan_name=%s, ifan_what=%s", h.Msglen, typ, h.Index,
			quoteBytes([]byte(netbsd.CString(h.Name[:]))), netbsd.InterfaceArrivals.Format(int64(h.What)))
	default:
		fmt.Fprintf(&b, "{rtm_msglen=%d, rtm_version=%d, rtm_type=%s", len(msg.Raw), msg.Version, typ)
	}
	for i, sa := range msg.Addrs {
		if sa == nil {
			continue
		}
		if i == netbsd.RTAX_DST || i == netbsd.RTAX_IFA {
			if len(sa) > 1 {
				family = sa[1]
			}
		}
		text := sockaddr(r.m, sa)
		if i == netbsd.RTAX_NETMASK || i == netbsd.RTAX_GENMASK {
			text = netmask(family, sa, msg.Addrs)
		}
		fmt.Fprintf(&b, ", %s=%s", netbsd.RouteAddresses.Format(1<<i), text)
	}
	return b.String() + "}"
}

// netmask shows a netmask, which may be cut after its last byte that is not zero
// and need not tell its family.
func netmask(family uint8, sa []byte, all [netbsd.RTAX_MAX][]byte) string {
	if family == 0 && len(all[netbsd.RTAX_IFA]) > 1 {
		family = all[netbsd.RTAX_IFA][1]
	}
	mask, err := netbsd.ParseNetmask(family, sa)
	if err != nil {
		return quoteBytes(sa[:min(len(sa), 32)])
	}
	if n, ok := netbsd.PrefixLen(mask); ok {
		return fmt.Sprintf("{/%d}", n)
	}
	return fmt.Sprintf("{%x}", mask)
}
