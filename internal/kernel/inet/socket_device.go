package inet

import (
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/sysproxy"
)

// isBindToDevice tells whether an option is the one that binds a socket to an interface.
func isBindToDevice(level, name int32) bool {
	return level == netbsd.SOL_SOCKET && name == sysproxy.SOBindToDevice
}

// bindToDevice sets sysproxy.SOBindToDevice: ENXIO for an interface that is not there.
func (so *socket) bindToDevice(value []byte) error {
	v, err := optInt(so.m, value)
	if err != nil {
		return err
	}
	s := so.stack
	s.mu.Lock()
	defer s.mu.Unlock()
	if v != 0 && (v != int32(uint16(v)) || s.ifByIndex[uint16(v)] == nil) {
		return netbsd.ENXIO
	}
	so.device.Store(uint32(v))
	return nil
}

// boundNIC is the interface that the socket is bound to, 0 for none.
func (so *socket) boundNIC() tcpip.NICID { return tcpip.NICID(so.device.Load()) }

// takesFrom tells whether the socket takes what comes in by an interface.
func (so *socket) takesFrom(nic tcpip.NICID) bool {
	bound := so.boundNIC()
	return bound == 0 || bound == nic
}

// addr4On is the IPv4 address of an interface to send to dst with: one whose network dst is in, or
// else the first.
func (s *Stack) addr4On(nic tcpip.NICID, dst netip.Addr) (netip.Addr, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ifp := s.ifByIndex[uint16(nic)]
	if ifp == nil {
		return netip.Addr{}, netbsd.EADDRNOTAVAIL
	}
	if ifa := s.ifaWithNet(sockaddrInet(dst)); ifa != nil && ifa.ifp == ifp {
		return ifa.addr, nil
	}
	if ifa := ifp.first(netbsd.AF_INET); ifa != nil {
		return ifa.addr, nil
	}
	return netip.Addr{}, netbsd.EADDRNOTAVAIL
}
