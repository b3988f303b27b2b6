package spclient_test

import (
	"errors"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"rumptools/internal/seeded"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/sysproxy"
)

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

// SO_LINGER with a time of 0 resets at close. What was written just before has left by then.
func TestLendLinger(t *testing.T) { lendModes(t, testLendLinger) }

func testLendLinger(t *testing.T, a, b *lent) {
	a.lingersNot()
	a.says("hello")
	b.hears("hello")
	a.says("last words")
	a.Close()
	a.ended(sysproxy.LoanClosed, 0)
	b.lasts()
	a.closeFD()
	b.ended(sysproxy.LoanFailed, netbsd.ECONNRESET)
	b.hears("last words")
	if !b.seed {
		b.says("x")
	}
	b.drop()
	b.hearsEnd(syscall.ECONNRESET)
}

// A close that resets does not wait for a peer that does not read. What that has room for has come.
func TestLendLingerFull(t *testing.T) { lendModes(t, testLendLingerFull) }

func testLendLingerFull(t *testing.T, a, b *lent) {
	a.lingersNot()
	const block = 64 << 10
	a.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
	for {
		if _, err := a.Write(make([]byte, block)); err != nil {
			break
		}
	}
	a.Close()
	a.ended(sysproxy.LoanClosed, 0)
	a.closeFD()
	n, p := 0, make([]byte, block)
	for !b.over() {
		b.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
		m, err := b.Read(p)
		n += m
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(err)
		}
	}
	b.ended(sysproxy.LoanFailed, netbsd.ECONNRESET)
	if n < 2*block {
		t.Errorf("%d bytes have come", n)
	}
}

// lingersNot has the socket's close reset the connection.
func (l *lent) lingersNot() {
	l.t.Helper()
	if err := l.c.SetsockoptStruct(testContext(l.t), l.fd, netbsd.SOL_SOCKET, netbsd.SO_LINGER, &netbsd.Linger{Onoff: 1}); err != nil {
		l.t.Fatal(err)
	}
}

// over tells whether the loan has ended.
func (l *lent) over() bool { return len(l.end) > 0 }

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
