package spclient

import (
	"context"

	"rumptools/pkg/netbsd"
)

// Open opens a file of the kernel's (open(2)).
func (c *Conn) Open(ctx context.Context, path string, flags int32, mode uint32) (FD, error) {
	return c.NewCall(netbsd.SYS_open).String(path).Int(flags).Uint(mode).DoFD(ctx)
}

// CloseFD closes a descriptor of the kernel's (close(2)).
func (c *Conn) CloseFD(ctx context.Context, fd FD) error {
	return effect(ctx, c.NewCall(netbsd.SYS_close).FD(fd))
}

// Read reads from a file, socket or device (read(2)). At the end it returns 0.
func (c *Conn) Read(ctx context.Context, fd FD, p []byte) (int, error) {
	return count(ctx, c.NewCall(netbsd.SYS_read).FD(fd).Out(p).Word(uint64(len(p))), len(p))
}

// Write writes to a file, socket or device (write(2)). It may write less than
// all of p.
func (c *Conn) Write(ctx context.Context, fd FD, p []byte) (int, error) {
	return count(ctx, c.NewCall(netbsd.SYS_write).FD(fd).In(p).Word(uint64(len(p))), len(p))
}

// Lseek moves the offset of a file (lseek(2)) and returns the new one.
func (c *Conn) Lseek(ctx context.Context, fd FD, offset int64, whence int32) (int64, error) {
	ret, err := c.NewCall(netbsd.SYS_lseek).FD(fd).Off(offset).Int(whence).Do(ctx)
	if err != nil {
		return 0, err
	}
	return int64(ret.Value64(c.session().layout)), nil
}

// Fcntl makes the commands of fcntl(2) whose argument is a number or nothing.
func (c *Conn) Fcntl(ctx context.Context, fd FD, cmd, arg int32) (int32, error) {
	ret, err := c.NewCall(netbsd.SYS_fcntl).FD(fd).Int(cmd).Int(arg).Do(ctx)
	if err != nil {
		return 0, err
	}
	return int32(ret.Retval[0]), nil
}

// Dup makes another descriptor for the same file (dup(2)).
func (c *Conn) Dup(ctx context.Context, fd FD) (FD, error) {
	return c.NewCall(netbsd.SYS_dup).FD(fd).DoFD(ctx)
}

// Dup2 makes another descriptor of the given number for the same file (dup2(2)).
// What had the number is closed.
func (c *Conn) Dup2(ctx context.Context, fd FD, num int32) (FD, error) {
	return c.NewCall(netbsd.SYS_dup2).FD(fd).Int(num).DoFD(ctx)
}

// Pipe makes a pipe (pipe(2)) and returns its reading and its writing end.
func (c *Conn) Pipe(ctx context.Context) (r, w FD, err error) {
	ret, s, err := c.NewCall(netbsd.SYS_pipe).doIn(ctx)
	if err != nil {
		return FD{}, FD{}, err
	}
	return FD{int32(ret.Retval[0]), s.gen}, FD{int32(ret.Retval[1]), s.gen}, nil
}
