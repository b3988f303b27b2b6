package lend_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"rumptools/internal/kernel"
	"rumptools/internal/kernel/lend"
	"rumptools/internal/label"
	"rumptools/internal/sidefile"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/sysproxy"
)

// maxUDP is the most that a datagram of UDP over IPv4 carries.
const maxUDP = 65507

var datagramSizes = []int{0, 1, 2, 1400, 1472, 9000, 32768, 65000, maxUDP - 1, maxUDP}

// By the path S gets what anybody sends, of all sizes, with who it was.
func TestDatagramsByPath(t *testing.T) {
	h := newHost(t)
	b := h.borrow()
	one, from1 := h.udp()
	two, from2 := h.udp()
	h.bigBuffer(one, two, b.so)
	h.sendTo(one, []byte("before"), b.name)
	b.lend()
	b.hearsFrom([]byte("before"), from1)
	p := noise(maxUDP)
	for _, size := range datagramSizes {
		h.sendTo(one, p[:size], b.name)
		b.hearsFrom(p[:size], from1)
		h.sendTo(two, p[:size], b.name)
		h.sendTo(one, p[:size/2], b.name)
		b.hearsFrom(p[:size], from2)
		b.hearsFrom(p[:size/2], from1)
	}
	// A second loan of the socket is not to be.
	if err := b.tryLend(false); err != netbsd.EBUSY {
		t.Errorf("lent twice: %v", err)
	}
	b.loan.TakeBack(false)
	b.endsWith(lend.Revoked, nil)
	h.sendTo(one, []byte("by a call"), b.name)
	if from := h.receive(b.so, []byte("by a call")); !bytes.Equal(from, from1) {
		t.Errorf("from %x", from)
	}
	b.lend()
	h.sendTo(two, nil, b.name)
	b.hearsFrom(nil, from2)
	b.loan.Revoke()
	b.endsWith(lend.Revoked, nil)
	b.loan.TakeBack(false) // there is nothing any more
	b.loan.Revoke()
	b.loan.Notify(lend.Readable)
}

// An S that is full holds up the datagrams, in their order; what it has no room for waits in the kernel's socket.
func TestDatagramsWait(t *testing.T) {
	for _, how := range []string{"by the path", "by K"} {
		t.Run(how, func(t *testing.T) {
			h := newHost(t)
			b := h.borrow()
			from, name := h.udp()
			h.bigBuffer(b.so)
			if how == "by K" {
				b.connect(name)
				must(t, unix.SetsockoptInt(b.k, unix.SOL_SOCKET, unix.SO_SNDBUF, 5000))
			}
			b.lend()
			const n = 100
			for range 3 {
				for i := range n {
					h.sendTo(from, fmt.Appendf(nil, "datagram %d", i), b.name)
				}
				for i := range n {
					b.hears(fmt.Appendf(nil, "datagram %d", i))
				}
			}
			// One that waits is given back.
			for i := range n {
				h.sendTo(from, fmt.Appendf(nil, "datagram %d", i), b.name)
			}
			b.loan.TakeBack(false)
			b.endsWith(lend.Revoked, nil)
			i := 0
			for b.waiting() {
				b.hears(fmt.Appendf(nil, "datagram %d", i))
				i++
			}
			if i == n {
				t.Error("all have had room")
			}
			for ; i < n; i++ {
				h.receive(b.so, fmt.Appendf(nil, "datagram %d", i))
			}
		})
	}
}

// More senders than a loan keeps sockets for: each datagram has its sender all the same.
func TestDatagramsOfManySenders(t *testing.T) {
	h := newHost(t)
	b := h.borrow()
	b.lend()
	type sender struct {
		so   kernel.Socket
		name []byte
	}
	var all []sender
	for range lend.MaxSenders + 9 {
		so, name := h.udp()
		all = append(all, sender{so, name})
	}
	rng := rand.New(rand.NewPCG(1, 1))
	for range 4 {
		for _, i := range rng.Perm(len(all)) {
			p := fmt.Appendf(nil, "by %d", i)
			h.sendTo(all[i].so, p, b.name)
			b.hearsFrom(p, all[i].name)
		}
	}
	if n := lend.Senders(); n > lend.MaxSenders {
		t.Errorf("there are %d sockets for senders", n)
	}
	b.loan.Revoke()
	b.endsWith(lend.Revoked, nil)
	if n := lend.Senders(); n != 0 {
		t.Errorf("%d sockets for senders are left", n)
	}
}

