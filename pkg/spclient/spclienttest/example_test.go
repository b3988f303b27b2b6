package spclienttest_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
	"rumptools/pkg/spclient/spclienttest"
	"rumptools/pkg/sysproxy"
)

// exampleT stands for the *testing.T that a test has.
type exampleT struct{ cleanups []func() }

func (t *exampleT) Helper()                           {}
func (t *exampleT) Error(args ...any)                 { fmt.Println(args...) }
func (t *exampleT) Errorf(format string, args ...any) { fmt.Printf(format+"\n", args...) }
func (t *exampleT) Fatal(args ...any)                 { panic(fmt.Sprint(args...)) }
func (t *exampleT) Cleanup(f func())                  { t.cleanups = append(t.cleanups, f) }

// end does what the end of a test does.
func (t *exampleT) end() {
	for _, f := range slices.Backward(t.cleanups) {
		f()
	}
}

// A test of a client, in which the kernel is a function for each system call.
// Spclient is in the place of the client to be tested.
func Example() {
	t := new(exampleT) // a test's own
	defer t.end()
	srv := spclienttest.NewServer(t, "unix", netbsd.AMD64, func(p *spclienttest.Peer) {
		p.Serve(map[uint32]func(*spclienttest.Call){
			netbsd.SYS_getpid: func(c *spclienttest.Call) { c.Reply(42, 1) },
		})
	})
	c, err := spclient.Dial(context.Background(), srv.URL(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Println(c.Getpid(context.Background()))
	// Output: 42 <nil>
}

// A kernel reads and writes the memory of the process that calls it: here it turns
// what write(2) gives into capitals, which read(2) gets. Its machine has the other
// byte order and word size.
func ExamplePeer_Serve() {
	t := new(exampleT) // a test's own
	defer t.end()
	kept := make(chan string, 1)
	srv := spclienttest.NewServer(t, "tcp", netbsd.POWERPC, func(p *spclienttest.Peer) {
		p.Serve(map[uint32]func(*spclienttest.Call){
			netbsd.SYS_write: func(c *spclienttest.Call) {
				_, addr, n := c.Args.Int(), c.Args.Ptr(), c.Args.Word()
				kept <- strings.ToUpper(string(c.CopyIn(addr, int(n))))
				c.Reply(n, 0)
			},
			netbsd.SYS_read: func(c *spclienttest.Call) {
				_, addr := c.Args.Int(), c.Args.Ptr()
				s := <-kept
				c.CopyOut(addr, []byte(s))
				c.Reply(uint64(len(s)), 0)
			},
		})
	})
	ctx := context.Background()
	c, err := spclient.Dial(ctx, srv.URL(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Println(c.Write(ctx, c.FD(3), []byte("quietly")))
	buf := make([]byte, 100)
	n, err := c.Read(ctx, c.FD(3), buf)
	fmt.Println(string(buf[:n]), err)
	// Output:
	// 7 <nil>
	// QUIETLY <nil>
}

// A kernel that refuses the process: nobody may connect.
func ExamplePeer_Greet() {
	t := new(exampleT) // a test's own
	defer t.end()
	srv := spclienttest.NewServer(t, "unix", netbsd.AMD64, func(p *spclienttest.Peer) {
		f := p.Greet()
		fmt.Printf("%+v\n", f.Message)
		p.Send(sysproxy.Refusal{Code: sysproxy.ErrAuth}, f.Header.ReqNo)
	})
	_, err := spclient.Dial(context.Background(), srv.URL(), &spclient.Options{Name: "prog"})
	fmt.Println(errors.Is(err, sysproxy.ErrAuth))
	// Output:
	// {Name:prog NoNUL:false}
	// true
}

// A hostile kernel: it asks for memory that no call has given it.
func ExamplePeer_Send() {
	t := new(exampleT) // a test's own
	defer t.end()
	srv := spclienttest.NewServer(t, "unix", netbsd.AMD64, func(p *spclienttest.Peer) {
		p.Handshake()
		p.NextCall()
		p.Send(sysproxy.CopyIn{Len: 4096, Addr: 0x400000}, p.NextReqNo())
		p.WaitGone()
	})
	c, err := spclient.Dial(context.Background(), srv.URL(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, err = c.Getpid(context.Background())
	var perr *spclient.ProtocolError
	fmt.Println(errors.As(err, &perr))
	// Output: true
}

// A kernel that dies within its answer, after 10 of 48 bytes.
func ExamplePeer_Hangup() {
	t := new(exampleT) // a test's own
	defer t.end()
	srv := spclienttest.NewServer(t, "unix", netbsd.AMD64, func(p *spclienttest.Peer) {
		p.Handshake()
		call := p.NextCall()
		answer := p.Encode(sysproxy.SyscallReply{Retval: [2]uint64{42}}, call.ReqNo)
		p.Write(answer[:10])
		p.Hangup()
	})
	c, err := spclient.Dial(context.Background(), srv.URL(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, err = c.Getpid(context.Background())
	fmt.Println(errors.Is(err, spclient.ErrLost))
	// Output: true
}

// A slow network: the answer comes byte by byte.
func ExamplePeer_Trickle() {
	t := new(exampleT) // a test's own
	defer t.end()
	srv := spclienttest.NewServer(t, "unix", netbsd.AMD64, func(p *spclienttest.Peer) {
		p.Handshake()
		call := p.NextCall()
		p.Trickle(p.Encode(sysproxy.SyscallReply{Retval: [2]uint64{42}}, call.ReqNo), time.Millisecond)
		p.WaitGone()
	})
	c, err := spclient.Dial(context.Background(), srv.URL(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Println(c.Getpid(context.Background()))
	// Output: 42 <nil>
}

// A kernel that asks again and again and does not read what it is told. The client
// must be able to give up.
func ExamplePeer_Flood() {
	t := new(exampleT) // a test's own
	defer t.end()
	srv := spclienttest.NewServer(t, "unix", netbsd.AMD64, func(p *spclienttest.Peer) {
		p.Handshake()
		p.NextCall()
		p.StopReading()
		p.Flood(p.Encode(sysproxy.AnonMmap{Len: 1 << 40}, 0), nil)
	})
	c, err := spclient.Dial(context.Background(), srv.URL(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	_, err = c.Getpid(ctx)
	fmt.Println(err)
	// Output: getpid: context deadline exceeded
}

// A signal before the error that comes with it, as a kernel has it for a pipe that
// nobody reads.
func ExamplePeer_Raise() {
	t := new(exampleT) // a test's own
	defer t.end()
	srv := spclienttest.NewServer(t, "unix", netbsd.AMD64, func(p *spclienttest.Peer) {
		p.Serve(map[uint32]func(*spclienttest.Call){
			netbsd.SYS_write: func(c *spclienttest.Call) {
				c.Raise(int32(netbsd.SIGPIPE))
				c.Fail(netbsd.EPIPE)
			},
		})
	})
	ctx := context.Background()
	c, err := spclient.Dial(ctx, srv.URL(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, err = c.Write(ctx, c.FD(4), []byte("to nobody"))
	fmt.Println(err)
	// Output: write: Broken pipe
}

// A kernel that ends and one that takes its place.
func ExampleServer_Close() {
	t := new(exampleT) // a test's own
	defer t.end()
	serve := func(p *spclienttest.Peer) { p.Serve(nil) }
	srv := spclienttest.NewServer(t, "unix", netbsd.AMD64, serve)
	c, err := spclient.Dial(context.Background(), srv.URL(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	srv.Close()
	_, err = c.Getpid(context.Background())
	fmt.Println(errors.Is(err, spclient.ErrLost))

	again := spclienttest.NewServer(t, srv.URL(), netbsd.AMD64, serve)
	c, err = spclient.Dial(context.Background(), again.URL(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, err = c.Getpid(context.Background())
	fmt.Println(err)
	// Output:
	// true
	// getpid: Function not implemented
}

// A server that is none of this protocol.
func ExampleNewRawServer() {
	t := new(exampleT) // a test's own
	defer t.end()
	srv := spclienttest.NewRawServer(t, "tcp", func(nc net.Conn) {
		fmt.Fprintf(nc, "SSH-2.0-OpenSSH_9.9\r\n")
	})
	_, err := spclient.Dial(context.Background(), srv.URL(), nil)
	fmt.Println(errors.Is(err, sysproxy.ErrBanner))
	// Output: true
}

// A recorded conversation, played: a client that does what the recorded one did
// gets what that one got, and one that does anything else fails the test.
func ExamplePlay() {
	t := new(exampleT) // a test's own
	defer t.end()
	// write(1, "data", 4) of a process on a 32-bit big-endian kernel. The
	// handshake may be left out: every client makes its own.
	rec, err := spclienttest.ParseRecording("hello", strings.NewReader(`
# server: RUMPSP-0.4-NetBSD-7.99.34/powerpc
0.1 1 > 000000000000002400000000000000020000000100000004000000010000700000000004 # REQ SYSCALL 4 write
0.2 1 < 0000000000000020000000000000000000000002000000000000000400007000 # REQ COPYIN
0.3 1 > 000000000000001c0000000000000000000100020000000064617461 # RESP COPYIN
0.4 1 < 000000000000002400000000000000020001000100000000000000000000000400000000 # RESP SYSCALL
`))
	if err != nil {
		t.Fatal(err)
	}
	srv := spclienttest.Play(t, rec)
	ctx := context.Background()
	c, err := spclient.Dial(ctx, srv.URL(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Println(c.Write(ctx, c.FD(1), []byte("data")))
	fmt.Println(c.Getpid(ctx))
	// Output:
	// 4 <nil>
	// client made getpid with arguments , which is not in the rest of hello
	// 0 getpid: Function not implemented
}
