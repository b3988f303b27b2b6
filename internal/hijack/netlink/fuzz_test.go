//go:build linux

package netlink_test

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/netlink"
	"rumptools/internal/hijack/netview/netviewtest"
	"rumptools/internal/ifconfig"
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

// FuzzChange has one answer to any request to change something, and what a program has added it can delete as it is
// listed, as ip(8) does it.
func FuzzChange(f *testing.F) {
	types := []uint16{unix.RTM_NEWROUTE, unix.RTM_DELROUTE, unix.RTM_NEWADDR, unix.RTM_DELADDR, unix.RTM_NEWLINK, unix.RTM_SETLINK}
	for _, seed := range [][]byte{
		routeMessage(unix.RTM_NEWROUTE, add, "10.2.0.0/16", unix.RTN_UNICAST, 0, via("10.0.0.2"), mtu(1400), metric(5)),
		routeMessage(unix.RTM_NEWROUTE, add, "10.2.0.0/16", unix.RTN_UNICAST, unix.RT_SCOPE_LINK, dev(2), attr(unix.RTA_PREFSRC, bytesOf("10.0.0.1"))),
		routeMessage(unix.RTM_NEWROUTE, replace, "10.0.0.0/24", unix.RTN_UNICAST, 0, via("10.0.0.2")),
		routeMessage(unix.RTM_NEWROUTE, add, "10.3.0.1/32", unix.RTN_UNICAST, 0, dev(2)),
		routeMessage(unix.RTM_NEWROUTE, add, "fd02::/64", unix.RTN_UNICAST, 0, via("fe80::2"), dev(2)),
		routeMessage(unix.RTM_NEWROUTE, add, "fd02::/64", unix.RTN_BLACKHOLE, 0),
		routeMessage(unix.RTM_DELROUTE, 0, "10.0.0.0/24", 0, unix.RT_SCOPE_NOWHERE),
		addrMessage(unix.RTM_NEWADDR, add, "10.0.1.1/24", 2),
		addrMessage(unix.RTM_NEWADDR, add, "fd01::1/64", 2, lifetimes(10, 20)),
		addrMessage(unix.RTM_DELADDR, 0, "fd00::1/64", 2),
		linkMessage(unix.RTM_NEWLINK, 0, 2, unix.IFF_UP, unix.IFF_UP, attr32(unix.IFLA_MTU, 1400)),
	} {
		f.Add(uint8(slices.Index(types, native.Uint16(seed[4:]))), native.Uint16(seed[6:]), seed[16:])
	}
	k := netviewtest.Start(f, netbsd.AMD64)
	k.Ethernet(filepath.Join(f.TempDir(), "bus"), "1")
	s := netlink.New(k, nil)
	f.Fuzz(func(t *testing.T, kind uint8, flags uint16, body []byte) {
		typ := types[int(kind)%len(types)]
		body = body[:min(len(body), 1000)] // an error has it all
		_, errno := ask(t, s, unix.NETLINK_ROUTE, message(typ, flags|unix.NLM_F_ACK, 1, body))
		if errno != 0 || len(body) == 0 {
			return
		}
		for _, r := range list(t, s, unix.RTM_GETROUTE, make([]byte, 12)) {
			if r.Data[4] != unix.RT_TABLE_MAIN || r.Data[5] == unix.RTPROT_KERNEL {
				continue
			}
			if _, errno := ask(t, s, unix.NETLINK_ROUTE, message(unix.RTM_DELROUTE, unix.NLM_F_ACK, 1, r.Data)); errno != 0 {
				t.Errorf("a listed route cannot be deleted: %v: %x", errno, r.Data)
			}
		}
		for _, r := range list(t, s, unix.RTM_GETADDR, make([]byte, 8)) {
			if native.Uint32(r.Data[4:]) != 2 {
				continue
			}
			if _, errno := ask(t, s, unix.NETLINK_ROUTE, message(unix.RTM_DELADDR, unix.NLM_F_ACK, 1, r.Data)); errno != 0 {
				t.Errorf("a listed address cannot be deleted: %v: %x", errno, r.Data)
			}
		}
		// As it was.
		for _, words := range []string{"shmif0 inet 10.0.0.1/24 mtu 1500 up", "shmif0 inet6 fd00::1/64"} {
			must(t, ifconfig.Configure(t.Context(), k, strings.Fields(words)))
		}
	})
}
