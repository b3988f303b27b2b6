package shmif

import (
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// The bus's lock has no owner. When a party dies with it, real kernels wait for
// ever. Here a watcher looks after a lock that stays taken, and breaks it if
// nobody can be holding it. Breaking a lock that is in use would let two
// parties write to the ring at once, and a real kernel panics if it finds the
// lock free when it gives it back. So these must all be true:
//
//   - At every look, a few milliseconds apart, the lock was taken and neither
//     first, last nor the generation had moved, for recoverAfter (DefaultRecovery).
//     A party holds the lock for microseconds and does nothing meanwhile that
//     waits, apart from page faults and being preempted by the host.
//   - No thread of a process that has the file mapped can be in those
//     microseconds (Linux): each one either sleeps, which it does not do with
//     the lock held, or has run long enough since the lock got stuck to have
//     given it back many times over. A process stopped by SIGSTOP or by a
//     debugger, one waiting for a page from the disk and one that the host does
//     not let run are waited for, however long it takes. Processes of
//     other users whose maps are hidden count as absent: they can write to
//     the file only if its mode was changed, or as root.
//   - Where the threads cannot be seen, the lock must stand still for
//     blindFactor times as long.
//   - We have the host's flock(2) of the file, which ends with its holder, so
//     that not two parties break the lock: each looks again once it has it.
//
// What the dead party was doing is not known, and the newest packet may be half
// written. So the ring is started anew under the lock, with a generation that
// makes everybody go to its beginning; the frames that were not read yet are
// lost, as on any Ethernet. Then the lock is given free. Real kernels notice no
// more than that they fell behind.

const (
	watchInterval = 2 * time.Millisecond
	blindFactor   = 6
)

// suspicion is what the watcher knows of a stuck lock.
type suspicion struct {
	since    time.Time
	suspects []string
}

// sight is one look at the header.
type sight struct {
	lock uint32
	pos  position
}

// watchLock starts a watcher unless there is one. The caller has the mapping
// pinned.
func (b *Bus) watchLock() {
	if b.recoverAfter <= 0 || !b.watching.CompareAndSwap(false, true) {
		return
	}
	b.watchers.Add(1)
	go func() {
		defer b.watchers.Done()
		defer b.watching.Store(false)
		defer b.suspicion.Store(nil)
		b.watchUntilFree()
	}()
}

// guardLock sets the watcher on a lock that is taken just now. A receiver does
// this while nothing happens, for the sake of real kernels that may be waiting
// for the lock.
func (b *Bus) guardLock() {
	b.pinned(func() error {
		if atomic.LoadUint32(b.ring.lockWord()) != lockFree {
			b.watchLock()
		}
		return nil
	})
}

func (b *Bus) watchUntilFree() {
	ticker := time.NewTicker(watchInterval)
	defer ticker.Stop()
	var (
		since   time.Time // of the first look with the present outcome
		stuck   sight
		before  census // of the threads, from about the middle
		haveOld bool
		due     time.Time
	)
	for {
		var now sight
		err := b.pinned(func() error { now = b.look(); return nil })
		if err != nil || now.lock == lockFree {
			return
		}
		switch at := time.Now(); {
		case since.IsZero() || now != stuck:
			since, stuck, haveOld = at, now, false
			due = at.Add(b.recoverAfter / 2)
			b.suspicion.Store(&suspicion{since: since})
		case at.Before(due):
		case !haveOld:
			before, haveOld = takeCensus(b.base), true
			due = since.Add(b.recoverAfter)
			if before == nil {
				due = since.Add(blindFactor * b.recoverAfter)
			}
		default:
			after := takeCensus(b.base)
			suspects := after.suspects(before)
			b.suspicion.Store(&suspicion{since: since, suspects: suspects})
			if (after != nil) == (before != nil) && len(suspects) == 0 && b.breakLock(stuck) {
				return
			}
			before, due = after, at.Add(b.recoverAfter/2)
		}
		select {
		case <-ticker.C:
		case <-b.done:
			return
		}
	}
}

func (b *Bus) look() sight {
	return sight{lock: atomic.LoadUint32(b.ring.lockWord()), pos: b.ring.peek()}
}

// breakLock takes over a lock that is still as it was seen, empties the ring
// and frees the lock.
func (b *Bus) breakLock(stuck sight) (done bool) {
	fd := int(b.file.Fd())
	err := b.pinned(func() error {
		if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
			return err
		}
		defer unix.Flock(fd, unix.LOCK_UN)
		if b.look() != stuck {
			return nil
		}
		if b.ring.magic() != Magic {
			return b.fail(ErrGone)
		}
		b.ring.reset()
		// This is a swap because a lock word of garbage lets real
		// kernels through, and one of them may have freed it.
		done = atomic.SwapUint32(b.ring.lockWord(), lockFree) != lockFree
		return nil
	})
	if done {
		b.stats.lockRecoveries.Add(1)
		b.wakeAll()
	}
	return done && err == nil
}

// lockError says that the lock is not to be had, and what is known about that.
func (b *Bus) lockError() error {
	e := new(LockError)
	if s := b.suspicion.Load(); s != nil {
		e.Held, e.Suspects = time.Since(s.since), s.suspects
	}
	return e
}
