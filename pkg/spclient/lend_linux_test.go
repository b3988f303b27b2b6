package spclient_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"rumptools/internal/seeded"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
	"rumptools/pkg/sysproxy"
)

// lent is a program's end of a connection that is lent to it.
type lent struct {
	*net.UnixConn
	t    testing.TB
	seed bool
	c    *spclient.Conn
	fd   spclient.FD
	host int // the other end, kept as a supervisor does
	end  chan spclient.LoanEnd
}

// lend lends a socket, with a seed.
func lend(t testing.TB, c *spclient.Conn, fd spclient.FD) *lent {
	t.Helper()
	return lendAs(t, c, fd, true)
}

func lendAs(t testing.TB, c *spclient.Conn, fd spclient.FD, seed bool) *lent {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	if seed {
		if err := seeded.Sow(pair[0]); err != nil {
			t.Fatal(err)
		}
	}
	f := os.NewFile(uintptr(pair[0]), "program")
	nc, err := net.FileConn(f)
	f.Close()
	if err != nil {
		t.Fatal(err)
	}
	l := &lent{nc.(*net.UnixConn), t, seed, c, fd, pair[1], make(chan spclient.LoanEnd, 1)}
	l.SetDeadline(time.Now().Add(testTimeout))
	t.Cleanup(func() {
		l.Close()
		l.drop()
	})
	if err := c.Lend(testContext(t), fd, l.host, seed, func(e spclient.LoanEnd) { l.end <- e }); err != nil {
		t.Fatal(err)
	}
	return l
}

// drop closes the kept end.
func (l *lent) drop() {
	if l.host >= 0 {
		unix.Close(l.host)
		l.host = -1
	}
}

// ended waits for the loan's end.
func (l *lent) ended(want sysproxy.LoanEnd, cause netbsd.Errno) {
	l.t.Helper()
	select {
	case e := <-l.end:
		if e.Err != nil || e.How != want || e.Cause != cause {
			l.t.Errorf("the loan ended with %+v, want %d and %v", e, want, cause)
		}
	case <-time.After(testTimeout):
		l.t.Fatal("the loan does not end")
	}
}

// lasts checks that the loan has not ended.
func (l *lent) lasts() {
	l.t.Helper()
	select {
	case e := <-l.end:
		l.t.Fatalf("the loan has ended with %+v", e)
	case <-time.After(20 * time.Millisecond):
	}
}

func (l *lent) closeFD() {
	l.t.Helper()
	if err := l.c.CloseFD(testContext(l.t), l.fd); err != nil {
		l.t.Error(err)
	}
}

// says writes.
func (l *lent) says(text string) {
	l.t.Helper()
	if _, err := l.Write([]byte(text)); err != nil {
		l.t.Fatal(err)
	}
}

// hears reads exactly that.
func (l *lent) hears(text string) {
	l.t.Helper()
	b := make([]byte, len(text))
	if _, err := io.ReadFull(l, b); err != nil || string(b) != text {
		l.t.Fatalf("read %q and %v, want %q", b, err, text)
	}
}

// hearsEnd reads the end of file, or an error that is want.
func (l *lent) hearsEnd(want error) {
	l.t.Helper()
	n, err := l.Read(make([]byte, 100))
	if n != 0 || !errors.Is(err, want) {
		l.t.Errorf("read %d bytes and %v, want %v", n, err, want)
	}
}

// tcpPair makes a connection in a kernel.
func tcpPair(t testing.TB, c *spclient.Conn) (a, b spclient.FD) {
	t.Helper()
	pair, end := tcpPairs(t, c)
	defer end()
	return pair()
}

