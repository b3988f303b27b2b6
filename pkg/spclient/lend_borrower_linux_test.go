package spclient_test

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
	"rumptools/pkg/sysproxy"
)

// borrower is a program's socket, S, and the socket of the kernel's that is lent to it.
type borrower struct {
	t    testing.TB
	c    *spclient.Conn
	fd   spclient.FD
	s    int    // S
	path string // where S is bound
	k    int    // K, or -1
	end  chan spclient.LoanEnd
}

// newBorrower makes a UDP socket that is bound to a port of 127.0.0.1, and S.
func newBorrower(t testing.TB, c *spclient.Conn) *borrower {
	t.Helper()
	ctx := testContext(t)
	fd, err := c.Socket(ctx, netbsd.AF_INET, netbsd.SOCK_DGRAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Bind(ctx, fd, netbsd.SockaddrIn(netip.MustParseAddrPort("127.0.0.1:0"))); err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "rump-")
	if err != nil {
		t.Fatal(err)
	}
	b := &borrower{t: t, c: c, fd: fd, path: filepath.Join(dir, "s"), k: -1, end: make(chan spclient.LoanEnd, 1)}
	b.s = hostDatagram(t)
	if err := unix.Bind(b.s, &unix.SockaddrUnix{Name: b.path}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		b.close()
		if b.k >= 0 {
			unix.Close(b.k)
		}
		os.RemoveAll(dir)
	})
	return b
}

func (b *borrower) close() {
	if b.s >= 0 {
		unix.Close(b.s)
		b.s = -1
	}
}

func hostDatagram(t testing.TB) int {
	t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	tv := unix.NsecToTimeval(testTimeout.Nanoseconds())
	unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv)
	return fd
}

// name is the kernel socket's address.
func (b *borrower) name() []byte {
	b.t.Helper()
	sa, err := b.c.Getsockname(testContext(b.t), b.fd)
	if err != nil {
		b.t.Fatal(err)
	}
	return sa
}

// lend lends the socket by S's path.
func (b *borrower) lend() {
	b.t.Helper()
	host, err := unix.Open(b.path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		b.t.Fatal(err)
	}
	defer unix.Close(host)
	b.lendBy(host)
}

func (b *borrower) lendBy(host int) {
	b.t.Helper()
	if err := b.c.LendDatagrams(testContext(b.t), b.fd, host, func(e spclient.LoanEnd) { b.end <- e }); err != nil {
		b.t.Fatal(err)
	}
}

// connect connects the kernel's socket, and S to K.
func (b *borrower) connect(sa []byte) {
	b.t.Helper()
	if err := b.c.Connect(testContext(b.t), b.fd, sa); err != nil {
		b.t.Fatal(err)
	}
	b.k = hostDatagram(b.t)
	if err := unix.Bind(b.k, &unix.SockaddrUnix{}); err != nil {
		b.t.Fatal(err)
	}
	name, err := unix.Getsockname(b.k)
	if err != nil {
		b.t.Fatal(err)
	}
	if err := unix.Connect(b.k, &unix.SockaddrUnix{Name: b.path}); err != nil {
		b.t.Fatal(err)
	}
	if err := unix.Connect(b.s, name); err != nil {
		b.t.Fatal(err)
	}
}

// takeBack ends the loan.
func (b *borrower) takeBack() {
	b.t.Helper()
	if err := b.c.TakeBackDatagrams(testContext(b.t), b.fd); err != nil {
		b.t.Fatal(err)
	}
	b.ended(sysproxy.LoanRevoked, 0)
}

// ended waits for the loan's end.
func (b *borrower) ended(want sysproxy.LoanEnd, cause netbsd.Errno) {
	b.t.Helper()
	select {
	case e := <-b.end:
		if e.Err != nil || e.How != want || e.Cause != cause {
			b.t.Errorf("the loan ended with %+v, want %d and %v", e, want, cause)
		}
	case <-time.After(testTimeout):
		b.t.Fatal("the loan does not end")
	}
}

