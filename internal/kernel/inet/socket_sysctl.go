package inet

import (
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"

	"rumptools/internal/kernel"
	"rumptools/pkg/netbsd"
)

// protocolParams are the integers below net.inet and net.inet6 that are about
// TCP and UDP.
type protocolParams struct {
	// tcp are those of TCP, which both families share; udp and udp6 of UDP.
	tcp, udp, udp6 map[string]*param
}

// The values that NetBSD starts with: times in half seconds, as TCP's slow timer
// counts, sizes in bytes.
func newProtocolParams() protocolParams {
	buffer := func(name string, num, v int32) *param { return integer("", name, num, v, 1, 4*sbMax, nil) }
	positive := func(name string, num, v int32) *param { return integer("", name, num, v, 1, maxInt32, nil) }
	flag := func(name string, num, v int32, apply func(*Stack, int32) error) *param {
		return boolean("", name, num, v, apply)
	}
	byName := func(list ...*param) map[string]*param {
		m := make(map[string]*param)
		for _, p := range list {
			m[p.name] = p
		}
		return m
	}
	return protocolParams{
		tcp: byName(
			flag("rfc1323", 1, 1, nil),
			buffer("sendspace", 2, tcpSpace),
			buffer("recvspace", 3, tcpSpace),
			integer("", "mssdflt", 4, tcpDefaultMSS, 32, maxInt32, nil),
			integer("", "init_win", 8, 4, 0, 10, nil),
			flag("mss_ifmtu", 9, 0, nil),
			flag("win_scale", 11, 1, nil),
			flag("timestamps", 12, 1, nil),
			flag("compat_42", 13, 0, nil),
			flag("cwm", 14, 0, nil),
			positive("cwm_burstsize", 15, 4),
			flag("ack_on_push", 16, 0, nil),
			positive("keepidle", 17, 2*2*3600),
			positive("keepintvl", 18, 2*75),
			positive("keepcnt", 19, tcpKeepCount),
			flag("log_refused", 22, 0, nil),
			integer("", "rstppslimit", 24, 100, -1, maxInt32, nil),
			positive("delack_ticks", 25, hz/5),
			integer("", "init_win_local", 26, 4, 0, 10, nil),
			flag("do_loopback_cksum", 29, 0, nil),
			integer("", "msl", 34, 30, 1, 3600, (*Stack).setMSL),
			positive("minmss", 1084, 216),
			positive("keepinit", 1089, int32(tcpKeepInit/tcpSlowTick)),
			flag("recvbuf_auto", 1090, 1, (*Stack).setRecvAuto),
			positive("recvbuf_inc", 1091, 16<<10),
			buffer("recvbuf_max", 1092, sbMax),
			flag("sendbuf_auto", 1093, 1, nil),
			positive("sendbuf_inc", 1094, 8<<10),
			buffer("sendbuf_max", 1095, sbMax),
			// Not NetBSD's: a word to those that run programs on the kernel (rumpctl exec).
			flag("pair", 1200, 0, nil),
			flag("fusion", 1201, 1, nil),
		),
		udp: byName(
			flag("checksum", 1, 1, nil),
			buffer("sendspace", 2, udpSendSpace),
			buffer("recvspace", 3, udpRecvSpace(netbsd.AF_INET)),
			flag("do_loopback_cksum", 4, 0, nil),
		),
		udp6: byName(
			buffer("sendspace", 1, udpSendSpace),
			buffer("recvspace", 2, udpRecvSpace(netbsd.AF_INET6)),
			flag("do_loopback_cksum", 3, 0, nil),
		),
	}
}

// tcpParam gives a param of TCP.
func (s *Stack) tcpParam(name string) int { return int(s.sockets.params.tcp[name].value.Load()) }

// udpParam gives a param of UDP over a family.
func (s *Stack) udpParam(family int32, name string) int {
	ps := s.sockets.params.udp
	if family == netbsd.AF_INET6 {
		ps = s.sockets.params.udp6
	}
	return int(ps[name].value.Load())
}

// setRecvAuto has receive buffers grow, or not.
func (s *Stack) setRecvAuto(v int32) error {
	o := tcpip.TCPModerateReceiveBufferOption(v != 0)
	return engineError(s.net.SetTransportProtocolOption(tcp.ProtocolNumber, &o))
}

// setMSL sets the longest life of a segment in seconds. Connections that have
// ended are remembered twice that long; until it is set, for tcpTimeWait.
func (s *Stack) setMSL(v int32) error {
	o := tcpip.TCPTimeWaitTimeoutOption(2 * time.Duration(v) * time.Second)
	return engineError(s.net.SetTransportProtocolOption(tcp.ProtocolNumber, &o))
}

// slowTicks gives a number of ticks of TCP's slow timer as a time.
func slowTicks(n int) time.Duration { return time.Duration(n) * tcpSlowTick }

// addSocketSysctls adds the nodes about sockets below net.inet and net.inet6.
func (s *Stack) addSocketSysctls() {
	k, ps := s.kernel, &s.sockets.params
	for _, p := range []struct {
		parent, name string
		num          int32
		list         pcbList
		// pcblist is the number that the list has in a rump kernel.
		pcblist int32
		params  map[string]*param
		desc    string
	}{
		{"net.inet", "tcp", netbsd.IPPROTO_TCP, pcbList{netbsd.AF_INET, netbsd.IPPROTO_TCP}, 1088, ps.tcp, "TCP"},
		{"net.inet", "udp", netbsd.IPPROTO_UDP, pcbList{netbsd.AF_INET, netbsd.IPPROTO_UDP}, 1166, ps.udp, "UDPv4"},
		{"net.inet", "raw", netbsd.IPPROTO_RAW, pcbList{netbsd.AF_INET, netbsd.IPPROTO_RAW}, netbsd.CTL_CREATE, nil, "Raw IPv4"},
		{"net.inet6", "tcp6", netbsd.IPPROTO_TCP, pcbList{netbsd.AF_INET6, netbsd.IPPROTO_TCP}, 1121, ps.tcp, "TCP"},
		{"net.inet6", "udp6", netbsd.IPPROTO_UDP, pcbList{netbsd.AF_INET6, netbsd.IPPROTO_UDP}, 1083, ps.udp6, "UDPv6"},
		{"net.inet6", "raw6", netbsd.IPPROTO_RAW, pcbList{netbsd.AF_INET6, netbsd.IPPROTO_RAW}, netbsd.CTL_CREATE, nil, "Raw IPv6"},
	} {
		path := p.parent + "." + p.name
		k.AddSysctl(p.parent, &kernel.Node{
			Name: p.name, Num: p.num, Type: netbsd.CTLTYPE_NODE, Desc: p.desc + " related settings",
		})
		for _, v := range p.params {
			k.AddSysctl(path, kernel.IntFunc(v.name, v.num, v.value.Load, func(n int32) error { return v.set(s, n) }))
		}
		if p.list.proto == netbsd.IPPROTO_TCP {
			k.AddSysctl(path, kernel.Int("slowhz", 20, int32(time.Second/tcpSlowTick)))
		}
		// What has parameters of its own is a node, even if it has nothing
		// below.
		k.AddSysctl(path, &kernel.Node{
			Name: "pcblist", Num: p.pcblist, Type: netbsd.CTLTYPE_NODE, Desc: p.desc + " protocol control block list",
			Get: func(r *kernel.SysctlRequest) ([]byte, error) { return s.pcblist(r, p.list) },
		})
	}
}
