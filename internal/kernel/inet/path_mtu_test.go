package inet

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/header"

	"rumptools/internal/kernel"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/sysproxy"
)

// narrow makes three kernels in a row, of which the last network's MTU is 1300. lengths gives those of the
// packets with UDP for the last that a has sent since it was asked, and whether each had IP_DF.
func narrow(t *testing.T) (a, b *Stack, lengths func() (lengths []int, whole []bool)) {
	t.Helper()
	a, r, b, _ := inARow(t)
	r.ifByName["shmif1"].link.SetMTU(1300)
	b.ifByName["shmif0"].link.SetMTU(1300)
	left := a.ifByName["shmif0"].link.(*etherLink).bus.(*port).segment
	var mu sync.Mutex
	var seen []int
	var marks []bool
	left.mu.Lock()
	defer left.mu.Unlock()
	left.sniff = func(f []byte) {
		mu.Lock()
		defer mu.Unlock()
		switch p := f[14:]; binary.BigEndian.Uint16(f[12:]) {
		case 0x0800:
			if p[9] == netbsd.IPPROTO_UDP && bytes.Equal(p[16:20], []byte{10, 0, 1, 2}) {
				seen, marks = append(seen, int(binary.BigEndian.Uint16(p[2:]))), append(marks, p[6]&0x40 != 0)
			}
		case 0x86dd:
			if p[6] == netbsd.IPPROTO_UDP || p[6] == netbsd.IPPROTO_FRAGMENT {
				seen, marks = append(seen, 40+int(binary.BigEndian.Uint16(p[4:]))), append(marks, false)
			}
		}
	}
	return a, b, func() ([]int, []bool) {
		mu.Lock()
		defer mu.Unlock()
		l, m := seen, marks
		seen, marks = nil, nil
		return l, m
	}
}

// pathMTU is the MTU that the route to an address has, 0 for none of its own, and whether it was made
// for that.
func (s *Stack) pathMTU(dst string) (mtu uint64, dynamic bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	rt := s.routes.find(mustAddr(dst))
	return rt.rmx.Mtu, rt.is(netbsd.RTF_DYNAMIC | netbsd.RTF_HOST)
}

func write(so kernel.Socket, data []byte, to []byte) error {
	_, err := so.Send(nil, &kernel.Message{Data: data, Name: to})
	return err
}

