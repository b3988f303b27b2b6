//go:build linux

package netlink_test

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/netlink"
	"rumptools/internal/hijack/netview"
	"rumptools/internal/hijack/netview/netviewtest"
	"rumptools/pkg/netbsd"
)

// diagID makes a struct inet_diag_sockid.
func diagID(local, remote netip.AddrPort, index, cookie0, cookie1 uint32) []byte {
	b := binary.BigEndian.AppendUint16(nil, local.Port())
	b = binary.BigEndian.AppendUint16(b, remote.Port())
	for _, a := range []netip.Addr{local.Addr(), remote.Addr()} {
		var room [16]byte
		copy(room[:], a.AsSlice())
		b = append(b, room[:]...)
	}
	b = native.AppendUint32(b, index)
	b = native.AppendUint32(b, cookie0)
	return native.AppendUint32(b, cookie1)
}

const anyCookie = 1<<32 - 1

func noID() []byte { return diagID(netip.AddrPort{}, netip.AddrPort{}, 0, anyCookie, anyCookie) }

// diagReq makes a struct inet_diag_req_v2.
func diagReq(family, protocol, ext uint8, states uint32, id []byte) []byte {
	b := []byte{family, protocol, ext, 0}
	b = native.AppendUint32(b, states)
	return append(b, id...)
}

// diagMsg is a struct inet_diag_msg.
type diagMsg struct {
	family, state        uint8
	local, remote        netip.AddrPort
	index                uint32
	cookie               [2]uint32
	recv, send, uid, ino uint32
	attrs                map[uint16][]byte
}

func readDiag(t testing.TB, r reply) diagMsg {
	t.Helper()
	b := r.Data
	if len(b) < sizeofDiagMsg {
		t.Fatalf("%d bytes", len(b))
	}
	addr := func(b []byte) netip.Addr {
		if r.Data[0] == unix.AF_INET {
			return netip.AddrFrom4([4]byte(b))
		}
		return netip.AddrFrom16([16]byte(b))
	}
	u := func(o int) uint32 { return native.Uint32(b[o:]) }
	return diagMsg{
		family: b[0], state: b[1],
		local:  netip.AddrPortFrom(addr(b[8:24]), binary.BigEndian.Uint16(b[4:])),
		remote: netip.AddrPortFrom(addr(b[24:40]), binary.BigEndian.Uint16(b[6:])),
		index:  u(40), cookie: [2]uint32{u(44), u(48)}, recv: u(56), send: u(60), uid: u(64), ino: u(68),
		attrs: r.attrs(t),
	}
}

// Codes of filters (linux/inet_diag.h).
const (
	bcJump       = 1
	bcLocalGE    = 2
	bcLocalLE    = 3
	bcLocalCond  = 7
	bcRemoteCond = 8
	bcLocalEQ    = 11
)

func bcOp(code, yes uint8, no uint16) []byte {
	return native.AppendUint16([]byte{code, yes}, no)
}

// portIs compares a port: on if so, else past the end.
func portIs(code uint8, port uint16, no uint16) []byte {
	return slices.Concat(bcOp(code, 8, no), bcOp(0, 0, port))
}

// hostIs compares an address.
func hostIs(code uint8, p netip.Prefix, port int32, no uint16) []byte {
	family := uint8(unix.AF_INET)
	if p.Addr().Is6() {
		family = unix.AF_INET6
	}
	a := p.Addr().AsSlice()
	cond := native.AppendUint32([]byte{family, uint8(p.Bits()), 0, 0}, uint32(port))
	return slices.Concat(bcOp(code, uint8(12+len(a)), no), cond, a)
}

