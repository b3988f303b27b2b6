package spclient_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
)

func init() {
	children["replaced"] = replacedConnection
	children["replaced while waiting"] = replacedWhileWaiting
}

// replacement says what takes the place of the connection's descriptor.
const replacement = "SPCLIENT_TEST_REPLACEMENT"

// mailBody is in the file that gets the connection's number. Once a client wrote its
// frames there.
const mailBody = "Subject: greetings\n\nThis is all that the mail says.\n"

// stranger is a file of the program's, and a check that nobody else has used it.
type stranger struct {
	fd    int
	check func(at int) error
}

func newStranger(kind string) (stranger, error) {
	// The data that could be read by mistake is there before.
	pair := func(a, b int, err error) (stranger, error) {
		if err == nil {
			_, err = unix.Write(b, []byte(mailBody))
		}
		return stranger{a, func(at int) error {
			var got [200]byte
			unix.SetNonblock(at, true)
			n, err := unix.Read(at, got[:])
			if err != nil || string(got[:n]) != mailBody {
				return fmt.Errorf("of the other file's data %q is left, %v", got[:max(n, 0)], err)
			}
			unix.SetNonblock(b, true)
			defer unix.Close(b)
			if n, err := unix.Read(b, got[:]); err != unix.EAGAIN && err != unix.EBADF {
				return fmt.Errorf("%q was written to it, %v", got[:max(n, 0)], err)
			}
			return nil
		}}, err
	}
	switch kind {
	case "file":
		f, err := os.CreateTemp("", "mail")
		if err != nil {
			return stranger{}, err
		}
		os.Remove(f.Name())
		f.WriteString(mailBody)
		f.Seek(10, io.SeekStart)
		fd, err := unix.Dup(int(f.Fd()))
		return stranger{fd, func(at int) error {
			off, err := unix.Seek(at, 0, io.SeekCurrent)
			if err != nil || off != 10 {
				return fmt.Errorf("the file's offset is %d, %v", off, err)
			}
			var got [200]byte
			n, err := unix.Pread(at, got[:], 0)
			if err != nil || !bytes.Equal(got[:n], []byte(mailBody)) {
				return fmt.Errorf("the file has %q, %v", got[:max(n, 0)], err)
			}
			return nil
		}}, err
	case "socket":
		p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
		return pair(p[0], p[1], err)
	case "pipe":
		var p [2]int
		err := unix.Pipe2(p[:], 0)
		s, err := pair(p[0], p[1], err)
		check := s.check
		s.check = func(at int) error {
			unix.Close(p[1]) // nobody reads a pipe's writing end
			return check(at)
		}
		return s, err
	}
	return stranger{}, fmt.Errorf("no kind %q", kind)
}

// replacedConnection puts another file in the place of the connection, as programs do
// with dup2 and closefrom, and goes on as if nothing were: not a byte may get
// there, or from there, and it stays open.
func replacedConnection(url string) error {
	ctx, cancel := contextFor(testTimeout)
	defer cancel()
	for _, retry := range []spclient.Retry{spclient.RetryNone, spclient.RetryOnce} {
		c, err := spclient.Dial(ctx, url, &spclient.Options{Retry: retry, Message: func(string) {}})
		if err != nil {
			return err
		}
		fd, err := c.Socket(ctx, netbsd.AF_INET, netbsd.SOCK_DGRAM, 0)
		if err != nil {
			return err
		}
		conn, err := connectionFD()
		if err != nil {
			return err
		}
		if err := awaitWatched(ctx, conn); err != nil {
			return err
		}
		check := func(int) error { return nil }
		switch kind := os.Getenv(replacement); kind {
		case "nothing":
			unix.Close(conn)
		case "nothing anywhere":
			if err := closeFrom(3, conn); err != nil {
				return err
			}
		default:
			s, err := newStranger(kind)
			if err != nil {
				return err
			}
			if err := unix.Dup3(s.fd, conn, 0); err != nil {
				return err
			}
			unix.Close(s.fd)
			check = s.check
		}

		// A call with a descriptor of the kernel that this was.
		if _, err := c.Getsockname(ctx, fd); !errors.Is(err, spclient.ErrLost) {
			return fmt.Errorf("a call: %v", err)
		}
		pid, err := c.Getpid(ctx)
		switch {
		case retry == spclient.RetryNone && !errors.Is(err, spclient.ErrLost):
			return fmt.Errorf("another call: %v", err)
		case retry == spclient.RetryOnce && (err != nil || pid == 0):
			return fmt.Errorf("a call of a new connection: %d, %v", pid, err)
		}
		if _, err := c.Getsockname(ctx, fd); !errors.Is(err, spclient.ErrLost) {
			return fmt.Errorf("a call with an old descriptor: %v", err)
		}
		c.Close()
		if err := check(conn); err != nil {
			return err
		}
		unix.Close(conn)
	}
	return nil
}

