package spclient_test

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"rumptools/internal/sidefile"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
	"rumptools/pkg/sysproxy"
)

func TestLendDatagrams(t *testing.T) {
	for _, m := range []*netbsd.Machine{netbsd.AMD64, netbsd.POWERPC} {
		t.Run(m.Name, func(t *testing.T) {
			checkLeaks(t)
			c := dialKernel(t, kernelURL(t, m))
			if !c.CanLendDatagrams() {
				t.Fatal("not offered")
			}
			b := newBorrower(t, c)
			one, two := newPeer(t, c), newPeer(t, c)
			one.says(b.name(), "before")
			b.lend()
			if o := b.hears("before"); !bytes.Equal(o.From, one.sa) || len(o.Control) > 0 || o.Cut {
				t.Errorf("from %+v, want %x", o, one.sa)
			}
			for _, text := range []string{"", "x", strings.Repeat("y", 40000)} {
				two.says(b.name(), text)
				if o := b.hears(text); !bytes.Equal(o.From, two.sa) {
					t.Errorf("from %x, want %x", o.From, two.sa)
				}
			}
			// A call sends all the same.
			if _, err := c.Sendto(testContext(t), b.fd, []byte("back"), 0, one.sa); err != nil {
				t.Fatal(err)
			}
			if from := one.hears("back"); !bytes.Equal(from, b.name()) {
				t.Errorf("from %x", from)
			}
			// The second loan of the same socket.
			again := *b
			again.end = make(chan spclient.LoanEnd, 1)
			again.lend()
			again.refused(netbsd.EBUSY)
			b.takeBack()
			one.says(b.name(), "by a call")
			if n, _, err := c.RecvfromWait(testContext(t), b.fd, make([]byte, 100), 0); n != len("by a call") || err != nil {
				t.Errorf("%d and %v", n, err)
			}
			b.quiet()
			// Nothing to take back.
			if err := c.TakeBackDatagrams(testContext(t), b.fd); err != nil {
				t.Error(err)
			}
			b.lend()
			one.says(b.name(), "again")
			b.hears("again")
			if err := c.CloseFD(testContext(t), b.fd); err != nil {
				t.Error(err)
			}
			b.ended(sysproxy.LoanRevoked, 0)
			if err := c.TakeBackDatagrams(testContext(t), b.fd); !isErrno(err, netbsd.EBADF) {
				t.Errorf("of a closed descriptor: %v", err)
			}
			c.Close()
		})
	}
}

func isErrno(err error, want netbsd.Errno) bool {
	var se *spclient.SyscallError
	return errors.As(err, &se) && se.Errno == want
}

