//go:build !linux && !darwin && !dragonfly && !freebsd && !netbsd && !openbsd

package signals

import (
	"os"
	"syscall"
)

// Info is the signal that asks a running program how far it is.
var Info os.Signal = syscall.SIGQUIT

func (s *Source) start(sigs []os.Signal) (restore func() error, err error) {
	stop := s.notify(sigs)
	return func() error { stop(); return nil }, nil
}