// refused waits for the answer that there is no loan.
func (b *borrower) refused(want netbsd.Errno) {
	b.t.Helper()
	select {
	case e := <-b.end:
		var se *spclient.SyscallError
		if !errors.As(e.Err, &se) || se.Errno != want {
			b.t.Errorf("lend: %+v, want %v", e, want)
		}
	case <-time.After(testTimeout):
		b.t.Fatal("lend is not answered")
	}
}

// receive receives from a socket with SO_RCVTIMEO, for which recvmsg(2) fails when the Go runtime's
// signal comes, whatever SA_RESTART says: see signal(7).
func receive(fd int, p, oob []byte, flags int) (n, oobn int, from unix.Sockaddr, err error) {
	for {
		n, oobn, _, from, err = unix.Recvmsg(fd, p, oob, flags)
		if err != unix.EINTR {
			return n, oobn, from, err
		}
	}
}

// hears receives at S.
func (b *borrower) hears(want string) sysproxy.Origin {
	b.t.Helper()
	p := make([]byte, 1<<16)
	n, _, from, err := receive(b.s, p, nil, 0)
	if err != nil {
		b.t.Fatalf("want %.20q, recvfrom: %v", want, err)
	}
	if string(p[:n]) != want {
		b.t.Fatalf("received %.20q of %d bytes, want %.20q of %d", p[:n], n, want, len(want))
	}
	name := strings.TrimPrefix(from.(*unix.SockaddrUnix).Name, "@")
	o, ok := sysproxy.ParseOrigin(name)
	if !ok && b.k < 0 {
		b.t.Fatalf("the sender's name is %q", name)
	}
	return o
}

// quiet checks that nothing is at S.
func (b *borrower) quiet() {
	b.t.Helper()
	p := make([]byte, 100)
	if n, _, err := unix.Recvfrom(b.s, p, unix.MSG_DONTWAIT); err == nil {
		b.t.Fatalf("received %q", p[:n])
	}
}

func (b *borrower) says(text string) {
	b.t.Helper()
	if _, err := unix.Write(b.s, []byte(text)); err != nil {
		b.t.Fatal(err)
	}
}

// peer is a UDP socket of the kernel's that calls use.
type peer struct {
	t  testing.TB
	c  *spclient.Conn
	fd spclient.FD
	sa []byte
}

func newPeer(t testing.TB, c *spclient.Conn) *peer {
	t.Helper()
	ctx := testContext(t)
	fd, err := c.Socket(ctx, netbsd.AF_INET, netbsd.SOCK_DGRAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Bind(ctx, fd, netbsd.SockaddrIn(netip.MustParseAddrPort("127.0.0.1:0"))); err != nil {
		t.Fatal(err)
	}
	if err := c.SetsockoptInt(ctx, fd, netbsd.SOL_SOCKET, netbsd.SO_SNDBUF, 100<<10); err != nil {
		t.Fatal(err)
	}
	sa, err := c.Getsockname(ctx, fd)
	if err != nil {
		t.Fatal(err)
	}
	return &peer{t, c, fd, sa}
}

func (p *peer) says(to []byte, text string) {
	p.t.Helper()
	if _, err := p.c.Sendto(testContext(p.t), p.fd, []byte(text), 0, to); err != nil {
		p.t.Fatal(err)
	}
}

func (p *peer) hears(want string) []byte {
	p.t.Helper()
	b := make([]byte, 1<<16)
	n, from, err := p.c.RecvfromWait(testContext(p.t), p.fd, b, 0)
	if err != nil || string(b[:n]) != want {
		p.t.Fatalf("received %.20q of %d bytes and %v, want %.20q", b[:n], n, err, want)
	}
	return from
}

func (b *borrower) lendsWhole(p *peer) {
	b.t.Helper()
	for i := range 300 {
		text := strings.Repeat("z", i*i%9000)
		b.says(text)
		p.hears(text)
		p.says(b.name(), text)
		b.hears(text)
	}
}
