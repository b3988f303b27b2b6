package inet

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"rumptools/internal/kernel"
	"rumptools/pkg/netbsd"
)

const stream = netbsd.SOCK_STREAM

// listener makes a TCP socket that listens.
func listener(t *testing.T, s *Stack, a string, backlog int32) kernel.Socket {
	t.Helper()
	sa := addr(s, a)
	so := open(t, s, int32(sa[1]), stream, 0)
	must(t, so.Bind(sa))
	must(t, so.Listen(backlog))
	return so
}

// dial connects a new TCP socket.
func dial(t *testing.T, s *Stack, a string) kernel.Socket {
	t.Helper()
	sa := addr(s, a)
	so := open(t, s, int32(sa[1]), stream, 0)
	must(t, connect(t, so, sa))
	return so
}

// connect is connect(2) that waits.
func connect(t *testing.T, so kernel.Socket, sa []byte) error {
	t.Helper()
	if err := so.Connect(sa); err != netbsd.EINPROGRESS {
		return err
	}
	return await(t, so, so.ConnectResult)
}

// accept is accept(2) that waits.
func accept(t *testing.T, so kernel.Socket) (kernel.Socket, []byte) {
	t.Helper()
	var c kernel.Socket
	var sa []byte
	err := await(t, so, func() (err error) {
		c, sa, err = so.Accept()
		return err
	})
	if err != nil {
		t.Fatalf("accept: %v", err)
	}
	t.Cleanup(func() { c.Close() })
	return c, sa
}

// connected makes the two ends of a connection.
func connected(t *testing.T, from, to *Stack, a string) (c, srv kernel.Socket) {
	t.Helper()
	l := listener(t, to, a, 5)
	c = dial(t, from, a)
	srv, _ = accept(t, l)
	l.Close()
	return c, srv
}

// readAll reads n bytes, or to the end if n is negative.
func readAll(t *testing.T, so kernel.Socket, n int) []byte {
	t.Helper()
	var b []byte
	for n < 0 || len(b) < n {
		room := 1 << 16
		if n >= 0 {
			room = min(room, n-len(b))
		}
		m := recv(t, so, room, 0)
		if len(m.Data) == 0 {
			break
		}
		b = append(b, m.Data...)
	}
	return b
}

// ready waits until poll gives exactly these bits.
func ready(t *testing.T, so kernel.Socket, want kernel.Events) {
	t.Helper()
	var got kernel.Events
	done := false
	defer func() {
		if !done {
			t.Logf("poll gives %#x, want %#x", got, want)
		}
	}()
	must(t, await(t, so, func() error {
		if got = so.Poll(); got != want {
			return netbsd.EAGAIN
		}
		return nil
	}))
	done = true
}

func TestTCPExchange(t *testing.T) {
	onMachines(t, func(t *testing.T, s *Stack) {
		for _, a := range []string{"127.0.0.1:80", "[::1]:80"} {
			sa := addr(s, a)
			l := listener(t, s, a, 5)
			if !bytes.Equal(name(t, l), sa) {
				t.Errorf("listener's name is %x", name(t, l))
			}
			c := open(t, s, int32(sa[1]), stream, 0)
			if ev := c.Poll(); ev != 0 {
				t.Errorf("fresh socket: %#x", ev)
			}
			must(t, connect(t, c, sa))
			ready(t, c, pollWrite)
			ready(t, l, pollRead)
			if n, _ := l.Pending(); n != 1 {
				t.Errorf("%d connections wait", n)
			}
			srv, peer := accept(t, l)
			if !bytes.Equal(peer, name(t, c)) || portOf(peer) < netbsd.IPPORT_ANONMIN {
				t.Errorf("accepted from %x, client is %x", peer, name(t, c))
			}
			for _, so := range []kernel.Socket{c, srv} {
				p, err := so.Peer()
				must(t, err)
				if other := name(t, map[kernel.Socket]kernel.Socket{c: srv, srv: c}[so]); !bytes.Equal(p, other) {
					t.Errorf("peer %x, other's name %x", p, other)
				}
			}
			send(t, c, []byte("hello"), nil)
			ready(t, srv, pollRead|pollWrite)
			if n, room := srv.Pending(); n != 5 || room != tcpSpace {
				t.Errorf("pending are %d and %d", n, room)
			}
			if m := recv(t, srv, 64, netbsd.MSG_PEEK); string(m.Data) != "hello" || len(m.Name) != 0 {
				t.Errorf("%q from %x", m.Data, m.Name)
			}
			if m := recv(t, srv, 2, 0); string(m.Data) != "he" {
				t.Errorf("%q", m.Data)
			}
			if m := recv(t, srv, 64, 0); string(m.Data) != "llo" {
				t.Errorf("%q", m.Data)
			}
			ready(t, srv, pollWrite)
			// Half of it ends.
			must(t, c.Shutdown(netbsd.SHUT_WR))
			ready(t, srv, pollRead|pollWrite)
			if m := recv(t, srv, 64, 0); len(m.Data) != 0 {
				t.Errorf("%q after the end", m.Data)
			}
			_, err := c.Send(nil, &kernel.Message{Data: []byte("x")})
			check(t, "send after shutdown", err, netbsd.EPIPE)
			send(t, srv, []byte("last"), nil)
			must(t, srv.Close())
			if b := readAll(t, c, -1); string(b) != "last" {
				t.Errorf("%q", b)
			}
			must(t, l.Close())
		}
	})
}

