package inet

import (
	"bytes"
	"sync/atomic"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"rumptools/internal/kernel"
	"rumptools/pkg/netbsd"
)

// searchOnce has an interface look once for duplicates of its new addresses,
// for so long.
func (s *Stack) searchOnce(t *testing.T, name string, d time.Duration) {
	t.Helper()
	must(t, s.setParam("net.inet.ip.dad_count", 1))
	must(t, s.setParam("net.inet6.ip6.dad_count", 1))
	for _, proto := range []tcpip.NetworkProtocolNumber{arp.ProtocolNumber, ipv6.ProtocolNumber} {
		ep, err := s.net.GetNetworkEndpoint(s.ifByName[name].NICID, proto)
		if err != nil {
			t.Fatal(err)
		}
		ep.(interface {
			SetDADConfigurations(stack.DADConfigurations)
		}).SetDADConfigurations(stack.DADConfigurations{DupAddrDetectTransmits: 1, RetransmitTimer: d})
	}
}

// state gives the state of an address of shmif0.
func (s *Stack) state(t *testing.T, a string) int32 {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	ifa := s.ifByName["shmif0"].find(mustAddr(a))
	if ifa == nil {
		t.Fatalf("no address %s", a)
	}
	return ifa.state
}

// TestDuplicates gives a host addresses that another has, and some that are
// free.
func TestDuplicates(t *testing.T) {
	seg := newSegment()
	host(t, seg.join(), "10.0.0.1/24", "fd00::1/64")
	b := host(t, seg.join(), "10.0.0.2/24", "fd00::2/64")
	b.searchOnce(t, "shmif0", 200*time.Millisecond)
	var announced atomic.Bool
	seg.mu.Lock()
	seg.sniff = func(f []byte) {
		// A request of 10.0.0.9 for itself.
		nine := []byte{10, 0, 0, 9}
		if f[12] == 8 && f[13] == 6 && bytes.Equal(f[28:32], nine) && bytes.Equal(f[38:42], nine) {
			announced.Store(true)
		}
	}
	seg.mu.Unlock()
	for _, tt := range []struct {
		add                  func(name, prefix string) error
		taken, free          string
		bits                 string
		tentative, duplicate int32
	}{
		{b.setAddr4, "10.0.0.1", "10.0.0.9", "/24", netbsd.IN_IFF_TENTATIVE, netbsd.IN_IFF_DUPLICATED},
		{b.setAddr6, "fd00::1", "fd00::9", "/64", netbsd.IN6_IFF_TENTATIVE, netbsd.IN6_IFF_DUPLICATED},
	} {
		must(t, tt.add("shmif0", tt.free+tt.bits))
		if st := b.state(t, tt.free); st != tt.tentative {
			t.Errorf("%s is %#x at first", tt.free, st)
		}
		must(t, tt.add("shmif0", tt.taken+tt.bits))
		eventually(t, tt.taken+" is a duplicate", func() bool { return b.state(t, tt.taken) == tt.duplicate })
		eventually(t, tt.free+" is ours", func() bool { return b.state(t, tt.free) == 0 })
		b.answered(t, tt.free, 56)
	}
	eventually(t, "10.0.0.9 is announced", announced.Load)

	// Nobody hears what is sent to an address that may be another's.
	before := b.lo0.counters.ipackets.Load()
	for _, so := range []kernel.Socket{
		open(t, b, inet, netbsd.SOCK_RAW, netbsd.IPPROTO_ICMP), open(t, b, inet6, netbsd.SOCK_RAW, netbsd.IPPROTO_ICMPV6),
	} {
		to, typ := addr(b, "10.0.0.1:0"), byte(netbsd.ICMP_ECHO)
		if so.Domain() == inet6 {
			to, typ = addr(b, "[fd00::1]:0"), netbsd.ICMP6_ECHO_REQUEST
		}
		send(t, so, echoRequest(typ, 1, 1, nil), to)
		nothing(t, so)
	}
	if n := b.lo0.counters.ipackets.Load() - before; n != 2 {
		t.Errorf("lo0 has received %d packets", n)
	}
}

// TestLifetime has an IPv6 address end.
func TestLifetime(t *testing.T) {
	s := host(t, newSegment().join(), "fd00::1/64")
	s.mu.Lock()
	ifp := s.ifByName["shmif0"]
	lt := netbsd.In6Addrlifetime{Vltime: 1}
	ifa, err := s.addAddr6(ifp, nil, addr6{addr: mustAddr("fd01::1"), mask: netbsd.Netmask(netbsd.AF_INET6, 64), lifetime: lt})
	if err == nil {
		err = s.setPrefix(ifa, lt)
	}
	if !ifp.is(netbsd.IFF_UP) || s.routes.find(mustAddr("fd01::5")) == nil {
		t.Error("no route to fd01::/64")
	}
	s.mu.Unlock()
	must(t, err)
	eventually(t, "the address is deprecated", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return ifp.find(mustAddr("fd01::1")) == nil || ifa.state == netbsd.IN6_IFF_DEPRECATED
	})
	eventually(t, "the address and its route are gone", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return ifp.find(mustAddr("fd01::1")) == nil && s.routes.find(mustAddr("fd01::5")) == nil
	})
}
