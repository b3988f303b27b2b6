package spclient_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"rumptools/internal/label"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
	"rumptools/pkg/sysproxy"
)

// labelled is a borrower whose S is a UDP socket of the host's, and K another, connected to it.
type labelled struct {
	*borrower
	table int
}

func newLabelled(t testing.TB, c *spclient.Conn) *labelled {
	t.Helper()
	b := &labelled{borrower: newBorrower(t, c)}
	b.close()
	b.s, b.k = hostUDP(t), hostUDP(t)
	name, err := unix.Getsockname(b.s)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Connect(b.k, name); err != nil {
		t.Fatal(err)
	}
	if err := label.Ask(b.s); err != nil {
		t.Fatal(err)
	}
	if b.table, err = label.NewTable(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(b.table) })
	return b
}

func hostUDP(t testing.TB) int {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	tv := unix.NsecToTimeval(testTimeout.Nanoseconds())
	unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv)
	return fd
}

// connectS connects S to K.
func (b *labelled) connectS() {
	b.t.Helper()
	name, err := unix.Getsockname(b.k)
	if err != nil {
		b.t.Fatal(err)
	}
	if err := unix.Connect(b.s, name); err != nil {
		b.t.Fatal(err)
	}
}

func (b *labelled) lend() {
	b.t.Helper()
	b.lendWith(b.k, b.table)
}

func (b *labelled) lendWith(k, table int) {
	b.t.Helper()
	err := b.c.LendDatagramsLabelled(testContext(b.t), b.fd, k, table, func(e spclient.LoanEnd) { b.end <- e })
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *labelled) hears(want string) (from, control []byte, cut bool) {
	b.t.Helper()
	buf, oob := make([]byte, 1<<16), make([]byte, label.Room)
	n, oobn, _, err := receive(b.s, buf, oob, 0)
	if err != nil || string(buf[:n]) != want {
		b.t.Fatalf("received %.20q, %v, want %.20q", buf[:max(n, 0)], err, want)
	}
	number, ok := label.Of(oob[:oobn])
	if ok {
		from, control, cut, ok = label.Read(b.table, number)
	}
	if !ok {
		b.t.Fatalf("%.20q has no label", want)
	}
	return from, control, cut
}

// S receives from all, connected or not, with who it was and the control messages; what it sends goes to the peer.
func TestLendLabelled(t *testing.T) {
	for _, m := range []*netbsd.Machine{netbsd.AMD64, netbsd.POWERPC} {
		t.Run(m.Name, func(t *testing.T) {
			checkLeaks(t)
			c := dialKernel(t, kernelURL(t, m))
			ctx := testContext(t)
			if !c.CanLendLabels() {
				t.Fatal("not offered")
			}
			b := newLabelled(t, c)
			one, two := newPeer(t, c), newPeer(t, c)
			one.says(b.name(), "before")
			b.lend()
			if from, control, cut := b.hears("before"); !bytes.Equal(from, one.sa) || len(control) > 0 || cut {
				t.Errorf("from %x, %x, %v, want %x", from, control, cut, one.sa)
			}
			for _, text := range []string{"", "x", strings.Repeat("y", 40000)} {
				two.says(b.name(), text)
				if from, _, _ := b.hears(text); !bytes.Equal(from, two.sa) {
					t.Errorf("from %x, want %x", from, two.sa)
				}
			}
			for _, name := range []int32{netbsd.IP_RECVDSTADDR, netbsd.IP_RECVTTL} {
				if err := c.SetsockoptInt(ctx, b.fd, netbsd.IPPROTO_IP, name, 1); err != nil {
					t.Fatal(err)
				}
			}
			if err := c.SetsockoptInt(ctx, b.fd, netbsd.SOL_SOCKET, netbsd.SO_TIMESTAMP, 1); err != nil {
				t.Fatal(err)
			}
			// One that the kernel has not sent away from its socket while a loan goes on.
			if err := c.Connect(ctx, b.fd, two.sa); err != nil {
				t.Fatal(err)
			}
			b.connectS()
			for range 3000 {
				b.says("out")
				if from := two.hears("out"); !bytes.Equal(from, b.name()) {
					t.Fatalf("from %x", from)
				}
				two.says(b.name(), "in")
				from, control, cut := b.hears("in")
				list, err := netbsd.ParseCmsgs(m, control)
				if !bytes.Equal(from, two.sa) || cut || err != nil || len(list) != 3 {
					t.Fatalf("from %x, want %x; %v, %v, %v", from, two.sa, list, cut, err)
				}
			}
			again := *b.borrower
			again.end = make(chan spclient.LoanEnd, 1)
			(&labelled{&again, b.table}).lend()
			again.refused(netbsd.EBUSY)
			b.says("the last")
			b.takeBack()
			two.hears("the last")
			two.says(b.name(), "by a call")
			if n, _, err := c.RecvfromWait(ctx, b.fd, make([]byte, 100), 0); n != len("by a call") || err != nil {
				t.Errorf("%d and %v", n, err)
			}
			b.lend()
			two.says(b.name(), "again")
			b.hears("again")
			b.close()
			// That S is closed is found out by sending to it.
			two.says(b.name(), "nobody")
			b.ended(sysproxy.LoanClosed, 0)
			c.Close()
		})
	}
}

