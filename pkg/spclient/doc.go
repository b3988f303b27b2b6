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
// # Sockets as Go knows them
//
// [Conn.DialContext], [Conn.Listen] and [Conn.ListenPacket] return package net's
// interfaces, so that whatever uses those uses the kernel's network:
//
//	client := http.Client{Transport: &http.Transport{DialContext: c.DialContext}}
//
// Names are looked up by a [Resolver] that the caller provides, through the
// kernel's network too; nothing of the host's resolver is used.
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
// # Lost connections
//
// By default a connection that is lost stays lost. With another [Retry] in
// [Options] the next call that has no descriptors among its arguments connects
// again, as a new process of the kernel's. What belonged to the old one says so:
// its descriptors are [ErrStale] and never stand for those of the new kernel.
//
// # Fork and exec
//
// [Conn.Prefork] gives a cookie with which another connection, of this program or
// of another one, becomes a copy of this process with its descriptors
// ([DialFork]); [Conn.StartChild] hands it to a command. [Conn.Exec] executes a
// program that goes on as the same process, and [DialInherited] is what that
// program calls. The environment variables are those of NetBSD's client, so that
// its programs and those of this package can execute each other.
//
// # Descriptors
//
// Descriptors of the kernel's are values of type [FD], which know the
// connection that they came from.
//
// On Linux a connection has two descriptors of the host's: its socket, and an epoll
// instance that looks at it. They are close-on-exec, but for the socket in
// [Conn.Exec], and never 0, 1 or 2; while a connection is being made those numbers
// are kept occupied if they are free.
//
// A program may close them, or put other files there, with dup2(2) or
// closefrom(3), without knowing. So the socket's identity is compared before
// anything is sent, received or closed, and if it is another file's the
// connection is lost, or made again, like one whose kernel has ended. Only
// sendmsg(2) and recvmsg(2) are used, which fail for all but sockets. What remains is
// a race: another thread may replace the descriptor between the comparison and
// the call that follows it at once. If it puts another socket there in that
// moment, bytes go to it or come from it; files and pipes are safe then, too. While a
// call waits in the kernel the comparison is made every second.
//
// # Speed
//
// On Linux a caller that finds nobody reading reads its answer itself: it waits in
// the host's recvmsg(2), for a tick of the host's clock (1 to 10 milliseconds) at
// most, with the runtime's processor in its hand, as no goroutine is then to be
// switched to and back. The runtime's signals end that wait. If answers take longer
// than half a millisecond, or others make calls at the same time, a goroutine of
// the connection's waits in their place, with the runtime's poller, and sees the
// answers of all. A signal of the kernel's, or its end, is noticed up to 10
// milliseconds after the last call; and so much later a call returns when its
// context ends.
package spclient
