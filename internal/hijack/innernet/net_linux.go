package innernet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/innernet/factory"
	"rumptools/internal/hijack/ownthread"
	"rumptools/internal/label"
	"rumptools/internal/slack"
)

// Net is such a network. Its methods may be called concurrently.
type Net struct {
	make   maker
	end    func()
	raw    int
	prober int // has no peer, and so no errors
	diag   *os.File
	serial atomic.Uint32
	// overrun is called when the host could not tell of the ends of some sockets.
	overrun func()

	reading sync.Mutex // held while what diag has told is acted on
	mu      sync.Mutex
	gone    map[uint64]func() // by cookies
	closed  bool

	roles     sync.Once // guards rolesLast
	rolesLast bool
}

// New makes a network. It fails where nobody may have one. overrun is called when the host could not tell of the ends of
// some sockets.
func New(overrun func()) (*Net, error) { return newNet(overrun, startThread, startProcess) }

// maker makes sockets, until it is ended.
type maker = func(factory.Kind) (int, error)

// starter begins with that.
type starter = func() (mk maker, end func(), err error)

// newNet is New by the first of starters that is permitted.
func newNet(overrun func(), starters ...starter) (_ *Net, err error) {
	n := &Net{gone: make(map[uint64]func()), raw: -1, prober: -1, overrun: overrun}
	for _, start := range starters {
		if n.make, n.end, err = start(); !errors.Is(err, unix.EPERM) {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	diag := -1
	if n.raw, err = n.make(factory.Raw); err == nil {
		if n.prober, err = n.Socket(); err == nil {
			diag, err = n.make(factory.Diag)
		}
	}
	if err != nil {
		for _, fd := range []int{n.raw, n.prober} {
			if fd >= 0 {
				unix.Close(fd)
			}
		}
		n.end()
		return nil, err
	}
	n.diag = os.NewFile(uintptr(diag), "sock_diag")
	go n.listen()
	return n, nil
}

// Close ends it. What is in it stays as long as somebody has it.
func (n *Net) Close() {
	n.mu.Lock()
	was := n.closed
	n.closed = true
	n.mu.Unlock()
	if was {
		return
	}
	n.end()
	// This waits for who acts on what the host has told.
	n.diag.Close()
	unix.Close(n.raw)
	unix.Close(n.prober)
}

// startThread has a thread of this process make the sockets, in a network namespace of its own. Nothing else runs on it,
// and it makes no other threads.
func startThread() (mk maker, end func(), err error) {
	type made struct {
		fd  int
		err error
	}
	kinds, results := make(chan factory.Kind), make(chan made)
	ownthread.Go(func() {
		err := os.NewSyscallError("unshare", unix.Unshare(unix.CLONE_NEWNET))
		if err == nil {
			if errno := factory.Up(); errno != 0 {
				err = os.NewSyscallError("ioctl", errno)
			}
		}
		results <- made{err: err}
		for kind := range kinds {
			m := made{}
			var errno syscall.Errno
			if m.fd, errno = factory.Make(kind); errno != 0 {
				m.err = os.NewSyscallError("socket", errno)
			}
			results <- m
		}
	})
	mk, end = oneByOne(func(kind factory.Kind) (int, error) {
		kinds <- kind
		m := <-results
		return m.fd, m.err
	}, func() { close(kinds) })
	if first := <-results; first.err != nil {
		end()
		return nil, nil, first.err
	}
	return mk, end, nil
}

// oneByOne has sockets made one after the other, and none once it has ended.
func oneByOne(mk maker, end func()) (maker, func()) {
	var mu sync.Mutex
	ended := false
	return func(kind factory.Kind) (int, error) {
			mu.Lock()
			defer mu.Unlock()
			if ended {
				return -1, os.ErrClosed
			}
			return mk(kind)
		}, func() {
			mu.Lock()
			defer mu.Unlock()
			if !ended {
				ended = true
				end()
			}
		}
}

// answerTime is how long a factory may take to answer.
const answerTime = 10 * time.Second

// startProcess has a process make the sockets, in a network namespace that is a user namespace's.
func startProcess() (mk maker, end func(), err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "factory"), os.NewFile(uintptr(pair[1]), "factory")
	defer theirs.Close()
	tv := unix.NsecToTimeval(int64(answerTime))
	unix.SetsockoptTimeval(pair[0], unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv)
	cmd := exec.Command(self)
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.Env = append(os.Environ(), factory.Env+"=3")
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: os.Geteuid(), HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: os.Getegid(), HostID: os.Getegid(), Size: 1}},
		AmbientCaps: []uintptr{unix.CAP_NET_ADMIN, unix.CAP_NET_RAW},
	}
	if err := slack.Start(cmd); err != nil {
		ours.Close()
		return nil, nil, err
	}
	// Whoever reaps this process's children reaps it.
	cmd.Process.Release()
	mk, end = oneByOne(func(kind factory.Kind) (int, error) { return askFor(pair[0], kind) }, func() { ours.Close() })
	return mk, end, nil
}

