//go:build linux

package netview

import (
	"context"
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"rumptools/internal/rtsock"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
)

// hostileKernel answers with whatever it is given.
type hostileKernel struct {
	machine                     *netbsd.Machine
	interfaces, routes, sockets []byte
}

func (k *hostileKernel) Machine() *netbsd.Machine { return k.machine }

func (k *hostileKernel) SysctlBytes(_ context.Context, mib []int32) ([]byte, error) {
	switch {
	case len(mib) > 4 && mib[0] == netbsd.CTL_NET && mib[4] == netbsd.NET_RT_IFLIST:
		return k.interfaces, nil
	case len(mib) > 4 && mib[0] == netbsd.CTL_NET:
		return k.routes, nil
	}
	return k.sockets, nil
}

func (k *hostileKernel) SysctlNode(context.Context, string) ([]int32, netbsd.Sysctlnode, error) {
	return []int32{99}, netbsd.Sysctlnode{}, nil
}

func (k *hostileKernel) Socket(context.Context, int32, int32, int32) (spclient.FD, error) {
	return spclient.FD{}, nil
}
func (k *hostileKernel) SysctlQuery(context.Context, []int32) ([]netbsd.Sysctlnode, error) {
	return nil, nil
}
func (k *hostileKernel) FD(int32) spclient.FD                               { return spclient.FD{} }
func (k *hostileKernel) CloseFD(context.Context, spclient.FD) error         { return nil }
func (k *hostileKernel) Connect(context.Context, spclient.FD, []byte) error { return nil }
func (k *hostileKernel) Write(context.Context, spclient.FD, []byte) (int, error) {
	return 0, nil
}

func (k *hostileKernel) ClockGettime(context.Context, int32) (netbsd.Timespec, error) {
	return netbsd.Timespec{Sec: -1 << 63}, nil
}

func (k *hostileKernel) IoctlStruct(_ context.Context, _ spclient.FD, _ *netbsd.Ioctl, v any) error {
	// What it answers with is what else it says.
	if b := slices.Concat(k.routes, make([]byte, 512)); v != nil {
		return netbsd.Unmarshal(k.machine, b, v)
	}
	return nil
}

func (k *hostileKernel) Getsockname(context.Context, spclient.FD) ([]byte, error) {
	return k.routes, nil
}

func (k *hostileKernel) RecvfromWait(_ context.Context, _ spclient.FD, p []byte, _ int32) (int, []byte, error) {
	if len(k.routes) == 0 {
		return 0, nil, netbsd.EIO
	}
	n := copy(p, k.routes)
	k.routes = k.routes[n:]
	return n, nil, nil
}

// TestNeighbourFlags has neighbours of a kernel that does not set the flags, the
// interface and, for those that stay, the time of its messages.
func TestNeighbourFlags(t *testing.T) {
	m := netbsd.AMD64
	dl, err := netbsd.AppendSockaddrDl(m, nil, netbsd.SockaddrDL{Index: 2, Addr: []byte{2, 0, 0, 0, 0, 9}})
	if err != nil {
		t.Fatal(err)
	}
	dst := netbsd.SockaddrIn(netip.MustParseAddrPort("10.0.0.2:0"))
	k := &hostileKernel{machine: m, routes: netbsd.AppendRtMessage(m, nil, &netbsd.RtMsghdr{
		Type: netbsd.RTM_GET, Flags: -0x4188439c, Index: 36,
	}, rtsock.Addrs{netbsd.RTAX_DST: dst, netbsd.RTAX_GATEWAY: dl})}
	list, err := Neighbours(t.Context(), k, unix.AF_INET)
	if err != nil || len(list) != 1 || list[0].Index != 2 || list[0].State != unix.NUD_PERMANENT {
		t.Errorf("%+v, %v", list, err)
	}
}