// TestPathMTU: datagrams find the MTU of their path as their sockets ask for it.
func TestPathMTU(t *testing.T) {
	for _, test := range []struct {
		name     string
		to, dst  string
		discover int32 // -1: as it is
		// Before and after a router has told: the longest packet that is sent whole, and what comes
		// of one byte more.
		before, after int
		err           error
		whole         bool // has IP_DF
	}{
		{"as it is", "10.0.1.2:5000", "10.0.1.2", -1, 1500, 1500, nil, false},
		{"dont", "10.0.1.2:5000", "10.0.1.2", sysproxy.PMTUDiscDont, 1500, 1500, nil, false},
		{"want", "10.0.1.2:5000", "10.0.1.2", sysproxy.PMTUDiscWant, 1500, 1300, nil, true},
		{"do", "10.0.1.2:5000", "10.0.1.2", sysproxy.PMTUDiscDo, 1500, 1300, netbsd.EMSGSIZE, true},
		{"probe", "10.0.1.2:5000", "10.0.1.2", sysproxy.PMTUDiscProbe, 1500, 1500, netbsd.EMSGSIZE, true},
		{"interface", "10.0.1.2:5000", "10.0.1.2", sysproxy.PMTUDiscInterface, 1500, 1500, netbsd.EMSGSIZE, false},
		{"omit", "10.0.1.2:5000", "10.0.1.2", sysproxy.PMTUDiscOmit, 1500, 1500, nil, false},
		{"6", "[fd01::2]:5000", "fd01::2", -1, 1500, 1300, nil, false},
		{"6 want", "[fd01::2]:5000", "fd01::2", sysproxy.PMTUDiscWant, 1500, 1300, nil, false},
		{"6 do", "[fd01::2]:5000", "fd01::2", sysproxy.PMTUDiscDo, 1500, 1300, netbsd.EMSGSIZE, false},
		{"6 probe", "[fd01::2]:5000", "fd01::2", sysproxy.PMTUDiscProbe, 1500, 1500, netbsd.EMSGSIZE, false},
		{"6 omit", "[fd01::2]:5000", "fd01::2", sysproxy.PMTUDiscOmit, 1500, 1500, nil, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			a, b, lengths := narrow(t)
			to := addr(a, test.to)
			in := bound(t, b, test.to)
			out := open(t, a, int32(saFamily(to)), netbsd.SOCK_DGRAM, 0)
			head := 20 + 8
			if saFamily(to) == netbsd.AF_INET6 {
				head = 40 + 8
			}
			if test.discover >= 0 {
				if saFamily(to) == netbsd.AF_INET {
					setInt(t, out, a.machine, netbsd.IPPROTO_IP, sysproxy.IPMTUDiscover, test.discover)
				} else {
					setInt(t, out, a.machine, netbsd.IPPROTO_IPV6, sysproxy.IPv6MTUDiscover, test.discover)
				}
			}
			longest := func(when string, mtu int) {
				t.Helper()
				lengths()
				must(t, write(out, noise(mtu-head), to))
				l, whole := lengths()
				if len(l) != 1 || l[0] != mtu || whole[0] != test.whole {
					t.Errorf("%s, %d bytes: %v, %v", when, mtu, l, whole)
				}
				check(t, when, write(out, noise(mtu+1-head), to), test.err)
				l, whole = lengths()
				if test.err != nil && len(l) == 0 {
					return
				}
				if len(l) != 2 || l[0] > mtu || whole[0] || whole[1] {
					t.Errorf("%s, a byte more: %v, %v", when, l, whole)
				}
			}
			a.answered(t, test.dst, 1) // the neighbours are known
			send(t, out, noise(1), to)
			longest("before", test.before)
			if test.after != test.before {
				eventually(t, "the path's MTU", func() bool {
					mtu, dynamic := a.pathMTU(test.dst)
					return mtu == 1300 && dynamic
				})
			}
			longest("after", test.after)
			for _, size := range []int{3000, 9000} {
				p := noise(size)
				err := write(out, p, to)
				if check(t, "long", err, test.err); err != nil || saFamily(to) == netbsd.AF_INET6 && test.after > 1300 {
					continue // of IPv6 nobody but the sender makes fragments
				}
				for {
					if m := recv(t, in, 1<<16, 0); bytes.Equal(m.Data, p) {
						break
					}
				}
			}
		})
	}
}

