//go:build amd64 || arm64

package hijack

import (
	"errors"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/innernet"
	"rumptools/internal/hijack/linuxsock"
	"rumptools/internal/label"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
)

// A UDP socket is one of the host's, where there may be a network namespace for it: what the host says of it, and does
// with it, is what UDP says and does. K is its counterpart in that network as soon as it receives, connected or not;
// to connect S only connects it to K. From whom a datagram comes is told by its label.
// Elsewhere, and for raw sockets, S is a local socket (local).

// innerNet is the supervisor's network namespace, which the first UDP socket makes.
type innerNet struct {
	once sync.Once
	net  atomic.Pointer[innernet.Net] // nil before, and where there may be none
}

// innerNet gives the network, or nil.
func (s *supervisor) innerNet() *innernet.Net {
	s.inner.once.Do(func() {
		n, err := innernet.New(s.innerOverrun)
		if err != nil {
			s.say("UDP sockets are local ones, whose errors are not UDP's: %v", err)
			return
		}
		s.inner.net.Store(n)
	})
	return s.inner.net.Load()
}

// closeInner ends the network.
func (s *supervisor) closeInner() {
	if n := s.inner.net.Load(); n != nil {
		n.Close()
	}
}

// innerOverrun has those sockets end soon of whose end nobody was told.
func (s *supervisor) innerOverrun() {
	for _, x := range s.all() {
		if _, ok := x.standIn.(*inner); ok {
			x.s.ends.untold(x.trackedBy())
		}
	}
}

// catchUpAt acts on what has been closed up to now and may have had the port of an address, Linux's. Of sockets of that network
// the host tells a little later.
func (s *supervisor) catchUpAt(sa []byte) {
	if ap, ok := linuxsock.Addr(sa); ok {
		for _, x := range s.all() {
			if _, ok := x.standIn.(*inner); ok && x.localPort() == ap.Port() {
				s.ends.catchUpAll()
				return
			}
		}
	}
	s.ends.catchUp()
}

// inner is an S of that network.
type inner struct {
	x   *socket
	net *innernet.Net

	// With the socket's mu, and once it receives:
	k     *kept
	table int // of labels
	mtu   int // how long a packet to K may be, as far as S has been told
	// labels are this process's, of datagrams that calls carry. deliver has them.
	labels *label.Writer
}

// newInner makes a UDP socket of the host's. What makes it a socket's S is nil where there may be none.
func (s *supervisor) newInner(nonblock bool) (fd int, stand func(*socket) standIn) {
	n := s.innerNet()
	if n == nil {
		return -1, nil
	}
	fd, err := n.Socket()
	if err != nil {
		s.say("%v", err)
		return -1, nil
	}
	if nonblock {
		unix.SetNonblock(fd, true)
	}
	return fd, func(x *socket) standIn { return &inner{x: x, net: n, table: -1} }
}

func (in *inner) track(host int) {
	x := in.x
	x.watch(host)
	gone := sync.OnceFunc(x.gone)
	// The host's kernel tells of it a little later, which is too late for who binds the port, or sends there, at once.
	x.s.ends.trackTold(x.trackedBy(), gone)
	in.net.WhenGone(x.cookie, gone)
}

// named makes K.
func (in *inner) named(host int) unix.Errno {
	x := in.x
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case in.k != nil:
		return 0
	case x.state == ended:
		return unix.EBADF
	}
	table, err := label.NewTable()
	if err != nil {
		return errnoOf(err)
	}
	k, err := in.net.Keep(host)
	if err != nil {
		unix.Close(table)
		return errnoOf(err)
	}
	in.k, in.table, in.labels = x.s.ends.keepUnwatched(k, func() {}), table, label.NewWriter(table, label.Second)
	return 0
}

func (in *inner) close() {
	in.x.mu.Lock()
	defer in.x.mu.Unlock()
	if in.k != nil {
		in.k.close()
		unix.Close(in.table)
		in.table = -1
	}
}

