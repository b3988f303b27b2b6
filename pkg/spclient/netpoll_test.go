package spclient_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
	"rumptools/pkg/spclient/spclienttest"
)

// waitPolling waits until sockets are waited for, and nothing else is under way: for a while, since
// who waits for one makes calls before, and the wait for those before may go on until then.
func waitPolling(t *testing.T, c *spclient.Conn) {
	t.Helper()
	end := time.Now().Add(testTimeout / 2)
	for since := time.Now(); time.Since(since) < 20*time.Millisecond; time.Sleep(time.Millisecond) {
		if !spclient.Polling(c) || spclient.Pending(c) != 1 {
			since = time.Now()
		}
		if time.Now().After(end) {
			t.Fatalf("%d calls under way, want the wait for sockets", spclient.Pending(c))
		}
	}
}

// readAsync reads a byte in the background.
func readAsync(nc net.Conn) <-chan error {
	done := make(chan error, 1)
	go func() {
		_, err := nc.Read(make([]byte, 1))
		done <- err
	}()
	return done
}

// TestPausePoll has the wait for all sockets make way, as for an exec.
func TestPausePoll(t *testing.T) {
	netKernels(t, func(t *testing.T, url string) {
		ctx, c := testContext(t), dialKernel(t, url)
		a, b, l := pipe(t, c, c, "tcp", "127.0.0.1:0")
		defer l.Close()
		defer b.Close()
		defer a.Close()
		// Nothing to be done.
		if err := spclient.PausePoll(ctx, c); err != nil {
			t.Fatal(err)
		}
		spclient.ResumePoll(c)

		first := readAsync(a)
		waitPolling(t, c)
		fastest := time.Hour
		for range 5 {
			start := time.Now()
			if err := spclient.PausePoll(ctx, c); err != nil {
				t.Fatal(err)
			}
			fastest = min(fastest, time.Since(start))
			if n := spclient.Pending(c); n != 0 {
				t.Errorf("%d calls under way", n)
			}
			if fastest > 500*time.Millisecond {
				spclient.ResumePoll(c)
				waitPolling(t, c)
				continue
			}
			break
		}
		if fastest > 500*time.Millisecond {
			t.Errorf("it took %v at best", fastest)
		}
		// Whoever comes now waits, too.
		second := readAsync(b)
		time.Sleep(50 * time.Millisecond)
		if n := spclient.Pending(c); n != 0 {
			t.Errorf("%d calls under way in the pause", n)
		}
		if _, err := a.Write([]byte("x")); err != nil {
			t.Error(err)
		}
		if _, err := b.Write([]byte("x")); err != nil {
			t.Error(err)
		}
		spclient.ResumePoll(c)
		for _, done := range []<-chan error{first, second} {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		// One that does not want to wait for it.
		third := readAsync(a)
		waitPolling(t, c)
		ended, cancel := context.WithCancel(ctx)
		cancel()
		if err := spclient.PausePoll(ended, c); err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("called off: %v", err)
		} else if err == nil {
			spclient.ResumePoll(c)
		}
		if _, err := b.Write([]byte("x")); err != nil {
			t.Error(err)
		}
		if err := <-third; err != nil {
			t.Error(err)
		}
	})
}

// TestLostQueue closes the kqueue under those who wait, as closefrom would.
func TestLostQueue(t *testing.T) {
	netKernels(t, func(t *testing.T, url string) {
		ctx, c := testContext(t), dialKernel(t, url)
		a, b, l := pipe(t, c, c, "tcp", "127.0.0.1:0")
		defer l.Close()
		defer b.Close()
		defer a.Close()
		for range 3 {
			done := readAsync(a)
			waitIdle(t, c)
			waitPolling(t, c)
			kq := spclient.PollQueue(c)
			closed := make(chan error, 1)
			go func() { closed <- c.CloseFD(ctx, kq) }()
			if os.Getenv("SPCLIENT_TEST_SERVER") == "" {
				// In NetBSD's kernel it waits for the kevent(2), that is for the write.
				if err := <-closed; err != nil {
					t.Fatal(err)
				}
				closed <- nil
			}
			if _, err := b.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
			if err := <-done; err != nil {
				t.Error(err)
			}
			if err := <-closed; err != nil {
				t.Fatal(err)
			}
		}
	})
}

