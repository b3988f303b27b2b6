//go:build amd64 || arm64

package hijack

import (
	"testing"

	"golang.org/x/sys/unix"
)

// What is no socket is refused as by Linux, whatever there is of it: raw sockets do not take
// a number as their protocol that is none.
func TestKindOf(t *testing.T) {
	for _, domain := range []int{unix.AF_INET, unix.AF_INET6} {
		for _, c := range []struct {
			typ, proto int
			want       unix.Errno
		}{
			{unix.SOCK_STREAM, 0, 0},
			{unix.SOCK_STREAM, unix.IPPROTO_MPTCP, unix.EPROTONOSUPPORT},
			{unix.SOCK_STREAM, unix.IPPROTO_MPTCP + 1, unix.EINVAL},
			{unix.SOCK_DGRAM, -1, unix.EINVAL},
			{unix.SOCK_RAW, unix.IPPROTO_RAW, 0},
			{unix.SOCK_RAW, 999, unix.EINVAL},
			{unix.SOCK_RAW, 0, unix.EPROTONOSUPPORT},
			{unix.SOCK_RDM, 0, unix.ESOCKTNOSUPPORT},
			{unix.SOCK_RDM, 999, unix.EINVAL},
			{0, 0, unix.ESOCKTNOSUPPORT},
			{7, 0, unix.ESOCKTNOSUPPORT},
			{11, 0, unix.EINVAL},
		} {
			if _, _, e := kindOf(domain, c.typ, c.proto); e != c.want {
				t.Errorf("socket(%d, %d, %d): %v, want %v", domain, c.typ, c.proto, e, c.want)
			}
		}
	}
}