// TestPathMTUEnds: what a router has told is forgotten.
func TestPathMTUEnds(t *testing.T) {
	a, _, _ := narrow(t)
	must(t, a.addStatic("fd01::3 fd00::fe"))
	must(t, a.setParam("net.inet.ip.mtudisctimeout", 3600))
	learn := func(dst string, validated bool) {
		a.learnPathMTU(mustAddr(dst), 1400, validated)
		a.learnPathMTU(mustAddr(dst), 1300, validated)
		a.learnPathMTU(mustAddr(dst), 1350, validated) // not more than before
	}
	settle := func() {
		done := make(chan struct{})
		a.events.post(func() { close(done) }) // in order
		<-done
	}
	want := func(dst string, mtu uint64, dynamic bool) {
		t.Helper()
		if m, d := a.pathMTU(dst); m != mtu || d != dynamic {
			t.Errorf("%s: MTU %d, made for that: %v; want %d, %v", dst, m, d, mtu, dynamic)
		}
	}
	for _, dst := range []string{"fd01::2", "fd01::3", "10.0.1.2", "10.0.0.254", "fd00::fe", "fe80::1"} {
		learn(dst, false)
	}
	settle()
	want("fd01::2", 1300, true)
	want("fd01::3", 1300, false) // a route to the host was there
	want("10.0.1.2", 1300, true)
	want("10.0.0.254", 0, false) // no router is before it
	want("fd00::fe", 0, false)
	if a.pathRoutes != 3 {
		t.Errorf("%d routes", a.pathRoutes)
	}

	// There are no more than are allowed, of those that are not known to be ours.
	must(t, a.setParam("net.inet6.icmp6.mtudisc_lowat", 3))
	learn("fd01::4", false)
	settle()
	want("fd01::4", 0, false)
	learn("fd01::4", true)
	settle()
	want("fd01::4", 1300, true)

	// A message that comes again makes it last.
	must(t, a.setParam("net.inet.ip.mtudisctimeout", 0))
	for _, dst := range []string{"fd01::2", "fd01::3", "10.0.1.2", "fd01::4"} {
		learn(dst, false)
	}
	eventually(t, "the routes are gone", func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		return a.pathRoutes == 0
	})
	for _, dst := range []string{"fd01::2", "fd01::3", "10.0.1.2", "fd01::4"} {
		want(dst, 0, false)
	}
	// One that somebody has deleted meanwhile, and made himself, is left alone.
	must(t, a.setParam("net.inet.ip.mtudisctimeout", 1))
	learn("fd01::2", false)
	settle()
	info := &routeInfo{flags: netbsd.RTF_HOST}
	info.addrs[netbsd.RTAX_DST] = sockaddrInet(mustAddr("fd01::2"))
	a.mu.Lock()
	_, err := a.routeDelete(info)
	a.mu.Unlock()
	must(t, err)
	must(t, a.addStatic("fd01::2 fd00::fe"))
	eventually(t, "the time is over", func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		return a.pathRoutes == 0
	})
	if rt := a.routes.find(mustAddr("fd01::2")); !rt.is(netbsd.RTF_STATIC | netbsd.RTF_HOST) {
		t.Errorf("the route to the host has flags %#x", rt.flags)
	}
}

// TestEchoPathMTU: pings of any size are answered, whatever the path takes.
func TestEchoPathMTU(t *testing.T) {
	a, b, _ := narrow(t)
	a.answered(t, "fd01::2", 56)
	b.answered(t, "fd00::1", 56)
	if msg, _ := a.echo(t, "fd01::2", 2000, 64); msg[0] != netbsd.ICMP6_PACKET_TOO_BIG {
		t.Errorf("type %d", msg[0])
	}
	eventually(t, "the path's MTU", func() bool {
		mtu, _ := a.pathMTU("fd01::2")
		return mtu == 1300
	})
	// The answer is not one that somebody would find too big.
	b.ifByName["shmif0"].link.SetMTU(1500)
	a.answered(t, "fd01::2", 1300, 2000, 5000)
}

// TestPathMTUErrors: a connected socket that wants its datagrams whole hears of it.
func TestPathMTUErrors(t *testing.T) {
	for _, to := range []string{"10.0.1.2:5000", "[fd01::2]:5000"} {
		a, b, _ := narrow(t)
		bound(t, b, to)
		sa := addr(a, to)
		so := open(t, a, int32(saFamily(sa)), netbsd.SOCK_DGRAM, 0)
		if saFamily(sa) == netbsd.AF_INET {
			setInt(t, so, a.machine, netbsd.IPPROTO_IP, sysproxy.IPMTUDiscover, sysproxy.PMTUDiscDo)
		} else {
			setInt(t, so, a.machine, netbsd.IPPROTO_IPV6, sysproxy.IPv6MTUDiscover, sysproxy.PMTUDiscDo)
		}
		must(t, so.Connect(sa))
		must(t, write(so, noise(1400), nil))
		err := await(t, so, func() error {
			_, err := so.Recv(nil, &kernel.Message{Data: make([]byte, 1)})
			return err
		})
		check(t, to, err, netbsd.EMSGSIZE)
	}
}

