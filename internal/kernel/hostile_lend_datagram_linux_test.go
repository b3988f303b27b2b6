package kernel_test

import (
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/sysproxy"
)

// Requests that cannot be, and the descriptors that come with them.
func TestHostileLendDatagrams(t *testing.T) {
	k, url, served := target(t)
	served()
	before := hostFDs(t)
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	h := attack(t, url, true)
	with := func(b []byte, fds ...int) {
		t.Helper()
		if _, _, err := h.Conn.(*net.UnixConn).WriteMsgUnix(b, unix.UnixRights(fds...), nil); err != nil {
			t.Fatal(err)
		}
	}
	ask := func(m sysproxy.LendDatagrams, fds ...int) sysproxy.Message {
		t.Helper()
		if b := h.frames(1, m); len(fds) > 0 {
			with(b, fds...)
		} else {
			h.Write(b)
		}
		_, answer := h.hear(t)
		return answer
	}
	h.say(syscallOf(netbsd.SYS___socket30, netbsd.AF_LOCAL, netbsd.SOCK_DGRAM, 0))
	h.hear(t)
	const begin, back = sysproxy.LendBegin, sysproxy.LendTakeBack
	errno := func(e netbsd.Errno) sysproxy.Message { return sysproxy.LendDatagramsReply{Errno: int32(e)} }
	malformed := sysproxy.Refusal{Code: sysproxy.ErrMalformedRequest}
	for _, tt := range []struct {
		fd   int32
		op   sysproxy.LendOp
		fds  []int
		want sysproxy.Message
	}{
		{3, begin, nil, errno(netbsd.EOPNOTSUPP)},
		{3, begin, pair[:1], errno(netbsd.EOPNOTSUPP)},
		{-1, begin, pair[:1], errno(netbsd.EBADF)},
		{99, begin, nil, errno(netbsd.EBADF)},
		{0, begin, pair[:1], errno(netbsd.ENOTSOCK)},
		{3, back, nil, sysproxy.LendDatagramsReply{End: sysproxy.LoanRevoked}},
		{99, back, nil, errno(netbsd.EBADF)},
		{3, sysproxy.LendBeginControl, pair[:1], errno(netbsd.EOPNOTSUPP)},
		{99, sysproxy.LendBeginControl, nil, errno(netbsd.EBADF)},
		{3, sysproxy.LendBeginLabels, pair[:1], errno(netbsd.EOPNOTSUPP)},
		{3, sysproxy.LendBeginLabels, nil, errno(netbsd.EOPNOTSUPP)},
		{99, sysproxy.LendBeginLabels, pair[:1], errno(netbsd.EBADF)},
		{3, sysproxy.LendAbandon, nil, sysproxy.LendDatagramsReply{End: sysproxy.LoanRevoked}},
		{99, sysproxy.LendAbandon, nil, errno(netbsd.EBADF)},
		{3, 5, nil, malformed},
		{3, 1 << 31, pair[:1], malformed},
	} {
		if m := ask(sysproxy.LendDatagrams{FD: tt.fd, Op: tt.op}, tt.fds...); m != tt.want {
			t.Errorf("%d of %d with %d descriptors: %+v, want %+v", tt.op, tt.fd, len(tt.fds), m, tt.want)
		}
	}
	bad := wire.AppendHeader(nil, sysproxy.Header{Len: sysproxy.HeaderLen + 4, ReqNo: 1, Type: sysproxy.TypeLendDatagrams})
	with(append(bad, 3, 0, 0, 0), pair[0])
	if _, m := h.hear(t); m != malformed {
		t.Errorf("a LENDDGRAM of 4 bytes: %+v", m)
	}
	h.Close()
	// One that goes in the middle.
	h = attack(t, url, true)
	with(h.frames(1, sysproxy.LendDatagrams{FD: 3})[:10], pair[0])
	h.Close()
	served()
	alone(t, k)
	unix.Close(pair[0])
	unix.Close(pair[1])
	for end := time.Now().Add(10 * time.Second); hostFDs(t) > before; {
		if time.Now().After(end) {
			t.Fatalf("%d descriptors, %d before", hostFDs(t), before)
		}
		time.Sleep(time.Millisecond)
	}
}
