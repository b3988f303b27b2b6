package inet

import (
	"rumptools/pkg/netbsd"
	"rumptools/pkg/sysproxy"
)

// setOption sets an option of the socket's or of the network's level, as
// sosetopt, ip_ctloutput and ip6_ctloutput share them out. isBound tells, with
// so.mu held, whether the socket has an address.
func (so *socket) setOption(level, name int32, value []byte, isBound func() bool) error {
	if isMembership(level, name) && (level == netbsd.IPPROTO_IP || so.family == netbsd.AF_INET6) {
		return so.setMembership(level, name, value)
	}
	if isBindToDevice(level, name) {
		return so.bindToDevice(value)
	}
	so.optMu.Lock()
	defer so.optMu.Unlock()
	switch {
	case level == netbsd.SOL_SOCKET && name == netbsd.SO_NOHEADER:
		return nil // ip_ctloutput takes it from anyone
	case level == netbsd.SOL_SOCKET:
		so.mu.Lock()
		defer so.mu.Unlock()
		return so.setSocketOption(name, value)
	case level == netbsd.IPPROTO_IP && (so.family == netbsd.AF_INET || isForBoth(name)):
		so.mu.Lock()
		o := so.ip4
		so.mu.Unlock()
		if err := so.stack.setIP(so.m, &o, name, value); err != nil {
			return err
		}
		so.mu.Lock()
		so.ip4 = o
		so.mu.Unlock()
		return nil
	case level == netbsd.IPPROTO_IPV6 && so.family == netbsd.AF_INET6:
		so.mu.Lock()
		o, bound := so.ip6, isBound()
		so.mu.Unlock()
		err := so.setIP6(&o, name, value, bound)
		so.mu.Lock()
		so.ip6 = o
		so.mu.Unlock()
		return err
	}
	return netbsd.ENOPROTOOPT
}

// option gives an option of the socket's or the network's level.
func (so *socket) option(level, name int32) ([]byte, error) {
	so.mu.Lock()
	ip4, ip6, errorMTU := so.ip4, so.ip6, so.errorMTU
	if level == netbsd.SOL_SOCKET {
		defer so.mu.Unlock()
		return so.socketOption(name)
	}
	so.mu.Unlock()
	switch {
	case level == netbsd.IPPROTO_IP && name == netbsd.IP_ERRORMTU && so.family == netbsd.AF_INET:
		return intOpt(so.m, errorMTU), nil
	case level == netbsd.IPPROTO_IP && (so.family == netbsd.AF_INET || isForBoth(name)):
		return so.stack.ipOption(so.m, &ip4, name)
	case level == netbsd.IPPROTO_IPV6 && so.family == netbsd.AF_INET6:
		return so.ip6Option(&ip6, name)
	}
	return nil, netbsd.ENOPROTOOPT
}

// isMembership tells whether an option joins or leaves a group.
func isMembership(level, name int32) bool {
	switch level {
	case netbsd.IPPROTO_IP, netbsd.IPPROTO_IPV6:
		return name == netbsd.IP_ADD_MEMBERSHIP || name == netbsd.IP_DROP_MEMBERSHIP
	}
	return false
}

// isForBoth tells whether an option of the level IPPROTO_IP is one that IPv6 sockets have
// as well, for IPv4-mapped addresses: on NetBSD's kernel those about groups only.
func isForBoth(name int32) bool {
	switch name {
	case sysproxy.IPMTUDiscover, sysproxy.IPRecvTOS, netbsd.IP_TOS, netbsd.IP_PKTINFO, netbsd.IP_RECVTTL:
		return true
	}
	return name >= netbsd.IP_MULTICAST_IF && name <= netbsd.IP_DROP_MEMBERSHIP
}
