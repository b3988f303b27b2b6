//go:build amd64 || arm64

package hijack

import (
	"errors"

	"golang.org/x/sys/unix"

	"rumptools/pkg/spclient"
)

// local is an S that is a local socket. Those of streams and of netlink are, too, and what is about datagrams is not for them.
//
// One for datagrams is bound to a path. What comes from the kernel is sent to that path, by a socket of the host's for
// each sender, whose name leads to the sender's address; so each datagram has its own. Once the program connects S, it
// and K are connected to each other: what the program sends then without an address comes to K.
type local struct {
	x       *socket
	origins origins // with the socket's mu
}

func newLocal(x *socket) standIn { return &local{x: x} }

func (l *local) track(host int) { l.x.track(host) }

// named binds S to a path, but for one of the inner network, which is not for long.
func (l *local) named(host int) unix.Errno {
	x := l.x
	gone := x.whenGone()
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.path != "" || x.condition == speaking {
		return 0
	}
	path, err := x.s.ends.bind(host, gone)
	if err != nil {
		return errnoOf(err)
	}
	x.path = path
	x.untrack()
	return 0
}

func (l *local) close() {
	l.x.mu.Lock()
	defer l.x.mu.Unlock()
	l.origins.close()
}

func (l *local) asUDP() bool { return false }

func (l *local) optionSet(host, level, name int) {}

func (l *local) sendingEnd() *kept { return l.x.k }

func (l *local) leave() { l.x.takeBack() }

// connect connects S to a new K, and K to S.
func (l *local) connect(host int, _ []byte) (k *kept, e unix.Errno) {
	x := l.x
	x.mu.Lock()
	path, again := x.path, x.k != nil
	x.mu.Unlock()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, errnoOf(err)
	}
	name, err := autobind(fd)
	if err == nil && again {
		// While S is connected nobody else may send to it.
		disconnect(host)
	}
	if err == nil {
		err = unix.Connect(fd, &unix.SockaddrUnix{Name: path})
	}
	if err == nil {
		err = unix.Connect(host, &unix.SockaddrUnix{Name: name})
	}
	if err != nil {
		unix.Close(fd)
		return nil, errnoOf(err)
	}
	// S was turned away from the one before, which is an error of that one only.
	if k, err = x.s.ends.keep(fd, func() {}); err != nil {
		return nil, errnoOf(err)
	}
	k.name = name
	return k, 0
}

// lend lends to K, or to the path of an S that is not connected.
func (l *local) lend(ks *spclient.NetSocket, k *kept, told func(spclient.LoanEnd)) error {
	x := l.x
	if !x.s.conn.CanLendDatagrams() {
		return errors.ErrUnsupported
	}
	lend := func(host int) error {
		return ks.Use(func(fd spclient.FD) error { return x.s.conn.LendDatagramsControl(x.s.ctx, fd, host, told) })
	}
	if k != nil {
		err := error(unix.EBADF) // if it is closed
		k.control(func(fd int) { err = lend(fd) })
		return err
	}
	x.mu.Lock()
	path := x.path
	x.mu.Unlock()
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return lend(fd)
}
