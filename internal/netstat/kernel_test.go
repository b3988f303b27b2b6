package netstat

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"rumptools/internal/netdb"
	"rumptools/internal/rtsock"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
)

// fakeKernel has lists of interfaces and routes, and nodes of the sysctl tree
// by name.
type fakeKernel struct {
	machine    *netbsd.Machine
	interfaces func() []byte
	routes     []byte
	nodes      map[string][]byte
}

func (k *fakeKernel) Machine() *netbsd.Machine { return k.machine }

func (k *fakeKernel) names() []string {
	var list []string
	for name := range k.nodes {
		list = append(list, name)
	}
	slices.Sort(list)
	return list
}

func (k *fakeKernel) SysctlNode(_ context.Context, name string) ([]int32, netbsd.Sysctlnode, error) {
	i := slices.Index(k.names(), name)
	if i < 0 {
		return nil, netbsd.Sysctlnode{}, &spclient.SyscallError{Call: "sysctl " + name, Errno: netbsd.ENOENT}
	}
	return []int32{99, int32(i)}, netbsd.Sysctlnode{}, nil
}

func (k *fakeKernel) SysctlBytes(_ context.Context, mib []int32) ([]byte, error) {
	switch {
	case mib[0] == 99:
		return k.nodes[k.names()[mib[1]]], nil
	case mib[4] == netbsd.NET_RT_IFLIST:
		return k.interfaces(), nil
	}
	return k.routes, nil
}

// machines are kinds of machines that differ in what matters.
var machines = []*netbsd.Machine{netbsd.AMD64, netbsd.I386, netbsd.POWERPC, netbsd.SPARC64}

func newKernel(m *netbsd.Machine) *fakeKernel {
	return &fakeKernel{machine: m, interfaces: func() []byte { return interfaceList(m, 0) }, routes: routeList(m), nodes: map[string][]byte{}}
}

func addr(s string) netip.AddrPort { return netip.AddrPortFrom(netip.MustParseAddr(s), 0) }

func link(m *netbsd.Machine, dl netbsd.SockaddrDL) []byte {
	b, err := netbsd.AppendSockaddrDl(m, nil, dl)
	if err != nil {
		panic(err)
	}
	return b
}

// interfaceList is lo0, shmif0 and a shmif1 that is down, with so many packets
// more than at the start.
func interfaceList(m *netbsd.Machine, more uint64) []byte {
	var b []byte
	iface := func(index uint16, name string, typ uint8, mac []byte, flags int32, d netbsd.IfData) {
		b = netbsd.AppendRtMessage(m, b, &netbsd.IfMsghdr{Type: netbsd.RTM_IFINFO, Index: index, Flags: flags, Data: d}, rtsock.Addrs{
			netbsd.RTAX_IFP: link(m, netbsd.SockaddrDL{Index: index, Type: typ, Name: name, Addr: mac}),
		})
	}
	address := func(index uint16, sa, mask []byte) {
		b = netbsd.AppendRtMessage(m, b, &netbsd.IfaMsghdr{Type: netbsd.RTM_NEWADDR, Index: index}, rtsock.Addrs{
			netbsd.RTAX_NETMASK: mask, netbsd.RTAX_IFA: sa,
		})
	}
	iface(1, "lo0", netbsd.IFT_LOOP, nil, netbsd.IFF_UP|netbsd.IFF_LOOPBACK, netbsd.IfData{Mtu: 33624, Ipackets: 5, Opackets: 5, Ibytes: 500, Obytes: 500})
	address(1, netbsd.SockaddrIn(addr("127.0.0.1")), netbsd.AddrNetmask(netbsd.AF_INET, 8))
	iface(2, "shmif0", netbsd.IFT_ETHER, []byte{2, 0, 0, 0, 0, 1}, netbsd.IFF_UP|netbsd.IFF_BROADCAST,
		netbsd.IfData{Mtu: 1500, Ipackets: 10 + more, Ierrors: 1, Opackets: 20 + 2*more, Oerrors: 2, Collisions: 3, Ibytes: 123456789, Obytes: 1 << 40})
	address(2, netbsd.SockaddrIn(addr("10.0.0.1")), netbsd.AddrNetmask(netbsd.AF_INET, 24))
	address(2, netbsd.SockaddrIn6(m, addr("fe80:2::a:bcff:fede:f001"), 0, 0), netbsd.Netmask(netbsd.AF_INET6, 64))
	iface(3, "shmif1", netbsd.IFT_ETHER, []byte{2, 0, 0, 0, 0, 2}, netbsd.IFF_BROADCAST, netbsd.IfData{Mtu: 1500})
	address(3, []byte{6, 99, 1, 2, 0, 0}, nil)
	return b
}

