package inet

import (
	"rumptools/pkg/netbsd"
	"rumptools/pkg/sysproxy"
)

// Options of the socket level that are still taken though NetBSD 6 renumbered
// them (compat/sys/socket.h).
const (
	soOldTimestamp = 0x0400
	soOldSndtimeo  = 0x1005
	soOldRcvtimeo  = 0x1006

	scmOldTimestamp = 0x02
)

// soBits are the options that are bits of so_options.
const soBits = netbsd.SO_DEBUG | netbsd.SO_REUSEADDR | netbsd.SO_KEEPALIVE | netbsd.SO_DONTROUTE |
	netbsd.SO_BROADCAST | netbsd.SO_USELOOPBACK | netbsd.SO_OOBINLINE | netbsd.SO_REUSEPORT |
	netbsd.SO_NOSIGPIPE | netbsd.SO_TIMESTAMP | soOldTimestamp

// isBit tells whether an option is one of bits.
func isBit(name int32, bits int32) bool { return name&bits == name && name&(name-1) == 0 && name != 0 }

// optInt reads an option's value that is an int. Any other size gives EINVAL.
func optInt(m *netbsd.Machine, value []byte) (int32, error) {
	if len(value) != 4 {
		return 0, netbsd.EINVAL
	}
	return int32(m.Order.Uint32(value)), nil
}

// intOpt makes an option's value that is an int.
func intOpt(m *netbsd.Machine, v int32) []byte { return m.Order.AppendUint32(nil, uint32(v)) }

// boolOpt makes an option's value that is 0 or 1.
func boolOpt(m *netbsd.Machine, v bool) []byte {
	if v {
		return intOpt(m, 1)
	}
	return intOpt(m, 0)
}

// optStruct reads an option's value that is a structure, of exactly its size.
func optStruct(m *netbsd.Machine, value []byte, v any) error {
	if len(value) != netbsd.Sizeof(m, v) {
		return netbsd.EINVAL
	}
	return netbsd.Unmarshal(m, value, v)
}

// setSocketOption sets an option of the level SOL_SOCKET. ENOPROTOOPT is for
// one that the protocol may still know. so.mu is held.
func (so *socket) setSocketOption(name int32, value []byte) error {
	m := so.m
	switch {
	case isBit(name, soBits):
		v, err := optInt(m, value)
		if err != nil {
			return err
		}
		so.setBit(name, v != 0)
		return nil
	case name == sysproxy.SODontRoute:
		v, err := optInt(m, value)
		if err != nil {
			return err
		}
		so.setBit(netbsd.SO_DONTROUTE, v != 0)
		so.keepsTTL = v != 0
		return nil
	case name == netbsd.SO_LINGER:
		var l netbsd.Linger
		if err := optStruct(m, value, &l); err != nil {
			return err
		}
		if l.Linger < 0 || l.Linger > 1<<16-1 {
			return netbsd.EDOM
		}
		so.linger = l.Linger
		so.setBit(netbsd.SO_LINGER, l.Onoff != 0)
		return nil
	case name >= netbsd.SO_SNDBUF && name <= netbsd.SO_RCVLOWAT:
		v, err := optInt(m, value)
		if err != nil {
			return err
		}
		return so.setBuffer(name, int(v))
	}
	switch name {
	case netbsd.SO_SNDTIMEO, netbsd.SO_RCVTIMEO:
		var tv netbsd.Timeval
		if err := optStruct(m, value, &tv); err != nil {
			return err
		}
		return so.setTimeout(name == netbsd.SO_RCVTIMEO, tv.Sec, int64(tv.Usec))
	case soOldSndtimeo, soOldRcvtimeo:
		var tv netbsd.Timeval50
		if err := optStruct(m, value, &tv); err != nil {
			return err
		}
		return so.setTimeout(name == soOldRcvtimeo, int64(tv.Sec), int64(tv.Usec))
	case netbsd.SO_ACCEPTFILTER:
		return netbsd.EINVAL // no filter has been loaded, for nobody listens
	}
	return netbsd.ENOPROTOOPT
}

// setBit sets or clears an option that is a bit; so.mu is held.
func (so *socket) setBit(name int32, on bool) {
	so.options &^= name
	if on {
		so.options |= name
	}
	if name == netbsd.SO_DONTROUTE {
		so.keepsTTL = false
	}
}

