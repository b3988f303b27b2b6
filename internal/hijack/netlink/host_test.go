//go:build linux

package netlink_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/netlink"
	"rumptools/internal/hijack/netview/netviewtest"
	"rumptools/pkg/netbsd"
)

// askHost makes a request of this host's own kernel.
func askHost(t *testing.T, protocol int, req []byte) (list []reply) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		t.Skipf("no netlink here: %v", err)
	}
	defer unix.Close(fd)
	must(t, unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 20}))
	must(t, unix.Sendto(fd, req, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}))
	buf := make([]byte, 1<<16)
	for {
		n, _, err := unix.Recvfrom(fd, buf, 0)
		must(t, err)
		for _, m := range parse(t, slices.Clone(buf[:n])) {
			switch m.Header.Type {
			case unix.NLMSG_DONE:
				return list
			case unix.NLMSG_ERROR:
				t.Skipf("this host refuses %x", req)
			}
			if protocol == unix.NETLINK_SOCK_DIAG {
				m.fixed = sizeofDiagMsg
			}
			list = append(list, m)
		}
	}
}

// shape is what messages of one kind look like: their flags, and the sizes of
// their attributes, 0 for those of several sizes.
type shape struct {
	flags uint16
	attrs map[uint16]int
}

func shapes(t *testing.T, list []reply, kindOf func(reply) string) map[string]*shape {
	t.Helper()
	all := map[string]*shape{}
	for _, m := range list {
		kind := kindOf(m)
		s := all[kind]
		if s == nil {
			s = &shape{m.Header.Flags, map[uint16]int{}}
			all[kind] = s
		}
		for typ, data := range m.attrs(t) {
			typ &= 0x3fff
			n, known := s.attrs[typ]
			if known && n != len(data) {
				n = 0
			} else {
				n = len(data)
			}
			s.attrs[typ] = n
		}
	}
	return all
}

// TestHostShapes compares the messages with those of the host's own kernel:
// of each kind that both have, every attribute here has to be one there, of the
// same size, and those that programs need have to be here.
func TestHostShapes(t *testing.T) {
	k := netviewtest.Start(t, netbsd.AMD64)
	k.Ethernet(t.TempDir()+"/bus", "1")
	k.Route(netbsd.RTM_ADD, "0.0.0.0/0", "10.0.0.2", netbsd.RTF_STATIC)
	k.Route(netbsd.RTM_ADD, "::/0", "fd00::2", netbsd.RTF_STATIC)
	u, err := k.ListenPacket(t.Context(), "udp4", "127.0.0.1:0")
	must(t, err)
	defer u.Close()
	l, err := k.Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	hostListener, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	must(t, err)
	defer unix.Close(hostListener)
	must(t, unix.Bind(hostListener, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	must(t, unix.Listen(hostListener, 1))
	s := netlink.New(k, nil)
	strings := map[uint16]bool{unix.IFLA_IFNAME: true, unix.IFLA_QDISC: true}
	family := func(r reply) string { return fmt.Sprint("family ", r.Data[0]) }
	for _, c := range []struct {
		what     string
		protocol int
		req      []byte
		kind     func(reply) string
		needed   []uint16
		strings  map[uint16]bool
		// longer are structures that grow with Linux.
		longer map[uint16]bool
		// optional are those that depend on what the host has.
		optional []uint16
	}{
		{
			"links", unix.NETLINK_ROUTE, message(unix.RTM_GETLINK, unix.NLM_F_DUMP, 1, make([]byte, 16)),
			func(r reply) string { return fmt.Sprint("type ", native.Uint16(r.Data[2:])) },
			[]uint16{
				unix.IFLA_IFNAME, unix.IFLA_MTU, unix.IFLA_ADDRESS, unix.IFLA_BROADCAST, unix.IFLA_TXQLEN, unix.IFLA_OPERSTATE, unix.IFLA_STATS64,
				unix.IFLA_STATS, unix.IFLA_QDISC, unix.IFLA_LINKMODE, unix.IFLA_GROUP, unix.IFLA_PROMISCUITY, unix.IFLA_CARRIER, unix.IFLA_MAP,
			},
			strings, map[uint16]bool{unix.IFLA_STATS64: true, unix.IFLA_STATS: true, unix.IFLA_MAP: true}, nil,
		},
		{
			"addresses", unix.NETLINK_ROUTE, message(unix.RTM_GETADDR, unix.NLM_F_DUMP, 1, make([]byte, 8)),
			func(r reply) string { return fmt.Sprint(family(r), " scope ", r.Data[3]) },
			[]uint16{unix.IFA_ADDRESS, unix.IFA_FLAGS, unix.IFA_CACHEINFO},
			map[uint16]bool{unix.IFA_LABEL: true}, nil, []uint16{unix.IFA_BROADCAST},
		},
		{
			"routes", unix.NETLINK_ROUTE, message(unix.RTM_GETROUTE, unix.NLM_F_DUMP, 1, make([]byte, 12)),
			func(r reply) string { return fmt.Sprint(family(r), " type ", r.Data[7]) },
			[]uint16{unix.RTA_TABLE, unix.RTA_OIF}, nil, nil, []uint16{unix.RTA_GATEWAY, unix.RTA_PREFSRC},
		},
		{
			"rules", unix.NETLINK_ROUTE, message(unix.RTM_GETRULE, unix.NLM_F_DUMP, 1, make([]byte, 12)),
			family, []uint16{unix.FRA_TABLE, unix.FRA_PRIORITY}, nil, nil, nil,
		},
		{
			"listeners", unix.NETLINK_SOCK_DIAG, message(unix.SOCK_DIAG_BY_FAMILY, unix.NLM_F_DUMP, 1,
				diagReq(unix.AF_INET, unix.IPPROTO_TCP, 1<<0|1<<1|1<<6, 1<<10, noID())),
			family, []uint16{1, 2, 7, 8}, nil, map[uint16]bool{2: true}, nil,
		},
	} {
		theirs := shapes(t, askHost(t, c.protocol, c.req), c.kind)
		answer, errno := ask(t, s, c.protocol, c.req)
		if errno != 0 {
			t.Errorf("%s: %v", c.what, errno)
			continue
		}
		ours := shapes(t, answer, c.kind)
		compared := 0
		for kind, our := range ours {
			for _, typ := range c.needed {
				if _, ok := our.attrs[typ]; !ok {
					t.Errorf("%s, %s: no attribute %d", c.what, kind, typ)
				}
			}
			their := theirs[kind]
			if their == nil {
				continue
			}
			compared++
			if our.flags != their.flags {
				t.Errorf("%s, %s: flags %#x, the host has %#x", c.what, kind, our.flags, their.flags)
			}
			for _, typ := range slices.Sorted(maps.Keys(our.attrs)) {
				theirSize, ok := their.attrs[typ]
				switch {
				case !ok && slices.Contains(c.optional, typ):
				case !ok:
					t.Errorf("%s, %s: attribute %d is not the host's", c.what, kind, typ)
				case c.strings[typ] || theirSize == our.attrs[typ] || theirSize == 0:
				case c.longer[typ] && our.attrs[typ] < theirSize+64:
				default:
					t.Errorf("%s, %s: attribute %d of %d bytes, the host has %d", c.what, kind, typ, our.attrs[typ], theirSize)
				}
			}
		}
		if compared == 0 {
			t.Logf("%s: the host has none to compare with", c.what)
		}
	}
}
