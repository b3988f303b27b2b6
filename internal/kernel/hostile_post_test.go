package kernel_test

import (
	"io"
	"testing"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/sysproxy"
)

// A call that is posted is made and not answered; of those that wait there are not more than of
// others.
func TestPost(t *testing.T) {
	k, url, served := target(t)
	h := attack(t, url, true)
	reply := func(m sysproxy.Message, want uint64, errno netbsd.Errno) {
		t.Helper()
		h.say(m)
		_, got := h.hear(t)
		r, ok := got.(sysproxy.SyscallReply)
		if !ok || r.Retval[0] != want || netbsd.Errno(r.Errno) != errno {
			t.Errorf("%+v: %+v, want %d and %v", m, got, want, errno)
		}
	}
	post := func(num uint32, args ...uint64) { h.say(sysproxy.Post(syscallOf(num, args...))) }
	reply(carryOf(netbsd.SYS_pipe, nil), 3, 0)
	post(netbsd.SYS_close, 77) // there is none
	post(netbsd.SYS_close, 4)
	reply(syscallOf(netbsd.SYS_close, 4), 0, netbsd.EBADF)
	post(1 << 20) // no such call
	reply(carryOf(netbsd.SYS_pipe, nil), 4, 0)
	const atMost = 4096
	for range atMost + 1 {
		post(netbsd.SYS_read, 4, 0x1000, 1) // nothing comes
	}
	if n, err := io.Copy(io.Discard, h); n != 0 || err != nil {
		t.Errorf("after too many: %d bytes, %v", n, err)
	}
	served()
	h.Close()
	alone(t, k)
}
