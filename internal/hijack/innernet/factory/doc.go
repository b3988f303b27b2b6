// Package factory makes the sockets of a network namespace that is a supervisor's own: in a thread of the supervisor's, or,
// where that takes a user namespace, in a process. That is a copy of the supervisor's own program with [Env] in the
// environment: whatever links this package is a factory then, and nothing else of it runs. As package stage it
// imports next to nothing, to be initialized before all that takes time.
package factory

// Env holds the number of a descriptor, in the factory's environment only, of a socket of type SOCK_SEQPACKET. For each byte
// that comes, a [Kind], the factory sends a byte with a socket of that kind as SCM_RIGHTS, or an errno in four bytes
// without one. It ends when nobody has the other end any more.
const Env = "RUMPTOOLS__FACTORY"

// UDPRoom is SO_RCVBUF of a program's socket, of which the host makes twice as much, as long as the program has not set it. Without
// privilege it is no more than net.core.rmem_max.
const UDPRoom = 3 << 19

// Kind is what a socket is for.
type Kind byte

// The kinds. All are close-on-exec.
const (
	// UDP is a UDP socket, for a program, with room for UDPRoom bytes: what comes by a kernel comes in bursts.
	UDP Kind = 'u'
	// Kept is a UDP socket with much room to receive, of mode not to wait.
	Kept Kind = 'k'
	// TCP is a TCP socket, of mode not to wait.
	TCP Kind = 't'
	// Raw sends packets of IPv4, with their headers.
	Raw Kind = 'r'
	// Diag is told of the end of UDP sockets (SKNLGRP_INET_UDP_DESTROY in sock_diag(7)), and of mode not to wait.
	Diag Kind = 'd'
)
