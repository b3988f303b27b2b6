package inet

import (
	"math/bits"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"

	"rumptools/internal/kernel"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/sysproxy"
)

// tcpOptions are a socket's options of the level IPPROTO_TCP.
type tcpOptions struct {
	noDelay bool
	// maxSeg is TCP_MAXSEG as it was set, 0 for not.
	maxSeg int32
	// keepInit is how long an attempt to connect may take.
	keepInit time.Duration
	// keepIdle and keepIntvl are when to ask a silent peer whether it is
	// there, keepCount how often.
	keepIdle, keepIntvl time.Duration
	keepCount           int32
	// autoSend has the send buffer grow when it is full; sizedRecv says that
	// the receive buffer has a size of its own.
	autoSend, sizedRecv bool

	// cork, linger2, deferAccept and userTimeout are rumpd's own options (package
	// sysproxy), as they were set. The cork is for a loan to act on.
	cork, linger2, deferAccept, userTimeout int32
}

const (
	tcpKeepInit  = 75 * time.Second
	tcpKeepCount = 8
	// tcpDefaultMSS is net.inet.tcp.mssdflt.
	tcpDefaultMSS = 536
	// tcpSlowTick is the unit of TCP_KEEPIDLE and its kin in NetBSD 7: ticks
	// of the slow timer, though the manual says seconds.
	tcpSlowTick = 500 * time.Millisecond
)

func (o *tcpOptions) init(s *Stack) {
	o.keepInit = slowTicks(s.tcpParam("keepinit"))
	o.keepIdle = slowTicks(s.tcpParam("keepidle"))
	o.keepIntvl = slowTicks(s.tcpParam("keepintvl"))
	o.keepCount = int32(s.tcpParam("keepcnt"))
	o.autoSend = s.tcpParam("sendbuf_auto") != 0
	o.sizedRecv = s.tcpParam("recvspace") != tcpSpace
}

// tfNoDelay is TF_NODELAY, which getsockopt(2) shows as it is.
const tfNoDelay = 4

// applyOptions tells a new endpoint of the socket's options.
func (so *tcpSocket) applyOptions() {
	ops := so.ep.SocketOptions()
	if so.family == netbsd.AF_INET6 {
		ops.SetV6Only(so.ip6.flags&in6pV6Only != 0)
	}
	ops.SetReuseAddress(true) // tcpPort is about that
	ops.SetReusePort(so.options&netbsd.SO_REUSEPORT != 0)
	ops.SetKeepAlive(so.options&netbsd.SO_KEEPALIVE != 0)
	ops.SetDelayOption(!so.opt.noDelay)
	// This also ends the engine's own ideas of the buffer's size.
	ops.SetSendBufferSize(int64(so.snd.hiwat), true)
	if so.opt.sizedRecv {
		ops.SetReceiveBufferSize(int64(2*so.rcv.hiwat), true)
	}
	so.applyKeepalive()
	for _, name := range []int32{sysproxy.TCPLinger2, sysproxy.TCPDeferAccept, sysproxy.TCPUserTimeout} {
		if *so.opt.own(name) != 0 {
			so.applyOwn(name)
		}
	}
	if so.opt.maxSeg >= header.TCPMinimumMSS {
		so.ep.SetSockOptInt(tcpip.MaxSegOption, int(so.opt.maxSeg))
	}
	so.applyDevice()
	so.applyHeader()
}

func (so *tcpSocket) applyKeepalive() {
	idle, intvl := tcpip.KeepaliveIdleOption(so.opt.keepIdle), tcpip.KeepaliveIntervalOption(so.opt.keepIntvl)
	so.ep.SetSockOptInt(tcpip.KeepaliveCountOption, int(so.opt.keepCount))
	so.ep.SetSockOpt(&idle)
	so.ep.SetSockOpt(&intvl)
}

