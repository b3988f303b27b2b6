package spclient

import (
	"context"
	"errors"
	"time"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/sysproxy"
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

// PollFD is what is asked of a descriptor, and told: struct pollfd (poll(2)).
type PollFD struct {
	FD      FD
	Events  int16 // netbsd.POLLIN, POLLOUT …
	Revents int16 // of those, and POLLERR, POLLHUP and POLLNVAL, what is so
}

// Poll waits until something that was asked for of one of the descriptors is
// so, and returns for how many (poll(2)). A zero FD is passed over. A negative
// timeout is none; after the timeout it returns 0. The kernel's clock ticks every
// 10 ms.
func (c *Conn) Poll(ctx context.Context, fds []PollFD, timeout time.Duration) (n int, err error) {
	s := c.session()
	size := netbsd.Sizeof(s.machine, netbsd.Pollfd{})
	buf := make([]byte, 0, size*len(fds))
	for _, p := range fds {
		if p.FD.Valid() && p.FD.gen != s.gen {
			return 0, callError("poll", s.stale(p.FD))
		}
		buf = netbsd.Append(s.machine, buf, &netbsd.Pollfd{Fd: p.FD.Int(), Events: p.Events})
	}
	err = inSlices(ctx, timeout, func(d time.Duration) (bool, error) {
		// In the session of the descriptors, whatever has come after it.
		call := s.newCall(netbsd.SYS_poll, sysproxy.TypeSyscall)
		n, err = count(ctx, call.InOut(buf).Uint(uint32(len(fds))).Int(millis(d)), len(fds))
		return n > 0, err
	})
	if err != nil {
		return 0, err
	}
	for i := range fds {
		var p netbsd.Pollfd
		if err := netbsd.Unmarshal(s.machine, buf[i*size:], &p); err != nil {
			return 0, err
		}
		fds[i].Revents = p.Revents
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
	if !fd.Valid() {
		return ErrStale
	}
	fds := []PollFD{{FD: fd, Events: events}}
	if _, err := c.Poll(ctx, fds, -1); err != nil {
		return err
	}
	if fds[0].Revents&netbsd.POLLNVAL != 0 {
		return &SyscallError{"poll", netbsd.EBADF}
	}
	return nil
}
