//go:build amd64 || arm64

package hijack

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/linuxsock"
)

// A netlink socket is one end of a pair of the host's; what comes out of the other end
// is answered there, from what the rump kernel says.

// netlinkSocket is what a socket of AF_NETLINK has besides.
type netlinkSocket struct {
	protocol int
	portID   uint32
	requests chan netlinkRequest
	over     chan struct{} // closed when programs have closed the socket

	mu     sync.Mutex
	groups uint32
	events context.CancelFunc // ends the watching of groups
	named  bool
	values map[int]int32 // options of SOL_NETLINK
}

// netlinkRequest is a datagram of a program's.
type netlinkRequest struct {
	msg []byte
	// answered is closed when the program can read the answer, or as much as there is room for.
	answered chan struct{}
}

// sizeofSockaddrNl is sizeof(struct sockaddr_nl).
const sizeofSockaddrNl = 12

// netlinkIDs are port IDs that no process has.
var netlinkIDs atomic.Uint32

// netlinkPort is the address of a netlink socket.
type netlinkPort struct {
	protocol int
	id       uint32
}

// netlinkPorts has the sockets by those addresses that are a process's ID, or were asked for.
var netlinkPorts sync.Map // of *netlinkSocket by netlinkPort

// name gives the socket an address when it has none: on Linux that is the process's ID, as the process knows it, if no
// other socket has it. Programs check that answers are for it (bubblewrap).
func (nl *netlinkSocket) name(tid uint32) {
	nl.mu.Lock()
	defer nl.mu.Unlock()
	if nl.named {
		return
	}
	nl.named = true
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", tid))
	if err != nil {
		return
	}
	// One for each namespace, the process's own at last.
	ids := statusField(b, "NStgid:")
	id, err := strconv.ParseUint(string(ids[bytes.LastIndexByte(ids, '\t')+1:]), 10, 31)
	if err != nil || id == 0 {
		return
	}
	if _, taken := netlinkPorts.LoadOrStore(netlinkPort{nl.protocol, uint32(id)}, nl); !taken {
		nl.portID = uint32(id)
	}
}

// bind gives the socket the address that is asked for, 0 for any. Programs try others when it is another's (libnl).
func (nl *netlinkSocket) bind(id uint32) unix.Errno {
	nl.mu.Lock()
	defer nl.mu.Unlock()
	switch {
	case nl.named && id != nl.portID:
		return unix.EINVAL
	case nl.named || id == 0:
		return 0
	}
	if _, taken := netlinkPorts.LoadOrStore(netlinkPort{nl.protocol, id}, nl); taken {
		return unix.EADDRINUSE
	}
	nl.portID, nl.named = id, true
	return 0
}

// unbind leaves the address to others.
func (nl *netlinkSocket) unbind() {
	nl.mu.Lock()
	defer nl.mu.Unlock()
	netlinkPorts.CompareAndDelete(netlinkPort{nl.protocol, nl.portID}, nl)
}

// socketNetlink is socket(2) of AF_NETLINK.
func (t *trap) socketNetlink(typ, protocol, flags int) {
	switch {
	case typ != unix.SOCK_RAW && typ != unix.SOCK_DGRAM:
		t.fail(unix.ESOCKTNOSUPPORT)
		return
	case protocol != unix.NETLINK_ROUTE && protocol != unix.NETLINK_SOCK_DIAG:
		t.s.say("%d: socket(AF_NETLINK, %d, %d): refused", t.TID, typ, protocol)
		t.fail(unix.EPROTONOSUPPORT)
		return
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.fail(errnoOf(err))
		return
	}
	defer unix.Close(pair[0])
	if flags&unix.SOCK_NONBLOCK != 0 {
		unix.SetNonblock(pair[0], true)
	}
	unix.SetNonblock(pair[1], true)
	x, e := t.s.newSocket(pair[0], &linuxsock.Socket{Domain: unix.AF_NETLINK, Type: typ, Protocol: protocol}, newLocal)
	if e != 0 {
		unix.Close(pair[1])
		t.fail(e)
		return
	}
	x.nl = &netlinkSocket{
		protocol: protocol, portID: 1<<31 | netlinkIDs.Add(1), values: make(map[int]int32),
		requests: make(chan netlinkRequest, 64), over: make(chan struct{}),
	}
	k, err := t.s.ends.keep(pair[1], func() {
		x.nl.unbind()
		x.gone()
	})
	if err != nil {
		x.forget()
		t.fail(errnoOf(err))
		return
	}
	x.mu.Lock()
	x.k, x.state = k, connected
	x.mu.Unlock()
	go x.readRequests(k)
	go x.answer(k)
	t.giveFD(pair[0], x, flags&unix.SOCK_CLOEXEC != 0)
}

