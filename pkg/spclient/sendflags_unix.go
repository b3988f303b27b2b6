//go:build unix && !linux && !darwin && !ios

package spclient

import "golang.org/x/sys/unix"

// sendFlags keeps a connection that broke from raising SIGPIPE.
const sendFlags = unix.MSG_NOSIGNAL

func noSigpipe(int) {}
