package spclient_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
)

func TestUDP(t *testing.T) {
	netKernels(t, func(t *testing.T, url string) {
		ctx, c := testContext(t), dialKernel(t, url)
		for _, tt := range []struct{ network, address, dial string }{
			{"udp", "127.0.0.1:0", "127.0.0.1"},
			{"udp4", ":0", "127.0.0.1"},
			{"udp6", "[::1]:0", "::1"},
			{"udp", ":0", "127.0.0.1"},
			{"udp", ":0", "::1"},
			{"udp", "[fe80::1%lo0]:0", "fe80::1%lo0"},
		} {
			p, err := c.ListenPacket(ctx, tt.network, tt.address)
			if err != nil {
				t.Error(err)
				continue
			}
			u := p.(*spclient.UDPConn)
			_, port, _ := net.SplitHostPort(p.LocalAddr().String())
			to := net.JoinHostPort(tt.dial, port)
			nc, err := c.DialContext(ctx, tt.network, to)
			if err != nil {
				t.Error(err)
				p.Close()
				continue
			}
			buf := make([]byte, 100)
			for _, msg := range []string{"hello", "", "again"} {
				if n, err := nc.Write([]byte(msg)); n != len(msg) || err != nil {
					t.Errorf("Write = %d, %v", n, err)
				}
				n, from, err := u.ReadFrom(buf)
				if err != nil || string(buf[:n]) != msg || from.String() != nc.LocalAddr().String() {
					t.Errorf("ReadFrom = %q from %v, %v, want %q from %v", buf[:n], from, err, msg, nc.LocalAddr())
					continue
				}
				if n, err := u.WriteTo(buf[:n], from); n != len(msg) || err != nil {
					t.Errorf("WriteTo = %d, %v", n, err)
				}
				if n, err := nc.Read(buf); err != nil || string(buf[:n]) != msg {
					t.Errorf("Read = %q, %v", buf[:n], err)
				}
			}
			// Without allocating memory.
			nc.Write([]byte("one more"))
			n, ap, err := u.ReadFromUDPAddrPort(buf[:3])
			if err != nil || string(buf[:n]) != "one" || netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()).String() != nc.LocalAddr().String() {
				t.Errorf("ReadFromUDPAddrPort = %q from %v, %v", buf[:n], ap, err)
			}
			if n, err := u.WriteToUDPAddrPort([]byte("back"), ap); n != 4 || err != nil {
				t.Errorf("WriteToUDPAddrPort = %d, %v", n, err)
			}
			if n, err := nc.Read(buf); err != nil || string(buf[:n]) != "back" {
				t.Errorf("Read = %q, %v", buf[:n], err)
			}
			if _, err := nc.(*spclient.UDPConn).WriteTo(nil, p.LocalAddr()); !errors.Is(err, net.ErrWriteToConnected) {
				t.Errorf("WriteTo of a connected socket: %v", err)
			}
			if _, err := u.WriteTo(nil, &net.TCPAddr{}); err == nil {
				t.Error("WriteTo an address of TCP")
			}
			u.SetReadDeadline(time.Now().Add(30 * time.Millisecond))
			if _, _, err := u.ReadFrom(buf); !isTimeout(err) {
				t.Errorf("nothing came: %v", err)
			}
			// Nobody there: the ICMP error comes back.
			p.Close()
			if _, err := nc.Write([]byte("x")); err != nil {
				t.Error(err)
			}
			nc.SetReadDeadline(time.Now().Add(testTimeout / 2))
			if _, err := nc.Read(buf); !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("%s %s: nobody there: %v", tt.network, tt.address, err)
			}
			nc.Close()
		}
	})
}

// TestLargeDatagrams sends the largest messages of UDP, which are fragments on lo0.
func TestLargeDatagrams(t *testing.T) {
	ctx, c := testContext(t), dialKernel(t, kernelURL(t, netbsd.POWERPC))
	u, err := c.ListenPacket(ctx, "udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	nc, err := c.DialContext(ctx, "udp", u.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if err := u.(*spclient.UDPConn).SetReadBuffer(100000); err != nil {
		t.Error(err)
	}
	if err := nc.(*spclient.UDPConn).SetWriteBuffer(100000); err != nil {
		t.Error(err)
	}
	buf := make([]byte, 70000)
	for _, n := range []int{1472, 1473, 9000, 9216, 40000} {
		want := bytes.Repeat([]byte{byte(n)}, n)
		if m, err := nc.Write(want); m != n || err != nil {
			t.Errorf("Write of %d = %d, %v", n, m, err)
			continue
		}
		u.SetReadDeadline(time.Now().Add(testTimeout / 2))
		if m, _, err := u.ReadFrom(buf); err != nil || !bytes.Equal(buf[:m], want) {
			t.Errorf("%d of %d bytes, %v", m, n, err)
		}
	}
	if _, err := nc.Write(make([]byte, 70000)); !errors.Is(err, syscall.EMSGSIZE) {
		t.Errorf("Write of 70,000: %v", err)
	}
}

