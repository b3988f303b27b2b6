package spclient_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
)

// kernelEnv names the machine of the kernel that the test binary is to run, in
// place of tests.
const kernelEnv = "SPCLIENT_TEST_KERNEL"

// TestKernelProcess is no test: it is the kernel of execKernel.
func TestKernelProcess(t *testing.T) {
	name := os.Getenv(kernelEnv)
	if name == "" {
		t.Skip("runs a kernel for other tests")
	}
	m, _ := netbsd.MachineByName(name)
	url, end, err := serveKernel(m)
	if err != nil {
		t.Fatal(err)
	}
	defer end()
	fmt.Println("kernel at", url)
	io.Copy(io.Discard, os.Stdin)
}

// execKernel runs a kernel in a process of its own, until the test ends.
func execKernel(t testing.TB, m *netbsd.Machine) (url string) {
	t.Helper()
	path, argv := self()
	cmd := exec.Command(path, append(argv[1:], "-test.run=^TestKernelProcess$")...)
	cmd.Env = append(os.Environ(), kernelEnv+"="+m.Name)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("kernel: %v", err)
		}
	})
	r := bufio.NewReader(out)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatalf("kernel: %v", err)
		}
		if _, u, ok := strings.Cut(strings.TrimSpace(line), "kernel at "); ok {
			go io.Copy(io.Discard, r)
			return u
		}
	}
}

// TestIdle has many connections in which somebody waits to read. They take little
// memory here and no worker of the kernel's but for one: of a kernel with 128
// workers, other calls could not go on.
func TestIdle(t *testing.T) {
	connections := 10000
	const mostEach = 16 << 10
	if raceEnabled || testing.Short() {
		connections = 1000 // the detector's memory is counted too, and it is slow
	}
	url := os.Getenv("SPCLIENT_TEST_SERVER")
	if url == "" {
		url = execKernel(t, netbsd.AMD64)
	} else {
		connections = 400 // more than it has workers, and descriptors unless asked
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	server, err := spclient.Dial(ctx, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	client, err := spclient.Dial(ctx, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	l, err := server.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()

	memory := func() uint64 {
		runtime.GC()
		runtime.GC() // what pools keep is gone after two
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapInuse + m.StackInuse
	}
	// Only the client's ends are idle: the others are not read from.
	var accepted []net.Conn
	acceptor := make(chan error, 1)
	go func() {
		for len(accepted) < connections {
			nc, err := l.Accept()
			if err != nil {
				acceptor <- err
				return
			}
			accepted = append(accepted, nc)
		}
		acceptor <- nil
	}()
	before := memory()
	var idle []net.Conn
	for len(idle) < connections {
		nc, err := client.DialContext(ctx, "tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		idle = append(idle, nc)
	}
	if err := <-acceptor; err != nil {
		t.Fatal(err)
	}
	// The acceptor's ends are counted with the others: the figure is what one
	// that waits and one that does not take together.
	var woken sync.WaitGroup
	results := make(chan error, connections)
	for _, nc := range idle {
		woken.Add(1)
		go func() {
			defer woken.Done()
			var b [1]byte
			_, err := nc.Read(b[:])
			results <- err
		}()
	}
	// They all wait when the kernel has seen their last calls. What it does for
	// them meanwhile is one kevent(2).
	waitIdle(t, client)
	after := memory()
	each := (int64(after) - int64(before)) / int64(connections)
	t.Logf("%d connections: %d bytes each, both ends", connections, each)
	if each > mostEach {
		t.Errorf("%d bytes for a connection, at most %d wanted", each, mostEach)
	}
	if n := spclient.Pending(client); n > 1 {
		t.Errorf("%d calls are under way in the kernel", n)
	}
	// Others go on, and all of them are woken.
	if _, err := client.Getpid(ctx); err != nil {
		t.Error(err)
	}
	for i, nc := range accepted {
		if i%2 == 0 {
			if _, err := nc.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
		} else {
			nc.Close()
		}
	}
	woken.Wait()
	close(results)
	got, ended := 0, 0
	for err := range results {
		switch {
		case err == nil:
			got++
		case errors.Is(err, io.EOF):
			ended++
		default:
			t.Fatal(err)
		}
	}
	if got != (connections+1)/2 || ended != connections/2 {
		t.Errorf("%d read something, %d the end", got, ended)
	}
	for _, nc := range idle {
		nc.Close()
	}
	for _, nc := range accepted {
		nc.Close()
	}
}

// waitIdle waits until no call is under way but for kevent(2).
func waitIdle(t *testing.T, c *spclient.Conn) {
	t.Helper()
	quiet := 0
	for end := time.Now().Add(time.Minute); quiet < 20; time.Sleep(10 * time.Millisecond) {
		if spclient.Pending(c) <= 1 {
			quiet++
		} else {
			quiet = 0
		}
		if time.Now().After(end) {
			t.Fatalf("%d calls are still under way", spclient.Pending(c))
		}
	}
}
