//go:build linux

package linuxsock

import (
	"time"

	"golang.org/x/sys/unix"

	"rumptools/internal/seeded"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/sysproxy"
)

// soBSDCompat is SO_BSDCOMPAT, which has meant nothing for long.
const soBSDCompat = 14

// socketOptions are the options of the level SOL_SOCKET. Linux has them for all
// sockets, but where an entry says otherwise.
var socketOptions = map[int]*option{
	unix.SO_DEBUG: {name: "SO_DEBUG", why: "marks connections for those who debug the host's kernel, which needs privilege",
		set: onlyOff(unix.EACCES), get: get(0)},
	unix.SO_REUSEADDR: {name: "SO_REUSEADDR", at: inKernel, set: number(setReuseAddr),
		get: func(r *request) ([]byte, unix.Errno) { return intValue(r.stored(boolInt(r.s.isRaw()))), 0 }},
	unix.SO_REUSEPORT: {name: "SO_REUSEPORT", at: inKernel, set: number(setReusePort), get: get(0)},
	unix.SO_TYPE:      {name: "SO_TYPE", why: "a fact", get: fact(func(s *Socket) int32 { return int32(s.Type) })},
	unix.SO_PROTOCOL:  {name: "SO_PROTOCOL", why: "a fact", get: fact(func(s *Socket) int32 { return int32(s.Protocol) })},
	unix.SO_DOMAIN:    {name: "SO_DOMAIN", why: "a fact", get: fact(func(s *Socket) int32 { return int32(s.Domain) })},
	unix.SO_ERROR:     {name: "SO_ERROR", at: inKernel, get: getError},
	unix.SO_DONTROUTE: {name: "SO_DONTROUTE", at: inKernel, set: number(setDontRoute), get: get(0)},
	unix.SO_BROADCAST: kernelBool("SO_BROADCAST", netbsd.SOL_SOCKET, netbsd.SO_BROADCAST),
	unix.SO_KEEPALIVE: kernelBool("SO_KEEPALIVE", netbsd.SOL_SOCKET, netbsd.SO_KEEPALIVE),
	unix.SO_OOBINLINE: kernelBool("SO_OOBINLINE", netbsd.SOL_SOCKET, netbsd.SO_OOBINLINE),
	unix.SO_LINGER:    {name: "SO_LINGER", at: inKernel, set: setLinger, get: getLinger},

	// Both ends have buffers: what the program sends waits in its own
	// socket's, then in the kernel's.
	unix.SO_SNDBUF: {name: "SO_SNDBUF", at: onHost, why: "the kernel's socket is set as well",
		set: number(setSendBuffer), get: getSendBuffer},
	unix.SO_RCVBUF: {name: "SO_RCVBUF", at: onHost, why: "the kernel's socket is set as well",
		set: number(setRecvBuffer), get: getBuffer},
	unix.SO_SNDBUFFORCE: {name: "SO_SNDBUFFORCE", at: refused, why: "needs privilege", set: deny(unix.EPERM)},
	unix.SO_RCVBUFFORCE: {name: "SO_RCVBUFFORCE", at: refused, why: "needs privilege", set: deny(unix.EPERM)},
	unix.SO_BUF_LOCK: {name: "SO_BUF_LOCK", at: refused, why: "the kernel's sizes may grow",
		set: onlyOff(unix.ENOPROTOOPT), get: get(0)},
	unix.SO_MEMINFO: {name: "SO_MEMINFO", at: onHost, why: "the buffers that the program reads and writes",
		get: func(r *request) ([]byte, unix.Errno) { return r.hostGet(r.size, make([]byte, 36)) }},

	// Calls that wait natively wait on the program's own socket, and the
	// others for RecvTimeout and SendTimeout.
	unix.SO_RCVTIMEO_OLD: timeoutOption("SO_RCVTIMEO"),
	unix.SO_SNDTIMEO_OLD: timeoutOption("SO_SNDTIMEO"),
	unix.SO_RCVTIMEO_NEW: timeoutOption("SO_RCVTIMEO_NEW"),
	unix.SO_SNDTIMEO_NEW: timeoutOption("SO_SNDTIMEO_NEW"),

	unix.SO_RCVLOWAT: {name: "SO_RCVLOWAT", at: refused, why: "poll(2) on the host's socket does not wait for it",
		set: number(func(_ *request, v int32) unix.Errno {
			if v != 0 && v != 1 {
				return unix.ENOPROTOOPT
			}
			return 0
		}), get: get(1)},
	unix.SO_SNDLOWAT: {name: "SO_SNDLOWAT", why: "a fact", get: get(1)},

	unix.SO_ACCEPTCONN: {name: "SO_ACCEPTCONN", at: inKernel, get: getAcceptConn},
	unix.SO_PEERNAME:   {name: "SO_PEERNAME", at: inKernel, get: getPeerName},
	unix.SO_PEERCRED: {name: "SO_PEERCRED", why: "an Internet socket's peer has no process, user or group",
		get: func(*request) ([]byte, unix.Errno) {
			none := ^uint32(0)
			b := native.AppendUint32(nil, 0)
			return native.AppendUint32(native.AppendUint32(b, none), none), 0
		}},
	unix.SO_PASSCRED: {name: "SO_PASSCRED", at: refused, why: "for local sockets only",
		set: deny(unix.EOPNOTSUPP), get: fails(unix.EOPNOTSUPP)},
	unix.SO_PASSSEC: {name: "SO_PASSSEC", at: refused, why: "for local sockets only",
		set: deny(unix.EOPNOTSUPP), get: fails(unix.EOPNOTSUPP)},
	unix.SO_PASSPIDFD: {name: "SO_PASSPIDFD", at: refused, why: "for local sockets only",
		set: deny(unix.EOPNOTSUPP), get: fails(unix.EOPNOTSUPP)},
	unix.SO_PASSRIGHTS: {name: "SO_PASSRIGHTS", at: refused, why: "for local sockets only",
		set: deny(unix.EOPNOTSUPP), get: fails(unix.EOPNOTSUPP)},
	unix.SO_PEERGROUPS: {name: "SO_PEERGROUPS", at: refused, why: "for local sockets only", get: fails(unix.ENODATA)},
	unix.SO_PEERPIDFD:  {name: "SO_PEERPIDFD", at: refused, why: "for local sockets only", get: fails(unix.ENODATA)},

	unix.SO_TIMESTAMP_OLD:    stampOption("SO_TIMESTAMP", stampMicros),
	unix.SO_TIMESTAMP_NEW:    stampOption("SO_TIMESTAMP_NEW", stampMicrosNew),
	unix.SO_TIMESTAMPNS_OLD:  stampOption("SO_TIMESTAMPNS", stampNanos),
	unix.SO_TIMESTAMPNS_NEW:  stampOption("SO_TIMESTAMPNS_NEW", stampNanosNew),
	unix.SO_TIMESTAMPING_OLD: {name: "SO_TIMESTAMPING", at: inKernel, set: number(setTimestamping), get: getTimestamping},
	unix.SO_TIMESTAMPING_NEW: {name: "SO_TIMESTAMPING_NEW", at: inKernel, set: number(setTimestamping), get: getTimestamping},

	unix.SO_BINDTODEVICE:  {name: "SO_BINDTODEVICE", at: inKernel, set: setBindToDevice, get: getBindToDevice},
	unix.SO_BINDTOIFINDEX: {name: "SO_BINDTOIFINDEX", at: inKernel, set: number(setBindToIfindex), get: get(0)},

	unix.SO_MARK: {name: "SO_MARK", at: refused, why: "needs privilege", set: deny(unix.EPERM), get: get(0)},
	unix.SO_RCVMARK: {name: "SO_RCVMARK", at: refused, why: "packets of the kernel have no marks",
		set: onlyOff(unix.ENOPROTOOPT), get: get(0)},
	unix.SO_PRIORITY: {name: "SO_PRIORITY", why: "interfaces have no queueing disciplines, for which it is",
		set: number((*request).store), get: get(0)},
	unix.SO_MAX_PACING_RATE: {name: "SO_MAX_PACING_RATE", at: refused, why: "nothing paces what the kernel sends",
		set: setMaxPacingRate, get: getMaxPacingRate},
	unix.SO_TXTIME: {name: "SO_TXTIME", at: refused, why: "nothing sends at a given time",
		set: func(_ *request, value []byte) unix.Errno {
			if len(value) != 8 {
				return unix.EINVAL
			}
			return unix.EPERM
		}, get: func(*request) ([]byte, unix.Errno) { return make([]byte, 8), 0 }},
	unix.SO_ZEROCOPY: (&option{name: "SO_ZEROCOPY", at: refused, why: "nobody would tell that a buffer is free again",
		set: onlyOff(unix.EOPNOTSUPP), get: get(0)}).onlySet(func(s *Socket) bool { return s.isTCP() || s.isUDP() }, unix.EOPNOTSUPP),
	unix.SO_BUSY_POLL: {name: "SO_BUSY_POLL", at: refused, why: "there is no device to poll; Linux wants privilege",
		set: number(func(_ *request, v int32) unix.Errno {
			switch {
			case v < 0:
				return unix.EINVAL
			case v > 0:
				return unix.EPERM
			}
			return 0
		}), get: get(0)},
	unix.SO_PREFER_BUSY_POLL: {name: "SO_PREFER_BUSY_POLL", why: "there is no device to poll",
		set: onlyOff(unix.EPERM), get: get(0)},
	unix.SO_INCOMING_CPU: {name: "SO_INCOMING_CPU", at: refused, why: "packets come in at no CPU of their own",
		set: onlyDefault(-1, unix.ENOPROTOOPT), get: get(-1)},
	unix.SO_INCOMING_NAPI_ID: {name: "SO_INCOMING_NAPI_ID", why: "there is no device", get: get(0)},
	unix.SO_CNX_ADVICE: {name: "SO_CNX_ADVICE", at: refused, why: "there is one way to each peer",
		set: onlyOff(unix.ENOPROTOOPT)},
	unix.SO_TXREHASH: (&option{name: "SO_TXREHASH", why: "there is one way to each peer",
		set: number(func(r *request, v int32) unix.Errno {
			if v < -1 || v > 1 {
				return unix.EINVAL
			}
			return r.store(boolInt(v != 0))
		}), get: get(1)}).only((*Socket).isTCP, unix.EOPNOTSUPP),
	unix.SO_RESERVE_MEM: {name: "SO_RESERVE_MEM", at: refused, why: "memory is not accounted to sockets",
		set: deny(unix.EOPNOTSUPP), get: get(0)},
	unix.SO_NO_CHECK: {name: "SO_NO_CHECK", at: inKernel, set: number(func(r *request, v int32) unix.Errno {
		if !r.s.isUDP() {
			return r.store(boolInt(v != 0)) // it is about UDP
		}
		return r.noChecksum(netbsd.SOL_SOCKET, sysproxy.SONoCheck, v)
	}), get: get(0)},
	unix.SO_NOFCS: remembered("SO_NOFCS", "means nothing to Linux either, but for packet sockets"),
	unix.SO_RXQ_OVFL: {name: "SO_RXQ_OVFL", at: refused, why: "NetBSD does not tell how many datagrams were lost before one",
		set: onlyOff(unix.ENOPROTOOPT), get: get(0)},
	unix.SO_SELECT_ERR_QUEUE: {name: "SO_SELECT_ERR_QUEUE", at: refused, why: "poll(2) has POLLERR, and never POLLPRI with it",
		set: onlyOff(unix.ENOPROTOOPT), get: get(0)},
	soBSDCompat: {name: "SO_BSDCOMPAT", why: "means nothing to Linux either",
		set: number(func(*request, int32) unix.Errno { return 0 }), get: get(0)},

	unix.SO_ATTACH_FILTER: {name: "SO_ATTACH_FILTER", at: refused, why: "the filter would see the host's datagrams, not packets",
		set: deny(unix.ENOPROTOOPT), get: empty},
	unix.SO_DETACH_FILTER: {name: "SO_DETACH_FILTER", why: "there is never a filter", set: deny(unix.ENOENT)},
	unix.SO_LOCK_FILTER: {name: "SO_LOCK_FILTER", why: "there is never a filter",
		set: number(func(r *request, v int32) unix.Errno {
			if v == 0 && r.stored(0) != 0 {
				return unix.EPERM
			}
			return r.store(boolInt(v != 0))
		}), get: get(0)},

	unix.SO_PEEK_OFF: (&option{name: "SO_PEEK_OFF", at: onHost, why: "MSG_PEEK looks at the host's socket",
		set: number(func(r *request, v int32) unix.Errno { return r.hostSet(intValue(v)) }),
		get: func(r *request) ([]byte, unix.Errno) { return r.hostGet(4, intValue(-1)) },
	}).only(func(s *Socket) bool { return s.isTCP() || s.isUDP() }, unix.EOPNOTSUPP),
	unix.SO_COOKIE: {name: "SO_COOKIE", at: onHost, why: "a number that no other socket of the host has",
		get: func(r *request) ([]byte, unix.Errno) {
			if r.size < 8 {
				return nil, unix.EINVAL
			}
			return r.hostGet(8, make([]byte, 8))
		}},
	unix.SO_NETNS_COOKIE: {name: "SO_NETNS_COOKIE", at: onHost, why: "the program is where it is",
		get: func(r *request) ([]byte, unix.Errno) {
			if r.size != 8 {
				return nil, unix.EINVAL
			}
			return native.AppendUint64(nil, netnsCookie()), 0
		}},
}

