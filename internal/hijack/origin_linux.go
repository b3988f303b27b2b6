//go:build amd64 || arm64

package hijack

import (
	"os"

	"golang.org/x/sys/unix"
)

// An S for datagrams that is a local socket is bound to a path. What comes from
// the kernel is sent to that path, by a socket of the host's for each sender, whose
// name leads to the sender's address; so each datagram has its own. Once the program
// connects S, it and K are connected to each other: what the program sends then
// without an address comes to K.

// maxOrigins is how many senders are kept for one S. Fewer datagrams than that wait in
// S, so that the name of each that does is known.
const maxOrigins = 128

// origin is a sender, for S.
type origin struct {
	file    *os.File // the socket that stands for it
	name    string   // that socket's
	addr    []byte   // Linux's
	control []byte   // NetBSD's control messages that came along
	key     string
}

// origins are the senders of datagrams for one S.
type origins struct {
	byKey  map[string]*origin
	byName map[string]*origin
	order  []*origin
}

func (o *origins) close() {
	for _, from := range o.order {
		from.file.Close()
	}
}

// put sends a datagram to S, and waits while S has many.
func (x *socket) put(o *origins, path string, data, from, control []byte) error {
	if x.inner != nil {
		return x.putInner(data, from, control)
	}
	key := string(from) + string(control)
	x.mu.Lock()
	k, kKey := x.k, x.kKey
	sender := o.byKey[key]
	x.mu.Unlock()
	if k != nil && kKey == string(from) {
		if len(control) > 0 {
			return k.writeAlong(data, control)
		}
		_, err := k.Write(data)
		return err
	}
	if sender == nil {
		var err error
		if sender, err = newOrigin(path); err != nil {
			return err
		}
		sender.key, sender.addr, sender.control = key, x.linuxAddr(from), append([]byte(nil), control...)
		x.mu.Lock()
		o.byKey[key], o.byName[sender.name] = sender, sender
		o.order = append(o.order, sender)
		if len(o.order) > maxOrigins {
			old := o.order[0]
			o.order = append(o.order[:0], o.order[1:]...)
			delete(o.byKey, old.key)
			delete(o.byName, old.name)
			old.file.Close()
		}
		x.mu.Unlock()
	}
	_, err := sender.file.Write(data)
	return err
}

// newOrigin makes a socket for a sender, which is connected to S.
func newOrigin(path string) (*origin, error) {
	fd, name, err := connectedTo(path)
	if err != nil {
		return nil, err
	}
	return &origin{file: os.NewFile(uintptr(fd), "origin"), name: name}, nil
}

// connectedTo makes a socket with a name of its own that is connected to S.
func connectedTo(path string) (fd int, name string, err error) {
	if fd, err = unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0); err != nil {
		return -1, "", err
	}
	if name, err = autobind(fd); err == nil {
		err = unix.Connect(fd, &unix.SockaddrUnix{Name: path})
	}
	if err != nil {
		unix.Close(fd)
		return -1, "", err
	}
	return fd, name, nil
}

// autobind has the host give a socket a name that nobody else has.
func autobind(fd int) (string, error) {
	if err := unix.Bind(fd, &unix.SockaddrUnix{}); err != nil {
		return "", err
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return "", err
	}
	return sa.(*unix.SockaddrUnix).Name, nil
}

// origin returns the address, Linux's, and the control messages, NetBSD's, of a datagram
// that S received from a socket of ours.
// cut tells whether there were more of these.
func (x *socket) origin(from unix.Sockaddr) (addr, control []byte, cut bool) {
	un, ok := from.(*unix.SockaddrUnix)
	if !ok {
		return x.noAddr(), nil, false
	}
	if addr, control, cut, ok := x.lentOrigin(un.Name); ok {
		return x.linuxAddr(addr), control, cut
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.k != nil && un.Name == x.kName {
		return x.peer, nil, false
	}
	if x.origins != nil {
		if o := x.origins.byName[un.Name]; o != nil {
			return o.addr, o.control, false
		}
	}
	return x.noAddr(), nil, false
}

// kernelOrigin returns the sender's address and the control messages, both NetBSD's, of a
// datagram that S, which is not connected, received from a socket of ours or of the kernel's.
func (x *socket) kernelOrigin(from unix.Sockaddr) (addr, control []byte, ok bool) {
	un, ok := from.(*unix.SockaddrUnix)
	if !ok {
		return nil, nil, false
	}
	if addr, control, _, ok := x.lentOrigin(un.Name); ok {
		return addr, control, true
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	o := x.origins.byName[un.Name]
	if o == nil {
		return nil, nil, false
	}
	return []byte(o.key[:len(o.key)-len(o.control)]), o.control, true
}
