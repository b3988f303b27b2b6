//go:build unix

package spclienttest

import (
	"errors"

	"golang.org/x/sys/unix"
)

func isReset(err error) bool {
	return errors.Is(err, unix.ECONNRESET) || errors.Is(err, unix.EPIPE)
}