// TestTCPBulk sends much in both directions at once, over lo0 and over a
// segment.
func TestTCPBulk(t *testing.T) {
	a, b := pair(t)
	for _, tt := range []struct {
		name   string
		to     *Stack
		listen string
	}{
		{"lo0", a, "127.0.0.1:80"}, {"lo0 IPv6", a, "[::1]:80"},
		{"segment", b, "10.0.0.2:80"}, {"segment IPv6", b, "[fd00::2]:80"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, srv := connected(t, a, tt.to, tt.listen)
			data := make([]byte, 1<<20)
			for i := range data {
				data[i] = byte(rand.Uint32())
			}
			var wg sync.WaitGroup
			for _, dir := range [][2]kernel.Socket{{c, srv}, {srv, c}} {
				wg.Add(2)
				go func() {
					defer wg.Done()
					send(t, dir[0], data, nil)
					dir[0].Shutdown(netbsd.SHUT_WR)
				}()
				go func() {
					defer wg.Done()
					if got := readAll(t, dir[1], -1); !bytes.Equal(got, data) {
						t.Errorf("%d bytes came of %d", len(got), len(data))
					}
				}()
			}
			wg.Wait()
		})
	}
}

// TestTCPLoopSegments: on lo0 TCP's packets are as long as IP lets them be, whatever the MTU
// is; what is on a segment of the network is not.
func TestTCPLoopSegments(t *testing.T) {
	a, b := pair(t)
	for _, tt := range []struct {
		ifname string
		to     *Stack
		listen string
		long   bool
	}{
		{"lo0", a, "127.0.0.1:80", true}, {"lo0", a, "[::1]:80", true}, {"lo0", a, "10.0.0.1:81", true},
		{"shmif0", b, "10.0.0.2:80", false}, {"shmif0", b, "[fd00::2]:80", false},
	} {
		t.Run(tt.listen, func(t *testing.T) {
			ifp := a.ifByName[tt.ifname]
			ifp.link.SetMTU(1500)
			c, srv := connected(t, a, tt.to, tt.listen)
			before := ifp.counters.opackets.Load()
			const size = 1 << 20
			var wg sync.WaitGroup
			wg.Go(func() { send(t, c, make([]byte, size), nil) })
			if got := readAll(t, srv, size); len(got) != size {
				t.Errorf("%d bytes came", len(got))
			}
			wg.Wait()
			// Acknowledgements are counted on lo0, too.
			if n := ifp.counters.opackets.Load() - before; n < size>>16 || (n < size/1500) != tt.long {
				t.Errorf("%d packets for %d bytes", n, size)
			}
		})
	}
}

func TestTCPRefused(t *testing.T) {
	a, _ := pair(t)
	for _, to := range []string{"127.0.0.1:9", "[::1]:9", "10.0.0.2:9", "[fd00::2]:9"} {
		sa := addr(a, to)
		so := open(t, a, int32(sa[1]), stream, 0)
		check(t, "connect to "+to, connect(t, so, sa), netbsd.ECONNREFUSED)
		check(t, "connect again", so.Connect(sa), netbsd.EINVAL)
		so = open(t, a, int32(sa[1]), stream, 0)
		check(t, "connect", so.Connect(sa), netbsd.EINPROGRESS)
		ready(t, so, pollRead|pollWrite)
		for _, want := range []netbsd.Errno{netbsd.ECONNREFUSED, 0} {
			if n := getInt(t, so, a.machine, netbsd.SOL_SOCKET, netbsd.SO_ERROR); n != int32(want) {
				t.Errorf("SO_ERROR is %d, want %d", n, want)
			}
		}
		_, err := so.Send(nil, &kernel.Message{Data: []byte("x")})
		check(t, "send", err, netbsd.EPIPE)
		check(t, "bind", so.Bind(sa), netbsd.EINVAL)
	}
}

