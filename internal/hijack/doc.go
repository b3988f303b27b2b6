// Package hijack runs unmodified programs on a rump kernel's network: rumpctl exec.
//
// A supervisor carries out the programs' calls on sockets (package seccomp). What a
// program holds for a socket is a real descriptor of the host, of a local socket, so that
// dup(2), fork(2), execve(2), poll(2), epoll(7), read(2), write(2) and close(2) are the
// host's own and nobody has to follow them. The socket proper is the rump kernel's. In
// names and comments, S is the socket that the program holds, K its other end, which the
// supervisor keeps, L an S that listens. Which socket a descriptor is, is told by the
// host's cookie of it (SO_COOKIE), whatever its number and process.
//
// A connection: S, made without a peer, is connected to a listener of the supervisor's
// (hub) as soon as the kernel has connected its socket; what is accepted there is K. The
// kernel carries the bytes between K and its socket itself if it can (loan), or a pump
// does. For a connect that does not wait, S is filled so that it is not writable (fill). One
// that is refused is shown by a TCP socket in the place of S (refused), and so is a connection that
// connect(2) to nobody has given up (disconnect).
// A reset closes K with something unread in it, which the host shows as ECONNRESET.
//
// A listener: L is bound to a path and listens on the host. Each connection that the
// kernel accepts is a K that is connected to L. Only accept(2) is the supervisor's, for
// the address: poll(2), the queue and close(2) are the host's.
//
// What a stream has by its state is a struct: an attempt, a connection (or a pair), a listener. Whatever ends one of them takes it
// from the socket by one function (leave), which sets what the socket is then, and what S is. So what still goes on for it
// finds that it is not the socket's any more.
// What a socket is called, and what of that it has, is a type of its own (name).
//
// Datagrams: S is a UDP socket in a network namespace of the supervisor's, and K another, that sends to it what comes (inner).
// Where there may be no such namespace, and for raw sockets, S is a local one that is bound to a path, too, and each
// sender is a local socket, whose name leads to the sender's address (local). The rest of the package does not ask which
// it is (standIn).
//
// The end of S is seen by K's hang-up or, where there is no K, by what its name keeps
// alive (ends). A call that has to wait is parked (waits): its thread sleeps in the host's
// kernel, and somebody looks whether a signal waits for it.
//
// What is about Linux's terms and NetBSD's is package linuxsock; netlink, netview and
// procnet are what programs can ask about the network.
package hijack