func TestSockets(t *testing.T) {
	forMachines(t, func(t *testing.T, a, b *netviewtest.Kernel) {
		s := netlink.New(b, func(so *netview.Socket) netview.Owner {
			if so.Local.Port() == 80 && so.State == netview.TCPListen {
				return netview.Owner{Inode: 123, UID: 1000, Backlog: 5}
			}
			return netview.Owner{}
		})
		for _, addr := range []string{"10.0.0.2:80", "[fd00::2]:80"} {
			l, err := b.Listen(t.Context(), "tcp", addr)
			must(t, err)
			defer l.Close()
			c, err := a.DialContext(t.Context(), "tcp", addr)
			must(t, err)
			defer c.Close()
			peer, err := l.Accept()
			must(t, err)
			defer peer.Close()
			_, err = c.Write([]byte("four"))
			must(t, err)
			_, err = peer.Read(make([]byte, 1))
			must(t, err)
		}
		u, err := b.ListenPacket(t.Context(), "udp4", "10.0.0.2:53")
		must(t, err)
		defer u.Close()
		raw, err := b.Socket(t.Context(), netbsd.AF_INET, netbsd.SOCK_RAW, netbsd.IPPROTO_ICMP)
		must(t, err)
		defer b.CloseFD(t.Context(), raw)

		dump := func(typ uint16, body ...[]byte) []diagMsg {
			t.Helper()
			l, errno := ask(t, s, unix.NETLINK_SOCK_DIAG, message(typ, unix.NLM_F_DUMP, 3, body...))
			if errno != 0 {
				t.Fatal(errno)
			}
			var list []diagMsg
			for _, r := range l {
				if r.Header.Type != typ {
					t.Errorf("answer of type %d", r.Header.Type)
				}
				list = append(list, readDiag(t, r))
			}
			return list
		}
		show := func(list []diagMsg) (text []string) {
			for _, m := range list {
				remote := m.remote.String()
				if m.remote.Port() > 1000 {
					remote = m.remote.Addr().String()
				}
				text = append(text, fmt.Sprintf("%s %s %d recv %d send %d uid %d inode %d", m.local, remote, m.state, m.recv, m.send, m.uid, m.ino))
			}
			slices.Sort(text)
			return text
		}
		const all, listen, established = 0xfff, 1 << netview.TCPListen, 1 << netview.TCPEstablished
		const byFamily = unix.SOCK_DIAG_BY_FAMILY
		listening := "10.0.0.2:80 0.0.0.0:0 10 recv 0 send 5 uid 1000 inode 123"
		connected := "10.0.0.2:80 10.0.0.1 1 recv 3 send 0 uid 0 inode 0"
		listening6 := "[fd00::2]:80 [::]:0 10 recv 0 send 5 uid 1000 inode 123"
		connected6 := "[fd00::2]:80 fd00::1 1 recv 3 send 0 uid 0 inode 0"
		filter := func(parts ...[]byte) []byte { return attr(1, slices.Concat(parts...)) }
		tcp4 := diagReq(unix.AF_INET, unix.IPPROTO_TCP, 0, all, noID())
		for _, c := range []struct {
			what string
			typ  uint16
			body []byte
			want []string
		}{
			{"tcp", byFamily, tcp4, []string{connected, listening}},
			{"tcp of IPv6", byFamily, diagReq(unix.AF_INET6, unix.IPPROTO_TCP, 0, all, noID()), []string{connected6, listening6}},
			{"listening", byFamily, diagReq(unix.AF_INET, unix.IPPROTO_TCP, 0, listen, noID()), []string{listening}},
			{"connected", byFamily, diagReq(unix.AF_INET, unix.IPPROTO_TCP, 0, established, noID()), []string{connected}},
			{"udp", byFamily, diagReq(unix.AF_INET, unix.IPPROTO_UDP, 0, all, noID()), []string{"10.0.0.2:53 0.0.0.0:0 7 recv 0 send 0 uid 0 inode 0"}},
			{"raw", byFamily, diagReq(unix.AF_INET, unix.IPPROTO_RAW, 0, all, noID()), []string{"0.0.0.0:1 0.0.0.0:0 7 recv 0 send 0 uid 0 inode 0"}},
			{"by the old request", 18, slices.Concat([]byte{0, 0, 0, 0}, noID(), native.AppendUint32(nil, all), make([]byte, 4))[:56],
				[]string{connected, listening, connected6, listening6}},
			{"port 80", byFamily, slices.Concat(tcp4, filter(portIs(bcLocalEQ, 80, 12))), []string{connected, listening}},
			{"port 81", byFamily, slices.Concat(tcp4, filter(portIs(bcLocalEQ, 81, 12))), nil},
			{"ports 79 to 81", byFamily, slices.Concat(tcp4, filter(portIs(bcLocalGE, 79, 20), portIs(bcLocalLE, 81, 12))), []string{connected, listening}},
			{"port 81, or to 10.0.0.0/24", byFamily,
				slices.Concat(tcp4, filter(portIs(bcLocalEQ, 81, 12), bcOp(bcJump, 4, 20), hostIs(bcRemoteCond, netip.MustParsePrefix("10.0.0.0/24"), -1, 20))),
				[]string{connected}},
			{"to another network", byFamily, slices.Concat(tcp4, filter(hostIs(bcRemoteCond, netip.MustParsePrefix("10.0.1.0/24"), -1, 20))), nil},
			{"of an address and port", byFamily, slices.Concat(diagReq(unix.AF_INET6, unix.IPPROTO_TCP, 0, all, noID()),
				filter(hostIs(bcLocalCond, netip.MustParsePrefix("fd00::2/128"), 80, 32))), []string{connected6, listening6}},
		} {
			slices.Sort(c.want)
			if diff := cmp.Diff(c.want, show(dump(c.typ, c.body))); diff != "" {
				t.Errorf("%s: %s", c.what, diff)
			}
		}
		if _, errno := ask(t, s, unix.NETLINK_SOCK_DIAG, message(byFamily, unix.NLM_F_DUMP, 1, tcp4, filter(bcOp(77, 4, 8)))); errno != unix.EINVAL {
			t.Errorf("a filter that is none: %v", errno)
		}

		// What more there is to know.
		info := dump(byFamily, diagReq(unix.AF_INET, unix.IPPROTO_TCP, 1<<0|1<<1|1<<6, established, noID()))
		if len(info) != 1 {
			t.Fatalf("%d sockets", len(info))
		}
		at := info[0].attrs
		if len(at[1]) != 16 || native.Uint32(at[1]) != 3 || len(at[2]) < 104 || at[2][0] != netview.TCPEstablished || len(at[7]) != 36 {
			t.Errorf("meminfo %v, info %v, skmeminfo %v", at[1], at[2], at[7])
		}

		// One socket.
		one := func(local, remote netip.AddrPort, cookie [2]uint32) (string, unix.Errno) {
			t.Helper()
			l, errno := ask(t, s, unix.NETLINK_SOCK_DIAG, message(byFamily, 0, 3, diagReq(unix.AF_INET, unix.IPPROTO_TCP, 0, all,
				diagID(local, remote, 0, cookie[0], cookie[1]))))
			if len(l) == 0 {
				return "", errno
			}
			return show([]diagMsg{readDiag(t, l[0])})[0], errno
		}
		no := [2]uint32{anyCookie, anyCookie}
		server := netip.MustParseAddrPort("10.0.0.2:80")
		if got, errno := one(server, info[0].remote, no); got != connected || errno != 0 {
			t.Errorf("the connection: %q, %v", got, errno)
		}
		if got, errno := one(server, info[0].remote, info[0].cookie); got != connected || errno != 0 {
			t.Errorf("the connection, by its cookie: %q, %v", got, errno)
		}
		if got, errno := one(server, netip.MustParseAddrPort("10.0.0.1:9"), no); got != listening || errno != 0 {
			t.Errorf("from elsewhere: %q, %v", got, errno)
		}
		if got, errno := one(server, info[0].remote, [2]uint32{1, 2}); errno != unix.ESTALE {
			t.Errorf("with another cookie: %q, %v", got, errno)
		}
		if got, errno := one(netip.MustParseAddrPort("10.0.0.2:81"), info[0].remote, no); errno != unix.ENOENT {
			t.Errorf("of another port: %q, %v", got, errno)
		}
	})
}

// TestManySockets has a list that takes many datagrams.
func TestManySockets(t *testing.T) {
	k := netviewtest.Start(t, netbsd.AMD64)
	s := netlink.New(k, nil)
	const n = 200
	ports := map[uint16]bool{}
	for range n {
		c, err := k.ListenPacket(t.Context(), "udp4", "127.0.0.1:0")
		must(t, err)
		defer c.Close()
		ports[uint16(c.LocalAddr().(*net.UDPAddr).Port)] = true
	}
	l, errno := ask(t, s, unix.NETLINK_SOCK_DIAG, message(unix.SOCK_DIAG_BY_FAMILY, unix.NLM_F_DUMP, 1,
		diagReq(unix.AF_INET, unix.IPPROTO_UDP, 0, 0xfff, noID())))
	if errno != 0 {
		t.Fatal(errno)
	}
	for _, r := range l {
		delete(ports, readDiag(t, r).local.Port())
	}
	if len(l) != n || len(ports) != 0 {
		t.Errorf("%d sockets, %d are missing", len(l), len(ports))
	}
}