// Control messages come with the name.
func TestLendDatagramsControl(t *testing.T) {
	c := dialKernel(t, kernelURL(t, netbsd.AMD64))
	ctx := testContext(t)
	b := newBorrower(t, c)
	p := newPeer(t, c)
	for _, name := range []int32{netbsd.IP_RECVDSTADDR, netbsd.IP_RECVIF, netbsd.IP_RECVTTL} {
		if err := c.SetsockoptInt(ctx, b.fd, netbsd.IPPROTO_IP, name, 1); err != nil {
			t.Fatal(err)
		}
	}
	b.lend()
	p.says(b.name(), "hello")
	o := b.hears("hello")
	types := make(map[int32]int)
	for _, m := range o.Control {
		types[m.Type] = len(m.Data)
	}
	if o.Cut || len(types) != 3 || types[netbsd.IP_RECVDSTADDR] != 4 || types[netbsd.IP_RECVTTL] == 0 || types[netbsd.IP_RECVIF] == 0 {
		t.Errorf("control messages %+v", o)
	}
	if err := c.SetsockoptInt(ctx, b.fd, netbsd.SOL_SOCKET, netbsd.SO_TIMESTAMP, 1); err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		text := fmt.Sprint("stamped ", i)
		p.says(b.name(), text)
		if o := b.hears(text); o.Cut || len(o.Control) != 4 || !bytes.Equal(o.From, p.sa) {
			t.Errorf("control messages %+v", o)
		}
	}
	// A connected S has no place for them.
	b.takeBack()
	b.connect(p.sa)
	b.lendBy(b.k)
	b.says("out")
	p.hears("out")
	p.says(b.name(), "in")
	b.ended(sysproxy.LoanControl, 0)
	b.quiet()
	if n, _, err := c.RecvfromWait(ctx, b.fd, make([]byte, 100), 0); n != 2 || err != nil {
		t.Errorf("%d and %v", n, err)
	}
	// Unless they are to come along.
	err := c.LendDatagramsControl(ctx, b.fd, b.k, func(e spclient.LoanEnd) { b.end <- e })
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		text := fmt.Sprint("along ", i)
		p.says(b.name(), text)
		if i == 1 {
			b.hears(text) // who does not ask
			continue
		}
		buf, oob := make([]byte, 100), make([]byte, sidefile.Room)
		n, oobn, _, err := receive(b.s, buf, oob, unix.MSG_CMSG_CLOEXEC)
		if err != nil || string(buf[:n]) != text {
			t.Fatalf("received %q, %v", buf[:max(n, 0)], err)
		}
		list, err := netbsd.ParseCmsgs(c.Machine(), sidefile.Read(oob[:oobn]))
		if err != nil || len(list) != 4 {
			t.Errorf("control messages %+v, %v", list, err)
		}
	}
	b.says("out again")
	p.hears("out again")
	b.takeBack()
}

// What S has no room for waits, in order, and only so much of it.
func TestLendDatagramsFull(t *testing.T) {
	c := dialKernel(t, kernelURL(t, netbsd.AMD64))
	b := newBorrower(t, c)
	p := newPeer(t, c)
	b.lend()
	sa := b.name()
	const n = 30 // fit the receive buffer
	for i := range n {
		p.says(sa, fmt.Sprint(i))
	}
	for i := range n {
		b.hears(fmt.Sprint(i))
	}
	b.quiet()
	// More than fits anywhere: what is there is the beginning, without gaps.
	big := strings.Repeat("z", 9000)
	for range 100 {
		p.says(sa, big)
	}
	for got := 0; ; got++ {
		buf := make([]byte, 1<<16)
		tv := unix.NsecToTimeval(int64(200 * time.Millisecond))
		unix.SetsockoptTimeval(b.s, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv)
		n, _, _, err := receive(b.s, buf, nil, 0)
		if err == unix.EAGAIN && got > 0 {
			if got == 100 {
				t.Error("nothing was lost")
			}
			break
		}
		if err != nil || n != len(big) {
			t.Fatalf("%d and %v", n, err)
		}
	}
	tv := unix.NsecToTimeval(testTimeout.Nanoseconds())
	unix.SetsockoptTimeval(b.s, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv)
	// What waited in the loan comes back to the socket.
	for i := range n {
		p.says(sa, fmt.Sprint(i))
	}
	b.takeBack()
	got := 0
	for ; ; got++ {
		buf := make([]byte, 100)
		n, _, err := unix.Recvfrom(b.s, buf, unix.MSG_DONTWAIT)
		if err != nil {
			break
		}
		if string(buf[:n]) != fmt.Sprint(got) {
			t.Fatalf("%q comes after %d", buf[:n], got-1)
		}
	}
	for ; got < n; got++ {
		buf := make([]byte, 100)
		n, _, err := c.RecvfromWait(testContext(t), b.fd, buf, 0)
		if err != nil || string(buf[:n]) != fmt.Sprint(got) {
			t.Fatalf("%q and %v come after %d", buf[:n], err, got-1)
		}
	}
}

