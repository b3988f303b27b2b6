package spclient_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
	"rumptools/pkg/spclient/spclienttest"
)

// childURL, when set, makes the test binary a client that has closed its
// descriptors 0 to 2.
const childURL = "SPCLIENT_TEST_URL"

func TestMain(m *testing.M) {
	if url := os.Getenv(childURL); url != "" {
		if err := clientWithoutStdio(url); err != nil {
			fmt.Fprintln(os.NewFile(3, "result"), err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// clientWithoutStdio closes descriptors 0 to 2, makes a call and checks what
// descriptors there are.
func clientWithoutStdio(url string) error {
	for fd := range 3 {
		unix.Close(fd)
	}
	ctx, cancel := contextFor(testTimeout)
	defer cancel()
	c, err := spclient.Dial(ctx, url, nil)
	if err != nil {
		return err
	}
	if _, err := c.Getpid(ctx); err != nil {
		return err
	}
	sockets := 0
	for fd := range 100 {
		_, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
		if err != nil {
			continue
		}
		if fd < 3 {
			return fmt.Errorf("descriptor %d is a socket", fd)
		}
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
			return fmt.Errorf("descriptor %d is not close-on-exec: %#x, %v", fd, flags, err)
		}
		sockets++
	}
	if sockets != 1 {
		return fmt.Errorf("%d sockets", sockets)
	}
	return c.Close()
}

// TestDescriptors checks that the connection is on no descriptor that standard
// input, output or error could be, also when those are closed, and that it is
// close-on-exec.
func TestDescriptors(t *testing.T) {
	for _, network := range []string{"unix", "tcp"} {
		srv := spclienttest.NewServer(t, network, netbsd.AMD64, func(p *spclienttest.Peer) {
			p.Serve(map[uint32]func(*spclienttest.Call){netbsd.SYS_getpid: func(c *spclienttest.Call) { c.Reply(1, 0) }})
		})
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childURL+"="+srv.URL())
		cmd.ExtraFiles = []*os.File{w}
		err = cmd.Run()
		w.Close()
		if errors.Is(err, unix.ENOEXEC) {
			t.Skip("the host does not run this machine's programs by itself")
		}
		if err != nil {
			var b [1000]byte
			n, _ := r.Read(b[:])
			t.Errorf("%s: %v: %s", network, err, strings.TrimSpace(string(b[:n])))
		}
	}
}
