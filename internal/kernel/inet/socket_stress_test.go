package inet

import (
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"

	"rumptools/internal/kernel"
	"rumptools/pkg/netbsd"
)

// TestSocketsFreed opens and closes many sockets, in all states, and expects
// nothing to be left of them.
func TestSocketsFreed(t *testing.T) {
	s := newStackOf(t, netbsd.AMD64)
	before := runtime.NumGoroutine()
	linger := netbsd.Marshal(s.machine, &netbsd.Linger{Onoff: 1})
	for i := range 1000 {
		so, err := s.open([]int32{inet, inet6}[i%2], []int32{dgram, stream, netbsd.SOCK_RAW}[i%3], 0)
		must(t, err)
		if i%4 == 0 {
			so.Bind(addr(s, []string{"127.0.0.1:0", "[::1]:0"}[i%2]))
		}
		if i%8 == 0 {
			so.Connect(addr(s, []string{"127.0.0.1:9", "[::1]:9"}[i%2]))
		}
		if i%12 == 1 {
			so.Listen(5)
		}
		must(t, so.Close())
	}
	l, err := s.open(inet, stream, 0)
	must(t, err)
	must(t, l.Bind(addr(s, "127.0.0.1:80")))
	must(t, l.Listen(128))
	for i := range 200 {
		c, err := s.open(inet, stream, 0)
		must(t, err)
		must(t, connect(t, c, addr(s, "127.0.0.1:80")))
		var srv kernel.Socket
		must(t, await(t, l, func() (err error) {
			srv, _, err = l.Accept()
			return err
		}))
		// Without TIME_WAIT, which would last.
		must(t, srv.SetOption(nil, netbsd.SOL_SOCKET, netbsd.SO_LINGER, linger))
		if i%2 == 0 {
			send(t, c, []byte("hello"), nil)
		}
		must(t, srv.Close())
		must(t, c.Close())
	}
	must(t, l.Close())
	eventually(t, "all sockets are forgotten", func() bool {
		tab := &s.sockets
		tab.mu.Lock()
		defer tab.mu.Unlock()
		return len(tab.all) == 0 && len(tab.raw4) == 0 && len(tab.raw6) == 0 && len(tab.udp) == 0 && len(tab.tcp) == 0
	})
	eventually(t, "all endpoints are gone", func() bool {
		return len(s.net.RegisteredEndpoints()) == 0 && len(s.net.CleanupEndpoints()) == 0
	})
	eventually(t, "all goroutines have ended", func() bool { return runtime.NumGoroutine() <= before+2 })
}

// TestSocketsAtOnce has many goroutines use sockets, the lists and an interface
// that comes and goes at once. It is for the race detector, and against
// deadlocks.
func TestSocketsAtOnce(t *testing.T) {
	a, b := pair(t)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	loop := func(f func(i int)) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
					f(i)
				}
			}
		}()
	}
	room := func() *kernel.Message { return &kernel.Message{Data: make([]byte, 2000), Flags: netbsd.MSG_DONTWAIT} }
	shared := map[string]kernel.Socket{
		"icmp": open(t, a, inet, netbsd.SOCK_RAW, netbsd.IPPROTO_ICMP),
		"udp":  bound(t, a, "0.0.0.0:5000"),
		"udp6": bound(t, a, "[::]:5000"),
	}
	l := listener(t, a, "0.0.0.0:80", 10)
	for name, so := range shared {
		loop(func(i int) { so.Recv(nil, room()) })
		loop(func(i int) {
			so.Poll()
			so.Pending()
			so.Option(nil, netbsd.SOL_SOCKET, netbsd.SO_ERROR, 4)
			so.SetOption(nil, netbsd.SOL_SOCKET, netbsd.SO_RCVBUF, intOpt(a.machine, int32(1000+i%10000)))
			so.SetOption(nil, netbsd.IPPROTO_IP, netbsd.IP_RECVTTL, intOpt(a.machine, int32(i%2)))
			time.Sleep(time.Millisecond)
		})
		to := map[string]string{"icmp": "10.0.0.2:0", "udp": "127.0.0.1:5000", "udp6": "[fd00::1]:5000"}[name]
		loop(func(i int) {
			so.Send(nil, &kernel.Message{Data: echoRequest(netbsd.ICMP_ECHO, 1, uint16(i), nil), Name: addr(a, to)})
		})
	}
	loop(func(i int) {
		so, err := b.open(inet, dgram, 0)
		if err == nil {
			so.Connect(addr(b, "10.0.0.1:5000"))
			so.Send(nil, &kernel.Message{Data: []byte("x")})
			so.Close()
		}
	})
	loop(func(i int) {
		if so, _, err := l.Accept(); err == nil {
			so.Recv(nil, room())
			so.Send(nil, &kernel.Message{Data: []byte("answer")})
			so.Close()
		}
	})
	for _, s := range []*Stack{a, b} {
		loop(func(i int) {
			so, err := s.open(inet, stream, 0)
			if err != nil {
				return
			}
			so.Connect(addr(s, []string{"10.0.0.1:80", "127.0.0.1:80"}[i%2]))
			done := make(chan struct{})
			go func() {
				defer close(done)
				for range 10 {
					so.Poll()
					so.Send(nil, &kernel.Message{Data: []byte("question")})
					so.Recv(nil, room())
				}
			}()
			if i%3 == 0 {
				so.Shutdown(netbsd.SHUT_WR)
			}
			if i%2 == 0 {
				<-done
			}
			so.Close() // in the middle of it, else
			<-done
		})
	}
	loop(func(int) {
		for _, proto := range []int32{netbsd.IPPROTO_TCP, netbsd.IPPROTO_UDP, netbsd.IPPROTO_RAW} {
			for _, family := range []int32{inet, inet6} {
				pcbs(t, a, family, proto)
			}
		}
		time.Sleep(time.Millisecond)
	})
	loop(func(int) {
		a.mu.Lock()
		ifp := a.ifByName["shmif0"]
		a.ifDown(ifp)
		a.mu.Unlock()
		time.Sleep(time.Duration(rand.IntN(5)) * time.Millisecond)
		a.mu.Lock()
		a.ifUp(ifp)
		a.mu.Unlock()
		time.Sleep(time.Duration(rand.IntN(20)) * time.Millisecond)
	})
	mreq := netbsd.Marshal(a.machine, &netbsd.IpMreq{Multiaddr: [4]byte{224, 9, 9, 9}, Interface: [4]byte{10, 0, 0, 1}})
	loop(func(int) {
		shared["udp"].SetOption(nil, netbsd.IPPROTO_IP, netbsd.IP_ADD_MEMBERSHIP, mreq)
		shared["udp"].Send(nil, &kernel.Message{Data: []byte("to some"), Name: addr(a, "224.9.9.9:5000")})
		shared["udp"].SetOption(nil, netbsd.IPPROTO_IP, netbsd.IP_DROP_MEMBERSHIP, mreq)
	})
	time.Sleep(time.Second)
	close(stop)
	done := make(chan struct{})
	go func() {
		wg.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		buf := make([]byte, 1<<20)
		t.Fatalf("they do not end:\n%s", buf[:runtime.Stack(buf, true)])
	}
}