// readRequests takes requests that programs send without an address, which the host carries out.
func (x *socket) readRequests(k *kept) {
	buf := make([]byte, 64<<10)
	for {
		n, err := k.Read(buf)
		if err != nil || n == 0 {
			break
		}
		x.mu.Lock()
		tid := x.held.tid
		x.mu.Unlock()
		x.nl.name(tid)
		x.nl.requests <- netlinkRequest{bytes.Clone(buf[:n]), make(chan struct{})}
	}
	close(x.nl.over)
	x.nl.unbind()
	x.nl.mu.Lock()
	defer x.nl.mu.Unlock()
	if x.nl.events != nil {
		x.nl.events()
	}
}

// answer answers requests, one after the other.
func (x *socket) answer(k *kept) {
	nl := x.nl
	for {
		var r netlinkRequest
		select {
		case r = <-nl.requests:
		case <-nl.over:
			return
		}
		nl.mu.Lock()
		portID := nl.portID
		nl.mu.Unlock()
		tell := sync.OnceFunc(func() { close(r.answered) })
		for _, b := range x.s.netlink.Request(x.s.ctx, nl.protocol, portID, r.msg) {
			err := error(unix.EBADF)
			k.control(func(fd int) { err = unix.Sendto(fd, b, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, nil) })
			if err == unix.EAGAIN {
				tell()
				_, err = k.Write(b)
			}
			if err != nil {
				break
			}
		}
		tell()
	}
}

// join changes the groups whose events the socket gets.
func (x *socket) join(groups uint32) unix.Errno {
	nl := x.nl
	nl.mu.Lock()
	defer nl.mu.Unlock()
	if groups == nl.groups {
		return 0
	}
	if nl.events != nil {
		nl.events()
		nl.events = nil
	}
	nl.groups = groups
	if groups == 0 || nl.protocol != unix.NETLINK_ROUTE {
		return 0
	}
	ctx, cancel := context.WithCancel(x.s.ctx)
	x.mu.Lock()
	k := x.k
	x.mu.Unlock()
	if k == nil {
		cancel()
		return unix.EBADF
	}
	err := x.s.netlink.Watch(ctx, groups, func(b []byte) {
		// It must not wait: who does not read loses events, as on the host.
		k.control(func(fd int) { unix.Sendto(fd, b, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, nil) })
	})
	if err != nil {
		cancel()
		return linuxsock.Errno(err)
	}
	nl.events = cancel
	return 0
}

// sockaddrNl is a struct sockaddr_nl.
func sockaddrNl(portID, groups uint32) []byte {
	b := native.AppendUint16(nil, unix.AF_NETLINK)
	b = append(b, 0, 0)
	b = native.AppendUint32(b, portID)
	return native.AppendUint32(b, groups)
}

// bindNetlink is bind(2).
func (t *trap) bindNetlink() {
	x := t.sock
	sa, e := t.sockaddr(t.Args[1], uint32(t.Args[2]))
	switch {
	case e != 0:
	case len(sa) < sizeofSockaddrNl || native.Uint16(sa) != unix.AF_NETLINK:
		e = unix.EINVAL
	default:
		if e = x.nl.bind(native.Uint32(sa[4:])); e == unix.EADDRINUSE {
			// A program may have closed the other one just now.
			t.s.ends.catchUpAll()
			e = x.nl.bind(native.Uint32(sa[4:]))
		}
		if e != 0 {
			break
		}
		x.nl.name(t.TID)
		e = x.join(native.Uint32(sa[8:]))
	}
	t.done(0, e)
}

// nameNetlink is getsockname(2) and getpeername(2).
func (t *trap) nameNetlink() {
	nl := t.sock.nl
	sa := sockaddrNl(0, 0)
	if int(t.Nr) == unix.SYS_GETSOCKNAME {
		nl.mu.Lock()
		sa = sockaddrNl(nl.portID, nl.groups)
		nl.mu.Unlock()
	}
	t.done(0, t.putSockaddr(t.Args[1], t.Args[2], sa))
}