func TestTCPErrors(t *testing.T) {
	a, _ := pair(t)
	so := open(t, a, inet, stream, 0)
	_, err := so.Recv(nil, &kernel.Message{Data: make([]byte, 1)})
	check(t, "receive unconnected", err, netbsd.ENOTCONN)
	_, err = so.Send(nil, &kernel.Message{Data: make([]byte, 1)})
	check(t, "send unconnected", err, netbsd.ENOTCONN)
	_, _, err = so.Accept()
	check(t, "accept without listen", err, netbsd.EINVAL)
	_, err = so.Peer()
	check(t, "getpeername", err, netbsd.ENOTCONN)
	check(t, "shutdown how", so.Shutdown(3), netbsd.EINVAL)
	for _, tt := range []struct {
		to   string
		want error
	}{
		{"192.168.1.1:80", netbsd.EHOSTUNREACH},
		{"127.0.0.1:0", netbsd.EADDRNOTAVAIL},
		{"224.0.0.1:80", netbsd.EADDRNOTAVAIL},
		{"10.0.0.255:80", netbsd.EACCES},
		{"[2001:db8::1]:80", netbsd.EHOSTUNREACH},
		{"[::ffff:127.0.0.1]:80", netbsd.EINVAL},
	} {
		family := int32(inet)
		if tt.to[0] == '[' {
			family = inet6
		}
		so := open(t, a, family, stream, 0)
		check(t, "connect to "+tt.to, so.Connect(addr(a, tt.to)), tt.want)
		check(t, "bind after that", so.Bind(addr(a, map[int32]string{inet: "127.0.0.1:7", inet6: "[::1]:7"}[family])), netbsd.EINVAL)
	}
	so = open(t, a, inet, stream, 0)
	check(t, "bind somebody else's", so.Bind(addr(a, "10.0.0.9:7")), netbsd.EADDRNOTAVAIL)
	check(t, "bind half", so.Bind(addr(a, "127.0.0.1:7")[:15]), netbsd.EINVAL)
	check(t, "bind", so.Bind(addr(a, "127.0.0.1:7")), nil)
	check(t, "bind again", so.Bind(addr(a, "127.0.0.1:7")), netbsd.EINVAL)
	check(t, "listen", so.Listen(5), nil)
	check(t, "listen again", so.Listen(2), nil)
	check(t, "connect a listener", so.Connect(addr(a, "127.0.0.1:7")), netbsd.EOPNOTSUPP)
	_, _, err = so.Accept()
	check(t, "accept", err, netbsd.EAGAIN)
	two := open(t, a, inet, stream, 0)
	check(t, "bind a taken port", two.Bind(addr(a, "127.0.0.1:7")), netbsd.EADDRINUSE)
	check(t, "bind a taken port on all", two.Bind(addr(a, "0.0.0.0:7")), netbsd.EADDRINUSE)

	c, srv := connected(t, a, a, "127.0.0.1:80")
	check(t, "connect again", c.Connect(addr(a, "127.0.0.1:80")), netbsd.EISCONN)
	check(t, "listen on a connection", c.Listen(1), netbsd.EINVAL)
	_, err = c.Recv(nil, &kernel.Message{Data: make([]byte, 1)})
	check(t, "receive nothing", err, netbsd.EAGAIN)
	srv.Close()
	if b := readAll(t, c, -1); len(b) != 0 {
		t.Errorf("%q", b)
	}
}

