// Goclient is the Go side of the benchmarks: cclient's twin over package
// spclient. Against the kernel that RUMP_SERVER names it does what cclient does
// and prints how many nanoseconds that took, and how many allocations were made
// in all.
//
//	goclient null CALLERS CALLS	getpid(2): all goroutines' calls together
//	goclient sendto SIZE CALLS	sendto(2) over lo0 to a socket that nobody reads
//	goclient getsockname 1 CALLS	getsockname(2) of a UDP socket
//	goclient tcp SIZE CALLS		Write of a net.Conn, and a goroutine that reads all of it, over lo0
//	goclient http CALLERS CALLS	net/http's client and server: all goroutines' requests together
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"sync"
	"time"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "goclient: %v\n", err)
		os.Exit(1)
	}
}

// workloads are what can be measured. Each prepares itself and returns what is
// measured.
var workloads = map[string]func(ctx context.Context, c *spclient.Conn, size, calls int) (func() error, error){
	"null":        null,
	"sendto":      sendto,
	"getsockname": getsockname,
	"tcp":         tcp,
	"http":        requests,
}

func run(args []string) error {
	if len(args) != 3 || workloads[args[0]] == nil {
		return errors.New("usage: goclient null CALLERS CALLS | sendto SIZE CALLS | getsockname 1 CALLS | tcp SIZE CALLS | http CALLERS CALLS")
	}
	size, err1 := strconv.Atoi(args[1])
	calls, err2 := strconv.Atoi(args[2])
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	if size < 1 || calls < 1 {
		return errors.New("numbers must be positive")
	}
	ctx := context.Background()
	c, err := spclient.Dial(ctx, os.Getenv("RUMP_SERVER"), nil)
	if err != nil {
		return err
	}
	defer c.Close()
	do, err := workloads[args[0]](ctx, c, size, calls)
	if err != nil {
		return err
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start := time.Now()
	err = do()
	took := time.Since(start)
	runtime.ReadMemStats(&after)
	if err != nil {
		return err
	}
	fmt.Println(took.Nanoseconds(), after.Mallocs-before.Mallocs)
	return nil
}

// null is calls of getpid(2), by size callers.
func null(ctx context.Context, c *spclient.Conn, size, calls int) (func() error, error) {
	return func() error {
		return callers(size, calls, func() error {
			_, err := c.Getpid(ctx)
			return err
		})
	}, nil
}

// callers has n callers make calls calls together.
func callers(n, calls int, call func() error) error {
	caller := func(calls int) error {
		for range calls {
			if err := call(); err != nil {
				return err
			}
		}
		return nil
	}
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n - 1 {
		wg.Go(func() { errs[i] = caller(calls / n) })
	}
	// One alone has no other goroutine beside it.
	errs[n-1] = caller(calls - calls/n*(n-1))
	wg.Wait()
	return errors.Join(errs...)
}

// sendto is calls of sendto(2) with size bytes.
func sendto(ctx context.Context, c *spclient.Conn, size, calls int) (func() error, error) {
	r, err := c.Socket(ctx, netbsd.AF_INET, netbsd.SOCK_DGRAM, 0)
	if err != nil {
		return nil, err
	}
	if err := c.Bind(ctx, r, netbsd.SockaddrIn(netip.MustParseAddrPort("127.0.0.1:0"))); err != nil {
		return nil, err
	}
	to, err := c.Getsockname(ctx, r)
	if err != nil {
		return nil, err
	}
	s, err := c.Socket(ctx, netbsd.AF_INET, netbsd.SOCK_DGRAM, 0)
	if err != nil {
		return nil, err
	}
	buf := make([]byte, size)
	return func() error {
		for range calls {
			if _, err := c.Sendto(ctx, s, buf, 0, to); err != nil {
				return err
			}
		}
		return nil
	}, nil
}

// getsockname is calls of getsockname(2), which asks how much room there is and writes
// twice.
func getsockname(ctx context.Context, c *spclient.Conn, _, calls int) (func() error, error) {
	s, err := c.Socket(ctx, netbsd.AF_INET, netbsd.SOCK_DGRAM, 0)
	if err != nil {
		return nil, err
	}
	return func() error {
		for range calls {
			if _, err := c.Getsockname(ctx, s); err != nil {
				return err
			}
		}
		return nil
	}, nil
}

// tcp is calls of Write with size bytes.
func tcp(ctx context.Context, c *spclient.Conn, size, calls int) (func() error, error) {
	l, err := c.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	w, err := c.DialContext(ctx, "tcp", l.Addr().String())
	if err != nil {
		return nil, err
	}
	r, err := l.Accept()
	if err != nil {
		return nil, err
	}
	buf := make([]byte, size)
	return func() error {
		read := make(chan error, 1)
		go func() {
			buf := make([]byte, size)
			for rest := size * calls; rest > 0; {
				n, err := r.Read(buf)
				if err != nil {
					read <- err
					return
				}
				rest -= n
			}
			read <- nil
		}()
		for range calls {
			if _, err := w.Write(buf); err != nil {
				return err
			}
		}
		return <-read
	}, nil
}

// requests is requests of net/http's client to its server, by size clients.
func requests(ctx context.Context, c *spclient.Conn, size, calls int) (func() error, error) {
	l, err := c.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	go http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") }))
	client := http.Client{Transport: &http.Transport{DialContext: c.DialContext, MaxIdleConnsPerHost: size}}
	url := "http://" + l.Addr().String() + "/"
	return func() error {
		return callers(size, calls, func() error {
			resp, err := client.Get(url)
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			_, err = io.Copy(io.Discard, resp.Body)
			return err
		})
	}, nil
}
