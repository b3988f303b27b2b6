package local

import (
	"time"

	"rumptools/internal/kernel"
	"rumptools/pkg/netbsd"
)

// kept are the options of SOL_SOCKET that a local socket remembers and that
// change nothing.
const kept = netbsd.SO_DEBUG | netbsd.SO_REUSEADDR | netbsd.SO_KEEPALIVE | netbsd.SO_DONTROUTE |
	netbsd.SO_BROADCAST | netbsd.SO_OOBINLINE | netbsd.SO_REUSEPORT | netbsd.SO_NOSIGPIPE

// maxBuffer is the most that SO_SNDBUF and SO_RCVBUF can be (sb_max).
const maxBuffer = 256 << 10

// SetOption implements [kernel.Socket].
func (s *socket) SetOption(c *kernel.Call, level, name int32, value []byte) error {
	m := c.Machine()
	s.d.mu.Lock()
	defer s.d.mu.Unlock()
	switch {
	case level == netbsd.SOL_SOCKET && (name == netbsd.SO_RCVTIMEO || name == netbsd.SO_SNDTIMEO):
		var tv netbsd.Timeval
		if len(value) != netbsd.Sizeof(m, tv) || netbsd.Unmarshal(m, value, &tv) != nil {
			return netbsd.EINVAL
		}
		if tv.Sec < 0 || tv.Sec > 1<<31 || tv.Usec < 0 || tv.Usec >= 1e6 {
			return netbsd.EDOM
		}
		d := time.Duration(tv.Sec)*time.Second + time.Duration(tv.Usec)*time.Microsecond
		if name == netbsd.SO_RCVTIMEO {
			s.rcvTime = d
		} else {
			s.sndTime = d
		}
		return nil
	case level != netbsd.SOL_SOCKET && level != 0:
		return netbsd.ENOPROTOOPT
	case len(value) != 4:
		return netbsd.EINVAL
	}
	v := int32(m.Order.Uint32(value))
	if level == 0 {
		switch name {
		case netbsd.LOCAL_CONNWAIT:
			// A connection is there before connect(2) returns.
			return nil
		}
		return netbsd.ENOPROTOOPT
	}
	switch {
	case name == netbsd.SO_SNDBUF || name == netbsd.SO_RCVBUF:
		if v <= 0 || v > maxBuffer {
			return netbsd.EINVAL
		}
		if name == netbsd.SO_SNDBUF {
			s.sndbuf = int(v)
		} else {
			s.rcvbuf = int(v)
		}
	case name&kept == name && name != 0:
		s.options &^= name
		if v != 0 {
			s.options |= name
		}
	case name == netbsd.SO_SNDLOWAT, name == netbsd.SO_RCVLOWAT:
	default:
		return netbsd.ENOPROTOOPT
	}
	return nil
}

// Option implements [kernel.Socket].
func (s *socket) Option(c *kernel.Call, level, name int32, _ int) ([]byte, error) {
	m := c.Machine()
	s.d.mu.Lock()
	defer s.d.mu.Unlock()
	i := func(v int32) ([]byte, error) { return m.Order.AppendUint32(nil, uint32(v)), nil }
	if level == 0 {
		switch name {
		case netbsd.LOCAL_PEEREID:
			if s.peer == nil {
				return nil, netbsd.ENOTCONN
			}
			// Everybody is root.
			return netbsd.Marshal(m, &netbsd.Unpcbid{Pid: s.peer.pid}), nil
		}
		return nil, netbsd.ENOPROTOOPT
	}
	if level != netbsd.SOL_SOCKET {
		return nil, netbsd.ENOPROTOOPT
	}
	timeval := func(d time.Duration) ([]byte, error) {
		return netbsd.Marshal(m, &netbsd.Timeval{
			Sec: int64(d / time.Second), Usec: int32(d % time.Second / time.Microsecond),
		}), nil
	}
	switch {
	case name == netbsd.SO_TYPE:
		return i(s.typ)
	case name == netbsd.SO_ERROR:
		e, _ := s.err.(netbsd.Errno)
		s.err = nil
		return i(int32(e))
	case name == netbsd.SO_ACCEPTCONN:
		if s.listening {
			return i(netbsd.SO_ACCEPTCONN)
		}
		return i(0)
	case name == netbsd.SO_SNDBUF:
		return i(int32(s.sndbuf))
	case name == netbsd.SO_RCVBUF:
		return i(int32(s.rcvbuf))
	case name == netbsd.SO_RCVTIMEO:
		return timeval(s.rcvTime)
	case name == netbsd.SO_SNDTIMEO:
		return timeval(s.sndTime)
	case name&kept == name && name != 0:
		return i(s.options & name)
	}
	return nil, netbsd.ENOPROTOOPT
}
