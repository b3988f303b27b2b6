package inet

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"testing"

	"gvisor.dev/gvisor/pkg/waiter"

	"rumptools/internal/kernel"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/sysproxy"
)

// pcbs gives a socket list.
func pcbs(t *testing.T, s *Stack, family, proto int32) (list []netbsd.KinfoPcb) {
	t.Helper()
	return pcbsOf(t, s, family, proto, netbsd.PCB_ALL, 0)
}

// pcbsOf gives what is chosen of a socket list.
func pcbsOf(t *testing.T, s *Stack, family, proto, which, arg int32) (list []netbsd.KinfoPcb) {
	t.Helper()
	size := netbsd.Sizeof(s.machine, netbsd.KinfoPcb{})
	b, err := s.pcblist(&kernel.SysctlRequest{Params: []int32{which, arg, int32(size), 1 << 20}}, pcbList{family, proto})
	must(t, err)
	if len(b)%size != 0 {
		t.Fatalf("%d bytes, %d each", len(b), size)
	}
	for ; len(b) > 0; b = b[size:] {
		var info netbsd.KinfoPcb
		must(t, netbsd.Unmarshal(s.machine, b[:size], &info))
		list = append(list, info)
	}
	return list
}

// TestPcblistTCP: a listener, a connection that nobody has accepted, and its
// client, as they were recorded.
func TestPcblistTCP(t *testing.T) {
	onMachines(t, func(t *testing.T, s *Stack) {
		for _, tt := range []struct {
			addr, any      string
			flags, anon    uint32
			newest, family int32
		}{
			{"127.0.0.1:8081", "0.0.0.0:8081", 0, inpAnonPort, 0, inet},
			{"[::1]:8081", "[::]:8081", in6pV6Only, in6pV6Only | in6pAnonPort, 0, inet6},
		} {
			l := listener(t, s, tt.any, 5)
			c := dial(t, s, tt.addr)
			// Not by poll, which would take over what waits: the list has to, before it is made.
			eventually(t, "the engine has the connection", func() bool {
				return l.(*tcpSocket).ep.Readiness(waiter.ReadableEvents) != 0
			})
			client, server, here := name(t, c), addr(s, tt.addr), addr(s, tt.any)
			type row struct {
				pflags, sostate, prstate, tstate, tflags uint32
				src, dst                                 string
			}
			want := []row{
				{tt.flags, netbsd.SS_NOFDREF | netbsd.SS_ISCONNECTED, 2, netbsd.TCPS_ESTABLISHED, 0x9e0, string(server), string(client)},
				{tt.anon, netbsd.SS_ISCONNECTED, 2, netbsd.TCPS_ESTABLISHED, 0xbe0, string(client), string(server)},
				{tt.flags, 0, 1, netbsd.TCPS_LISTEN, 0xa0, string(here), ""},
			}
			list := pcbs(t, s, tt.family, netbsd.IPPROTO_TCP)
			if len(list) != len(want) {
				t.Fatalf("%d sockets: %+v", len(list), list)
			}
			seen := make(map[uint64]bool)
			for i, p := range list {
				n := len(here)
				got := row{p.Pflags, p.Sostate, uint32(p.Prstate), uint32(p.Tstate), uint32(p.Tflags), string(p.Src[:n]), string(p.Dst[:n])}
				if want[i].dst == "" {
					want[i].dst = string(make([]byte, n))
				}
				if got != want[i] {
					t.Errorf("socket %d is %x, want %x", i, got, want[i])
				}
				if p.Family != uint32(tt.family) || p.Type != netbsd.SOCK_STREAM || p.Protocol != netbsd.IPPROTO_TCP {
					t.Errorf("socket %d: %+v", i, p)
				}
				for _, a := range []uint64{p.Pcbaddr, p.Ppcbaddr, p.Sockaddr} {
					if a == 0 || seen[a] || s.machine.WordSize == 4 && a>>32 != 0 {
						t.Errorf("socket %d has a control block at %#x", i, a)
					}
					seen[a] = true
				}
			}
		}
	})
}

// TestPcblistQueues: what waits to be read and to be sent is shown.
func TestPcblistQueues(t *testing.T) {
	s := newStackOf(t, netbsd.AMD64)
	c, srv := connected(t, s, s, "127.0.0.1:80")
	send(t, c, []byte("hello"), nil)
	ready(t, srv, pollRead|pollWrite)
	list := pcbs(t, s, inet, netbsd.IPPROTO_TCP)
	i := slices.IndexFunc(list, func(p netbsd.KinfoPcb) bool { return bytes.Equal(p.Src[:16], name(t, srv)) })
	if list[i].Rcvq != 5 {
		t.Errorf("%d bytes to read", list[i].Rcvq)
	}
	u := bound(t, s, "127.0.0.1:5000")
	send(t, u, []byte("hello"), addr(s, "127.0.0.1:5000"))
	if list := pcbs(t, s, inet, netbsd.IPPROTO_UDP); len(list) != 1 || list[0].Rcvq != 5+16 {
		t.Errorf("%+v", list)
	}
}

