package inet

import (
	"fmt"
	"strings"
	"testing"

	"rumptools/internal/kernel"
	"rumptools/pkg/netbsd"
)

// TestSocketPorts tries which sockets may share a port, of UDP and of TCP.
func TestSocketPorts(t *testing.T) {
	const reuseAddr, reusePort = netbsd.SO_REUSEADDR, netbsd.SO_REUSEPORT
	for _, tt := range []struct {
		first, second       string
		firstOpt, secondOpt int32
		want                error
	}{
		{"127.0.0.1:7", "127.0.0.1:7", 0, 0, netbsd.EADDRINUSE},
		{"127.0.0.1:7", "127.0.0.1:8", 0, 0, nil},
		{"0.0.0.0:7", "127.0.0.1:7", 0, 0, netbsd.EADDRINUSE},
		{"127.0.0.1:7", "0.0.0.0:7", 0, 0, netbsd.EADDRINUSE},
		{"10.0.0.1:7", "127.0.0.1:7", 0, 0, nil},
		{"0.0.0.0:7", "127.0.0.1:7", 0, reuseAddr, nil},
		{"0.0.0.0:7", "0.0.0.0:7", reuseAddr, reuseAddr, netbsd.EADDRINUSE},
		{"127.0.0.1:7", "127.0.0.1:7", reuseAddr, reuseAddr, netbsd.EADDRINUSE},
		{"127.0.0.1:7", "127.0.0.1:7", reusePort, reusePort, nil},
		{"127.0.0.1:7", "127.0.0.1:7", 0, reusePort, netbsd.EADDRINUSE},
		{"127.0.0.1:7", "127.0.0.1:7", reusePort, 0, netbsd.EADDRINUSE},
		{"224.1.2.3:7", "224.1.2.3:7", reuseAddr, reuseAddr, nil},
		{"224.1.2.3:7", "224.1.2.3:7", 0, 0, netbsd.EADDRINUSE},
		{"[::]:7", "0.0.0.0:7", 0, 0, nil},
		{"[::1]:7", "[::]:7", 0, 0, netbsd.EADDRINUSE},
		{"[::1]:7", "[fd00::1]:7", 0, 0, nil},
		{"[::1]:7", "[::1]:7", reusePort, reusePort, nil},
	} {
		for _, typ := range []int32{dgram, stream} {
			if typ == stream && strings.HasPrefix(tt.first, "224") {
				continue // not for TCP
			}
			s := newStackOf(t, netbsd.AMD64)
			s.plug(t, "shmif0", newSegment().join())
			must(t, s.setParam("net.inet.ip.dad_count", 0))
			must(t, s.setParam("net.inet6.ip6.dad_count", 0))
			must(t, s.setAddr4("shmif0", "10.0.0.1/24"))
			must(t, s.setAddr6("shmif0", "fd00::1/64"))
			bind := func(a string, opt int32) error {
				sa := addr(s, a)
				so := open(t, s, int32(sa[1]), typ, 0)
				if opt != 0 {
					setInt(t, so, s.machine, netbsd.SOL_SOCKET, opt, 1)
				}
				return so.Bind(sa)
			}
			must(t, bind(tt.first, tt.firstOpt))
			check(t, fmt.Sprintf("type %d: %s after %s", typ, tt.second, tt.first), bind(tt.second, tt.secondOpt), tt.want)
			s.Close()
		}
	}
}

// TestSocketPortShared has two listeners share a port.
func TestSocketPortShared(t *testing.T) {
	s := newStackOf(t, netbsd.AMD64)
	one, two := open(t, s, inet, stream, 0), open(t, s, inet, stream, 0)
	for _, so := range []kernel.Socket{one, two} {
		setInt(t, so, s.machine, netbsd.SOL_SOCKET, netbsd.SO_REUSEPORT, 1)
		must(t, so.Bind(addr(s, "127.0.0.1:80")))
		must(t, so.Listen(20))
	}
	for range 10 {
		dial(t, s, "127.0.0.1:80")
	}
	eventually(t, "all connections have come", func() bool {
		n, _ := one.Pending()
		m, _ := two.Pending()
		return n+m == 10
	})
	// A listener for one address goes before one for all.
	all, some := open(t, s, inet, stream, 0), open(t, s, inet, stream, 0)
	must(t, all.Bind(addr(s, "0.0.0.0:81")))
	must(t, all.Listen(5))
	setInt(t, some, s.machine, netbsd.SOL_SOCKET, netbsd.SO_REUSEADDR, 1)
	must(t, some.Bind(addr(s, "127.0.0.1:81")))
	must(t, some.Listen(5))
	dial(t, s, "127.0.0.1:81")
	accept(t, some)
}
