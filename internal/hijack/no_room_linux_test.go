//go:build amd64 || arm64

package hijack

import (
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/linuxsock"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
	"rumptools/pkg/spclient/spclienttest"
)

// TestNoRoom: a datagram for which the kernel has no room is lost, which only a program is told that has errors queued.
func TestNoRoom(t *testing.T) {
	conn := scripted(t, func(call *spclienttest.Call) {
		switch call.Num {
		case netbsd.SYS___socket30:
			call.Args.Int()
			if call.Args.Int() == netbsd.SOCK_RAW { // to hear errors by
				call.Fail(netbsd.EPERM)
				return
			}
			call.Reply(3, 0)
		case netbsd.SYS_sendto, netbsd.SYS_sendmsg:
			call.Fail(netbsd.ENOBUFS)
		default:
			call.Reply(0, 0)
		}
	})
	sup := &supervisor{ctx: t.Context(), conn: conn, machine: conn.Machine(), say: t.Logf}
	sup.ear.s = sup
	for _, queues := range []bool{false, true} {
		opts := &linuxsock.Socket{Domain: unix.AF_INET, Type: unix.SOCK_DGRAM, Protocol: unix.IPPROTO_UDP}
		x := &socket{s: sup, opts: opts}
		if queues {
			if e := opts.Set(t.Context(), conn, spclient.FD{}, -1, unix.IPPROTO_IP, unix.IP_RECVERR, []byte{1, 0, 0, 0}); e != 0 {
				t.Fatal(e)
			}
		}
		if _, e := x.kernel(); e != 0 {
			t.Fatal(e)
		}
		to := netbsd.SockaddrIn(netip.MustParseAddrPort("127.0.0.1:9"))
		n, e := x.sendDatagram([]byte("lost"), to, 0, noControl)
		switch {
		case queues && e != unix.ENOBUFS:
			t.Errorf("with errors queued: %d, %v", n, e)
		case !queues && (n != 4 || e != 0):
			t.Errorf("%d, %v", n, e)
		}
		x.ks.Close()
	}
}
