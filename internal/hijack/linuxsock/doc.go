// Package linuxsock translates what programs for Linux say to their sockets
// into NetBSD's terms, and back what a NetBSD kernel answers: socket addresses,
// error numbers, options, control messages, flags and ioctls. It is for
// programs whose Internet sockets live in a rump kernel.
//
// Everything of Linux's is in bytes, as the program has it in its memory, in
// the byte order of this host. Nothing that a program or a kernel gives makes
// the package panic.
package linuxsock
