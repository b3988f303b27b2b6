package main

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// datagramPair makes two UDP sockets that are connected to each other.
func datagramPair() (fds [2]int, err error) {
	var names [2]unix.Sockaddr
	for i := range fds {
		if fds[i], err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0); err != nil {
			return fds, err
		}
		if err = unix.Bind(fds[i], &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
			return fds, err
		}
		if names[i], err = unix.Getsockname(fds[i]); err != nil {
			return fds, err
		}
		tv := unix.NsecToTimeval(int64(500 * time.Millisecond))
		if err = unix.SetsockoptTimeval(fds[i], unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
			return fds, err
		}
	}
	for i, fd := range fds {
		if err = unix.Connect(fd, names[1-i]); err != nil {
			return fds, err
		}
	}
	return fds, nil
}

// read goes on when a signal of the runtime's comes, which ends reads that have a timeout.
func read(fd int, b []byte) (n int, err error) {
	for {
		if n, err = unix.Read(fd, b); !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}

// connectedDatagrams is a datagram to and fro between sockets that are connected.
func connectedDatagrams(d time.Duration) error {
	fds, err := datagramPair()
	if err != nil {
		return err
	}
	go func() {
		b := make([]byte, 64)
		for {
			m, err := read(fds[1], b)
			if err != nil {
				return
			}
			unix.Write(fds[1], b[:m])
		}
	}()
	b := make([]byte, 1)
	trip := func() error {
		if _, err := unix.Write(fds[0], b); err != nil {
			return err
		}
		_, err := read(fds[0], b)
		return err
	}
	if err := trip(); err != nil {
		return err
	}
	took, err := repeat(d, trip)
	fmt.Printf("%.2f\n", took*1e6)
	return err
}

// received sends datagrams of 1,400 bytes for some time, so many Mbit/s or, with 0, as
// fast as it goes, and prints the Mbit/s that arrive.
func received(d time.Duration, rate int) error {
	const size = 1400
	fds, err := datagramPair()
	if err != nil {
		return err
	}
	total := 0
	var first, last time.Time
	var all sync.WaitGroup
	all.Go(func() {
		b := make([]byte, 2*size)
		for {
			n, err := read(fds[1], b)
			if err != nil {
				return // nothing for a while
			}
			if last = time.Now(); total == 0 {
				first = last
			}
			total += n
		}
	})
	b := make([]byte, size)
	began := time.Now()
	for sent := 0; time.Since(began) < d; sent++ {
		if ahead := time.Duration(sent*size*8*1000) / time.Duration(max(rate, 1)) * time.Nanosecond; rate > 0 && time.Since(began) < ahead {
			time.Sleep(ahead - time.Since(began))
		}
		if _, err := unix.Write(fds[0], b); err != nil && !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.ENOBUFS) {
			return err
		}
	}
	all.Wait()
	if total == 0 {
		return errors.New("nothing arrives")
	}
	fmt.Printf("%.1f\n", float64(total)*8/1e6/max(last.Sub(first), d).Seconds())
	return nil
}
