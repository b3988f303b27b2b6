package kernel_test

import (
	"testing"

	"rumptools/internal/kernel"
	"rumptools/internal/kernel/local"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/sysproxy"
)

// ask makes a system call without buffers and gives its result; signals are those
// that came before its answer.
func (h *hostile) ask(t *testing.T, num uint32, args ...uint64) (ret [2]uint64, signals []netbsd.Signal) {
	t.Helper()
	h.say(syscallOf(num, args...))
	for {
		_, m := h.hear(t)
		switch m := m.(type) {
		case sysproxy.Raise:
			signals = append(signals, netbsd.Signal(m.Signo))
		case sysproxy.SyscallReply:
			if m.Errno != 0 {
				t.Fatalf("system call %d: %v", num, netbsd.Errno(m.Errno))
			}
			return m.Retval, signals
		case sysproxy.CopyIn:
			t.Fatal("the call asks for memory")
		}
	}
}

// signal waits for a signal.
func (h *hostile) signal(t *testing.T) netbsd.Signal {
	t.Helper()
	_, m := h.hear(t)
	r, ok := m.(sysproxy.Raise)
	if !ok {
		t.Fatalf("%+v, want a signal", m)
	}
	return netbsd.Signal(r.Signo)
}

// The owner of a file with O_ASYNC gets SIGIO when there is something to read or
// room to write; nobody else does, and without O_ASYNC nobody.
func TestSigio(t *testing.T) {
	k, url := serve(t, kernel.Config{})
	local.Register(k)
	owner, writer := attack(t, url, true), attack(t, url, true)
	pid, _ := owner.ask(t, netbsd.SYS_getpid)
	// The writer has the socket pair; the owner has no descriptor for it.
	writer.say(syscallOf(netbsd.SYS_socketpair, netbsd.AF_LOCAL, netbsd.SOCK_STREAM, 0, 0x1000))
	for {
		if _, m := writer.hear(t); m == (sysproxy.SyscallReply{}) {
			break
		} else if _, ok := m.(sysproxy.CopyOut); !ok {
			t.Fatalf("socketpair: %+v", m)
		}
	}
	const a, b = 3, 4
	// send sends 5 bytes from b to a.
	send := func() {
		t.Helper()
		writer.say(syscallOf(netbsd.SYS_write, b, 0x1000, 5))
		hd, _ := writer.hear(t)
		writer.Write(sysproxy.CopyInReply{Data: []byte("hello")}.Append(nil, wire, hd.ReqNo))
		if _, m := writer.hear(t); m != (sysproxy.SyscallReply{Retval: [2]uint64{5}}) {
			t.Fatalf("write: %+v", m)
		}
	}
	writer.ask(t, netbsd.SYS_fcntl, a, netbsd.F_SETOWN, pid[0])
	send()
	writer.ask(t, netbsd.SYS_fcntl, a, netbsd.F_SETFL, netbsd.O_ASYNC)
	for range 3 {
		send()
		if sig := owner.signal(t); sig != netbsd.SIGIO {
			t.Errorf("%v, want SIGIO", sig)
		}
	}
	writer.ask(t, netbsd.SYS_fcntl, a, netbsd.F_SETFL, 0)
	send()
	// A signal that is still on its way would come before an answer that is
	// asked for later.
	for range 20 {
		if _, signals := owner.ask(t, netbsd.SYS_getpid); len(signals) != 0 {
			t.Fatalf("signals without O_ASYNC: %v", signals)
		}
		if _, signals := writer.ask(t, netbsd.SYS_getpid); len(signals) != 0 {
			t.Fatalf("the writer got %v", signals)
		}
	}
	// An owner that has gone is no one's loss.
	writer.ask(t, netbsd.SYS_fcntl, a, netbsd.F_SETFL, netbsd.O_ASYNC)
	owner.Close()
	send()

	// Pipes have owners as well.
	fds, _ := writer.ask(t, netbsd.SYS_pipe)
	self, _ := writer.ask(t, netbsd.SYS_getpid)
	writer.ask(t, netbsd.SYS_fcntl, fds[0], netbsd.F_SETOWN, self[0])
	writer.ask(t, netbsd.SYS_fcntl, fds[0], netbsd.F_SETFL, netbsd.O_ASYNC)
	_, signals := writer.ask(t, netbsd.SYS_close, fds[1])
	if len(signals) == 0 {
		signals = append(signals, writer.signal(t))
	}
	if signals[0] != netbsd.SIGIO {
		t.Errorf("%v, want SIGIO", signals)
	}
}

// A kqueue is not inherited, what else the parent had at its PREFORK is, and
// what it opened later is not. The child may come when the parent has gone.
func TestForkDescriptors(t *testing.T) {
	_, url := serve(t, kernel.Config{})
	parent := attack(t, url, true)
	pipe, _ := parent.ask(t, netbsd.SYS_pipe)
	kq, _ := parent.ask(t, netbsd.SYS_kqueue)
	parent.say(sysproxy.Prefork{})
	_, m := parent.hear(t)
	auth := m.(sysproxy.PreforkReply).Auth
	late, _ := parent.ask(t, netbsd.SYS_pipe)
	parent.Close()

	child := attack(t, url, false)
	child.say(sysproxy.Fork{Auth: auth})
	if _, m := child.hear(t); m != (sysproxy.HandshakeReply{}) {
		t.Fatalf("fork: %+v", m)
	}
	for _, fd := range []uint64{0, 1, 2, pipe[0], pipe[1]} {
		child.ask(t, netbsd.SYS_fcntl, fd, netbsd.F_GETFD, 0)
	}
	for _, fd := range []uint64{kq[0], late[0], late[1]} {
		child.say(syscallOf(netbsd.SYS_fcntl, fd, netbsd.F_GETFD, 0))
		if _, m := child.hear(t); m != (sysproxy.SyscallReply{Errno: int32(netbsd.EBADF)}) {
			t.Errorf("descriptor %d in the child: %+v", fd, m)
		}
	}
	again := attack(t, url, false)
	again.say(sysproxy.Fork{Auth: auth})
	if _, m := again.hear(t); m != (sysproxy.Refusal{Code: sysproxy.ErrInvalidPrefork}) {
		t.Errorf("the cookie's second use: %+v", m)
	}
}
