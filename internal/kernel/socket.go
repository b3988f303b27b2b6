package kernel

import (
	"time"

	"rumptools/pkg/netbsd"
)

// Socket is a file that socket(2) makes. As with every [File], no method
// blocks. Addresses are sockaddrs in the machine's layout, at least two bytes
// and at most 255; a bad one gives EINVAL or EAFNOSUPPORT.
type Socket interface {
	File
	// Domain, SockType and Protocol are socket(2)'s arguments without the
	// SOCK_* flags.
	Domain() int32
	SockType() int32
	Protocol() int32

	Bind(sa []byte) error
	// Connect fails with EINPROGRESS when it goes on in the background;
	// then the socket becomes ready to write, and ConnectResult tells.
	Connect(sa []byte) error
	// ConnectResult is nil when the connection stands, EINPROGRESS while
	// it does not, or why it failed.
	ConnectResult() error
	Listen(backlog int32) error
	// Accept takes the next connection of a listener, with its peer's
	// address.
	Accept() (Socket, []byte, error)
	Shutdown(how int32) error
	// Name and Peer are getsockname(2) and getpeername(2).
	Name() ([]byte, error)
	Peer() ([]byte, error)
	// SetOption and Option are setsockopt(2) and getsockopt(2), for all
	// levels.
	SetOption(c *Call, level, name int32, value []byte) error
	Option(c *Call, level, name int32, size int) ([]byte, error)
	// Timeouts are SO_RCVTIMEO and SO_SNDTIMEO; 0 is none.
	Timeouts() (recv, send time.Duration)

	// Send is sendmsg(2) for the bytes in m.Data. On a stream it may take
	// a part; a datagram goes whole or not at all.
	Send(c *Call, m *Message) (int, error)
	// Recv is recvmsg(2) into m.Data: it sets m.Name, m.Control, m.Flags
	// and, for descriptors that were passed, m.Files.
	Recv(c *Call, m *Message) (int, error)
}

// Settler is a socket whose connections to this host itself are decided within
// connect(2), as over a real kernel's lo0: even a call that does not wait finds
// them made, at both ends, or refused. Where that takes the socket a moment,
// connect(2) waits as long as Settling says so, but not for long.
type Settler interface {
	Settling() bool
}

// TakenCounter is a socket whose client accepts connections for others (sysproxy.FTaken).
type TakenCounter interface {
	// Taken tells how many the others have got. It fails with EINVAL when the socket is no listener.
	Taken(n uint32) error
}

// Message is what sendmsg(2) and recvmsg(2) carry, gathered.
type Message struct {
	// Name is the other side's sockaddr, empty when there is none.
	Name []byte
	// Data is what to send, or the room to receive.
	Data []byte
	// Control are the control messages.
	Control []netbsd.Cmsg
	// Files are the open files of an SCM_RIGHTS message. The receiver owns
	// the references.
	Files []*OpenFile
	// Flags are MSG_* bits: the caller's, and on return those of a
	// received message (MSG_TRUNC, MSG_CTRUNC, MSG_EOR).
	Flags int32
}

// dropFiles releases the files of a message whose receiver has no use for
// them.
func (m *Message) dropFiles() {
	for _, of := range m.Files {
		of.Release()
	}
	m.Files = nil
}

// Domain makes the sockets of an address family.
type Domain interface {
	// Socket is socket(2); typ is without SOCK_CLOEXEC and its kin.
	// EPROTONOSUPPORT, ESOCKTNOSUPPORT and EPROTOTYPE say what is wrong.
	Socket(c *Call, typ, proto int32) (Socket, error)
	// Pair is socketpair(2); EOPNOTSUPP where there is none.
	Pair(c *Call, typ, proto int32) (a, b Socket, err error)
}

// AddDomain registers an address family (AF_*). It must be called before the
// kernel serves.
func (k *Kernel) AddDomain(family int32, d Domain) { k.domains[family] = d }

// Domain gives an address family, EAFNOSUPPORT when there is none.
func (k *Kernel) Domain(family int32) (Domain, error) {
	d, ok := k.domains[family]
	if !ok {
		return nil, netbsd.EAFNOSUPPORT
	}
	return d, nil
}
