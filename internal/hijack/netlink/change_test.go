//go:build linux

package netlink_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/netlink"
	"rumptools/internal/hijack/netview/netviewtest"
)

const (
	create  = unix.NLM_F_CREATE
	add     = unix.NLM_F_CREATE | unix.NLM_F_EXCL
	replace = unix.NLM_F_CREATE | unix.NLM_F_REPLACE
	change  = unix.NLM_F_REPLACE
)

// bytesOf is an address as attributes have it.
func bytesOf(ip string) []byte { return netip.MustParseAddr(ip).AsSlice() }

func familyOf(a netip.Addr) byte {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// addrMessage is a request about an address of an interface.
func addrMessage(typ, flags uint16, prefix string, index uint32, attrs ...[]byte) []byte {
	p := netip.MustParsePrefix(prefix)
	head := native.AppendUint32([]byte{familyOf(p.Addr()), byte(p.Bits()), 0, 0}, index)
	ip := p.Addr().AsSlice()
	return message(typ, unix.NLM_F_ACK|flags, 1, append([][]byte{head, attr(unix.IFA_LOCAL, ip), attr(unix.IFA_ADDRESS, ip)}, attrs...)...)
}

// routeMessage is a request about a route of a type and a scope.
func routeMessage(typ, flags uint16, dst string, kind, scope byte, attrs ...[]byte) []byte {
	p := netip.MustParsePrefix(dst)
	head := []byte{familyOf(p.Addr()), byte(p.Bits()), 0, 0, unix.RT_TABLE_MAIN, unix.RTPROT_BOOT, scope, kind, 0, 0, 0, 0}
	if typ == unix.RTM_DELROUTE {
		head[5] = 0
	}
	return message(typ, unix.NLM_F_ACK|flags, 1, append([][]byte{head, attr(unix.RTA_DST, p.Addr().AsSlice())}, attrs...)...)
}

// linkMessage is a request about an interface.
func linkMessage(typ, flags uint16, index, set, mask uint32, attrs ...[]byte) []byte {
	head := make([]byte, 16)
	native.PutUint32(head[4:], index)
	native.PutUint32(head[8:], set)
	native.PutUint32(head[12:], mask)
	return message(typ, unix.NLM_F_ACK|flags, 1, append([][]byte{head}, attrs...)...)
}

func via(ip string) []byte    { return attr(unix.RTA_GATEWAY, bytesOf(ip)) }
func dev(index uint32) []byte { return attr32(unix.RTA_OIF, index) }
func metric(n uint32) []byte  { return attr32(unix.RTA_PRIORITY, n) }
func table(n uint32) []byte   { return attr32(unix.RTA_TABLE, n) }
func mtu(n uint32) []byte     { return attr(unix.RTA_METRICS, attr32(unix.RTAX_MTU, n)) }
func lifetimes(p, v uint32) []byte {
	b := native.AppendUint32(native.AppendUint32(nil, p), v)
	return attr(unix.IFA_CACHEINFO, append(b, make([]byte, 8)...))
}

// TestChanges has requests one after the other, with the error numbers that Linux has for them.
func TestChanges(t *testing.T) {
	const (
		unicast, blackhole, unreachable, prohibit = unix.RTN_UNICAST, unix.RTN_BLACKHOLE, unix.RTN_UNREACHABLE, unix.RTN_PROHIBIT
		newAddr, delAddr                          = unix.RTM_NEWADDR, unix.RTM_DELADDR
		newRoute, delRoute                        = unix.RTM_NEWROUTE, unix.RTM_DELROUTE
		newLink, setLink                          = unix.RTM_NEWLINK, unix.RTM_SETLINK
		nowhere                                   = unix.RT_SCOPE_NOWHERE
		shmif0                                    = 2
	)
	forMachines(t, func(t *testing.T, a, _ *netviewtest.Kernel) {
		s := netlink.New(a, nil)
		for _, tt := range []struct {
			name string
			req  []byte
			want unix.Errno
		}{
			// shmif0 has 10.0.0.1/24 and fd00::1/64.
			{"an address", addrMessage(newAddr, add, "10.0.1.1/24", shmif0), 0},
			{"again", addrMessage(newAddr, add, "10.0.1.1/24", shmif0), unix.EEXIST},
			{"without CREATE", addrMessage(newAddr, 0, "10.0.1.1/24", shmif0), unix.EEXIST},
			{"replaced by itself", addrMessage(newAddr, replace, "10.0.1.1/24", shmif0), 0},
			{"with another prefix", addrMessage(newAddr, add, "10.0.1.1/25", shmif0), unix.EEXIST},
			{"the prefix changed", addrMessage(newAddr, replace, "10.0.1.1/25", shmif0), 0},
			{"no interface", addrMessage(newAddr, add, "10.0.1.2/24", 77), unix.ENODEV},
			{"a label", addrMessage(newAddr, add, "10.0.1.2/24", shmif0, attr(unix.IFA_LABEL, []byte("shmif0:1\x00"))), unix.EOPNOTSUPP},
			{"no label but the interface's", addrMessage(newAddr, add, "10.0.1.2/24", shmif0, attr(unix.IFA_LABEL, []byte("shmif0\x00"))), 0},
			{"a lifetime of IPv4", addrMessage(newAddr, add, "10.0.1.3/24", shmif0, lifetimes(10, 20)), unix.EOPNOTSUPP},
			{"no lifetime", addrMessage(newAddr, add, "fd01::1/64", shmif0, lifetimes(0, 0)), unix.EINVAL},
			{"preferred for longer than valid", addrMessage(newAddr, add, "fd01::1/64", shmif0, lifetimes(20, 10)), unix.EINVAL},
			{"a lifetime", addrMessage(newAddr, add, "fd01::1/64", shmif0, lifetimes(1000, 2000)), 0},
			{"another", addrMessage(newAddr, add, "fd01::1/64", shmif0), unix.EEXIST},
			{"another, replaced", addrMessage(newAddr, replace, "fd01::1/64", shmif0), 0},
			{"a multicast", addrMessage(newAddr, add, "ff02::1/64", shmif0), unix.EADDRNOTAVAIL},
			{"a short address", message(newAddr, unix.NLM_F_ACK, 1, []byte{unix.AF_INET, 24, 0, 0, shmif0, 0, 0, 0}, attr(unix.IFA_LOCAL, []byte{10})), unix.EINVAL},
			{"no address", message(newAddr, unix.NLM_F_ACK, 1, native.AppendUint32([]byte{unix.AF_INET, 24, 0, 0}, shmif0)), unix.EINVAL},
			{"a prefix that is too long", message(newAddr, unix.NLM_F_ACK, 1, native.AppendUint32([]byte{unix.AF_INET, 33, 0, 0}, shmif0), attr(unix.IFA_LOCAL, []byte{10, 0, 0, 1})), unix.EINVAL},
			{"of another family", message(newAddr, unix.NLM_F_ACK, 1, native.AppendUint32([]byte{unix.AF_MPLS, 24, 0, 0}, shmif0)), unix.EOPNOTSUPP},
			{"a short request", message(newAddr, unix.NLM_F_ACK, 1, []byte{unix.AF_INET, 24, 0, 0}), unix.EINVAL},
			{"deletion of what is not there", addrMessage(delAddr, 0, "10.0.1.9/24", shmif0), unix.EADDRNOTAVAIL},
			{"deletion with another prefix", addrMessage(delAddr, 0, "10.0.1.2/16", shmif0), unix.EADDRNOTAVAIL},
			{"deletion", addrMessage(delAddr, 0, "10.0.1.2/24", shmif0), 0},
			{"deletion of IPv6 with another prefix", addrMessage(delAddr, 0, "fd01::1/80", shmif0), unix.EADDRNOTAVAIL},
			{"deletion of IPv6", addrMessage(delAddr, 0, "fd01::1/64", shmif0), 0},

			{"a route", routeMessage(newRoute, add, "10.2.0.0/16", unicast, 0, via("10.0.0.2"), mtu(1400)), 0},
			{"again", routeMessage(newRoute, add, "10.2.0.0/16", unicast, 0, via("10.0.0.2")), unix.EEXIST},
			{"with another metric", routeMessage(newRoute, add, "10.2.0.0/16", unicast, 0, via("10.0.0.2"), metric(5)), unix.EEXIST},
			{"replaced with another metric", routeMessage(newRoute, replace, "10.2.0.0/16", unicast, 0, via("10.0.0.2"), metric(5)), unix.EEXIST},
			{"appended", routeMessage(newRoute, create|unix.NLM_F_APPEND, "10.2.0.0/16", unicast, 0, via("10.0.0.3")), unix.EEXIST},
			{"replaced", routeMessage(newRoute, change, "10.2.0.0/16", unicast, 0, via("10.0.0.3")), 0},
			{"changed without being there", routeMessage(newRoute, change, "10.3.0.0/16", unicast, 0, via("10.0.0.3")), unix.ENOENT},
			{"neither", routeMessage(newRoute, 0, "10.3.0.0/16", unicast, 0, via("10.0.0.3")), unix.ENOENT},
			{"neither, of IPv6", routeMessage(newRoute, 0, "fd03::/64", unicast, 0, via("fd00::2")), 0},
			{"through nowhere", routeMessage(newRoute, add, "10.3.0.0/16", unicast, 0, via("192.0.2.1")), unix.ENETUNREACH},
			{"through nowhere, of IPv6", routeMessage(newRoute, add, "fd04::/64", unicast, 0, via("fd77::1")), unix.EHOSTUNREACH},
			{"through what a router reaches", routeMessage(newRoute, add, "10.3.0.0/16", unicast, 0, via("10.2.0.1")), unix.ENETUNREACH},
			{"through the other interface", routeMessage(newRoute, add, "10.3.0.0/16", unicast, 0, via("10.0.0.2"), dev(1)), unix.ENETUNREACH},
			{"through no interface", routeMessage(newRoute, add, "10.3.0.0/16", unicast, 0, via("10.0.0.2"), dev(77)), unix.ENODEV},
			{"to nowhere", routeMessage(newRoute, add, "10.3.0.0/16", unicast, 0), unix.ENODEV},
			{"of an address that is not ours", routeMessage(newRoute, add, "10.3.0.0/16", unicast, 0, via("10.0.0.2"), attr(unix.RTA_PREFSRC, bytesOf("10.9.9.9"))), unix.EINVAL},
			{"with bits behind the prefix", routeMessage(newRoute, add, "10.3.0.1/16", unicast, 0, via("10.0.0.2")), unix.EINVAL},
			{"of a link-local router without an interface", routeMessage(newRoute, add, "fd04::/64", unicast, 0, via("fe80::9")), unix.EINVAL},
			{"of a link-local router", routeMessage(newRoute, add, "fd04::/64", unicast, 0, via("fe80::9"), dev(shmif0), metric(9)), 0},
			{"to an interface", routeMessage(newRoute, add, "10.4.0.0/16", unicast, unix.RT_SCOPE_LINK, dev(shmif0), metric(7), attr(unix.RTA_PREFSRC, bytesOf("10.0.1.1"))), 0},
			{"to an interface, of IPv6", routeMessage(newRoute, add, "fd05::/64", unicast, 0, dev(shmif0)), 0},
			{"a host on an interface", routeMessage(newRoute, add, "10.5.0.1/32", unicast, unix.RT_SCOPE_LINK, dev(shmif0)), 0},
			{"a black hole", routeMessage(newRoute, add, "10.6.0.0/16", blackhole, 0), 0},
			{"a black hole with an interface", routeMessage(newRoute, add, "10.7.0.0/16", blackhole, 0, dev(shmif0)), unix.EINVAL},
			{"a reject route", routeMessage(newRoute, add, "fd06::/64", unreachable, 0), 0},
			{"a prohibition", routeMessage(newRoute, add, "10.7.0.0/16", prohibit, 0), unix.EOPNOTSUPP},
			{"of another table", routeMessage(newRoute, add, "10.7.0.0/16", unicast, 0, via("10.0.0.2"), table(100)), unix.EOPNOTSUPP},
			{"of several routers", routeMessage(newRoute, add, "10.7.0.0/16", unicast, 0, attr(unix.RTA_MULTIPATH, make([]byte, 8))), unix.EOPNOTSUPP},
			{"with another metric than the MTU", routeMessage(newRoute, add, "10.7.0.0/16", unicast, 0, via("10.0.0.2"), attr(unix.RTA_METRICS, attr32(unix.RTAX_RTT, 1))), unix.EOPNOTSUPP},
			{"a short router", routeMessage(newRoute, add, "10.7.0.0/16", unicast, 0, attr(unix.RTA_GATEWAY, []byte{10})), unix.EINVAL},
			{"a short request", message(newRoute, unix.NLM_F_ACK, 1, []byte{unix.AF_INET}), unix.EINVAL},
			{"of MPLS", message(newRoute, unix.NLM_F_ACK, 1, []byte{unix.AF_MPLS, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}), unix.EOPNOTSUPP},
			{"a router in place of an interface", routeMessage(newRoute, replace, "10.4.0.0/16", unicast, 0, via("10.0.0.2"), metric(7)), 0},
			{"a black hole in place of a router", routeMessage(newRoute, replace, "fd03::/64", blackhole, 0), 0},
			{"deletion of what is not there", routeMessage(delRoute, 0, "10.99.0.0/16", 0, nowhere), unix.ESRCH},
			{"deletion of another table's", routeMessage(delRoute, 0, "10.2.0.0/16", 0, nowhere, table(100)), unix.ESRCH},
			{"deletion by another router", routeMessage(delRoute, 0, "10.2.0.0/16", 0, nowhere, via("10.0.0.2")), unix.ESRCH},
			{"deletion with another metric", routeMessage(delRoute, 0, "10.2.0.0/16", 0, nowhere, metric(2)), unix.ESRCH},
			{"deletion of another type", routeMessage(delRoute, 0, "10.2.0.0/16", blackhole, nowhere), unix.ESRCH},
			{"deletion of another scope", routeMessage(delRoute, 0, "10.2.0.0/16", 0, unix.RT_SCOPE_LINK), unix.ESRCH},
			{"deletion", routeMessage(delRoute, 0, "10.2.0.0/16", unicast, unix.RT_SCOPE_UNIVERSE, via("10.0.0.3"), dev(shmif0)), 0},
			{"deletion of a host", routeMessage(delRoute, 0, "10.5.0.1/32", 0, nowhere), 0},
			{"deletion of an own address's", routeMessage(delRoute, 0, "10.0.0.1/32", unix.RTN_LOCAL, nowhere, table(unix.RT_TABLE_LOCAL)), unix.EOPNOTSUPP},

			{"no interface that is named", linkMessage(newLink, 0, 0, 0, 0), unix.ENODEV},
			{"setting none", linkMessage(setLink, 0, 0, 0, 0), unix.EINVAL},
			{"one that is not there", linkMessage(setLink, 0, 77, unix.IFF_UP, unix.IFF_UP), unix.ENODEV},
			{"a new one", linkMessage(newLink, add, 0, 0, 0, attr(unix.IFLA_IFNAME, []byte("br0\x00"))), unix.EOPNOTSUPP},
			{"a new one that is there", linkMessage(newLink, add, 0, 0, 0, attr(unix.IFLA_IFNAME, []byte("shmif0\x00"))), unix.EEXIST},
			{"a MTU", linkMessage(newLink, 0, shmif0, 0, 0, attr32(unix.IFLA_MTU, 1300)), 0},
			{"a MTU that cannot be", linkMessage(setLink, 0, shmif0, 0, 0, attr32(unix.IFLA_MTU, 1<<31)), unix.EINVAL},
			{"another name", linkMessage(setLink, 0, shmif0, 0, 0, attr(unix.IFLA_IFNAME, []byte("eth0\x00"))), unix.EOPNOTSUPP},
			{"another address", linkMessage(setLink, 0, shmif0, 0, 0, attr(unix.IFLA_ADDRESS, make([]byte, 6))), unix.EOPNOTSUPP},
			{"promiscuous", linkMessage(setLink, 0, shmif0, unix.IFF_PROMISC, unix.IFF_PROMISC), unix.EOPNOTSUPP},
			{"down", linkMessage(setLink, 0, 0, 0, unix.IFF_UP, attr(unix.IFLA_IFNAME, []byte("shmif0\x00"))), 0},
			{"through an interface that is down", routeMessage(newRoute, add, "10.7.0.0/16", unicast, 0, via("10.0.0.2")), unix.ENETUNREACH},
			{"to an interface that is down", routeMessage(newRoute, add, "10.7.0.0/16", unicast, unix.RT_SCOPE_LINK, dev(shmif0)), unix.ENETDOWN},
			{"up", linkMessage(newLink, 0, shmif0, unix.IFF_UP, unix.IFF_UP), 0},
			{"lo's address", addrMessage(newAddr, add, "127.0.0.1/8", 1), 0}, // as who makes a network namespace has it
			{"lo's address of IPv6", addrMessage(newAddr, add, "::1/128", 1, attr(unix.IFA_LABEL, []byte("lo\x00"))), 0},
			{"another prefix of lo's address", addrMessage(newAddr, add, "127.0.0.1/16", 1), unix.EEXIST},
			{"lo up", linkMessage(newLink, 0, 1, unix.IFF_UP, 0), 0},
			{"lo by its name", linkMessage(setLink, 0, 0, unix.IFF_UP, unix.IFF_UP, attr(unix.IFLA_ALT_IFNAME, []byte("lo\x00"))), 0},
			{"the name that lo has", linkMessage(newLink, 0, 1, 0, 0, attr(unix.IFLA_IFNAME, []byte("lo\x00"))), 0},
			{"a neighbour", message(unix.RTM_NEWNEIGH, unix.NLM_F_ACK, 1, make([]byte, 12)), unix.EOPNOTSUPP},
			{"no interface any more", linkMessage(unix.RTM_DELLINK, 0, shmif0, 0, 0), unix.EOPNOTSUPP},
		} {
			if _, errno := ask(t, s, unix.NETLINK_ROUTE, tt.req); errno != tt.want {
				t.Errorf("%s: %v, want %v", tt.name, errno, tt.want)
			}
		}
		var got []string
		for _, r := range list(t, s, unix.RTM_GETROUTE, make([]byte, 12)) {
			at := r.attrs(t)
			dst, _ := netip.AddrFromSlice(at[unix.RTA_DST])
			if table, protocol := r.Data[4], r.Data[5]; table != unix.RT_TABLE_MAIN || protocol == unix.RTPROT_KERNEL {
				continue
			}
			text := fmt.Sprintf("%s/%d type %d protocol %d", dst, r.Data[1], r.Data[7], r.Data[5])
			if gw, ok := netip.AddrFromSlice(at[unix.RTA_GATEWAY]); ok {
				text += " via " + gw.String()
			}
			if b := at[unix.RTA_PRIORITY]; b != nil {
				text += fmt.Sprint(" metric ", native.Uint32(b))
			}
			if b := at[unix.RTA_METRICS]; b != nil {
				text += fmt.Sprint(" mtu ", native.Uint32(b[4:]))
			}
			if src, ok := netip.AddrFromSlice(at[unix.RTA_PREFSRC]); ok {
				text += " src " + src.String()
			}
			got = append(got, text)
		}
		slices.Sort(got)
		want := []string{
			"10.4.0.0/16 type 1 protocol 3 via 10.0.0.2 metric 7",
			"10.6.0.0/16 type 6 protocol 3",
			"fd03::/64 type 6 protocol 3 metric 1024",
			"fd04::/64 type 1 protocol 3 via fe80::9 metric 9",
			"fd05::/64 type 1 protocol 3 metric 1024",
			"fd06::/64 type 7 protocol 3 metric 1024",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		got = nil
		for _, r := range list(t, s, unix.RTM_GETADDR, make([]byte, 8)) {
			if a, _ := netip.AddrFromSlice(r.attrs(t)[unix.IFA_ADDRESS]); native.Uint32(r.Data[4:]) == shmif0 && !a.IsLinkLocalUnicast() {
				got = append(got, fmt.Sprintf("%s/%d", a, r.Data[1]))
			}
		}
		if text := strings.Join(got, " "); text != "10.0.0.1/24 10.0.1.1/25 fd00::1/64" {
			t.Error(text)
		}
		for _, r := range list(t, s, unix.RTM_GETLINK, make([]byte, 16)) {
			if at := r.attrs(t); cstring(at[unix.IFLA_IFNAME]) == "shmif0" && (native.Uint32(at[unix.IFLA_MTU]) != 1300 || native.Uint32(r.Data[8:])&unix.IFF_UP == 0) {
				t.Errorf("MTU %d, flags %#x", native.Uint32(at[unix.IFLA_MTU]), native.Uint32(r.Data[8:]))
			}
		}
	})
}
