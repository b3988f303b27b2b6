//go:build amd64 || arm64

package hijack

import (
	"encoding/binary"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// ends notices when no program holds a socket any more.
//
// An S that has a peer is simple: K gets EPOLLHUP. One that has none, because it
// listens, is bound only, or is for datagrams, is bound to a path D/s whose directory D
// and whose name in it are removed. As long as S is open its name's dentry is, and that
// keeps D's; when it goes, inotify(7) tells that D is deleted. A second name of the
// same socket, a hard link elsewhere, is the one to connect to.
//
// One that has neither, yet or any more, is in an epoll that nobody waits for: the host
// takes it out when the last descriptor is closed, and now and then what is still in is
// looked up (fdinfo in proc(5)). So are listeners, in another one, because what they have
// accepted has their name, too, and keeps it.
type ends struct {
	s   *supervisor
	ep  waited // of the Ks
	iep int    // of the Ss without a peer
	lep int    // of listeners
	in  *os.File

	reading sync.Mutex // held while what inotify has told is acted on
	hearing sync.Mutex // held while the ends of listeners are
	looking sync.Mutex // held while those are that nothing tells of

	mu     sync.Mutex
	acting map[chan struct{}]bool // hang-ups that are acted on; each is closed when it has been
	next   int32
	peers  map[int32]func()
	watchd map[int32]func() // by inotify's numbers
	idle   map[int32]idle   // by the data in iep
	looks  bool             // somebody looks at those from time to time
	heard  map[int32]heard  // by the data in lep
	hears  bool             // somebody looks at those from time to time
	closed bool
}

// idle is an S without a peer.
type idle struct {
	gone func()
	// told says that something else tells of the end of S, if late.
	told bool
}

// heard is a listener.
type heard struct {
	gone func()
	// busy tells whether there is something that it has accepted.
	busy func() bool
}

func newEnds(s *supervisor) (*ends, error) {
	e := &ends{
		s: s, iep: -1, lep: -1,
		peers: make(map[int32]func()), watchd: make(map[int32]func()), idle: make(map[int32]idle),
		heard: make(map[int32]heard), acting: make(map[chan struct{}]bool),
	}
	var err error
	if e.ep, err = newWaited(); err != nil {
		return nil, err
	}
	for _, ep := range []*int{&e.iep, &e.lep} {
		if *ep, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
			e.closeEpolls()
			e.ep.close()
			return nil, os.NewSyscallError("epoll_create1", err)
		}
	}
	in, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		e.closeEpolls()
		e.ep.close()
		return nil, os.NewSyscallError("inotify_init1", err)
	}
	e.in = os.NewFile(uintptr(in), "inotify")
	go e.poll()
	go e.notes()
	return e, nil
}

func (e *ends) close() {
	e.mu.Lock()
	e.closed = true
	e.closeEpolls()
	e.ep.wake()
	e.mu.Unlock()
	// This waits for who acts on what inotify has told.
	e.in.Close()
}

// closeEpolls closes those that nobody waits for.
func (e *ends) closeEpolls() {
	for _, ep := range []int{e.iep, e.lep} {
		if ep >= 0 {
			unix.Close(ep)
		}
	}
}

// peer has gone called, once, when the other end of k is closed. The result is for
// forget; k must be forgotten before it is closed.
func (e *ends) peer(k int, gone func()) (id int32, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return 0, os.ErrClosed
	}
	e.next++
	if err := unix.EpollCtl(e.ep.fd, unix.EPOLL_CTL_ADD, k, &unix.EpollEvent{Events: unix.EPOLLET, Fd: e.next}); err != nil {
		return 0, err
	}
	e.peers[e.next] = gone
	return e.next, nil
}

func (e *ends) forget(id int32, k int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.peers, id)
	if !e.closed {
		unix.EpollCtl(e.ep.fd, unix.EPOLL_CTL_DEL, k, nil)
	}
}

func (e *ends) poll() {
	for {
		// It takes none, so that who catches up finds them all, taken or not.
		fds := []unix.PollFd{{Fd: int32(e.ep.fd), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, -1); err != nil && err != unix.EINTR {
			return
		}
		if e.over() {
			return
		}
		for _, act := range e.hangUps() {
			go act()
		}
	}
}

// over closes ep when all is, and tells whether it has.
func (e *ends) over() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		e.ep.close()
	}
	return e.closed
}

