package kernel_test

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"rumptools/internal/kernel"
	"rumptools/pkg/spclient"
)

// troubled is a listener whose accept(2) fails before it works.
type troubled struct {
	net.Listener
	errs []error
}

func (l *troubled) Accept() (net.Conn, error) {
	if len(l.errs) > 0 {
		err := l.errs[0]
		l.errs = l.errs[1:]
		return nil, &net.OpError{Op: "accept", Net: "unix", Err: os.NewSyscallError("accept4", err)}
	}
	return l.Listener.Accept()
}

// What accept(2) says about the host or a client does not end the service.
func TestAcceptErrors(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	nl, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	l := &troubled{nl, []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED, syscall.EPROTO}}
	k := kernel.New(kernel.Config{})
	served := make(chan error, 1)
	go func() { served <- k.Serve(l) }()
	c, err := spclient.Dial(t.Context(), "unix://"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Getpid(t.Context()); err != nil {
		t.Error(err)
	}
	c.Close()
	k.Halt(true)
	if err := <-served; !errors.Is(err, kernel.ErrHalted) {
		t.Error(err)
	}
	if err := k.Serve(nl); !errors.Is(err, kernel.ErrHalted) {
		t.Errorf("after the halt: %v", err)
	}

	nl, err = net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	k = kernel.New(kernel.Config{})
	if err := k.Serve(&troubled{nl, []error{syscall.EINVAL}}); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("a listener that is none: %v", err)
	}
	k.Halt(true)
}