// netnsCookie is the number of the program's network namespace, which is this process's; that of the host's socket
// may be another.
func netnsCookie() uint64 {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 1
	}
	defer unix.Close(fd)
	cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	if err != nil {
		return 1
	}
	return cookie
}

// setReuseAddr is SO_REUSEADDR, with which Linux lets sockets for datagrams
// share a port, and those of TCP unless one listens: that is NetBSD's SO_REUSEPORT.
// Who binds has to look for listeners.
func setReuseAddr(r *request, v int32) unix.Errno {
	v = boolInt(v != 0)
	if errno := r.kernelInt(netbsd.SOL_SOCKET, netbsd.SO_REUSEADDR, v); errno != 0 {
		return errno
	}
	if r.s.values[optionKey{unix.SOL_SOCKET, unix.SO_REUSEPORT}] == 0 {
		if errno := r.kernelInt(netbsd.SOL_SOCKET, netbsd.SO_REUSEPORT, v); errno != 0 {
			return errno
		}
	}
	return r.store(v)
}

// setReusePort is SO_REUSEPORT.
func setReusePort(r *request, v int32) unix.Errno {
	v = boolInt(v != 0)
	on := v
	if r.s.values[optionKey{unix.SOL_SOCKET, unix.SO_REUSEADDR}] != 0 {
		on = 1
	}
	if errno := r.kernelInt(netbsd.SOL_SOCKET, netbsd.SO_REUSEPORT, on); errno != 0 {
		return errno
	}
	if r.s.isUDP() {
		// NetBSD's own kernel gives all to one of them.
		errno := r.kernelInt(netbsd.SOL_SOCKET, sysproxy.SOReusePortLB, v)
		if errno != 0 && errno != unix.ENOPROTOOPT && errno != unix.EINVAL {
			return errno
		}
	}
	return r.store(v)
}

