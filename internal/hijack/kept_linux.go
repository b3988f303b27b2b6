//go:build amd64 || arm64

package hijack

import (
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"rumptools/internal/seeded"
	"rumptools/internal/sidefile"
)

// kept is K, the end of a socket that the supervisor keeps.
type kept struct {
	ends *ends
	fd   int
	in   seeded.Reader // of a stream
	gone func()
	name string // of one that an S for datagrams is connected to, as what it sends is from

	taking sync.Mutex // held while a stream is read
	taken  uint64     // how many bytes have been read of it

	mu     sync.Mutex
	id     int32    // with ends, 0 while it is not watched
	file   *os.File // fd, with the runtime's poller, once somebody reads or writes
	closed bool
}

// keep makes a kept of a descriptor, which it takes over; gone is called when the
// programs have closed the other end.
func (e *ends) keep(fd int, gone func()) (*kept, error) {
	k := e.keepUnwatched(fd, gone)
	if err := k.watch(); err != nil {
		k.close()
		return nil, err
	}
	return k, nil
}

// keepUnwatched is keep, but gone is not called before watch has been.
func (e *ends) keepUnwatched(fd int, gone func()) *kept {
	return &kept{ends: e, fd: fd, in: seeded.NewReader(fd, true), gone: gone}
}

// watch has it be noticed when the programs have closed the other end, by now or later.
func (k *kept) watch() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed || k.id != 0 {
		return nil
	}
	id, err := k.ends.peer(k.fd, k.gone)
	k.id = id
	return err
}

// polled is the descriptor, which is non-blocking, with the runtime's poller.
func (k *kept) polled() (*os.File, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return nil, os.ErrClosed
	}
	if k.file == nil {
		k.file = os.NewFile(uintptr(k.fd), "kept")
	}
	return k.file, nil
}

func (k *kept) Read(p []byte) (int, error) {
	f, err := k.polled()
	if err != nil {
		return 0, err
	}
	return f.Read(p)
}

// readStream reads from a stream, and leaves behind what shows resets.
func (k *kept) readStream(p []byte) (n int, err error) {
	f, err := k.polled()
	if err != nil {
		return 0, err
	}
	raw, err := f.SyscallConn()
	if err != nil {
		return 0, err
	}
	waited := raw.Read(func(uintptr) bool {
		k.taking.Lock()
		defer k.taking.Unlock()
		for k.in.Ready() == 0 {
			switch e := k.in.Ended(); e {
			case unix.EBUSY:
			case unix.EAGAIN:
				return false
			case 0:
				err = io.EOF
				return true
			default:
				err = e
				return true
			}
		}
		n, err = k.in.Read(p)
		k.taken += uint64(n)
		return true
	})
	if waited != nil {
		return 0, waited
	}
	return n, err
}

func (k *kept) Write(p []byte) (int, error) {
	f, err := k.polled()
	if err != nil {
		return 0, err
	}
	return f.Write(p)
}

// writeAlong writes a datagram with something along (package sidefile).
func (k *kept) writeAlong(p, along []byte) error {
	f, err := k.polled()
	if err != nil {
		return err
	}
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	waited := raw.Write(func(fd uintptr) bool {
		err = sidefile.Send(int(fd), p, along)
		return err != unix.EAGAIN
	})
	if waited != nil {
		return waited
	}
	return err
}

// control does something with the descriptor while it is open.
func (k *kept) control(f func(fd int)) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return false
	}
	f(k.fd)
	return true
}

// hungUp tells whether the programs have closed the other end.
func (k *kept) hungUp() (hung bool) {
	open := k.control(func(fd int) {
		hung = polled(fd, 0)&unix.POLLHUP != 0
	})
	return hung || !open
}

// broken tells whether the programs have closed the other end with something unread in it.
func (k *kept) broken() (broken bool) {
	k.control(func(fd int) { broken = polled(fd, 0)&unix.POLLERR != 0 })
	return broken
}

// hasEnded tells whether the programs can read the end of the stream.
func (k *kept) hasEnded() (ended bool) {
	k.control(func(fd int) { ended = unix.Sendto(fd, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, nil) == unix.EPIPE })
	return ended
}

// shutdownWrite lets the programs read the end of the stream.
func (k *kept) shutdownWrite() { k.control(func(fd int) { unix.Shutdown(fd, unix.SHUT_WR) }) }

// settle has the programs see an orderly end when K is closed: after all has been said.
func (k *kept) settle() { k.control(seeded.Drain) }

// waiting is how much of what the programs have sent waits in K, in bytes.
func (k *kept) waiting() (n int) {
	k.control(func(fd int) { n = seeded.Waiting(fd) })
	return n
}

// written is how many bytes the programs have sent up to now, read or not.
func (k *kept) written() (n uint64) {
	k.control(func(fd int) {
		k.taking.Lock()
		defer k.taking.Unlock()
		n = k.taken + uint64(seeded.Waiting(fd))
	})
	return n
}

// readUntil ends reads that wait then, and those that begin later; the zero time is never.
func (k *kept) readUntil(t time.Time) {
	if f, err := k.polled(); err == nil {
		f.SetReadDeadline(t)
	}
}

// stopReading ends reads that wait.
func (k *kept) stopReading() { k.readUntil(time.Unix(1, 0)) }

// resumeReading undoes that.
func (k *kept) resumeReading() { k.readUntil(time.Time{}) }

// interrupt ends reads and writes that wait.
func (k *kept) interrupt() {
	if f, err := k.polled(); err == nil {
		f.SetDeadline(time.Unix(1, 0))
	}
}

func (k *kept) close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return
	}
	k.closed = true
	if k.id != 0 {
		k.ends.forget(k.id, k.fd)
	}
	if k.file != nil {
		k.file.Close()
	} else {
		unix.Close(k.fd)
	}
}
