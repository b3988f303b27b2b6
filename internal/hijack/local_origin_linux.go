//go:build amd64 || arm64

package hijack

import (
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"rumptools/internal/sidefile"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/sysproxy"
)

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

// put waits while S has many.
func (l *local) put(data, from, control []byte) error {
	x, o := l.x, &l.origins
	key := string(from) + string(control)
	x.mu.Lock()
	k, kKey, path := x.k, x.kKey, x.path
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
		if x.state == ended {
			x.mu.Unlock()
			sender.file.Close()
			return os.ErrClosed
		}
		if o.byKey == nil {
			o.byKey, o.byName = make(map[string]*origin), make(map[string]*origin)
		}
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

// origin goes by the name of the socket of ours that the datagram is from. What comes by K has its control messages along.
func (l *local) origin(from unix.Sockaddr, oob []byte, flags int) (addr, control []byte, cut bool) {
	along := sidefile.Read(oob)
	addr, control, cut = l.sender(from)
	if along != nil {
		control = along
	}
	return addr, control, cut || flags&unix.MSG_CTRUNC != 0
}

func (l *local) sender(from unix.Sockaddr) (addr, control []byte, cut bool) {
	x := l.x
	un, ok := from.(*unix.SockaddrUnix)
	if !ok {
		return x.noAddr(), nil, false
	}
	if addr, control, cut, ok := x.lentOrigin(un.Name); ok {
		return x.linuxAddr(addr), control, cut
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.k != nil && un.Name == x.k.name {
		return x.peer, nil, false
	}
	if o := l.origins.byName[un.Name]; o != nil {
		return o.addr, o.control, false
	}
	return x.noAddr(), nil, false
}

// kernelOrigin returns the sender's address and the control messages, both NetBSD's, of a
// datagram that S, which is not connected, received from a socket of ours or of the kernel's.
func (l *local) kernelOrigin(from unix.Sockaddr) (addr, control []byte, ok bool) {
	x := l.x
	un, ok := from.(*unix.SockaddrUnix)
	if !ok {
		return nil, nil, false
	}
	if addr, control, _, ok := x.lentOrigin(un.Name); ok {
		return addr, control, true
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	o := l.origins.byName[un.Name]
	if o == nil {
		return nil, nil, false
	}
	return []byte(o.key[:len(o.key)-len(o.control)]), o.control, true
}

// lentOrigin returns what the name of a socket of the kernel's tells: the sender's address,
// NetBSD's, the control messages, and whether some were left out.
func (x *socket) lentOrigin(name string) (addr, control []byte, cut, ok bool) {
	if !strings.HasPrefix(name, "@") {
		return nil, nil, false, false
	}
	o, ok := sysproxy.ParseOrigin(name[1:])
	if !ok {
		return nil, nil, false, false
	}
	for _, c := range o.Control {
		control = netbsd.AppendCmsg(x.s.machine, control, c.Level, c.Type, c.Data)
	}
	return o.From, control, o.Cut, true
}