// getError is SO_ERROR: the error that came first to one of those who know.
func getError(r *request) ([]byte, unix.Errno) {
	if errno := r.s.Pending; errno != 0 {
		r.s.Pending = 0
		return intValue(int32(errno)), 0
	}
	if v, errno := r.hostInt(unix.SO_ERROR, 0); errno == 0 && v != 0 {
		return intValue(v), 0
	}
	if !r.fd.Valid() {
		return intValue(0), 0
	}
	e, errno := r.getKernelInt(netbsd.SOL_SOCKET, netbsd.SO_ERROR)
	switch {
	case errno == unix.ECONNRESET:
		// The kernel is lost.
		return intValue(int32(errno)), 0
	case errno != 0:
		return nil, errno
	case e == 0:
		return intValue(0), 0
	}
	return intValue(int32(fromNetBSDErrno(netbsd.Errno(e)))), 0
}

// maxLinger is the longest time that NetBSD's sockets linger, in seconds
// (so_linger is a short).
const maxLinger = 1<<15 - 1

func setLinger(r *request, value []byte) unix.Errno {
	if len(value) < unix.SizeofLinger {
		return unix.EINVAL
	}
	l := unix.Linger{Onoff: int32(native.Uint32(value)), Linger: int32(native.Uint32(value[4:]))}
	if l.Onoff != 0 {
		l.Onoff = 1
	} else {
		// Linux keeps the time of before.
		l.Linger = r.s.linger.Linger
	}
	seconds := l.Linger
	if seconds < 0 || seconds > maxLinger {
		seconds = maxLinger // negative is very long
	}
	v := netbsd.Marshal(r.k.Machine(), &netbsd.Linger{Onoff: l.Onoff, Linger: seconds})
	if errno := r.toKernel(kernelOption{level: netbsd.SOL_SOCKET, name: netbsd.SO_LINGER, value: v}); errno != 0 {
		return errno
	}
	l.Linger = seconds
	r.s.linger = l
	return 0
}

