package inet

import (
	"bytes"
	"encoding/binary"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"rumptools/pkg/netbsd"
)

// inARow makes three kernels in a row, the second a router; right is between it and the last.
func inARow(t *testing.T) (a, r, b *Stack, right *segment) {
	t.Helper()
	left := newSegment()
	right = newSegment()
	a = host(t, left.join(), "10.0.0.1/24", "fd00::1/64")
	r = host(t, left.join(), "10.0.0.254/24", "fd00::fe/64")
	r.plug(t, "shmif1", right.join(), "10.0.1.254/24", "fd01::fe/64")
	b = host(t, right.join(), "10.0.1.2/24", "fd01::2/64")
	must(t, a.addStatic("default 10.0.0.254"))
	must(t, a.addStatic("fd01::/64 fd00::fe"))
	must(t, b.addStatic("10.0.0.0/24 10.0.1.254"))
	must(t, b.addStatic("fd00::/64 fd01::fe"))
	must(t, r.setParam("net.inet6.ip6.forwarding", 1))
	return a, r, b, right
}

// TestForward: what a router sends on, and what it refuses.
func TestForward(t *testing.T) {
	a, r, _, right := inARow(t)
	must(t, a.addStatic("fd02::/64 fd00::fe"))

	if msg, ttl := a.echo(t, "10.0.1.2", 56, 64); msg[0] != netbsd.ICMP_ECHOREPLY || ttl != 254 {
		t.Errorf("type %d, ttl %d", msg[0], ttl)
	}
	a.answered(t, "10.0.1.2", 3000)
	if msg, ttl := a.echo(t, "fd01::2", 56, 64); msg[0] != netbsd.ICMP6_ECHO_REPLY || ttl != 63 {
		t.Errorf("type %d, hop limit %d", msg[0], ttl)
	}
	a.answered(t, "fd01::2", 3000)

	msg, ttl := a.echo(t, "10.0.1.2", 56, 1)
	if msg[0] != netbsd.ICMP_TIMXCEED || ttl != 255 {
		t.Errorf("type %d, ttl %d", msg[0], ttl)
	}
	// The quote is what was sent: its header and 8 bytes.
	if q := msg[8:]; len(q) != 28 || q[8] != 1 || !bytes.Equal(q[12:20], []byte{10, 0, 0, 1, 10, 0, 1, 2}) || q[20] != netbsd.ICMP_ECHO {
		t.Errorf("quote is %x", q)
	}
	if msg, _ := a.echo(t, "fd01::2", 56, 1); msg[0] != netbsd.ICMP6_TIME_EXCEEDED {
		t.Errorf("type %d", msg[0])
	}
	// More of it when asked for.
	must(t, r.setParam("net.inet.icmp.returndatabytes", 64))
	if msg, _ := a.echo(t, "10.0.1.2", 100, 1); len(msg) != 8+20+64 {
		t.Errorf("%d bytes", len(msg))
	}

	// There is no route further on.
	if msg, _ := a.echo(t, "10.9.9.9", 56, 64); msg[0] != netbsd.ICMP_UNREACH {
		t.Errorf("type %d", msg[0])
	}
	reject := &routeInfo{flags: netbsd.RTF_GATEWAY | netbsd.RTF_STATIC | netbsd.RTF_REJECT}
	reject.addrs[netbsd.RTAX_DST] = sockaddrInet(mustAddr("10.8.0.0"))
	reject.addrs[netbsd.RTAX_NETMASK] = netbsd.Netmask(netbsd.AF_INET, 16)
	reject.addrs[netbsd.RTAX_GATEWAY] = sockaddrInet(mustAddr("127.0.0.1"))
	r.mu.Lock()
	_, err := r.routeAdd(reject)
	r.mu.Unlock()
	must(t, err)
	if msg, _ := a.echo(t, "10.8.1.1", 56, 64); msg[0] != netbsd.ICMP_UNREACH || msg[1] != netbsd.ICMP_UNREACH_HOST {
		t.Errorf("type %d, code %d", msg[0], msg[1])
	}

	// Packets that are too big, and what is behind an interface that is down.
	if msg, _ := a.echo(t, "fd02::1", 56, 64); msg[0] != netbsd.ICMP6_DST_UNREACH || msg[1] != netbsd.ICMP6_DST_UNREACH_NOROUTE || msg[8+7] != 63 {
		t.Errorf("type %d, code %d, quoted hop limit %d", msg[0], msg[1], msg[8+7])
	}
	out := r.ifByName["shmif1"]
	out.link.SetMTU(1300)
	if msg, _ := a.echo(t, "fd01::2", 1400, 64); msg[0] != netbsd.ICMP6_PACKET_TOO_BIG || binary.BigEndian.Uint32(msg[4:]) != 1300 || len(msg) != 1240 {
		t.Errorf("type %d, mtu %d, %d bytes", msg[0], binary.BigEndian.Uint32(msg[4:]), len(msg))
	}
	out.link.SetMTU(1500)
	r.net.DisableNIC(out.NICID)
	if msg, _ := a.echo(t, "fd01::2", 56, 64); msg[0] != netbsd.ICMP6_DST_UNREACH || msg[1] != netbsd.ICMP6_DST_UNREACH_ADDR {
		t.Errorf("type %d, code %d", msg[0], msg[1])
	}
	if msg, _ := a.echo(t, "10.0.1.2", 56, 64); msg[0] != netbsd.ICMP_UNREACH || msg[1] != netbsd.ICMP_UNREACH_HOST {
		t.Errorf("type %d, code %d", msg[0], msg[1])
	}
	r.net.EnableNIC(out.NICID)

	// A host is no router.
	must(t, r.setParam("net.inet.ip.forwarding", 0))
	must(t, r.setParam("net.inet6.ip6.forwarding", 0))
	var forwarded atomic.Bool
	right.mu.Lock()
	right.sniff = func(f []byte) {
		if bytes.Equal(f[12:14], []byte{8, 0}) && bytes.Equal(f[26:30], []byte{10, 0, 0, 1}) {
			forwarded.Store(true)
		}
	}
	right.mu.Unlock()
	so := open(t, a, netbsd.AF_INET, netbsd.SOCK_RAW, netbsd.IPPROTO_ICMP)
	send(t, so, echoRequest(netbsd.ICMP_ECHO, 77, 1, nil), addr(a, "10.0.1.2:0"))
	a.answered(t, "10.0.0.254", 56) // and so it has been taken
	if forwarded.Load() {
		t.Error("a packet was forwarded")
	}
}

