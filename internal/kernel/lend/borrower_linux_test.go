package lend_test

import (
	"bytes"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"rumptools/internal/kernel"
	"rumptools/internal/kernel/lend"
	"rumptools/internal/label"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/sysproxy"
)

// borrower is a program's socket for datagrams, S, and the kernel's socket that is lent to it.
type borrower struct {
	h     *host
	so    kernel.Socket
	name  []byte
	s     int    // S
	path  string // where S is bound
	k     int    // K, -1 without one
	table int    // of labels, -1 without one

	loan   *lend.Loan
	ended  chan ending
	closed atomic.Int32
	begun  int
}

// udp makes a UDP socket with a port of 127.0.0.1.
func (h *host) udp() (so kernel.Socket, name []byte) {
	h.t.Helper()
	so = h.socket(netbsd.AF_INET, netbsd.SOCK_DGRAM, 0)
	h.closes(so)
	must(h.t, so.Bind(h.sockaddr("127.0.0.1:0")))
	return so, h.name(so)
}

// borrow makes a borrower, whose S is bound to a path.
func (h *host) borrow() *borrower {
	h.t.Helper()
	b := &borrower{h: h, path: filepath.Join(h.t.TempDir(), "s"), k: -1, table: -1, ended: make(chan ending, 4)}
	b.so, b.name = h.udp()
	b.s = hostSocket(h.t, unix.AF_UNIX)
	must(h.t, unix.Bind(b.s, &unix.SockaddrUnix{Name: b.path}))
	h.t.Cleanup(func() {
		if b.loan != nil {
			b.loan.Revoke()
			eventually(h.t, "all loans end", func() bool { return int(b.closed.Load()) == b.begun })
		}
		b.closeS()
		for _, fd := range []int{b.k, b.table} {
			if fd >= 0 {
				unix.Close(fd)
			}
		}
	})
	return b
}

// hostSocket makes a socket for datagrams of the host's, at which nobody waits for ever.
func hostSocket(t testing.TB, domain int) int {
	t.Helper()
	fd, err := unix.Socket(domain, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	tv := unix.NsecToTimeval(patience.Nanoseconds())
	must(t, unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv))
	must(t, unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &tv))
	return fd
}

func (b *borrower) closeS() {
	if b.s >= 0 {
		unix.Close(b.s)
		b.s = -1
	}
}

// connect connects the kernel's socket, and S to K.
func (b *borrower) connect(to []byte) {
	b.h.t.Helper()
	b.k = hostSocket(b.h.t, unix.AF_UNIX)
	must(b.h.t, unix.Bind(b.k, &unix.SockaddrUnix{Name: b.path + "k"}))
	must(b.h.t, unix.Connect(b.k, &unix.SockaddrUnix{Name: b.path}))
	must(b.h.t, unix.Connect(b.s, &unix.SockaddrUnix{Name: b.path + "k"}))
	must(b.h.t, b.so.Connect(to))
}

