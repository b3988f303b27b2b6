package registry

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
	"rumptools/pkg/sysproxy"
)

// State is what a look at a kernel's socket says.
type State string

// The states of a named kernel.
const (
	// Running kernels greet who connects.
	Running State = "running"
	// Hung kernels accept connections and say nothing: their process is
	// stopped, or busy.
	Hung State = "hung"
	// Dead kernels have left a socket at which nobody listens.
	Dead State = "dead"
)

// Kernel is what can be seen of a kernel without being its client.
type Kernel struct {
	Name   string
	URL    string
	State  State
	Banner sysproxy.Banner // zero unless running
	// PID is the host's process, 0 where the host does not tell.
	PID int
	// Traced says that somebody stands before the kernel: see [Interpose].
	Traced bool
}

// greetingTime is how long a kernel may take to greet.
const greetingTime = time.Second

// Probe looks at a kernel: it connects, reads the greeting and leaves before
// it becomes a process there.
func Probe(ctx context.Context, name, url string) (Kernel, error) {
	return probe(ctx, name, url, repair)
}

// probe is Probe with what makes good what a tracer left that died.
func probe(ctx context.Context, name, url string, repair func(path string) error) (Kernel, error) {
	k := Kernel{Name: name, URL: url}
	u, err := sysproxy.ParseURL(url)
	if err != nil {
		return k, err
	}
	if u.Network == "unix" && traced(u.Address) {
		if err := repair(u.Address); err != nil {
			return k, fmt.Errorf("rump kernel at %s: %w", url, err)
		}
		if k.Traced = traced(u.Address); k.Traced {
			// The kernel itself is of interest.
			u.Address = asidePath(u.Address)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, greetingTime)
	defer cancel()
	c, err := new(net.Dialer).DialContext(ctx, u.Network, u.Address)
	if err != nil {
		if ctx.Err() != nil {
			k.State = Hung
			return k, nil
		}
		k.State = Dead
		return k, nil
	}
	defer c.Close()
	k.PID = PeerPID(c)
	if deadline, ok := ctx.Deadline(); ok {
		c.SetReadDeadline(deadline)
	}
	k.Banner, err = sysproxy.ReadBanner(c)
	var timeout net.Error
	switch {
	case err == nil:
		k.State = Running
	case errors.As(err, &timeout) && timeout.Timeout():
		k.State = Hung
	case errors.Is(err, sysproxy.ErrBanner), errors.Is(err, sysproxy.ErrVersion):
		return k, fmt.Errorf("rump kernel at %s: %w", url, err)
	default:
		// Closed without a word: it is ending, or full.
		k.State = Hung
	}
	return k, nil
}

// List looks at every named kernel. Those that can be looked at are returned also when there is an
// error.
func List(ctx context.Context) ([]Kernel, error) {
	names, err := Names()
	if err != nil {
		return nil, err
	}
	kernels := make([]Kernel, 0, len(names))
	var errs []error
	for _, name := range names {
		url, err := URL(name)
		if err == nil {
			var k Kernel
			if k, err = Probe(ctx, name, url); err == nil {
				kernels = append(kernels, k)
			}
		}
		errs = append(errs, err)
	}
	return kernels, errors.Join(errs...)
}

// HaltTime is how long a halted kernel may take to be gone.
const HaltTime = 5 * time.Second

// Halt ends the kernel behind c, as reboot(8) with that howto, and waits until
// it has closed the connection and let go of its socket, and, where the host
// tells and unless the kernel only halts (RB_HALT), until its process has ended.
func Halt(ctx context.Context, c *spclient.Conn, howto int32) error {
	ctx, cancel := context.WithTimeout(ctx, HaltTime)
	defer cancel()
	url := c.URL()
	u, err := sysproxy.ParseURL(url)
	if err != nil {
		return err
	}
	ended := func(context.Context) error { return nil }
	if howto&netbsd.RB_HALT == 0 {
		if k, err := Probe(ctx, "", url); err == nil && k.PID != 0 {
			ended = watchProcess(k.PID)
		}
	}
	// A kernel that goes quickly may go before its answer is read.
	if err := c.Reboot(ctx, howto); err != nil && !errors.Is(err, spclient.ErrLost) {
		return Late(url, err)
	}
	select {
	case <-c.Done():
	case <-ctx.Done():
		return fmt.Errorf("rump kernel at %s: still there after %v", url, HaltTime)
	}
	if err := awaitRefusal(ctx, u); err != nil {
		return fmt.Errorf("rump kernel at %s: still serving after %v", url, HaltTime)
	}
	if err := ended(ctx); err != nil {
		return fmt.Errorf("rump kernel at %s: its process is still there after %v", url, HaltTime)
	}
	return nil
}

// awaitRefusal waits until nobody accepts connections at u.
func awaitRefusal(ctx context.Context, u sysproxy.URL) error {
	for {
		nc, err := new(net.Dialer).DialContext(ctx, u.Network, u.Address)
		if err != nil && ctx.Err() == nil {
			return nil
		}
		if err == nil {
			nc.Close()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(goneInterval):
		}
	}
}

// goneInterval is how often a kernel that should be going is looked at.
const goneInterval = 10 * time.Millisecond
