package inet

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"rumptools/internal/kernel"
	"rumptools/pkg/netbsd"
)

// describe tells what routing messages of a machine say.
func describe(t *testing.T, m *netbsd.Machine, b []byte) string {
	t.Helper()
	var out strings.Builder
	for len(b) > 0 {
		msg, rest, err := netbsd.NextRtMessage(m, b)
		must(t, err)
		switch {
		case msg.Rtm != nil:
			fmt.Fprintf(&out, "route %d %d %#x mtu %d", msg.Type, msg.Rtm.Index, msg.Rtm.Flags, msg.Rtm.Rmx.Mtu)
		case msg.Ifm != nil:
			fmt.Fprintf(&out, "interface %d %#x mtu %d", msg.Ifm.Index, msg.Ifm.Flags, msg.Ifm.Data.Mtu)
		case msg.Ifam != nil:
			fmt.Fprintf(&out, "address %d %#x", msg.Ifam.Index, msg.Ifam.Flags)
		}
		for i, sa := range msg.Addrs {
			switch {
			case sa == nil:
			case saFamily(sa) == netbsd.AF_LINK:
				fmt.Fprintf(&out, " %d link#%d", i, m.Order.Uint16(sa[2:]))
			case i == netbsd.RTAX_NETMASK:
				fmt.Fprintf(&out, " mask %x", sa)
			default:
				fmt.Fprintf(&out, " %d %v", i, saAddr(sa))
			}
		}
		out.WriteByte('\n')
		b = rest
	}
	return out.String()
}

// list is sysctl(3) of net.route.rtable.
func (s *Stack) list(t *testing.T, params ...int32) []byte {
	t.Helper()
	b, err := s.sysctlRoute(&kernel.SysctlRequest{Params: params})
	must(t, err)
	return b
}

// TestRouteLayouts has the same lists in the layouts of all machines, and gives
// orders in them.
func TestRouteLayouts(t *testing.T) {
	var first string
	for _, m := range machines {
		s := newStackOf(t, m)
		must(t, s.setParam("net.inet.ip.dad_count", 0))
		must(t, s.setParam("net.inet6.ip6.dad_count", 0))
		s.newMAC = func() []byte { return toolsMAC }
		s.plug(t, "shmif0", newSegment().join(), "10.0.0.1/24", "fd00::1/64")
		rt, err := routeDomain{s}.Socket(nil, netbsd.SOCK_RAW, 0)
		must(t, err)
		ask := func(typ uint8, flags int32, mtu uint64, dst, gateway, mask []byte) netbsd.RtMessage {
			hdr := &netbsd.RtMsghdr{Type: typ, Flags: flags, Seq: 5, Rmx: netbsd.RtMetrics{Mtu: mtu}}
			if mtu != 0 {
				hdr.Inits = netbsd.RTV_MTU
			}
			var sas sockaddrs
			sas[netbsd.RTAX_DST], sas[netbsd.RTAX_GATEWAY], sas[netbsd.RTAX_NETMASK] = dst, gateway, mask
			if typ == netbsd.RTM_GET {
				sas[netbsd.RTAX_IFP] = []byte{0}
			}
			if _, err := rt.Write(netbsd.AppendRtMessage(m, nil, hdr, sas)); err != nil {
				t.Errorf("%s: message %d: %v", m.Name, typ, err)
			}
			answer, _, err := netbsd.NextRtMessage(m, recv(t, rt, 2048, 0).Data)
			must(t, err)
			if answer.Rtm == nil || answer.Rtm.Seq != 5 || answer.Rtm.Errno != 0 || answer.Rtm.Flags&netbsd.RTF_DONE == 0 {
				t.Errorf("%s: answer %+v", m.Name, answer.Rtm)
			}
			return answer
		}
		sa := func(a string) []byte { return sockaddrInet(mustAddr(a)) }
		static := int32(netbsd.RTF_UP | netbsd.RTF_GATEWAY | netbsd.RTF_STATIC)
		ask(netbsd.RTM_ADD, static, 1000, sa("172.16.0.0"), sa("10.0.0.9"), netbsd.Netmask(netbsd.AF_INET, 16))
		ask(netbsd.RTM_ADD, static, 0, sa("fd02::"), sa("fd00::9"), netbsd.Netmask(netbsd.AF_INET6, 64))
		got := ask(netbsd.RTM_GET, netbsd.RTF_UP|netbsd.RTF_HOST, 0, sa("172.16.3.4"), nil, nil)
		if a := saAddr(got.Addrs[netbsd.RTAX_GATEWAY]); a != mustAddr("10.0.0.9") || got.Rtm.Rmx.Mtu != 1000 || got.Rtm.Index != 2 {
			t.Errorf("%s: gateway %v, mtu %d, interface %d", m.Name, a, got.Rtm.Rmx.Mtu, got.Rtm.Index)
		}
		lists := describe(t, m, s.list(t, 0, netbsd.NET_RT_IFLIST, 0)) + describe(t, m, s.list(t, 0, netbsd.NET_RT_DUMP, 0))
		if first == "" {
			first = lists
			for _, want := range []string{"172.16.0.0", "fd02::", "mask", "link#2", "mtu 33624", "mtu 1000"} {
				if !strings.Contains(lists, want) {
					t.Errorf("no %s in\n%s", want, lists)
				}
			}
		}
		if diff := cmp.Diff(first, lists); diff != "" {
			t.Errorf("%s (-%s +%s):\n%s", m.Name, machines[0].Name, m.Name, diff)
		}
		ask(netbsd.RTM_DELETE, static, 0, sa("172.16.0.0"), sa("10.0.0.9"), netbsd.Netmask(netbsd.AF_INET, 16))
		if s.routes.find(mustAddr("172.16.3.4")) != nil {
			t.Errorf("%s: the route is still there", m.Name)
		}
	}
}

