package shmif

import (
	"runtime"
	"sync/atomic"
	"time"
)

// The lock is held for a few microseconds. Whoever waits for it spins first,
// then gives way to other goroutines, then sleeps for longer and longer. The
// last step is the millisecond for which real kernels sleep.
const (
	lockSpins    = 100
	lockYields   = 20
	lockSleepMin = 20 * time.Microsecond
	lockSleepMax = time.Millisecond
	// lockSuspicious is how long the lock may be out of reach before the
	// watcher is set on it, even if there is time left to wait.
	lockSuspicious = 50 * time.Millisecond
)

// acquire takes the bus's lock and gives the ring's generation. It gives up
// after the time, or at Close; but it spins even if the time is 0. The caller
// has the mapping pinned.
//
// The lock word must never be anything but lockFree or lockTaken: real kernels
// take any other value for a lock that they have just obtained.
func (b *Bus) acquire(patience time.Duration) (gen uint64, err error) {
	lock := b.ring.lockWord()
	if atomic.CompareAndSwapUint32(lock, lockFree, lockTaken) {
		return b.ring.generation(), nil
	}
	b.stats.lockWaits.Add(1)
	var began time.Time
	sleep := lockSleepMin
	for try := 1; ; try++ {
		// Looking is cheaper than trying, for the others as well.
		if atomic.LoadUint32(lock) == lockFree &&
			atomic.CompareAndSwapUint32(lock, lockFree, lockTaken) {
			return b.ring.generation(), nil
		}
		switch {
		case try < lockSpins:
			continue
		case try < lockSpins+lockYields:
			runtime.Gosched()
			continue
		}
		if b.closed.Load() {
			return 0, errClosed
		}
		now := time.Now()
		if began.IsZero() {
			began = now
		}
		waited := now.Sub(began)
		if waited >= min(patience, lockSuspicious) {
			b.watchLock()
		}
		if waited >= patience {
			return 0, b.lockError()
		}
		time.Sleep(sleep)
		sleep = min(2*sleep, lockSleepMax)
	}
}

// release gives the lock back; gen is the generation that its holder left.
//
// If this process was stopped for so long while it held the lock that another
// one recovered it, then the ring has been started anew in another generation,
// and the lock is somebody else's, who must be left in peace.
func (b *Bus) release(gen uint64) {
	if b.ring.generation() != gen {
		b.stats.lockLosses.Add(1)
		return
	}
	atomic.StoreUint32(b.ring.lockWord(), lockFree)
}
