// Execload is what the benchmark of rumpctl exec runs, on the host and on a rump
// kernel: a server, and clients that measure. It uses plain blocking descriptors, as a
// program in C does, so that no runtime's poller is measured.
//
//	execload serve ADDRESS              prints the address, then serves until killed
//	execload rtt MS ADDRESS             microseconds of a round trip of a byte
//	execload connect MS ADDRESS CLIENTS microseconds of connect, a byte each way, close
//	execload stream MS ADDRESS STREAMS  Gbit/s
//	execload http MS ADDRESS CLIENTS PATH keep|close
//	                                    requests a second, of one connection for each client or for each request
//	execload udp MS                     microseconds of a datagram to and fro, in one process
//	execload udp-connected MS           the same with sockets that are connected
//	execload udp-stream MS MBIT         Mbit/s that arrive of so many (0: of all it can) that are sent
//	execload trapped MS CALLERS         nanoseconds of getsockopt(2)
//	execload plain MS                   nanoseconds of getppid(2)
//
// Each works for about MS milliseconds, for kernels differ by a factor of 100.
package main

import (
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "execload:", err)
		os.Exit(1)
	}
}

func number(args []string, i int) int {
	n, err := strconv.Atoi(args[i])
	if err != nil {
		panic(err)
	}
	return n
}

func run(args []string) error {
	if len(args) < 2 {
		return fmt.Errorf("what?")
	}
	if args[0] == "serve" {
		return serve(args[1])
	}
	d := time.Duration(number(args, 1)) * time.Millisecond
	switch args[0] {
	case "rtt":
		return roundTrips(d, args[2])
	case "connect":
		return connects(d, args[2], number(args, 3))
	case "stream":
		return streams(d, args[2], number(args, 3))
	case "http":
		return requests(d, args[2], number(args, 3), args[4], args[5] == "keep")
	case "udp":
		return datagrams(d)
	case "udp-connected":
		return connectedDatagrams(d)
	case "udp-stream":
		return received(d, number(args, 2))
	case "trapped":
		return trapped(d, number(args, 2))
	case "plain":
		each, err := repeat(d, func() error {
			unix.RawSyscallNoError(unix.SYS_GETPPID, 0, 0, 0)
			return nil
		})
		fmt.Printf("%.1f\n", each*1e9)
		return err
	}
	return fmt.Errorf("%s?", args[0])
}

// repeat calls f for about so long and gives the seconds that a call took. It looks at
// the clock a few dozen times in all: that may cost as much as f.
func repeat(d time.Duration, f func() error) (float64, error) {
	began := time.Now()
	n := 0
	for batch := 1; ; {
		start := time.Now()
		for range batch {
			if err := f(); err != nil {
				return 0, err
			}
		}
		n += batch
		now := time.Now()
		if now.Sub(began) >= d {
			return now.Sub(began).Seconds() / float64(n), nil
		}
		if now.Sub(start) < d/50 {
			batch *= 2
		}
	}
}

func sockaddr(s string) (unix.Sockaddr, error) {
	ap, err := netip.ParseAddrPort(s)
	if err != nil {
		return nil, err
	}
	return &unix.SockaddrInet4{Port: int(ap.Port()), Addr: ap.Addr().As4()}, nil
}

// What a connection is for is its first byte.
const (
	echo = 'e'
	sink = 's'
	bye  = 'b'
)

func serve(address string) error {
	sa, err := sockaddr(address)
	if err != nil {
		return err
	}
	l, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	if err := unix.SetsockoptInt(l, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return err
	}
	if err := unix.Bind(l, sa); err != nil {
		return err
	}
	if err := unix.Listen(l, 128); err != nil {
		return err
	}
	name, err := unix.Getsockname(l)
	if err != nil {
		return err
	}
	in := name.(*unix.SockaddrInet4)
	fmt.Println(netip.AddrPortFrom(netip.AddrFrom4(in.Addr), uint16(in.Port)))
	for {
		c, err := accept(l)
		if err != nil {
			return err
		}
		go answer(c)
	}
}

// accept is accept(2), without the call of getsockopt(2) that package unix adds.
func accept(l int) (int, error) {
	c, _, e := unix.Syscall6(unix.SYS_ACCEPT4, uintptr(l), 0, 0, 0, 0, 0)
	if e != 0 {
		return -1, e
	}
	return int(c), nil
}

// recvfrom is recvfrom(2) into b, and with an answer sendto(2) of that to whom it came from; also
// without more calls.
func recvfrom(fd int, b, answer []byte) error {
	var from unix.RawSockaddrInet4
	size := uint32(unix.SizeofSockaddrInet4)
	_, _, e := unix.Syscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), 0,
		uintptr(unsafe.Pointer(&from)), uintptr(unsafe.Pointer(&size)))
	if e == 0 && answer != nil {
		_, _, e = unix.Syscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(answer))), uintptr(len(answer)), 0,
			uintptr(unsafe.Pointer(&from)), uintptr(size))
	}
	if e != 0 {
		return e
	}
	return nil
}