// setsockoptNetlink is setsockopt(2).
func (t *trap) setsockoptNetlink() {
	x := t.sock
	level, name := t.arg(1), t.arg(2)
	if level == unix.SOL_SOCKET {
		t.native() // sizes and times of the pair
		return
	}
	var b [4]byte
	if level != unix.SOL_NETLINK || uint32(t.Args[4]) < 4 {
		t.fail(unix.ENOPROTOOPT)
		return
	}
	if e := t.read(t.Args[3], b[:]); e != 0 {
		t.fail(e)
		return
	}
	v := native.Uint32(b[:])
	switch name {
	case unix.NETLINK_ADD_MEMBERSHIP, unix.NETLINK_DROP_MEMBERSHIP:
		if v == 0 || v > 32 {
			// Groups of which nothing ever comes.
			t.done(0, 0)
			return
		}
		x.nl.mu.Lock()
		groups := x.nl.groups
		x.nl.mu.Unlock()
		if name == unix.NETLINK_ADD_MEMBERSHIP {
			groups |= 1 << (v - 1)
		} else {
			groups &^= 1 << (v - 1)
		}
		t.done(0, x.join(groups))
	case unix.NETLINK_PKTINFO, unix.NETLINK_BROADCAST_ERROR, unix.NETLINK_NO_ENOBUFS, unix.NETLINK_CAP_ACK,
		unix.NETLINK_EXT_ACK, unix.NETLINK_GET_STRICT_CHK:
		x.nl.mu.Lock()
		x.nl.values[name] = int32(v)
		x.nl.mu.Unlock()
		t.done(0, 0)
	default:
		t.fail(unix.ENOPROTOOPT)
	}
}

// getsockoptNetlink is getsockopt(2).
func (t *trap) getsockoptNetlink() {
	x := t.sock
	level, name := t.arg(1), t.arg(2)
	var v int32
	switch {
	case level == unix.SOL_SOCKET && name == unix.SO_DOMAIN:
		v = unix.AF_NETLINK
	case level == unix.SOL_SOCKET && name == unix.SO_PROTOCOL:
		v = int32(x.nl.protocol)
	case level == unix.SOL_SOCKET && name == unix.SO_TYPE:
		v = int32(x.opts.Type)
	case level == unix.SOL_SOCKET:
		t.native()
		return
	case level == unix.SOL_NETLINK:
		x.nl.mu.Lock()
		v = x.nl.values[name]
		x.nl.mu.Unlock()
	default:
		t.fail(unix.ENOPROTOOPT)
		return
	}
	var b [4]byte
	if e := t.read(t.Args[4], b[:]); e != 0 {
		t.fail(e)
		return
	}
	value := native.AppendUint32(nil, uint32(v))
	if n := int32(native.Uint32(b[:])); n < 4 {
		value = value[:max(n, 0)]
	}
	t.done(0, t.putOption(value))
}

// netlinkTime is how long a call that sends a request waits for the answer. Few take longer: a new address, which can
// be used only seconds later.
const netlinkTime = 100 * time.Millisecond

// sendNetlink sends a request; its address is that of the kernel, whatever it is. When the call returns the answer is there,
// as on Linux: there are programs that do not wait for it.
func (t *trap) sendNetlink(m *message, done func(int, unix.Errno)) {
	data, e := t.gather(m, 1<<20)
	if e != 0 {
		done(0, e)
		return
	}
	t.sock.nl.name(t.TID)
	nl, r := t.sock.nl, netlinkRequest{data, make(chan struct{})}
	select {
	case nl.requests <- r:
	default:
		// The program reads no answers.
		done(0, unix.ENOBUFS)
		return
	}
	timer := time.NewTimer(netlinkTime)
	defer timer.Stop()
	select {
	case <-r.answered:
	case <-nl.over:
	case <-timer.C:
	}
	done(len(data), 0)
}

// sendmsgNetlink is sendmsg(2), with an address or without.
func (t *trap) sendmsgNetlink() {
	m, e := t.message(t.Args[1])
	if e != 0 {
		t.fail(e)
		return
	}
	t.send(&m, t.arg(2), t.answer)
}

// handlersNetlink are the calls that are different for netlink sockets.
var handlersNetlink = map[int]func(*trap){
	unix.SYS_BIND:        (*trap).bindNetlink,
	unix.SYS_CONNECT:     func(t *trap) { t.done(0, 0) },
	unix.SYS_LISTEN:      func(t *trap) { t.fail(unix.EOPNOTSUPP) },
	unix.SYS_ACCEPT4:     func(t *trap) { t.fail(unix.EOPNOTSUPP) },
	unix.SYS_GETSOCKNAME: (*trap).nameNetlink,
	unix.SYS_GETPEERNAME: (*trap).nameNetlink,
	unix.SYS_SHUTDOWN:    func(t *trap) { t.fail(unix.EOPNOTSUPP) },
	unix.SYS_SETSOCKOPT:  (*trap).setsockoptNetlink,
	unix.SYS_GETSOCKOPT:  (*trap).getsockoptNetlink,
	unix.SYS_SENDMSG:     (*trap).sendmsgNetlink,
}
