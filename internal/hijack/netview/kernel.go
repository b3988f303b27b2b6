//go:build linux

package netview

import (
	"context"
	"errors"

	"rumptools/internal/netstat"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
)

// Kernel is what this package needs of a kernel's client; an [spclient.Conn]
// has it.
type Kernel interface {
	netstat.Kernel
	// FD makes a descriptor of a number, which differs from others of that
	// number when the kernel is another: one that was started again.
	FD(num int32) spclient.FD
	SysctlQuery(ctx context.Context, mib []int32) ([]netbsd.Sysctlnode, error)
	Socket(ctx context.Context, domain, typ, proto int32) (spclient.FD, error)
	CloseFD(ctx context.Context, fd spclient.FD) error
	IoctlStruct(ctx context.Context, fd spclient.FD, req *netbsd.Ioctl, v any) error
	ClockGettime(ctx context.Context, clock int32) (netbsd.Timespec, error)
	Connect(ctx context.Context, fd spclient.FD, sa []byte) error
	Getsockname(ctx context.Context, fd spclient.FD) ([]byte, error)
	Write(ctx context.Context, fd spclient.FD, p []byte) (int, error)
	RecvfromWait(ctx context.Context, fd spclient.FD, p []byte, flags int32) (n int, sa []byte, err error)
}

// closeFD gives a descriptor back. Nothing is lost when that fails: the end of
// the connection closes it as well.
func closeFD(ctx context.Context, k Kernel, fd spclient.FD) {
	_ = k.CloseFD(context.WithoutCancel(ctx), fd)
}

// refused tells whether the kernel answered, with an error: what was asked
// about is gone, or the kernel does not know such things.
func refused(err error) bool {
	var e *spclient.SyscallError
	return errors.As(err, &e)
}