func getLinger(r *request) ([]byte, unix.Errno) {
	return native.AppendUint32(intValue(r.s.linger.Onoff), uint32(r.s.linger.Linger)), 0
}

// Limits of what the kernel's socket is asked for, in bytes: below the least, a
// segment or datagram may not fit.
const (
	minBuffer = 4096
	maxBuffer = 1 << 20
)

// setBuffer sets the size of a buffer on both sides. The kernel's may be
// smaller than the host's: what it does not allow is made less until it does, as
// Linux silently gives less.
func (r *request) setBuffer(name, v int32) unix.Errno {
	host := v
	if name == netbsd.SO_SNDBUF {
		host = hostSendBuffer(v)
	}
	if errno := r.hostSet(intValue(host)); errno != 0 {
		return errno
	}
	r.store(v)
	if v < 0 || v > maxBuffer {
		v = maxBuffer // negative is the most, as for Linux
	}
	for v = max(v, minBuffer); ; v -= v / 4 {
		errno := r.kernelInt(netbsd.SOL_SOCKET, name, v)
		if errno != unix.ENOBUFS || v <= minBuffer {
			return errno
		}
	}
}

func setSendBuffer(r *request, v int32) unix.Errno {
	if !r.s.isTCP() {
		// The kernel sends datagrams at once; its size is what the longest
		// may have.
		r.store(v)
		return r.hostSet(intValue(v))
	}
	return r.setBuffer(netbsd.SO_SNDBUF, v)
}