// By K both directions are carried, of all sizes, and nobody else's.
func TestDatagramsByK(t *testing.T) {
	h := newHost(t)
	b := h.borrow()
	peer, name := h.udp()
	other, _ := h.udp()
	h.bigBuffer(peer, b.so)
	h.sendTo(other, []byte("from before the socket was connected"), b.name)
	b.connect(name)
	b.lend()
	p := noise(maxUDP)
	for _, size := range datagramSizes {
		h.sendTo(peer, p[:size], b.name)
		b.hears(p[:size])
		b.says(p[:size])
		if from := h.receive(peer, p[:size]); !bytes.Equal(from, b.name) {
			t.Errorf("from %x", from)
		}
	}
	// What has been sent when the loan is taken back is sent.
	for range 10 {
		for i := range 20 {
			b.says(fmt.Appendf(nil, "%d", i))
		}
		b.loan.TakeBack(false)
		b.endsWith(lend.Revoked, nil)
		for i := range 20 {
			h.receive(peer, fmt.Appendf(nil, "%d", i))
		}
		// What is sent meanwhile waits in K.
		b.says([]byte("later"))
		b.lend()
		h.receive(peer, []byte("later"))
	}
}

// An error that comes back, by ICMP, ends the loan; the next can begin at once.
func TestDatagramErrors(t *testing.T) {
	h := newHost(t)
	b := h.borrow()
	peer, name := h.udp()
	b.connect(name)
	peer.Close()
	for range 20 {
		b.lend()
		b.says([]byte("to nobody"))
		b.endsWith(lend.Failed, netbsd.ECONNREFUSED)
	}
	// One that comes while nobody sends by the loan.
	b.lend()
	h.sendTo(b.so, []byte("by a call"), nil)
	b.endsWith(lend.Failed, netbsd.ECONNREFUSED)
	// What cannot be sent at all.
	b.lend()
	must(t, unix.SetsockoptInt(b.s, unix.SOL_SOCKET, unix.SO_SNDBUF, 1<<18))
	b.says(make([]byte, maxUDP+1))
	b.endsWith(lend.Failed, netbsd.EMSGSIZE)
}

// Control messages come with the name, along with a datagram by K if that is wanted, and end the loan if not.
func TestDatagramControl(t *testing.T) {
	h := newHost(t)
	b := h.borrow()
	peer, name := h.udp()
	for _, option := range []int32{netbsd.IP_RECVDSTADDR, netbsd.IP_RECVTTL} {
		h.setInt(b.so, netbsd.IPPROTO_IP, option, 1)
	}
	b.lend()
	for range 3 {
		h.sendTo(peer, []byte("by the path"), b.name)
		from, _ := b.hears([]byte("by the path"))
		o, ok := sysproxy.ParseOrigin(strings.TrimPrefix(from, "@"))
		if !ok || o.Cut || len(o.Control) != 2 {
			t.Errorf("%+v, %v", o, ok)
		}
	}
	b.loan.TakeBack(false)
	b.endsWith(lend.Revoked, nil)
	b.connect(name)
	must(t, b.tryLend(true))
	for range 3 {
		h.sendTo(peer, []byte("along"), b.name)
		if _, oob := b.hears([]byte("along")); len(sidefile.Read(oob)) == 0 {
			t.Error("nothing came along")
		}
	}
	b.loan.TakeBack(false)
	b.endsWith(lend.Revoked, nil)
	b.lend()
	h.sendTo(peer, []byte("by a call"), b.name)
	b.endsWith(lend.Control, nil)
	h.receive(b.so, []byte("by a call"))
}