// tcpPairs makes connections in a kernel, until end is called.
func tcpPairs(t testing.TB, c *spclient.Conn) (pair func() (a, b spclient.FD), end func()) {
	t.Helper()
	ctx := testContext(t)
	l, err := c.Socket(ctx, netbsd.AF_INET, netbsd.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	sa := []byte{16, netbsd.AF_INET, 0, 0, 127, 0, 0, 1, 8: 0, 15: 0}
	if err := c.Bind(ctx, l, sa); err != nil {
		t.Fatal(err)
	}
	if err := c.ListenFD(ctx, l, 5); err != nil {
		t.Fatal(err)
	}
	if sa, err = c.Getsockname(ctx, l); err != nil {
		t.Fatal(err)
	}
	pair = func() (a, b spclient.FD) {
		t.Helper()
		ctx := testContext(t)
		a, err := c.Socket(ctx, netbsd.AF_INET, netbsd.SOCK_STREAM, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Connect(ctx, a, sa); err != nil {
			t.Fatal(err)
		}
		if b, _, err = c.Accept(ctx, l); err != nil {
			t.Fatal(err)
		}
		return a, b
	}
	return pair, func() { c.CloseFD(testContext(t), l) }
}

// lendModes runs a test with a connection both ends of which are lent, with seeds and
// without.
func lendModes(t *testing.T, f func(t *testing.T, a, b *lent)) {
	for name, seed := range map[string]bool{"seed": true, "plain": false} {
		t.Run(name, func(t *testing.T) {
			c := dialKernel(t, kernelURL(t, netbsd.AMD64))
			if !c.CanLend() {
				t.Fatal("the kernel takes no loans")
			}
			x, y := tcpPair(t, c)
			f(t, lendAs(t, c, x, seed), lendAs(t, c, y, seed))
		})
	}
}

func TestLend(t *testing.T) { lendModes(t, testLend) }

func testLend(t *testing.T, a, b *lent) {
	for n := range 100 {
		text := fmt.Sprint("ping ", n)
		a.says(text)
		b.hears(text)
		b.says(text + "!")
		a.hears(text + "!")
	}
	a.lasts()
	b.lasts()
}

// Each direction ends by itself, after all of its bytes.
func TestLendHalfClose(t *testing.T) { lendModes(t, testLendHalfClose) }

func testLendHalfClose(t *testing.T, a, b *lent) {
	a.says("last words")
	a.CloseWrite()
	b.hears("last words")
	b.hearsEnd(io.EOF)
	a.lasts()
	b.says("answer")
	a.hears("answer")
	b.CloseWrite()
	a.hearsEnd(io.EOF)
	a.ended(sysproxy.LoanClosed, 0)
	b.ended(sysproxy.LoanClosed, 0)
	// An end in order stays one.
	for _, l := range []*lent{a, b} {
		l.drop()
		l.hearsEnd(io.EOF)
		if _, err := l.Write([]byte("more")); !errors.Is(err, syscall.EPIPE) {
			t.Errorf("a write after the end: %v", err)
		}
		l.closeFD()
	}
}

// What a program wrote before it closed arrives, whole, and then the end.
func TestLendCloseAtOnce(t *testing.T) { lendModes(t, testLendCloseAtOnce) }

func testLendCloseAtOnce(t *testing.T, a, b *lent) {
	data := make([]byte, 3<<20)
	rng := rand.NewChaCha8([32]byte{1})
	rng.Read(data)
	go func() {
		a.Write(data)
		a.Close()
	}()
	// It is kept waiting first.
	time.Sleep(20 * time.Millisecond)
	got, err := io.ReadAll(b)
	if err != nil || !bytes.Equal(got, data) {
		t.Fatalf("%d bytes of %d and %v", len(got), len(data), err)
	}
	a.ended(sysproxy.LoanClosed, 0)
	a.closeFD()
	b.Close()
	b.ended(sysproxy.LoanClosed, 0)
}

// Data both ways at the same time, in pieces of all sizes.
func TestLendBothWays(t *testing.T) { lendModes(t, testLendBothWays) }

func testLendBothWays(t *testing.T, a, b *lent) {
	const size = 8 << 20
	var all sync.WaitGroup
	for i, ends := range [][2]*lent{{a, b}, {b, a}} {
		sum := sha256.New()
		sent := make(chan struct{})
		all.Go(func() {
			defer close(sent)
			rng := rand.New(rand.NewPCG(1, uint64(i)))
			src := rand.NewChaCha8([32]byte{byte(i)})
			for left := size; left > 0; {
				p := make([]byte, min(left, 1+rng.IntN(1<<rng.IntN(19))))
				src.Read(p)
				sum.Write(p)
				if _, err := ends[0].Write(p); err != nil {
					t.Error(err)
					return
				}
				left -= len(p)
			}
			ends[0].CloseWrite()
		})
		all.Go(func() {
			got := sha256.New()
			n, err := io.Copy(got, struct{ io.Reader }{ends[1]})
			<-sent
			if n != size || err != nil || !bytes.Equal(got.Sum(nil), sum.Sum(nil)) {
				t.Errorf("direction %d: %d bytes, %v", i, n, err)
			}
		})
	}
	all.Wait()
	a.ended(sysproxy.LoanClosed, 0)
	b.ended(sysproxy.LoanClosed, 0)
}

// A program that closes with data unread resets the connection. The other program has what
// came before, and then the reset, as soon as who keeps its other end closes that; without
// a seed, if that has written a byte at the program's end.
func TestLendReset(t *testing.T) { lendModes(t, testLendReset) }

func testLendReset(t *testing.T, a, b *lent) {
	a.says("this is read")
	b.hears("this is read")
	b.says("before")
	a.says("this is not")
	// It has arrived when it is there to be peeked at.
	raw, err := b.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Read(func(fd uintptr) bool {
		_, _, err := unix.Recvfrom(int(fd), make([]byte, 1), unix.MSG_PEEK|unix.MSG_DONTWAIT)
		return err != unix.EAGAIN
	})
	b.Close()
	b.ended(sysproxy.LoanDropped, 0)
	a.ended(sysproxy.LoanFailed, netbsd.ECONNRESET)
	a.lasts() // open
	if !a.seed {
		a.says("x")
	}
	a.drop()
	a.hears("before")
	a.hearsEnd(syscall.ECONNRESET)
	a.closeFD()
	b.closeFD()
}

// It sees it also when it has ended its own direction.
func TestLendResetAfterEnd(t *testing.T) {
	c := dialKernel(t, kernelURL(t, netbsd.AMD64))
	x, y := tcpPair(t, c)
	a, b := lend(t, c, x), lend(t, c, y)
	a.says("the end")
	a.CloseWrite()
	b.hears("the end")
	b.hearsEnd(io.EOF)
	if err := c.SetsockoptStruct(testContext(t), y, netbsd.SOL_SOCKET, netbsd.SO_LINGER, &netbsd.Linger{Onoff: 1}); err != nil {
		t.Fatal(err)
	}
	b.Close()
	b.ended(sysproxy.LoanClosed, 0)
	b.closeFD()
	a.ended(sysproxy.LoanFailed, netbsd.ECONNRESET)
	a.drop()
	a.hearsEnd(syscall.ECONNRESET)
}

// When nobody else has the other end and the kernel's descriptor goes, or the client,
// whatever has been said before: programs that read, write and poll see resets, and what
// they had not read comes before.
func TestLendSeed(t *testing.T) {
	c := dialKernel(t, kernelURL(t, netbsd.AMD64))
	for _, said := range []string{"", "x", strings.Repeat("much ", 50_000)} {
		x, y := tcpPair(t, c)
		a, b := lend(t, c, x), lend(t, c, y)
		if said != "" {
			go a.says(said)
			b.hears(said)
			go b.says(said)
			a.hears(said)
		}
		a.drop()                 // the kernel's is the last
		full, _ := tcpPair(t, c) // nobody reads
		writer := lend(t, c, full)
		wrote := make(chan error)
		go func() {
			for {
				if _, err := writer.Write(make([]byte, 1<<20)); err != nil {
					wrote <- err
					return
				}
			}
		}()
		b.says("unread")
		raw, err := a.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		raw.Read(func(fd uintptr) bool {
			_, _, err := unix.Recvfrom(int(fd), make([]byte, 1), unix.MSG_PEEK|unix.MSG_DONTWAIT)
			return err != unix.EAGAIN
		})
		writer.drop()
		if err := c.CloseFD(testContext(t), writer.fd); err != nil {
			t.Fatal(err)
		}
		if err := <-wrote; !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
			t.Errorf("a program that writes: %v", err)
		}
		a.closeFD()
		a.hears("unread")
		a.hearsEnd(syscall.ECONNRESET)
	}
	x, _ := tcpPair(t, c)
	a := lend(t, c, x)
	a.drop()
	c.Close()
	var pfd [1]unix.PollFd
	raw, err := a.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Read(func(fd uintptr) bool {
		pfd[0] = unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}
		unix.Poll(pfd[:], 0)
		return pfd[0].Revents != 0
	})
	if want := int16(unix.POLLIN | unix.POLLERR | unix.POLLHUP); pfd[0].Revents != want {
		t.Errorf("poll says %#x, want %#x", pfd[0].Revents, want)
	}
	a.hearsEnd(syscall.ECONNRESET)
}

