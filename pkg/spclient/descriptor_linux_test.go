package spclient_test

import (
	"context"
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
	"rumptools/pkg/spclient/spclienttest"
)

func init() {
	children["closed at start"] = clientDescriptors
	children["closed later"] = func(url string) error {
		for fd := range 3 {
			unix.Close(fd)
		}
		return clientDescriptors(url)
	}
}

// clientDescriptors makes a call and checks what descriptors there are.
func clientDescriptors(url string) error {
	there := make(map[int]bool) // what the program was started with
	for fd := range 100 {
		_, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		there[fd] = err == nil
	}
	// No timer: the runtime would make its descriptors for that.
	ctx := context.Background()
	c, err := spclient.Dial(ctx, url, nil)
	if err != nil {
		return err
	}
	if _, err := c.Getpid(ctx); err != nil {
		return err
	}
	if _, err := connectionFD(); err != nil {
		return err
	}
	for fd := range 100 {
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if err == nil && !there[fd] && (fd < 3 || flags&unix.FD_CLOEXEC == 0) {
			name, _ := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
			return fmt.Errorf("descriptor %d, %s, has flags %#x", fd, name, flags)
		}
	}
	return c.Close()
}

// connectionFD returns the descriptor of this process's only connection.
func connectionFD() (int, error) {
	found := -1
	for fd := range 100 {
		if _, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE); err != nil {
			continue
		}
		if found >= 0 {
			return -1, fmt.Errorf("descriptors %d and %d are sockets", found, fd)
		}
		found = fd
	}
	if found < 3 {
		return -1, fmt.Errorf("descriptor %d is the socket", found)
	}
	return found, nil
}

// TestDescriptors checks that no descriptor of the client's is one that standard
// input, output or error could be, also when those are closed, by the program or
// before it starts, and that all are close-on-exec.
func TestDescriptors(t *testing.T) {
	for _, network := range []string{"unix", "tcp"} {
		srv := spclienttest.NewServer(t, network, netbsd.AMD64, func(p *spclienttest.Peer) {
			p.Serve(map[uint32]func(*spclienttest.Call){netbsd.SYS_getpid: func(c *spclienttest.Call) { c.Reply(1, 0) }})
		})
		for _, name := range []string{"closed at start", "closed later"} {
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			cmd := child(t, name, srv.URL(), childResult+"=3")
			if name == "closed at start" {
				cmd.Args = append([]string{"sh", "-c", `exec "$0" "$@" <&- >&- 2>&-`, cmd.Path}, cmd.Args[1:]...)
				cmd.Path = "/bin/sh"
			}
			cmd.ExtraFiles = []*os.File{w}
			err = cmd.Run()
			w.Close()
			if err != nil {
				skipIfForeign(t, err)
				var b [1000]byte
				n, _ := r.Read(b[:])
				t.Errorf("%s, %s: %v: %s", network, name, err, b[:n])
			}
		}
	}
}
