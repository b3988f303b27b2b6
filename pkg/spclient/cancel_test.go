package spclient_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
	"rumptools/pkg/spclient/spclienttest"
	"rumptools/pkg/sysproxy"
)

// prompt is how soon a call that is given up must return. On a busy machine it
// may take some of it.
const prompt = 2 * time.Second

// TestAbandon gives a call up that the kernel has begun. What the kernel does
// with its buffers later must not touch the caller's memory, and the answer is
// not for the next call.
func TestAbandon(t *testing.T) {
	checkLeaks(t)
	for _, m := range []*netbsd.Machine{netbsd.AMD64, netbsd.POWERPC} {
		t.Run(m.Name, func(t *testing.T) {
			begun, abandoned := make(chan struct{}), make(chan struct{})
			srv := spclienttest.NewServer(t, "unix", m, func(p *spclienttest.Peer) {
				p.Handshake()
				call := p.NextCall()
				in, out := call.Args.Ptr(), call.Args.Ptr()
				if got := p.CopyIn(in, 5); string(got) != "bytes" {
					t.Errorf("before: %q", got)
				}
				close(begun)
				<-abandoned
				p.CopyOut(out, []byte("late"))
				if got := p.CopyIn(in, 5); string(got) != "bytes" {
					t.Errorf("after: %q", got)
				}
				next := p.NextCall()
				p.CopyOut(out, []byte("later"))
				call.Reply(1, 1)
				next.Reply(2, 2)
				// Its window is gone with the answer.
				p.NextCall()
				p.CopyOut(out, []byte("too late"))
				p.WaitGone()
			})
			c := dial(t, srv, nil)
			ctx, cancel := context.WithCancel(testContext(t))
			in, out := []byte("bytes"), []byte("untouched")
			go func() {
				<-begun
				cancel()
			}()
			_, err := c.NewCall(netbsd.SYS_getpid).In(in).Out(out).Do(ctx)
			if !errors.Is(err, context.Canceled) || err.Error() != "getpid: context canceled" {
				t.Errorf("error %v", err)
			}
			// The race detector sees who else touches these.
			copy(in, "other")
			copy(out, "UNTOUCHED")
			close(abandoned)
			if pid, err := c.Getpid(testContext(t)); pid != 2 || err != nil {
				t.Errorf("next call = %d, %v", pid, err)
			}
			if string(in) != "other" || string(out) != "UNTOUCHED" {
				t.Errorf("buffers are %q, %q", in, out)
			}
			_, err = c.Getpid(testContext(t))
			checkError(t, err, errProtocol)
		})
	}
}

// TestAbandonAnswered lets answers and the ends of contexts meet. Either is
// good, and none may be mixed up.
func TestAbandonAnswered(t *testing.T) {
	checkLeaks(t)
	c := serve(t, netbsd.AMD64, map[uint32]func(*spclienttest.Call){
		netbsd.SYS_read: func(c *spclienttest.Call) {
			tag, addr := c.Args.Int(), c.Args.Ptr()
			c.CopyOut(addr, []byte(fmt.Sprintf("%08d", tag)))
			c.Reply(uint64(tag), 0)
		},
	})
	var wg sync.WaitGroup
	var mu sync.Mutex
	answered, abandoned := 0, 0
	for g := range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range 300 {
				ctx, cancel := context.WithCancel(testContext(t))
				if i%3 > 0 {
					go cancel()
				}
				buf := make([]byte, 8)
				tag := int32(g*1000 + i)
				ret, err := c.NewCall(netbsd.SYS_read).Int(tag).Out(buf).Do(ctx)
				cancel()
				mu.Lock()
				switch {
				case err == nil:
					answered++
					if want := fmt.Sprintf("%08d", tag); int32(ret.Retval[0]) != tag || string(buf) != want {
						t.Errorf("call %d: result %d, %q", tag, ret.Retval[0], buf)
					}
				case errors.Is(err, context.Canceled):
					abandoned++
					if !bytes.Equal(buf, make([]byte, 8)) {
						t.Errorf("call %d was given up and wrote %q", tag, buf)
					}
				case errors.Is(err, spclient.ErrAbandoned):
				default:
					t.Errorf("call %d: %v", tag, err)
				}
				mu.Unlock()
			}
		}()
	}
	wg.Wait()
	t.Logf("%d answered, %d abandoned", answered, abandoned)
	if c.Err() != nil {
		t.Errorf("connection: %v", c.Err())
	}
}

