//go:build linux

package linuxsock

import (
	"bytes"

	"golang.org/x/sys/unix"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/sysproxy"
)

// slowHz is how often in a second NetBSD's slow timer ticks, which the
// keepalive options of its sockets count (PR_SLOWHZ).
const slowHz = 2

// Linux's limits of the options of TCP (<net/tcp.h>).
const (
	maxKeepIdle  = 32767
	maxKeepIntvl = 32767
	maxKeepCnt   = 127
	maxSynCnt    = 127
	minMSS       = 88
	maxMSS       = 32767
	maxLinger2   = 120 // TCP_FIN_TIMEOUT_MAX, seconds
	defaultMSS   = 536

	defaultLinger2 = 60 // net.ipv4.tcp_fin_timeout
)

// tcpIsMPTCP is TCP_IS_MPTCP.
const tcpIsMPTCP = 43

// tcpOptions are the options of the level SOL_TCP.
var tcpOptions = map[int]*option{
	unix.TCP_NODELAY:    kernelBool("TCP_NODELAY", netbsd.IPPROTO_TCP, netbsd.TCP_NODELAY),
	unix.TCP_MAXSEG:     {name: "TCP_MAXSEG", at: inKernel, set: number(setMaxSeg), get: getMaxSeg},
	unix.TCP_KEEPIDLE:   keepOption("TCP_KEEPIDLE", netbsd.TCP_KEEPIDLE, slowHz, maxKeepIdle, 7200),
	unix.TCP_KEEPINTVL:  keepOption("TCP_KEEPINTVL", netbsd.TCP_KEEPINTVL, slowHz, maxKeepIntvl, 75),
	unix.TCP_KEEPCNT:    keepOption("TCP_KEEPCNT", netbsd.TCP_KEEPCNT, 1, maxKeepCnt, 9),
	unix.TCP_SYNCNT:     {name: "TCP_SYNCNT", at: inKernel, set: number(setSynCnt), get: get(6)},
	unix.TCP_INFO:       {name: "TCP_INFO", at: inKernel, get: getTCPInfo},
	unix.TCP_CONGESTION: {name: "TCP_CONGESTION", at: inKernel, set: setCongestion, get: getCongestion},

	unix.TCP_CORK: {name: "TCP_CORK", at: inKernel, set: number(setCork), get: get(0)},
	unix.TCP_DEFER_ACCEPT: {name: "TCP_DEFER_ACCEPT", at: inKernel,
		set: number(func(r *request, v int32) unix.Errno {
			return r.ownInt(sysproxy.TCPDeferAccept, roundDefer(v), 0)
		}), get: get(0)},
	unix.TCP_QUICKACK: {name: "TCP_QUICKACK", at: refused, why: "rumpd acknowledges at once and NetBSD does not; neither can be told to",
		set: number(func(r *request, v int32) unix.Errno {
			return r.kernelInt(netbsd.IPPROTO_TCP, sysproxy.TCPQuickAck, boolInt(v != 0))
		}), get: getQuickAck},
	unix.TCP_USER_TIMEOUT: {name: "TCP_USER_TIMEOUT", at: inKernel,
		set: number(setUserTimeout), get: get(0)},
	unix.TCP_LINGER2: {name: "TCP_LINGER2", at: inKernel,
		set: number(func(r *request, v int32) unix.Errno {
			if v == 0 {
				v = defaultLinger2
			}
			return r.ownInt(sysproxy.TCPLinger2, min(max(v, -1), maxLinger2), defaultLinger2)
		}), get: get(defaultLinger2)},
	unix.TCP_FASTOPEN:           {name: "TCP_FASTOPEN", at: refused, why: "NetBSD has none", set: onlyOff(unix.ENOPROTOOPT), get: get(0)},
	unix.TCP_FASTOPEN_CONNECT:   {name: "TCP_FASTOPEN_CONNECT", at: refused, why: "as TCP_FASTOPEN", set: onlyOff(unix.ENOPROTOOPT), get: get(0)},
	unix.TCP_FASTOPEN_NO_COOKIE: {name: "TCP_FASTOPEN_NO_COOKIE", at: refused, why: "as TCP_FASTOPEN", set: onlyOff(unix.ENOPROTOOPT), get: get(0)},
	unix.TCP_FASTOPEN_KEY:       {name: "TCP_FASTOPEN_KEY", at: refused, why: "there are no cookies to make", get: empty},
	unix.TCP_NOTSENT_LOWAT: {name: "TCP_NOTSENT_LOWAT", at: refused, why: "poll(2) on the host's socket does not wait for it",
		set: onlyOff(unix.ENOPROTOOPT), get: get(0)},
	unix.TCP_WINDOW_CLAMP: {name: "TCP_WINDOW_CLAMP", at: refused, why: "only SO_RCVBUF bounds the window",
		set: onlyOff(unix.ENOPROTOOPT), get: get(0)},
	unix.TCP_THIN_LINEAR_TIMEOUTS: {name: "TCP_THIN_LINEAR_TIMEOUTS", at: refused, why: "the kernel retransmits in its own time",
		set: onlyOff(unix.ENOPROTOOPT), get: get(0)},
	unix.TCP_THIN_DUPACK: {name: "TCP_THIN_DUPACK", why: "means nothing to Linux either",
		set: number(func(_ *request, v int32) unix.Errno {
			if v != 0 && v != 1 {
				return unix.EINVAL
			}
			return 0
		}), get: get(0)},
	unix.TCP_CC_INFO:   {name: "TCP_CC_INFO", why: "NetBSD's algorithms have nothing to tell", get: empty},
	unix.TCP_SAVE_SYN:  {name: "TCP_SAVE_SYN", at: refused, why: "the kernel keeps no segments", set: onlyOff(unix.ENOPROTOOPT), get: get(0)},
	unix.TCP_SAVED_SYN: {name: "TCP_SAVED_SYN", why: "nothing was saved", get: empty},
	unix.TCP_INQ:       {name: "TCP_INQ", at: refused, why: "the host's socket does not tell it", set: onlyOff(unix.ENOPROTOOPT), get: get(0)},
	unix.TCP_TX_DELAY:  {name: "TCP_TX_DELAY", at: refused, why: "nothing delays segments", set: onlyOff(unix.ENOPROTOOPT), get: get(0)},
	unix.TCP_ULP:       {name: "TCP_ULP", at: refused, why: "it would act on the host's socket", set: deny(unix.ENOPROTOOPT), get: empty},
	unix.TCP_REPAIR:    {name: "TCP_REPAIR", at: refused, why: "needs privilege", set: deny(unix.EPERM), get: get(0)},
	tcpIsMPTCP:         {name: "TCP_IS_MPTCP", why: "a fact", get: get(0)},
}