// TestFragmentSize6: a program says how long fragments are, or that they are to be the shortest.
func TestFragmentSize6(t *testing.T) {
	a, b, lengths := narrow(t)
	for _, test := range []struct {
		name, v int32
		to      string
		most    int
	}{
		{sysproxy.IPv6MTU, 1296, "[fd01::fe]:5000", 1296},
		{sysproxy.IPv6MTU, 0, "[fd01::fe]:5000", 1496},
		{netbsd.IPV6_USE_MIN_MTU, 1, "[fd01::fe]:5000", 1280},
		{netbsd.IPV6_USE_MIN_MTU, 0, "[fd01::fe]:5000", 1496},
		{netbsd.IPV6_USE_MIN_MTU, -1, "[ff02::99]:5000", 1280},
		{netbsd.IPV6_USE_MIN_MTU, 0, "[ff02::99]:5000", 1496},
	} {
		so := open(t, a, netbsd.AF_INET6, netbsd.SOCK_DGRAM, 0)
		setInt(t, so, a.machine, netbsd.IPPROTO_IPV6, test.name, test.v)
		lengths()
		to := addr(a, test.to)
		if a := netip.MustParseAddrPort(test.to); a.Addr().IsMulticast() {
			to = netbsd.SockaddrIn6(so.(*udpSocket).m, a, 2, 0)
		}
		must(t, write(so, noise(3000), to))
		// All of it: what came later would be taken for the next one's.
		var all []int
		eventually(t, "sent", func() bool {
			l, _ := lengths()
			all = append(all, l...)
			sent := 0
			for _, n := range all {
				sent += n - header.IPv6MinimumSize - header.IPv6FragmentHeaderSize
			}
			return sent >= header.UDPMinimumSize+3000
		})
		if all[0] != test.most {
			t.Errorf("%s, option %#x of %d: %v, want %d", test.to, test.name, test.v, all, test.most)
		}
		so.Close()
	}
	so := open(t, a, netbsd.AF_INET6, netbsd.SOCK_DGRAM, 0)
	for _, v := range []int32{-1, 1, 1279} {
		value := a.machine.Order.AppendUint32(nil, uint32(v))
		check(t, "IPV6_MTU", so.SetOption(nil, netbsd.IPPROTO_IPV6, sysproxy.IPv6MTU, value), netbsd.EINVAL)
	}
	for _, v := range []int32{-1, 6} {
		value := a.machine.Order.AppendUint32(nil, uint32(v))
		check(t, "IPV6_MTU_DISCOVER", so.SetOption(nil, netbsd.IPPROTO_IPV6, sysproxy.IPv6MTUDiscover, value), netbsd.EINVAL)
		check(t, "IP_MTU_DISCOVER", so.SetOption(nil, netbsd.IPPROTO_IP, sysproxy.IPMTUDiscover, value), netbsd.EINVAL)
	}
	// What must not be fragmented goes by the interface's MTU, whatever else is asked for.
	whole := open(t, a, netbsd.AF_INET6, netbsd.SOCK_DGRAM, 0)
	setInt(t, whole, a.machine, netbsd.IPPROTO_IPV6, netbsd.IPV6_DONTFRAG, 1)
	setInt(t, whole, a.machine, netbsd.IPPROTO_IPV6, netbsd.IPV6_USE_MIN_MTU, 1)
	for d := int32(sysproxy.PMTUDiscDont); d <= sysproxy.PMTUDiscOmit; d++ {
		setInt(t, whole, a.machine, netbsd.IPPROTO_IPV6, sysproxy.IPv6MTUDiscover, d)
		must(t, write(whole, noise(1452), addr(a, "[fd01::fe]:5000")))
		check(t, "too long", write(whole, noise(1453), addr(a, "[fd01::fe]:5000")), netbsd.EMSGSIZE)
	}
	// An extension header that each fragment has, and one that only the first has.
	in := bound(t, b, "[fd01::2]:5000")
	options := []byte{0, 0, 1, 4, 0, 0, 0, 0}
	must(t, so.SetOption(nil, netbsd.IPPROTO_IPV6, netbsd.IPV6_HOPOPTS, options))
	must(t, so.SetOption(nil, netbsd.IPPROTO_IPV6, netbsd.IPV6_DSTOPTS, options))
	setInt(t, so, a.machine, netbsd.IPPROTO_IPV6, netbsd.IPV6_USE_MIN_MTU, 1)
	for _, size := range []int{1200, 1208, 1209, 1216, 1217, 1224, 1225, 5000} {
		p := noise(size)
		must(t, write(so, p, addr(a, "[fd01::2]:5000")))
		if m := recv(t, in, 1<<16, 0); !bytes.Equal(m.Data, p) {
			t.Errorf("%d bytes of %d, or others", len(m.Data), size)
		}
	}
}

