package kernel

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// linkPair makes a link with a descriptor of its own, and its other end.
func linkPair(t *testing.T, ls *links) (*hostLink, *net.UnixConn) {
	t.Helper()
	l, peer := youngPair(t, ls)
	if l.adopt(); l.nc != nil {
		t.Fatal("the runtime keeps the descriptor")
	}
	return l, peer
}

// youngPair makes a link that the runtime still has, and its other end.
func youngPair(t *testing.T, ls *links) (*hostLink, *net.UnixConn) {
	t.Helper()
	nl, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer nl.Close()
	peer, err := net.Dial("unix", nl.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { peer.Close() })
	nc, err := nl.Accept()
	if err != nil {
		t.Fatal(err)
	}
	l, ok := ls.open(nc).(*hostLink)
	if !ok {
		t.Fatal("a local socket got no link of direct host calls")
	}
	return l, peer.(*net.UnixConn)
}

// echo answers what l receives until it ends.
func echo(l *hostLink) (ended chan error) {
	ended = make(chan error, 1)
	go func() {
		p := make([]byte, 64)
		for {
			n, err := l.Read(p)
			if err == nil {
				err = l.write(p[:n], nil)
			}
			if err != nil {
				ended <- err
				return
			}
		}
	}()
	return ended
}

// waitDirects waits until n links of the process wait directly.
func waitDirects(t *testing.T, n int32) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); directs.Load() != n; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d links wait directly, want %d", directs.Load(), n)
		}
	}
}

// A link waits directly while its frames come quickly, and no longer; then
// frames reach it all the same. Nothing is left of it.
func TestLinkDirect(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(4))
	var ls links
	l, peer := youngPair(t, &ls)
	ended := echo(l)
	p := make([]byte, 8)
	ask := func() {
		t.Helper()
		if _, err := peer.Write(p); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(peer, p); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		// However slow the host is, some time four frames come within
		// their milliseconds.
		for end := time.Now().Add(20 * time.Second); directs.Load() == 0; ask() {
			if time.Now().After(end) {
				t.Fatal("the link never waited directly")
			}
		}
		for range 100 {
			ask()
		}
		waitDirects(t, 0)
		ask()
	}
	peer.CloseWrite()
	if err := <-ended; err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
	l.close()
	if n := directs.Load(); n != 0 || ls.poller != nil || ls.users != 0 {
		t.Errorf("%d direct waits, poller %p, %d users are left", n, ls.poller, ls.users)
	}
	l.hangup() // too late, and harmless
}

// A garbage collection does not wait for links that wait directly.
func TestLinkCollection(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2))
	var ls links
	l, peer := linkPair(t, &ls)
	ended := echo(l)
	stop, collected := make(chan struct{}), make(chan int, 1)
	go func() {
		n := 0
		for {
			select {
			case <-stop:
				collected <- n
				return
			default:
				runtime.GC()
				n++
			}
		}
	}()
	p := make([]byte, 8)
	for end := time.Now().Add(300 * time.Millisecond); time.Now().Before(end); {
		peer.Write(p)
		if _, err := io.ReadFull(peer, p); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	select {
	case n := <-collected:
		if n == 0 {
			t.Error("no collection ended")
		}
	case <-time.After(20 * time.Second):
		t.Fatal("a collection hangs")
	}
	peer.Close()
	<-ended
	l.close()
}

// With one P no link waits directly, and with several no more than half as many.
func TestLinkLimit(t *testing.T) {
	for _, procs := range []int{1, 4} {
		func() {
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(procs))
			limit := maxDirects()
			if int(limit) != procs/2 {
				t.Fatalf("limit %d of %d Ps", limit, procs)
			}
			var ls links
			var all []*hostLink
			for range 4 {
				l, _ := linkPair(t, &ls)
				l.enterDirect()
				all = append(all, l)
			}
			if n := directs.Load(); n != limit {
				t.Errorf("%d Ps: %d links wait directly", procs, n)
			}
			for _, l := range all {
				l.close()
			}
			if n := directs.Load(); n != 0 {
				t.Errorf("%d Ps: %d links are left", procs, n)
			}
		}()
	}
}

// A link that waits directly when the last P but one is taken away does so no
// more, however quick its frames are.
func TestLinkLastP(t *testing.T) {
	procs := runtime.GOMAXPROCS(2)
	defer runtime.GOMAXPROCS(procs)
	var ls links
	l, peer := linkPair(t, &ls)
	l.enterDirect()
	if !l.direct {
		t.Fatal("it does not wait directly")
	}
	runtime.GOMAXPROCS(1)
	ended := echo(l)
	waitDirects(t, 0)
	p := make([]byte, 8)
	for range 100 {
		peer.Write(p)
		if _, err := io.ReadFull(peer, p); err != nil {
			t.Fatal(err)
		}
		if directs.Load() != 0 {
			t.Fatal("it waits directly with the only P")
		}
	}
	peer.Close()
	<-ended
	l.close()
}

// When other clients are busy, a link leaves the P to them.
func TestLinkOthers(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2))
	var ls links
	a, _ := linkPair(t, &ls)
	b, bpeer := linkPair(t, &ls)
	a.enterDirect()
	a.others()
	p := make([]byte, 8)
	for range 3 {
		bpeer.Write(p)
		b.await()
		if n, err := b.Read(p); n != len(p) || err != nil {
			t.Fatal(n, err)
		}
	}
	if !a.others() {
		t.Error("three frames of another client went unnoticed")
	}
	if a.others() {
		t.Error("they were noticed twice")
	}
	a.close()
	b.close()
}

// What does not fit into the host's buffers waits, and a hangup ends that.
func TestLinkFull(t *testing.T) {
	for _, hang := range []bool{false, true} {
		var ls links
		l, peer := linkPair(t, &ls)
		unix.SetsockoptInt(l.fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 4096)
		head, data := make([]byte, 1000), make([]byte, 1<<20)
		for i := range data {
			data[i] = byte(i >> 8)
		}
		sent := make(chan error, 1)
		go func() { sent <- l.write(head, data) }()
		if hang {
			select {
			case err := <-sent:
				t.Fatalf("a megabyte went into nowhere: %v", err)
			case <-time.After(10 * time.Millisecond):
			}
			l.hangup()
			if err := <-sent; !errors.Is(err, syscall.EPIPE) {
				t.Errorf("after the hangup: %v", err)
			}
			if _, err := l.Read(head); err != io.EOF {
				t.Errorf("read after the hangup: %v", err)
			}
		} else {
			got := make([]byte, len(head)+len(data))
			if _, err := io.ReadFull(peer, got); err != nil {
				t.Fatal(err)
			}
			if err := <-sent; err != nil {
				t.Error(err)
			}
			if string(got) != string(head)+string(data) {
				t.Error("not what was sent")
			}
		}
		l.close()
	}
}

// Links leave no descriptor and no goroutine.
func TestLinkLeaves(t *testing.T) {
	count := func() (fds, goroutines int) {
		names, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(names), runtime.NumGoroutine()
	}
	linkOnce := func() {
		var ls links
		l, peer := linkPair(t, &ls)
		peer.Close()
		l.close()
	}
	linkOnce()
	fds, running := count()
	for range 50 {
		linkOnce()
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		now, goroutines := count()
		if now <= fds && goroutines <= running {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d descriptors and %d goroutines before, %d and %d after", fds, running, now, goroutines)
		}
	}
}
