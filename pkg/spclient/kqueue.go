package spclient

import (
	"context"
	"time"

	"rumptools/pkg/netbsd"
)

// Kqueue makes a queue of kernel events (kqueue(2)).
func (c *Conn) Kqueue(ctx context.Context) (FD, error) {
	return c.NewCall(netbsd.SYS_kqueue).DoFD(ctx)
}

// Kevent makes changes to a queue and waits for events, of which it returns the
// number (kevent(2)). A negative timeout is none; after the timeout, and at once
// when there is no room for events, it returns 0.
func (c *Conn) Kevent(ctx context.Context, kq FD, changes, events []netbsd.Kevent, timeout time.Duration) (n int, err error) {
	m := c.Machine()
	size := netbsd.Sizeof(m, netbsd.Kevent{})
	var in, out []byte
	for i := range changes {
		in = netbsd.Append(m, in, &changes[i])
	}
	if len(events) > 0 {
		out = make([]byte, size*len(events))
	}
	wait := func(d time.Duration) (bool, error) {
		call := c.NewCall(netbsd.SYS___kevent50).FD(kq).
			In(in).Word(uint64(len(in) / size)).
			Out(out).Word(uint64(len(events)))
		if d < 0 {
			call.Ptr(0)
		} else {
			call.In(netbsd.Marshal(m, netbsd.NewTimespec(d)))
		}
		n, err = count(ctx, call, len(events))
		in = nil // made
		return n > 0, err
	}
	if len(events) == 0 {
		_, err = wait(-1) // which does not wait
	} else {
		err = inSlices(ctx, timeout, wait)
	}
	if err != nil {
		return 0, err
	}
	for i := range events[:n] {
		if err := netbsd.Unmarshal(m, out[i*size:], &events[i]); err != nil {
			return 0, err
		}
	}
	return n, nil
}
