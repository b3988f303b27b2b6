package shmif

import "time"

// waiter waits until somebody has written to the bus file.
//
// A write between two calls of wait ends the second one at once. So a receiver
// that looks at the ring after every wait misses nothing, whenever the writer
// came; many writes may end in one wake-up.
type waiter interface {
	// wait returns after a write or after the time, and with errClosed once
	// close was called. idle says that there was no write, as far as the
	// waiter knows.
	wait(time.Duration) (idle bool, err error)
	// close ends wait, now and for ever. It may be called at any time.
	close()
}

// heartbeat is the longest wait. No wake-up gets lost, unless a sender dies
// before it has written the version word, or the file system does not tell
// about the writes of others.
const heartbeat = time.Second

// poller is the waiter for hosts, or processes, that cannot be told.
type poller struct {
	interval time.Duration
	done     <-chan struct{}
}

func (p poller) wait(d time.Duration) (idle bool, err error) {
	t := time.NewTimer(min(d, p.interval))
	defer t.Stop()
	select {
	case <-t.C:
		return true, nil
	case <-p.done:
		return false, errClosed
	}
}

func (poller) close() {}

// pollInterval is how often a poller looks. Real kernels that poll do so every
// 10 ms, but a look costs less here, since it does not take the lock.
const pollInterval = time.Millisecond

// newWaiter gives the host's waiter, or a poller if it cannot be had: hosts
// limit the number of such watches per user.
func (b *Bus) newWaiter() waiter {
	w, err := watchFile(b.file, b.path)
	if err != nil {
		b.polling.Store(true)
		return poller{pollInterval, b.done}
	}
	return w
}
