package inet

import (
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// eventQueue holds functions that a goroutine is to call. Posting never waits:
// it happens under the engine's locks.
type eventQueue struct {
	mu     sync.Mutex
	cond   sync.Cond
	queue  []func()
	closed bool
}

func (q *eventQueue) init() { q.cond.L = &q.mu }

func (q *eventQueue) post(f func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.closed {
		q.queue = append(q.queue, f)
		q.cond.Signal()
	}
}

// take waits for functions and takes all; nil when the queue is closed.
func (q *eventQueue) take() []func() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.queue) == 0 && !q.closed {
		q.cond.Wait()
	}
	if q.closed {
		return nil
	}
	fs := q.queue
	q.queue = nil
	return fs
}

func (q *eventQueue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.queue = nil
	q.cond.Broadcast()
}

// handleEvents calls what was posted, with s.mu held, until the queue is
// closed.
func (s *Stack) handleEvents() {
	defer s.worker.Done()
	for {
		fs := s.events.take()
		if fs == nil {
			return
		}
		s.mu.Lock()
		for _, f := range fs {
			f()
		}
		s.mu.Unlock()
	}
}

// after has f called with s.mu held when d is over, unless the stack is closed
// by then. The result stops it.
func (s *Stack) after(d time.Duration, f func()) *time.Timer {
	return time.AfterFunc(d, func() { s.events.post(f) })
}

// ndpEvents takes the engine's news about IPv6 addresses. Router
// advertisements are not handled, so most never come.
type ndpEvents struct{ s *Stack }

var _ ipv6.NDPDispatcher = ndpEvents{}

// OnDuplicateAddressDetectionResult implements [ipv6.NDPDispatcher].
func (e ndpEvents) OnDuplicateAddressDetectionResult(nic tcpip.NICID, a tcpip.Address, result stack.DADResult) {
	addr := netipAddr(a)
	e.s.events.post(func() { e.s.dadDone(nic, addr, result) })
}

// OnOffLinkRouteUpdated implements [ipv6.NDPDispatcher].
func (ndpEvents) OnOffLinkRouteUpdated(tcpip.NICID, tcpip.Subnet, tcpip.Address, header.NDPRoutePreference) {
}

// OnOffLinkRouteInvalidated implements [ipv6.NDPDispatcher].
func (ndpEvents) OnOffLinkRouteInvalidated(tcpip.NICID, tcpip.Subnet, tcpip.Address) {}

// OnOnLinkPrefixDiscovered implements [ipv6.NDPDispatcher].
func (ndpEvents) OnOnLinkPrefixDiscovered(tcpip.NICID, tcpip.Subnet) {}

// OnOnLinkPrefixInvalidated implements [ipv6.NDPDispatcher].
func (ndpEvents) OnOnLinkPrefixInvalidated(tcpip.NICID, tcpip.Subnet) {}

// OnAutoGenAddress implements [ipv6.NDPDispatcher].
func (ndpEvents) OnAutoGenAddress(tcpip.NICID, tcpip.AddressWithPrefix) stack.AddressDispatcher {
	return nil
}

// OnAutoGenAddressDeprecated implements [ipv6.NDPDispatcher].
func (ndpEvents) OnAutoGenAddressDeprecated(tcpip.NICID, tcpip.AddressWithPrefix) {}

// OnAutoGenAddressInvalidated implements [ipv6.NDPDispatcher].
func (ndpEvents) OnAutoGenAddressInvalidated(tcpip.NICID, tcpip.AddressWithPrefix) {}

// OnRecursiveDNSServerOption implements [ipv6.NDPDispatcher].
func (ndpEvents) OnRecursiveDNSServerOption(tcpip.NICID, []tcpip.Address, time.Duration) {}

// OnDNSSearchListOption implements [ipv6.NDPDispatcher].
func (ndpEvents) OnDNSSearchListOption(tcpip.NICID, []string, time.Duration) {}

// OnDHCPv6Configuration implements [ipv6.NDPDispatcher].
func (ndpEvents) OnDHCPv6Configuration(tcpip.NICID, ipv6.DHCPv6ConfigurationFromNDPRA) {}