// Senders are many more than sockets are kept for.
func TestLendDatagramsSenders(t *testing.T) {
	checkLeaks(t)
	c := dialKernel(t, kernelURL(t, netbsd.AMD64))
	b := newBorrower(t, c)
	before := countFDs(t)
	b.lend()
	sa := b.name()
	var peers []*peer
	for range 150 {
		peers = append(peers, newPeer(t, c))
	}
	for range 2 {
		for i, p := range peers {
			text := fmt.Sprint("from ", i)
			p.says(sa, text)
			if o := b.hears(text); !bytes.Equal(o.From, p.sa) {
				t.Fatalf("%s: from %x, want %x", text, o.From, p.sa)
			}
		}
	}
	if n := countFDs(t) - before; n > 50 {
		t.Errorf("%d descriptors more", n)
	}
	b.close()
	peers[0].says(sa, "to nobody")
	b.ended(sysproxy.LoanClosed, 0)
	c.Close()
}

// A connected S sends and receives by itself.
func TestLendDatagramsConnected(t *testing.T) {
	checkLeaks(t)
	c := dialKernel(t, kernelURL(t, netbsd.AMD64))
	b := newBorrower(t, c)
	p, other := newPeer(t, c), newPeer(t, c)
	// Before it is connected.
	other.says(b.name(), "from another")
	b.connect(p.sa)
	b.says("before")
	b.lendBy(b.k)
	p.hears("before")
	b.lendsWhole(p)
	// What was sent before it is taken back is sent.
	for i := range 20 {
		b.says(fmt.Sprint(i))
	}
	b.takeBack()
	for i := range 20 {
		p.hears(fmt.Sprint(i))
	}
	b.says("to K")
	if n, err := unix.Read(b.k, make([]byte, 100)); n != 4 || err != nil {
		t.Errorf("%d and %v", n, err)
	}
	b.lendBy(b.k)
	b.lendsWhole(p)
	c.Close()
	select {
	case e := <-b.end:
		if e.Err == nil {
			t.Errorf("%+v", e)
		}
	case <-time.After(testTimeout):
		t.Fatal("the loan does not end")
	}
}

// Errors that come back end a loan, and it can be made again.
func TestLendDatagramsError(t *testing.T) {
	c := dialKernel(t, kernelURL(t, netbsd.AMD64))
	ctx := testContext(t)
	b := newBorrower(t, c)
	p := newPeer(t, c)
	if err := c.CloseFD(ctx, p.fd); err != nil {
		t.Fatal(err)
	}
	b.connect(p.sa)
	for range 3 {
		b.lendBy(b.k)
		b.says("anybody?")
		b.ended(sysproxy.LoanFailed, netbsd.ECONNREFUSED)
		if v, err := c.GetsockoptInt(ctx, b.fd, netbsd.SOL_SOCKET, netbsd.SO_ERROR); v != 0 || err != nil {
			t.Errorf("SO_ERROR %d and %v", v, err)
		}
	}
	// Longer than the socket's buffer.
	b.lendBy(b.k)
	b.says(strings.Repeat("x", 60000))
	b.ended(sysproxy.LoanFailed, netbsd.EMSGSIZE)
}