// own is where an option of rumpd's own is kept, nil when it is none.
func (o *tcpOptions) own(name int32) *int32 {
	switch name {
	case sysproxy.TCPCork:
		return &o.cork
	case sysproxy.TCPLinger2:
		return &o.linger2
	case sysproxy.TCPDeferAccept:
		return &o.deferAccept
	case sysproxy.TCPUserTimeout:
		return &o.userTimeout
	}
	return nil
}

// applyOwn tells the endpoint of an option of rumpd's own.
func (so *tcpSocket) applyOwn(name int32) {
	switch name {
	case sysproxy.TCPLinger2:
		v := tcpip.TCPLingerTimeoutOption(time.Duration(so.opt.linger2) * time.Second)
		so.ep.SetSockOpt(&v)
	case sysproxy.TCPDeferAccept:
		v := tcpip.TCPDeferAcceptOption(time.Duration(so.opt.deferAccept) * time.Second)
		so.ep.SetSockOpt(&v)
	case sysproxy.TCPUserTimeout:
		v := tcpip.TCPUserTimeoutOption(time.Duration(so.opt.userTimeout) * time.Millisecond)
		so.ep.SetSockOpt(&v)
	}
}

// applyHeader tells the endpoint what the headers of its packets have.
func (so *tcpSocket) applyHeader() {
	so.applyDiscovery()
	ttl, tos := int(so.ip4.ttl), int(so.ip4.tos)
	if so.family == netbsd.AF_INET6 {
		ttl, tos = int(so.ip6.hops), int(max(so.ip6.out.tclass, 0))
		so.ep.SetSockOptInt(tcpip.IPv6HopLimitOption, ttl)
		so.ep.SetSockOptInt(tcpip.IPv6TrafficClassOption, tos)
		if ttl < 0 {
			return
		}
	}
	so.ep.SetSockOptInt(tcpip.IPv4TTLOption, ttl)
	so.ep.SetSockOptInt(tcpip.IPv4TOSOption, tos)
}

// applyDiscovery tells the endpoint whether routers may fragment what it sends for IPv4.
func (so *tcpSocket) applyDiscovery() {
	strategy := tcpip.PMTUDiscoveryDont
	if so.ip4.discover.marks() {
		strategy = tcpip.PMTUDiscoveryWant
	}
	so.ep.SetSockOptInt(tcpip.MTUDiscoverOption, int(strategy))
}

// SetOption implements [kernel.Socket].
func (so *tcpSocket) SetOption(_ *kernel.Call, level, name int32, value []byte) error {
	var err error
	if level == netbsd.IPPROTO_TCP {
		so.mu.Lock()
		if so.sync(); so.phase == tcpGone {
			so.mu.Unlock()
			return netbsd.ECONNRESET
		}
		err := so.setTCP(name, value)
		l, cork := so.loan, so.opt.cork
		so.mu.Unlock()
		if l != nil && name == sysproxy.TCPCork && err == nil {
			l.setCork(cork != 0)
		}
		return err
	}
	if isBindToDevice(level, name) {
		return so.bindTCPToDevice(value)
	}
	err = so.setOption(level, name, value, so.isBound)
	so.mu.Lock()
	defer so.mu.Unlock()
	if so.sync(); so.phase == tcpGone {
		// The protocol is asked as well, and has nothing left to ask.
		return netbsd.ECONNRESET
	}
	if err == nil {
		so.applyOption(level, name)
	}
	return err
}

// bindTCPToDevice is bindToDevice. The engine knows the interface from when it binds the endpoint, so that it
// cannot be changed once the socket listens or connects: EINVAL.
func (so *tcpSocket) bindTCPToDevice(value []byte) error {
	so.optMu.Lock()
	defer so.optMu.Unlock()
	so.mu.Lock()
	phase := so.phase
	so.mu.Unlock()
	if phase != tcpIdle {
		return netbsd.EINVAL
	}
	if err := so.bindToDevice(value); err != nil {
		return err
	}
	so.mu.Lock()
	defer so.mu.Unlock()
	if so.phase != tcpIdle || so.closed {
		return netbsd.EINVAL
	}
	if so.port != nil {
		so.stack.sockets.updateTCP(so.port, func() { so.port.device = so.boundNIC() })
		return so.renewEndpoint(0)
	}
	so.applyDevice()
	return nil
}

