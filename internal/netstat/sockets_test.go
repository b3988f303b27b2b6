package netstat

import (
	"bytes"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"rumptools/internal/owners"
	"rumptools/pkg/netbsd"
)

// pcb is an entry of a list of sockets.
func pcb(m *netbsd.Machine, local, foreign string, state int32, flags uint32, queues ...uint64) []byte {
	p := netbsd.KinfoPcb{Tstate: state, Pflags: flags}
	if len(queues) == 2 {
		p.Rcvq, p.Sndq = queues[0], queues[1]
	}
	copy(p.Src[:], netbsd.Sockaddr(m, netip.MustParseAddrPort(local)))
	copy(p.Dst[:], netbsd.Sockaddr(m, netip.MustParseAddrPort(foreign)))
	// The kernel leaves length and family out of some.
	p.Dst[0], p.Dst[1] = 0, 0
	return netbsd.Marshal(m, &p)
}

func socketKernel(m *netbsd.Machine) *fakeKernel {
	k := newKernel(m)
	k.nodes["net.inet.tcp.pcblist"] = slices.Concat(
		pcb(m, "127.0.0.1:8080", "127.0.0.1:54321", 4, 0, 7, 123456),
		pcb(m, "10.0.0.1:80", "10.0.0.2:80", 99, inpAnonPort),
		pcb(m, "0.0.0.0:80", "0.0.0.0:0", 1, 0),
	)
	k.nodes["net.inet6.tcp6.pcblist"] = slices.Concat(
		pcb(m, "[fe80:2::1234:5678:9abc:def0]:80", "[fe80:2::2]:8080", 10, 0),
		pcb(m, "[::]:80", "[::]:0", 1, 0),
	)
	k.nodes["net.inet.udp.pcblist"] = pcb(m, "0.0.0.0:53", "0.0.0.0:0", 0, 0)
	local := func(typ uint32, src, dst string) []byte {
		p := netbsd.KinfoPcb{Type: typ, Pcbaddr: 0xabc, Sockaddr: 0x123456789, Vnode: 0xffff, Rcvq: 3}
		if src != "" {
			sa, err := netbsd.SockaddrUn(src)
			if err != nil {
				panic(err)
			}
			copy(p.Src[:], sa)
		}
		if dst != "" {
			sa, err := netbsd.SockaddrUn(dst)
			if err != nil {
				panic(err)
			}
			copy(p.Dst[:], sa)
		}
		return netbsd.Marshal(m, &p)
	}
	k.nodes["net.local.stream.pcblist"] = slices.Concat(local(1, "/sock", ""), local(1, "", "/peer"), local(7, "", ""))
	k.nodes["net.local.dgram.pcblist"] = nil
	return k
}

// sockets lists the sockets of several protocols.
func sockets(t *testing.T, k Kernel, protocols []string, all bool) []Socket {
	t.Helper()
	var list []Socket
	for _, p := range protocols {
		s, err := ListSockets(t.Context(), k, p, all)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, s...)
	}
	return list
}

func TestSockets(t *testing.T) {
	named := Names{DB: testNames(t)}
	for _, c := range []struct {
		protocols []string
		all       bool
		names     Names
		want      string
	}{
		{InetProtocols, true, numeric, `Active Internet connections (including servers)
Proto Recv-Q Send-Q  Local Address          Foreign Address        State
tcp        7 123456  127.0.0.1.8080         127.0.0.1.54321        ESTABLISHED
tcp        0      0  10.0.0.1.80            10.0.0.2.80            99
tcp        0      0  *.80                   *.*                    LISTEN
udp        0      0  *.53                   *.*                   
`},
		{InetProtocols, false, named, `Active Internet connections
Proto Recv-Q Send-Q  Local Address          Foreign Address        State
tcp        7 123456  localhost.http-alt     localhost.54321        ESTABLISHED
tcp        0      0  10.0.0.1.80            a-host-with-a-lo.http  99
`},
		{Inet6Protocols, true, Names{DB: testNames(t), NumericAddresses: true}, `Active Internet6 connections (including servers)
Proto Recv-Q Send-Q  Local Address          Foreign Address        (state)
tcp6       0      0  fe80::1234:5678:.http  fe80::2%shmif0.http-al TIME_WAIT
tcp6       0      0  *.http                 *.*                    LISTEN
`},
		{Inet6Protocols, false, Names{DB: testNames(t), NumericPorts: true, Verbose: true}, `Active Internet6 connections
Proto Recv-Q Send-Q  Local Address          Foreign Address        (state)
tcp6       0      0  fe80::1234:5678:9abc:def0%shmif0.80 six.8080               TIME_WAIT
`},
	} {
		for _, m := range machines {
			list := sockets(t, socketKernel(m), c.protocols, c.all)
			got := output(t, func(b *bytes.Buffer) error { return WriteSockets(b, list, c.all, c.names) })
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("%s: %s", m, diff)
			}
		}
	}
}