// setBuffer sets the sizes and low-water marks of the buffers.
func (so *socket) setBuffer(name int32, v int) error {
	if v < 1 {
		return netbsd.EINVAL
	}
	sb := &so.rcv
	if name == netbsd.SO_SNDBUF || name == netbsd.SO_SNDLOWAT {
		sb = &so.snd
	}
	if name == netbsd.SO_SNDLOWAT || name == netbsd.SO_RCVLOWAT {
		sb.lowat = min(v, sb.hiwat)
		return nil
	}
	if v > sbMaxAdjusted(so.m) {
		return netbsd.ENOBUFS
	}
	sb.hiwat = v
	sb.lowat = min(sb.lowat, v)
	return nil
}

// setTimeout sets SO_RCVTIMEO or SO_SNDTIMEO. They count in ticks; what is not
// 0 is at least one.
func (so *socket) setTimeout(recv bool, sec, usec int64) error {
	const tickUsec = 1e6 / hz
	if sec > (1<<31-1-usec/tickUsec)/hz {
		return netbsd.EDOM
	}
	ticks := int32(sec*hz + usec/tickUsec)
	if ticks == 0 && usec != 0 {
		ticks = 1
	}
	if recv {
		so.rcvTicks = ticks
	} else {
		so.sndTicks = ticks
	}
	return nil
}

// socketOption gives an option of the level SOL_SOCKET; so.mu is held.
func (so *socket) socketOption(name int32) ([]byte, error) {
	m := so.m
	if isBit(name, soBits|netbsd.SO_ACCEPTCONN) {
		return boolOpt(m, so.options&name != 0), nil
	}
	timeout := func(ticks int32) (sec, usec int64) {
		return int64(ticks / hz), int64(ticks%hz) * (1e6 / hz)
	}
	switch name {
	case netbsd.SO_LINGER:
		l := netbsd.Linger{Linger: so.linger}
		if so.options&netbsd.SO_LINGER != 0 {
			l.Onoff = 1
		}
		return netbsd.Marshal(m, &l), nil
	case netbsd.SO_TYPE:
		return intOpt(m, so.typ), nil
	case netbsd.SO_ERROR:
		v := intOpt(m, int32(so.err))
		so.err = 0
		return v, nil
	case netbsd.SO_SNDBUF:
		return intOpt(m, int32(so.snd.hiwat)), nil
	case netbsd.SO_RCVBUF:
		return intOpt(m, int32(so.rcv.hiwat)), nil
	case netbsd.SO_SNDLOWAT:
		return intOpt(m, int32(so.snd.lowat)), nil
	case netbsd.SO_RCVLOWAT:
		return intOpt(m, int32(so.rcv.lowat)), nil
	case netbsd.SO_SNDTIMEO, netbsd.SO_RCVTIMEO:
		ticks := so.sndTicks
		if name == netbsd.SO_RCVTIMEO {
			ticks = so.rcvTicks
		}
		sec, usec := timeout(ticks)
		return netbsd.Marshal(m, &netbsd.Timeval{Sec: sec, Usec: int32(usec)}), nil
	case soOldSndtimeo, soOldRcvtimeo:
		ticks := so.sndTicks
		if name == soOldRcvtimeo {
			ticks = so.rcvTicks
		}
		sec, usec := timeout(ticks)
		return netbsd.Marshal(m, &netbsd.Timeval50{Sec: netbsd.Long(sec), Usec: netbsd.Long(usec)}), nil
	case netbsd.SO_OVERFLOWED:
		return intOpt(m, so.overflowed), nil
	case netbsd.SO_ACCEPTFILTER:
		return nil, netbsd.EINVAL
	case sysproxy.SODontRoute:
		return boolOpt(m, so.keepsTTL), nil
	case sysproxy.SOBindToDevice:
		return intOpt(m, int32(so.boundNIC())), nil
	}
	return nil, netbsd.ENOPROTOOPT
}

// controlTime makes the control message of SO_TIMESTAMP, in front of others.
func (so *socket) controlTime() []netbsd.Cmsg {
	now := so.stack.net.Clock().Now()
	switch {
	case so.options&soOldTimestamp != 0:
		tv := netbsd.Timeval50{Sec: netbsd.Long(now.Unix()), Usec: netbsd.Long(now.Nanosecond() / 1000)}
		return []netbsd.Cmsg{{Level: netbsd.SOL_SOCKET, Type: scmOldTimestamp, Data: netbsd.Marshal(so.m, &tv)}}
	case so.options&netbsd.SO_TIMESTAMP != 0:
		tv := netbsd.TimevalAt(now)
		return []netbsd.Cmsg{{Level: netbsd.SOL_SOCKET, Type: netbsd.SCM_TIMESTAMP, Data: netbsd.Marshal(so.m, &tv)}}
	}
	return nil
}
