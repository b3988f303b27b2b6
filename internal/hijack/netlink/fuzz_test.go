//go:build linux

package netlink_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/netlink"
	"rumptools/internal/hijack/netview/netviewtest"
	"rumptools/pkg/netbsd"
)

// FuzzRequest has answers that are whole messages to anything, of which no
// more than one is an end or an error for each request.
func FuzzRequest(f *testing.F) {
	for _, seed := range [][]byte{
		message(unix.RTM_GETLINK, unix.NLM_F_DUMP, 1, make([]byte, 16), attr32(unix.IFLA_EXT_MASK, 9)),
		message(unix.RTM_GETLINK, 0, 1, make([]byte, 16), attr(unix.IFLA_IFNAME, []byte("lo0\x00"))),
		message(unix.RTM_GETADDR, unix.NLM_F_DUMP, 1, make([]byte, 8)),
		message(unix.RTM_GETROUTE, unix.NLM_F_DUMP, 1, make([]byte, 12), attr32(unix.RTA_TABLE, 254)),
		message(unix.RTM_GETROUTE, 0, 1, []byte{unix.AF_INET, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, attr(unix.RTA_DST, []byte{127, 0, 0, 1})),
		message(unix.RTM_GETNEIGH, unix.NLM_F_DUMP, 1, make([]byte, 12)),
		message(unix.RTM_GETRULE, unix.NLM_F_DUMP, 1, make([]byte, 12)),
		message(unix.RTM_NEWADDR, unix.NLM_F_ACK, 1, make([]byte, 8)),
	} {
		f.Add(false, seed)
		f.Add(false, slices.Concat(seed, seed))
	}
	for _, seed := range [][]byte{
		message(unix.SOCK_DIAG_BY_FAMILY, unix.NLM_F_DUMP, 1, diagReq(unix.AF_INET, unix.IPPROTO_TCP, 0xff, 0xfff, noID()),
			attr(1, portIs(bcLocalEQ, 80, 12))),
		message(unix.SOCK_DIAG_BY_FAMILY, 0, 1, diagReq(unix.AF_INET6, unix.IPPROTO_UDP, 0, 0xfff, noID())),
		message(18, unix.NLM_F_DUMP, 1, diagReq(0, 0, 0, 0, noID())),
	} {
		f.Add(true, seed)
	}
	k := netviewtest.Start(f, netbsd.AMD64)
	for _, network := range []string{"tcp4", "tcp6"} {
		l, err := k.Listen(f.Context(), network, ":0")
		must(f, err)
		defer l.Close()
	}
	s := netlink.New(k, nil)
	f.Fuzz(func(t *testing.T, diag bool, req []byte) {
		protocol := unix.NETLINK_ROUTE
		if diag {
			protocol = unix.NETLINK_SOCK_DIAG
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		ends := 0
		for _, d := range s.Request(ctx, protocol, portID, req) {
			for _, m := range parse(t, d) {
				if m.Header.Type == unix.NLMSG_DONE || m.Header.Type == unix.NLMSG_ERROR {
					ends++
				}
				if diag {
					m.fixed = sizeofDiagMsg
				}
				if m.Header.Type >= unix.NLMSG_MIN_TYPE {
					m.attrs(t)
				}
			}
		}
		if ends > len(req)/unix.NLMSG_HDRLEN {
			t.Errorf("%d ends", ends)
		}
		if ctx.Err() != nil {
			t.Error("it takes for ever")
		}
	})
}
