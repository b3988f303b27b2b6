//go:build amd64 || arm64

package hijack

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/linuxsock"
	"rumptools/internal/hijack/netlink"
	"rumptools/internal/hijack/netview"
	"rumptools/internal/hijack/seccomp"
	"rumptools/internal/owners"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
)

// native is the byte order of the programs.
var native = binary.NativeEndian

// supervisor carries out the calls of the programs under one filter.
type supervisor struct {
	conn    *spclient.Conn
	view    netview.Kernel // conn, for what is looked at as a whole
	machine *netbsd.Machine
	l       *seccomp.Listener
	t       *targets
	// say tells of what is done, when that is wanted.
	say func(format string, args ...any)

	// dir is a directory of this supervisor's own: in it are files for programs of
	// any user, and sockDir, where nobody else can reach sockets.
	dir     string
	dirLock int // the directory, locked
	sockDir string
	serial  atomic.Uint64

	netlink   *netlink.Server
	addresses linuxsock.Addresses

	hub   *hub
	waits *waits
	ends  *ends
	// giving is held, with RLock, while a program may have what it asked for and this process still has copies of its
	// descriptors, which would hide that it closes them.
	giving sync.RWMutex
	ear    icmpEar
	inner  innerNet

	mu      sync.Mutex
	sockets map[uint64]*socket // by SO_COOKIE
	offered map[string]*socket // in the queues of listeners, by the name of K

	pairSysctl pairSysctl

	noReach   atomic.Bool  // the kernel does not know sysproxy.SOReach, nor SODissociate
	carriers  atomic.Int32 // connections whose bytes are carried
	idle      atomic.Int32 // receivers that wait for a call
	busy      atomic.Int32 // receivers that answer one
	receivers sync.WaitGroup

	// standIns are the files that programs find in the place of others, and
	// proc what they find at /proc/net, if that is mounted.
	standIns []place
	proc     *procDir

	listOwners func(ctx context.Context, url string) ([]owners.Socket, error)
	url        string // the kernel's, as listOwners takes it
	knownMu    sync.Mutex
	knownNow   []owners.Socket // what listOwners said
	knownAt    time.Time

	// ctx ends with the supervisor.
	ctx    context.Context
	cancel context.CancelFunc
}

func newSupervisor(conn *spclient.Conn, say func(string, ...any)) (_ *supervisor, err error) {
	s := &supervisor{
		conn: conn, view: netview.Remember(conn), machine: conn.Machine(), say: say, t: newTargets(), sockets: make(map[uint64]*socket),
		offered: make(map[string]*socket),
	}
	s.ear.s = s
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.netlink = netlink.New(s.view, s.ownerOf)
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if s.dir, s.dirLock, err = privateDir(); err != nil {
		return nil, err
	}
	s.sockDir = filepath.Join(s.dir, "s")
	if err = os.Mkdir(s.sockDir, 0o700); err != nil {
		return nil, err
	}
	if s.hub, err = newHub(filepath.Join(s.sockDir, "hub")); err != nil {
		return nil, err
	}
	if s.waits, err = newWaits(s); err != nil {
		return nil, err
	}
	if s.ends, err = newEnds(s); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *supervisor) close() {
	s.cancel()
	if s.l != nil {
		s.l.Close()
	}
	s.mu.Lock()
	for _, sock := range s.sockets {
		sock.drop()
	}
	s.mu.Unlock()
	if s.waits != nil {
		s.waits.close()
	}
	if s.ends != nil {
		s.ends.close()
	}
	if s.hub != nil {
		s.hub.close()
	}
	s.closeInner()
	s.t.close()
	if s.dir != "" {
		// What is still being written into it, or bound, would keep it.
		for range removeTries {
			if os.RemoveAll(s.dir) == nil {
				break
			}
			time.Sleep(time.Millisecond)
		}
		unix.Close(s.dirLock)
	}
}

// removeTries is how often a directory is removed into which others write.
const removeTries = 100

// Whoever receives a call answers it, too: handing it to another thread would take
// longer than most answers. When nobody is left to receive, another one begins; when
// spare ones are enough, one that has answered ends.
const (
	spareReceivers = 4
	maxReceivers   = 256
)

