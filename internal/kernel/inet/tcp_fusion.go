package inet

import (
	"reflect"

	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"

	"rumptools/internal/kernel/lend"
	"rumptools/pkg/netbsd"
)

// What is carried between two loans of one connection need not go through the engine twice
// (Solaris calls it TCP fusion). The connection stays in the engine and is idle there. Nothing
// of that is to be seen: what passes is counted, and it goes through the engine again when
// somebody looks.

// Mate implements [lend.Stream].
func (l *loan) Mate() *lend.Loan {
	if !l.so.stack.isLocal(l.remote) {
		return nil
	}
	mate := l.so.mate()
	if mate == nil {
		return nil
	}
	mate.mu.Lock()
	defer mate.mu.Unlock()
	if mate.loan == nil {
		return nil
	}
	return mate.loan.of
}

// Passable implements [lend.Stream].
func (l *loan) Passable() bool {
	s := l.so.stack
	return s.sockets.params.tcp["fusion"].value.Load() != 0 && s.lo0.tap.Load() == nil &&
		s.isLocal(l.local) && s.isLocal(l.remote) && s.net.CheckNIC(s.lo0.NICID)
}

// Mark implements [lend.Stream].
func (l *loan) Mark() (uint32, bool) {
	if !l.Passable() {
		return 0, false
	}
	l.ep.LockUser()
	defer l.ep.UnlockUser()
	v := reflect.ValueOf(l.ep).Elem()
	snd := v.FieldByIndex(sender.sender)
	if s := l.ep.EndpointState(); snd.IsNil() || s != tcp.StateEstablished && s != tcp.StateCloseWait {
		return 0, false
	}
	una := uint32(snd.Elem().FieldByIndex(sender.una).Uint())
	return una + uint32(v.FieldByIndex(sndBufUsed).Int()), true
}

// Reached implements [lend.Stream].
func (l *loan) Reached(mark uint32) bool {
	l.ep.LockUser()
	defer l.ep.UnlockUser()
	rcv := reflect.ValueOf(l.ep).Elem().FieldByIndex(receiver.receiver)
	if rcv.IsNil() {
		return false
	}
	next := uint32(rcv.Elem().FieldByIndex(receiver.next).Uint())
	return int32(next-uint32(l.ep.RcvBufUsed)-mark) >= 0
}

// receiver is where an endpoint has its receiver, and the field of that with the first byte
// that has not come.
var receiver = func() (at struct{ receiver, next []int }) {
	rcv := field(reflect.TypeFor[tcp.Endpoint](), "rcv", reflect.Pointer)
	at.receiver = rcv.Index
	at.next = field(rcv.Type.Elem(), "RcvNxt", reflect.Uint32).Index
	return at
}()

// Passed implements [lend.Stream]. It counts as many segments as lo0 would have carried, and
// none that acknowledge.
func (l *loan) Passed(n int) {
	s := l.so.stack
	ip4 := l.remote.Is4()
	head := header.TCPMinimumSize + header.IPv6MinimumSize
	if ip4 {
		head = header.TCPMinimumSize + header.IPv4MinimumSize
	}
	segments := uint64((n + loopSegment - head - 1) / (loopSegment - head))
	size := uint64(n) + segments*uint64(head)
	c := &s.lo0.counters
	c.opackets.Add(segments)
	c.obytes.Add(size)
	c.ipackets.Add(segments)
	c.ibytes.Add(size)
	t := s.net.Stats().TCP
	t.SegmentsSent.IncrementBy(segments)
	t.ValidSegmentsReceived.IncrementBy(segments)
	count, which := s.stats.ip6[:], [...]int{netbsd.IP6_STAT_LOCALOUT, netbsd.IP6_STAT_TOTAL, netbsd.IP6_STAT_DELIVERED}
	if ip4 {
		count, which = s.stats.ip[:], [...]int{netbsd.IP_STAT_LOCALOUT, netbsd.IP_STAT_TOTAL, netbsd.IP_STAT_DELIVERED}
	}
	for _, i := range which {
		count[i].Add(segments)
	}
}