// A program that has closed its S is told of by the host or by who lends. What it has not got goes back to who sent it.
func TestDatagramsClosed(t *testing.T) {
	for _, how := range []string{"by the path", "by K", "with labels"} {
		for _, told := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, told: %v", how, told), func(t *testing.T) {
				h := newHost(t)
				b := h.borrow()
				peer, name := h.udp()
				must(t, peer.Connect(b.name))
				switch how {
				case "by K":
					b.connect(name)
				case "with labels":
					b.label()
					must(t, b.so.Connect(name))
				}
				b.lend()
				h.sendTo(peer, []byte("received"), nil)
				b.hears([]byte("received"))
				if b.k >= 0 {
					b.says([]byte("the last"))
				}
				b.closeS()
				if told {
					b.loan.TakeBack(true)
				}
				// The first may be what tells.
				refused := func() bool {
					_, err := peer.Send(nil, &kernel.Message{Data: []byte("to nobody")})
					return err == netbsd.ECONNREFUSED
				}
				if b.k >= 0 {
					h.receive(peer, []byte("the last"))
				}
				eventually(t, "the sender is told", refused)
				b.endsWith(lend.Closed, nil)
			})
		}
	}
}

// With labels S gets all that comes, with who it was, and sends to whom the socket is connected.
func TestDatagramsLabelled(t *testing.T) {
	h := newHost(t)
	b := h.borrow()
	b.label()
	one, from1 := h.udp()
	two, from2 := h.udp()
	h.bigBuffer(one, two, b.so)
	h.sendTo(one, []byte("before"), b.name)
	h.sendTo(two, []byte("before"), b.name)
	b.lend()
	b.hearsFrom([]byte("before"), from1)
	b.hearsFrom([]byte("before"), from2)
	p := noise(maxUDP)
	for _, size := range datagramSizes {
		h.sendTo(one, p[:size], b.name)
		b.hearsFrom(p[:size], from1)
		h.sendTo(two, p[:size], b.name)
		b.hearsFrom(p[:size], from2)
	}
	must(t, b.so.Connect(from2))
	for _, size := range datagramSizes {
		b.says(p[:size])
		h.receive(two, p[:size])
	}
	h.sendTo(two, []byte("from whom it is connected to"), b.name)
	b.hearsFrom([]byte("from whom it is connected to"), from2)
	b.loan.TakeBack(false)
	b.endsWith(lend.Revoked, nil)
	b.lend()
	h.sendTo(two, []byte("again"), b.name)
	b.hearsFrom([]byte("again"), from2)
}

// Control messages stand in the table.
func TestDatagramsLabelledControl(t *testing.T) {
	h := newHost(t)
	b := h.borrow()
	b.label()
	from, name := h.udp()
	h.setInt(b.so, netbsd.IPPROTO_IP, netbsd.IP_RECVTTL, 1)
	b.lend()
	h.sendTo(from, []byte("hello"), b.name)
	_, oob := b.hears([]byte("hello"))
	number, _ := label.Of(oob)
	if got, control, cut, ok := label.Read(b.table, number); !ok || cut || len(control) == 0 || !bytes.Equal(got, name) {
		t.Errorf("%x, %x, %v, %v", got, control, cut, ok)
	}
}

