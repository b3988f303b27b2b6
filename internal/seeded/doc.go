// Package seeded reads local stream sockets of the host so that resets can be shown at
// their other ends, whatever becomes of who reads.
//
// S, which a program has, and K are ends of one connection of AF_UNIX. When the last
// descriptor of K is closed while there is something unread in it, the program sees
// ECONNRESET, and else an orderly end. So K always has at least one byte that nobody
// needs: at first a seed, which is sent at S before anything else is, and from then on
// the last byte that was taken, which stays behind and is stale. A process that dies with
// K has reset the connection; for an orderly end the stale byte is taken out before K is
// closed.
package seeded
