package innernet

import (
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/innernet/factory"
	"rumptools/internal/label"
)

// networks makes a network in each way that is permitted here.
func networks(t *testing.T, test func(t *testing.T, n *Net)) {
	t.Helper()
	made := 0
	for name, starts := range map[string][]starter{"thread": {startThread}, "process": {startProcess}, "either": {startThread, startProcess}} {
		t.Run(name, func(t *testing.T) {
			n, err := newNet(func() { t.Error("overrun") }, starts...)
			if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSPC) {
				t.Skip(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			made++
			defer n.Close()
			test(t, n)
		})
	}
	if made == 0 && os.Geteuid() == 0 {
		t.Error("root has no network namespace")
	}
}

// programSocket is a program's socket and its K.
func programSocket(t *testing.T, n *Net) (s, k int) {
	t.Helper()
	s, err := n.Socket()
	if err != nil {
		t.Fatal(err)
	}
	if k, err = n.Keep(s); err != nil {
		t.Fatal(err)
	}
	return s, k
}

// disconnect is connect(2) to nobody.
func disconnect(fd int) {
	sa := unix.RawSockaddr{Family: unix.AF_UNSPEC}
	unix.Syscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&sa)), unsafe.Sizeof(sa))
}

func send(t *testing.T, fd int, what string) {
	t.Helper()
	if err := unix.Send(fd, []byte(what), unix.MSG_DONTWAIT); err != nil {
		t.Fatalf("send: %v", err)
	}
}

func receive(t *testing.T, fd int, want string) {
	t.Helper()
	b := make([]byte, 100)
	n, _, err := unix.Recvfrom(fd, b, unix.MSG_DONTWAIT)
	if err != nil || string(b[:n]) != want {
		t.Fatalf("received %q, %v, want %q", b[:max(n, 0)], err, want)
	}
}

// What S and K send to each other arrives, and the host answers for S as for any UDP socket.
func TestPair(t *testing.T) {
	networks(t, func(t *testing.T, n *Net) {
		s, k := programSocket(t, n)
		defer unix.Close(s)
		defer unix.Close(k)
		other, otherK := programSocket(t, n)
		defer unix.Close(other)
		defer unix.Close(otherK)
		if err := unix.Send(s, []byte("x"), 0); err != unix.EDESTADDRREQ {
			t.Errorf("send of one that is not connected: %v", err)
		}
		if e := label.Send(k, []byte("down"), 1000); e != 0 {
			t.Fatal(e)
		}
		b, oob := make([]byte, 100), make([]byte, label.Room)
		m, oobn, _, _, err := unix.Recvmsg(s, b, oob, unix.MSG_DONTWAIT)
		if number, ok := label.Of(oob[:oobn]); err != nil || string(b[:m]) != "down" || !ok || number != 1000 {
			t.Errorf("%q, %v, label %d, %v", b[:max(m, 0)], err, number, ok)
		}
		for range 2 {
			if err := Connect(s, k); err != nil {
				t.Fatal(err)
			}
			send(t, s, "up")
			receive(t, k, "up")
			disconnect(s)
			if err := unix.Send(s, []byte("x"), 0); err != unix.EDESTADDRREQ {
				t.Errorf("send of one that is not connected any more: %v", err)
			}
			send(t, k, "down")
			receive(t, s, "down") // it still has its name
		}
		second, err := n.Keep(s)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(second)
		if err := Connect(s, second); err != nil {
			t.Fatal(err)
		}
		send(t, s, "up")
		receive(t, second, "up")
		if _, _, err := unix.Recvfrom(otherK, b, unix.MSG_DONTWAIT); err != unix.EAGAIN {
			t.Errorf("another K: %v", err)
		}
	})
}

// As long as a datagram waits its label does: no more wait than a writer writes others before it writes over one.
func TestRoom(t *testing.T) {
	if factory.UDPRoom > label.MaxReceiveBuffer {
		t.Errorf("room for %d bytes, labels last for %d", factory.UDPRoom, label.MaxReceiveBuffer)
	}
	networks(t, func(t *testing.T, n *Net) {
		s, k := programSocket(t, n)
		defer unix.Close(s)
		defer unix.Close(k)
		for range 2 * label.Entries {
			label.Send(k, nil, 1)
		}
		waiting := 0
		for {
			if _, _, err := unix.Recvfrom(s, nil, unix.MSG_DONTWAIT); err != nil {
				break
			}
			waiting++
		}
		if waiting < 200 || waiting > label.Entries/4 {
			t.Errorf("%d datagrams wait", waiting)
		}
	})
}

