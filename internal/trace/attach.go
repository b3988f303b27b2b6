package trace

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"rumptools/internal/registry"
	"rumptools/pkg/sysproxy"
)

// drainTime is how long clients that had connected when the kernel got its place
// back may take to be taken.
const drainTime = 100 * time.Millisecond

// Attach traces all clients that connect to the kernel at url, a local socket,
// from now on, until a signal comes or the kernel ends. Then the kernel has its
// socket's place back. Clients that are connected still are passed on, and
// traced, until they end or another signal comes; say is told how many.
// A context that has ended begins nothing; later it has no meaning.
func Attach(ctx context.Context, t *Tracer, url string, say func(string)) error {
	// Nothing may end this process while it stands before the kernel.
	sigs, done := catch()
	defer done()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	i, err := registry.Interpose(url)
	if err != nil {
		return err
	}
	defer i.Close()
	defer i.Undo()
	p, err := NewProxy(t, i.Kernel())
	if err != nil {
		return err
	}
	defer p.Close()
	stop := t.ticking()
	defer stop()
	served := make(chan error, 1)
	go func() { served <- p.Serve(i) }()
	ended := make(chan struct{})
	quit := make(chan struct{})
	defer close(quit)
	go watchKernel(i.Kernel(), ended, quit)

	select {
	case <-sigs:
	case <-ended:
	case err := <-served:
		return errors.Join(fmt.Errorf("accept: %w", cause(err)), i.Undo())
	}
	if err := i.Undo(); err != nil {
		return fmt.Errorf("give %s back: %w", strings.TrimPrefix(url, "unix://"), err)
	}
	i.SetDeadline(time.Now().Add(drainTime))
	if err := <-served; err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("accept: %w", cause(err))
	}
	if n := p.Clients(); n > 0 {
		left := make(chan struct{})
		go func() {
			p.Wait()
			close(left)
		}()
		select {
		case <-left:
			return nil
		case <-time.After(drainTime):
		}
		if n := p.Clients(); n > 0 {
			say(stillConnected(n))
		}
		select {
		case <-left:
		case <-sigs:
		}
	}
	return nil
}

func stillConnected(n int) string {
	if n == 1 {
		return "1 client is still connected through the trace; interrupt again to cut it off"
	}
	return fmt.Sprintf("%d clients are still connected through the trace; interrupt again to cut them off", n)
}

// watchTime is between two looks at a kernel that has closed a connection.
const watchTime = 20 * time.Millisecond

// watchKernel closes ended when nobody listens at url any more. It keeps a
// connection on which nothing is said: the kernel's end is its end.
func watchKernel(url string, ended chan<- struct{}, quit <-chan struct{}) {
	u, err := sysproxy.ParseURL(url)
	if err != nil {
		return
	}
	for {
		c, err := net.Dial(u.Network, u.Address)
		if err != nil {
			if !listensStill(err) {
				close(ended)
				return
			}
		} else {
			closed := make(chan struct{})
			go func() {
				io.Copy(io.Discard, c)
				close(closed)
			}()
			select {
			case <-closed:
				c.Close()
			case <-quit:
				c.Close()
				<-closed
				return
			}
		}
		select {
		case <-time.After(watchTime):
		case <-quit:
			return
		}
	}
}