// applyDevice tells the endpoint of the interface that the socket is bound to. If that is gone there is no route
// by it any more.
func (so *tcpSocket) applyDevice() {
	_ = so.ep.SocketOptions().SetBindToDevice(int32(so.boundNIC()))
}

// applyOption tells the endpoint of an option that was set; so.mu is held.
func (so *tcpSocket) applyOption(level, name int32) {
	ops := so.ep.SocketOptions()
	has := func(bit int32) bool { return so.options&bit != 0 }
	switch level {
	case netbsd.SOL_SOCKET:
		switch name {
		case netbsd.SO_REUSEADDR, netbsd.SO_REUSEPORT:
			ops.SetReusePort(has(netbsd.SO_REUSEPORT))
			if so.port != nil {
				so.stack.sockets.updateTCP(so.port, func() { so.port.options = so.options })
			}
		case netbsd.SO_KEEPALIVE:
			ops.SetKeepAlive(has(netbsd.SO_KEEPALIVE))
		case netbsd.SO_SNDBUF:
			so.opt.autoSend = false
			ops.SetSendBufferSize(int64(so.snd.hiwat), true)
		case netbsd.SO_RCVBUF:
			so.opt.sizedRecv = true
			ops.SetReceiveBufferSize(int64(2*so.rcv.hiwat), true)
		}
	case netbsd.IPPROTO_IP:
		so.applyHeader()
	case netbsd.IPPROTO_IPV6:
		if name == netbsd.IPV6_V6ONLY {
			ops.SetV6Only(so.ip6.flags&in6pV6Only != 0)
		}
		so.applyHeader()
	}
}

// setTCP sets an option of the level IPPROTO_TCP (tcp_ctloutput); so.mu is
// held.
func (so *tcpSocket) setTCP(name int32, value []byte) error {
	switch name {
	case netbsd.TCP_NODELAY, netbsd.TCP_MAXSEG, netbsd.TCP_KEEPIDLE, netbsd.TCP_KEEPINTVL,
		netbsd.TCP_KEEPCNT, netbsd.TCP_KEEPINIT,
		sysproxy.TCPCork, sysproxy.TCPLinger2, sysproxy.TCPDeferAccept, sysproxy.TCPQuickAck, sysproxy.TCPUserTimeout:
	default:
		return netbsd.ENOPROTOOPT
	}
	v, err := optInt(so.m, value)
	if err != nil {
		return err
	}
	if name == netbsd.TCP_NODELAY {
		so.opt.noDelay = v != 0
		so.ep.SocketOptions().SetDelayOption(v == 0)
		return nil
	}
	if name == netbsd.TCP_MAXSEG {
		if v <= 0 || v > so.peerMSS() {
			return netbsd.EINVAL
		}
		so.opt.maxSeg = v
		if v >= header.TCPMinimumMSS {
			so.ep.SetSockOptInt(tcpip.MaxSegOption, int(v))
		}
		return nil
	}
	if name == sysproxy.TCPQuickAck {
		if v == 0 {
			return netbsd.ENOPROTOOPT // the engine never delays an acknowledgement
		}
		return nil
	}
	if own := so.opt.own(name); own != nil {
		if (name == sysproxy.TCPUserTimeout || name == sysproxy.TCPDeferAccept) && v < 0 {
			return netbsd.EINVAL
		}
		*own = v
		so.applyOwn(name)
		return nil
	}
	if v == 0 {
		return netbsd.EINVAL
	}
	ticks := slowTicks(int(uint32(v)))
	switch name {
	case netbsd.TCP_KEEPINIT:
		so.opt.keepInit = ticks
		if so.connTimer != nil {
			so.connTimer.Reset(ticks)
		}
	case netbsd.TCP_KEEPIDLE:
		so.opt.keepIdle = ticks
	case netbsd.TCP_KEEPINTVL:
		so.opt.keepIntvl = ticks
	case netbsd.TCP_KEEPCNT:
		so.opt.keepCount = min(v, 1<<30)
	}
	so.applyKeepalive()
	return nil
}

