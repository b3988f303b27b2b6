// Package netbsd describes the binary interface of a NetBSD 7.99 kernel as
// data: system call numbers and their arguments, structures, socket
// addresses, ioctl commands, error and signal numbers, routing messages and
// control messages.
//
// Nothing in here depends on the machine that the program runs on. Every
// function that lays out bytes takes a [Machine], which tells the byte order,
// the word size and the alignment rules of the kernel at the other end, so
// that a 64-bit little-endian client can talk to a 32-bit big-endian kernel
// and a kernel can play any machine.
//
// Names are NetBSD's: constants are spelled as in the headers
// ([SIOCGIFFLAGS], [AF_INET6], [SYS___socket30]), structures after their C
// names in Go's spelling (struct if_msghdr is [IfMsghdr]), fields without the
// prefix that C needs (ifm_msglen is Msglen).
package netbsd
