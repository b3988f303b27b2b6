package shmif

import "time"

// Option changes how a Bus behaves.
type Option func(*Bus)

// DefaultLockTimeout is how long Send waits for the bus's lock.
const DefaultLockTimeout = time.Second

// DefaultRecovery is how long the bus's lock must have been stuck before it is
// recovered from a party that died with it.
const DefaultRecovery = 5 * time.Second

// WithLockTimeout sets how long Send waits for a bus that another party has
// locked, before it fails with ErrLocked. Recv waits for as long as it takes.
func WithLockTimeout(d time.Duration) Option {
	return func(b *Bus) { b.lockTimeout = d }
}

// WithRecovery sets how long the bus's lock must have been stuck before it is
// recovered, if nobody can be holding it. With 0 it never is. Where the host
// does not show what other processes are doing (all but Linux), it takes six
// times as long.
func WithRecovery(d time.Duration) Option {
	return func(b *Bus) { b.recoverAfter = d }
}
