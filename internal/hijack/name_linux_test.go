//go:build amd64 || arm64

package hijack

import (
	"net/netip"
	"testing"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/sysproxy"
)

// What a stream is called, and what it has of that, through its life as Linux has it.
func TestName(t *testing.T) {
	const address, port = sysproxy.KeepAddress, sysproxy.KeepPort
	for _, test := range []struct {
		what   string
		bound  string // what bind(2) comes to, if it is called
		locked int32
		// What it is called when it has ended, and after connect(2) to nobody, and what is bound to for the next connection.
		ended, again, next string
		port               uint16 // that it has then
	}{
		{"not bound", "", 0, "10.0.0.1:7", "0.0.0.0:7", "", 0},
		{"accepted", "", address, "10.0.0.1:7", "10.0.0.1:7", "10.0.0.1:0", 0},
		{"any address", "0.0.0.0:7", 0, "10.0.0.1:7", "0.0.0.0:7", "", 0},
		{"an address", "10.0.0.1:7", address, "10.0.0.1:7", "10.0.0.1:7", "10.0.0.1:0", 0},
		{"a port", "0.0.0.0:7", port, "10.0.0.1:7", "0.0.0.0:7", "0.0.0.0:7", 7},
		{"both", "10.0.0.1:7", address | port, "10.0.0.1:7", "10.0.0.1:7", "10.0.0.1:7", 7},
	} {
		t.Run(test.what, func(t *testing.T) {
			is := func(when string, got []byte, want string) {
				t.Helper()
				var ap netip.AddrPort
				if sa, err := netbsd.ParseSockaddr(netbsd.AMD64, got); err == nil {
					ap = sa.AddrPort
				}
				if wanted, _ := netip.ParseAddrPort(want); ap != wanted {
					t.Errorf("%s: %v, and not %s", when, ap, want)
				}
			}
			n := name{locked: test.locked}
			if test.bound != "" {
				n.bind(netbsd.SockaddrIn(netip.MustParseAddrPort(test.bound)), test.locked)
			}
			n.begin()
			is("before it is known", n.sa, test.bound)
			n.learn(netbsd.SockaddrIn(netip.MustParseAddrPort("10.0.0.1:7")))
			n.end()
			is("ended", n.sa, test.ended)
			n.disconnect()
			is("again", n.sa, test.again)
			is("next", n.forNext(), test.next)
			if n.port() != test.port {
				t.Errorf("it has port %d", n.port())
			}
			n.begin()
			is("an attempt of which nothing is known", n.sa, test.next)
		})
	}
}
