package spclient

import "golang.org/x/sys/unix"

// sendFlags has nothing here, where no flag of sendmsg keeps SIGPIPE away.
const sendFlags = 0

// noSigpipe keeps a connection that broke from raising SIGPIPE.
func noSigpipe(fd int) { unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_NOSIGPIPE, 1) }
