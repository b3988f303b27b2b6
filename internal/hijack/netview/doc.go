// Package netview shows the network of a NetBSD kernel in Linux's terms:
// interfaces, addresses, routes, neighbours and sockets with the numbers that
// Linux has for their kinds, flags and states. What programs for Linux ask
// about the network, through netlink(7) or /proc/net, is answered from it, and
// what they change there is changed by it.
//
// Names and numbers of interfaces are the kernel's own. Nothing that a kernel
// sends makes the package panic.
package netview