// getQuickAck is TCP_QUICKACK, which is not set where it is not known.
func getQuickAck(r *request) ([]byte, unix.Errno) {
	if !r.fd.Valid() {
		return intValue(1), 0
	}
	v, errno := r.getKernelInt(netbsd.IPPROTO_TCP, sysproxy.TCPQuickAck)
	if errno == unix.ENOPROTOOPT {
		v, errno = 0, 0
	}
	return intValue(v), errno
}

// setCork is TCP_CORK, which web servers set twice for each answer. Of a connection that has
// just been reset it is no error.
func setCork(r *request, v int32) unix.Errno {
	v = boolInt(v != 0)
	if v != r.stored(0) && !r.s.CorksHere {
		if errno := r.kernelInt(netbsd.IPPROTO_TCP, sysproxy.TCPCork, v); errno != 0 && errno != unix.ECONNRESET {
			return errno
		}
	}
	return r.store(v)
}

// ownInt sets an option that rumpd has and NetBSD has not; there only the default is right.
func (r *request) ownInt(name, v, def int32) unix.Errno {
	errno := r.kernelInt(netbsd.IPPROTO_TCP, name, v)
	if errno != 0 && (errno != unix.ENOPROTOOPT || v != def) {
		return errno
	}
	return r.store(v)
}

// keepOption is an option of keepalive: of so many units a second in the kernel.
func keepOption(name string, kernelName, unit, most, def int32) *option {
	return &option{name: name, at: inKernel, get: get(def), set: number(func(r *request, v int32) unix.Errno {
		if v < 1 || v > most {
			return unix.EINVAL
		}
		if errno := r.kernelInt(netbsd.IPPROTO_TCP, kernelName, v*unit); errno != 0 {
			return errno
		}
		return r.store(v)
	})}
}

// roundDefer is the time of TCP_DEFER_ACCEPT as Linux keeps it: up to the moment
// when a SYN is sent again for the so many-th time.
func roundDefer(seconds int32) int32 {
	const most, longest = 255, 120
	period := int32(0)
	for n, timeout := 0, int32(1); n < most && seconds > period; n++ {
		period += timeout
		timeout = min(2*timeout, longest)
	}
	return period
}

