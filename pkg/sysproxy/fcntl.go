package sysproxy

// FTaken is a command of fcntl(2) that rumpd has and NetBSD, which answers EINVAL, has not. It is for
// a client that accepts connections for others, and tells how many of a listener's have been
// taken since the command was first given, modulo 2^32; at first 0. From then on a connection that
// the client has accepted and nobody has taken counts as one that waits for accept(2), and one more
// than listen(2)'s backlog may wait, as on Linux.
const FTaken = 0x4c00