// A program whose send buffer is as small as it may be can write again, says poll, when all
// that it wrote has been taken.
func TestLendSmallBuffer(t *testing.T) {
	c := dialKernel(t, kernelURL(t, netbsd.AMD64))
	for _, size := range []int{1, 2, 100, 4096, 40_000, 300_000} {
		x, y := tcpPair(t, c)
		a, b := lend(t, c, x), lend(t, c, y)
		go io.Copy(io.Discard, struct{ io.Reader }{b})
		raw, err := a.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		raw.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF, seeded.MinSendBuffer)
			pfd := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
			for left := 2 << 20; left > 0 && err == nil; {
				n := 0
				if n, err = unix.Write(int(fd), make([]byte, min(size, left))); err == unix.EAGAIN {
					if n, err = unix.Poll(pfd, int(testTimeout/time.Millisecond)); n == 0 {
						err = os.ErrDeadlineExceeded
					}
					continue
				}
				if left -= n; size < 1000 {
					left -= 1000
				}
			}
			// And when nothing is under way any more.
			time.Sleep(5 * time.Millisecond)
			if n, _ := unix.Poll(pfd, int(testTimeout/time.Millisecond)); n == 0 {
				t.Errorf("writes of %d bytes: not writable in the end", size)
			}
		})
		if err != nil {
			t.Fatalf("writes of %d bytes: %v", size, err)
		}
	}
}

