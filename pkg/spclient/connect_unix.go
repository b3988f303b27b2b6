//go:build unix

package spclient

import (
	"errors"

	"golang.org/x/sys/unix"
)

// isNoListener tells whether connecting failed because nobody listens.
func isNoListener(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ECONNREFUSED)
}

// isListenerBusy tells whether connecting to a local socket failed because the
// listener has not accepted others yet.
func isListenerBusy(err error) bool { return errors.Is(err, unix.EAGAIN) }

// isReset tells whether the peer closed a connection in which it had something
// to read.
func isReset(err error) bool { return errors.Is(err, unix.ECONNRESET) }
