package inet

import (
	"sync"
	"testing"

	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"

	"rumptools/pkg/netbsd"
)

// TestTCPTimeWaitRefuses: what is left of a connection does not keep who connects from the same port
// waiting for an answer, also when nobody listens any more.
func TestTCPTimeWaitRefuses(t *testing.T) {
	a, b := pair(t)
	for _, tc := range []struct {
		name     string
		from, to *Stack
		at       string
	}{
		{"lo0", b, b, "127.0.0.1"},
		{"lo0, IPv6", b, b, "[::1]"},
		{"Ethernet", a, b, "10.0.0.2"},
		{"Ethernet, IPv6", a, b, "[fd00::2]"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			to := addr(b, tc.at+":80")
			l := listener(t, b, tc.at+":80", 5)
			c := dial(t, tc.from, tc.at+":80")
			srv, _ := accept(t, l)
			name, err := c.Name()
			must(t, err)
			again := func() error {
				so := open(t, tc.from, int32(to[1]), stream, 0)
				defer so.Close()
				setInt(t, so, tc.from.machine, netbsd.SOL_SOCKET, netbsd.SO_REUSEADDR, 1)
				// Less than TIME_WAIT takes.
				setInt(t, so, tc.from.machine, netbsd.IPPROTO_TCP, netbsd.TCP_KEEPINIT, 2*8)
				must(t, so.Bind(name))
				return connect(t, so, to)
			}
			check(t, "while it stands", again(), netbsd.EADDRINUSE)
			srv.Close() // first: it is the one that waits
			if got := readAll(t, c, -1); len(got) != 0 {
				t.Errorf("%q", got)
			}
			c.Close()
			eventually(t, "the client's end is over", func() bool { return isOver(c.(*tcpSocket).ep) })
			l.Close()
			check(t, "nobody listens", again(), netbsd.ECONNREFUSED)
			l = open(t, b, int32(to[1]), stream, 0)
			setInt(t, l, b.machine, netbsd.SOL_SOCKET, netbsd.SO_REUSEADDR, 1)
			must(t, l.Bind(to))
			must(t, l.Listen(1))
			check(t, "a listener", again(), nil)
			l.Close()
		})
	}
}

// TestTCPTimeWaitStale: a connection begins also where one before has carried so much that the new sequence numbers are not past
// its, as on a request that comes once more.
func TestTCPTimeWaitStale(t *testing.T) {
	seg := newSegment()
	a, b := host(t, seg.join(), "10.0.0.1/24"), host(t, seg.join(), "10.0.0.2/24")
	var mu sync.Mutex
	var request []byte
	answers := 0
	seg.sniff = func(frame []byte) {
		packet := frame[header.EthernetMinimumSize:]
		if header.Ethernet(frame).Type() != ipv4.ProtocolNumber || header.IPv4(packet).TransportProtocol() != header.TCPProtocolNumber {
			return
		}
		flags := header.TCP(packet[header.IPv4MinimumSize:]).Flags()
		mu.Lock()
		defer mu.Unlock()
		if _, ok := connectionRequest(ipv4.ProtocolNumber, packet); ok {
			request = frame
		} else if flags.Contains(header.TCPFlagSyn | header.TCPFlagAck) {
			answers++
		}
	}
	l := listener(t, b, "10.0.0.2:80", 5)
	c := dial(t, a, "10.0.0.2:80")
	srv, _ := accept(t, l)
	srv.Close() // first: it is the one that waits
	readAll(t, c, -1)
	c.Close()
	eventually(t, "only TIME_WAIT is left", func() bool { return srv.(*tcpSocket).ep.EndpointState() == tcp.StateTimeWait })
	b.ifByName["shmif0"].link.(*etherLink).input(request)
	eventually(t, "there is a second answer", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return answers == 2
	})
}