// An error that comes back ends the loan, and the next goes on.
func TestLendLabelledError(t *testing.T) {
	checkLeaks(t)
	c := dialKernel(t, kernelURL(t, netbsd.AMD64))
	ctx := testContext(t)
	b, p := newLabelled(t, c), newPeer(t, c)
	gone := newPeer(t, c)
	if err := c.CloseFD(ctx, gone.fd); err != nil {
		t.Fatal(err)
	}
	b.connectS()
	for range 10 {
		if err := c.Connect(ctx, b.fd, gone.sa); err != nil {
			t.Fatal(err)
		}
		b.lend()
		b.says("x")
		b.ended(sysproxy.LoanFailed, netbsd.ECONNREFUSED)
		if err := c.Connect(ctx, b.fd, p.sa); err != nil {
			t.Fatal(err)
		}
		b.lend()
		b.says("y")
		p.hears("y")
		b.takeBack()
	}
	c.Close()
}

// What is no pair of a UDP socket and a table is refused, and no descriptor stays.
func TestLendLabelledHostile(t *testing.T) {
	checkLeaks(t)
	c := dialKernel(t, kernelURL(t, netbsd.AMD64))
	b, p := newLabelled(t, c), newPeer(t, c)
	short, err := unix.MemfdCreate("short", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(short)
	unix.FcntlInt(uintptr(short), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW)
	open, err := unix.MemfdCreate("open", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(open)
	unix.Ftruncate(open, label.Entries*512)
	alone := hostUDP(t)
	defer unix.Close(alone)
	local := hostDatagram(t)
	defer unix.Close(local)
	for _, tt := range []struct {
		name     string
		k, table int
	}{
		{"a table that is too short", b.k, short},
		{"one that can become shorter", b.k, open},
		{"a socket for a table", b.k, b.s},
		{"a table for K", b.table, b.table},
		{"K that is not connected", alone, b.table},
		{"K that is a local socket", local, b.table},
	} {
		b.lendWith(tt.k, tt.table)
		select {
		case e := <-b.end:
			var se *spclient.SyscallError
			if !errors.As(e.Err, &se) || se.Errno != netbsd.EINVAL {
				t.Errorf("%s: %+v", tt.name, e)
			}
		case <-testContext(t).Done():
			t.Fatalf("%s: no answer", tt.name)
		}
	}
	// A table that cannot be written: what comes is lost, and nothing else.
	sealed, err := label.NewTable()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(sealed)
	unix.FcntlInt(uintptr(sealed), unix.F_ADD_SEALS, unix.F_SEAL_WRITE)
	b.lendWith(b.k, sealed)
	p.says(b.name(), "lost")
	b.takeBack()
	// K that is its own peer: what comes is to be sent again, to nobody.
	self := hostUDP(t)
	defer unix.Close(self)
	name, err := unix.Getsockname(self)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Connect(self, name); err != nil {
		t.Fatal(err)
	}
	b.lendWith(self, b.table)
	p.says(b.name(), "round")
	<-b.end
	b.lend()
	p.says(b.name(), "found")
	b.hears("found")
	c.Close()
}