// TestPathMTURaw: what raw sockets send finds the MTU of its path, too, if they ask for that.
func TestPathMTURaw(t *testing.T) {
	a, _, _ := narrow(t)
	a.answered(t, "10.0.1.2", 1)
	so := open(t, a, netbsd.AF_INET, netbsd.SOCK_RAW, netbsd.IPPROTO_ICMP)
	to := addr(a, "10.0.1.2:0")
	ping := func(size int) []byte { return echoRequest(netbsd.ICMP_ECHO, 7, 1, make([]byte, size)) }
	must(t, write(so, ping(1400), to)) // in fragments, of which the router makes more
	setInt(t, so, a.machine, netbsd.IPPROTO_IP, sysproxy.IPMTUDiscover, sysproxy.PMTUDiscDo)
	must(t, write(so, ping(1400), to))
	eventually(t, "the path's MTU", func() bool {
		mtu, dynamic := a.pathMTU("10.0.1.2")
		return mtu == 1300 && dynamic
	})
	check(t, "then", write(so, ping(1400), to), netbsd.EMSGSIZE)
	if mtu := getInt(t, so, a.machine, netbsd.IPPROTO_IP, netbsd.IP_ERRORMTU); mtu != 1300 {
		t.Errorf("IP_ERRORMTU is %d", mtu)
	}
	must(t, write(so, ping(1272), to))
	// With a header of the program's own.
	setInt(t, so, a.machine, netbsd.IPPROTO_IP, netbsd.IP_HDRINCL, 1)
	check(t, "with a header", write(so, ip(a, netbsd.IPPROTO_ICMP, "10.0.1.2", 0, ping(1400)), to), netbsd.EMSGSIZE)
	must(t, write(so, ip(a, netbsd.IPPROTO_ICMP, "10.0.1.2", 0, ping(1272)), to))
}

// TestPathMTUTCP: a stream finds a way through a network whose MTU neither end knows.
func TestPathMTUTCP(t *testing.T) {
	for _, to := range []string{"10.0.1.2:5000", "[fd01::2]:5000"} {
		a, b, _ := narrow(t)
		b.ifByName["shmif0"].link.SetMTU(1500)
		c, srv := connected(t, a, b, to)
		p := noise(300_000)
		go func() {
			for rest := p; len(rest) > 0; {
				n, err := c.Send(nil, &kernel.Message{Data: rest})
				if err == netbsd.EAGAIN {
					time.Sleep(time.Millisecond)
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				rest = rest[n:]
			}
		}()
		if got := readAll(t, srv, len(p)); !bytes.Equal(got, p) {
			t.Errorf("%s: %d bytes of %d, or others", to, len(got), len(p))
		}
		// Those that come later need not find out.
		dst := netip.MustParseAddrPort(to).Addr()
		if mtu, dynamic := a.pathMTU(dst.String()); mtu != 1300 || !dynamic {
			t.Errorf("%s: MTU %d, %v", to, mtu, dynamic)
		}
		later, _ := connected(t, a, b, strings.Replace(to, "5000", "5001", 1))
		head := 40
		if dst.Is6() {
			head = 60
		}
		if mss := getInt(t, later, a.machine, netbsd.IPPROTO_TCP, netbsd.TCP_MAXSEG); mss != int32(1300-head) {
			t.Errorf("%s: segments of %d bytes", to, mss)
		}
	}
}
