//go:build linux

package linuxsock_test

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/linuxsock"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
)

var loopback = netip.MustParseAddr("127.0.0.1")

// plain are no control messages.
var plain = linuxsock.Outgoing{TTL: -1, TOS: -1}

// sendRaw sends what a program gives a raw socket of IPv4.
func (p *pair) sendRaw(t *testing.T, out linuxsock.Outgoing, data []byte) {
	t.Helper()
	packet, errno := p.ToRaw(p.k.Machine(), netip.Addr{}, loopback, out, data)
	if errno != 0 {
		t.Fatal(errno)
	}
	if _, err := p.k.Sendto(t.Context(), p.fd, packet, 0, netbsd.SockaddrIn(netip.AddrPortFrom(loopback, 0))); err != nil {
		t.Fatal(err)
	}
}

// recvRaw receives what a program gets from a raw socket of IPv4.
func (p *pair) recvRaw(t *testing.T) []byte {
	t.Helper()
	for {
		b := make([]byte, 1<<16)
		n, _, err := p.k.RecvfromWait(t.Context(), p.fd, b, 0)
		if err != nil {
			t.Fatal(err)
		}
		if p.FromRaw(p.k.Machine(), b[:n]) {
			return b[:n]
		}
	}
}

// Raw sockets of IPv4 send and receive what they do on Linux: headers in network
// order, with the socket's own time to live and type of service.
func TestRaw(t *testing.T) {
	raw := kind{"raw4", unix.AF_INET, unix.SOCK_RAW, 253}
	each(t, func(t *testing.T, k *spclient.Conn) {
		p := raw.open(t, k)
		check := func(what string, b []byte, ttl, tos byte, data string) {
			t.Helper()
			if len(b) < 20 || b[0] != 0x45 || int(binary.BigEndian.Uint16(b[2:])) != len(b) || b[8] != ttl || b[1] != tos ||
				b[9] != 253 || !bytes.Equal(b[12:20], []byte{127, 0, 0, 1, 127, 0, 0, 1}) || string(b[20:]) != data {
				t.Errorf("%s: % x", what, b)
			}
		}
		p.sendRaw(t, plain, []byte("one"))
		check("defaults", p.recvRaw(t), 64, 0, "one")
		p.must(t, unix.SOL_IP, unix.IP_TTL, u32(5))
		p.must(t, unix.SOL_IP, unix.IP_TOS, u32(0x10))
		p.sendRaw(t, plain, []byte("two"))
		check("options", p.recvRaw(t), 5, 0x10, "two")
		p.sendRaw(t, linuxsock.Outgoing{TTL: 6, TOS: 0x20, Source: loopback}, []byte("three"))
		check("control messages", p.recvRaw(t), 6, 0x20, "three")
		p.must(t, unix.SOL_IP, unix.IP_HDRINCL, u32(1))
		own := make([]byte, 20, 24)
		own[0], own[1], own[8], own[9] = 0x45, 0x30, 7, 253
		copy(own[12:], []byte{127, 0, 0, 1, 127, 0, 0, 1})
		p.sendRaw(t, plain, append(own, "four"...)) // Linux fills in the length
		check("IP_HDRINCL", p.recvRaw(t), 7, 0x30, "four")
		for _, bad := range [][]byte{nil, make([]byte, 20), own[:19], append([]byte{0x4f}, make([]byte, 30)...), make([]byte, 1<<16)} {
			if _, errno := p.ToRaw(k.Machine(), netip.Addr{}, loopback, plain, bad); errno != unix.EINVAL {
				t.Errorf("%d bytes that begin with %x: %v", len(bad), bad[:min(1, len(bad))], errno)
			}
		}
		p.must(t, unix.SOL_IP, unix.IP_HDRINCL, u32(0))
		if _, errno := p.ToRaw(k.Machine(), netip.Addr{}, loopback, plain, make([]byte, 65516)); errno != unix.EMSGSIZE {
			t.Errorf("too long: %v", errno)
		}
	})
}

// echoRequest is an echo request without its checksum.
func echoRequest(typ byte, id, seq uint16, data string) []byte {
	b := append([]byte{typ, 0, 0, 0}, binary.BigEndian.AppendUint16(nil, id)...)
	return append(binary.BigEndian.AppendUint16(b, seq), data...)
}

