// Package ping sends ICMP and ICMPv6 echo requests out of a rump kernel and
// reports the replies as NetBSD's ping(8) and ping6(8) do, to the byte.
//
// [Run] is the tool without its flags: it sends and receives through a [Socket]
// and writes where it is told to. [Open] makes the Socket of a raw socket in a
// rump kernel. Nothing that Run does waits for the kernel alone: a person's
// wish to stop is heeded at once, also while a call hangs because the kernel
// does not run.
//
// It differs from NetBSD's tools where those are no help:
//
//   - The first interrupt ends it. ping(8) waits for packets under way.
//   - Round-trip times come from the host's monotonic clock. Under a rump
//     kernel, NetBSD's tools read the kernel's clock, which ticks every 10 ms.
//   - The exit status is the same for both families: 0 when there was a reply,
//     2 when there was none, 1 for errors.
//   - Reply data are compared with what was sent whenever all of it came back.
//     ping(8) means to, but compares only replies that are too long.
//   - Addresses are never turned into names: a rump kernel's network is not the
//     one that the host's resolver knows. NetBSD's tools under rump do not
//     find any names either.
package ping
