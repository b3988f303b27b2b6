package spclient

import (
	"context"
	"errors"
	"time"

	"rumptools/pkg/netbsd"
)

// How long a wait that can be cancelled blocks in the kernel at a time. When it
// is cancelled it holds one of the kernel's workers for the rest of that time.
const (
	sliceMin = 100 * time.Millisecond
	sliceMax = time.Second
)

// isErrno tells whether err is the failure of a system call with an errno.
func isErrno(err error, errno netbsd.Errno) bool {
	var e *SyscallError
	return errors.As(err, &e) && e.Errno == errno
}

// inSlices calls wait with times to block in the kernel until it says that it
// is done, or the timeout, which is negative for none, is over. A wait that
// can't be cancelled is not cut.
func inSlices(ctx context.Context, timeout time.Duration, wait func(time.Duration) (done bool, err error)) error {
	if ctx.Done() == nil || timeout == 0 {
		_, err := wait(timeout)
		return err
	}
	var end time.Time
	if timeout > 0 {
		end = time.Now().Add(timeout)
	}
	for slice := sliceMin; ; slice = min(2*slice, sliceMax) {
		d := slice
		if timeout > 0 {
			d = min(d, max(0, time.Until(end)))
		}
		// A wait that ends with the context's deadline leaves nothing
		// behind.
		if deadline, ok := ctx.Deadline(); ok {
			d = min(d, max(time.Millisecond, time.Until(deadline)))
		}
		done, err := wait(d)
		if done || err != nil {
			return err
		}
		if timeout > 0 && !time.Now().Before(end) {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

// Poll waits until something that was asked for of one of the descriptors is
// so, and returns for how many (poll(2)). A negative timeout is none; after the
// timeout it returns 0. The kernel's clock ticks every 10 ms.
func (c *Conn) Poll(ctx context.Context, fds []netbsd.Pollfd, timeout time.Duration) (n int, err error) {
	m := c.Machine()
	size := netbsd.Sizeof(m, netbsd.Pollfd{})
	buf := make([]byte, 0, size*len(fds))
	for i := range fds {
		buf = netbsd.Append(m, buf, &fds[i])
	}
	err = inSlices(ctx, timeout, func(d time.Duration) (bool, error) {
		n, err = count(ctx, c.NewCall(netbsd.SYS_poll).
			InOut(buf).Uint(uint32(len(fds))).Int(millis(d)), len(fds))
		return n > 0, err
	})
	if err != nil {
		return 0, err
	}
	for i := range fds {
		if err := netbsd.Unmarshal(m, buf[i*size:], &fds[i]); err != nil {
			return 0, err
		}
	}
	return n, nil
}

// millis rounds a time up to milliseconds; a negative one is INFTIM.
func millis(d time.Duration) int32 {
	if d < 0 {
		return netbsd.INFTIM
	}
	return int32(min((d+time.Millisecond-1)/time.Millisecond, 1<<31-1))
}

// WaitReadable waits until reading, or accepting, would not block.
func (c *Conn) WaitReadable(ctx context.Context, fd FD) error {
	return c.waitFor(ctx, fd, netbsd.POLLIN)
}

// WaitWritable waits until writing would not block, or a connect has ended.
func (c *Conn) WaitWritable(ctx context.Context, fd FD) error {
	return c.waitFor(ctx, fd, netbsd.POLLOUT)
}

// waitFor waits for events, an error or the peer's end.
func (c *Conn) waitFor(ctx context.Context, fd FD, events int16) error {
	s := c.session()
	if fd.gen != s.gen {
		return s.stale(fd)
	}
	fds := []netbsd.Pollfd{{Fd: fd.num, Events: events}}
	if _, err := c.Poll(ctx, fds, -1); err != nil {
		return err
	}
	if fds[0].Revents&netbsd.POLLNVAL != 0 {
		return &SyscallError{"poll", netbsd.EBADF}
	}
	return nil
}
