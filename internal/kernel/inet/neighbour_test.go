package inet

import (
	"bytes"
	"encoding/binary"
	"sync"
	"testing"
	"time"

	"rumptools/internal/kernel"
	"rumptools/pkg/netbsd"
)

// TestNoARP has an interface find nobody.
func TestNoARP(t *testing.T) {
	seg := newSegment()
	s := host(t, seg.join(), "10.0.0.1/24")
	b := host(t, seg.join(), "10.0.0.2/24")
	s.mu.Lock()
	ifp := s.ifByName["shmif0"]
	ifp.flags |= netbsd.IFF_NOARP
	ifp.link.setFlags(ifp.flags)
	s.mu.Unlock()
	so := open(t, s, netbsd.AF_INET, netbsd.SOCK_RAW, netbsd.IPPROTO_ICMP)
	_, err := so.Send(nil, &kernel.Message{Data: echoRequest(netbsd.ICMP_ECHO, 1, 1, nil), Name: addr(s, "10.0.0.2:0")})
	check(t, "send", err, netbsd.ENOTSUP)
	s.mu.Lock()
	err = s.addNeighbour(ifp, mustAddr("10.0.0.2"), b.ifByName["shmif0"].mac(), 0, false)
	s.mu.Unlock()
	must(t, err)
	s.answered(t, "10.0.0.2", 56)
}

// TestProxyARP has a kernel answer for another.
func TestProxyARP(t *testing.T) {
	seg := newSegment()
	a := host(t, seg.join(), "10.0.0.1/24")
	proxy := host(t, seg.join(), "10.0.0.2/24")
	proxy.mu.Lock()
	must(t, proxy.addNeighbour(proxy.ifByName["shmif0"], mustAddr("10.0.0.9"), peerMAC, 0, true))
	proxy.mu.Unlock()
	so := open(t, a, netbsd.AF_INET, netbsd.SOCK_RAW, netbsd.IPPROTO_ICMP)
	send(t, so, echoRequest(netbsd.ICMP_ECHO, 1, 1, nil), addr(a, "10.0.0.9:0"))
	eventually(t, "10.0.0.9 is known", func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		n := a.findNeighbour(a.ifByName["shmif0"], mustAddr("10.0.0.9"))
		return n != nil && bytes.Equal(n.mac, peerMAC)
	})
}

// TestNewHardwareAddress has a host come back with another hardware address,
// which it announces.
func TestNewHardwareAddress(t *testing.T) {
	seg := newSegment()
	s := host(t, seg.join(), "10.0.0.1/24")
	s.learn("shmif0", "10.0.0.2", peerMAC)
	known := func() []byte {
		s.mu.Lock()
		defer s.mu.Unlock()
		if n := s.findNeighbour(s.ifByName["shmif0"], mustAddr("10.0.0.2")); n != nil {
			return n.mac
		}
		return nil
	}
	if !bytes.Equal(known(), peerMAC) {
		t.Fatalf("10.0.0.2 is at %x", known())
	}
	b := host(t, seg.join(), "10.0.0.2/24")
	mac := b.ifByName["shmif0"].mac()
	eventually(t, "the new address is known", func() bool { return bytes.Equal(known(), mac) })
	s.answered(t, "10.0.0.2", 56)
	// Those that are not known are not learnt in this way.
	host(t, seg.join(), "10.0.0.3/24").answered(t, "10.0.0.2", 56)
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.findNeighbour(s.ifByName["shmif0"], mustAddr("10.0.0.3")); n != nil {
		t.Errorf("learnt 10.0.0.3 is at %x", n.mac)
	}
}

// TestHostDown has a host that does not answer.
func TestHostDown(t *testing.T) {
	seg := newSegment()
	s := host(t, seg.join(), "10.0.0.1/24")
	var mu sync.Mutex
	asked := 0
	seg.mu.Lock()
	seg.sniff = func(f []byte) {
		mu.Lock()
		defer mu.Unlock()
		if binary.BigEndian.Uint16(f[12:]) == 0x0806 {
			asked++
		}
	}
	seg.mu.Unlock()
	s.mu.Lock()
	s.setRetransmit(s.ifByName["shmif0"], 20*time.Millisecond)
	s.mu.Unlock()
	so := open(t, s, netbsd.AF_INET, netbsd.SOCK_RAW, netbsd.IPPROTO_ICMP)
	try := func() error {
		_, err := so.Send(nil, &kernel.Message{Data: echoRequest(netbsd.ICMP_ECHO, 1, 1, nil), Name: addr(s, "10.0.0.9:0")})
		return err
	}
	check(t, "first send", try(), nil)
	nic := s.ifByName["shmif0"].NICID
	eventually(t, "the host is down", func() bool { return s.neighbourError(nic, mustAddr("10.0.0.9")) != nil })
	check(t, "later send", try(), netbsd.EHOSTDOWN)
	mu.Lock()
	defer mu.Unlock()
	if asked != arpTries {
		t.Errorf("asked %d times", asked)
	}
}

// A host that was down, and has an address entered by hand since, is waited for:
// a connect(2) that does not wait is under way.
func TestStaticNeighbourDown(t *testing.T) {
	t.Parallel()
	s := host(t, newSegment().join(), "10.0.0.1/24")
	sa := addr(s, "10.0.0.77:9")
	err := connect(t, open(t, s, netbsd.AF_INET, stream, 0), sa)
	if err != netbsd.EHOSTDOWN && err != netbsd.EHOSTUNREACH {
		t.Fatalf("nobody answers: %v", err)
	}
	eventually(t, "it is down", func() bool { return s.neighbourError(s.ifByName["shmif0"].NICID, mustAddr("10.0.0.77")) != nil })
	s.mu.Lock()
	err = s.addNeighbour(s.ifByName["shmif0"], mustAddr("10.0.0.77"), peerMAC, 0, false)
	s.mu.Unlock()
	must(t, err)
	eventually(t, "it is tried again", func() bool {
		so := open(t, s, netbsd.AF_INET, stream, 0)
		return so.Connect(sa) == netbsd.EINPROGRESS && so.ConnectResult() == netbsd.EINPROGRESS
	})
}