// TestOutputErrors has routes that lead nowhere.
func TestOutputErrors(t *testing.T) {
	s := host(t, newSegment().join(), "10.0.0.1/24")
	add := func(dst string, bits int, flags int32) {
		info := &routeInfo{flags: netbsd.RTF_GATEWAY | netbsd.RTF_STATIC | flags}
		info.addrs[netbsd.RTAX_DST], info.addrs[netbsd.RTAX_GATEWAY] = sockaddrInet(mustAddr(dst)), sockaddrInet(mustAddr("127.0.0.1"))
		if flags&netbsd.RTF_HOST == 0 {
			info.addrs[netbsd.RTAX_NETMASK] = netbsd.Netmask(netbsd.AF_INET, bits)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		_, err := s.routeAdd(info)
		must(t, err)
	}
	add("172.16.0.0", 16, netbsd.RTF_REJECT)
	add("172.16.9.9", 32, netbsd.RTF_REJECT|netbsd.RTF_HOST)
	add("172.17.0.0", 16, netbsd.RTF_BLACKHOLE)
	must(t, s.addStatic("172.16.4.0/24 10.0.0.9"))
	so := open(t, s, netbsd.AF_INET, netbsd.SOCK_RAW, netbsd.IPPROTO_ICMP)
	for _, tt := range []struct {
		dst  string
		want error
	}{
		{"172.16.1.1", netbsd.ENETUNREACH},
		{"172.16.9.9", netbsd.EHOSTUNREACH},
		{"172.16.4.1", nil}, // narrower than the route that rejects
		{"172.17.1.1", nil},
		{"172.18.1.1", netbsd.EHOSTUNREACH},
	} {
		_, err := so.Send(nil, &kernel.Message{Data: echoRequest(netbsd.ICMP_ECHO, 1, 1, nil), Name: addr(s, tt.dst+":0")})
		check(t, "send to "+tt.dst, err, tt.want)
	}
	nothing(t, so)
	s.mu.Lock()
	s.ifDown(s.ifByName["shmif0"])
	s.mu.Unlock()
	_, err := so.Send(nil, &kernel.Message{Data: echoRequest(netbsd.ICMP_ECHO, 1, 1, nil), Name: addr(s, "10.0.0.7:0")})
	check(t, "send over an interface that is down", err, netbsd.ENETDOWN)
}

// TestParams sets what sysctl values may not be.
func TestParams(t *testing.T) {
	s := newStack(t)
	for _, tt := range []struct {
		name string
		v    int32
		want error
	}{
		{"net.inet.ip.ttl", 0, netbsd.EINVAL},
		{"net.inet.ip.ttl", 256, netbsd.EINVAL},
		{"net.inet.ip.ttl", 255, nil},
		{"net.inet6.ip6.hlim", 0, netbsd.EINVAL},
		{"net.inet.ip.anonportmin", 80, netbsd.EINVAL},
		{"net.inet.ip.anonportmin", 65535, netbsd.EINVAL}, // above anonportmax
		{"net.inet.ip.anonportmin", 60000, nil},
		{"net.inet.ip.anonportmax", 59999, netbsd.EINVAL},
	} {
		check(t, fmt.Sprintf("%s=%d", tt.name, tt.v), s.setParam(tt.name, tt.v), tt.want)
		if tt.want == nil && s.params.get(tt.name) != tt.v {
			t.Errorf("%s is %d", tt.name, s.params.get(tt.name))
		}
	}
}
