package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// requests asks a web server for a path from several clients and prints how many are
// answered a second.
func requests(d time.Duration, address string, clients int, path string, keep bool) error {
	request := []byte("GET " + path + " HTTP/1.1\r\nHost: " + address + "\r\nConnection: close\r\n\r\n")
	if keep {
		request = bytes.Replace(request, []byte("close"), []byte("keep-alive"), 1)
	}
	var rate sum
	err := each(clients, func() error {
		c := -1
		b := make([]byte, 64<<10)
		took, err := repeat(d, func() (err error) {
			if c < 0 {
				if c, err = connect(address); err != nil {
					return err
				}
			}
			if _, err := unix.Write(c, request); err != nil {
				return err
			}
			if err := answered(c, b, keep); err != nil {
				return err
			}
			if !keep {
				err, c = unix.Close(c), -1
			}
			return err
		})
		rate.add(1 / took)
		return err
	})
	fmt.Printf("%.1f\n", rate.total)
	return err
}

// answered reads an answer, up to the end of the connection unless that is kept.
func answered(c int, b []byte, keep bool) error {
	have, length := 0, -1 // of all, when the head tells
	for {
		n, err := unix.Read(c, b[have:])
		if err != nil {
			return err
		}
		have += n
		if head, _, ok := bytes.Cut(b[:have], []byte("\r\n\r\n")); ok && length < 0 {
			if !bytes.HasPrefix(head, []byte("HTTP/1.1 200 ")) {
				return fmt.Errorf("answer: %.40q", head)
			}
			_, rest, _ := bytes.Cut(head, []byte("\r\nContent-Length: "))
			rest, _, _ = bytes.Cut(rest, []byte("\r\n"))
			body, err := strconv.Atoi(string(rest))
			if err != nil {
				return fmt.Errorf("Content-Length: %w", err)
			}
			length = len(head) + len("\r\n\r\n") + body
		}
		switch {
		case n == 0 && have == length && !keep:
			return nil
		case n == 0:
			return io.ErrUnexpectedEOF
		case have == length && keep:
			return nil
		case length > len(b):
			return errors.New("the answer is too long")
		}
	}
}
