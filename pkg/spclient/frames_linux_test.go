package spclient_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
	"rumptools/pkg/spclient/spclienttest"
	"rumptools/pkg/sysproxy"
)

func init() { children["frames"] = frameStorm }

// framesLeft tells the program after an exec how many calls are to be made yet.
const framesLeft = "SPCLIENT_TEST_FRAMES"

// frameStorm makes calls of mixed sizes from 64 goroutines over the smallest send
// buffer, while signals come and programs are started, and executes itself now
// and then.
func frameStorm(url string) error {
	left, err := strconv.ParseInt(os.Getenv(framesLeft), 10, 64)
	if err != nil {
		return err
	}
	ctx := context.Background()
	var caught atomic.Int64
	signals := make(chan os.Signal, 100)
	signal.Notify(signals, unix.SIGUSR1, unix.SIGWINCH)
	go func() {
		for range signals {
			caught.Add(1)
		}
	}()
	opts := &spclient.Options{Dial: smallBuffer}
	var c *spclient.Conn
	if spclient.Inherited() {
		c, err = spclient.DialInherited(ctx, opts)
	} else {
		c, err = spclient.Dial(ctx, url, opts)
	}
	if err != nil {
		return err
	}
	stop := make(chan struct{})
	go func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			exec.Command("/bin/true").Run()
		}
	}()

	const callers = 64
	round := min(left, 10_000)
	var todo atomic.Int64
	todo.Store(round)
	errs := make(chan error, callers)
	var wg sync.WaitGroup
	for g := range callers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			rnd := rand.New(rand.NewPCG(uint64(g), uint64(left)))
			for todo.Add(-1) >= 0 {
				call := c.NewCall(uint32(1000 + rnd.IntN(100)))
				size := rnd.IntN(200)
				if rnd.IntN(20) == 0 {
					size = rnd.IntN(20_000)
				}
				p := make([]byte, size)
				seed := rnd.Uint32()
				fillPattern(p, seed)
				call.Uint(seed).Word(uint64(size)).In(p)
				for range rnd.IntN(5) {
					call.Word(0x5a5a5a5a)
				}
				if _, err := call.Do(ctx); err != nil {
					errs <- err
					return
				}
			}
		}()
	}
	if left > round {
		// The exec comes into the middle of it: what is not done by then is
		// done by the next program.
		go func() {
			for todo.Load() > round/2 {
				time.Sleep(time.Millisecond)
			}
			done := round - max(todo.Load(), 0)
			path, argv := self()
			errs <- c.Exec(ctx, path, argv,
				childEnviron("frames", url, framesLeft+"="+fmt.Sprint(left-done)))
		}()
		return <-errs // Exec has failed
	}
	wg.Wait()
	close(stop)
	if caught.Load() == 0 {
		return fmt.Errorf("no signal came")
	}
	select {
	case err := <-errs:
		return err
	default:
		return c.Close()
	}
}

func fillPattern(p []byte, seed uint32) {
	for i := range p {
		p[i] = byte(seed) + byte(i*7)
	}
}