// hangUps takes the ends of peers that the host has told of, which are to be acted on.
func (e *ends) hangUps() (acts []func()) {
	events := make([]unix.EpollEvent, 64)
	for {
		e.mu.Lock()
		n, err := 0, error(nil)
		if !e.closed {
			n, err = unix.EpollWait(e.ep.fd, events, 0)
		}
		for _, ev := range events[:max(n, 0)] {
			// The host may tell of it more than once.
			gone := e.peers[ev.Fd]
			if ev.Events&unix.EPOLLHUP == 0 || gone == nil {
				continue
			}
			delete(e.peers, ev.Fd)
			done := make(chan struct{})
			e.acting[done] = true
			acts = append(acts, func() {
				gone()
				e.mu.Lock()
				delete(e.acting, done)
				e.mu.Unlock()
				close(done)
			})
		}
		e.mu.Unlock()
		if err != unix.EINTR && n < len(events) {
			return acts
		}
	}
}

// catchUp acts on what has been closed up to now, as far as the host has told of it by then
// and perhaps nobody has listened yet.
func (e *ends) catchUp() {
	e.mu.Lock()
	closed := e.closed
	e.mu.Unlock()
	if closed {
		return
	}
	for _, act := range e.hangUps() {
		act()
	}
	e.hear()
	if n := e.s.inner.net.Load(); n != nil {
		n.CatchUp()
	}
	if raw, err := e.in.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) { e.read(int(fd)) })
	}
}

// catchUpAll acts on all that has been closed up to now. It takes the longer the more
// sockets there are.
func (e *ends) catchUpAll() {
	// What has just been given to programs is to be theirs only.
	e.s.giving.Lock()
	//lint:ignore SA2001 there is nothing to do meanwhile
	e.s.giving.Unlock()
	e.catchUp()
	// What others have taken may not be over yet.
	e.mu.Lock()
	acting := slices.Collect(maps.Keys(e.acting))
	e.mu.Unlock()
	for _, done := range acting {
		<-done
	}
	e.sweep()
	// Nor may what others have been told of meanwhile.
	e.catchUp()
}

// lookEach is how often sockets are looked at of whose end nothing tells.
const lookEach = 2 * time.Second

// watch has iep know of S until its last descriptor is closed. The result is for
// track, or 0.
func (e *ends) watch(host int) (id int32) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.next++
	if e.closed || unix.EpollCtl(e.iep, unix.EPOLL_CTL_ADD, host, &unix.EpollEvent{Events: unix.EPOLLET, Fd: e.next}) != nil {
		return 0
	}
	return e.next
}

// track has gone called some time after the last descriptor of S is closed, unless
// untrack is called before.
func (e *ends) track(id int32, gone func()) { e.trackIdle(id, idle{gone: gone}) }

// trackTold is track for an S of whose end something else tells, which is looked at only
// by catchUpAll, until untold is called.
func (e *ends) trackTold(id int32, gone func()) { e.trackIdle(id, idle{gone: gone, told: true}) }

func (e *ends) trackIdle(id int32, i idle) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed || id == 0 {
		return
	}
	e.idle[id] = i
	if !i.told {
		e.lookLater()
	}
}

// untold has an S be looked at of whose end something else was to tell.
func (e *ends) untold(id int32) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if i, ok := e.idle[id]; ok && !e.closed {
		i.told = false
		e.idle[id] = i
		e.lookLater()
	}
}

// lookLater is called with mu held.
func (e *ends) lookLater() {
	if e.looks {
		return
	}
	e.looks = true
	time.AfterFunc(lookEach, func() {
		e.mu.Lock()
		e.looks = false
		e.mu.Unlock()
		if e.sweep() {
			e.mu.Lock()
			defer e.mu.Unlock()
			e.lookLater()
		}
	})
}

func (e *ends) untrack(id int32) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.idle, id)
}

// sweep finds the sockets that are gone, and tells whether there are others of which
// nothing else tells.
func (e *ends) sweep() (untold bool) {
	e.looking.Lock()
	defer e.looking.Unlock()
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return false
	}
	var gone []func()
	there, ok := present(e.iep)
	for id, i := range e.idle {
		switch {
		case ok && !there[id]:
			gone = append(gone, i.gone)
			delete(e.idle, id)
		case !i.told:
			untold = true
		}
	}
	e.mu.Unlock()
	for _, f := range gone {
		f()
	}
	return untold
}

// present are the data of what is in an epoll of this process.
func present(ep int) (there map[int32]bool, ok bool) {
	has, err := readEpoll("self", ep)
	if err != nil {
		return nil, false
	}
	there = make(map[int32]bool, len(has))
	for _, in := range has {
		there[in.event.Fd] = true
	}
	return there, true
}