// ICMP_FILTER keeps back what is not wanted, which NetBSD would let through.
func TestICMPFilter(t *testing.T) {
	each(t, func(t *testing.T, k *spclient.Conn) {
		p := kindNamed("icmp4").open(t, k)
		ping := func(seq uint16) {
			t.Helper()
			msg, errno := p.ToPing(77, echoRequest(8, 1, seq, "hello"))
			if errno != 0 {
				t.Fatal(errno)
			}
			p.sendRaw(t, plain, msg)
		}
		ping(1)
		for {
			b := p.recvRaw(t)
			if b[20] == netbsd.ICMP_ECHO {
				continue
			}
			if want := append([]byte{0, 0}, b[22], b[23]); !bytes.HasPrefix(b[20:], want) || string(b[28:]) != "hello" ||
				binary.BigEndian.Uint16(b[24:]) != 77 || int(binary.BigEndian.Uint16(b[2:])) != len(b) {
				t.Errorf("% x", b)
			}
			break
		}
		// Neither echo requests nor replies from now on, but unreachable.
		p.must(t, unix.SOL_RAW, unix.ICMP_FILTER, u32(1<<netbsd.ICMP_ECHOREPLY|1<<netbsd.ICMP_ECHO))
		if p.WantsICMP(0) || p.WantsICMP(8) || !p.WantsICMP(3) || !p.WantsICMP(40) {
			t.Error("the filter is another one")
		}
		ping(2)
		udp := kindNamed("udp4").open(t, k)
		if _, err := k.Sendto(t.Context(), udp.fd, []byte("x"), 0, netbsd.SockaddrIn(netip.AddrPortFrom(loopback, 4711))); err != nil {
			t.Fatal(err)
		}
		if b := p.recvRaw(t); b[20] != netbsd.ICMP_UNREACH {
			t.Errorf("% x", b)
		}
		if b, errno := p.get(t, unix.SOL_RAW, unix.ICMP_FILTER, 4); errno != 0 || native.Uint32(b) != 0x101 {
			t.Errorf("% x, %v", b, errno)
		}
	})
}

// Unprivileged ICMP sockets, which the kernel's raw ones stand for, have echo
// replies with their own identifier.
func TestPing(t *testing.T) {
	each(t, func(t *testing.T, k *spclient.Conn) {
		for _, test := range []struct {
			name            string
			domain, kdomain int
			protocol        int
			request, reply  byte
			to              []byte
		}{
			{"IPv4", unix.AF_INET, netbsd.AF_INET, unix.IPPROTO_ICMP, 8, 0, netbsd.SockaddrIn(netip.AddrPortFrom(loopback, 0))},
			{"IPv6", unix.AF_INET6, netbsd.AF_INET6, unix.IPPROTO_ICMPV6, 128, 129, netbsd.SockaddrIn6(k.Machine(), netip.AddrPortFrom(netip.IPv6Loopback(), 0), 0, 0)},
		} {
			raw := kind{test.name, test.domain, unix.SOCK_RAW, test.protocol}.open(t, k)
			p := &pair{Socket: &linuxsock.Socket{Domain: test.domain, Type: unix.SOCK_DGRAM, Protocol: test.protocol}, k: k, fd: raw.fd, host: raw.host}
			p.must(t, unix.SOL_IP, unix.IP_TTL, u32(9))
			for _, id := range []uint16{5, 6} {
				msg, errno := p.ToPing(id, echoRequest(test.request, 0xdead, id, "hello!!"))
				if errno != 0 {
					t.Fatal(errno)
				}
				if test.domain == unix.AF_INET {
					if msg, errno = p.ToRaw(k.Machine(), netip.Addr{}, loopback, plain, msg); errno != 0 || msg[8] != 9 {
						t.Fatal(errno, msg)
					}
				}
				if _, err := k.Sendto(t.Context(), p.fd, msg, 0, test.to); err != nil {
					t.Fatal(err)
				}
			}
			for {
				b := make([]byte, 2000)
				n, _, err := k.RecvfromWait(t.Context(), p.fd, b, 0)
				if err != nil {
					t.Fatal(err)
				}
				msg, ttl, ok := p.FromPing(6, b[:n])
				if !ok {
					continue
				}
				if want := echoRequest(test.reply, 6, 6, "hello!!"); !bytes.Equal(append([]byte{msg[0], msg[1], 0, 0}, msg[4:]...), want) {
					t.Errorf("%s: % x, want % x", test.name, msg, want)
				}
				if (ttl > 0) != (test.domain == unix.AF_INET) {
					t.Errorf("%s: time to live %d", test.name, ttl)
				}
				break
			}
			for _, bad := range [][]byte{nil, echoRequest(test.reply, 1, 1, ""), {test.request, 0, 0}, {test.request, 1, 0, 0, 0, 0, 0, 0}} {
				if _, errno := p.ToPing(1, bad); errno != unix.EINVAL {
					t.Errorf("%s: % x: %v", test.name, bad, errno)
				}
			}
		}
	})
}

// Datagrams to an address of this host came there, those to others' on the way
// to the interface's first.
func TestLocal(t *testing.T) {
	each(t, func(t *testing.T, k *spclient.Conn) {
		configure(t, k)
		var a linuxsock.Addresses
		list, err := a.Interfaces(t.Context(), k)
		if err != nil {
			t.Fatal(err)
		}
		index := uint32(0)
		for _, ifp := range list {
			if ifp.Name == "shmif7" {
				index = uint32(ifp.Index)
			}
		}
		for dst, want := range map[string]string{
			"10.7.0.1": "10.7.0.1", "10.7.1.1": "10.7.1.1", "10.7.0.255": "10.7.0.1", "255.255.255.255": "10.7.0.1",
			"239.1.2.3": "10.7.0.1", "127.0.0.1": "127.0.0.1",
		} {
			if got := a.Local(t.Context(), k, index, netip.MustParseAddr(dst)); got.String() != want {
				t.Errorf("%s on shmif7: %s, want %s", dst, got, want)
			}
		}
		if got := a.Local(t.Context(), k, 99, netip.MustParseAddr("10.7.0.255")); got.String() != "10.7.0.255" {
			t.Errorf("on no interface: %s", got)
		}
	})
}
