//go:build amd64 || arm64

package hijack

import (
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Calls that wait are parked: the thread sleeps in the host's kernel until it is
// answered, and as it must not be woken between deed and answer, only signals that kill
// reach it. So somebody has to look whether one waits for it, and answer with
// seccomp.Restart then: the kernel delivers the signal, and makes the call again or has
// it fail with EINTR, as the signal's handler says.
const (
	// A thread's signals are looked at after about a tenth of the time that it, or
	// the last to come, has waited, within these bounds: who has waited for a second
	// can wait a moment more.
	lookSoonest = 5 * time.Millisecond
	lookLatest  = 100 * time.Millisecond
	// looksAtOnce bounds how many are looked at: about 300 a second when nothing
	// happens.
	looksAtOnce = 30
	// firstThreadTime is how long a signal is left to a process's first thread, to
	// which the kernel gives those that it takes, mostly.
	firstThreadTime = 100 * time.Millisecond
)

// hostTimeout is how long a call on S may wait: SO_RCVTIMEO or SO_SNDTIMEO, 0 for ever.
func hostTimeout(host, option int) time.Duration {
	tv, err := unix.GetsockoptTimeval(host, unix.SOL_SOCKET, option)
	if err != nil {
		return 0
	}
	return time.Duration(tv.Nano())
}

// polled is what poll(2) says of a descriptor now. A signal, of those that the runtime sends
// itself or of a child's end, is no answer.
func polled(fd int, events int16) int16 {
	fds := []unix.PollFd{{Fd: int32(fd), Events: events}}
	for {
		if _, err := unix.Poll(fds, 0); err != unix.EINTR {
			return fds[0].Revents
		}
	}
}

// waits are the calls that wait for a descriptor of the host's.
type waits struct {
	s  *supervisor
	ep waited

	mu     sync.Mutex
	next   int32
	byID   map[int32]*wait
	ring   []*wait // all, in the order in which they are looked at
	at     int
	looks  bool
	newest time.Time // when the last call came
	closed bool

	traced map[int]traced // by thread; look's
}

// A wait is a call that waits.
type wait struct {
	t      *trap
	id     int32
	fd     int // what it waits for, its own
	status int // its /proc/TID/status, or -1
	timer  *time.Timer

	// pending is since when a signal for the process is seen that the thread can take.
	pending time.Time

	// try is called when fd is ready, by one goroutine at a time, and tells
	// whether the call has been answered.
	try func() bool
	// expire answers when the time is over. Its host is still open.
	expire func(host int)
	// interrupted answers when a signal has come; without it that is the call's
	// error.
	interrupted func(e unix.Errno, host int)

	busy  bool
	again bool
	late  bool // its time is over
	over  bool
}

func newWaits(s *supervisor) (*waits, error) {
	ep, err := newWaited()
	if err != nil {
		return nil, err
	}
	w := &waits{s: s, ep: ep, byID: make(map[int32]*wait), traced: make(map[int]traced)}
	go w.poll()
	return w, nil
}

func (ws *waits) close() {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.closed = true
	ws.ep.wake()
}

// over closes ep when all is, and tells whether it has.
func (ws *waits) over() bool {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.closed {
		ws.ep.close()
	}
	return ws.closed
}

func (ws *waits) poll() {
	events := make([]unix.EpollEvent, 64)
	for {
		n, err := unix.EpollWait(ws.ep.fd, events, -1)
		if err == unix.EINTR {
			continue
		}
		if err != nil || ws.over() {
			return
		}
		for _, ev := range events[:n] {
			ws.mu.Lock()
			w := ws.byID[ev.Fd]
			ws.mu.Unlock()
			if w != nil {
				ws.wake(w)
			}
		}
	}
}

// park has a call wait until its descriptor has one of the events, for at most timeout
// if that is not 0.
func (ws *waits) park(w *wait, events uint32, timeout time.Duration) {
	w.fd, w.t.host = w.t.host, -1
	ws.mu.Lock()
	ws.next++
	w.id = ws.next
	ws.byID[w.id] = w
	ws.ring = append(ws.ring, w)
	w.status = -1
	ws.newest = time.Now()
	if !ws.looks {
		ws.looks = true
		go ws.look()
	}
	if timeout > 0 {
		w.timer = time.AfterFunc(timeout, func() { ws.expire(w) })
	}
	if events != 0 && !ws.closed {
		unix.EpollCtl(ws.ep.fd, unix.EPOLL_CTL_ADD, w.fd, &unix.EpollEvent{Events: events | unix.EPOLLET, Fd: w.id})
	}
	ws.mu.Unlock()
}

// wake tries a call again.
func (ws *waits) wake(w *wait) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if w.over {
		return
	}
	if w.busy {
		w.again = true
		return
	}
	w.busy = true
	go func() {
		for {
			answered := w.try()
			ws.mu.Lock()
			if !answered && w.again && !w.over {
				w.again = false
				ws.mu.Unlock()
				continue
			}
			w.busy = false
			if answered {
				ws.remove(w)
				if w.fd >= 0 {
					unix.Close(w.fd)
				}
			}
			late := w.late
			ws.mu.Unlock()
			if late {
				ws.expire(w)
			}
			return
		}
	}()
}