// What is no socket for datagrams, or does not lead to one, is refused, and nothing leaks.
func TestLendDatagramsHostile(t *testing.T) {
	checkLeaks(t)
	c := dialKernel(t, kernelURL(t, netbsd.AMD64))
	ctx := testContext(t)
	b := newBorrower(t, c)
	dir := filepath.Dir(b.path)
	open := func(path string, flags int) int {
		t.Helper()
		fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(fd) })
		return fd
	}
	listener := func(typ, name string) string {
		path := filepath.Join(dir, name)
		if typ == "unix" {
			l, err := net.Listen(typ, path)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.Close() })
			return path
		}
		l, err := net.ListenUnixgram(typ, &net.UnixAddr{Name: path, Net: typ})
		if err != nil {
			t.Fatal(err)
		}
		l.Close() // the path stays
		return path
	}
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	alone := hostDatagram(t)
	t.Cleanup(func() { unix.Close(alone) })
	stream, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	inet, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range []int{stream[0], stream[1], pair[0], pair[1], inet} {
		t.Cleanup(func() { unix.Close(fd) })
	}
	for _, tt := range []struct {
		name string
		host int
		want netbsd.Errno
	}{
		{"the path of a stream socket", open(listener("unix", "stream"), unix.O_PATH), netbsd.EINVAL},
		{"the path of a socket that is closed", open(listener("unixgram", "dead"), unix.O_PATH), netbsd.EINVAL},
		{"the path of a directory", open(dir, unix.O_PATH), netbsd.EINVAL},
		{"a directory", open(dir, unix.O_RDONLY), netbsd.EINVAL},
		{"a FIFO", open(fifo, unix.O_RDWR), netbsd.EINVAL},
		{"the path of a FIFO", open(fifo, unix.O_PATH), netbsd.EINVAL},
		{"a device", open("/dev/null", unix.O_RDWR), netbsd.EINVAL},
		{"a socket that is not connected", alone, netbsd.EINVAL},
		{"a stream socket", stream[0], netbsd.EINVAL},
		{"a socket of the Internet", inet, netbsd.EINVAL},
		{"K for a socket that is not connected", pair[0], netbsd.ENOTCONN},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := *b
			b.t = t
			b.lendBy(tt.host)
			b.refused(tt.want)
		})
	}
	t.Run("a TCP socket", func(t *testing.T) {
		b := *b
		b.t = t
		if b.fd, err = c.Socket(ctx, netbsd.AF_INET, netbsd.SOCK_STREAM, 0); err != nil {
			t.Fatal(err)
		}
		b.lend()
		b.refused(netbsd.EOPNOTSUPP)
	})
	// A path that leads to S no more does not matter once it is open.
	host := open(b.path, unix.O_PATH)
	if err := os.Remove(b.path); err != nil {
		t.Fatal(err)
	}
	b.lendBy(host)
	p := newPeer(t, c)
	p.says(b.name(), "found")
	b.hears("found")
	// S takes none from others once it is connected to somebody.
	if err := unix.Connect(b.s, &unix.SockaddrUnix{Name: ""}); err == nil {
		t.Error("connected to nobody")
	}
	if err := unix.Shutdown(b.s, unix.SHUT_RD); err != nil {
		t.Fatal(err)
	}
	p.says(b.name(), "lost")
	b.takeBack()
	// Its own K: each datagram that is sent comes back as one to be sent.
	b.lendBy(host)
	b.takeBack()
	if err := c.Connect(ctx, b.fd, b.name()); err != nil {
		t.Fatal(err)
	}
	b.lendBy(pair[0])
	unix.Write(pair[1], []byte("round and round"))
	unix.Read(pair[1], make([]byte, 100))
	// K ends in the middle.
	unix.Shutdown(pair[1], unix.SHUT_RDWR)
	unix.Write(pair[0], []byte("x"))
	b.takeBack()
	c.Close()
}

// Loans begin, are taken back and end while datagrams come and go.
func TestLendDatagramsStress(t *testing.T) {
	checkLeaks(t)
	url := kernelURL(t, netbsd.AMD64)
	c := dialKernel(t, url)
	stop := make(chan struct{})
	done := make(chan struct{})
	other := dialKernel(t, url)
	b := newBorrower(t, c)
	sa := b.name()
	p := newPeer(t, other)
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			if _, err := other.Sendto(testContext(t), p.fd, []byte(fmt.Sprint(i)), 0, sa); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	last := -1
	next := func(buf []byte) {
		var i int
		if _, err := fmt.Sscan(string(buf), &i); err != nil || i <= last {
			t.Errorf("%q comes after %d", buf, last)
		}
		last = i
	}
	for range 100 {
		b.lend()
		buf := make([]byte, 100)
		for range 5 {
			n, _, _, err := receive(b.s, buf, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			next(buf[:n])
		}
		b.takeBack()
		for {
			n, _, err := unix.Recvfrom(b.s, buf, unix.MSG_DONTWAIT)
			if err != nil {
				break
			}
			next(buf[:n])
		}
	}
	b.lend()
	if err := c.CloseFD(testContext(t), b.fd); err != nil {
		t.Error(err)
	}
	b.ended(sysproxy.LoanRevoked, 0)
	close(stop)
	<-done
	c.Close()
	other.Close()
}