// TestSilence gives calls up that a server, which reads and says nothing, has.
func TestSilence(t *testing.T) {
	checkLeaks(t)
	begun, answer := make(chan struct{}), make(chan struct{})
	srv := spclienttest.NewServer(t, "unix", netbsd.AMD64, func(p *spclienttest.Peer) {
		p.Handshake()
		var calls []*spclienttest.Call
		for range spclient.MaxAbandoned {
			calls = append(calls, p.NextCall())
			begun <- struct{}{}
		}
		<-answer
		for _, call := range calls {
			call.Reply(1, 0)
		}
		p.NextCall().Reply(2, 0)
		p.WaitGone()
	})
	c := dial(t, srv, nil)
	for range spclient.MaxAbandoned {
		ctx, cancel := context.WithCancel(context.Background())
		go func() {
			<-begun
			cancel()
		}()
		if _, err := c.NewCall(netbsd.SYS_getpid).In(make([]byte, 100)).Do(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
	}
	// A context that has ended before sends nothing.
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := c.Getpid(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("context that has ended: %v", err)
	}
	if _, err := c.Getpid(testContext(t)); !errors.Is(err, spclient.ErrAbandoned) {
		t.Errorf("one too many: %v", err)
	}
	close(answer)
	for {
		pid, err := c.Getpid(testContext(t))
		if errors.Is(err, spclient.ErrAbandoned) {
			continue // answers are under way
		}
		if pid != 2 || err != nil {
			t.Errorf("after the answers: %d, %v", pid, err)
		}
		return
	}
}

// smallBuffer makes the client's send buffer as small as the host lets it be.
func smallBuffer(ctx context.Context, network, address string) (net.Conn, error) {
	nc, err := new(net.Dialer).DialContext(ctx, network, address)
	if err == nil {
		err = nc.(interface{ SetWriteBuffer(int) error }).SetWriteBuffer(1)
	}
	return nc, err
}

// TestBlockedSend gives calls up whose frames can't be sent, because the server
// does not read. Once it does all frames must come, and whole.
func TestBlockedSend(t *testing.T) {
	checkLeaks(t)
	const callers = 300
	read := make(chan struct{})
	srv := spclienttest.NewRawServer(t, "unix", func(nc net.Conn) {
		l := sysproxy.Layout{Order: netbsd.AMD64.Order, WordSize: 8}
		io.WriteString(nc, spclienttest.BannerOf(netbsd.AMD64))
		answer := func(reply sysproxy.Message) bool {
			h, err := l.ReadHeader(nc)
			if err != nil {
				return false
			}
			payload, err := sysproxy.ReadPayload(nc, h, nil, 1000)
			if err != nil {
				t.Error(err)
				return false
			}
			if h.Type == sysproxy.TypeSyscall && (h.U != netbsd.SYS_getpid || !bytes.Equal(payload, args(int(payload[0])))) {
				t.Errorf("frame %+v with %x", h, payload)
			}
			_, err = nc.Write(reply.Append(nil, l, h.ReqNo))
			return err == nil
		}
		answer(sysproxy.HandshakeReply{})
		<-read
		for answer(sysproxy.SyscallReply{}) {
		}
	})
	c := dial(t, srv, &spclient.Options{Dial: smallBuffer})
	ctx, cancel := context.WithCancel(testContext(t))
	errs := make(chan error)
	for i := range callers {
		go func() {
			_, err := callWith(c, i%11).Do(ctx)
			errs <- err
		}()
	}
	select {
	case err := <-errs:
		t.Fatalf("call of a server that does not read: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	start := time.Now()
	cancel()
	for range callers {
		// A late one may find too many before it.
		if err := <-errs; !errors.Is(err, context.Canceled) && !errors.Is(err, spclient.ErrAbandoned) {
			t.Errorf("error %v", err)
		}
	}
	if d := time.Since(start); d > prompt {
		t.Errorf("giving up took %v", d)
	}
	close(read)
	for {
		_, err := callWith(c, 3).Do(testContext(t))
		if err == nil {
			break
		}
		if !errors.Is(err, spclient.ErrAbandoned) {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
	}
}

// callWith is a call with n arguments, of which the first is n.
func callWith(c *spclient.Conn, n int) *spclient.Call {
	call := c.NewCall(netbsd.SYS_getpid).Word(uint64(n))
	for i := range max(n, 1) - 1 {
		call.Word(uint64(i) * 0x0101010101010101)
	}
	return call
}

func args(n int) []byte {
	var a netbsd.Args
	a.Reset(netbsd.AMD64).Word(uint64(n))
	for i := range max(n, 1) - 1 {
		a.Word(uint64(i) * 0x0101010101010101)
	}
	return a.Bytes()
}

// TestLost ends the server while calls are under way.
func TestLost(t *testing.T) {
	checkLeaks(t)
	const callers = 50
	for _, network := range []string{"unix", "tcp"} {
		t.Run(network, func(t *testing.T) {
			srv := spclienttest.NewServer(t, network, netbsd.AMD64, func(p *spclienttest.Peer) {
				p.Handshake()
				for range callers {
					p.NextCall()
				}
			})
			c := dial(t, srv, nil)
			errs := make(chan error)
			for range callers {
				go func() {
					_, err := c.Read(testContext(t), c.FD(0), make([]byte, 100))
					errs <- err
				}()
			}
			first := <-errs
			for range callers - 1 {
				if err := <-errs; err != first {
					t.Errorf("calls end with %v and %v", first, err)
				}
			}
			var lost *spclient.LostError
			if !errors.As(first, &lost) || !errors.Is(first, spclient.ErrLost) || lost.Cause != io.EOF {
				t.Errorf("error %#v", first)
			}
			if want := "lost the rump kernel at " + srv.URL() + ": it closed the connection"; first.Error() != want {
				t.Errorf("error %q, want %q", first, want)
			}
			<-c.Done()
			if c.Err() != first {
				t.Errorf("Err is %v", c.Err())
			}
			if _, err := c.Getpid(context.Background()); err != first {
				t.Errorf("later call: %v", err)
			}
		})
	}
}

// TestCloseWhileCalling closes a connection that is in use.
func TestCloseWhileCalling(t *testing.T) {
	checkLeaks(t)
	const callers = 20
	under := make(chan struct{})
	srv := spclienttest.NewServer(t, "unix", netbsd.AMD64, func(p *spclienttest.Peer) {
		p.Handshake()
		for range callers {
			p.NextCall()
		}
		close(under)
		p.WaitGone()
	})
	c := dial(t, srv, nil)
	errs := make(chan error)
	for range callers {
		go func() {
			_, err := c.Getpid(testContext(t))
			errs <- err
		}()
	}
	<-under
	c.Close()
	for range callers {
		if err := <-errs; !errors.Is(err, spclient.ErrClosed) {
			t.Errorf("error %v", err)
		}
	}
}

// TestAnswersBeforeEnd checks that answers count which the server gave before it
// went, also when sending fails before they are here.
func TestAnswersBeforeEnd(t *testing.T) {
	checkLeaks(t)
	for range 50 {
		deaf := make(chan struct{})
		srv := spclienttest.NewServer(t, "unix", netbsd.AMD64, func(p *spclienttest.Peer) {
			p.Handshake()
			call := p.NextCall()
			p.Conn.(*net.UnixConn).CloseRead()
			close(deaf)
			call.Reply(7, 0)
		})
		c := dial(t, srv, nil)
		failed := make(chan error)
		go func() {
			<-deaf
			_, err := c.Getpid(testContext(t))
			failed <- err
		}()
		if pid, err := c.Getpid(testContext(t)); err != nil || pid != 7 {
			t.Errorf("Getpid = %d, %v", pid, err)
		}
		if err := <-failed; !errors.Is(err, spclient.ErrLost) {
			t.Errorf("call that can't be sent: %v", err)
		}
		srv.Close()
		c.Close()
	}
}

// TestDeafServer has a server that reads no more but keeps the connection.
func TestDeafServer(t *testing.T) {
	checkLeaks(t)
	deaf, over := make(chan struct{}), make(chan struct{})
	srv := spclienttest.NewServer(t, "unix", netbsd.AMD64, func(p *spclienttest.Peer) {
		p.Handshake()
		p.Conn.(*net.UnixConn).CloseRead()
		close(deaf)
		<-over
	})
	defer close(over)
	c := dial(t, srv, nil)
	<-deaf
	start := time.Now()
	_, err := c.Getpid(testContext(t))
	if !errors.Is(err, spclient.ErrLost) {
		t.Errorf("call of a server that does not read: %v", err)
	}
	if d := time.Since(start); d > prompt {
		t.Errorf("took %v", d)
	}
}

// TestCloseInSysctl closes a connection while a kernel that does not take buffers along is amid a sysctl,
// which others wait for: it may finish that, but not take for ever.
func TestCloseInSysctl(t *testing.T) {
	checkLeaks(t)
	for _, answers := range []bool{true, false} {
		begun, closing, gone := make(chan struct{}), make(chan struct{}), make(chan struct{})
		srv := spclienttest.NewServer(t, "unix", netbsd.AMD64, func(p *spclienttest.Peer) {
			p.Handshake()
			call := p.NextCall()
			name := call.Args.Ptr()
			close(begun)
			<-closing
			if answers {
				time.Sleep(20 * time.Millisecond)
				if got := p.CopyIn(name, 4); len(got) != 4 {
					t.Errorf("copied in % x", got)
				}
				call.Reply(0, 0)
			}
			p.WaitGone()
			close(gone)
		})
		c := dial(t, srv, nil)
		ctx, cancel := context.WithCancel(testContext(t))
		called := make(chan error, 1)
		go func() {
			_, err := c.NewCall(netbsd.SYS___sysctl).In(make([]byte, 4)).Do(ctx)
			called <- err
		}()
		<-begun
		cancel()
		<-called
		since := time.Now()
		close(closing)
		c.Close()
		if took := time.Since(since); answers && took < 20*time.Millisecond || took > prompt {
			t.Errorf("answers %v: Close took %v", answers, took)
		}
		<-gone
		srv.Close()
	}
}
