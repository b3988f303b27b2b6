package inet

import (
	"sync/atomic"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/sysproxy"
)

// flags are options of rumpd's own of sockets for datagrams (package sysproxy) that are on or off. They are read without
// locks.
type flags struct {
	allGroups4, allGroups6 atomic.Bool // what comes to any group is for the socket (IPMulticastAll, IPv6MulticastAll)

	// Of UDP only: datagrams leave without checksums (SONoCheck, UDPNoCheck6TX), and are taken so (UDPNoCheck6RX).
	noSum4, noSum6, takesNoSum6 atomic.Bool
	spreads                     atomic.Bool // of UDP: SOReusePortLB
}

// flag is where such an option is kept, nil for others.
func (so *dgramSocket) flag(level, name int32) *atomic.Bool {
	udp, v6 := so.typ == netbsd.SOCK_DGRAM, so.family == netbsd.AF_INET6
	switch [2]int32{level, name} {
	case [2]int32{netbsd.IPPROTO_IP, sysproxy.IPMulticastAll}:
		return &so.allGroups4
	case [2]int32{netbsd.SOL_SOCKET, sysproxy.SONoCheck}:
		if udp {
			return &so.noSum4
		}
	case [2]int32{netbsd.SOL_SOCKET, sysproxy.SOReusePortLB}:
		if udp {
			return &so.spreads
		}
	case [2]int32{netbsd.IPPROTO_IPV6, sysproxy.IPv6MulticastAll}:
		if v6 {
			return &so.allGroups6
		}
	case [2]int32{netbsd.IPPROTO_UDP, sysproxy.UDPNoCheck6TX}:
		if udp && v6 {
			return &so.noSum6
		}
	case [2]int32{netbsd.IPPROTO_UDP, sysproxy.UDPNoCheck6RX}:
		if udp && v6 {
			return &so.takesNoSum6
		}
	}
	return nil
}

// setFlag sets one.
func (so *dgramSocket) setFlag(flag *atomic.Bool, value []byte) error {
	v, err := optInt(so.m, value)
	if err != nil {
		return err
	}
	flag.Store(v != 0)
	return nil
}
