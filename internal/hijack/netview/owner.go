//go:build linux

package netview

// Owner is whose socket it is, in lists of sockets. The kernel does not know:
// it knows its clients, of which the program behind is not one.
type Owner struct {
	// Inode is the number that names the socket in the descriptors of its
	// process, socket:[N] below /proc/PID/fd; 0 when no process has it.
	Inode uint32
	// UID is its user.
	UID uint32
	// Backlog is how many connections a listening socket lets wait.
	Backlog uint32
	// Unread is what the program has not read yet of what the kernel has given it, in bytes;
	// of a listening socket it is how many connections it has not accepted.
	Unread uint32
}

// OwnerOf tells whose a socket is. It is called by any goroutine. A nil OwnerOf
// knows nothing.
type OwnerOf func(*Socket) Owner

// Of is the owner of a socket.
func (f OwnerOf) Of(s *Socket) Owner {
	if f == nil {
		return Owner{}
	}
	return f(s)
}
