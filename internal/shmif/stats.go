package shmif

import "sync/atomic"

// Stats counts what happened to a Bus since it was opened.
type Stats struct {
	Sent     uint64 // frames put on the bus
	Received uint64 // frames taken from the bus, apart from own ones

	Wakeups   uint64 // how often Recv has waited and was woken
	Overruns  uint64 // how often this party was too slow and lost frames
	Oversized uint64 // frames of more than MaxFrame bytes that were skipped

	Resyncs uint64 // how often the ring made no sense to a receiver
	Resets  uint64 // how often a sender had to empty a ring that made no sense

	LockWaits      uint64 // how often the lock was taken when it was needed
	LockTimeouts   uint64 // frames not sent for want of the lock
	LockRecoveries uint64 // locks taken over from parties that died
	LockLosses     uint64 // locks that others took over from this party

	// Polling says that the host could not watch the file, so that Recv
	// looks at it again and again.
	Polling bool
}

type counters struct {
	sent, received, wakeups, overruns, oversized, resyncs, resets,
	lockWaits, lockTimeouts, lockRecoveries, lockLosses atomic.Uint64
}

// Stats gives the present numbers.
func (b *Bus) Stats() Stats {
	c := &b.stats
	return Stats{
		Sent:           c.sent.Load(),
		Received:       c.received.Load(),
		Wakeups:        c.wakeups.Load(),
		Overruns:       c.overruns.Load(),
		Oversized:      c.oversized.Load(),
		Resyncs:        c.resyncs.Load(),
		Resets:         c.resets.Load(),
		LockWaits:      c.lockWaits.Load(),
		LockTimeouts:   c.lockTimeouts.Load(),
		LockRecoveries: c.lockRecoveries.Load(),
		LockLosses:     c.lockLosses.Load(),
		Polling:        b.polling.Load(),
	}
}
