package inet

import (
	"net/netip"
	"os"
	"testing"
	"time"

	"rumptools/internal/kernel"
	"rumptools/internal/kernel/kerneltest"
	"rumptools/pkg/netbsd"
)

// machines are those that layouts are tried on: 64 and 32 bits, both byte
// orders.
var machines = []*netbsd.Machine{netbsd.AMD64, netbsd.I386, netbsd.POWERPC}

// onMachines runs a test on each of the machines.
func onMachines(t *testing.T, test func(t *testing.T, s *Stack)) {
	for _, m := range machines {
		t.Run(m.Name, func(t *testing.T) { test(t, newStackOf(t, m)) })
	}
}

// newStackOf makes a stack of a kernel of a machine.
func newStackOf(t *testing.T, m *netbsd.Machine) *Stack {
	t.Helper()
	s, err := New(Config{Kernel: kernel.New(kernel.Config{Machine: m})})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// open makes a socket, which the test's end closes.
func open(t *testing.T, s *Stack, family, typ, proto int32) kernel.Socket {
	t.Helper()
	so, err := s.open(family, typ, proto)
	if err != nil {
		t.Fatalf("socket(%d, %d, %d): %v", family, typ, proto, err)
	}
	t.Cleanup(func() { so.Close() })
	return so
}

// open is socket(2).
func (s *Stack) open(family, typ, proto int32) (kernel.Socket, error) {
	for _, d := range s.domains() {
		if d.family == family {
			return d.Socket(nil, typ, proto)
		}
	}
	return nil, netbsd.EAFNOSUPPORT
}

// patience is how long a test waits for what must come.
const patience = 10 * time.Second

// await is [kerneltest.Await], and fails the test when nothing comes.
func await(t *testing.T, f kernel.File, try func() error) error {
	t.Helper()
	err := kerneltest.Await(f, patience, try)
	if err == os.ErrDeadlineExceeded {
		t.Fatal("nothing has come")
	}
	return err
}

// recv is recvmsg(2) that waits.
func recv(t *testing.T, so kernel.Socket, room int, flags int32) *kernel.Message {
	t.Helper()
	m := &kernel.Message{Data: make([]byte, room), Flags: flags}
	err := await(t, so, func() error {
		n, err := so.Recv(nil, m)
		if err == nil {
			m.Data = m.Data[:n]
		}
		return err
	})
	if err != nil {
		t.Fatalf("recv: %v", err)
	}
	return m
}

// send sends all of the bytes, waiting for room.
func send(t *testing.T, so kernel.Socket, data []byte, to []byte) {
	t.Helper()
	for {
		var n int
		err := await(t, so, func() (err error) {
			n, err = so.Send(nil, &kernel.Message{Data: data, Name: to})
			return err
		})
		if err != nil {
			t.Fatalf("send: %v", err)
		}
		if data = data[n:]; len(data) == 0 {
			return
		}
	}
}

// nothing fails the test if the socket has something to read.
func nothing(t *testing.T, so kernel.Socket) {
	t.Helper()
	m := &kernel.Message{Data: make([]byte, 1<<16), Flags: netbsd.MSG_PEEK}
	if n, err := so.Recv(nil, m); err != netbsd.EAGAIN {
		t.Fatalf("there is something to read: %x, %v", m.Data[:n], err)
	}
}

// addr makes a socket address of "127.0.0.1:80" or "[::1]:80".
func addr(s *Stack, a string) []byte {
	ap := netip.MustParseAddrPort(a)
	if ap.Addr().Is4() {
		return endpoint{ap.Addr(), ap.Port()}.sockaddr(s.machine, netbsd.AF_INET)
	}
	return netbsd.SockaddrIn6(s.machine, netip.AddrPortFrom(ap.Addr().WithZone(""), ap.Port()), 0, 0)
}

// check fails the test unless an operation gives the error that it must; nil is
// success.
func check(t *testing.T, what string, got, want error) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// setInt sets an option of an int.
func setInt(t *testing.T, so kernel.Socket, m *netbsd.Machine, level, name, v int32) {
	t.Helper()
	if err := so.SetOption(nil, level, name, intOpt(m, v)); err != nil {
		t.Fatalf("setsockopt %d %d: %v", level, name, err)
	}
}

// getInt gives an option of an int.
func getInt(t *testing.T, so kernel.Socket, m *netbsd.Machine, level, name int32) int32 {
	t.Helper()
	b, err := so.Option(nil, level, name, 4)
	if err != nil || len(b) != 4 {
		t.Fatalf("getsockopt %d %d: %x, %v", level, name, b, err)
	}
	return int32(m.Order.Uint32(b))
}

// pair makes two stacks on a segment: 10.0.0.1 and fd00::1, 10.0.0.2 and
// fd00::2.
func pair(t *testing.T) (a, b *Stack) {
	t.Helper()
	seg := newSegment()
	return host(t, seg.join(), "10.0.0.1/24", "fd00::1/64"), host(t, seg.join(), "10.0.0.2/24", "fd00::2/64")
}
