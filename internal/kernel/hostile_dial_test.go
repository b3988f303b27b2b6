package kernel_test

import (
	"testing"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/sysproxy"
)

// dialOf is a socket(2) that connects, too.
func dialOf(typ uint64, pieces ...[]byte) sysproxy.Carry {
	m := carryOf(netbsd.SYS___socket30, nil, netbsd.AF_LOCAL, typ, 0)
	for _, p := range pieces {
		m.Memory = append(m.Memory, sysproxy.Segment{Data: p})
	}
	m.Flags = sysproxy.CarryDial
	return m
}

func localAddr(t *testing.T, path string) []byte {
	t.Helper()
	sa, err := netbsd.SockaddrUn(path)
	if err != nil {
		t.Fatal(err)
	}
	return sa
}

// A dialled socket is there whatever has come of its connection, and has the options that could be
// set.
func TestDial(t *testing.T) {
	k, url, served := target(t)
	h := attack(t, url, true)
	reply := func(m sysproxy.Message, want [2]uint64, errno netbsd.Errno) {
		t.Helper()
		h.say(m)
		_, got := h.hear(t)
		r, ok := got.(sysproxy.SyscallReply)
		if !ok || r.Retval != want || netbsd.Errno(r.Errno) != errno {
			t.Errorf("%+v: %+v, want %d and %v", m, got, want, errno)
		}
	}
	const stream, nonblock = netbsd.SOCK_STREAM, netbsd.SOCK_STREAM | netbsd.SOCK_NONBLOCK
	path := localAddr(t, "/tmp/dial")
	path[0] = 0 // is set
	at := []sysproxy.Segment{{Addr: 0x1000, Data: path}}
	option := func(level, name int32, value ...byte) []byte {
		return sysproxy.SocketOption{Level: level, Name: name, Value: value}.Append(nil, wire)
	}
	refused := [2]uint64{4, uint64(netbsd.ECONNREFUSED)}
	reply(syscallOf(netbsd.SYS___socket30, netbsd.AF_LOCAL, stream, 0), [2]uint64{3}, 0)
	reply(dialOf(nonblock, localAddr(t, "/tmp/none")), [2]uint64{4, uint64(netbsd.ENOENT)}, 0)
	reply(syscallOf(netbsd.SYS_close, 4), [2]uint64{}, 0)
	reply(carryOf(netbsd.SYS_bind, at, 3, 0x1000, uint64(len(path))), [2]uint64{}, 0)
	reply(dialOf(nonblock, path), refused, 0)
	reply(syscallOf(netbsd.SYS_close, 4), [2]uint64{}, 0)
	reply(syscallOf(netbsd.SYS_listen, 3, 5), [2]uint64{}, 0)
	for i, typ := range []uint64{nonblock, stream} {
		fd := uint64(4 + i)
		reply(dialOf(typ, path,
			option(netbsd.SOL_SOCKET, netbsd.SO_RCVBUF, wire.Order.AppendUint32(nil, 12345)...),
			option(99, 99, 1, 2, 3), // nobody's
			option(netbsd.SOL_SOCKET, netbsd.SO_SNDBUF, wire.Order.AppendUint32(nil, 23456)...),
		), [2]uint64{fd, 0}, 0)
		for name, want := range map[uint64]uint32{netbsd.SO_RCVBUF: 12345, netbsd.SO_SNDBUF: 23456} {
			h.say(carryOf(netbsd.SYS_getsockopt,
				[]sysproxy.Segment{{Addr: 0x2000, Data: wire.Order.AppendUint32(nil, 4)}}, fd, netbsd.SOL_SOCKET, name, 0x1000, 0x2000))
			got := uint32(0)
			for {
				_, m := h.hear(t)
				if out, ok := m.(sysproxy.CopyOut); ok && out.Addr == 0x1000 {
					got = wire.Order.Uint32(out.Data)
				}
				if _, ok := m.(sysproxy.SyscallReply); ok {
					break
				}
			}
			if got != want {
				t.Errorf("option %#x is %d, want %d", name, got, want)
			}
		}
	}
	// Of what is no socket there is no connection.
	reply(func() sysproxy.Message {
		m := dialOf(nonblock, path)
		m.Args = syscallOf(netbsd.SYS___socket30, 99, stream, 0).Args
		return m
	}(), [2]uint64{}, netbsd.EAFNOSUPPORT)
	served()
	h.Close()
	alone(t, k)
}

// Of what cannot be dialled nothing is made.
func TestHostileDial(t *testing.T) {
	k, url, served := target(t)
	h := attack(t, url, true)
	path := localAddr(t, "/tmp/dial")
	other := dialOf(netbsd.SOCK_STREAM, path)
	other.Num = netbsd.SYS_connect
	for name, m := range map[string]sysproxy.Carry{
		"no address":     dialOf(netbsd.SOCK_STREAM),
		"empty address":  dialOf(netbsd.SOCK_STREAM, nil),
		"short address":  dialOf(netbsd.SOCK_STREAM, path[:1]),
		"long address":   dialOf(netbsd.SOCK_STREAM, make([]byte, 256)),
		"short option":   dialOf(netbsd.SOCK_STREAM, path, make([]byte, 7)),
		"long option":    dialOf(netbsd.SOCK_STREAM, path, make([]byte, 8+2049)),
		"another call":   other,
		"too many items": dialOf(netbsd.SOCK_STREAM, append([][]byte{path}, make([][]byte, sysproxy.MaxSegments)...)...),
	} {
		h.say(m)
		if hd, got := h.hear(t); got != (sysproxy.Refusal{Code: sysproxy.ErrMalformedRequest}) {
			t.Errorf("%s: %+v, %+v", name, hd, got)
		}
	}
	h.say(syscallOf(netbsd.SYS___socket30, netbsd.AF_LOCAL, netbsd.SOCK_STREAM, 0))
	if _, m := h.hear(t); m != (sysproxy.SyscallReply{Retval: [2]uint64{3}}) {
		t.Errorf("the first socket after that: %+v", m)
	}
	served()
	h.Close()
	alone(t, k)
}