// serve answers calls until no program is left.
func (s *supervisor) serve() {
	s.addReceiver()
	over := make(chan struct{}, 2)
	go func() {
		s.receivers.Wait()
		over <- struct{}{}
	}()
	// Before Linux 6.11 those who receive are not told, and never end.
	go func() {
		s.l.AwaitEnd()
		over <- struct{}{}
	}()
	<-over
	for wait := time.Millisecond; s.busy.Load() > 0; wait = min(2*wait, time.Second) {
		time.Sleep(wait)
	}
}

// deliverTime is how long what programs have sent may take to get into the kernel
// when no program is left.
const deliverTime = time.Minute

// deliver waits until all that programs have sent is the kernel's, which goes on with
// it as after any program's exit.
func (s *supervisor) deliver() {
	for end := time.Now().Add(deliverTime); s.carriers.Load() > 0 && time.Now().Before(end); {
		s.ends.catchUp()
		time.Sleep(time.Millisecond)
	}
}

func (s *supervisor) addReceiver() {
	s.idle.Add(1)
	s.receivers.Go(s.receive)
}

func (s *supervisor) receive() {
	for {
		t := &trap{s: s, host: -1}
		err := s.l.Receive(&t.Call)
		switch {
		case err == nil:
			if busy := s.busy.Add(1); s.idle.Add(-1) == 0 && busy <= maxReceivers {
				s.addReceiver()
			}
			t.dispatch()
			s.busy.Add(-1)
			if s.idle.Add(1) > spareReceivers {
				s.idle.Add(-1)
				return
			}
		case errors.Is(err, unix.ENOENT):
			// The caller has gone, or all have.
			fds := []unix.PollFd{{Fd: int32(s.l.FD()), Events: unix.POLLIN}}
			for {
				_, err := unix.Poll(fds, -1)
				if err != unix.EINTR {
					break
				}
			}
			if fds[0].Revents&unix.POLLHUP != 0 && fds[0].Revents&unix.POLLIN == 0 {
				return
			}
		default:
			return
		}
	}
}

// A trap is a call that is being answered.
type trap struct {
	seccomp.Call
	s    *supervisor
	host int // a copy of the descriptor in question, -1 when there is none
	sock *socket
	// isSocket tells that host is one, be it ours or not.
	isSocket bool
	// short is why there is no copy of a socket of ours, if there is none.
	short unix.Errno
}

func (t *trap) release() {
	if t.host >= 0 {
		unix.Close(t.host)
		t.host = -1
	}
}

// done answers.
func (t *trap) done(val int64, e unix.Errno) {
	t.release()
	if e != 0 {
		t.s.l.Fail(&t.Call, e)
	} else {
		t.s.l.Return(&t.Call, val)
	}
}

func (t *trap) fail(e unix.Errno) { t.done(0, e) }

// native leaves the call to the host's kernel.
func (t *trap) native() {
	t.release()
	t.s.l.Continue(&t.Call)
}

// arg is an argument that is an int in C.
func (t *trap) arg(n int) int { return int(int32(t.Args[n])) }

func (t *trap) read(addr uint64, b []byte) unix.Errno  { return errnoOf(readMemory(t.TID, addr, b)) }
func (t *trap) write(addr uint64, b []byte) unix.Errno { return errnoOf(writeMemory(t.TID, addr, b)) }

// errnoOf is the number of an error of the host's.
func errnoOf(err error) unix.Errno {
	if err == nil {
		return 0
	}
	var e unix.Errno
	if errors.As(err, &e) {
		return e
	}
	return unix.EIO
}

// find takes a copy of the descriptor num of the caller's, and tells whether it is a
// socket that is ours.
func (t *trap) find(num int) bool {
	fd, err := t.s.t.borrow(t.TID, num)
	if err != nil {
		if isShort(err) && t.isOurs(num) {
			t.short = errnoOf(err)
		}
		return false
	}
	t.host = fd
	cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE)
	if err != nil {
		return false
	}
	t.isSocket = true
	t.s.mu.Lock()
	t.sock = t.s.sockets[cookie]
	t.s.mu.Unlock()
	if t.sock == nil {
		return false
	}
	t.sock.seen(t.TID, num)
	return true
}