// label makes S a UDP socket of the host's.
func (b *borrower) label() {
	b.h.t.Helper()
	t := b.h.t
	b.closeS()
	b.s, b.k = hostSocket(t, unix.AF_INET), hostSocket(t, unix.AF_INET)
	for _, fd := range []int{b.s, b.k} {
		must(t, unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	}
	for _, ends := range [][2]int{{b.s, b.k}, {b.k, b.s}} {
		name, err := unix.Getsockname(ends[1])
		must(t, err)
		must(t, unix.Connect(ends[0], name))
	}
	must(t, label.Ask(b.s))
	var err error
	b.table, err = label.NewTable()
	must(t, err)
}

// lend begins a loan by S's path, by K if the socket is connected, or with labels.
func (b *borrower) lend() {
	b.h.t.Helper()
	must(b.h.t, b.tryLend(false))
}

func (b *borrower) tryLend(along bool) (err error) {
	b.h.t.Helper()
	ended := func(how lend.End, err error) { b.ended <- ending{how, err} }
	closed := func() { b.closed.Add(1) }
	lender := b.so.(kernel.DatagramLender)
	var fd int
	var loan *lend.Loan
	switch {
	case b.table >= 0:
		fd = parcel(b.h.t, b.k, b.table)
		loan, err = b.h.pump.NewLabelledLoan(fd, lender.LendDatagrams, ended, closed)
	default:
		if b.k >= 0 {
			fd, err = unix.FcntlInt(uintptr(b.k), unix.F_DUPFD_CLOEXEC, 0)
		} else {
			fd, err = unix.Open(b.path, unix.O_PATH|unix.O_CLOEXEC, 0)
		}
		must(b.h.t, err)
		loan, err = b.h.pump.NewDatagramLoan(fd, along, lender.LendDatagrams, ended, closed)
	}
	if err != nil {
		unix.Close(fd)
		return err
	}
	b.loan = loan
	b.begun++
	loan.Start()
	return nil
}

// parcel is a socket at which the descriptors wait.
func parcel(t testing.TB, fds ...int) int {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	defer unix.Close(pair[0])
	must(t, unix.Sendmsg(pair[0], []byte{0}, unix.UnixRights(fds...), nil, 0))
	return pair[1]
}

// endsWith waits for the loan's end.
func (b *borrower) endsWith(want lend.End, err error) {
	b.h.t.Helper()
	select {
	case e := <-b.ended:
		if e.how != want || e.err != err {
			b.h.t.Errorf("the loan ended with %d and %v, want %d and %v", e.how, e.err, want, err)
		}
	case <-time.After(patience):
		b.h.t.Fatal("the loan does not end")
	}
}

// says sends a datagram at S.
func (b *borrower) says(p []byte) {
	b.h.t.Helper()
	err := unix.Send(b.s, p, 0)
	for err == unix.EINTR {
		err = unix.Send(b.s, p, 0)
	}
	must(b.h.t, err)
}

// hears receives a datagram at S, with the name of who sent it, and what came along.
func (b *borrower) hears(want []byte) (from string, oob []byte) {
	b.h.t.Helper()
	p, room := make([]byte, 1<<16), make([]byte, 256)
	n, oobn, _, sa, err := unix.Recvmsg(b.s, p, room, 0)
	for err == unix.EINTR {
		n, oobn, _, sa, err = unix.Recvmsg(b.s, p, room, 0)
	}
	if err != nil || !bytes.Equal(p[:max(n, 0)], want) {
		b.h.t.Fatalf("%d bytes, %v, want %d", n, err, len(want))
	}
	if sa, ok := sa.(*unix.SockaddrUnix); ok {
		from = sa.Name
	}
	return from, room[:oobn]
}

// hearsFrom receives a datagram at S, and looks from whom it is.
func (b *borrower) hearsFrom(want []byte, from []byte) {
	b.h.t.Helper()
	name, oob := b.hears(want)
	if b.table >= 0 {
		number, ok := label.Of(oob)
		if !ok {
			b.h.t.Fatal("there is no label")
		}
		if got, _, cut, ok := label.Read(b.table, number); !ok || cut || !bytes.Equal(got, from) {
			b.h.t.Errorf("from %x, %v, %v, want %x", got, cut, ok, from)
		}
		return
	}
	o, ok := sysproxy.ParseOrigin(strings.TrimPrefix(name, "@"))
	if !ok || !bytes.Equal(o.From, from) {
		b.h.t.Errorf("from %q, want %x", name, from)
	}
}

// waiting tells whether there is something at S.
func (b *borrower) waiting() bool {
	_, _, err := unix.Recvfrom(b.s, make([]byte, 1), unix.MSG_DONTWAIT|unix.MSG_PEEK)
	return err == nil
}

// sendTo sends a datagram by a call.
func (h *host) sendTo(so kernel.Socket, p, to []byte) {
	h.t.Helper()
	n, err := so.Send(nil, &kernel.Message{Data: p, Name: to})
	if err != nil || n != len(p) {
		h.t.Fatalf("sent %d of %d bytes: %v", n, len(p), err)
	}
}

// receive receives a datagram by a call.
func (h *host) receive(so kernel.Socket, want []byte) (from []byte) {
	h.t.Helper()
	m := &kernel.Message{Data: make([]byte, 1<<16)}
	var n int
	err := wait(so, func() (err error) {
		n, err = so.Recv(nil, m)
		return err
	})
	if err != nil || !bytes.Equal(m.Data[:n], want) {
		h.t.Fatalf("%d bytes, %v, want %d", n, err, len(want))
	}
	return m.Name
}

// bigBuffer is for sockets that the largest datagram is sent to.
func (h *host) bigBuffer(sos ...kernel.Socket) {
	h.t.Helper()
	for _, so := range sos {
		h.setInt(so, netbsd.SOL_SOCKET, netbsd.SO_RCVBUF, 200000)
		h.setInt(so, netbsd.SOL_SOCKET, netbsd.SO_SNDBUF, 200000)
	}
}