func answer(c int) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer unix.Close(c)
	var what [1]byte
	if n, err := unix.Read(c, what[:]); n != 1 || err != nil {
		return
	}
	b := make([]byte, 128<<10)
	switch what[0] {
	case bye:
		unix.Write(c, what[:])
		unix.Read(c, what[:])
	case echo:
		unix.SetsockoptInt(c, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
		for {
			n, err := unix.Read(c, b[:1])
			if n <= 0 || err != nil {
				return
			}
			unix.Write(c, b[:n])
		}
	case sink:
		for {
			n, err := unix.Read(c, b)
			if n <= 0 || err != nil {
				break
			}
		}
		unix.Write(c, what[:])
	}
}

// connect makes a connection.
func connect(address string) (int, error) {
	sa, err := sockaddr(address)
	if err != nil {
		return -1, err
	}
	c, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return -1, err
	}
	return c, unix.Connect(c, sa)
}

// dial makes one for something.
func dial(address string, what byte) (int, error) {
	c, err := connect(address)
	if err != nil {
		return -1, err
	}
	_, err = unix.Write(c, []byte{what})
	return c, err
}

func roundTrips(d time.Duration, address string) error {
	runtime.LockOSThread()
	c, err := dial(address, echo)
	if err != nil {
		return err
	}
	unix.SetsockoptInt(c, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	b := []byte{1}
	trip := func() error {
		if _, err := unix.Write(c, b); err != nil {
			return err
		}
		if n, err := unix.Read(c, b); n != 1 {
			return fmt.Errorf("read: %d, %v", n, err)
		}
		return nil
	}
	if _, err := repeat(d/10, trip); err != nil {
		return err
	}
	took, err := repeat(d, trip)
	fmt.Printf("%.2f\n", took*1e6)
	return err
}

// each runs f for n clients at a time and returns the first error.
func each(n int, f func() error) error {
	var all sync.WaitGroup
	errs := make(chan error, n)
	for range n {
		all.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			errs <- f()
		})
	}
	all.Wait()
	for range n {
		if err := <-errs; err != nil {
			return err
		}
	}
	return nil
}

// sum adds up what callers of add from several goroutines give.
type sum struct {
	mu    sync.Mutex
	total float64
}

func (s *sum) add(x float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total += x
}

func connects(d time.Duration, address string, clients int) error {
	var rate sum // a second
	err := each(clients, func() error {
		b := make([]byte, 1)
		took, err := repeat(d, func() error {
			c, err := dial(address, bye)
			if err != nil {
				return err
			}
			if n, err := unix.Read(c, b); n != 1 {
				return fmt.Errorf("read: %d, %v", n, err)
			}
			return unix.Close(c)
		})
		rate.add(1 / took)
		return err
	})
	fmt.Printf("%.1f\n", 1e6/rate.total)
	return err
}

func streams(d time.Duration, address string, n int) error {
	var total sum
	began := time.Now()
	err := each(n, func() error {
		c, err := dial(address, sink)
		if err != nil {
			return err
		}
		b := make([]byte, 128<<10)
		for time.Since(began) < d {
			w, err := unix.Write(c, b)
			if err != nil {
				return err
			}
			total.add(float64(w))
		}
		unix.Shutdown(c, unix.SHUT_WR)
		// It has all arrived.
		if n, err := unix.Read(c, b); n != 1 {
			return fmt.Errorf("read: %d, %v", n, err)
		}
		return nil
	})
	fmt.Printf("%.3f\n", total.total*8/time.Since(began).Seconds()/1e9)
	return err
}

func datagrams(d time.Duration) error {
	runtime.LockOSThread()
	open := func() (int, unix.Sockaddr, error) {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
		if err != nil {
			return -1, nil, err
		}
		if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
			return -1, nil, err
		}
		sa, err := unix.Getsockname(fd)
		return fd, sa, err
	}
	a, _, err := open()
	if err != nil {
		return err
	}
	b, to, err := open()
	if err != nil {
		return err
	}
	buf := make([]byte, 1400)
	took, err := repeat(d, func() error {
		if err := unix.Sendto(a, buf, 0, to); err != nil {
			return err
		}
		if err := recvfrom(b, buf, buf); err != nil {
			return err
		}
		return recvfrom(a, buf, nil)
	})
	fmt.Printf("%.1f\n", took*1e6)
	return err
}

func trapped(d time.Duration, callers int) error {
	var all sum
	err := each(callers, func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
		if err != nil {
			return err
		}
		took, err := repeat(d, func() error {
			// What the supervisor knows by itself.
			_, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
			return err
		})
		all.add(took)
		if err != nil {
			return err
		}
		return unix.Close(fd)
	})
	fmt.Printf("%.0f\n", all.total*1e9/float64(callers))
	return err
}
