package kernel

import (
	"os"

	"rumptools/pkg/netbsd"
)

// device is what the simple devices have in common: always ready, no commands.
type device struct{}

func (device) Ioctl(*Call, uint32, []byte) error { return netbsd.ENOTTY }
func (device) Stat() (netbsd.Stat, error) {
	return netbsd.Stat{Mode: netbsd.S_IFCHR | 0o666, Nlink: 1}, nil
}
func (device) Poll() Events {
	return netbsd.POLLIN | netbsd.POLLRDNORM | netbsd.POLLOUT | netbsd.POLLWRNORM
}
func (device) Pending() (read, write int64) { return 0, 0 }
func (device) Watch(*Watcher)               {}
func (device) Unwatch(*Watcher)             {}
func (device) Type() int32                  { return dtypeVnode }
func (device) Close() error                 { return nil }

// nullDevice is /dev/null.
type nullDevice struct{ device }

func (nullDevice) Read([]byte) (int, error)    { return 0, nil }
func (nullDevice) Write(p []byte) (int, error) { return len(p), nil }

// zeroDevice is /dev/zero.
type zeroDevice struct{ device }

func (zeroDevice) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
func (zeroDevice) Write(p []byte) (int, error) { return len(p), nil }

// console is what a new process's descriptors 0 to 2 lead to: the kernel's own
// output. Nothing can be read from it.
type console struct {
	device
	out *os.File
}

func (c *console) Read([]byte) (int, error)    { return 0, nil }
func (c *console) Write(p []byte) (int, error) { return c.out.Write(p) }

// Ioctl answers TIOCGETA with zeros, as the real kernel's console does, so
// that a program takes it for a terminal and buffers by line.
func (c *console) Ioctl(call *Call, cmd uint32, data []byte) error {
	if cmd == tiocgeta {
		return nil
	}
	return netbsd.ENOTTY
}

// tiocgeta is TIOCGETA: _IOR('t', 19, struct termios), whose 44 bytes are the
// same on every machine.
const tiocgeta = 0x402c7413