// expire ends a call whose time is over, or has that done by who is trying it.
func (ws *waits) expire(w *wait) {
	ws.mu.Lock()
	w.late = true
	ws.mu.Unlock()
	if host, ok := ws.end(w); ok {
		w.expire(host)
		unix.Close(host)
	}
}

// remove takes a call out, with the lock held.
func (ws *waits) remove(w *wait) {
	if w.over {
		return
	}
	w.over = true
	delete(ws.byID, w.id)
	for i, x := range ws.ring {
		if x == w {
			ws.ring = append(ws.ring[:i], ws.ring[i+1:]...)
			break
		}
	}
	if w.timer != nil {
		w.timer.Stop()
	}
	if w.status >= 0 {
		unix.Close(w.status)
		w.status = -1
	}
	ws.unwatch(w)
}

// unwatch has nobody be told of what a call waits for any more, with the lock held.
func (ws *waits) unwatch(w *wait) {
	if !ws.closed && w.fd >= 0 {
		// The file is open elsewhere, which would keep it in the epoll.
		unix.EpollCtl(ws.ep.fd, unix.EPOLL_CTL_DEL, w.fd, nil)
	}
}

// letGo closes the copy of what a call waits for, when it is about to be answered by who tries it.
func (ws *waits) letGo(w *wait) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.unwatch(w)
	unix.Close(w.fd)
	w.fd = -1
}

// end takes a call out that is not being tried, and tells whether it was in. The
// descriptor is the caller's to close.
func (ws *waits) end(w *wait) (host int, ok bool) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if w.over || w.busy {
		return -1, false
	}
	ws.remove(w)
	return w.fd, true
}

// abandon takes a call out whose thread has gone.
func (ws *waits) abandon(w *wait) { ws.interrupt(w, unix.EINTR) }

// look watches for signals as long as calls wait.
func (ws *waits) look() {
	buf := make([]byte, 4096)
	for {
		ws.mu.Lock()
		pause := min(max(time.Since(ws.newest)/10, lookSoonest), lookLatest)
		ws.mu.Unlock()
		time.Sleep(pause)
		ws.mu.Lock()
		if len(ws.ring) == 0 || ws.closed {
			ws.looks = false
			ws.mu.Unlock()
			return
		}
		var turn []*wait
		for range min(looksAtOnce, len(ws.ring)) {
			ws.at = (ws.at + 1) % len(ws.ring)
			turn = append(turn, ws.ring[ws.at])
		}
		ws.mu.Unlock()
		seen := round{told: make(map[int]bool), stopped: make(map[int]bool)}
		for _, w := range turn {
			ws.lookAt(w, buf, seen)
		}
	}
}