// TestWholeFrames has a server check each byte of 100,000 frames.
func TestWholeFrames(t *testing.T) {
	want := int64(100_000)
	if testing.Short() || raceEnabled {
		want = 20_000
	}
	m := netbsd.AMD64
	l := sysproxy.Layout{Order: binary.LittleEndian, WordSize: 8}
	var frames, large atomic.Int64
	srv := spclienttest.NewRawServer(t, "unix", func(nc net.Conn) {
		if err := checkFrames(nc, l, m, &frames, &large); err != nil {
			t.Error(err)
		}
	})
	// A call is two frames: the call and what it gives to be read.
	ctx, cancel := contextFor(5 * testTimeout)
	defer cancel()
	cmd := selfCommand(ctx)
	cmd.Env = childEnviron("frames", srv.URL(), framesLeft+"="+fmt.Sprint(want*11/20))
	out, err := os.CreateTemp(t.TempDir(), "out")
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		skipIfForeign(t, err)
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		// Not before the program catches them, which is before it connects.
		for frames.Load() == 0 {
			select {
			case <-ended:
				return
			case <-time.After(time.Millisecond):
			}
		}
		for {
			select {
			case <-ended:
				return
			case <-time.After(200 * time.Microsecond):
				// The default action of SIGWINCH does nothing: it may come
				// right after an exec.
				cmd.Process.Signal(unix.SIGWINCH)
			}
		}
	}()
	err = cmd.Wait()
	close(ended)
	if err != nil {
		b, _ := os.ReadFile(out.Name())
		t.Errorf("%v: %s", err, b)
	}
	if n := frames.Load(); n < want {
		t.Errorf("%d frames, want %d", n, want)
	}
	if large.Load() == 0 {
		t.Error("none was large")
	}
}

// checkFrames is a server that reads frames and checks all that is in them.
func checkFrames(nc net.Conn, l sysproxy.Layout, m *netbsd.Machine, frames, large *atomic.Int64) error {
	io.WriteString(nc, spclienttest.BannerOf(m))
	in := bufio.NewReader(nc)
	out := bufio.NewWriter(nc)
	type asked struct {
		call, size uint64
		seed       uint32
	}
	pending := make(map[uint64]asked) // copies, by our request number
	var reqno, last uint64
	buf := make([]byte, 64<<10)
	for {
		if in.Buffered() < sysproxy.HeaderLen {
			out.Flush()
		}
		h, err := l.ReadHeader(in)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		n, err := h.PayloadLen(len(buf))
		if err != nil {
			return fmt.Errorf("frame %d, %v: %w", frames.Load(), h, err)
		}
		if _, err := io.ReadFull(in, buf[:n]); err != nil {
			return err
		}
		frames.Add(1)
		p := buf[:n]
		switch {
		case h.Class == sysproxy.Req && h.Type == sysproxy.TypeHandshake:
			last = 0 // a new program counts anew
			out.Write(sysproxy.HandshakeReply{}.Append(nil, l, h.ReqNo))
		case h.Class == sysproxy.Req && h.Type == sysproxy.TypeSyscall && h.U >= 1000 && h.U < 1100 && n >= 24 && n <= 64:
			for _, b := range p[24:] {
				if b != 0x5a && b != 0 {
					return fmt.Errorf("frame %d, %v: arguments % x", frames.Load(), h, p)
				}
			}
			if h.ReqNo == 0 || h.ReqNo > last+100 {
				return fmt.Errorf("frame %d: request number %d after %d", frames.Load(), h.ReqNo, last)
			}
			last = max(last, h.ReqNo)
			a := asked{h.ReqNo, l.Word(p[8:]), uint32(l.Word(p))}
			if a.size == 0 {
				out.Write(sysproxy.SyscallReply{}.Append(nil, l, h.ReqNo))
				continue
			}
			reqno++
			pending[reqno] = a
			out.Write(sysproxy.CopyIn{Len: a.size, Addr: l.Word(p[16:])}.Append(nil, l, reqno))
		case h.Class == sysproxy.Resp && h.Type == sysproxy.TypeCopyIn:
			a, ok := pending[h.ReqNo]
			if !ok || a.size != uint64(n) {
				return fmt.Errorf("frame %d, %v: an answer to %v", frames.Load(), h, a)
			}
			delete(pending, h.ReqNo)
			for i, b := range p {
				if b != byte(a.seed)+byte(i*7) {
					return fmt.Errorf("frame %d, %v: byte %d is wrong", frames.Load(), h, i)
				}
			}
			if n > 4096 {
				large.Add(1)
			}
			out.Write(sysproxy.SyscallReply{}.Append(nil, l, a.call))
		default:
			return fmt.Errorf("frame %d: %v with % x", frames.Load(), h, p[:min(n, 64)])
		}
	}
}
