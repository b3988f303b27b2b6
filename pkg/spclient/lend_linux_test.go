package spclient_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
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