// SO_LINGER with a time of 0 resets at close, whatever is queued.
func TestLendLinger(t *testing.T) { lendModes(t, testLendLinger) }

func testLendLinger(t *testing.T, a, b *lent) {
	ctx := testContext(t)
	if err := a.c.SetsockoptStruct(ctx, a.fd, netbsd.SOL_SOCKET, netbsd.SO_LINGER, &netbsd.Linger{Onoff: 1}); err != nil {
		t.Fatal(err)
	}
	a.says("hello")
	b.hears("hello")
	a.Close()
	a.ended(sysproxy.LoanClosed, 0)
	b.lasts()
	a.closeFD()
	b.ended(sysproxy.LoanFailed, netbsd.ECONNRESET)
}

// Who closes the socket's descriptor ends the loan, and the program sees it.
func TestLendRevoke(t *testing.T) { lendModes(t, testLendRevoke) }

func testLendRevoke(t *testing.T, a, b *lent) {
	a.says("hello")
	b.hears("hello")
	a.closeFD()
	a.ended(sysproxy.LoanRevoked, 0)
	a.drop()
	if a.seed {
		a.hearsEnd(syscall.ECONNRESET)
	} else {
		a.hearsEnd(io.EOF)
	}
	b.hearsEnd(io.EOF)
	b.Close()
	b.ended(sysproxy.LoanClosed, 0)
}

// A program that ends its reading alone loses what comes, and may still write.
func TestLendDeaf(t *testing.T) { lendModes(t, testLendDeaf) }

func testLendDeaf(t *testing.T, a, b *lent) {
	a.CloseRead()
	data := make([]byte, 4<<20)
	if _, err := b.Write(data); err != nil {
		t.Fatal(err)
	}
	a.says("still here")
	b.hears("still here")
	b.CloseWrite()
	a.CloseWrite()
	b.hearsEnd(io.EOF)
}

// A byte out of band is a byte.
func TestLendOutOfBand(t *testing.T) { lendModes(t, testLendOutOfBand) }

func testLendOutOfBand(t *testing.T, a, b *lent) {
	raw, err := a.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	a.says("1")
	raw.Write(func(fd uintptr) bool {
		err = unix.Sendto(int(fd), []byte("2"), unix.MSG_OOB, nil)
		return err != unix.EAGAIN
	})
	if err != nil {
		t.Skip(err)
	}
	a.says("3")
	b.hears("123")
	a.Close()
	b.hearsEnd(io.EOF)
}