func TestUnixDatagrams(t *testing.T) {
	netKernels(t, func(t *testing.T, url string) {
		ctx, c := testContext(t), dialKernel(t, url)
		for _, name := range []string{"/tmp/gram-a", "/tmp/gram-b"} {
			// As in package net, these stay where there are file systems.
			defer c.NewCall(netbsd.SYS_unlink).String(name).Do(ctx)
		}
		a, err := c.ListenPacket(ctx, "unixgram", "/tmp/gram-a")
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		b, err := c.ListenPacket(ctx, "unixgram", "/tmp/gram-b")
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		buf := make([]byte, 100)
		if _, err := b.WriteTo([]byte("hello"), a.LocalAddr()); err != nil {
			t.Fatal(err)
		}
		n, from, err := a.ReadFrom(buf)
		if err != nil || string(buf[:n]) != "hello" || from == nil || from.String() != "/tmp/gram-b" {
			t.Errorf("%q from %v, %v", buf[:n], from, err)
		}
		nc, err := c.DialContext(ctx, "unixgram", "/tmp/gram-a")
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		if _, err := nc.Write([]byte("nameless")); err != nil {
			t.Error(err)
		}
		n, from, err = a.ReadFrom(buf)
		if err != nil || string(buf[:n]) != "nameless" || from != nil {
			t.Errorf("%q from %v, %v", buf[:n], from, err)
		}
	})
}

// TestRaw pings over raw sockets of both versions of IP.
func TestRaw(t *testing.T) {
	netKernels(t, func(t *testing.T, url string) {
		ctx, c := testContext(t), dialKernel(t, url)
		for _, tt := range []struct {
			network, listen, to string
			proto               int
			request, reply      icmp.Type
		}{
			{"ip4:icmp", "0.0.0.0", "127.0.0.1", netbsd.IPPROTO_ICMP, ipv4.ICMPTypeEcho, ipv4.ICMPTypeEchoReply},
			{"ip4:1", "127.0.0.1", "127.0.0.1", netbsd.IPPROTO_ICMP, ipv4.ICMPTypeEcho, ipv4.ICMPTypeEchoReply},
			{"ip:icmp", "127.0.0.1", "127.0.0.1", netbsd.IPPROTO_ICMP, ipv4.ICMPTypeEcho, ipv4.ICMPTypeEchoReply},
			{"ip6:ipv6-icmp", "::", "::1", netbsd.IPPROTO_ICMPV6, ipv6.ICMPTypeEchoRequest, ipv6.ICMPTypeEchoReply},
			{"ip6:58", "fe80::1%lo0", "fe80::1%lo0", netbsd.IPPROTO_ICMPV6, ipv6.ICMPTypeEchoRequest, ipv6.ICMPTypeEchoReply},
		} {
			p, err := c.ListenPacket(ctx, tt.network, tt.listen)
			if err != nil {
				t.Error(err)
				continue
			}
			addr := netip.MustParseAddr(tt.to)
			to := &net.IPAddr{IP: addr.AsSlice(), Zone: addr.Zone()}
			data := bytes.Repeat([]byte("data"), 100)
			m := icmp.Message{Type: tt.request, Body: &icmp.Echo{ID: 77, Seq: 3, Data: data}}
			b, err := m.Marshal(nil)
			if err != nil {
				t.Fatal(err)
			}
			// isReply tells whether a message is the answer.
			isReply := func(b []byte) bool {
				m, err := icmp.ParseMessage(tt.proto, b)
				if err != nil {
					t.Errorf("%s: %v", tt.network, err)
					return true
				}
				echo, ok := m.Body.(*icmp.Echo)
				return ok && m.Type == tt.reply && echo.ID == 77 && echo.Seq == 3 && bytes.Equal(echo.Data, data)
			}
			if n, err := p.WriteTo(b, to); n != len(b) || err != nil {
				t.Errorf("%s: WriteTo = %d, %v", tt.network, n, err)
			}
			buf := make([]byte, 2000)
			p.SetReadDeadline(time.Now().Add(testTimeout / 2))
			for {
				n, from, err := p.ReadFrom(buf)
				if err != nil {
					t.Errorf("%s: %v", tt.network, err)
					break
				}
				if isReply(buf[:n]) {
					if from.String() != tt.to {
						t.Errorf("%s: from %v", tt.network, from)
					}
					break
				}
			}
			p.Close()

			// A connection: its packets have the header that they had on the wire.
			nc, err := c.DialContext(ctx, tt.network, tt.to)
			if err != nil {
				t.Error(err)
				continue
			}
			if n, err := nc.Write(b); n != len(b) || err != nil {
				t.Errorf("%s: Write = %d, %v", tt.network, n, err)
			}
			nc.SetReadDeadline(time.Now().Add(testTimeout / 2))
			for {
				n, err := nc.Read(buf)
				if err != nil {
					t.Errorf("%s: %v", tt.network, err)
					break
				}
				payload := buf[:n]
				if tt.proto == netbsd.IPPROTO_ICMP {
					total, offset := binary.BigEndian.Uint16(buf[2:]), binary.BigEndian.Uint16(buf[6:])
					if buf[0] != 0x45 || int(total) != n || offset&0x3fff != 0 || buf[9] != netbsd.IPPROTO_ICMP {
						t.Errorf("%s: header % x of %d bytes", tt.network, buf[:20], n)
					}
					payload = buf[20:n]
				}
				if isReply(payload) {
					break
				}
			}
			nc.Close()
		}
	})
}