// peerMSS is the longest segment to send: the default until there is a
// connection, then what the way to the peer takes. The engine does not tell
// what the peer said.
func (so *tcpSocket) peerMSS() int32 {
	if !so.connected {
		if so.opt.maxSeg != 0 {
			return so.opt.maxSeg
		}
		return int32(so.stack.tcpParam("mssdflt"))
	}
	mss := int32(so.stack.tcpParam("mssdflt"))
	r, err := so.stack.findRoute(sendPath{dst: unmapped(so.remote.addr), device: so.boundNIC()})
	if err == nil {
		mss = int32(r.MTU()) - header.TCPMinimumSize
		r.Release()
	}
	if so.opt.maxSeg != 0 {
		mss = min(mss, so.opt.maxSeg)
	}
	return mss
}

// Option implements [kernel.Socket].
func (so *tcpSocket) Option(_ *kernel.Call, level, name int32, _ int) ([]byte, error) {
	so.mu.Lock()
	so.sync()
	gone := so.phase == tcpGone
	if level != netbsd.IPPROTO_TCP {
		so.mu.Unlock()
		if gone && level != netbsd.SOL_SOCKET {
			return nil, netbsd.ECONNRESET
		}
		return so.option(level, name)
	}
	defer so.mu.Unlock()
	switch {
	case gone:
		return nil, netbsd.ECONNRESET
	case name == netbsd.TCP_NODELAY:
		return boolInt(so.m, so.opt.noDelay, tfNoDelay), nil
	case name == netbsd.TCP_MAXSEG:
		return intOpt(so.m, so.peerMSS()), nil
	case so.opt.own(name) != nil:
		return intOpt(so.m, *so.opt.own(name)), nil
	case name == sysproxy.TCPQuickAck:
		return intOpt(so.m, 1), nil
	case name == netbsd.TCP_INFO:
		info := so.info()
		return netbsd.Marshal(so.m, &info), nil
	}
	return nil, netbsd.ENOPROTOOPT
}

// info makes TCP_INFO of what the engine tells.
func (so *tcpSocket) info() netbsd.TcpInfo {
	var e tcpip.TCPInfoOption
	so.ep.GetSockOpt(&e)
	micros := func(d time.Duration) uint32 { return uint32(min(d/time.Microsecond, 1<<32-1)) }
	v := lookAt(so.ep)
	// Two segments must fit into the send buffer.
	mss := uint32(max(min(int(so.peerMSS()), so.snd.hiwat/2), 1))
	if segment, _ := nextSegment(so.ep); segment > 0 {
		// The engine leaves more room for options than a segment has timestamps.
		mss = min(mss, uint32(segment)+header.TCPOptionTSLength+2)
	}
	return netbsd.TcpInfo{
		State:       uint8(tcpState(v.state)),
		Options:     netbsd.TCPI_OPT_TIMESTAMPS | netbsd.TCPI_OPT_SACK | netbsd.TCPI_OPT_WSCALE,
		Wscale:      so.wscale(),
		Rto:         max(micros(e.RTO)/micros(tcpSlowTick), 2) * micros(tick),
		Rtt:         micros(e.RTT),
		Rttvar:      micros(e.RTTVar),
		SndMss:      mss,
		RcvMss:      mss,
		SndSsthresh: e.SndSsthresh,
		SndCwnd:     e.SndCwnd,
		RcvSpace:    uint32(max(so.rcv.hiwat-v.received, 0)),
	}
}

// wscale is how far the window may be shifted each way: as NetBSD asks for, far
// enough for the largest buffer.
func (so *tcpSocket) wscale() uint8 {
	if !so.connected {
		return 0
	}
	shift := uint8(bits.Len(sbMax >> 16))
	return shift<<4 | shift
}
