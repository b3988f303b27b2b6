package inet

import (
	"net/netip"
	"testing"

	"rumptools/pkg/netbsd"
)

// TestPktinfoScope has IPV6_PKTINFO say which interface a link-local address
// without a scope is of, as ping6 -I does, and the errors when it is down.
func TestPktinfoScope(t *testing.T) {
	seg := newSegment()
	a := host(t, seg.join(), "fd00::1/64")
	b := host(t, seg.join(), "fd00::2/64")
	far := mustAddr(b.linkLocalOf("shmif0"))
	ifp := a.ifByName["shmif0"]
	connect := func(dst netip.Addr, scope uint32, pktinfo bool) error {
		so := open(t, a, netbsd.AF_INET6, netbsd.SOCK_DGRAM, 0)
		defer so.Close()
		if pktinfo {
			info := netbsd.In6Pktinfo{Ifindex: uint32(ifp.Index)}
			must(t, so.SetOption(nil, netbsd.IPPROTO_IPV6, netbsd.IPV6_PKTINFO, netbsd.Marshal(a.machine, &info)))
		}
		return so.Connect(netbsd.SockaddrIn6(a.machine, netip.AddrPortFrom(dst.WithZone(""), 9), scope, 0))
	}
	scope, allNodes := uint32(ifp.Index), mustAddr("ff02::1")
	check(t, "no scope", connect(far, 0, false), netbsd.EHOSTUNREACH)
	check(t, "scope", connect(far, scope, false), nil)
	check(t, "IPV6_PKTINFO", connect(far, 0, true), nil)
	check(t, "IPV6_PKTINFO, multicast", connect(allNodes, 0, true), nil)
	a.mu.Lock()
	a.ifDown(ifp)
	a.mu.Unlock()
	check(t, "down", connect(mustAddr("fd00::2"), 0, false), netbsd.EADDRNOTAVAIL)
	check(t, "down, scope", connect(far, scope, false), netbsd.EHOSTUNREACH)
	check(t, "down, multicast, scope", connect(allNodes, scope, false), netbsd.EHOSTUNREACH)
	check(t, "down, multicast, IPV6_PKTINFO", connect(allNodes, 0, true), netbsd.EADDRNOTAVAIL)
}
