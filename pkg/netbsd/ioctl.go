package netbsd

import (
	"fmt"
	"reflect"
	"sync"
)

// Parts of an ioctl command (<sys/ioccom.h>).
const (
	IOC_VOID    = 0x20000000 // no argument
	IOC_OUT     = 0x40000000 // the kernel writes the argument
	IOC_IN      = 0x80000000 // the kernel reads the argument
	IOC_INOUT   = IOC_IN | IOC_OUT
	IOC_DIRMASK = 0xe0000000

	IOCPARM_MASK  = 0x1fff
	IOCPARM_SHIFT = 16
	IOCPARM_MAX   = 4096
)

// Ioctl is an ioctl command: its number depends on the machine through the
// size of its argument. Commands are compared by pointer.
type Ioctl struct {
	// Name is the command's name: "SIOCGIFFLAGS".
	Name string
	// Dir is IOC_VOID, IOC_IN, IOC_OUT or IOC_INOUT.
	Dir uint32
	// Group is the letter of the kind of device: 'i' for interfaces.
	Group byte
	// Num is the command's number in its group.
	Num byte
	// Arg is the type of the argument; nil when there is none.
	Arg reflect.Type
}

// Size returns the size in bytes of the command's argument on the machine.
func (i *Ioctl) Size(m *Machine) int {
	if i.Arg == nil {
		return 0
	}
	return Sizeof(m, i.Arg)
}

// Cmd returns the command's number on the machine.
func (i *Ioctl) Cmd(m *Machine) uint32 {
	return i.Dir | uint32(i.Size(m)&IOCPARM_MASK)<<IOCPARM_SHIFT | uint32(i.Group)<<8 | uint32(i.Num)
}

// String returns the command's name.
func (i *Ioctl) String() string { return i.Name }

// IoctlSize returns the size in bytes of the argument of a command
// (IOCPARM_LEN).
func IoctlSize(cmd uint32) int { return int(cmd>>IOCPARM_SHIFT) & IOCPARM_MASK }

// IoctlIn tells whether the kernel reads the argument of a command.
func IoctlIn(cmd uint32) bool { return cmd&IOC_IN != 0 }

// IoctlOut tells whether the kernel writes the argument of a command.
func IoctlOut(cmd uint32) bool { return cmd&IOC_OUT != 0 }

var ioctlTables sync.Map // *Machine -> map[uint32]*Ioctl

func ioctlTable(m *Machine) map[uint32]*Ioctl {
	if t, ok := ioctlTables.Load(m); ok {
		return t.(map[uint32]*Ioctl)
	}
	t := make(map[uint32]*Ioctl, len(ioctls))
	for _, i := range ioctls {
		if _, ok := t[i.Cmd(m)]; !ok {
			t[i.Cmd(m)] = i
		}
	}
	ioctlTables.Store(m, t)
	return t
}

// LookupIoctl finds the command with a number on the machine. Where several
// have the same number (SIOCSIFGENERIC, SIOCSETVLAN) it is the more general
// one.
func LookupIoctl(m *Machine, cmd uint32) (*Ioctl, bool) {
	i, ok := ioctlTable(m)[cmd]
	return i, ok
}

// IoctlName returns the name of the command with a number on the machine; for
// an unknown one its parts, as C's _IOR('i', 17, 144).
func IoctlName(m *Machine, cmd uint32) string {
	if i, ok := LookupIoctl(m, cmd); ok {
		return i.Name
	}
	group := fmt.Sprintf("%q", rune(cmd>>8&0xff))
	switch cmd & IOC_DIRMASK {
	case IOC_VOID:
		return fmt.Sprintf("_IO(%s, %d, %d)", group, cmd&0xff, IoctlSize(cmd))
	case IOC_OUT:
		return fmt.Sprintf("_IOR(%s, %d, %d)", group, cmd&0xff, IoctlSize(cmd))
	case IOC_IN:
		return fmt.Sprintf("_IOW(%s, %d, %d)", group, cmd&0xff, IoctlSize(cmd))
	case IOC_INOUT:
		return fmt.Sprintf("_IOWR(%s, %d, %d)", group, cmd&0xff, IoctlSize(cmd))
	}
	return fmt.Sprintf("%#x", cmd)
}

// Ioctls returns all commands that are known.
func Ioctls() []*Ioctl { return append([]*Ioctl(nil), ioctls...) }

// ioctls has every command, in the order of their definition: the functions
// below put them there.
var ioctls []*Ioctl

func newIoctl(name string, dir uint32, group, num byte, arg any) *Ioctl {
	i := &Ioctl{Name: name, Dir: dir, Group: group, Num: num}
	if arg != nil {
		i.Arg = reflect.TypeOf(arg)
	}
	ioctls = append(ioctls, i)
	return i
}

func io(name string, group, num byte) *Ioctl { return newIoctl(name, IOC_VOID, group, num, nil) }

func ior(name string, group, num byte, arg any) *Ioctl {
	return newIoctl(name, IOC_OUT, group, num, arg)
}

func iow(name string, group, num byte, arg any) *Ioctl {
	return newIoctl(name, IOC_IN, group, num, arg)
}

func iowr(name string, group, num byte, arg any) *Ioctl {
	return newIoctl(name, IOC_INOUT, group, num, arg)
}
