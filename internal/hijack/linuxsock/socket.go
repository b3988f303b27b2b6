//go:build linux

package linuxsock

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/netview"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
	"rumptools/pkg/sysproxy"
)

// Kernel is what this package needs of a kernel's client: an [spclient.Conn]
// has it.
type Kernel interface {
	netview.Kernel
	Setsockopt(ctx context.Context, fd spclient.FD, level, name int32, value []byte) error
	Getsockopt(ctx context.Context, fd spclient.FD, level, name int32, buf []byte) (int, error)
	Getpeername(ctx context.Context, fd spclient.FD) ([]byte, error)
	Ioctl(ctx context.Context, fd spclient.FD, cmd uint32, data []byte) error
}

var _ Kernel = (*spclient.Conn)(nil)

// Socket is what is known of a program's socket without asking its kernel: what
// it is, and the options that were set. Its methods must not run at the same
// time.
type Socket struct {
	// Domain, Type and Protocol are Linux's, the type without flags:
	// AF_INET or AF_INET6, and the protocol that 0 stands for.
	Domain, Type, Protocol int
	// Pending is an error that the program has not been told of yet, which
	// the next SO_ERROR tells: that of a connect that went on without it.
	Pending unix.Errno

	// CorksHere says that who carries the connection's bytes acts on TCP_CORK, and not the
	// kernel.
	CorksHere bool

	// values are the options that were set and are numbers, blobs those that
	// are not; as Linux has them.
	values map[optionKey]int32
	blobs  map[optionKey][]byte
	// inKernel are the options that the kernel's socket was given, in order,
	// for another one that takes its place.
	inKernel []kernelOption

	// groupsFrom is the address that multicasts of IPv4 go out with, if the program names no interface; hasGroupWay
	// says that those of IPv6 have one.
	groupsFrom  netip.Addr
	hasGroupWay bool
	// control says that datagrams may come with control messages.
	control bool
	v6only  bool
	scope   string // the interface that the socket is bound to by its address
	linger  unix.Linger
	stamp   stamp
	// recvTimeout and sendTimeout are 0 when there is none.
	recvTimeout, sendTimeout time.Duration
}

// optionKey names an option of Linux's.
type optionKey struct{ level, name int }

// kernelOption is an option of NetBSD's with its value.
type kernelOption struct {
	level, name int32
	value       []byte
	// each says that the option is given once for each value: a membership.
	each bool
}

// Clone returns what a connection that a listening socket accepted has: the
// listener's options.
func (s *Socket) Clone() *Socket {
	c := *s
	c.Pending = 0
	c.values, c.blobs = maps.Clone(s.values), maps.Clone(s.blobs)
	c.inKernel = slices.Clone(s.inKernel)
	return &c
}

// HasControl tells whether the program has asked for control messages with what it receives.
func (s *Socket) HasControl() bool { return s.control }

// asksForControl are NetBSD's options, by level and name, that do.
var asksForControl = map[[2]int32]bool{
	{netbsd.SOL_SOCKET, netbsd.SO_TIMESTAMP}:        true,
	{netbsd.IPPROTO_IP, netbsd.IP_PKTINFO}:          true,
	{netbsd.IPPROTO_IP, netbsd.IP_RECVTTL}:          true,
	{netbsd.IPPROTO_IP, sysproxy.IPRecvTOS}:         true,
	{netbsd.IPPROTO_IPV6, netbsd.IPV6_RECVPKTINFO}:  true,
	{netbsd.IPPROTO_IPV6, netbsd.IPV6_RECVHOPLIMIT}: true,
	{netbsd.IPPROTO_IPV6, netbsd.IPV6_RECVTCLASS}:   true,
	{netbsd.IPPROTO_IPV6, netbsd.IPV6_RECVRTHDR}:    true,
	{netbsd.IPPROTO_IPV6, netbsd.IPV6_RECVHOPOPTS}:  true,
	{netbsd.IPPROTO_IPV6, netbsd.IPV6_RECVDSTOPTS}:  true,
}

// Linger returns SO_LINGER: whether close waits, and for how many seconds. 0
// seconds are a reset.
func (s *Socket) Linger() (on bool, seconds int) { return s.linger.Onoff != 0, int(s.linger.Linger) }

// SharesPort tells whether the program has set SO_REUSEADDR, and SO_REUSEPORT.
func (s *Socket) SharesPort() (addr, port bool) {
	return s.on(unix.SOL_SOCKET, unix.SO_REUSEADDR), s.on(unix.SOL_SOCKET, unix.SO_REUSEPORT)
}

// V6Only tells whether a socket of IPv6 does not take IPv4 in.
func (s *Socket) V6Only() bool { return s.v6only }

// RecvTimeout returns SO_RCVTIMEO, for calls that wait in the program's place;
// 0 is none.
func (s *Socket) RecvTimeout() time.Duration { return s.recvTimeout }

// SendTimeout returns SO_SNDTIMEO, which also limits connect; 0 is none.
func (s *Socket) SendTimeout() time.Duration { return s.sendTimeout }

// ErrorQueue tells whether the program asked for errors with IP_RECVERR or
// IPV6_RECVERR.
func (s *Socket) ErrorQueue() bool {
	return s.values[optionKey{unix.SOL_IP, unix.IP_RECVERR}] != 0 ||
		s.values[optionKey{unix.SOL_IPV6, unix.IPV6_RECVERR}] != 0
}

// Corked tells whether the program has set TCP_CORK.
func (s *Socket) Corked() bool { return s.on(unix.SOL_TCP, unix.TCP_CORK) }