// TestTTL sets what packets are sent with.
func TestTTL(t *testing.T) {
	seg := newSegment()
	var mu sync.Mutex
	var ttls []byte
	seg.sniff = func(f []byte) {
		mu.Lock()
		defer mu.Unlock()
		if binary.BigEndian.Uint16(f[12:]) == 0x0800 && f[23] == netbsd.IPPROTO_UDP {
			ttls = append(ttls, f[22])
		}
	}
	s := host(t, seg.join(), "10.0.0.1/24")
	must(t, s.setParam("net.inet.ip.ttl", 33))
	so := open(t, s, netbsd.AF_INET, netbsd.SOCK_DGRAM, 0)
	s.learn("shmif0", "10.0.0.2", peerMAC)
	send(t, so, []byte("x"), addr(s, "10.0.0.2:9"))
	eventually(t, "sent", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return slices.Equal(ttls, []byte{33})
	})
}

// TestRecordRoute has a router record the address that it sends on from.
func TestRecordRoute(t *testing.T) {
	left, right := newSegment(), newSegment()
	a := host(t, left.join(), "10.0.0.1/24")
	r := host(t, left.join(), "10.0.0.254/24")
	r.plug(t, "shmif1", right.join(), "10.0.1.254/24")
	b := host(t, right.join(), "10.0.1.2/24")
	must(t, a.addStatic("default 10.0.0.254"))
	must(t, b.addStatic("10.0.0.0/24 10.0.1.254"))
	so := open(t, a, netbsd.AF_INET, netbsd.SOCK_RAW, netbsd.IPPROTO_ICMP)
	opts := make([]byte, 40)
	opts[0], opts[1], opts[2] = netbsd.IPOPT_RR, 39, 4
	must(t, so.SetOption(nil, netbsd.IPPROTO_IP, netbsd.IP_OPTIONS, opts))
	send(t, so, echoRequest(netbsd.ICMP_ECHO, 77, 1, nil), addr(a, "10.0.1.2:0"))
	m := recv(t, so, 1<<16, 0)
	rr := m.Data[20:]
	if n := int(rr[2]); n != 4+4*4 {
		t.Fatalf("pointer %d: % x", n, rr[:39])
	}
	want := []byte{10, 0, 1, 254, 10, 0, 1, 2, 10, 0, 0, 254, 10, 0, 0, 1}
	if !bytes.Equal(rr[3:19], want) {
		t.Errorf("recorded % x", rr[3:19])
	}
}