// TestTCPEnd: how each side learns that the other has ended.
func TestTCPEnd(t *testing.T) {
	s := newStackOf(t, netbsd.AMD64)
	t.Run("reset by linger", func(t *testing.T) {
		c, srv := connected(t, s, s, "127.0.0.1:81")
		l := netbsd.Marshal(s.machine, &netbsd.Linger{Onoff: 1})
		must(t, srv.SetOption(nil, netbsd.SOL_SOCKET, netbsd.SO_LINGER, l))
		srv.Close()
		ready(t, c, pollRead|pollWrite)
		_, err := c.Recv(nil, &kernel.Message{Data: make([]byte, 1)})
		check(t, "receive", err, netbsd.ECONNRESET)
		n, err := c.Recv(nil, &kernel.Message{Data: make([]byte, 1)})
		if n != 0 || err != nil {
			t.Errorf("receive again: %d, %v", n, err)
		}
		_, err = c.Send(nil, &kernel.Message{Data: make([]byte, 1)})
		check(t, "send", err, netbsd.EPIPE)
	})
	t.Run("send to closed", func(t *testing.T) {
		c, srv := connected(t, s, s, "127.0.0.1:82")
		srv.Close()
		if b := readAll(t, c, -1); len(b) != 0 {
			t.Errorf("%q", b)
		}
		_, err := c.Send(nil, &kernel.Message{Data: []byte("x")})
		check(t, "first send", err, nil)
		eventually(t, "send fails", func() bool {
			_, err := c.Send(nil, &kernel.Message{Data: []byte("x")})
			return err == netbsd.EPIPE
		})
		if n := getInt(t, c, s.machine, netbsd.SOL_SOCKET, netbsd.SO_ERROR); n != int32(netbsd.ECONNRESET) {
			t.Errorf("SO_ERROR is %d", n)
		}
	})
	t.Run("close with data unread", func(t *testing.T) {
		c, srv := connected(t, s, s, "127.0.0.1:83")
		send(t, c, []byte("never read"), nil)
		ready(t, srv, pollRead|pollWrite)
		srv.Close()
		if b := readAll(t, c, -1); len(b) != 0 { // no reset
			t.Errorf("%q", b)
		}
	})
	t.Run("shutdown read", func(t *testing.T) {
		c, srv := connected(t, s, s, "127.0.0.1:84")
		must(t, srv.Shutdown(netbsd.SHUT_RD))
		ready(t, srv, pollRead|pollWrite)
		if b := readAll(t, srv, -1); len(b) != 0 {
			t.Errorf("%q", b)
		}
		send(t, srv, []byte("still"), nil)
		if b := readAll(t, c, 5); string(b) != "still" {
			t.Errorf("%q", b)
		}
	})
	t.Run("listener closed", func(t *testing.T) {
		l := listener(t, s, "127.0.0.1:85", 5)
		c := dial(t, s, "127.0.0.1:85")
		ready(t, l, pollRead)
		l.Close()
		_, err := c.Recv(nil, &kernel.Message{Data: make([]byte, 1)})
		if err == netbsd.EAGAIN {
			err = await(t, c, func() error {
				_, err := c.Recv(nil, &kernel.Message{Data: make([]byte, 1)})
				return err
			})
		}
		check(t, "receive", err, netbsd.ECONNRESET)
		// The port is free again.
		must(t, listener(t, s, "127.0.0.1:85", 5).Close())
	})
}

// TestTCPReuse: a port is free again, for listeners that ask so, while
// connections of the one before are remembered.
func TestTCPReuse(t *testing.T) {
	s := newStackOf(t, netbsd.AMD64)
	l := listener(t, s, "127.0.0.1:80", 5)
	c := dial(t, s, "127.0.0.1:80")
	srv, _ := accept(t, l)
	l.Close()
	srv.Close() // first: it is the one that waits
	if b := readAll(t, c, -1); len(b) != 0 {
		t.Errorf("%q", b)
	}
	c.Close()
	so := open(t, s, inet, stream, 0)
	check(t, "bind", so.Bind(addr(s, "127.0.0.1:80")), netbsd.EADDRINUSE)
	setInt(t, so, s.machine, netbsd.SOL_SOCKET, netbsd.SO_REUSEADDR, 1)
	check(t, "bind with SO_REUSEADDR", so.Bind(addr(s, "127.0.0.1:80")), nil)
	check(t, "listen", so.Listen(1), nil)
	dial(t, s, "127.0.0.1:80")
	accept(t, so)
}

// TestTCPFull fills both buffers.
func TestTCPFull(t *testing.T) {
	s := newStackOf(t, netbsd.AMD64)
	c, srv := connected(t, s, s, "127.0.0.1:80")
	setInt(t, c, s.machine, netbsd.SOL_SOCKET, netbsd.SO_SNDBUF, 16384)
	sent := 0
	block := make([]byte, 4096)
	for {
		n, err := c.Send(nil, &kernel.Message{Data: block})
		sent += n
		if err == netbsd.EAGAIN {
			// It may have room again when what is under way has arrived.
			time.Sleep(20 * time.Millisecond)
			if c.Poll() == 0 {
				break
			}
			continue
		}
		must(t, err)
		if sent > 8<<20 {
			t.Fatal("the buffers have no end")
		}
	}
	if _, room := c.Pending(); room >= 8192 {
		t.Errorf("not ready to write, but %d bytes would fit", room)
	}
	got := len(readAll(t, srv, sent))
	if got != sent {
		t.Errorf("%d bytes of %d", got, sent)
	}
	ready(t, c, pollWrite)
}

