// Package spclient makes system calls in a NetBSD rump kernel that runs as
// another process, over the sysproxy protocol (rump_sp(7)). The kernel may be
// NetBSD's rump_server or any other that speaks the protocol, of any machine
// that package netbsd knows: byte order and word size need not be the
// client's.
//
//	c, err := spclient.Dial(ctx, "unix:///tmp/rumpctrlsock", nil)
//	...
//	defer c.Close()
//	fd, err := c.Socket(ctx, netbsd.AF_INET, netbsd.SOCK_DGRAM, 0)
//
// [Conn] has a method for each call that is commonly needed. Any other call
// is built with [Conn.NewCall]. Calls of any number of goroutines may be under
// way on one connection.
//
// # Memory
//
// The kernel reads and writes a call's buffers by asking for addresses. No
// address of this process ever goes out: the buffers of a call get addresses
// in a window that exists for that call alone, and their bytes are kept in
// memory that belongs to the call. A buffer that is given to a call is read
// before and written after the call, by the goroutine that makes it, and is
// never touched once the call has returned. A request of the kernel's for
// anything but a buffer of a call that is under way, or to write a buffer that
// is there to be read, is a [ProtocolError] and ends the connection.
//
// # Contexts
//
// Every call takes a context. When it ends before the answer is here the call
// is abandoned and returns at once with an error that wraps the context's,
// whether or not the kernel is still running. The protocol can't cancel: the
// kernel goes on with the call, so that it may or may not happen, and a call
// that blocks there holds one of the kernel's workers (a rump_server has 128
// for all of its clients) until it ends by itself. No more than
// [MaxAbandoned] abandoned calls can be out on a connection.
//
// So that waits can be cancelled, [Conn.Connect], [Conn.Accept], [Conn.Poll],
// [Conn.WaitReadable], [Conn.WaitWritable] and the methods whose names end in
// Wait never block in the kernel for more than a second at a time when their
// context can end. The other calls do just what the system call does.
//
// # Errors
//
// A system call that failed returns a [*SyscallError], which wraps the
// kernel's errno, a [netbsd.Errno]. Connecting fails with a [*DialError], which is
// [ErrNoKernel] when nobody listens. A connection that broke ends every call
// that is under way and every later one with the same [*LostError], which is
// [ErrLost]; a peer that does not keep to the protocol does so with the same
// [*ProtocolError]; calls of a connection that was closed get [ErrClosed].
//
// # Descriptors
//
// Descriptors of the kernel's are values of type [FD], which know the
// connection that they came from. The connection's own descriptor is
// close-on-exec and never 0, 1 or 2.
package spclient