// hostSendBuffer is SO_SNDBUF of the host's socket of a connection for which a program sets
// v. A byte that is left behind there must not keep it from being writable.
func hostSendBuffer(v int32) int32 {
	if v < 0 {
		return v
	}
	return max(v, seeded.MinSendBuffer)
}

// leastSendBuffer is the least that Linux gives a socket to send (SOCK_MIN_SNDBUF), in bytes,
// as getsockopt(2) tells it.
const leastSendBuffer = 4608

func getSendBuffer(r *request) ([]byte, unix.Errno) {
	if v := r.stored(-1); r.s.isTCP() && v >= 0 && v < seeded.MinSendBuffer {
		return intValue(max(2*v, leastSendBuffer)), 0
	}
	return getBuffer(r)
}

func setRecvBuffer(r *request, v int32) unix.Errno { return r.setBuffer(netbsd.SO_RCVBUF, v) }

func getBuffer(r *request) ([]byte, unix.Errno) {
	if v := r.stored(-1); v < 0 && r.key.name == unix.SO_RCVBUF && r.s.isUDP() {
		// The host's socket may have more: nothing waits for it, and a kernel brings much at once.
		return intValue(defaultDatagramBuffer), 0
	}
	// Linux tells the double of what was set.
	v := r.stored(defaultDatagramBuffer / 2)
	v, errno := r.hostInt(r.key.name, 2*min(max(v, 0), maxBuffer))
	return intValue(v), errno
}

// timeoutOption is SO_RCVTIMEO or SO_SNDTIMEO, in one of its forms.
func timeoutOption(name string) *option {
	return &option{name: name, at: onHost, why: "calls that are trapped ask for it here", set: setTimeout, get: getTimeout}
}

// isNewTimeout tells whether a timeout's seconds have 64 bits on every machine.
func isNewTimeout(name int) bool { return name == unix.SO_RCVTIMEO_NEW || name == unix.SO_SNDTIMEO_NEW }

// timeoutOf is where the option's timeout is.
func (r *request) timeoutOf() *time.Duration {
	if r.key.name == unix.SO_RCVTIMEO_OLD || r.key.name == unix.SO_RCVTIMEO_NEW {
		return &r.s.recvTimeout
	}
	return &r.s.sendTimeout
}

// longSize is the size in bytes of a long of the programs.
const longSize = 4 << (^uint(0) >> 63)