// TestReconnected loses the kernel and finds another one at its place. Old sockets
// stay lost, and closing them does nothing to new ones of the same numbers.
func TestReconnected(t *testing.T) {
	dir, err := os.MkdirTemp("", "rump-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	sock := filepath.Join(dir, "k")
	end, err := serveKernelAt(sock, netbsd.AMD64)
	if err != nil {
		t.Fatal(err)
	}
	ctx := testContext(t)
	c, err := spclient.Dial(ctx, "unix://"+sock, &spclient.Options{Retry: spclient.RetryInfinite, Message: func(string) {}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	a, b, l := pipe(t, c, c, "tcp", "127.0.0.1:0")
	waiting := readAsync(a)
	waitPolling(t, c)
	end()
	if err := <-waiting; !errors.Is(err, spclient.ErrLost) {
		t.Errorf("read: %v", err)
	}
	if end, err = serveKernelAt(sock, netbsd.AMD64); err != nil {
		t.Fatal(err)
	}
	defer end()
	na, nb, nl := pipe(t, c, c, "tcp", "127.0.0.1:0")
	reused := false
	old := map[int32]bool{}
	for _, x := range []interface{ FD() spclient.FD }{a.(*spclient.TCPConn), b.(*spclient.TCPConn), l.(*spclient.TCPListener)} {
		old[x.FD().Int()] = true
	}
	for _, x := range []interface{ FD() spclient.FD }{na.(*spclient.TCPConn), nb.(*spclient.TCPConn), nl.(*spclient.TCPListener)} {
		reused = reused || old[x.FD().Int()]
	}
	if !reused {
		t.Error("the new kernel gave other numbers: nothing is tested")
	}
	newWaiting := readAsync(na)
	for _, err := range []error{
		func() error { _, err := a.Read(make([]byte, 1)); return err }(),
		func() error { _, err := b.Write(make([]byte, 1)); return err }(),
		func() error { _, err := l.Accept(); return err }(),
		b.(*spclient.TCPConn).SetNoDelay(false),
	} {
		if !errors.Is(err, spclient.ErrLost) {
			t.Errorf("old socket: %v", err)
		}
	}
	for _, x := range []io.Closer{a, b, l} {
		if err := x.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}
	if _, err := nb.Write([]byte("x")); err != nil {
		t.Error(err)
	}
	if err := <-newWaiting; err != nil {
		t.Error(err)
	}
	for _, x := range []io.Closer{na, nb, nl} {
		if err := x.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestSilentKernel has a kernel that takes calls on a socket and never answers. Nobody
// waits for it much longer than he wants to.
func TestSilentKernel(t *testing.T) {
	t.Parallel()
	var silent atomic.Bool
	c := dial(t, spclienttest.NewServer(t, "unix", netbsd.POWERPC, func(p *spclienttest.Peer) {
		p.ServeAll(func(call *spclienttest.Call) {
			order := call.Machine.Order
			switch call.Num {
			case netbsd.SYS_getsockopt:
				call.Args.Int()
				call.Args.Int()
				call.Args.Int()
				call.CopyOut(call.Args.Ptr(), order.AppendUint32(nil, netbsd.SOCK_STREAM))
				call.Reply(0, 0)
			case netbsd.SYS_getsockname, netbsd.SYS_getpeername:
				call.Args.Int()
				call.CopyOut(call.Args.Ptr(), []byte{16, netbsd.AF_INET, 0, 80, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0})
				call.CopyOut(call.Args.Ptr(), order.AppendUint32(nil, 16))
				call.Reply(0, 0)
			case netbsd.SYS_recvfrom, netbsd.SYS_sendto:
				if !silent.Load() {
					call.Fail(netbsd.EIO)
				}
			default:
				call.Reply(0, 0)
			}
		})
	}), nil)
	ctx := testContext(t)
	open := func(num int32) net.Conn {
		t.Helper()
		nc, err := c.NetConn(ctx, c.FD(num))
		if err != nil {
			t.Fatal(err)
		}
		return nc
	}
	a, b := open(3), open(4)
	if _, err := a.Read(make([]byte, 1)); !errors.Is(err, netbsd.EIO) {
		t.Fatal(err)
	}
	silent.Store(true)
	start := time.Now()
	var wg sync.WaitGroup
	wg.Add(3)
	go func() {
		defer wg.Done()
		a.SetDeadline(time.Now().Add(50 * time.Millisecond))
		if _, err := a.Read(make([]byte, 1)); !isTimeout(err) {
			t.Errorf("read at its deadline: %v", err)
		}
		// What the call has read, if anything, is lost: there is no going on.
		a.SetDeadline(time.Time{})
		if _, err := a.Read(make([]byte, 1)); err == nil || isTimeout(err) {
			t.Errorf("read after the lost call: %v", err)
		}
		a.Close()
	}()
	go func() {
		defer wg.Done()
		if _, err := b.Write(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("write at close: %v", err)
		}
	}()
	go func() {
		defer wg.Done()
		time.Sleep(50 * time.Millisecond)
		b.Close()
	}()
	wg.Wait()
	if d := time.Since(start); d < time.Second || d > testTimeout {
		t.Errorf("it took %v", d)
	}
}

// TestManyWaiters has many sockets of which few have something at a time.
func TestManyWaiters(t *testing.T) {
	netKernels(t, func(t *testing.T, url string) {
		checkLeaks(t)
		ctx, c := testContext(t), dialKernel(t, url)
		const sockets, rounds = 40, 20
		l, err := c.Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		wg.Add(1)
		go func() {
			defer wg.Done()
			for {
				nc, err := l.Accept()
				if err != nil {
					return
				}
				wg.Add(1)
				go func() {
					defer wg.Done()
					defer nc.Close()
					io.Copy(nc, nc)
				}()
			}
		}()
		var clients sync.WaitGroup
		for i := range sockets {
			clients.Add(1)
			go func() {
				defer clients.Done()
				nc, err := c.DialContext(ctx, "tcp", l.Addr().String())
				if err != nil {
					t.Error(err)
					return
				}
				defer nc.Close()
				want := bytes.Repeat([]byte{byte(i)}, 1+i*100)
				for range rounds {
					if _, err := nc.Write(want); err != nil {
						t.Error(err)
						return
					}
					got := make([]byte, len(want))
					if _, err := io.ReadFull(nc, got); err != nil || !bytes.Equal(got, want) {
						t.Errorf("%v, other bytes than were sent", err)
						return
					}
				}
			}()
		}
		clients.Wait()
		l.Close()
		wg.Wait()
		c.Close()
	})
}

// TestUnneededWait gives up waiting: no kevent(2) holds a worker of the kernel's for
// ever, and who waits again is woken.
func TestUnneededWait(t *testing.T) {
	netKernels(t, func(t *testing.T, url string) {
		c := dialKernel(t, url)
		a, b, l := pipe(t, c, c, "tcp", "127.0.0.1:0")
		defer l.Close()
		defer a.Close()
		defer b.Close()
		buf := make([]byte, 1)
		for range 2 {
			a.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
			if _, err := a.Read(buf); !isTimeout(err) {
				t.Fatalf("a read at its deadline: %v", err)
			}
			for end := time.Now().Add(testTimeout); spclient.Pending(c) > 0; time.Sleep(10 * time.Millisecond) {
				if time.Now().After(end) {
					t.Fatal("a call is still under way")
				}
			}
			a.SetReadDeadline(time.Time{})
			go b.Write([]byte("x"))
			if _, err := a.Read(buf); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// TestCloseBusy closes sockets while others are waited for and have events all the
// time. NetBSD's kernel stops for good if one is closed while kevent(2) looks at it.
func TestCloseBusy(t *testing.T) {
	netKernels(t, func(t *testing.T, url string) {
		ctx, c := testContext(t), dialKernel(t, url)
		l, err := c.Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		go func() {
			for {
				nc, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					defer nc.Close()
					io.Copy(nc, nc)
				}()
			}
		}()
		var wg sync.WaitGroup
		for range 8 {
			wg.Add(1)
			go func() {
				defer wg.Done()
				for i := range 15 {
					nc, err := c.DialContext(ctx, "tcp", l.Addr().String())
					if err != nil {
						t.Error(err)
						return
					}
					nc.SetDeadline(time.Now().Add(testTimeout))
					data := make([]byte, 40000)
					if i%3 == 0 {
						// Closed in the midst of it.
						go nc.Write(data)
						nc.Read(data[:1000])
					} else if _, err := nc.Write(data[:1000]); err != nil {
						t.Error(err)
					} else if _, err := io.ReadFull(nc, data[:1000]); err != nil {
						t.Error(err)
					}
					if err := nc.Close(); err != nil {
						t.Error(err)
					}
				}
			}()
		}
		wg.Wait()
	})
}
