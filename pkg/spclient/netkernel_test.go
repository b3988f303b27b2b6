package spclient_test

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	"rumptools/internal/kernel"
	"rumptools/internal/kernel/inet"
	"rumptools/internal/kernel/local"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
)

// serveKernel runs an embedded kernel in this process and returns its URL, and what
// ends it.
func serveKernel(m *netbsd.Machine) (url string, end func(), err error) {
	// Not the test's directory: its path may be longer than a local socket's may be.
	dir, err := os.MkdirTemp("", "rump-")
	if err != nil {
		return "", nil, err
	}
	sock := filepath.Join(dir, "k")
	stop, err := serveKernelAt(sock, m)
	if err != nil {
		os.RemoveAll(dir)
		return "", nil, err
	}
	return "unix://" + sock, func() {
		stop()
		os.RemoveAll(dir)
	}, nil
}

// serveKernelAt runs an embedded kernel at a path.
func serveKernelAt(sock string, m *netbsd.Machine) (end func(), err error) {
	l, err := net.Listen("unix", sock)
	if err != nil {
		return nil, err
	}
	k := kernel.New(kernel.Config{Machine: m})
	local.Register(k)
	stack, err := inet.New(inet.Config{Kernel: k})
	if err != nil {
		l.Close()
		return nil, err
	}
	served := make(chan struct{})
	go func() {
		k.Serve(l)
		close(served)
	}()
	return func() {
		k.Halt(true)
		<-served
		k.Wait()
		stack.Close()
	}, nil
}

// kernelURL returns the URL of a kernel of a machine that ends with the test.
func kernelURL(t testing.TB, m *netbsd.Machine) string {
	t.Helper()
	url, end, err := serveKernel(m)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(end)
	return url
}

// dialKernel connects to a kernel, until the test ends.
func dialKernel(t testing.TB, url string) *spclient.Conn {
	t.Helper()
	c, err := spclient.Dial(testContext(t), url, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// netKernels are the kernels that tests of the network run on: embedded ones of two
// machines, or the one that SPCLIENT_TEST_SERVER names.
func netKernels(t *testing.T, f func(t *testing.T, url string)) {
	if url := os.Getenv("SPCLIENT_TEST_SERVER"); url != "" {
		t.Run("given", func(t *testing.T) { f(t, url) })
		return
	}
	for _, m := range []*netbsd.Machine{netbsd.AMD64, netbsd.POWERPC} {
		t.Run(m.Name, func(t *testing.T) { f(t, kernelURL(t, m)) })
	}
}
