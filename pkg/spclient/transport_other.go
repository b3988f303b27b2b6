//go:build !unix

package spclient

import (
	"errors"
	"net"
	"os"
	"syscall"
)

func newTransport(nc net.Conn) (transport, error) { return netTransport{nc}, nil }

// isNoListener tells whether connecting failed because nobody listens.
func isNoListener(err error) bool {
	return errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED)
}

func isListenerBusy(error) bool { return false }

func isReset(err error) bool { return errors.Is(err, syscall.ECONNRESET) }

func inheritTransport(int, int) (transport, error) {
	return nil, errors.New("not on this system")
}

func holdStdio() (release func()) { return func() {} }

func dupAbove2(int) (int, error) { return -1, errors.ErrUnsupported }

func newParcel(...int) (int, error) { return -1, errors.ErrUnsupported }

func closeHost(int) {}
