//go:build amd64 || arm64

package hijack

import (
	"golang.org/x/sys/unix"

	"rumptools/pkg/spclient"
)

// standIn is what S is: a local socket (local), or a UDP socket in the supervisor's network namespace (inner).
type standIn interface {
	// track has the socket end with S, of which nothing else tells.
	track(host int)
	// named makes sure that S has a name, by which it can be reached and its end is seen.
	named(host int) unix.Errno
	// close ends what there is for S beside the socket's k.
	close()
	// asUDP tells whether the host's own calls do with S as UDP does: they refuse what is too long for the way to the peer,
	// and shutdown(2) is of use without one.
	asUDP() bool
	// optionSet gives S what an option that the program has set means for it.
	optionSet(host, level, name int)

	// The others are of sockets for datagrams.

	// sendingEnd is K if what S sends without an address comes to it, with the socket's mu held.
	sendingEnd() *kept
	// leave is called before S gets another peer, or none: what it has sent is for the one before. The gate is held, as it
	// is for connect.
	leave()
	// connect has what S sends without an address come to K. The result is what the socket's k is to be, which is closed when
	// S has another peer.
	connect(host int, remote []byte) (k *kept, e unix.Errno)
	// put gives S a datagram.
	put(data, from, control []byte) error
	// lend lends the kernel's socket to S, with K if there is one.
	lend(ks *spclient.NetSocket, k *kept, told func(spclient.LoanEnd)) error
	// origin returns the sender's address, Linux's, and the control messages, NetBSD's, of a datagram that S received, by
	// what the host has told along with it. cut tells whether there were more of the latter.
	origin(from unix.Sockaddr, oob []byte, flags int) (addr, control []byte, cut bool)
	// tell makes an error the program's next: S is readable, and a call fails.
	tell(e unix.Errno)
	// takeError returns that error, which S has no longer.
	takeError(host int) unix.Errno
	// showQueue has poll(2) tell of an error in the queue that a call has told already.
	showQueue(host int)
	// takeQueued takes the first error of the queue.
	takeQueued(host int) (entry errorEntry, ok bool)
}

// hostError takes the error that S has.
func hostError(host int) unix.Errno {
	v, err := unix.GetsockoptInt(host, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return 0
	}
	return unix.Errno(v)
}
