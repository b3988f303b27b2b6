//go:build linux

package linuxsock

// Socket is what is known of a program's socket without asking its kernel. Its
// methods must not run at the same time.
type Socket struct {
	// Domain, Type and Protocol are Linux's, the type without flags:
	// AF_INET or AF_INET6, and the protocol that 0 stands for.
	Domain, Type, Protocol int

	v6only bool
	scope  string // the interface that the socket is bound to by its address
}