func routeList(m *netbsd.Machine) []byte {
	var b []byte
	route := func(flags int32, index uint16, rmx netbsd.RtMetrics, dst, gw, mask []byte) {
		b = netbsd.AppendRtMessage(m, b, &netbsd.RtMsghdr{Type: netbsd.RTM_GET, Flags: flags, Index: index, Rmx: rmx}, rtsock.Addrs{
			netbsd.RTAX_DST: dst, netbsd.RTAX_GATEWAY: gw, netbsd.RTAX_NETMASK: mask,
		})
	}
	const up, host, gateway = netbsd.RTF_UP, netbsd.RTF_HOST, netbsd.RTF_GATEWAY
	in := func(s string) []byte { return netbsd.SockaddrIn(addr(s)) }
	in6 := func(s string) []byte { return netbsd.SockaddrIn6(m, addr(s), 0, 0) }
	none := netbsd.RtMetrics{}
	route(up|gateway|netbsd.RTF_STATIC, 2, none, in("0.0.0.0"), in("10.0.0.2"), netbsd.RouteNetmask(netbsd.AF_INET, 0))
	route(up|netbsd.RTF_CONNECTED, 2, none, in("10.0.0.0"), link(m, netbsd.SockaddrDL{Index: 2}), netbsd.RouteNetmask(netbsd.AF_INET, 24))
	route(up|host|netbsd.RTF_LLDATA, 2, none, in("10.0.0.2"), link(m, netbsd.SockaddrDL{Index: 2, Type: netbsd.IFT_ETHER, Addr: []byte{2, 0, 0, 0, 0, 9}}), nil)
	route(up|host|netbsd.RTF_LOCAL|netbsd.RTF_LLDATA, 1, netbsd.RtMetrics{Mtu: 33624, Locks: netbsd.RTV_MTU | netbsd.RTV_EXPIRE, Expire: 77, Recvpipe: 8192, Hopcount: 3},
		in("127.0.0.1"), link(m, netbsd.SockaddrDL{Index: 1, Type: netbsd.IFT_LOOP, Name: "lo0"}), nil)
	route(up|gateway|netbsd.RTF_REJECT|netbsd.RTF_DYNAMIC, 1, none, in("172.16.0.0"), in("127.0.0.1"), netbsd.RouteNetmask(netbsd.AF_INET, 12))
	route(up|gateway, 2, none, in6("::"), in6("fe80:2::2"), netbsd.RouteNetmask(netbsd.AF_INET6, 0))
	route(up|netbsd.RTF_CONNECTED, 2, none, in6("fe80:2::"), link(m, netbsd.SockaddrDL{Index: 2}), netbsd.RouteNetmask(netbsd.AF_INET6, 64))
	route(up|host, 2, none, in6("fe80:2::2"), link(m, netbsd.SockaddrDL{Index: 2}), nil)
	route(up, 2, none, in6("2001:db8:1:2:3:4:5:6"), in6("fd00::2"), netbsd.RouteNetmask(netbsd.AF_INET6, 121))
	route(up, 0, none, []byte{4, 33, 0xab, 0xcd}, in("10.0.0.2"), nil)
	return b
}

// testNames have names of hosts and services.
func testNames(t testing.TB) *netdb.DB {
	t.Helper()
	dir := t.TempDir()
	for file, text := range map[string]string{
		"hosts":     "127.0.0.1 localhost\n10.0.0.2 a-host-with-a-long-name.example.org\nfe80::2 six\n",
		"services":  "http 80/tcp\nhttp-alt 8080/tcp\ndomain 53/udp\n",
		"protocols": "tcp 6 TCP\nfoo 200 FOO\nip 0 IP\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return netdb.New(dir)
}

// numeric shows numbers.
var numeric = Names{NumericAddresses: true, NumericPorts: true}