// A loan may begin while the connection is made, and it may never be.
func TestLendConnecting(t *testing.T) {
	c := dialKernel(t, kernelURL(t, netbsd.AMD64))
	ctx := testContext(t)
	s, err := c.Socket(ctx, netbsd.AF_INET, netbsd.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan spclient.LoanEnd, 1)
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pair[0])
	defer unix.Close(pair[1])
	begin := func(fd spclient.FD, host int) spclient.LoanEnd {
		t.Helper()
		if err := c.Lend(ctx, fd, host, false, func(e spclient.LoanEnd) { ended <- e }); err != nil {
			t.Fatal(err)
		}
		select {
		case e := <-ended:
			return e
		case <-ctx.Done():
			t.Fatal("no answer")
		}
		panic("unreachable")
	}
	refused := func(fd spclient.FD, host int, want netbsd.Errno) {
		t.Helper()
		e := begin(fd, host)
		var sys *spclient.SyscallError
		if !errors.As(e.Err, &sys) || sys.Errno != want || sys.Call != "lend" {
			t.Errorf("the loan ended with %+v, want %v", e, want)
		}
	}
	refused(s, pair[0], netbsd.ENOTCONN)
	refused(c.FD(0), pair[0], netbsd.ENOTSOCK)
	refused(c.FD(99), pair[0], netbsd.EBADF)
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	x, y := tcpPair(t, c)
	refused(x, int(null.Fd()), netbsd.EINVAL)
	l := lend(t, c, y)
	refused(y, pair[0], netbsd.EBUSY)
	l.Close()
	l.ended(sysproxy.LoanClosed, 0)
	udp, err := c.Socket(ctx, netbsd.AF_INET, netbsd.SOCK_DGRAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	refused(udp, pair[0], netbsd.EOPNOTSUPP)
	if err := c.Lend(ctx, spclient.FD{}, pair[0], false, nil); !errors.Is(err, spclient.ErrStale) {
		t.Errorf("no descriptor: %v", err)
	}
	if err := c.Lend(ctx, x, -1, false, nil); !errors.Is(err, syscall.EBADF) {
		t.Errorf("no host descriptor: %v", err)
	}
	if _, err := c.Getpid(ctx); err != nil {
		t.Error(err)
	}
}

// Loans are no calls: more of them than calls may be under way, and calls are made
// meanwhile.
func TestLendMany(t *testing.T) {
	checkLeaks(t)
	url, end, err := serveKernel(netbsd.AMD64)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(end)
	var lim unix.Rlimit
	n := 4200 // above the limit on calls
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &lim); err != nil || lim.Cur < uint64(4*n) {
		n = 200
	}
	c := dialKernel(t, url)
	ctx, cancel := context.WithTimeout(t.Context(), 5*testTimeout)
	defer cancel()
	ends := make(chan spclient.LoanEnd, n)
	var programs []int
	connect, done := tcpPairs(t, c)
	defer done()
	for len(programs) < n {
		x, y := connect()
		for _, fd := range []spclient.FD{x, y} {
			pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			err = c.Lend(ctx, fd, pair[1], false, func(e spclient.LoanEnd) { ends <- e })
			unix.Close(pair[1])
			if err != nil {
				t.Fatal(err)
			}
			programs = append(programs, pair[0])
		}
	}
	for i := 0; i < n; i += 97 &^ 1 {
		if _, err := unix.Write(programs[i], []byte("hello")); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 10)
		if m, err := unix.Read(programs[i^1], b); err != nil || string(b[:m]) != "hello" {
			t.Fatalf("loan %d: %q, %v", i, b[:m], err)
		}
	}
	if _, err := c.Getpid(ctx); err != nil {
		t.Error(err)
	}
	for _, fd := range programs {
		unix.Close(fd)
	}
	for range n {
		select {
		case e := <-ends:
			if e.Err != nil || e.How != sysproxy.LoanClosed && e.How != sysproxy.LoanFailed {
				t.Fatalf("%+v", e)
			}
		case <-ctx.Done():
			t.Fatal("loans do not end")
		}
	}
}

// Who ends the connection to the kernel hears of its loans.
func TestLendLost(t *testing.T) {
	c := dialKernel(t, kernelURL(t, netbsd.AMD64))
	x, y := tcpPair(t, c)
	a, b := lend(t, c, x), lend(t, c, y)
	if err := c.Exec(testContext(t), "/nonexistent", nil, nil); err == nil || errors.Is(err, os.ErrNotExist) {
		t.Errorf("exec with loans: %v", err)
	}
	c.Close()
	for _, l := range []*lent{a, b} {
		if e := <-l.end; !errors.Is(e.Err, spclient.ErrClosed) {
			t.Errorf("the loan ended with %+v", e)
		}
		l.drop()
		l.hearsEnd(syscall.ECONNRESET)
	}
	if err := c.Lend(testContext(t), x, 0, true, nil); !errors.Is(err, spclient.ErrClosed) {
		t.Errorf("lend after the end: %v", err)
	}
}

