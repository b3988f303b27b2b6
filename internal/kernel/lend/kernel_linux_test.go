package lend_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"rumptools/internal/kernel"
	"rumptools/internal/kernel/inet"
	"rumptools/internal/seeded"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
)

// A kernel that is halted while much is lent ends all loans: programs see that their connections are reset, and nothing is left.
func TestKernelHalts(t *testing.T) {
	for _, how := range []string{"the kernel", "the client"} {
		t.Run(how, func(t *testing.T) {
			noLeaks(t)
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			// The test's own directory may have too long a path for a socket.
			dir, err := os.MkdirTemp("", "lend-")
			must(t, err)
			defer os.RemoveAll(dir)
			path := filepath.Join(dir, "k")
			listener, err := net.Listen("unix", path)
			must(t, err)
			k := kernel.New(kernel.Config{})
			stack, err := inet.New(inet.Config{Kernel: k})
			must(t, err)
			served := make(chan struct{})
			go func() {
				k.Serve(listener)
				close(served)
			}()
			c, err := spclient.Dial(ctx, "unix://"+path, nil)
			must(t, err)
			var programs []*os.File
			ended := make(chan spclient.LoanEnd, 100)
			p := noise(1 << 20)
			for i := range 10 {
				a, b := clientPair(t, ctx, c)
				ends := [2]*os.File{lendTo(t, ctx, c, a, ended), lendTo(t, ctx, c, b, ended)}
				switch i % 3 {
				case 1: // something is under way that nobody reads
					go ends[0].Write(p)
				case 2: // and something that is read
					go ends[0].Write(p)
					go io.Copy(io.Discard, ends[1])
				default:
					carry(t, ends[0], ends[1], p)
				}
				programs = append(programs, ends[:]...)
			}
			datagrams := lendDatagramsTo(t, ctx, c, ended)
			if how == "the client" {
				must(t, c.Close())
			}
			k.Halt(true)
			<-served
			k.Wait()
			stack.Close()
			for i, f := range programs {
				if i/2%3 == 2 {
					continue // it is read already
				}
				if _, err := io.Copy(io.Discard, f); !errors.Is(err, unix.ECONNRESET) {
					t.Errorf("program %d: %v", i, err)
				}
			}
			c.Close()
			// Who lends hears of each once.
			for range len(programs) + 1 {
				select {
				case <-ended:
				case <-time.After(patience):
					t.Fatal("who lends is not told")
				}
			}
			for _, f := range programs {
				f.Close()
			}
			unix.Close(datagrams)
		})
	}
}

// clientPair makes the ends of a connection in a kernel.
func clientPair(t *testing.T, ctx context.Context, c *spclient.Conn) (a, b spclient.FD) {
	t.Helper()
	l, err := c.Socket(ctx, netbsd.AF_INET, netbsd.SOCK_STREAM, 0)
	must(t, err)
	must(t, c.Bind(ctx, l, []byte{16, netbsd.AF_INET, 0, 0, 127, 0, 0, 1, 15: 0}))
	must(t, c.ListenFD(ctx, l, 1))
	sa, err := c.Getsockname(ctx, l)
	must(t, err)
	a, err = c.Socket(ctx, netbsd.AF_INET, netbsd.SOCK_STREAM, 0)
	must(t, err)
	must(t, c.Connect(ctx, a, sa))
	b, _, err = c.Accept(ctx, l)
	must(t, err)
	must(t, c.CloseFD(ctx, l))
	return a, b
}

// lendTo lends a socket, and gives the program's end.
func lendTo(t *testing.T, ctx context.Context, c *spclient.Conn, fd spclient.FD, ended chan<- spclient.LoanEnd) *os.File {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	must(t, seeded.Sow(fds[0]))
	must(t, unix.SetNonblock(fds[0], true))
	must(t, c.Lend(ctx, fd, fds[1], true, func(e spclient.LoanEnd) { ended <- e }))
	must(t, unix.Close(fds[1]))
	f := os.NewFile(uintptr(fds[0]), "program")
	must(t, f.SetDeadline(time.Now().Add(patience)))
	return f
}

// lendDatagramsTo lends a UDP socket, and gives S.
func lendDatagramsTo(t *testing.T, ctx context.Context, c *spclient.Conn, ended chan<- spclient.LoanEnd) (s int) {
	t.Helper()
	fd, err := c.Socket(ctx, netbsd.AF_INET, netbsd.SOCK_DGRAM, 0)
	must(t, err)
	s = hostSocket(t, unix.AF_UNIX)
	path := filepath.Join(t.TempDir(), fmt.Sprint("s", s))
	must(t, unix.Bind(s, &unix.SockaddrUnix{Name: path}))
	by, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	must(t, err)
	defer unix.Close(by)
	must(t, c.LendDatagrams(ctx, fd, by, func(e spclient.LoanEnd) { ended <- e }))
	return s
}
