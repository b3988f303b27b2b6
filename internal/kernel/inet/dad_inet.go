package inet

import (
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"rumptools/pkg/netbsd"
)

// probeInterval is the time between two ARP probes for a duplicate of an IPv4
// address: RFC 5227 has from one to two seconds.
const probeInterval = 1500 * time.Millisecond

// setDAD4 has duplicates of IPv4 addresses looked for n times on an interface.
func (s *Stack) setDAD4(ifp *Interface, n int32) {
	ep, err := s.net.GetNetworkEndpoint(ifp.NICID, arp.ProtocolNumber)
	if err != nil {
		return
	}
	ep.(stack.DuplicateAddressDetector).SetDADConfigurations(stack.DADConfigurations{
		DupAddrDetectTransmits: uint8(min(n, 255)), RetransmitTimer: probeInterval,
	})
}

// searches4 tells whether duplicates of a new IPv4 address are looked for.
// Only on an interface that is running are they, not of the first address,
// which brings it up.
func (s *Stack) searches4(ifa *ifaddr) bool {
	return ifa.ifp.hasDAD() && !ifa.addr.IsUnspecified() && s.params.get("net.inet.ip.dad_count") > 0
}

// startDAD4 begins to look for duplicates of an address, which is tentative
// until then and not given to the engine (arp_dad_start).
func (s *Stack) startDAD4(ifa *ifaddr) {
	ifa.state = ifa.state&^netbsd.IN_IFF_DUPLICATED | netbsd.IN_IFF_TENTATIVE
	s.updateOwn()
	_, err := s.net.CheckDuplicateAddress(ifa.ifp.NICID, ipv4.ProtocolNumber, engineAddr(ifa.addr), func(result stack.DADResult) {
		s.events.post(func() { s.dadDone4(ifa, result) })
	})
	if err != nil {
		s.dadDone4(ifa, &stack.DADSucceeded{})
	}
}

// dadDone4 is told what the search has come to. One that was broken off begins
// again when the interface comes up.
func (s *Stack) dadDone4(ifa *ifaddr, result stack.DADResult) {
	if ifa.ifp.find(ifa.addr) != ifa || ifa.state&netbsd.IN_IFF_TENTATIVE == 0 {
		return
	}
	switch result.(type) {
	case *stack.DADSucceeded:
		ifa.state &^= netbsd.IN_IFF_TENTATIVE
		s.engineAdd(ifa)
		s.announceARP(ifa.ifp, ifa.addr, ifa.ifp.mac())
	case *stack.DADDupAddrDetected:
		ifa.state = ifa.state&^netbsd.IN_IFF_TENTATIVE | netbsd.IN_IFF_DUPLICATED
		s.updateOwn()
	default:
		return
	}
	s.addressChanged(netbsd.RTM_NEWADDR, ifa)
}

// setDADCount4 sets how often duplicates of IPv4 addresses are looked for; 0 is
// never.
func (s *Stack) setDADCount4(v int32) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, ifp := range s.interfaces {
		if len(ifp.mac()) > 0 {
			s.setDAD4(ifp, v)
		}
	}
	return nil
}
