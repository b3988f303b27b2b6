package kernel_test

import (
	"bufio"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"rumptools/internal/kernel"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
	"rumptools/pkg/sysproxy"
)

// floods makes a hostile client with /dev/null as descriptor 3 over each kind of
// link.
func floods(t *testing.T, test func(t *testing.T, k *kernel.Kernel, h *hostile)) {
	open := func(t *testing.T, h *hostile) {
		h.say(syscallOf(netbsd.SYS_open, 0x1000, netbsd.O_RDWR, 0))
		hd, _ := h.hear(t)
		h.Write(sysproxy.CopyInReply{Data: []byte("/dev/null\x00")}.Append(nil, wire, hd.ReqNo))
		h.hear(t)
	}
	t.Run("socket", func(t *testing.T) {
		k, url := serve(t, kernel.Config{})
		h := attack(t, url, true)
		open(t, h)
		test(t, k, h)
	})
	// A connection that is no socket of the host, and takes nothing that is
	// not read.
	t.Run("pipe", func(t *testing.T) {
		k, _ := serve(t, kernel.Config{})
		nc, served := net.Pipe()
		t.Cleanup(func() { nc.Close() })
		k.Attach(served)
		h := &hostile{Conn: nc, r: bufio.NewReader(nc)}
		if _, err := h.r.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
		h.say(sysproxy.Guest{Name: "hostile"})
		h.hear(t)
		open(t, h)
		test(t, k, h)
	})
}

// A client may make all its calls, and answer all copy requests, before it reads:
// the kernel goes on reading, as long as what it has to say is not too much.
func TestFloodIsRead(t *testing.T) {
	floods(t, func(t *testing.T, k *kernel.Kernel, h *hostile) {
		const calls, size = 40000, 64
		h.SetDeadline(time.Now().Add(60 * time.Second))
		first := h.reqno + 1
		for range calls / 1000 {
			if _, err := h.Write(h.frames(1000, syscallOf(netbsd.SYS_write, 3, 0x1000, size))); err != nil {
				t.Fatalf("calls are not read: %v", err)
			}
		}
		var answers []byte
		told := make(map[uint64]int)
		copies, refused := 0, 0
		for copies+refused < calls {
			switch hd, m := h.hear(t); m := m.(type) {
			case sysproxy.CopyIn:
				copies++
				answers = sysproxy.CopyInReply{Data: make([]byte, size)}.Append(answers, wire, hd.ReqNo)
			case sysproxy.Refusal:
				if refused++; m.Code != sysproxy.ErrTryAgain {
					t.Fatalf("refused: %v", m.Code)
				}
				told[hd.ReqNo]++
			default:
				t.Fatalf("%+v", hd)
			}
		}
		if copies != kernel.MaxCalls {
			t.Errorf("%d calls were begun, want %d", copies, kernel.MaxCalls)
		}
		if _, err := h.Write(answers); err != nil {
			t.Fatalf("answers are not read: %v", err)
		}
		for range copies {
			hd, m := h.hear(t)
			if r, ok := m.(sysproxy.SyscallReply); !ok || r.Errno != 0 || r.Retval[0] != size {
				t.Fatalf("%+v %+v", hd, m)
			}
			told[hd.ReqNo]++
		}
		for i := range uint64(calls) {
			if told[first+i] != 1 {
				t.Fatalf("call %d was answered %d times", i, told[first+i])
			}
		}
		if held := k.Held(); held != 0 {
			t.Errorf("%d bytes are still held", held)
		}
	})
}

// A client that reads nothing is read from until what waits for it is as much as
// it may be. When it reads, all of it comes, whole and in order.
func TestFloodEnds(t *testing.T) {
	floods(t, func(t *testing.T, k *kernel.Kernel, h *hostile) {
		answer := len(sysproxy.SyscallReply{}.Append(nil, wire, 0))
		m := syscallOf(netbsd.SYS_getpid)
		first, sent := h.reqno+1, 0
		var left []byte // of the flood that was not read
		for left == nil {
			h.SetWriteDeadline(time.Now().Add(time.Second))
			flood := h.frames(1000, m)
			n, err := h.Write(flood)
			if sent += 1000; err != nil {
				if least := kernel.OutMost / answer; sent < least {
					t.Fatalf("%d calls were read, at least %d expected", sent, least)
				}
				left = flood[n:]
			}
			if most := (kernel.OutMost + 4<<20) / answer; sent > most {
				t.Fatalf("%d calls were read, %d at most expected", sent, most)
			}
		}
		h.SetDeadline(time.Now().Add(60 * time.Second))
		go h.Write(left)
		for i := range uint64(sent) {
			hd, m := h.hear(t)
			if _, ok := m.(sysproxy.SyscallReply); !ok || hd.ReqNo != first+i {
				t.Fatalf("answer %d: %+v", i, hd)
			}
		}
		for end := time.Now().Add(20 * time.Second); k.Held() != 0; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%d bytes are still held", k.Held())
			}
		}
	})
}

// Ten thousand goroutines make calls with buffers over one connection, at the same
// time and in both directions, and all of them end.
func TestFloodOfCallers(t *testing.T) {
	_, url := serve(t, kernel.Config{})
	c := dial(t, url)
	ctx := t.Context()
	var fds [2]spclient.FD
	for i, name := range []string{"/dev/null", "/dev/zero"} {
		fd, err := c.Open(ctx, name, netbsd.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		fds[i] = fd
	}
	const callers, size = 10000, 4 << 10
	start := make(chan struct{})
	var all sync.WaitGroup
	for i := range callers {
		all.Go(func() {
			p := make([]byte, size)
			<-start
			for {
				n, err := 0, error(nil)
				if i%4 == 0 {
					n, err = c.Read(ctx, fds[1], p)
				} else {
					n, err = c.Write(ctx, fds[0], p)
				}
				if errors.Is(err, sysproxy.ErrTryAgain) {
					// There are too many at the moment.
					time.Sleep(100 * time.Millisecond)
					continue
				}
				if err != nil || n != size {
					t.Errorf("%d bytes, %v", n, err)
				}
				return
			}
		})
	}
	close(start)
	all.Wait()
}