// A kernel that is not told to be of this user's is not asked.
func TestLendNotOffered(t *testing.T) {
	c := serve(t, netbsd.AMD64, nil)
	if c.CanLend() {
		t.Error("a server without the extension takes loans")
	}
	if err := c.Lend(testContext(t), c.FD(3), 0, false, nil); !errors.Is(err, spclient.ErrNoLoans) {
		t.Errorf("lend: %v", err)
	}
}

// Requests with descriptors go out among others, over a connection that is full most of
// the time, and each has its own.
func TestLendUnderLoad(t *testing.T) {
	url := kernelURL(t, netbsd.AMD64)
	ctx := testContext(t)
	c, err := spclient.Dial(ctx, url, &spclient.Options{Dial: smallBuffer})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	stop := make(chan struct{})
	var callers sync.WaitGroup
	null, err := c.Open(ctx, "/dev/null", netbsd.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 8 {
		callers.Go(func() {
			p := make([]byte, 1+i*2000)
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := c.Write(ctx, null, p); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			for j := range 8 {
				x, y := tcpPair(t, c)
				a, b := lend(t, c, x), lend(t, c, y)
				text := fmt.Sprintf("loan %d.%d", i, j)
				a.says(text)
				b.hears(text)
				b.says(text + "!")
				a.hears(text + "!")
				a.Close()
				b.hearsEnd(io.EOF)
				b.Close()
			}
		})
	}
	all.Wait()
	close(stop)
	callers.Wait()
}

// A connection that carries all that it can does not keep others from theirs.
func TestLendFair(t *testing.T) {
	c := dialKernel(t, kernelURL(t, netbsd.AMD64))
	for range 2 {
		x, y := tcpPair(t, c)
		src, dst := lend(t, c, x), lend(t, c, y)
		go io.Copy(io.Discard, struct{ io.Reader }{dst})
		go func() {
			for p := make([]byte, 256<<10); ; {
				if _, err := src.Write(p); err != nil {
					return
				}
			}
		}()
	}
	x, y := tcpPair(t, c)
	a, b := lend(t, c, x), lend(t, c, y)
	for range 50 {
		a.says("ping")
		b.hears("ping")
		b.says("pong")
		a.hears("pong")
	}
}

// Whatever programs do, both loans end when both have closed, and nothing is left.
func TestLendStorm(t *testing.T) {
	checkLeaks(t)
	url, end, err := serveKernel(netbsd.AMD64)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(end)
	c := dialKernel(t, url)
	connect, done := tcpPairs(t, c)
	var all sync.WaitGroup
	for i := range 60 {
		x, y := connect()
		a, b := lend(t, c, x), lend(t, c, y)
		for j, l := range []*lent{a, b} {
			rng := rand.New(rand.NewPCG(uint64(i), uint64(j)))
			all.Go(func() {
				if rng.IntN(4) == 0 {
					c.SetsockoptStruct(testContext(t), l.fd, netbsd.SOL_SOCKET, netbsd.SO_LINGER, &netbsd.Linger{Onoff: 1})
				}
				l.SetDeadline(time.Now().Add(time.Duration(rng.IntN(100)) * time.Millisecond))
				out, n := size(rng), size(rng)
				ends, deaf := rng.IntN(2) == 0, rng.IntN(8) == 0
				var both sync.WaitGroup
				both.Go(func() {
					l.Write(make([]byte, out))
					if ends {
						l.CloseWrite()
					}
				})
				both.Go(func() {
					for p := make([]byte, 4096); n > 0; {
						m, err := l.Read(p)
						if n -= m; err != nil {
							break
						}
					}
					if deaf {
						l.CloseRead()
					}
				})
				both.Wait()
				l.Close()
				l.drop()
				select {
				case e := <-l.end:
					if e.Err != nil {
						t.Errorf("connection %d: %v", i, e.Err)
					}
				case <-time.After(testTimeout):
					t.Errorf("connection %d: the loan does not end", i)
				}
				l.closeFD()
			})
		}
	}
	all.Wait()
	done()
}

// size is a number of bytes of any magnitude up to 4 MiB.
func size(rng *rand.Rand) int { return rng.IntN(1 << rng.IntN(23)) }