// FuzzKernel has lists that mean something, or errors, from any answers of a
// kernel.
func FuzzKernel(f *testing.F) {
	m := netbsd.AMD64
	link := func(index uint16, name string, flags int32) []byte {
		dl, err := netbsd.AppendSockaddrDl(m, nil, netbsd.SockaddrDL{Index: index, Type: netbsd.IFT_ETHER, Name: name, Addr: []byte{2, 0, 0, 0, 0, 1}})
		if err != nil {
			f.Fatal(err)
		}
		return netbsd.AppendRtMessage(m, nil, &netbsd.IfMsghdr{Type: netbsd.RTM_IFINFO, Index: index, Flags: flags, Data: netbsd.IfData{Type: netbsd.IFT_ETHER, Mtu: 1500}},
			rtsock.Addrs{netbsd.RTAX_IFP: dl})
	}
	ip := func(s string) []byte { return netbsd.Sockaddr(m, netip.AddrPortFrom(netip.MustParseAddr(s), 0)) }
	interfaces := slices.Concat(
		link(1, "lo0", netbsd.IFF_UP|netbsd.IFF_LOOPBACK), link(2, "shmif0", netbsd.IFF_UP|netbsd.IFF_BROADCAST|netbsd.IFF_MULTICAST),
		netbsd.AppendRtMessage(m, nil, &netbsd.IfaMsghdr{Type: netbsd.RTM_NEWADDR, Index: 2}, rtsock.Addrs{
			netbsd.RTAX_NETMASK: netbsd.AddrNetmask(netbsd.AF_INET, 24), netbsd.RTAX_IFA: ip("10.0.0.1"), netbsd.RTAX_BRD: ip("10.0.0.255"),
		}),
		netbsd.AppendRtMessage(m, nil, &netbsd.IfaMsghdr{Type: netbsd.RTM_NEWADDR, Index: 2}, rtsock.Addrs{
			netbsd.RTAX_NETMASK: netbsd.Netmask(netbsd.AF_INET6, 64), netbsd.RTAX_IFA: ip("fe80:2::1"),
		}))
	gateway, err := netbsd.AppendSockaddrDl(m, nil, netbsd.SockaddrDL{Index: 2, Addr: []byte{2, 0, 0, 0, 0, 9}})
	if err != nil {
		f.Fatal(err)
	}
	routes := slices.Concat(
		netbsd.AppendRtMessage(m, nil, &netbsd.RtMsghdr{Type: netbsd.RTM_GET, Flags: netbsd.RTF_UP, Index: 2}, rtsock.Addrs{
			netbsd.RTAX_DST: ip("10.0.0.0"), netbsd.RTAX_GATEWAY: gateway, netbsd.RTAX_NETMASK: netbsd.RouteNetmask(netbsd.AF_INET, 24),
		}),
		netbsd.AppendRtMessage(m, nil, &netbsd.RtMsghdr{Type: netbsd.RTM_GET, Flags: netbsd.RTF_UP | netbsd.RTF_HOST | netbsd.RTF_LLDATA}, rtsock.Addrs{
			netbsd.RTAX_DST: ip("10.0.0.2"), netbsd.RTAX_GATEWAY: gateway,
		}),
		netbsd.AppendRtMessage(m, nil, &netbsd.RtMsghdr{Type: netbsd.RTM_GET, Flags: netbsd.RTF_UP | netbsd.RTF_GATEWAY, Index: 2}, rtsock.Addrs{
			netbsd.RTAX_DST: ip("::"), netbsd.RTAX_GATEWAY: ip("fd00::2"), netbsd.RTAX_NETMASK: netbsd.RouteNetmask(netbsd.AF_INET6, 0),
		}))
	sockets := netbsd.Append(m, nil, &netbsd.KinfoPcb{Tstate: 4, Protocol: 6})
	f.Add(uint8(0), interfaces, routes, sockets)
	f.Add(uint8(5), []byte{}, []byte{}, []byte{})
	machines := []*netbsd.Machine{netbsd.AMD64, netbsd.I386, netbsd.POWERPC, netbsd.SPARC64}
	f.Fuzz(func(t *testing.T, machine uint8, interfaces, routes, sockets []byte) {
		k := &hostileKernel{machines[int(machine)%len(machines)], interfaces, routes, sockets}
		ctx := t.Context()
		addrs, _ := Addrs(ctx, k, unix.AF_UNSPEC)
		for i := range addrs {
			if a := &addrs[i]; !a.Prefix.IsValid() {
				t.Errorf("%+v", a)
			}
		}
		list, _ := Routes(ctx, k, unix.AF_UNSPEC)
		for i := range list {
			if r := &list[i]; !r.Dst.IsValid() || r.Dst != r.Dst.Masked() || r.Gateway.IsValid() && r.Type == unix.RTN_LOCAL {
				t.Errorf("%+v", r)
			}
		}
		neighbours, _ := Neighbours(ctx, k, unix.AF_UNSPEC)
		for i := range neighbours {
			if !neighbours[i].IP.IsValid() {
				t.Errorf("%+v", neighbours[i])
			}
		}
		for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
			for _, protocol := range []uint8{unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_RAW} {
				list, _ := Sockets(ctx, k, family, protocol)
				for i := range list {
					if s := &list[i]; !s.Local.IsValid() || !s.Remote.IsValid() || s.State == 0 || s.State > TCPClosing {
						t.Errorf("%+v", s)
					}
				}
			}
		}
		_, _ = Lookup(ctx, k, netip.MustParseAddr("10.0.0.7"), 0)
		_, _ = Lookup(ctx, k, netip.MustParseAddr("fe80::7"), 2)
	})
}
