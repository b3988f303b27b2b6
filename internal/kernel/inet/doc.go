// Package inet is the embedded kernel's TCP/IP. Outside it is NetBSD's:
// interfaces and their ioctls, addresses, the routing table and the routing
// socket, neighbours, and the sysctl lists that utilities read. Inside, packets
// are handled by gVisor's netstack, which this package calls the engine.
//
// The engine is a host stack after Linux, so everything that NetBSD's users can
// see of interfaces and routes is kept here, and the engine is told the
// consequences:
//
//   - Each [Interface] has its own link endpoint, which counts as if_data does:
//     [loopLink] turns packets around, [etherLink] exchanges Ethernet frames
//     over a shmif bus.
//   - Packets to any address of our own go through lo0. For that the engine has
//     every such address on lo0 as well, and a host route to it; its own way of
//     turning packets around (HandleLocal) is off, as it would bypass lo0's
//     counters and taps.
//   - The routing table ([routeTable]) holds NetBSD's routes with their flags
//     and metrics. After each change those that can carry packets are pushed
//     into the engine.
//
// # Sockets
//
// Raw sockets and UDP are NetBSD's own here, with their control blocks in
// [socketTable]: the engine gives them all packets of their protocols by
// handlers, and sends complete packets for them. TCP sockets ([tcpSocket]) are
// endpoints of the engine's, behind NetBSD's states, errors and ports. No
// method of a socket waits.
//
// # Locks
//
// Stack.mu guards interfaces, addresses and the changing of routes. It is taken
// before any lock of the engine's. What runs under the engine's locks, link
// endpoints and callbacks, therefore never takes it: endpoints use atomic
// values, callbacks queue an event for the goroutine of [Stack.handleEvents].
// Routes are read under routeTable.mu alone, which is innermost.
//
// The locks of UDP and raw sockets are taken on the path of packets too, after
// that of the socketTable. With one of them held neither Stack.mu nor the engine
// is asked for anything. A TCP socket's lock comes before the engine's.
package inet
