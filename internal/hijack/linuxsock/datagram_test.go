//go:build linux

package linuxsock_test

import (
	"fmt"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/linuxsock"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
)

// sent sends a datagram and returns what the receiver sees of it: the source's
// address and the time to live.
func (p *pair) sent(t *testing.T, to *pair, dst []byte, out linuxsock.Outgoing) (source netip.AddrPort, ttl uint32, errno unix.Errno) {
	t.Helper()
	n, errno := p.SendDatagram(t.Context(), p.k, p.fd, dst, []byte("hello"), 0, out)
	if errno != 0 {
		return source, 0, errno
	}
	if n != 5 {
		t.Fatalf("%d bytes were sent", n)
	}
	msg := &spclient.Message{Buffers: [][]byte{make([]byte, 100)}, Control: make([]byte, 256)}
	if n, err := p.k.RecvmsgWait(t.Context(), to.fd, msg, 0); err != nil || n != 5 {
		t.Fatal(n, err)
	}
	source, _ = linuxsock.Addr(linuxsock.FromNetBSD(p.k.Machine(), msg.Name))
	b, _ := to.FromControl(p.k.Machine(), msg.Control, linuxsock.Incoming{}, 256)
	if len(b) >= 20 {
		ttl = native.Uint32(b[16:])
	}
	return source, ttl, 0
}

// Datagrams have the source, time to live and destination that the program says,
// also where NetBSD needs another socket for it, and the socket is as before.
func TestSendDatagram(t *testing.T) {
	each(t, func(t *testing.T, k *spclient.Conn) {
		configure(t, k)
		to, dst := kindNamed("udp4").bound(t, k, "10.7.0.1:0")
		to.must(t, unix.SOL_IP, unix.IP_RECVTTL, u32(1))
		other, otherDst := kindNamed("udp4").bound(t, k, "10.7.1.1:0")
		other.must(t, unix.SOL_IP, unix.IP_RECVTTL, u32(1))
		source := func(s string) linuxsock.Outgoing {
			return linuxsock.Outgoing{Source: netip.MustParseAddr(s), TTL: -1, TOS: -1}
		}
		mapped := func(sa []byte) []byte {
			parsed, err := netbsd.ParseSockaddr(k.Machine(), sa)
			if err != nil {
				t.Fatal(err)
			}
			ap := netip.AddrPortFrom(netip.AddrFrom16(parsed.Addr().As16()), parsed.Port())
			return netbsd.SockaddrIn6(k.Machine(), ap, 0, 0)
		}
		for _, name := range []string{"udp4", "udp6"} {
			dst, otherDst := dst, otherDst
			if name == "udp6" {
				dst, otherDst = mapped(dst), mapped(otherDst)
			}
			p := kindNamed(name).open(t, k)
			check := func(what string, receiver *pair, dst []byte, out linuxsock.Outgoing, want string, wantTTL uint32) {
				t.Helper()
				from, ttl, errno := p.sent(t, receiver, dst, out)
				if errno != 0 {
					t.Errorf("%s, %s: %v", name, what, errno)
					return
				}
				sa, err := k.Getsockname(t.Context(), p.fd)
				if err != nil {
					t.Fatal(err)
				}
				own, _ := linuxsock.Addr(linuxsock.FromNetBSD(k.Machine(), sa))
				if got, want := fmt.Sprint(from, " ", ttl), fmt.Sprint(netip.AddrPortFrom(netip.MustParseAddr(want), own.Port()), " ", wantTTL); got != want {
					t.Errorf("%s, %s: from %s, want %s", name, what, got, want)
				}
			}
			check("as it is", to, dst, plain, "10.7.0.1", 64)
			check("another source", to, dst, source("10.7.1.1"), "10.7.1.1", 64)
			check("and another", to, dst, source("127.0.0.1"), "127.0.0.1", 64)
			check("as before", to, dst, plain, "10.7.0.1", 64)
			if name == "udp4" {
				check("a time to live", to, dst, linuxsock.Outgoing{TTL: 5, TOS: 8}, "10.7.0.1", 5)
				both := source("10.7.1.1")
				both.TTL = 6
				check("both", to, dst, both, "10.7.1.1", 6)
				p.must(t, unix.SOL_IP, unix.IP_TTL, u32(40))
				check("its own time to live", to, dst, source("10.7.1.1"), "10.7.1.1", 40)
				check("the same as before", to, dst, plain, "10.7.0.1", 40)
				p.must(t, unix.SOL_IP, unix.IP_TTL, u32(64))
			}
			if _, _, errno := p.sent(t, to, dst, source("10.99.0.1")); errno != unix.EINVAL {
				t.Errorf("%s: a source that is not ours: %v", name, errno)
			}
			if err := k.Connect(t.Context(), p.fd, dst); err != nil {
				t.Fatal(err)
			}
			check("connected", to, nil, plain, "10.7.0.1", 64)
			check("connected, to another", other, otherDst, plain, "10.7.0.1", 64)
			check("connected, to another from another", other, otherDst, source("10.7.1.1"), "10.7.1.1", 64)
			if got := p.kernelInt(t, netbsd.SOL_SOCKET, netbsd.SO_REUSEPORT); got != 0 {
				t.Errorf("%s: the port stays shared", name)
			}
			check("still connected", to, nil, plain, "10.7.0.1", 64)
		}
		// The interface of a group's datagram.
		p := kindNamed("udp4").open(t, k)
		group, groupDst := kindNamed("udp4").bound(t, k, "239.1.2.3:0")
		group.must(t, unix.SOL_IP, unix.IP_ADD_MEMBERSHIP, []byte{239, 1, 2, 3, 10, 7, 0, 1})
		group.must(t, unix.SOL_IP, unix.IP_RECVTTL, u32(1))
		mtus, index := new(linuxsock.Addresses), uint32(0)
		list, err := mtus.Interfaces(t.Context(), k)
		if err != nil {
			t.Fatal(err)
		}
		for _, ifp := range list {
			if ifp.Name == "shmif7" {
				index = uint32(ifp.Index)
			}
		}
		if from, ttl, errno := p.sent(t, group, groupDst, linuxsock.Outgoing{Interface: index, TTL: 3, TOS: -1}); errno != 0 || from.Addr().String() != "10.7.0.1" || ttl != 3 {
			t.Errorf("to a group: %v, %d, %v", from, ttl, errno)
		}
		if _, _, errno := p.sent(t, group, groupDst, linuxsock.Outgoing{Interface: 99, TTL: -1, TOS: -1}); errno != unix.ENODEV {
			t.Errorf("on no interface: %v", errno)
		}
	})
}
