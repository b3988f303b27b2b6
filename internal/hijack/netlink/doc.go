// Package netlink answers what programs for Linux ask through netlink(7) about
// the network, for a network that is a rump kernel's: rtnetlink(7), which tells
// of interfaces, addresses, routes and neighbours, and sock_diag(7), which
// tells of sockets. It knows nothing of how requests and answers travel.
//
// Addresses, routes, and whether interfaces are up and their MTUs can be
// changed, by every program, as by one with CAP_NET_ADMIN in a container. What
// NetBSD has not gets EOPNOTSUPP. Nothing that a program or a kernel sends makes
// the package panic.
package netlink