// Descriptors by which there is no loan, and whose they are then.
func TestNoDatagramLoan(t *testing.T) {
	h := newHost(t)
	b := h.borrow()
	lender := b.so.(kernel.DatagramLender)
	ended := func(lend.End, error) { t.Error("it has ended") }
	closed := func() { t.Error("it is closed") }
	stream, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	dead := hostSocket(t, unix.AF_UNIX)
	path := filepath.Join(t.TempDir(), "dead")
	must(t, unix.Bind(dead, &unix.SockaddrUnix{Name: path}))
	nowhere, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	must(t, err)
	unix.Close(dead)
	free := hostSocket(t, unix.AF_UNIX)
	table, err := label.NewTable()
	must(t, err)
	udp := hostSocket(t, unix.AF_INET)
	mine := []int{stream[0], stream[1], pair[0], pair[1], nowhere, free, table, udp}
	for name, fd := range map[string]int{"a stream": stream[0], "a socket that is not connected": free, "a path to nobody": nowhere, "nothing": -1} {
		if _, err := h.pump.NewDatagramLoan(fd, false, lender.LendDatagrams, ended, closed); err != lend.ErrHostDatagrams {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := h.pump.NewDatagramLoan(pair[0], false, lender.LendDatagrams, ended, closed); err != netbsd.ENOTCONN {
		t.Errorf("by K, and the socket is not connected: %v", err)
	}
	before := hostFiles(t)
	empty, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	mine = append(mine, empty[0], empty[1])
	for name, fd := range map[string]int{
		"nothing in it": empty[0], "only one": parcel(t, table), "no UDP socket": parcel(t, stream[0], table),
		"a UDP socket that is not connected": parcel(t, udp, table), "no table": parcel(t, udp, udp), "more": parcel(t, udp, table, table),
	} {
		if _, err := h.pump.NewLabelledLoan(fd, lender.LendDatagrams, ended, closed); err != lend.ErrHostDatagrams {
			t.Errorf("a parcel with %s: %v", name, err)
		}
		if fd != empty[0] {
			unix.Close(fd)
		}
	}
	if n := hostFiles(t) - 2; n != before {
		t.Errorf("%d descriptors, %d before: of a parcel that is not taken some are left", n, before)
	}
	for _, fd := range mine {
		must(t, unix.Close(fd))
	}
	// A socket that is lent already, or closed.
	b.label()
	b.lend()
	if err := b.tryLend(false); err != netbsd.EBUSY {
		t.Errorf("lent twice: %v", err)
	}
	b.loan.Revoke()
	b.endsWith(lend.Revoked, nil)
	b.so.Close()
	if err := b.tryLend(false); err != netbsd.EBADF {
		t.Errorf("of a closed socket: %v", err)
	}
	if n := h.pump.Loans(); n != 0 {
		t.Errorf("there are %d loans", n)
	}
}

// A pump that is closed takes no loans of datagrams.
func TestPumpCloseDatagrams(t *testing.T) {
	h := newHost(t)
	b := h.borrow()
	from, name := h.udp()
	b.lend()
	pump := h.pump
	pump.Close()
	h.sendTo(from, []byte("still"), b.name)
	b.hearsFrom([]byte("still"), name)
	for _, kind := range []string{"by the path", "with labels", "by K"} {
		c := h.borrow()
		switch kind {
		case "with labels":
			c.label()
		case "by K":
			c.connect(name)
		}
		if err := c.tryLend(false); err != lend.ErrPump {
			t.Errorf("%s: %v", kind, err)
		}
	}
	b.loan.Revoke()
	b.endsWith(lend.Revoked, nil)
	eventually(t, "the pump ends", pump.Over)
}

// Many send to many at once, and loans begin and end meanwhile: what is received comes from who sent it, in order.
func TestManyDatagrams(t *testing.T) {
	h := newHost(t)
	var all sync.WaitGroup
	for i := range 12 {
		b := h.borrow()
		peer, name := h.udp()
		h.bigBuffer(b.so, peer)
		switch i % 3 {
		case 1:
			b.connect(name)
		case 2:
			b.label()
		}
		all.Go(func() {
			for round := range 40 {
				b.lend()
				for j := range 8 {
					p := fmt.Appendf(nil, "%d %d %d", i, round, j)
					h.sendTo(peer, p, b.name)
				}
				for j := range 8 {
					p := fmt.Appendf(nil, "%d %d %d", i, round, j)
					if i%3 == 1 {
						b.hears(p)
					} else {
						b.hearsFrom(p, name)
					}
				}
				if i%2 == 0 {
					b.loan.TakeBack(false)
				} else {
					b.loan.Revoke()
				}
				b.endsWith(lend.Revoked, nil)
			}
		})
	}
	all.Wait()
}

// counted counts what is sent.
type counted struct {
	lend.Datagrams
	sent atomic.Int32
}

// Send implements [lend.Datagrams].
func (c *counted) Send(p []byte) error {
	c.sent.Add(1)
	return c.Datagrams.Send(p)
}

// When a loan is taken back, or S closed, all is sent first that S has sent, whatever the size of the datagrams.
func TestDatagramsTakenBack(t *testing.T) {
	for _, closed := range []bool{false, true} {
		t.Run(fmt.Sprintf("closed: %v", closed), func(t *testing.T) {
			h := newHost(t)
			b := h.borrow()
			_, name := h.udp()
			b.connect(name)
			if unix.SetsockoptInt(b.s, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 8<<20) != nil {
				must(t, unix.SetsockoptInt(b.s, unix.SOL_SOCKET, unix.SO_SNDBUF, 8<<20))
			}
			sent := 0
			for sent < lend.MaxUp && unix.Send(b.s, make([]byte, 4000), unix.MSG_DONTWAIT) == nil {
				sent++
			}
			k, err := unix.FcntlInt(uintptr(b.k), unix.F_DUPFD_CLOEXEC, 0)
			must(t, err)
			var c *counted
			loan, err := h.pump.NewDatagramLoan(k, false, func(notify func(lend.Events)) (lend.Datagrams, error) {
				s, err := b.so.(kernel.DatagramLender).LendDatagrams(notify)
				c = &counted{Datagrams: s}
				return c, err
			}, func(how lend.End, err error) { b.ended <- ending{how, err} }, func() {})
			must(t, err)
			loan.TakeBack(closed) // what begins then is the end
			loan.Start()
			if closed {
				b.endsWith(lend.Closed, nil)
			} else {
				b.endsWith(lend.Revoked, nil)
			}
			if n := int(c.sent.Load()); n != sent {
				t.Errorf("%d datagrams of %d have been sent", n, sent)
			}
		})
	}
}

// An S that is connected to somebody else does not get what comes by K; connected to K again it does.
func TestDatagramsConnectedAnew(t *testing.T) {
	h := newHost(t)
	b := h.borrow()
	peer, name := h.udp()
	b.connect(name)
	other := hostSocket(t, unix.AF_UNIX)
	defer unix.Close(other)
	elsewhere := filepath.Join(t.TempDir(), "other")
	must(t, unix.Bind(other, &unix.SockaddrUnix{Name: elsewhere}))
	b.lend()
	for range 10 {
		must(t, unix.Connect(b.s, &unix.SockaddrUnix{Name: elsewhere}))
		h.sendTo(peer, []byte("lost"), b.name)
		must(t, unix.Connect(b.s, &unix.SockaddrUnix{Name: b.path + "k"}))
		h.sendTo(peer, []byte("got"), b.name)
		// That it was lost shows only when the loan has not been late.
		p := make([]byte, 10)
		for n := 0; string(p[:n]) != "got"; {
			var err error
			if n, err = unix.Read(b.s, p); err != nil && err != unix.EINTR {
				t.Fatal(err)
			}
			n = max(n, 0)
		}
		b.says([]byte("out"))
		h.receive(peer, []byte("out"))
	}
}

// With labels, that S is closed is known when a loan begins if the host has told K so.
func TestDatagramsLabelledClosed(t *testing.T) {
	h := newHost(t)
	b := h.borrow()
	b.label()
	b.closeS()
	_ = unix.Send(b.k, []byte("to nobody"), 0)
	b.lend()
	b.endsWith(lend.Closed, nil)
	// The socket takes nothing any more.
	peer, _ := h.udp()
	must(t, peer.Connect(b.name))
	eventually(t, "the sender is told", func() bool {
		_, err := peer.Send(nil, &kernel.Message{Data: []byte("to nobody")})
		return err == netbsd.ECONNREFUSED
	})
}