func TestNoSockets(t *testing.T) {
	k := newKernel(netbsd.AMD64)
	if list := sockets(t, k, InetProtocols, true); list != nil {
		t.Errorf("got %v", list)
	}
	if got := output(t, func(b *bytes.Buffer) error { return WriteSockets(b, nil, true, numeric) }); got != "" {
		t.Errorf("got %q", got)
	}
	if _, err := ListLocalSockets(t.Context(), k); !errors.Is(err, ErrNoLocal) {
		t.Errorf("got %v", err)
	}
}

func TestLocalSockets(t *testing.T) {
	for _, m := range machines {
		list, err := ListLocalSockets(t.Context(), socketKernel(m))
		if err != nil {
			t.Fatal(err)
		}
		got := output(t, func(b *bytes.Buffer) error { return WriteLocalSockets(b, list) })
		want := `Active UNIX domain sockets
Address  Type   Recv-Q Send-Q    Inode     Conn     Refs  Nextref Addr
     abc stream      3      0     ffff        0        0        0 /sock
     abc stream      3      0     ffff        0        0        0 -> /peer
     abc #7          3      0     ffff        0        0        0 
`
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", m, diff)
		}
	}
}

func TestConnected(t *testing.T) {
	for s, want := range map[string]bool{
		"0.0.0.0": false, "10.0.0.0": false, "10.0.0.1": true, "172.16.0.0": false, "172.16.1.0": true,
		"192.168.1.0": false, "192.168.1.1": true, "::": false, "::1": true,
	} {
		if got := connected(netip.MustParseAddr(s)); got != want {
			t.Errorf("%s: %v", s, got)
		}
	}
}

// FuzzPcblist: whatever a kernel sends is a list of sockets that can be shown.
func FuzzPcblist(f *testing.F) {
	for i, m := range machines {
		k := socketKernel(m)
		for _, name := range k.names() {
			f.Add(uint8(i), k.nodes[name])
		}
	}
	names := Names{DB: testNames(f)}
	f.Fuzz(func(t *testing.T, machine uint8, b []byte) {
		k := newKernel(machines[int(machine)%len(machines)])
		for _, p := range []string{"net.inet.tcp", "net.inet6.tcp6", "net.inet.udp", "net.local.stream"} {
			k.nodes[p+".pcblist"] = b
		}
		for _, protocols := range [][]string{InetProtocols, Inet6Protocols} {
			list := sockets(t, k, protocols, true)
			got := output(t, func(b *bytes.Buffer) error { return WriteSockets(b, list, true, names) })
			if lines := strings.Count(got, "\n"); len(list) > 0 && lines != len(list)+2 {
				t.Errorf("%d sockets, %d lines", len(list), lines)
			}
		}
		list, err := ListLocalSockets(t.Context(), k)
		if err != nil {
			t.Error(err)
		}
		output(t, func(b *bytes.Buffer) error { return WriteLocalSockets(b, list) })
	})
}

// Sockets are the programs' that have their addresses, and what these have not read counts as received.
func TestAddOwners(t *testing.T) {
	at := func(addr string, port uint16) Endpoint { return Endpoint{Port: port, addr: netip.MustParseAddr(addr)} }
	sockets := []Socket{
		{Protocol: "tcp", Local: at("10.0.0.1", 22), Foreign: at("10.0.0.2", 1024), RecvQueue: 5},
		{Protocol: "tcp6", Local: at("::", 22), Foreign: at("::", 0)},
		{Protocol: "udp", Local: at("10.0.0.1", 22), Foreign: at("0.0.0.0", 0), RecvQueue: 7},
	}
	AddOwners(sockets, []owners.Socket{
		{Protocol: "tcp", Local: netip.MustParseAddrPort("10.0.0.1:22"), Remote: netip.MustParseAddrPort("10.0.0.2:1024"), PID: 3, Program: "sshd", Unread: 1000},
		{Protocol: "tcp", Local: netip.MustParseAddrPort("0.0.0.0:22"), PID: 2, Program: "sshd", Unread: 4},
		{Protocol: "udp", Local: netip.MustParseAddrPort("10.0.0.3:22"), PID: 1, Program: "dig", Unread: -1},
	})
	for i, want := range []struct {
		pid  int
		recv uint64
	}{{3, 1005}, {2, 4}, {0, 7}} {
		pid := 0
		if sockets[i].Owner != nil {
			pid = sockets[i].Owner.PID
		}
		if pid != want.pid || sockets[i].RecvQueue != want.recv {
			t.Errorf("%s: process %d, %d bytes, want %+v", sockets[i].Protocol, pid, sockets[i].RecvQueue, want)
		}
	}
}