// askFor asks a factory's process for a socket.
func askFor(fd int, kind factory.Kind) (int, error) {
	if _, err := unix.SendmsgN(fd, []byte{byte(kind)}, nil, nil, unix.MSG_NOSIGNAL); err != nil {
		return -1, os.NewSyscallError("sendmsg", err)
	}
	b, oob := make([]byte, 4), make([]byte, unix.CmsgSpace(4))
	for {
		n, oobn, _, _, err := unix.Recvmsg(fd, b, oob, unix.MSG_CMSG_CLOEXEC)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return -1, os.NewSyscallError("recvmsg", err)
		case n == 4:
			return -1, os.NewSyscallError("socket", syscall.Errno(binary.NativeEndian.Uint32(b)))
		case n == 0:
			return -1, fmt.Errorf("the process that makes sockets has ended: %w", unix.EPERM)
		}
		messages, err := unix.ParseSocketControlMessage(oob[:oobn])
		if err != nil || len(messages) != 1 {
			return -1, os.NewSyscallError("recvmsg", unix.EPROTO)
		}
		files, err := unix.ParseUnixRights(&messages[0])
		if err != nil || len(files) != 1 {
			return -1, os.NewSyscallError("recvmsg", unix.EPROTO)
		}
		return files[0], nil
	}
}

// Socket makes a program's socket. It has an address, for the host would give it another when it sends, and tells the labels
// of datagrams.
func (n *Net) Socket() (fd int, err error) {
	if fd, err = n.make(factory.UDP); err != nil {
		return -1, err
	}
	if err = n.bind(fd, programPort); err == nil {
		err = label.Ask(fd)
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// The ports of programs' sockets and of their Ks. A port that was not asked for would go with the end of a connection.
const (
	programPort = 1025
	keptPort    = 1026
)

// Keep makes a K, with an address of its own, for a program's socket. There may be several.
func (n *Net) Keep(s int) (k int, err error) {
	if k, err = n.make(factory.Kept); err != nil {
		return -1, err
	}
	if err = n.bind(k, keptPort); err == nil {
		var name unix.Sockaddr
		if name, err = unix.Getsockname(s); err == nil {
			err = unix.Connect(k, name)
		}
		err = os.NewSyscallError("connect", err)
	}
	if err != nil {
		unix.Close(k)
		return -1, err
	}
	return k, nil
}

// bindTries is how many addresses are tried: after 2^24 the old ones come again.
const bindTries = 1000

// bind gives a socket an address that no other has.
func (n *Net) bind(fd, port int) (err error) {
	for range bindTries {
		serial := n.serial.Add(1)
		addr := unix.SockaddrInet4{Port: port, Addr: [4]byte{127, byte(serial >> 16), byte(serial >> 8), byte(serial)}}
		err = unix.Bind(fd, &addr)
		// 127.0.0.0 and 127.255.255.255 are the network's and the broadcast.
		if err != unix.EADDRINUSE && err != unix.EADDRNOTAVAIL && err != unix.EACCES {
			break
		}
	}
	return os.NewSyscallError("bind", err)
}

// Connect connects s to its K: what the program sends without an address comes to K then.
func Connect(s, k int) error {
	name, err := unix.Getsockname(k)
	if err != nil {
		return os.NewSyscallError("getsockname", err)
	}
	return os.NewSyscallError("connect", unix.Connect(s, name))
}

// WhenGone has gone called when the last descriptor of the socket with a cookie (SO_COOKIE) is closed.
func (n *Net) WhenGone(cookie uint64, gone func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.gone[cookie] = gone
}

// listen learns of the ends of sockets.
func (n *Net) listen() {
	raw, err := n.diag.SyscallConn()
	if err != nil {
		return
	}
	raw.Read(func(fd uintptr) bool {
		n.read(int(fd))
		return false
	})
}

// CatchUp acts on what has been closed up to now: the host has told of it by then, but perhaps nobody has listened yet.
func (n *Net) CatchUp() {
	if raw, err := n.diag.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) { n.read(int(fd)) })
	}
}

// read acts on all that the host has to tell now.
func (n *Net) read(fd int) {
	n.reading.Lock()
	defer n.reading.Unlock()
	b := make([]byte, 4096)
	for {
		m, _, err := unix.Recvfrom(fd, b, unix.MSG_DONTWAIT)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.ENOBUFS:
			n.overrun()
			continue
		case err != nil || m == 0:
			return
		}
		for _, cookie := range endedCookies(b[:m]) {
			n.mu.Lock()
			gone := n.gone[cookie]
			delete(n.gone, cookie)
			n.mu.Unlock()
			if gone != nil {
				gone()
			}
		}
	}
}

// From linux/inet_diag.h.
const (
	sizeofInetDiagMsg = 72
	diagCookieAt      = 44 // of id.idiag_cookie in struct inet_diag_msg
)

// endedCookies are the cookies of the sockets of which a datagram of sock_diag(7) tells.
func endedCookies(b []byte) (cookies []uint64) {
	native := binary.NativeEndian
	for len(b) >= unix.SizeofNlMsghdr {
		n := int(native.Uint32(b))
		if n < unix.SizeofNlMsghdr || n > len(b) {
			return cookies
		}
		if body := b[unix.SizeofNlMsghdr:n]; len(body) >= sizeofInetDiagMsg {
			at := body[diagCookieAt:]
			cookies = append(cookies, uint64(native.Uint32(at))|uint64(native.Uint32(at[4:]))<<32)
		}
		b = b[min((n+3)&^3, len(b)):]
	}
	return cookies
}
