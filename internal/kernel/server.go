package kernel

import (
	"errors"
	"net"
	"syscall"
	"time"
)

// listener is a place where clients connect.
type listener struct {
	net.Listener
}

func (l *listener) close() { l.Listener.Close() }

// ErrHalted is returned by Serve when the kernel has halted.
var ErrHalted = errors.New("kernel: halted")

// maxConns is how many clients are served at a time, whatever the
// configuration says. The real server serves 255; more are accepted and closed
// at once there and here. All of them and the children that wait to be born
// must find numbers.
const maxConns = 16384

// Serve takes clients from l until it fails or the kernel halts; then l is
// closed. It always returns an error: ErrHalted, or what stopped it.
func (k *Kernel) Serve(nl net.Listener) error {
	l := &listener{Listener: nl}
	k.mu.Lock()
	if k.halted {
		k.mu.Unlock()
		nl.Close()
		return ErrHalted
	}
	k.listeners[l] = struct{}{}
	k.mu.Unlock()
	defer func() {
		l.close()
		k.mu.Lock()
		delete(k.listeners, l)
		k.mu.Unlock()
	}()
	for {
		nc, err := l.Accept()
		if err != nil {
			select {
			case <-k.stopped:
				return ErrHalted
			default:
			}
			k.mu.Lock()
			halted := k.halted
			k.mu.Unlock()
			if halted {
				return ErrHalted
			}
			if !temporary(err) {
				return err
			}
			select {
			case <-k.stopped:
			case <-time.After(acceptPause):
			}
			continue
		}
		k.attach(nc)
	}
}

// acceptPause keeps a process that has run out of descriptors from spinning.
const acceptPause = 10 * time.Millisecond

// temporary reports errors of accept(2) that say nothing about the listener: a
// client that went before it was accepted, trouble of the network that Linux
// tells here, or a host that has run out of descriptors or memory.
func temporary(err error) bool {
	for _, fatal := range []error{net.ErrClosed, syscall.EBADF, syscall.EINVAL, syscall.ENOTSOCK, syscall.EOPNOTSUPP} {
		if errors.Is(err, fatal) {
			return false
		}
	}
	var errno syscall.Errno
	return errors.As(err, &errno)
}

// attach serves a client in the background.
func (k *Kernel) attach(nc net.Conn) {
	l := k.links.open(nc)
	k.mu.Lock()
	if k.halted || len(k.conns) >= k.cfg.Clients {
		k.mu.Unlock()
		l.close()
		return
	}
	c := newConn(k, l)
	k.conns[c] = struct{}{}
	k.wg.Add(1)
	k.mu.Unlock()
	go c.serve(func() {
		k.mu.Lock()
		delete(k.conns, c)
		k.mu.Unlock()
		k.wg.Done()
	})
}
