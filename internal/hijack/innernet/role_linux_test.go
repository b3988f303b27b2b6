package innernet

import (
	"testing"

	"golang.org/x/sys/unix"
)

// TestRolesLast: what is said of sockets that have listened holds for those that have connected, and in no other case.
func TestRolesLast(t *testing.T) {
	networks(t, func(t *testing.T, n *Net) {
		var want error
		if n.RolesLast() {
			want = unix.EINVAL
		}
		fd, err := n.Disconnected()
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		if err := unix.Listen(fd, 1); err != want {
			t.Errorf("listen of who has connected: %v, want %v", err, want)
		}
		l, err := n.Refused()
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(l)
		AgainRefused(l)
		if err := unix.Listen(l, 1); err != want {
			t.Errorf("listen of who was refused: %v, want %v", err, want)
		}
	})
}
