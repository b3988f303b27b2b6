// Execload is what the benchmark of rumpctl exec runs, on the host and on a rump
// kernel: a server, and clients that measure. It uses plain blocking descriptors, as a
// program in C does, so that no runtime's poller is measured.
//
//	execload serve ADDRESS            prints the address, then serves until killed
//	execload rtt ADDRESS N            microseconds of a round trip of a byte
//	execload connect ADDRESS N CLIENTS  microseconds of connect, a byte each way, close
//	execload stream ADDRESS MB STREAMS  Gbit/s
//	execload udp N                    microseconds of a datagram to and fro, in one process
//	execload udp-connected N          the same with sockets that are connected
//	execload udp-stream MS MBIT       Mbit/s that arrive of so many (0: of all it can) that are sent
//	execload trapped N CALLERS        nanoseconds of getsockopt(2)
//	execload plain N                  nanoseconds of getppid(2)
package main

import (
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"sync"
	"time"

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
	switch args[0] {
	case "serve":
		return serve(args[1])
	case "rtt":
		return roundTrips(args[1], number(args, 2))
	case "connect":
		return connects(args[1], number(args, 2), number(args, 3))
	case "stream":
		return streams(args[1], number(args, 2), number(args, 3))
	case "udp":
		return datagrams(number(args, 1))
	case "udp-connected":
		return connectedDatagrams(number(args, 1))
	case "udp-stream":
		return received(number(args, 1), number(args, 2))
	case "trapped":
		return trapped(number(args, 1), number(args, 2))
	case "plain":
		n := number(args, 1)
		began := time.Now()
		for range n {
			unix.RawSyscallNoError(unix.SYS_GETPPID, 0, 0, 0)
		}
		fmt.Printf("%.1f\n", float64(time.Since(began).Nanoseconds())/float64(n))
		return nil
	}
	return fmt.Errorf("%s?", args[0])
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
		c, _, err := unix.Accept(l)
		if err != nil {
			return err
		}
		go answer(c)
	}
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

func dial(address string, what byte) (int, error) {
	sa, err := sockaddr(address)
	if err != nil {
		return -1, err
	}
	c, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return -1, err
	}
	if err := unix.Connect(c, sa); err != nil {
		return -1, err
	}
	_, err = unix.Write(c, []byte{what})
	return c, err
}

func roundTrips(address string, n int) error {
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
	for range n / 10 {
		if err := trip(); err != nil {
			return err
		}
	}
	began := time.Now()
	for range n {
		if err := trip(); err != nil {
			return err
		}
	}
	fmt.Printf("%.2f\n", float64(time.Since(began).Microseconds())/float64(n))
	return nil
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

func connects(address string, n, clients int) error {
	began := time.Now()
	err := each(clients, func() error {
		b := make([]byte, 1)
		for range n {
			c, err := dial(address, bye)
			if err != nil {
				return err
			}
			if n, err := unix.Read(c, b); n != 1 {
				return fmt.Errorf("read: %d, %v", n, err)
			}
			unix.Close(c)
		}
		return nil
	})
	fmt.Printf("%.1f\n", float64(time.Since(began).Microseconds())/float64(n*clients))
	return err
}

func streams(address string, mb, n int) error {
	began := time.Now()
	err := each(n, func() error {
		c, err := dial(address, sink)
		if err != nil {
			return err
		}
		b := make([]byte, 128<<10)
		for left := mb << 20 / n; left > 0; {
			w, err := unix.Write(c, b[:min(left, len(b))])
			if err != nil {
				return err
			}
			left -= w
		}
		unix.Shutdown(c, unix.SHUT_WR)
		// It has all arrived.
		if n, err := unix.Read(c, b); n != 1 {
			return fmt.Errorf("read: %d, %v", n, err)
		}
		return nil
	})
	fmt.Printf("%.2f\n", float64(mb<<20)*8/time.Since(began).Seconds()/1e9)
	return err
}

func datagrams(n int) error {
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
	began := time.Now()
	for range n {
		if err := unix.Sendto(a, buf, 0, to); err != nil {
			return err
		}
		_, from, err := unix.Recvfrom(b, buf, 0)
		if err != nil {
			return err
		}
		if err := unix.Sendto(b, buf, 0, from); err != nil {
			return err
		}
		if _, _, err := unix.Recvfrom(a, buf, 0); err != nil {
			return err
		}
	}
	fmt.Printf("%.1f\n", float64(time.Since(began).Microseconds())/float64(n))
	return nil
}

func trapped(n, callers int) error {
	began := time.Now()
	err := each(callers, func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
		if err != nil {
			return err
		}
		for range n {
			// What the supervisor knows by itself.
			if _, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE); err != nil {
				return err
			}
		}
		return unix.Close(fd)
	})
	fmt.Printf("%.0f\n", float64(time.Since(began).Nanoseconds())/float64(n))
	return err
}
