// Package local is the embedded kernel's local domain: sockets between the
// kernel's own processes (unix(4)), with descriptors passed along.
//
// There is no file system: a bound socket's name is a name in this domain, and
// it is free again when the socket is closed.
package local

import (
	"bytes"
	"sync"

	"rumptools/internal/kernel"
	"rumptools/pkg/netbsd"
)

// Domain is the local domain of one kernel.
type Domain struct {
	// mu guards the domain and all its sockets: calls are short, and most
	// concern two sockets.
	mu      sync.Mutex
	bound   map[string]*socket
	sockets map[*socket]struct{}
	nextID  uint64
	rights  int // descriptors in messages
	alive   int // of them, after the last collection
	passed  int // and how many were sent since
}

// Register adds the domain to a kernel.
func Register(k *kernel.Kernel) *Domain {
	d := &Domain{bound: make(map[string]*socket), sockets: make(map[*socket]struct{})}
	k.AddDomain(netbsd.AF_LOCAL, d)
	d.addSysctls(k)
	return d
}

// protocol checks socket(2)'s type and protocol.
func protocol(typ, proto int32) error {
	switch {
	case proto != 0:
		return netbsd.EPROTONOSUPPORT
	case typ != netbsd.SOCK_STREAM && typ != netbsd.SOCK_DGRAM && typ != netbsd.SOCK_SEQPACKET:
		return netbsd.EPROTONOSUPPORT
	}
	return nil
}

// Socket implements [kernel.Domain].
func (d *Domain) Socket(c *kernel.Call, typ, proto int32) (kernel.Socket, error) {
	if err := protocol(typ, proto); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.newSocket(typ, c.Proc.PID), nil
}

// Pair implements [kernel.Domain].
func (d *Domain) Pair(c *kernel.Call, typ, proto int32) (kernel.Socket, kernel.Socket, error) {
	if err := protocol(typ, proto); err != nil {
		return nil, nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	a, b := d.newSocket(typ, c.Proc.PID), d.newSocket(typ, c.Proc.PID)
	a.peer, b.peer = b, a
	return a, b, nil
}

// bufferSize is what a socket holds for its reader (PIPSIZ; for datagrams,
// their largest size and room for the addresses).
const bufferSize = 4 << 10

// newSocket makes a socket of a process; d.mu is held.
func (d *Domain) newSocket(typ, pid int32) *socket {
	d.nextID++
	s := &socket{
		d: d, typ: typ, pid: pid, id: d.nextID,
		rcvbuf: bufferSize, sndbuf: bufferSize,
	}
	d.sockets[s] = struct{}{}
	return s
}

// sockaddrHead is what comes before the path in struct sockaddr_un.
const sockaddrHead = 2

// path is the path of a local address.
func path(sa []byte) (string, error) {
	if sa[1] != netbsd.AF_LOCAL {
		return "", netbsd.EAFNOSUPPORT
	}
	p, _, _ := bytes.Cut(sa[sockaddrHead:], []byte{0})
	if len(p) == 0 {
		return "", netbsd.ENOENT
	}
	return string(p), nil
}

// noAddress is the address of a socket that was not bound.
var noAddress = []byte{sockaddrHead, netbsd.AF_LOCAL}
