// Package shmif joins the bus of NetBSD's shmif(4): an Ethernet that rump
// kernels share by mapping the same regular file. A Bus is one party on it and
// exchanges frames with real rump kernels and with others of its kind.
//
// # The bus
//
// The file is 1 MiB: a header of 32 bytes and a ring of packets, each one a
// header and a frame (layout.go). There are no sockets and no server; a sender
// copies its packet to the ring and is done. Nobody waits for receivers: one that
// does not come round in time finds its packets overwritten and goes on with
// the oldest one that is left.
//
// Word sizes are fixed, but the byte order is the host's, and so is the
// alignment of the packet header: 24 bytes everywhere but on i386, where it has
// 20. A bus can therefore be shared by programs of one kind of host only. A bus
// of the other byte order is told by its magic number; one of i386 among 64-bit
// parties cannot be told.
//
// # The ring
//
// last is where the newest packet's header is, first where the oldest one's is.
// A sender, who holds the lock, puts his packet after the one at last and moves
// first past whatever that overwrites. The generation grows by one whenever a
// write reaches the end of the ring, even if it ends just there. A reader knows
// the offset of its next packet and the generation of that; it has everything if
// these are the generation of the ring and the end of the packet at last. It fell
// behind if its place is not between first and last any more, or is more than
// one generation old.
//
// A new bus has nothing at last, which reads as an empty packet at 0, so the
// first frame's header is at 24 and nothing is special about it. first is
// 1048544, one past the ring's end, because first and last must differ. The
// version word stays 0 until somebody sends.
//
// # Waking
//
// Mapped memory wakes nobody. So a sender writes the version word, which never
// changes, with a system call, and receivers watch the file with inotify or
// kqueue. That wakes all parties, the sender too; a packet's header has its
// sender's number, which each party chooses at random, to skip its own.
//
// # Distrust
//
// Any process that may write to the file can put anything there, and one that
// dies leaves the lock taken. Nothing found in the file makes this package
// panic, run out of the mapping or loop. A receiver for whom the ring makes no
// sense goes to the newest packet; a sender for whom it makes none starts it
// anew, in a way that is good for real kernels as well. Frames of more than 1,514
// bytes are not sent, since they would panic every real kernel on the bus, and not
// received. How a lock is recovered, and why that does no harm to those who live,
// is told in recover.go. A file that is truncated under the parties' feet, which
// the host punishes with SIGBUS, becomes ErrGone.
package shmif
