package inet

import (
	"math"
	"time"

	"rumptools/internal/kernel"
	"rumptools/pkg/netbsd"
)

// maxSocketBuffer is the most room that a socket may be given (sb_max, less
// what the kernel counts for mbufs).
const maxSocketBuffer = 256 << 10

// SetOption implements [kernel.Socket].
func (so *routeSocket) SetOption(_ *kernel.Call, level, name int32, value []byte) error {
	if level != netbsd.SOL_SOCKET {
		return netbsd.ENOPROTOOPT
	}
	m := so.s.machine
	so.mu.Lock()
	defer so.mu.Unlock()
	switch name {
	case netbsd.SO_RCVTIMEO, netbsd.SO_SNDTIMEO:
		var tv netbsd.Timeval
		if len(value) != netbsd.Sizeof(m, tv) {
			return netbsd.EINVAL
		}
		if err := netbsd.Unmarshal(m, value, &tv); err != nil {
			return netbsd.EINVAL
		}
		d, ok := timeout(tv)
		if !ok {
			return netbsd.EDOM
		}
		if name == netbsd.SO_RCVTIMEO {
			so.recvTimeout = d
		} else {
			so.sendTimeout = d
		}
		return nil
	}
	if len(value) < 4 {
		return netbsd.EINVAL
	}
	v := int32(m.Order.Uint32(value))
	switch name {
	case netbsd.SO_USELOOPBACK:
		so.loopback = v != 0
	case netbsd.SO_RCVBUF:
		if v <= 0 || v > maxSocketBuffer {
			return netbsd.ENOBUFS
		}
		so.room = int(v)
	case netbsd.SO_SNDBUF, netbsd.SO_RCVLOWAT, netbsd.SO_SNDLOWAT:
		if v <= 0 {
			return netbsd.EINVAL
		}
	case netbsd.SO_NOSIGPIPE:
		so.nosigpipe = v
	case netbsd.SO_DEBUG, netbsd.SO_REUSEADDR, netbsd.SO_KEEPALIVE, netbsd.SO_DONTROUTE, netbsd.SO_BROADCAST,
		netbsd.SO_REUSEPORT, netbsd.SO_OOBINLINE, netbsd.SO_TIMESTAMP, netbsd.SO_NOHEADER:
		// They mean nothing here.
	default:
		return netbsd.ENOPROTOOPT
	}
	return nil
}

// timeout is the duration of a timeout option: EDOM, which is !ok, when it is
// none.
func timeout(tv netbsd.Timeval) (time.Duration, bool) {
	if tv.Sec < 0 || tv.Usec < 0 || tv.Usec >= 1_000_000 || tv.Sec > math.MaxInt64/int64(time.Second)-1 {
		return 0, false
	}
	return time.Duration(tv.Sec)*time.Second + time.Duration(tv.Usec)*time.Microsecond, true
}

// Option implements [kernel.Socket].
func (so *routeSocket) Option(_ *kernel.Call, level, name int32, _ int) ([]byte, error) {
	if level != netbsd.SOL_SOCKET {
		return nil, netbsd.ENOPROTOOPT
	}
	m := so.s.machine
	so.mu.Lock()
	defer so.mu.Unlock()
	timeval := func(d time.Duration) []byte {
		return netbsd.Marshal(m, netbsd.Timeval{Sec: int64(d / time.Second), Usec: int32(d % time.Second / time.Microsecond)})
	}
	var v int32
	switch name {
	case netbsd.SO_RCVTIMEO:
		return timeval(so.recvTimeout), nil
	case netbsd.SO_SNDTIMEO:
		return timeval(so.sendTimeout), nil
	case netbsd.SO_USELOOPBACK:
		if so.loopback {
			v = netbsd.SO_USELOOPBACK
		}
	case netbsd.SO_RCVBUF:
		v = int32(so.room)
	case netbsd.SO_SNDBUF:
		v = routeBuffer
	case netbsd.SO_RCVLOWAT:
		v = 1
	case netbsd.SO_SNDLOWAT:
		v = 2048
	case netbsd.SO_TYPE:
		v = netbsd.SOCK_RAW
	case netbsd.SO_NOSIGPIPE:
		v = so.nosigpipe
	case netbsd.SO_ERROR, netbsd.SO_DEBUG, netbsd.SO_REUSEADDR, netbsd.SO_KEEPALIVE, netbsd.SO_DONTROUTE,
		netbsd.SO_BROADCAST, netbsd.SO_REUSEPORT, netbsd.SO_OOBINLINE, netbsd.SO_TIMESTAMP, netbsd.SO_ACCEPTCONN,
		netbsd.SO_OVERFLOWED:
	default:
		return nil, netbsd.ENOPROTOOPT
	}
	return m.Order.AppendUint32(nil, uint32(v)), nil
}
