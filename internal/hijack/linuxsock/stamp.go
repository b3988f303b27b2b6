//go:build linux

package linuxsock

import (
	"time"

	"golang.org/x/sys/unix"

	"rumptools/pkg/netbsd"
)

// stamp is how a socket wants to be told when its datagrams came.
type stamp struct {
	form stampForm
	// ing are the flags of SO_TIMESTAMPING, and ingNew says that they were
	// set in its new form.
	ing    int32
	ingNew bool
}

// stampForm is the form of the time in a control message.
type stampForm int

const (
	stampNone stampForm = iota
	stampMicros
	stampMicrosNew
	stampNanos
	stampNanosNew
)

// stampOption is SO_TIMESTAMP or SO_TIMESTAMPNS, in one of its forms: the last
// that was set is the one that acts.
func stampOption(name string, form stampForm) *option {
	return &option{name: name, at: inKernel,
		set: number(func(r *request, v int32) unix.Errno {
			want := r.s.stamp
			if want.form = stampNone; v != 0 {
				want.form = form
			}
			return r.setStamp(want)
		}),
		get: func(r *request) ([]byte, unix.Errno) { return intValue(boolInt(r.s.stamp.form == form)), 0 },
	}
}

// setStamp has the kernel's socket tell times if any are wanted.
func (r *request) setStamp(want stamp) unix.Errno {
	on := want.form != stampNone || want.ing&unix.SOF_TIMESTAMPING_RX_SOFTWARE != 0
	if errno := r.kernelInt(netbsd.SOL_SOCKET, netbsd.SO_TIMESTAMP, boolInt(on)); errno != 0 {
		return errno
	}
	r.s.stamp = want
	return 0
}

// stampingFlags are the flags of SO_TIMESTAMPING that can be kept: when
// datagrams came, in the kernel's software, and how that is told.
const stampingFlags = unix.SOF_TIMESTAMPING_RX_SOFTWARE | unix.SOF_TIMESTAMPING_SOFTWARE | unix.SOF_TIMESTAMPING_OPT_CMSG

// setTimestamping is SO_TIMESTAMPING. What is sent is not stamped, and devices
// have no clocks: such flags are unknown.
func setTimestamping(r *request, v int32) unix.Errno {
	if v&^stampingFlags != 0 {
		return unix.EINVAL
	}
	want := r.s.stamp
	want.ing, want.ingNew = v, r.key.name == unix.SO_TIMESTAMPING_NEW
	return r.setStamp(want)
}

// getTimestamping gives struct so_timestamping: the flags and a clock.
func getTimestamping(r *request) ([]byte, unix.Errno) {
	flags := r.s.stamp.ing
	if r.s.stamp.ingNew != (r.key.name == unix.SO_TIMESTAMPING_NEW) {
		flags = 0
	}
	return append(intValue(flags), 0, 0, 0, 0), 0
}

// Restamp changes the time that control messages of a kernel tell for when a datagram came, in place. The clock of a kernel on another host is
// another, and that of NetBSD's rump kernel was seen to be behind the host's by 13 to 23 ms, in steps of 10: to ping(8) time went back.
func Restamp(m *netbsd.Machine, control []byte, at time.Time) {
	list, _ := netbsd.ParseCmsgs(m, control)
	for _, c := range list {
		if c.Level == netbsd.SOL_SOCKET && c.Type == netbsd.SCM_TIMESTAMP {
			tv := netbsd.TimevalAt(at)
			copy(c.Data, netbsd.Marshal(m, &tv))
		}
	}
}