// setMaxSeg is TCP_MAXSEG. NetBSD refuses what is more than the connection has,
// which then has no effect on Linux either.
func setMaxSeg(r *request, v int32) unix.Errno {
	if v != 0 && (v < minMSS || v > maxMSS) {
		return unix.EINVAL
	}
	if v != 0 {
		if errno := r.kernelInt(netbsd.IPPROTO_TCP, netbsd.TCP_MAXSEG, v); errno != 0 && errno != unix.EINVAL {
			return errno
		}
	}
	return r.store(v)
}

// getMaxSeg is TCP_MAXSEG: what was set, until a connection has its own.
func getMaxSeg(r *request) ([]byte, unix.Errno) {
	v := r.stored(0)
	if v == 0 {
		v = defaultMSS
	}
	if !r.fd.Valid() {
		return intValue(v), 0
	}
	if _, err := r.k.Getpeername(r.ctx, r.fd); err == nil {
		if mss, errno := r.getKernelInt(netbsd.IPPROTO_TCP, netbsd.TCP_MAXSEG); errno == 0 && mss > 0 {
			v = mss
		}
	}
	return intValue(v), 0
}

// setUserTimeout is TCP_USER_TIMEOUT. NetBSD can bound the time of a connect only
// (TCP_KEEPINIT); dig(1) ends at once without the option, and wants no more.
func setUserTimeout(r *request, v int32) unix.Errno {
	if v < 0 {
		return unix.EINVAL
	}
	errno := r.kernelInt(netbsd.IPPROTO_TCP, sysproxy.TCPUserTimeout, v)
	if errno == unix.ENOPROTOOPT {
		errno = 0
		if v > 0 {
			seconds := v/1000 + 1
			errno = r.kernelInt(netbsd.IPPROTO_TCP, netbsd.TCP_KEEPINIT, seconds*slowHz)
		}
	}
	if errno != 0 {
		return errno
	}
	return r.store(v)
}

// setSynCnt is TCP_SYNCNT: how often a SYN is sent again, a second after the
// first time and twice as long each time after that. NetBSD has the whole time
// (TCP_KEEPINIT).
func setSynCnt(r *request, v int32) unix.Errno {
	if v < 1 || v > maxSynCnt {
		return unix.EINVAL
	}
	const most = 20 // 24 days
	seconds := int32(1)<<(min(v, most)+1) - 1
	if errno := r.kernelInt(netbsd.IPPROTO_TCP, netbsd.TCP_KEEPINIT, seconds*slowHz); errno != 0 {
		return errno
	}
	return r.store(v)
}

// maxCongestionName is TCP_CA_NAME_MAX, the room for an algorithm's name.
const maxCongestionName = 16

// congestion is the name of the algorithm that the kernel's socket has, as
// Linux calls it.
func (r *request) congestion() string {
	name := "reno"
	if r.fd.Valid() {
		var b [netbsdCongestionName]byte
		if n, err := r.k.Getsockopt(r.ctx, r.fd, netbsd.IPPROTO_TCP, netbsd.TCP_CONGCTL, b[:]); err == nil {
			if s := netbsd.CString(b[:n]); s != "" && s != "newreno" {
				name = s
			}
		}
	}
	return name
}

// netbsdCongestionName is TCPCC_MAXLEN, the room for an algorithm's name.
const netbsdCongestionName = 12

func getCongestion(r *request) ([]byte, unix.Errno) {
	b := make([]byte, maxCongestionName)
	copy(b[:maxCongestionName-1], r.congestion())
	return b, 0
}

// setCongestion is TCP_CONGESTION: an algorithm that the kernel does not have
// is ENOENT, as for Linux.
func setCongestion(r *request, value []byte) unix.Errno {
	if len(value) == 0 {
		return unix.EINVAL
	}
	name := string(bytes.TrimRight(value[:min(len(value), maxCongestionName-1)], "\x00"))
	if i := bytes.IndexByte([]byte(name), 0); i >= 0 {
		name = name[:i]
	}
	if name == r.congestion() {
		return 0
	}
	kernelName := name
	if name == "reno" {
		// The one that NetBSD has of that kind and prefers.
		kernelName = "newreno"
	}
	if len(kernelName) >= netbsdCongestionName || !r.fd.Valid() {
		return unix.ENOENT
	}
	o := kernelOption{level: netbsd.IPPROTO_TCP, name: netbsd.TCP_CONGCTL, value: append([]byte(kernelName), 0)}
	switch errno := r.toKernel(o); errno {
	case 0, unix.ECONNRESET:
		return errno
	}
	return unix.ENOENT
}
