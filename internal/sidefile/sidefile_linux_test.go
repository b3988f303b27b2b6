package sidefile

import (
	"bytes"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// What is sent along is there for who asks, once, and no descriptor stays, asked or not.
func TestSidefile(t *testing.T) {
	p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(p[0])
	defer unix.Close(p[1])
	before := descriptors(t)
	long := bytes.Repeat([]byte("x"), Most)
	for _, along := range [][]byte{[]byte("along"), {}, long, append(long, 'y')} {
		for _, asks := range []bool{true, false} {
			if err := Send(p[0], []byte("datagram"), along); err != nil {
				t.Fatal(err)
			}
			buf := make([]byte, 100)
			if !asks {
				if n, err := unix.Read(p[1], buf); err != nil || string(buf[:n]) != "datagram" {
					t.Errorf("read %q, %v", buf[:max(n, 0)], err)
				}
				continue
			}
			oob := make([]byte, Room)
			n, oobn, flags, _, err := unix.Recvmsg(p[1], buf, oob, unix.MSG_CMSG_CLOEXEC)
			if err != nil || string(buf[:n]) != "datagram" || flags&unix.MSG_CTRUNC != 0 {
				t.Errorf("received %q, %#x, %v", buf[:max(n, 0)], flags, err)
			}
			if got := Read(oob[:oobn]); !bytes.Equal(got, along[:min(len(along), Most)]) {
				t.Errorf("%d bytes came along, want %d", len(got), len(along))
			}
		}
	}
	if Read(nil) != nil || Read([]byte("no control message")) != nil {
		t.Error("something came along with nothing")
	}
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors, before %d", after, before)
	}
	// A socket that is full takes no more.
	for {
		if err := Send(p[0], make([]byte, 10000), long); err == unix.EAGAIN || err == unix.ENOBUFS {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}
