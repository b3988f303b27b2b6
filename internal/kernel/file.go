package kernel

import (
	"sync"

	"rumptools/pkg/netbsd"
)

// Events is a set of the POLL* bits of poll(2).
type Events uint16

// What a change may be about.
const (
	Readable = Events(netbsd.POLLIN | netbsd.POLLRDNORM)  // there may be something to read
	Writable = Events(netbsd.POLLOUT | netbsd.POLLWRNORM) // there may be room to write
	Changed  = ^Events(0)                                 // anything
)

// File is an open object: what a descriptor leads to. Several descriptors of
// several processes may share one (dup, fork, SCM_RIGHTS), so its methods are
// called concurrently.
//
// No method blocks. One that would have to wait fails with netbsd.EAGAIN, and
// the system call layer waits with Watch, for as long as the descriptor's mode,
// the file's timeouts and the call's context allow.
type File interface {
	// Read and Write are read(2) and write(2). Read gives 0 and no error
	// at the end of file. A Write may take a part.
	Read(p []byte) (int, error)
	Write(p []byte) (int, error)
	// Ioctl carries out a device's command. data has the size that cmd
	// names and holds the caller's argument if the command reads it; what
	// Ioctl leaves there is copied to the caller if the command writes
	// it. FIONBIO and FIOASYNC are handled before. Unknown commands give
	// ENOTTY.
	Ioctl(c *Call, cmd uint32, data []byte) error
	// Stat is fstat(2).
	Stat() (netbsd.Stat, error)
	// Poll says what would not block now. POLLHUP, POLLERR and POLLNVAL
	// are given whether asked for or not.
	Poll() Events
	// Pending is the data field of EVFILT_READ and EVFILT_WRITE: bytes
	// (of a listener: connections) to read, and bytes of room to write.
	Pending() (read, write int64)
	// Watch has w notified at each change that may make Poll say more of
	// w.Events, until Unwatch. A notification is a hint: it may come
	// without a change, so the receiver polls again. But kqueue(2)'s EV_CLEAR
	// shows it to programs, so that it should not come for the other
	// direction. Changes from Watch on are notified, so a caller registers
	// first and tries then.
	Watch(w *Watcher)
	Unwatch(w *Watcher)
	// Type is the DTYPE_* of struct file.
	Type() int32
	// Close is called once, when the last descriptor is gone.
	Close() error
}

// Watcher is an interest in a file's changes.
type Watcher struct {
	// Notify is called at a change, maybe under the file's locks: it must
	// neither block nor call the file.
	Notify func()
	// Events are the changes that are of interest; 0 is all of them.
	Events Events
	// State is the file's own, from Watch to Unwatch.
	State any
}

// Watchers is a set of watchers, for files to embed.
type Watchers struct {
	mu  sync.Mutex
	set map[*Watcher]struct{}
}

// Watch implements [File].
func (s *Watchers) Watch(w *Watcher) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.set == nil {
		s.set = make(map[*Watcher]struct{})
	}
	s.set[w] = struct{}{}
}

// Unwatch implements [File].
func (s *Watchers) Unwatch(w *Watcher) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.set, w)
}

// Wake notifies the watchers that one of events is of interest to.
func (s *Watchers) Wake(events Events) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for w := range s.set {
		if w.Events == 0 || w.Events&events != 0 {
			w.Notify()
		}
	}
}