// HasCork tells whether the program has ever set TCP_CORK, or cleared it, also of the listener.
func (s *Socket) HasCork() bool {
	_, has := s.values[optionKey{unix.SOL_TCP, unix.TCP_CORK}]
	return has
}

// NoDelay tells whether the program has set TCP_NODELAY.
func (s *Socket) NoDelay() bool { return s.on(unix.SOL_TCP, unix.TCP_NODELAY) }

func (s *Socket) isTCP() bool { return s.Type == unix.SOCK_STREAM }

func (s *Socket) isUDP() bool { return s.Type == unix.SOCK_DGRAM && s.Protocol == unix.IPPROTO_UDP }

func (s *Socket) isRaw() bool { return s.Type == unix.SOCK_RAW }

// isPing tells whether the socket is an unprivileged one for echo requests.
func (s *Socket) isPing() bool {
	return s.Type == unix.SOCK_DGRAM && (s.Protocol == unix.IPPROTO_ICMP || s.Protocol == unix.IPPROTO_ICMPV6)
}

// datagramRoom is the room that a kernel's socket for datagrams is given to
// send: on Linux the longest always fits, on NetBSD only what the buffer holds.
const datagramRoom = 65535 + 1024

// Prepare makes a new socket of the kernel's what a program for Linux expects,
// and gives it the options that were set so far. It is also for a socket that
// takes the place of another one. Its error is that of a kernel that is lost:
// options that the new socket does not take are left out.
func (s *Socket) Prepare(ctx context.Context, k Kernel, fd spclient.FD) unix.Errno {
	for _, o := range s.Preparation(k.Machine()) {
		err := k.Setsockopt(ctx, fd, o.Level, o.Name, o.Value)
		if errno := Errno(err); errno == unix.ECONNRESET || ctx.Err() != nil {
			return errno
		}
	}
	return 0
}

// Preparation is what Prepare sets, as a kernel of the machine m takes it.
func (s *Socket) Preparation(m *netbsd.Machine) []spclient.SocketOption {
	var options []spclient.SocketOption
	number := func(level, name, v int32) {
		options = append(options, spclient.SocketOption{Level: level, Name: name, Value: m.Order.AppendUint32(nil, uint32(v))})
	}
	if s.Domain == unix.AF_INET6 {
		// NetBSD's default is its sysctl, and 1.
		number(netbsd.IPPROTO_IPV6, netbsd.IPV6_V6ONLY, boolInt(s.v6only))
	}
	if !s.isTCP() {
		number(netbsd.SOL_SOCKET, netbsd.SO_SNDBUF, datagramRoom)
		number(netbsd.SOL_SOCKET, netbsd.SO_RCVBUF, kernelDatagramBuffer)
	}
	if s.Domain == unix.AF_INET && (s.isRaw() || s.isPing()) {
		number(netbsd.IPPROTO_IP, netbsd.IP_HDRINCL, 1) // see ToRaw
	}
	for _, o := range s.inKernel {
		options = append(options, spclient.SocketOption{Level: o.level, Name: o.name, Value: o.value})
	}
	return options
}

// PrepareHost gives a socket of the host's that the program gets, in place of one
// that it set options on, those that act on it: one that was accepted has its
// listener's on Linux, but not when it is a local one.
func (s *Socket) PrepareHost(host int) unix.Errno {
	for _, name := range []int{unix.SO_SNDBUF, unix.SO_RCVBUF} {
		if v, ok := s.values[optionKey{unix.SOL_SOCKET, name}]; ok {
			if name == unix.SO_SNDBUF && s.isTCP() {
				v = hostSendBuffer(v)
			}
			if err := unix.SetsockoptInt(host, unix.SOL_SOCKET, name, int(v)); err != nil {
				return err.(unix.Errno)
			}
		}
	}
	for name, d := range map[int]time.Duration{unix.SO_RCVTIMEO: s.recvTimeout, unix.SO_SNDTIMEO: s.sendTimeout} {
		if d == 0 {
			continue
		}
		tv := unix.NsecToTimeval(max(int64(d), int64(time.Microsecond)))
		if err := unix.SetsockoptTimeval(host, unix.SOL_SOCKET, name, &tv); err != nil {
			return err.(unix.Errno)
		}
	}
	return 0
}

// defaultDatagramBuffer is net.core.rmem_default.
const defaultDatagramBuffer = 212992

// kernelDatagramBuffer is what a kernel's socket for datagrams is given to receive:
// nearly as much, and no more than NetBSD's default kern.sbmax allows on any machine.
const kernelDatagramBuffer = 192 << 10

// toKernel gives the kernel's socket an option, and has it remembered for a
// socket that takes its place. As long as there is no socket it is remembered
// only.
func (r *request) toKernel(o kernelOption) unix.Errno {
	r.s.control = r.s.control || asksForControl[[2]int32{o.level, o.name}]
	if r.fd.Valid() {
		if err := r.k.Setsockopt(r.ctx, r.fd, o.level, o.name, o.value); err != nil {
			return Errno(err)
		}
	}
	if !o.each {
		r.s.inKernel = slices.DeleteFunc(r.s.inKernel, func(old kernelOption) bool {
			return old.level == o.level && old.name == o.name
		})
	}
	r.s.inKernel = append(r.s.inKernel, o)
	return 0
}

// kernelInt gives the kernel's socket an option that is an int.
func (r *request) kernelInt(level, name, v int32) unix.Errno {
	return r.toKernel(kernelOption{level: level, name: name, value: r.k.Machine().Order.AppendUint32(nil, uint32(v))})
}