func setTimeout(r *request, value []byte) unix.Errno {
	var sec, usec int64
	switch {
	case isNewTimeout(r.key.name) || longSize == 8:
		if len(value) < 16 {
			return unix.EINVAL
		}
		sec, usec = int64(native.Uint64(value)), int64(native.Uint64(value[8:]))
	default:
		if len(value) < 8 {
			return unix.EINVAL
		}
		sec, usec = int64(int32(native.Uint32(value))), int64(int32(native.Uint32(value[4:])))
	}
	if usec < 0 || usec >= 1e6 {
		return unix.EDOM
	}
	if errno := r.hostSet(value); errno != 0 {
		return errno
	}
	d := time.Duration(0) // for ever
	switch {
	case sec < 0:
		d = 1 // not at all
	case sec < int64(1<<62/time.Second):
		d = time.Duration(sec)*time.Second + time.Duration(usec)*time.Microsecond
	}
	*r.timeoutOf() = d
	return 0
}

func getTimeout(r *request) ([]byte, unix.Errno) {
	d := *r.timeoutOf()
	sec, usec := int64(d/time.Second), int64(d%time.Second/time.Microsecond)
	var own []byte
	if isNewTimeout(r.key.name) || longSize == 8 {
		own = native.AppendUint64(native.AppendUint64(nil, uint64(sec)), uint64(usec))
	} else {
		own = native.AppendUint32(intValue(int32(sec)), uint32(usec))
	}
	return r.hostGet(len(own), own)
}

// getAcceptConn is SO_ACCEPTCONN: the program's own socket listens when the
// kernel's does.
func getAcceptConn(r *request) ([]byte, unix.Errno) {
	switch {
	case !r.s.isTCP():
		return intValue(0), 0
	case r.host >= 0:
		v, errno := r.hostInt(unix.SO_ACCEPTCONN, 0)
		return intValue(v), errno
	case !r.fd.Valid():
		return intValue(0), 0
	}
	v, errno := r.getKernelInt(netbsd.SOL_SOCKET, netbsd.SO_ACCEPTCONN)
	return intValue(boolInt(v != 0)), errno
}

// getPeerName is SO_PEERNAME, which fails for a buffer that is longer than the
// address.
func getPeerName(r *request) ([]byte, unix.Errno) {
	if !r.fd.Valid() {
		return nil, unix.ENOTCONN
	}
	sa, err := r.k.Getpeername(r.ctx, r.fd)
	if err != nil {
		return nil, Errno(err)
	}
	peer := FromNetBSD(r.k.Machine(), sa)
	switch {
	case peer == nil:
		return nil, unix.ENOTCONN
	case r.size > len(peer):
		return nil, unix.EINVAL
	}
	return peer, 0
}

// setDontRoute is SO_DONTROUTE. With NetBSD's own a datagram for IPv4 does not outlive one hop.
func setDontRoute(r *request, v int32) unix.Errno {
	v = boolInt(v != 0)
	errno := r.kernelInt(netbsd.SOL_SOCKET, sysproxy.SODontRoute, v)
	if errno == unix.ENOPROTOOPT {
		errno = r.kernelInt(netbsd.SOL_SOCKET, netbsd.SO_DONTROUTE, v)
	}
	if errno != 0 {
		return errno
	}
	return r.store(v)
}

// unlimited is SO_MAX_PACING_RATE when there is no limit.
const unlimited = ^uint64(0)

func setMaxPacingRate(_ *request, value []byte) unix.Errno {
	v := uint64(native.Uint32(value))
	switch {
	case len(value) >= 8 && longSize == 8:
		v = native.Uint64(value)
	case v == uint64(^uint32(0)):
		v = unlimited
	}
	if v != unlimited {
		return unix.ENOPROTOOPT
	}
	return 0
}

func getMaxPacingRate(r *request) ([]byte, unix.Errno) {
	if r.size >= 8 && longSize == 8 {
		return native.AppendUint64(nil, unlimited), 0
	}
	return intValue(-1), 0
}

// getKernelInt reads an option of the kernel's socket that is an int, or an
// octet.
func (r *request) getKernelInt(level, name int32) (int32, unix.Errno) {
	var b [4]byte
	n, err := r.k.Getsockopt(r.ctx, r.fd, level, name, b[:])
	switch {
	case err != nil:
		return 0, Errno(err)
	case n == 1:
		return int32(b[0]), 0
	}
	return int32(r.k.Machine().Order.Uint32(b[:])), 0
}