func (in *inner) asUDP() bool { return true }

func (in *inner) sendingEnd() *kept { return in.k }

func (in *inner) put(data, from, control []byte) error {
	in.x.mu.Lock()
	k, number, err := in.k, 0, error(unix.EBADF)
	if in.table >= 0 {
		number, err = in.labels.Label(from, control)
	}
	in.x.mu.Unlock()
	if err != nil {
		return err
	}
	e := unix.EBADF // if it is closed
	k.control(func(fd int) { e = label.Send(fd, data, number) })
	switch e {
	case 0, unix.EMSGSIZE, unix.ENOBUFS, unix.EAGAIN:
		return nil // it is lost, as datagrams may be
	}
	return e
}

func (in *inner) lend(ks *spclient.NetSocket, k *kept, told func(spclient.LoanEnd)) error {
	x := in.x
	if !x.s.conn.CanLendLabels() {
		return errors.ErrUnsupported
	}
	x.mu.Lock()
	table, err := unix.FcntlInt(uintptr(in.table), unix.F_DUPFD_CLOEXEC, 0)
	x.mu.Unlock()
	if err != nil {
		return err
	}
	defer unix.Close(table)
	err = unix.EBADF // if it is closed
	k.control(func(k int) {
		err = ks.Use(func(fd spclient.FD) error {
			return x.s.conn.LendDatagramsLabelled(x.s.ctx, fd, k, table, told)
		})
	})
	return err
}