// isShort tells whether an error says that this process, or the host, has nothing left for one more descriptor.
func isShort(err error) bool {
	return errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) || errors.Is(err, unix.ENOMEM)
}

// isOurs tells whether the descriptor num of the caller's is a socket that is ours, without a copy of it.
func (t *trap) isOurs(num int) bool {
	link, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", t.TID, num))
	if err != nil {
		return false
	}
	for _, x := range t.s.all() {
		x.mu.Lock()
		inode := x.inode
		x.mu.Unlock()
		if socketLink(inode) == link {
			return true
		}
	}
	return false
}

// dispatch answers a call, or parks it.
func (t *trap) dispatch() {
	switch nr := int(t.Nr); {
	case nr == unix.SYS_SOCKET:
		t.socket()
		return
	case nr == unix.SYS_OPENAT || nr == unix.SYS_OPENAT2 || isOpen(nr):
		t.open()
		return
	}
	handler := handlers[int(t.Nr)]
	if handler == nil {
		t.native()
		return
	}
	switch ours := t.find(t.arg(0)); {
	case t.short != 0:
		// What the host would do with S is nothing that a program may see.
		t.fail(t.short)
		return
	case int(t.Nr) == unix.SYS_IOCTL:
		t.ioctl()
		return
	case !ours:
		t.native()
		return
	}
	if t.sock.nl != nil && handlersNetlink[int(t.Nr)] != nil {
		handler = handlersNetlink[int(t.Nr)]
	}
	handler(t)
}

// handlers are the calls on sockets of ours.
var handlers = map[int]func(*trap){
	unix.SYS_BIND:        (*trap).bind,
	unix.SYS_CONNECT:     (*trap).connect,
	unix.SYS_LISTEN:      (*trap).listen,
	unix.SYS_ACCEPT:      (*trap).accept,
	unix.SYS_ACCEPT4:     (*trap).accept,
	unix.SYS_GETSOCKNAME: (*trap).getsockname,
	unix.SYS_GETPEERNAME: (*trap).getpeername,
	unix.SYS_SHUTDOWN:    (*trap).shutdown,
	unix.SYS_SETSOCKOPT:  (*trap).setsockopt,
	unix.SYS_GETSOCKOPT:  (*trap).getsockopt,
	unix.SYS_IOCTL:       (*trap).ioctl,
	unix.SYS_SENDTO:      (*trap).sendto,
	unix.SYS_SENDMSG:     (*trap).sendmsg,
	unix.SYS_SENDMMSG:    (*trap).sendmmsg,
	unix.SYS_RECVFROM:    (*trap).recvfrom,
	unix.SYS_RECVMSG:     (*trap).recvmsg,
	unix.SYS_RECVMMSG:    (*trap).recvmmsg,
}

// sockaddr reads an address argument.
func (t *trap) sockaddr(addr uint64, length uint32) ([]byte, unix.Errno) {
	if length > 128 { // sizeof(struct sockaddr_storage)
		return nil, unix.EINVAL
	}
	sa := make([]byte, length)
	return sa, t.read(addr, sa)
}

// putSockaddr answers with an address: at most as much of it as there is room for, and
// its true length.
func (t *trap) putSockaddr(addr, lengthAddr uint64, sa []byte) unix.Errno {
	var length [4]byte
	if e := t.read(lengthAddr, length[:]); e != 0 {
		return e
	}
	room := int32(native.Uint32(length[:]))
	if room < 0 {
		return unix.EINVAL
	}
	if e := t.write(addr, sa[:min(int(room), len(sa))]); e != 0 {
		return e
	}
	native.PutUint32(length[:], uint32(len(sa)))
	return t.write(lengthAddr, length[:])
}

// localAddr is this host's address that a datagram to a broadcast address or a group was
// for.
func (s *supervisor) localAddr(index uint32, dst netip.Addr) netip.Addr {
	return s.addresses.Local(s.ctx, s.conn, index, dst)
}

// newPath returns a path for a socket.
func (s *supervisor) newPath() string {
	return fmt.Sprintf("%s/%x", s.sockDir, s.serial.Add(1))
}

// describe is an address for people.
func describe(sa []byte) string {
	ap, ok := linuxsock.Addr(sa)
	if !ok {
		return "?"
	}
	return strings.TrimPrefix(ap.String(), "invalid ")
}
