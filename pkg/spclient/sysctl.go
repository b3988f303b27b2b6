package spclient

import (
	"context"
	"fmt"

	"rumptools/pkg/netbsd"
)

// MaxSysctl is the longest value that [Conn.SysctlBytes] reads, in bytes.
const MaxSysctl = 64 << 20

// MaxSysctlString is the longest string that [Conn.SysctlString] reads, in bytes.
const MaxSysctlString = 64 << 10

// Limits on sysctl's work.
const (
	// maxMIB is CTL_MAXNAME.
	maxMIB = 12
	// sysctlTries is how many times a value is read that grows faster than
	// the room for it.
	sysctlTries = 8
)

// Sysctl reads a value into old and sets it to newp (sysctl(3)); either may be
// nil. It returns the value's length: with old nil, what reading it would need,
// and with the error ENOMEM, when old is too short for it, what it would have
// needed.
func (c *Conn) Sysctl(ctx context.Context, mib []int32, old, newp []byte) (int, error) {
	m := c.Machine()
	if len(mib) == 0 || len(mib) > maxMIB {
		return 0, &SyscallError{"sysctl", netbsd.EINVAL}
	}
	var name [4 * maxMIB]byte
	for i, n := range mib {
		m.Order.PutUint32(name[4*i:], uint32(n))
	}
	call := c.NewCall(netbsd.SYS___sysctl).In(name[:4*len(mib)]).Uint(uint32(len(mib))).Out(old)
	call.inOutWord(uint64(len(old)))
	length := len(call.segments) - 1
	call.In(newp).Word(uint64(len(newp)))
	err := call.run(ctx)
	var n uint64
	if err == nil {
		n = m.Word(call.last(len(call.segments) - length))
		if call.reply.Errno == 0 && old != nil {
			n = min(n, uint64(len(old))) // no kernel says more
		}
	}
	return int(min(n, 1<<31-1)), call.finish(netbsd.SYS___sysctl, err)
}

// SysctlBytes reads a value of any length up to [MaxSysctl], such as a list of
// interfaces or sockets.
func (c *Conn) SysctlBytes(ctx context.Context, mib []int32) ([]byte, error) {
	return c.sysctlUpTo(ctx, mib, MaxSysctl)
}

func (c *Conn) sysctlUpTo(ctx context.Context, mib []int32, limit int) ([]byte, error) {
	n, err := c.Sysctl(ctx, mib, nil, nil)
	for try := 0; err == nil && try < sysctlTries; try++ {
		if n == 0 {
			return nil, nil
		}
		if n > limit {
			return nil, fmt.Errorf("sysctl: value of %d bytes, at most %d expected", n, limit)
		}
		buf := make([]byte, n)
		var got int
		if got, err = c.Sysctl(ctx, mib, buf, nil); err == nil {
			return buf[:got], nil
		} else if !isErrno(err, netbsd.ENOMEM) {
			return nil, err
		}
		// It has grown: leave room for more of that.
		n, err = min(max(got, n), limit+1), nil
		n += n / 8
	}
	if err == nil {
		err = &SyscallError{"sysctl", netbsd.ENOMEM}
	}
	return nil, err
}

// sysctlFixed reads a value of just n bytes.
func (c *Conn) sysctlFixed(ctx context.Context, mib []int32, n int) ([]byte, error) {
	buf := make([]byte, n)
	got, err := c.Sysctl(ctx, mib, buf, nil)
	if err == nil && got != n {
		err = fmt.Errorf("sysctl: value of %d bytes, want %d", got, n)
	}
	return buf, err
}

// SysctlInt reads a value that is an int.
func (c *Conn) SysctlInt(ctx context.Context, mib []int32) (int32, error) {
	b, err := c.sysctlFixed(ctx, mib, 4)
	if err != nil {
		return 0, err
	}
	return int32(c.Machine().Order.Uint32(b)), nil
}

// SysctlQuad reads a value that is a 64-bit integer.
func (c *Conn) SysctlQuad(ctx context.Context, mib []int32) (uint64, error) {
	b, err := c.sysctlFixed(ctx, mib, 8)
	if err != nil {
		return 0, err
	}
	return c.Machine().Order.Uint64(b), nil
}

// SysctlString reads a value that is a string of up to [MaxSysctlString].
func (c *Conn) SysctlString(ctx context.Context, mib []int32) (string, error) {
	b, err := c.sysctlUpTo(ctx, mib, MaxSysctlString)
	return netbsd.CString(b), err
}

// SysctlStruct reads a value that is a structure into *v.
func (c *Conn) SysctlStruct(ctx context.Context, mib []int32, v any) error {
	b, err := c.sysctlFixed(ctx, mib, netbsd.Sizeof(c.Machine(), v))
	if err != nil {
		return err
	}
	return netbsd.Unmarshal(c.Machine(), b, v)
}

// SysctlSet sets a value to bytes as the kernel's machine has them.
func (c *Conn) SysctlSet(ctx context.Context, mib []int32, val []byte) error {
	_, err := c.Sysctl(ctx, mib, nil, val)
	return err
}

// SysctlSetInt sets a value that is an int.
func (c *Conn) SysctlSetInt(ctx context.Context, mib []int32, val int32) error {
	b := c.u32(uint32(val))
	return c.SysctlSet(ctx, mib, b[:])
}

// SysctlSetString sets a value that is a string.
func (c *Conn) SysctlSetString(ctx context.Context, mib []int32, val string) error {
	return c.SysctlSet(ctx, mib, append([]byte(val), 0))
}