// TestTCPKeepInit ends an attempt to connect to a host that says nothing.
func TestTCPKeepInit(t *testing.T) {
	a, _ := pair(t)
	a.mu.Lock()
	must(t, a.addNeighbour(a.ifByName["shmif0"], mustAddr("10.0.0.77"), []byte{2, 0, 0, 0, 0, 0x77}, 0, false))
	a.mu.Unlock()
	so := open(t, a, inet, stream, 0)
	setInt(t, so, a.machine, netbsd.IPPROTO_TCP, netbsd.TCP_KEEPINIT, 1) // half seconds
	begin := time.Now()
	check(t, "connect", connect(t, so, addr(a, "10.0.0.77:80")), netbsd.ETIMEDOUT)
	if d := time.Since(begin); d < 400*time.Millisecond {
		t.Errorf("it took %v", d)
	}
}

// TestTCPHostDown: nobody answers ARP.
func TestTCPHostDown(t *testing.T) {
	a, _ := pair(t)
	a.setRetransmit(a.ifByName["shmif0"], 20*time.Millisecond)
	so := open(t, a, inet, stream, 0)
	err := connect(t, so, addr(a, "10.0.0.99:80"))
	if err != netbsd.EHOSTDOWN && err != netbsd.EHOSTUNREACH {
		t.Errorf("connect: %v", err)
	}
}

// TestTCPDual has an IPv6 listener take IPv4 connections, and an IPv6 socket
// make one.
func TestTCPDual(t *testing.T) {
	s := newStackOf(t, netbsd.AMD64)
	l := open(t, s, inet6, stream, 0)
	setInt(t, l, s.machine, netbsd.IPPROTO_IPV6, netbsd.IPV6_V6ONLY, 0)
	must(t, l.Bind(addr(s, "[::]:80")))
	must(t, l.Listen(5))
	mapped := addr(s, "[::ffff:127.0.0.1]:80")
	c6 := open(t, s, inet6, stream, 0)
	check(t, "connect with IPV6_V6ONLY", c6.Connect(mapped), netbsd.EINVAL)
	c6 = open(t, s, inet6, stream, 0)
	setInt(t, c6, s.machine, netbsd.IPPROTO_IPV6, netbsd.IPV6_V6ONLY, 0)
	must(t, connect(t, c6, mapped))
	if n := name(t, c6); !bytes.Equal(n[8:24], mapped[8:24]) {
		t.Errorf("connected from %x", n)
	}
	if p, err := c6.Peer(); err != nil || !bytes.Equal(p, mapped) {
		t.Errorf("connected to %x, %v", p, err)
	}
	srv, peer := accept(t, l)
	if !bytes.Equal(peer, name(t, c6)) {
		t.Errorf("accepted %x", peer)
	}
	srv.Close()
	c4 := dial(t, s, "127.0.0.1:80")
	srv, peer = accept(t, l)
	if !bytes.Equal(peer[8:24], mapped[8:24]) || portOf(peer) != portOf(name(t, c4)) {
		t.Errorf("accepted %x", peer)
	}
	send(t, srv, []byte("hello"), nil)
	if b := readAll(t, c4, 5); string(b) != "hello" {
		t.Errorf("%q", b)
	}
	// An IPv4 socket cannot have the port as well.
	check(t, "bind", open(t, s, inet, stream, 0).Bind(addr(s, "127.0.0.1:80")), netbsd.EADDRINUSE)
	// But beside an IPv6 socket that is for IPv6 alone it can.
	listener(t, s, "[::]:81", 5)
	listener(t, s, "0.0.0.0:81", 5)
}

