package kernel

import (
	"sync"
	"sync/atomic"

	"rumptools/pkg/netbsd"
)

// async is a file's SIGIO (O_ASYNC of fcntl(2)): while it is on, the file's owner
// is told of each change. Changes that come before one is told are told as one.
type async struct {
	mu    sync.Mutex
	watch *Watcher // nil while it is off
	told  atomic.Bool
}

// setAsync turns a file's SIGIO on or off.
func (of *OpenFile) setAsync(k *Kernel, on bool) {
	a := &of.async
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case on && a.watch == nil:
		a.watch = &Watcher{Notify: func() {
			if of.owner.Load() <= 0 || !a.told.CompareAndSwap(false, true) {
				return
			}
			// Not here: the file's locks are held, and a client that
			// does not read may keep who writes to it.
			go func() {
				a.told.Store(false)
				k.raise(of.owner.Load(), netbsd.SIGIO)
			}()
		}}
		of.Watch(a.watch)
	case !on && a.watch != nil:
		of.Unwatch(a.watch)
		a.watch = nil
	}
}

// isAsync reports whether SIGIO is on.
func (of *OpenFile) isAsync() bool {
	of.async.mu.Lock()
	defer of.async.mu.Unlock()
	return of.async.watch != nil
}

// raise raises a signal in a process, if there is one and it has a client.
func (k *Kernel) raise(pid int32, sig netbsd.Signal) {
	k.mu.Lock()
	p := k.procs[pid]
	k.mu.Unlock()
	if p == nil {
		return
	}
	if c := p.conn.Load(); c != nil {
		c.raise(uint32(sig), false)
	}
}
