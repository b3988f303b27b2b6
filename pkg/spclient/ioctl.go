package spclient

import (
	"context"
	"fmt"

	"rumptools/pkg/netbsd"
)

// Ioctl makes a request of a device or socket (ioctl(2)). Data is the argument
// as the kernel's machine has it in memory, which the request's number says
// whether the kernel reads or writes; it must be as long as the number says. Errors
// have the request's name.
func (c *Conn) Ioctl(ctx context.Context, fd FD, cmd uint32, data []byte) error {
	return c.ioctl(ctx, c.NewCall(netbsd.SYS_ioctl).FD(fd).Word(uint64(cmd)), cmd, data)
}

func (c *Conn) ioctl(ctx context.Context, call *Call, cmd uint32, data []byte) error {
	if n := netbsd.IoctlSize(cmd); len(data) < n {
		call.fail(fmt.Errorf("argument of %d bytes, want %d", len(data), n))
	}
	switch in, out := netbsd.IoctlIn(cmd), netbsd.IoctlOut(cmd); {
	case in && out:
		call.InOut(data)
	case in:
		call.In(data)
	case out:
		call.Out(data)
	default:
		call.Ptr(0)
	}
	if err := call.run(ctx); err != nil {
		return callError(netbsd.IoctlName(c.Machine(), cmd), err)
	}
	errno := netbsd.Errno(call.reply.Errno)
	call.free()
	if errno != 0 {
		return &SyscallError{netbsd.IoctlName(c.Machine(), cmd), errno}
	}
	return nil
}

// IoctlStruct makes a request whose argument is the structure, or integer, that
// v points to.
func (c *Conn) IoctlStruct(ctx context.Context, fd FD, req *netbsd.Ioctl, v any) error {
	return c.IoctlPtr(ctx, fd, req, v, nil, nil)
}

// IoctlPtr makes a request whose argument is the structure that v points to,
// which in turn points to a buffer that the kernel may read and write. The buffer
// gets its address for the call; set must store it in the structure. The length
// of the buffer is for the caller to set.
//
//	var r netbsd.Ifconf
//	r.Len = int32(len(buf))
//	err := c.IoctlPtr(ctx, fd, netbsd.SIOCGIFCONF, &r, buf, func(p netbsd.Ptr) { r.Buf = p })
func (c *Conn) IoctlPtr(ctx context.Context, fd FD, req *netbsd.Ioctl, v any, buf []byte, set func(netbsd.Ptr)) error {
	m := c.Machine()
	cmd := req.Cmd(m)
	call := c.NewCall(netbsd.SYS_ioctl).FD(fd).Word(uint64(cmd))
	if buf != nil {
		set(call.PlaceInOut(buf))
	}
	var data []byte
	if v != nil {
		data = netbsd.Marshal(m, v)
	}
	if err := c.ioctl(ctx, call, cmd, data); err != nil {
		return err
	}
	if !netbsd.IoctlOut(cmd) {
		return nil
	}
	return netbsd.Unmarshal(m, data, v)
}