// S has the errors that it is to have, by whatever call, and poll(2) tells.
func TestFail(t *testing.T) {
	networks(t, func(t *testing.T, n *Net) {
		s, k := programSocket(t, n)
		defer unix.Close(s)
		defer unix.Close(k)
		if err := n.Fail(s, k, unix.ECONNREFUSED, 0); err != nil {
			t.Fatal(err)
		}
		if v, err := unix.GetsockoptInt(s, unix.SOL_SOCKET, unix.SO_ERROR); err != nil || v != 0 {
			t.Errorf("one that is not connected has the error %d, %v", v, err)
		}
		alone, err := n.Socket()
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(alone)
		unix.SetsockoptInt(alone, unix.IPPROTO_IP, unix.IP_RECVERR, 1)
		if err := n.Fail(alone, -1, unix.EMSGSIZE, 1500); err != nil {
			t.Fatal(err)
		}
		if _, _, _, _, err := unix.Recvmsg(alone, nil, make([]byte, 256), unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT); err != nil {
			t.Errorf("the queue of one without K: %v", err)
		}
		if err := Connect(s, k); err != nil {
			t.Fatal(err)
		}
		for _, tt := range []struct{ e, want unix.Errno }{
			{unix.ECONNREFUSED, unix.ECONNREFUSED}, {unix.EHOSTUNREACH, unix.EHOSTUNREACH}, {unix.ENETUNREACH, unix.ENETUNREACH},
			{unix.EMSGSIZE, unix.EMSGSIZE}, {unix.ENOPROTOOPT, unix.ENOPROTOOPT}, {unix.EHOSTDOWN, unix.EHOSTDOWN},
			{unix.EPROTO, unix.EPROTO}, {unix.ENETDOWN, unix.EHOSTUNREACH},
		} {
			for what, call := range map[string]func() error{
				"recv": func() error {
					_, _, err := unix.Recvfrom(s, make([]byte, 10), unix.MSG_DONTWAIT)
					return err
				},
				"send": func() error { return unix.Send(s, []byte("x"), unix.MSG_DONTWAIT) },
				"SO_ERROR": func() error {
					v, _ := unix.GetsockoptInt(s, unix.SOL_SOCKET, unix.SO_ERROR)
					return unix.Errno(v)
				},
			} {
				if err := n.Fail(s, k, tt.e, 1500); err != nil {
					t.Fatal(err)
				}
				fds := []unix.PollFd{{Fd: int32(s)}}
				unix.Poll(fds, 0)
				if err := call(); err != tt.want || fds[0].Revents != unix.POLLERR {
					t.Errorf("%s: %v, poll %#x, want %v", what, err, fds[0].Revents, tt.want)
				}
				if v, _ := unix.GetsockoptInt(s, unix.SOL_SOCKET, unix.SO_ERROR); v != 0 {
					t.Errorf("after %s still %v", what, unix.Errno(v))
				}
			}
		}
		// One that refuses to fragment knows how long a datagram may be now, and one with a queue has it there.
		unix.SetsockoptInt(s, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DO)
		unix.SetsockoptInt(s, unix.IPPROTO_IP, unix.IP_RECVERR, 1)
		if err := unix.Send(s, make([]byte, 1472), 0); err != nil {
			t.Errorf("1,472 bytes: %v", err)
		}
		if err := n.Limit(k, 1000); err != nil {
			t.Fatal(err)
		}
		if v, err := unix.GetsockoptInt(s, unix.SOL_SOCKET, unix.SO_ERROR); err != nil || v != 0 {
			t.Errorf("after a limit: error %d, %v", v, err)
		}
		if err := unix.Send(s, make([]byte, 972), 0); err != nil {
			t.Errorf("972 bytes: %v", err)
		}
		oob := make([]byte, 256)
		for _, local := range []bool{true, false} {
			if local {
				if err := unix.Send(s, make([]byte, 973), 0); err != unix.EMSGSIZE {
					t.Errorf("973 bytes: %v", err)
				}
			} else if err := n.Fail(s, k, unix.ECONNREFUSED, 0); err != nil {
				t.Fatal(err)
			}
			_, oobn, _, _, err := unix.Recvmsg(s, nil, oob, unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
			if err != nil || IsLocalError(oob[:oobn]) != local {
				t.Errorf("the queue: %v, local is to be %v", err, local)
			}
		}
	})
}

// It is told that the last descriptor of a socket is closed, soon, and of those only.
func TestWhenGone(t *testing.T) {
	networks(t, func(t *testing.T, n *Net) {
		gone := make(chan int, 10)
		var sockets []int
		for i := range 3 {
			s, err := n.Socket()
			if err != nil {
				t.Fatal(err)
			}
			if i > 0 { // one has no K
				k, err := n.Keep(s)
				if err != nil {
					t.Fatal(err)
				}
				defer unix.Close(k)
			}
			cookie, err := unix.GetsockoptUint64(s, unix.SOL_SOCKET, unix.SO_COOKIE)
			if err != nil {
				t.Fatal(err)
			}
			n.WhenGone(cookie, func() { gone <- i })
			sockets = append(sockets, s)
		}
		again, err := unix.FcntlInt(uintptr(sockets[0]), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range sockets {
			unix.Close(s)
		}
		told := func(want ...int) {
			t.Helper()
			for range want {
				select {
				case i := <-gone:
					if !strings.ContainsRune(string(runes(want)), rune('0'+i)) {
						t.Errorf("%d is gone, want one of %v", i, want)
					}
				case <-time.After(10 * time.Second):
					t.Fatalf("nobody was told of %v", want)
				}
			}
		}
		told(1, 2)
		n.CatchUp()
		if len(gone) > 0 {
			t.Error("one with another descriptor is gone")
		}
		unix.Close(again)
		told(0)
	})
}

func runes(numbers []int) (r []rune) {
	for _, n := range numbers {
		r = append(r, rune('0'+n))
	}
	return r
}

// Nothing stays of a network: no descriptor, no process.
func TestClose(t *testing.T) {
	networks(t, func(t *testing.T, n *Net) {
		n.Close()
		n.Close()
		if fd, err := n.Socket(); err == nil {
			t.Errorf("a socket %d of a network that has ended", fd)
		}
	})
	before := count(t)
	networks(t, func(t *testing.T, n *Net) {
		s, k := programSocket(t, n)
		unix.Close(s)
		unix.Close(k)
	})
	if after := count(t); after != before {
		t.Errorf("%d descriptors, %d before", after, before)
	}
	// The test's process is to reap its children, and so is who has a network.
	for {
		done := make(chan error, 1)
		go func() {
			_, err := unix.Wait4(-1, nil, 0, nil)
			done <- err
		}()
		select {
		case err := <-done:
			if err == unix.ECHILD {
				return
			}
		case <-time.After(10 * time.Second):
			out, _ := exec.Command("ps", "-ef").Output()
			t.Fatalf("a process stays:\n%s", out)
		}
	}
}

func count(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// Where nobody may have a network it is an error, and all is as before.
func TestNotPermitted(t *testing.T) {
	no := func() (maker, func(), error) { return nil, nil, os.NewSyscallError("unshare", unix.EPERM) }
	if n, err := newNet(nil, no, no); !errors.Is(err, unix.EPERM) || n != nil {
		t.Errorf("%v, %v", n, err)
	}
}

// Sockets are told of in messages of any length, among others that are too short for that, in their order; what cannot be
// read ends it, and what was before counts.
func FuzzEndedCookies(f *testing.F) {
	f.Add([]byte("\x49"+strings.Repeat("\x01", 73)+"\x03two\x50"), []byte("\x05\x00\x00\x00shorter than it may be"))
	f.Add([]byte{80}, []byte("\x60\x00\x00\x00\x14\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"+strings.Repeat("\x01", 80)))
	f.Fuzz(func(t *testing.T, told, rest []byte) {
		native := binary.NativeEndian
		var b []byte
		var want []uint64
		for i := uint64(1); len(told) > 0; i++ {
			// A length, and what is in a message of that.
			body := make([]byte, told[0])
			told = told[1+copy(body, told[1:]):]
			if len(body) >= sizeofInetDiagMsg {
				cookie := i<<32 | uint64(len(body))
				native.PutUint32(body[diagCookieAt:], uint32(cookie))
				native.PutUint32(body[diagCookieAt+4:], uint32(cookie>>32))
				want = append(want, cookie)
			}
			header := make([]byte, unix.SizeofNlMsghdr)
			native.PutUint32(header, uint32(len(header)+len(body)))
			b = append(append(b, header...), body...)
			b = append(b, make([]byte, -len(b)&3)...)
		}
		if got := endedCookies(b); !slices.Equal(got, want) {
			t.Fatalf("cookies %x, want %x", got, want)
		}
		// What follows may be messages, too.
		if got := endedCookies(append(b, rest...)); !slices.Equal(got, append(want, endedCookies(rest)...)) {
			t.Fatalf("cookies %x, want %x and those of %x", got, want, rest)
		}
	})
}

// The first error that is one counts, whatever other control messages there are.
func FuzzIsLocalError(f *testing.F) {
	const local = unix.SO_EE_ORIGIN_LOCAL
	f.Add([]byte{unix.IP_RECVERR, 16, 90, 0, 0, 0, local}, make([]byte, 32))
	f.Add([]byte{
		unix.SOL_SOCKET<<4 | unix.IP_RECVERR, 7, 1, 2, 3, 4, local, 5, 6, unix.IP_RECVERR, 4, 90, 0, 0, 0,
		unix.IP_RECVERR, 5, 111, 0, 0, 0, unix.SO_EE_ORIGIN_ICMP, unix.IP_RECVERR, 5, 90, 0, 0, 0, local,
	}, []byte{})
	f.Fuzz(func(t *testing.T, told, noise []byte) {
		IsLocalError(noise)
		var b []byte
		found, want := false, false
		for len(told) >= 2 {
			// What it is, a length, and what is in a message of that.
			level, kind := int32(told[0]>>4), int32(told[0]&0xf)
			data := make([]byte, told[1])
			told = told[2+copy(data, told[2:]):]
			if level == unix.IPPROTO_IP && kind == unix.IP_RECVERR && len(data) > 4 && !found {
				found, want = true, data[4] == local
			}
			message := make([]byte, unix.CmsgSpace(len(data)))
			h := (*unix.Cmsghdr)(unsafe.Pointer(&message[0]))
			h.Level, h.Type = level, kind
			h.SetLen(unix.CmsgLen(len(data)))
			copy(message[unix.CmsgLen(0):], data)
			b = append(b, message...)
		}
		if got := IsLocalError(b); got != want {
			t.Fatalf("local: %v, want %v", got, want)
		}
	})
}

// A connect that is refused here shows as one natively.
func TestRefused(t *testing.T) {
	networks(t, func(t *testing.T, n *Net) {
		fd, err := n.Refused()
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		poll := func() int16 {
			fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN | unix.POLLOUT}}
			unix.Poll(fds, 0)
			return fds[0].Revents
		}
		if got := poll(); got != unix.POLLIN|unix.POLLOUT|unix.POLLERR|unix.POLLHUP {
			t.Errorf("poll: %#x", got)
		}
		if _, err := unix.Read(fd, make([]byte, 1)); err != unix.ECONNREFUSED {
			t.Errorf("read: %v", err)
		}
		if n, err := unix.Read(fd, make([]byte, 1)); n != 0 || err != nil {
			t.Errorf("read again: %d, %v", n, err)
		}
		if err := AgainRefused(fd); err != unix.ECONNABORTED {
			t.Errorf("connect: %v", err)
		}
		if _, err := unix.Read(fd, make([]byte, 1)); err != unix.ENOTCONN {
			t.Errorf("read then: %v", err)
		}
		if got := poll(); got != unix.POLLOUT|unix.POLLHUP {
			t.Errorf("poll then: %#x", got)
		}
	})
}
