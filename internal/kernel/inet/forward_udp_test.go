package inet

import (
	"bytes"
	"encoding/binary"
	"testing"

	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"

	"rumptools/pkg/netbsd"
)

// TestForwardUDP: datagrams that are sent in fragments arrive through a router as they were.
func TestForwardUDP(t *testing.T) {
	a, r, b, _ := inARow(t)
	exchange := func(t *testing.T) {
		for _, to := range []string{"10.0.1.2:5000", "[fd01::2]:5000"} {
			in := bound(t, b, to)
			family := int32(saFamily(addr(a, to)))
			out := open(t, a, family, netbsd.SOCK_DGRAM, 0)
			for _, size := range []int{1, 100, 1452, 1472, 1473, 3000, 9000} {
				p := noise(size)
				send(t, out, p, addr(a, to))
				if m := recv(t, in, 1<<16, 0); !bytes.Equal(m.Data, p) {
					t.Errorf("%s: %d bytes of %d, or others", to, len(m.Data), size)
				}
			}
			in.Close()
			out.Close()
		}
	}
	t.Run("as they come", exchange)
	t.Run("behind extension headers", func(t *testing.T) {
		in := bound(t, b, "[fd01::2]:5000")
		out := open(t, a, netbsd.AF_INET6, netbsd.SOCK_DGRAM, 0)
		for _, header := range []int32{netbsd.IPV6_HOPOPTS, netbsd.IPV6_DSTOPTS} {
			must(t, out.SetOption(nil, netbsd.IPPROTO_IPV6, header, []byte{0, 0, 1, 4, 0, 0, 0, 0}))
			for _, size := range []int{1, 1400, 3000} {
				p := noise(size)
				send(t, out, p, addr(a, "[fd01::2]:5000"))
				if m := recv(t, in, 1<<16, 0); !bytes.Equal(m.Data, p) {
					t.Errorf("%d bytes of %d, or others", len(m.Data), size)
				}
			}
		}
		in.Close()
		out.Close()
	})
	// The router cuts fragments into smaller ones; of IPv6 it asks for smaller ones.
	r.ifByName["shmif1"].link.SetMTU(1300)
	b.ifByName["shmif0"].link.SetMTU(1300)
	t.Run("in smaller ones", func(t *testing.T) {
		a.answered(t, "10.0.1.2", 1300, 3000)
		in, out := bound(t, b, "10.0.1.2:5000"), open(t, a, netbsd.AF_INET, netbsd.SOCK_DGRAM, 0)
		for _, size := range []int{1300, 1472, 1473, 3000, 9000} {
			p := noise(size)
			send(t, out, p, addr(a, "10.0.1.2:5000"))
			if m := recv(t, in, 1<<16, 0); !bytes.Equal(m.Data, p) {
				t.Errorf("%d bytes of %d, or others", len(m.Data), size)
			}
		}
	})
	// A checksum that is wrong, or not there, is the receiver's business.
	t.Run("the checksum is not the router's", func(t *testing.T) {
		for _, proto := range []byte{netbsd.IPPROTO_UDP, netbsd.IPPROTO_TCP} {
			packet := make([]byte, 20+40)
			packet[0], packet[9] = 0x45, proto
			binary.BigEndian.PutUint16(packet[6:], 1480/8) // a later fragment
			for i := 20; i < len(packet); i++ {
				packet[i] = byte(i)
			}
			mark := transitMark(ipv4.ProtocolNumber, packet)
			spoiled := bytes.Clone(packet)
			at := 20 + udpChecksumOffset
			if proto == netbsd.IPPROTO_TCP {
				at = 20 + header.TCPChecksumOffset
			}
			spoiled[at], spoiled[at+1] = 0, 0
			restoreTransit(ipv4.ProtocolNumber, spoiled, mark, false)
			if !bytes.Equal(spoiled, packet) {
				t.Errorf("protocol %d: % x, want % x", proto, spoiled, packet)
			}
			binary.BigEndian.PutUint16(spoiled[6:], 1488/8)
			spoiled[at] = 99
			if restoreTransit(ipv4.ProtocolNumber, spoiled, mark, false); spoiled[at] != 99 {
				t.Errorf("protocol %d: another fragment was changed", proto)
			}
		}
	})
}