// origin reads the label. Of what else the host has to say some may be cut.
func (in *inner) origin(_ unix.Sockaddr, oob []byte, _ int) (addr, control []byte, cut bool) {
	x := in.x
	number, ok := label.Of(oob)
	if !ok {
		return x.noAddr(), nil, false
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	from, control, cut, ok := label.Read(in.table, number)
	if !ok {
		return x.noAddr(), nil, false
	}
	return x.linuxAddr(from), control, cut
}

// tell has S have an error, and its queue of errors one more if it has one.
func (in *inner) tell(e unix.Errno) {
	s, found := in.x.borrow()
	if !found {
		return
	}
	defer unix.Close(s)
	in.fail(s, e)
}

func (in *inner) fail(s int, e unix.Errno) {
	x := in.x
	x.mu.Lock()
	k, remote := in.k, x.remote
	x.mu.Unlock()
	mtu := 0
	if e == unix.EMSGSIZE {
		mtu = in.mtuTo(remote)
		x.mu.Lock()
		in.mtu = mtu
		x.mu.Unlock()
	}
	fail := func(k int) {
		if err := in.net.Fail(s, k, e, mtu); err != nil {
			x.s.say("%v: %v", e, err)
		}
	}
	if k == nil {
		fail(-1)
	} else {
		k.control(fail)
	}
}

func (in *inner) takeError(host int) unix.Errno { return hostError(host) }

// showQueue has the queue of S, with which poll(2) goes, one error more.
func (in *inner) showQueue(host int) {
	in.fail(host, unix.EMSGSIZE)
	hostError(host) // the call tells of it
}

// takeQueued goes by the queue of S, with which poll(2) goes: it has for each error of ours one that fail has made, and those
// of calls that were the host's.
func (in *inner) takeQueued(host int) (entry errorEntry, ok bool) {
	x := in.x
	oob := make([]byte, 256)
	for {
		_, oobn, _, _, err := unix.Recvmsg(host, nil, oob, unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return errorEntry{}, false
		}
		if innernet.IsLocalError(oob[:oobn]) {
			x.mu.Lock()
			peer := x.peer
			x.mu.Unlock()
			return x.tooLong(peer), true
		}
		if entry, ok = x.nextError(); ok {
			return entry, true
		}
		// There were too many for ours.
	}
}

// ipv6More is by how many bytes the header of IPv6 is longer than that of IPv4.
const ipv6More = 20

// mtuTo is how long a packet of IPv4 from S to K may be, so that a datagram in it is as long as one to the peer may be.
func (in *inner) mtuTo(remote []byte) int {
	x := in.x
	mtu := longestPacket
	sa, err := netbsd.ParseSockaddr(x.s.machine, remote)
	if err != nil {
		return mtu
	}
	if m, ok := x.mtuTo(sa.ExtractScope().Addr()); ok && m > 0 {
		mtu = min(mtu, m)
	}
	if x.opts.Domain == unix.AF_INET6 && !sa.Addr().Is4In6() {
		mtu -= ipv6More
	}
	return mtu
}

// leave takes a loan back only where S can have sent something, or K may be another.
func (in *inner) leave() {
	in.x.mu.Lock()
	was, limited := in.x.state == connected, in.mtu != 0
	in.x.mu.Unlock()
	switch {
	case was:
		in.x.sendRest() // which is for the peer before
	case limited:
		in.x.takeBack() // there may be another K
	}
}

// connect only connects S, whose K stays. Nothing is lent that it has sent or can send meanwhile.
func (in *inner) connect(host int, remote []byte) (none *kept, e unix.Errno) {
	x := in.x
	x.mu.Lock()
	k, known := in.k, in.mtu
	x.mu.Unlock()
	if x.refusesTooLong() {
		mtu := in.mtuTo(remote)
		if known != 0 && known < mtu {
			// The host does not unlearn how short the way to this K was.
			fd, err := in.net.Keep(host)
			if err != nil {
				return nil, errnoOf(err)
			}
			old := k
			k = x.s.ends.keepUnwatched(fd, func() {})
			x.mu.Lock()
			in.k = k
			x.mu.Unlock()
			old.close()
		}
		if known != mtu {
			in.limit(k, mtu)
		}
	}
	err := error(unix.EBADF)
	k.control(func(fd int) { err = innernet.Connect(host, fd) })
	return nil, errnoOf(err)
}

// limit has S refuse what is too long for its way to the peer.
func (in *inner) limit(k *kept, mtu int) {
	in.x.mu.Lock()
	in.mtu = mtu
	in.x.mu.Unlock()
	k.control(func(fd int) {
		if err := in.net.Limit(fd, mtu); err != nil {
			in.x.s.say("%v", err)
		}
	})
}

// optionSet acts on IP_RECVERR and IP_MTU_DISCOVER, and leaves S no more room than labels last for.
func (in *inner) optionSet(host, level, name int) {
	x := in.x
	switch {
	case level == unix.SOL_SOCKET && (name == unix.SO_RCVBUF || name == unix.SO_RCVBUFFORCE):
		if v, err := unix.GetsockoptInt(host, unix.SOL_SOCKET, unix.SO_RCVBUF); err == nil && v > 2*label.MaxReceiveBuffer {
			unix.SetsockoptInt(host, unix.SOL_SOCKET, unix.SO_RCVBUF, label.MaxReceiveBuffer)
		}
	case level == unix.SOL_IP && name == unix.IP_RECVERR, level == unix.SOL_IPV6 && name == unix.IPV6_RECVERR:
		if x.queuesErrors() {
			unix.SetsockoptInt(host, unix.IPPROTO_IP, unix.IP_RECVERR, 1)
			return
		}
		// With this the queue is empty.
		unix.SetsockoptInt(host, unix.IPPROTO_IP, unix.IP_RECVERR, 0)
		x.mu.Lock()
		x.errors = nil
		x.mu.Unlock()
	case level == unix.SOL_IP && name == unix.IP_MTU_DISCOVER, level == unix.SOL_IPV6 && (name == unix.IPV6_MTU_DISCOVER || name == unix.IPV6_DONTFRAG):
		if !x.refusesTooLong() {
			unix.SetsockoptInt(host, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_WANT)
			return
		}
		unix.SetsockoptInt(host, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DO)
		x.mu.Lock()
		k, remote := in.k, x.remote
		x.mu.Unlock()
		if k != nil && remote != nil {
			in.limit(k, in.mtuTo(remote))
		}
	}
}
