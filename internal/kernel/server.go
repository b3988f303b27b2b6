package kernel

import (
	"errors"
	"net"
	"time"
)

// listener is a place where clients connect.
type listener struct {
	net.Listener
}

func (l *listener) close() { l.Listener.Close() }

// ErrHalted is returned by Serve when the kernel has halted.
var ErrHalted = errors.New("kernel: halted")

// maxConns is how many clients are served at a time. The real server serves
// 255; more are accepted and closed at once there and here.
const maxConns = 65536

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
			if temporary(err) {
				time.Sleep(acceptPause)
				continue
			}
			return err
		}
		k.attach(nc)
	}
}

// acceptPause keeps a process that has run out of descriptors from spinning.
const acceptPause = 10 * time.Millisecond

// temporary reports errors of accept(2) that say nothing about the listener.
func temporary(err error) bool {
	var t interface{ Temporary() bool }
	return errors.As(err, &t) && t.Temporary()
}

// attach serves a client in the background.
func (k *Kernel) attach(nc net.Conn) {
	k.mu.Lock()
	if k.halted || len(k.conns) >= maxConns {
		k.mu.Unlock()
		nc.Close()
		return
	}
	c := newConn(k, nc)
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
