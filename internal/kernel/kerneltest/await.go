// Package kerneltest helps to test files and sockets of a kernel.
package kerneltest

import (
	"os"
	"time"

	"rumptools/internal/kernel"
	"rumptools/pkg/netbsd"
)

// Await calls try until it gives something else than EAGAIN or EINPROGRESS, each time that the file has changed, but no longer
// than patience: [os.ErrDeadlineExceeded].
func Await(f kernel.File, patience time.Duration, try func() error) error {
	changed := make(chan struct{}, 1)
	w := &kernel.Watcher{Notify: func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}}
	f.Watch(w)
	defer f.Unwatch(w)
	for deadline := time.After(patience); ; {
		if err := try(); err != netbsd.EAGAIN && err != netbsd.EINPROGRESS {
			return err
		}
		select {
		case <-changed:
		case <-deadline:
			return os.ErrDeadlineExceeded
		}
	}
}