// TestPcblistStates follows a connection to its end.
func TestPcblistStates(t *testing.T) {
	s := newStackOf(t, netbsd.AMD64)
	l := listener(t, s, "127.0.0.1:80", 5)
	c := dial(t, s, "127.0.0.1:80")
	srv, _ := accept(t, l)
	l.Close()
	states := func() []int32 {
		var st []int32
		for _, p := range pcbs(t, s, inet, netbsd.IPPROTO_TCP) {
			st = append(st, int32(p.Tstate))
		}
		slices.SortFunc(st, cmp.Compare)
		return st
	}
	expect := func(want ...int32) {
		t.Helper()
		eventually(t, "states", func() bool { return slices.Equal(states(), want) })
	}
	expect(netbsd.TCPS_ESTABLISHED, netbsd.TCPS_ESTABLISHED)
	must(t, c.Shutdown(netbsd.SHUT_WR))
	expect(netbsd.TCPS_CLOSE_WAIT, netbsd.TCPS_FIN_WAIT_2)
	c.Close()
	expect(netbsd.TCPS_CLOSE_WAIT, netbsd.TCPS_FIN_WAIT_2)
	srv.Close()
	expect(netbsd.TCPS_TIME_WAIT)
	if p := pcbs(t, s, inet, netbsd.IPPROTO_TCP)[0]; p.Sostate != 0x831 {
		t.Errorf("a connection that is over has the state %#x", p.Sostate)
	}
}

// TestPcblistOthers: UDP and raw sockets.
func TestPcblistOthers(t *testing.T) {
	s := newStackOf(t, netbsd.AMD64)
	open(t, s, inet, dgram, 0)
	u := bound(t, s, "127.0.0.1:5000")
	must(t, u.Connect(addr(s, "127.0.0.1:7")))
	open(t, s, inet, netbsd.SOCK_RAW, netbsd.IPPROTO_ICMP)
	open(t, s, inet6, netbsd.SOCK_RAW, netbsd.IPPROTO_ICMPV6)
	list := pcbs(t, s, inet, netbsd.IPPROTO_UDP)
	if len(list) != 2 || list[0].Prstate != inpConnected || list[0].Sostate != netbsd.SS_ISCONNECTED || list[1].Prstate != inpAttached {
		t.Errorf("UDP: %+v", list)
	}
	if !bytes.Equal(list[0].Dst[:16], addr(s, "127.0.0.1:7")) {
		t.Errorf("peer %x", list[0].Dst[:16])
	}
	if list := pcbs(t, s, inet, netbsd.IPPROTO_RAW); len(list) != 1 || list[0].Protocol != netbsd.IPPROTO_ICMP || list[0].Type != netbsd.SOCK_RAW {
		t.Errorf("raw: %+v", list)
	}
	if list := pcbs(t, s, inet6, netbsd.IPPROTO_RAW); len(list) != 1 || list[0].Protocol != netbsd.IPPROTO_ICMPV6 {
		t.Errorf("raw6: %+v", list)
	}
	if list := pcbs(t, s, inet6, netbsd.IPPROTO_UDP); len(list) != 0 {
		t.Errorf("UDP6: %+v", list)
	}
	get := func(params ...int32) error {
		_, err := s.pcblist(&kernel.SysctlRequest{Params: params}, pcbList{inet, netbsd.IPPROTO_UDP})
		return err
	}
	check(t, "no parameters", get(), netbsd.EINVAL)
	check(t, "wrong size", get(0, 0, 100, 10), netbsd.EINVAL)
	b, err := s.pcblist(&kernel.SysctlRequest{Params: []int32{0, 0, 632, 10}, Probe: true}, pcbList{inet, netbsd.IPPROTO_UDP})
	if size := netbsd.Sizeof(s.machine, netbsd.KinfoPcb{}); err != nil || len(b) != (2+netbsd.PCB_SLOP)*size {
		t.Errorf("probe: %d bytes, %v", len(b), err)
	}
}

// TestPcblistPort: the sockets with a local port are those of the whole list that have it: a listener, what waits for it, its
// connections, and who is bound and no more.
func TestPcblistPort(t *testing.T) {
	onMachines(t, func(t *testing.T, s *Stack) {
		for _, tt := range []struct {
			family    int32
			addr, any string
		}{
			{inet, "127.0.0.1:8081", "0.0.0.0:%d"},
			{inet6, "[::1]:8081", "[::]:%d"},
		} {
			l := listener(t, s, fmt.Sprintf(tt.any, 8081), 5)
			listener(t, s, fmt.Sprintf(tt.any, 8082), 5)
			dial(t, s, tt.addr)
			eventually(t, "the engine has the connection", func() bool {
				return l.(*tcpSocket).ep.Readiness(waiter.ReadableEvents) != 0
			})
			// The list by the port is the first to take over what waits.
			listed := map[uint16]int{}
			for _, port := range []uint16{8081, 8082, 8083} {
				list := pcbsOf(t, s, tt.family, netbsd.IPPROTO_TCP, sysproxy.PcbLocalPort, int32(port))
				listed[port] = len(list)
				want := slices.DeleteFunc(pcbs(t, s, tt.family, netbsd.IPPROTO_TCP), func(info netbsd.KinfoPcb) bool {
					return binary.BigEndian.Uint16(info.Src[2:]) != port
				})
				if !slices.Equal(list, want) {
					t.Errorf("port %d: %d sockets, of the whole list %d", port, len(list), len(want))
				}
			}
			if want := map[uint16]int{8081: 2, 8082: 1, 8083: 0}; !maps.Equal(listed, want) {
				t.Errorf("%s: %v, want %v", tt.addr, listed, want)
			}
		}
		u := open(t, s, inet, netbsd.SOCK_DGRAM, 0)
		must(t, u.Bind(addr(s, "127.0.0.1:53")))
		must(t, open(t, s, inet, netbsd.SOCK_DGRAM, 0).Bind(addr(s, "127.0.0.1:54")))
		if list := pcbsOf(t, s, inet, netbsd.IPPROTO_UDP, sysproxy.PcbLocalPort, 53); len(list) != 1 ||
			binary.BigEndian.Uint16(list[0].Src[2:]) != 53 {
			t.Errorf("UDP port 53: %d sockets", len(list))
		}
	})
}
