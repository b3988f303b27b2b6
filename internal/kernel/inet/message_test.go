package inet

import (
	"testing"

	"rumptools/internal/kernel"
	"rumptools/pkg/netbsd"
)

// Sockets of the internet pass no descriptors: IPv4 and streams know no control
// messages at all, and IPv6 reads past those of other levels.
func TestNoRights(t *testing.T) {
	s := newStack(t)
	rights := []netbsd.Cmsg{{Level: netbsd.SOL_SOCKET, Type: netbsd.SCM_RIGHTS, Data: []byte{0, 0, 0, 0}}}
	for _, tt := range []struct {
		what        string
		family, typ int32
		proto       int32
		to          []byte
		want        error
	}{
		{"udp", netbsd.AF_INET, netbsd.SOCK_DGRAM, 0, addr(s, "127.0.0.1:9"), netbsd.EINVAL},
		{"raw", netbsd.AF_INET, netbsd.SOCK_RAW, netbsd.IPPROTO_ICMP, addr(s, "127.0.0.1:0"), netbsd.EINVAL},
		{"udp6", netbsd.AF_INET6, netbsd.SOCK_DGRAM, 0, addr(s, "[::1]:9"), nil},
	} {
		so := open(t, s, tt.family, tt.typ, tt.proto)
		n, err := so.Send(nil, &kernel.Message{Data: make([]byte, 100), Name: tt.to, Control: rights})
		check(t, tt.what, err, tt.want)
		if err == nil && n != 100 {
			t.Errorf("%s: %d bytes sent", tt.what, n)
		}
	}
	rt, err := routeDomain{s}.Socket(nil, netbsd.SOCK_RAW, 0)
	must(t, err)
	defer rt.Close()
	_, err = rt.Send(nil, &kernel.Message{Data: make([]byte, 100), Control: rights})
	check(t, "route", err, netbsd.EINVAL)
	a, _ := connected(t, s, s, "127.0.0.1:4000")
	_, err = a.Send(nil, &kernel.Message{Data: make([]byte, 100), Control: rights})
	check(t, "tcp", err, netbsd.EINVAL)
}