// hearEach is how often listeners are looked at as long as one has connections.
const hearEach = 50 * time.Millisecond

// listener has gone called soon after the last descriptor of L is closed.
func (e *ends) listener(l int, h heard) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.next++
	if e.closed || unix.EpollCtl(e.lep, unix.EPOLL_CTL_ADD, l, &unix.EpollEvent{Events: unix.EPOLLET, Fd: e.next}) != nil {
		return
	}
	e.heard[e.next] = h
}

// accepted says that a listener has a connection: it may end without that being told.
func (e *ends) accepted() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.hears && !e.closed {
		e.hears = true
		time.AfterFunc(hearEach, func() {
			e.mu.Lock()
			e.hears = false
			e.mu.Unlock()
			if e.hear() {
				e.accepted()
			}
		})
	}
}

// hear finds the listeners that are gone, and tells whether one of the others has
// connections.
func (e *ends) hear() (busy bool) {
	// Who catches up waits for another who has found the same.
	e.hearing.Lock()
	defer e.hearing.Unlock()
	e.mu.Lock()
	if e.closed || len(e.heard) == 0 {
		e.mu.Unlock()
		return false
	}
	var gone []func()
	there, ok := present(e.lep)
	for id, h := range e.heard {
		if ok && !there[id] {
			gone = append(gone, h.gone)
			delete(e.heard, id)
		} else if h.busy() {
			busy = true
		}
	}
	e.mu.Unlock()
	for _, f := range gone {
		f()
	}
	return busy
}

// bind gives S, which has no name yet, one, and has gone called when the last
// descriptor of S is closed. The result is the path at which others reach S.
func (e *ends) bind(host int, gone func()) (path string, err error) {
	path = e.s.newPath()
	dir := path + "d"
	if err := unix.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	name := dir + "/s"
	undo := func() {
		unix.Unlink(name)
		unix.Unlink(path)
		unix.Rmdir(dir)
	}
	if err := unix.Bind(host, &unix.SockaddrUnix{Name: name}); err != nil {
		undo()
		return "", err
	}
	if err := unix.Link(name, path); err != nil {
		undo()
		return "", err
	}
	e.mu.Lock()
	raw, err := e.in.SyscallConn()
	wd := -1
	if err == nil {
		err2 := raw.Control(func(fd uintptr) { wd, err = unix.InotifyAddWatch(int(fd), dir, unix.IN_DELETE_SELF|unix.IN_ONLYDIR) })
		if err == nil {
			err = err2
		}
	}
	if err == nil {
		e.watchd[int32(wd)] = func() {
			unix.Unlink(path)
			gone()
		}
	}
	e.mu.Unlock()
	if err != nil {
		undo()
		return "", err
	}
	unix.Unlink(name)
	if err := unix.Rmdir(dir); err != nil {
		return "", err
	}
	return path, nil
}

// notes reads what inotify has to tell.
func (e *ends) notes() {
	raw, err := e.in.SyscallConn()
	if err != nil {
		return
	}
	raw.Read(func(fd uintptr) bool {
		e.read(int(fd))
		return false
	})
}

// read acts on all that inotify has to tell now.
func (e *ends) read(fd int) {
	e.reading.Lock()
	defer e.reading.Unlock()
	b := make([]byte, 16<<10)
	for {
		n, err := unix.Read(fd, b)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n <= 0 {
			return
		}
		for rest := b[:n]; len(rest) >= unix.SizeofInotifyEvent; {
			wd := int32(binary.NativeEndian.Uint32(rest))
			mask := binary.NativeEndian.Uint32(rest[4:])
			length := binary.NativeEndian.Uint32(rest[12:])
			rest = rest[min(unix.SizeofInotifyEvent+int(length), len(rest)):]
			if mask&unix.IN_Q_OVERFLOW != 0 {
				e.overrun(fd)
			}
			if mask&unix.IN_DELETE_SELF == 0 {
				continue
			}
			e.mu.Lock()
			gone := e.watchd[wd]
			delete(e.watchd, wd)
			e.mu.Unlock()
			if gone != nil {
				gone()
			}
		}
	}
}

// overrun finds the ends of which inotify had no room to tell: it watches those directories no longer.
func (e *ends) overrun(inotify int) {
	e.mu.Lock()
	var gone []func()
	if there, err := readWatches(inotify); err == nil {
		for wd, f := range e.watchd {
			if !there[wd] {
				gone = append(gone, f)
				delete(e.watchd, wd)
			}
		}
	}
	e.mu.Unlock()
	for _, f := range gone {
		f()
	}
}
