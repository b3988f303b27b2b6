package inet

import (
	"sync"
	"sync/atomic"
	"time"

	"rumptools/internal/kernel"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/sysproxy"
)

// socket is what all sockets of the internet families have in common: the part
// of NetBSD's struct socket that does not depend on the protocol.
type socket struct {
	kernel.Watchers

	stack *Stack
	m     *netbsd.Machine
	// family, typ and proto are socket(2)'s arguments.
	family, typ, proto int32
	// seq counts sockets; lists show the newest first.
	seq uint64

	// mu is taken on the path of packets, under locks of the engine's and of
	// Stack.mu. So neither may be taken with it.
	mu      sync.Mutex
	options int32 // SO_* bits
	// keepsTTL says that SO_DONTROUTE does not change the time to live (sysproxy.SODontRoute).
	keepsTTL bool
	// device is the interface that the socket is bound to (sysproxy.SOBindToDevice), 0 for
	// none. It is read without mu.
	device atomic.Uint32
	linger int32 // seconds
	// err is so_error: what went wrong since the last call, 0 if nothing.
	err      netbsd.Errno
	rcv, snd sockbuf
	// rcvTicks and sndTicks are SO_RCVTIMEO and SO_SNDTIMEO in ticks of the
	// kernel's clock, as getsockopt(2) shows them.
	rcvTicks, sndTicks int32
	overflowed         int32 // SO_OVERFLOWED
	pgid               int32 // SIOCSPGRP
	connected          bool  // SS_ISCONNECTED
	cantSend           bool  // SS_CANTSENDMORE
	cantRecv           bool  // SS_CANTRCVMORE
	closed             bool

	// ip4 and ip6 are the options of the network level. IPv6 sockets have
	// both, for what they exchange with IPv4-mapped addresses.
	ip4 ip4Options
	ip6 ip6Options
	// errorMTU is the MTU that the last message was too long for
	// (IP_ERRORMTU), -1 for none.
	errorMTU int32
	// anonPort says that the kernel chose the local port.
	anonPort bool

	// optMu is held while options are set: that asks the engine, which may
	// not be done with mu held. It comes before mu.
	optMu            sync.Mutex
	groups4, groups6 groupSet
}

// sockbuf is the limits of a socket buffer.
type sockbuf struct {
	hiwat int // bytes that fit
	lowat int // bytes that make the socket ready
}

// The kernel's clock: hz of a rump kernel.
const (
	hz   = 100
	tick = time.Second / hz
)

// Sizes of an mbuf and its cluster: they decide how much a socket buffer may
// hold at most.
const (
	mclbytes = 2048
	sbMax    = 256 << 10 // kern.sbmax
)

// sbMaxAdjusted is the largest size of a socket buffer that setsockopt(2)
// grants (sb_max_adj).
func sbMaxAdjusted(m *netbsd.Machine) int {
	msize := 256
	if m.WordSize == 8 {
		msize = 512
	}
	return sbMax * mclbytes / (msize + mclbytes)
}

// sendLowat is so_snd.sb_lowat of a new socket: a page that could be lent.
const sendLowat = 4096

// init sets a new socket up. send and recv are its buffers' sizes in bytes.
func (so *socket) init(s *Stack, m *netbsd.Machine, family, typ, proto int32, send, recv int) {
	so.stack, so.m = s, m
	so.family, so.typ, so.proto = family, typ, proto
	so.snd = sockbuf{hiwat: send, lowat: min(sendLowat, send)}
	so.rcv = sockbuf{hiwat: recv, lowat: 1}
	so.ip4.init(s)
	if typ == netbsd.SOCK_STREAM {
		so.ip4.discover = sysproxy.PMTUDiscWant // as the engine does
	}
	so.ip6.init(s)
	so.errorMTU = -1
	so.seq = s.sockets.nextSeq()
}

// Domain implements [kernel.Socket].
func (so *socket) Domain() int32 { return so.family }

// SockType implements [kernel.Socket].
func (so *socket) SockType() int32 { return so.typ }

// Protocol implements [kernel.Socket].
func (so *socket) Protocol() int32 { return so.proto }

// Type implements [kernel.File].
func (so *socket) Type() int32 { return netbsd.DTYPE_SOCKET }