// awaitWatched waits until nobody reads from the connection, whose descriptor epoll
// watches. A thread that has looked at the descriptor and is about to read would take
// what has come in its place in that moment: the host has no call that does both.
func awaitWatched(ctx context.Context, conn int) error {
	watched := regexp.MustCompile(fmt.Sprintf(`(?m)^tfd: +%d events: +([0-9a-f]+)`, conn))
	for ctx.Err() == nil {
		infos, err := filepath.Glob("/proc/self/fdinfo/*")
		if err != nil {
			return err
		}
		for _, name := range infos {
			// Not all that are listed are still there.
			info, _ := os.ReadFile(name)
			m := watched.FindSubmatch(info)
			if m == nil {
				continue
			}
			events, err := strconv.ParseUint(string(m[1]), 16, 32)
			if err != nil {
				return err
			}
			if events&unix.EPOLLIN != 0 {
				return nil
			}
		}
		time.Sleep(time.Millisecond)
	}
	return fmt.Errorf("the connection is not watched: %w", ctx.Err())
}

// closeFrom does what closefrom(3) does, but for what Go's runtime needs to live: its
// epoll descriptor, which does not look at the connection, and what wakes that.
func closeFrom(first, conn int) error {
	for fd := first; fd < 100; fd++ {
		name, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
		if err != nil || name == "anon_inode:[eventfd]" {
			continue
		}
		if name == "anon_inode:[eventpoll]" {
			info, err := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", fd))
			if errors.Is(err, os.ErrNotExist) {
				continue // one of a connection that was closed just now
			} else if err != nil {
				return err
			}
			if !regexp.MustCompile(fmt.Sprintf(`(?m)^tfd: +%d `, conn)).Match(info) {
				continue
			}
		}
		unix.Close(fd)
	}
	return nil
}

// replacedWhileWaiting loses its descriptor while a call waits in the kernel.
func replacedWhileWaiting(url string) error {
	c, err := spclient.Dial(context.Background(), url, nil)
	if err != nil {
		return err
	}
	r, _, err := c.Pipe(context.Background())
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() {
		_, err := c.Read(context.Background(), r, make([]byte, 1))
		done <- err
	}()
	time.Sleep(50 * time.Millisecond)
	conn, err := connectionFD()
	if err != nil {
		return err
	}
	ctx, cancel := contextFor(testTimeout)
	defer cancel()
	if err := awaitWatched(ctx, conn); err != nil {
		return err
	}
	null, err := unix.Open("/dev/null", unix.O_RDWR, 0)
	if err != nil {
		return err
	}
	if err := unix.Dup3(null, conn, 0); err != nil {
		return err
	}
	select {
	case err = <-done:
	case <-time.After(testTimeout / 2):
		stacks := make([]byte, 64<<10)
		err = fmt.Errorf("still waiting\n%s", stacks[:runtime.Stack(stacks, true)])
	}
	if !errors.Is(err, spclient.ErrLost) {
		return fmt.Errorf("the call that waited: %v", err)
	}
	c.Close()
	if _, err := unix.Write(conn, []byte("x")); err != nil {
		return fmt.Errorf("the other file: %v", err)
	}
	return nil
}

// TestReplaced closes or replaces the connection's descriptor.
func TestReplaced(t *testing.T) {
	url := os.Getenv("SPCLIENT_TEST_SERVER")
	if url == "" {
		url = kernelURL(t, netbsd.AMD64)
	}
	for _, kind := range []string{"nothing", "nothing anywhere", "file", "socket", "pipe"} {
		t.Run(kind, func(t *testing.T) { runChild(t, child(t, "replaced", url, replacement+"="+kind)) })
	}
	t.Run("while a call waits", func(t *testing.T) { runChild(t, child(t, "replaced while waiting", url)) })
}
