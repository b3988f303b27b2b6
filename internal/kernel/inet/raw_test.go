package inet

import (
	"bytes"
	"encoding/binary"
	"testing"

	"gvisor.dev/gvisor/pkg/tcpip/checksum"

	"rumptools/internal/kernel"
	"rumptools/pkg/netbsd"
)

// echoRequest makes an ICMP or ICMPv6 echo request; the latter has no
// checksum.
func echoRequest(typ byte, id, seq uint16, data []byte) []byte {
	b := append([]byte{typ, 0, 0, 0, byte(id >> 8), byte(id), byte(seq >> 8), byte(seq)}, data...)
	if typ == netbsd.ICMP_ECHO {
		binary.BigEndian.PutUint16(b[2:], ^checksum.Checksum(b, 0))
	}
	return b
}

func TestRawICMPEcho(t *testing.T) {
	onMachines(t, func(t *testing.T, s *Stack) {
		so := open(t, s, netbsd.AF_INET, netbsd.SOCK_RAW, netbsd.IPPROTO_ICMP)
		msg := echoRequest(netbsd.ICMP_ECHO, 0x1234, 1, []byte("some data"))
		send(t, so, msg, addr(s, "127.0.0.1:0"))
		m := recv(t, so, 1500, 0)
		if want := addr(s, "127.0.0.1:0"); !bytes.Equal(m.Name, want) {
			t.Errorf("from %x, want %x", m.Name, want)
		}
		b := m.Data
		if len(b) != 20+len(msg) {
			t.Fatalf("%d bytes: %x", len(b), b)
		}
		if n := s.machine.Order.Uint16(b[2:]); int(n) != len(msg) {
			t.Errorf("ip_len is %d, want %d", n, len(msg))
		}
		if b[0] != 0x45 || b[8] != 255 || b[9] != netbsd.IPPROTO_ICMP {
			t.Errorf("header %x", b[:20])
		}
		if b[20] != netbsd.ICMP_ECHOREPLY || !bytes.Equal(b[24:], msg[4:]) {
			t.Errorf("message %x", b[20:])
		}
		nothing(t, so) // the request itself is not shown
	})
}

// TestRawFragments sends more than the interface takes at once.
func TestRawFragments(t *testing.T) {
	s := newStackOf(t, netbsd.AMD64)
	so := open(t, s, netbsd.AF_INET, netbsd.SOCK_RAW, netbsd.IPPROTO_ICMP)
	setInt(t, so, s.machine, netbsd.SOL_SOCKET, netbsd.SO_SNDBUF, 60000)
	setInt(t, so, s.machine, netbsd.SOL_SOCKET, netbsd.SO_RCVBUF, 70000)
	data := make([]byte, 50000)
	for i := range data {
		data[i] = byte(i * 7)
	}
	send(t, so, echoRequest(netbsd.ICMP_ECHO, 1, 2, data), addr(s, "127.0.0.1:0"))
	m := recv(t, so, 65536, 0)
	if !bytes.Equal(m.Data[28:], data) {
		t.Errorf("%d bytes came back: %.40x", len(m.Data), m.Data)
	}
	// With IP_DF it is an error, and the socket tells the MTU.
	setInt(t, so, s.machine, netbsd.IPPROTO_IP, netbsd.IP_HDRINCL, 1)
	whole := append(make([]byte, 20), data...)
	whole[0], whole[8], whole[9] = 0x45, 64, netbsd.IPPROTO_ICMP
	s.machine.Order.PutUint16(whole[2:], uint16(len(whole)))
	s.machine.Order.PutUint16(whole[6:], netbsd.IP_DF)
	copy(whole[16:], []byte{127, 0, 0, 1})
	_, err := so.Send(nil, &kernel.Message{Data: whole, Name: addr(s, "127.0.0.1:0")})
	check(t, "send with IP_DF", err, netbsd.EMSGSIZE)
	if mtu := getInt(t, so, s.machine, netbsd.IPPROTO_IP, netbsd.IP_ERRORMTU); mtu != loopMTU {
		t.Errorf("IP_ERRORMTU is %d", mtu)
	}
}