// TestTCPLinkLocal connects to link-local addresses: of lo0, of the own
// interface and of a neighbour.
func TestTCPLinkLocal(t *testing.T) {
	a, b := pair(t)
	for _, tt := range []struct {
		name string
		to   *Stack
		addr string
	}{
		{"lo0", a, "fe80::1%lo0"},
		{"own", a, a.linkLocalOf("shmif0")},
		{"neighbour", b, b.linkLocalOf("shmif0")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ip := mustAddr(tt.addr)
			sa := netbsd.SockaddrIn6(tt.to.machine, netip.AddrPortFrom(ip.WithZone(""), 80), tt.to.zone(ip), 0)
			l := open(t, tt.to, inet6, stream, 0)
			must(t, l.Bind(sa))
			must(t, l.Listen(5))
			if n := name(t, l); !bytes.Equal(n, sa) {
				t.Errorf("listener is %x, want %x", n, sa)
			}
			c := open(t, a, inet6, stream, 0)
			must(t, connect(t, c, sa))
			srv, peer := accept(t, l)
			if n := name(t, c); !bytes.Equal(peer, n) || a.machine.Order.Uint32(n[24:]) == 0 || n[8] != 0xfe {
				t.Errorf("accepted %x from %x", peer, n)
			}
			send(t, c, []byte("hello"), nil)
			if b := readAll(t, srv, 5); string(b) != "hello" {
				t.Errorf("%q", b)
			}
			u := open(t, tt.to, inet6, dgram, 0)
			must(t, u.Bind(sa))
			uc := open(t, a, inet6, dgram, 0)
			send(t, uc, []byte("hello"), sa)
			if m := recv(t, u, 100, 0); string(m.Data) != "hello" || a.machine.Order.Uint32(m.Name[24:]) == 0 || m.Name[10] != 0 {
				t.Errorf("%q from %x", m.Data, m.Name)
			}
			for _, p := range pcbs(t, a, inet6, netbsd.IPPROTO_TCP) {
				// The kernel's form: the interface is in the address.
				if p.Src[8] == 0xfe && (p.Src[11] == 0 || a.machine.Order.Uint32(p.Src[24:]) != 0) {
					t.Errorf("listed as %x", p.Src[:28])
				}
			}
		})
	}
}

// TestTCPUnwanted: what comes after shutdown(SHUT_RD) is taken and dropped.
func TestTCPUnwanted(t *testing.T) {
	s := newStackOf(t, netbsd.AMD64)
	c, srv := connected(t, s, s, "127.0.0.1:80")
	must(t, srv.Shutdown(netbsd.SHUT_RD))
	for range 100 {
		send(t, c, make([]byte, 10000), nil)
	}
	eventually(t, "all is acknowledged", func() bool {
		_, room := c.Pending()
		return room == int64(getInt(t, c, s.machine, netbsd.SOL_SOCKET, netbsd.SO_SNDBUF))
	})
	if b := readAll(t, srv, -1); len(b) != 0 {
		t.Errorf("%d bytes were read", len(b))
	}
	send(t, srv, []byte("hello"), nil)
	if b := readAll(t, c, 5); string(b) != "hello" {
		t.Errorf("%q", b)
	}
}

// What comes in wakes who waits to read, and room wakes who waits to write.
func TestTCPWakes(t *testing.T) {
	s := newStack(t)
	a, b := connected(t, s, s, "127.0.0.1:4100")
	ready(t, a, pollWrite)
	var read, write atomic.Int32
	for events, n := range map[kernel.Events]*atomic.Int32{kernel.Readable: &read, kernel.Writable: &write} {
		w := &kernel.Watcher{Events: events, Notify: func() { n.Add(1) }}
		a.Watch(w)
		defer a.Unwatch(w)
	}
	for range 5 {
		send(t, b, []byte("data"), nil)
		readAll(t, a, 4)
	}
	if r, w := read.Load(), write.Load(); r == 0 || w != 0 {
		t.Errorf("data woke %d readers and %d writers", r, w)
	}
	for {
		if _, err := a.Send(nil, &kernel.Message{Data: make([]byte, 4096)}); err != nil {
			check(t, "a full buffer", err, netbsd.EAGAIN)
			break
		}
	}
	for end := time.Now().Add(patience); write.Load() == 0; {
		if _, err := b.Read(make([]byte, 1<<16)); err != nil && err != netbsd.EAGAIN {
			t.Fatal(err)
		}
		if time.Now().After(end) {
			t.Fatal("room woke no writer")
		}
		time.Sleep(time.Millisecond)
	}
	read.Store(0)
	write.Store(0)
	a.Close()
	if read.Load() == 0 || write.Load() == 0 {
		t.Error("the end woke not everybody")
	}
}