// Stat implements [kernel.File]. A socket has nothing but its kind.
func (so *socket) Stat() (netbsd.Stat, error) { return netbsd.Stat{Mode: netbsd.S_IFSOCK}, nil }

// Timeouts implements [kernel.Socket].
func (so *socket) Timeouts() (recv, send time.Duration) {
	so.mu.Lock()
	defer so.mu.Unlock()
	return duration(so.rcvTicks), duration(so.sndTicks)
}

// duration is a number of ticks as a time. The kernel takes negative ones, and
// waits no longer than for one.
func duration(ticks int32) time.Duration {
	if ticks < 0 {
		ticks = 1
	}
	return time.Duration(ticks) * tick
}

// takeError gives and clears so_error; so.mu is held.
func (so *socket) takeError() error {
	if so.err == 0 {
		return nil
	}
	err := so.err
	so.err = 0
	return err
}

// ended is [kernel.Ender] from the flags alone; so.mu is held.
func (so *socket) ended() (read, write bool, err error) {
	if so.err != 0 {
		err = so.err
	}
	return so.cantRecv, so.cantSend, err
}

// state gives the SS_* bits that lists show; so.mu is held.
func (so *socket) state() uint32 {
	var ss uint32
	if so.connected {
		ss |= netbsd.SS_ISCONNECTED
	}
	if so.cantSend {
		ss |= netbsd.SS_CANTSENDMORE
	}
	if so.cantRecv {
		ss |= netbsd.SS_CANTRCVMORE
	}
	return ss
}

// ioctl carries out the commands that are the same for all sockets. queued are
// the bytes to read and unsent those not yet sent. It is called without locks.
func (so *socket) ioctl(c *kernel.Call, cmd uint32, data []byte, queued, unsent int) error {
	m := so.m
	put := func(v int32) error {
		m.Order.PutUint32(data, uint32(v))
		return nil
	}
	switch cmd {
	case netbsd.FIONREAD.Cmd(m):
		return put(int32(queued))
	case netbsd.FIONWRITE.Cmd(m):
		return put(int32(unsent))
	case netbsd.FIONSPACE.Cmd(m):
		so.mu.Lock()
		defer so.mu.Unlock()
		return put(int32(max(so.snd.hiwat-unsent, 0)))
	case netbsd.SIOCATMARK.Cmd(m):
		// There is no urgent data.
		return put(0)
	case netbsd.SIOCSPGRP.Cmd(m), netbsd.FIOSETOWN.Cmd(m), netbsd.TIOCSPGRP.Cmd(m):
		so.mu.Lock()
		defer so.mu.Unlock()
		so.pgid = int32(m.Order.Uint32(data))
		return nil
	case netbsd.SIOCGPGRP.Cmd(m), netbsd.FIOGETOWN.Cmd(m), netbsd.TIOCGPGRP.Cmd(m):
		so.mu.Lock()
		defer so.mu.Unlock()
		return put(so.pgid)
	}
	return so.stack.ioctlInterface(c, so.family, cmd, data)
}

// The readiness that poll(2) has for sockets. NetBSD knows no POLLHUP or
// POLLERR for them: an ended socket is ready for everything.
const (
	pollRead  = kernel.Events(netbsd.POLLIN | netbsd.POLLRDNORM)
	pollWrite = kernel.Events(netbsd.POLLOUT | netbsd.POLLWRNORM)
)

// shutdownHow checks shutdown(2)'s argument.
func shutdownHow(how int32) (read, write bool, err error) {
	switch how {
	case netbsd.SHUT_RD:
		return true, false, nil
	case netbsd.SHUT_WR:
		return false, true, nil
	case netbsd.SHUT_RDWR:
		return true, true, nil
	}
	return false, false, netbsd.EINVAL
}

// noStream is the part of a socket that only streams have.
type noStream struct{}

// Listen implements [kernel.Socket].
func (noStream) Listen(int32) error { return netbsd.EOPNOTSUPP }

// Accept implements [kernel.Socket]. Nobody listens here.
func (noStream) Accept() (kernel.Socket, []byte, error) { return nil, nil, netbsd.EOPNOTSUPP }

// ConnectResult implements [kernel.Socket]: connections of datagram sockets
// stand at once.
func (noStream) ConnectResult() error { return nil }
