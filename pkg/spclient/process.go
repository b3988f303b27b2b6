package spclient

import (
	"context"
	"errors"
	"strings"
	"time"

	"rumptools/pkg/netbsd"
)

// Getpid returns the number that this process has in the kernel (getpid(2)).
func (c *Conn) Getpid(ctx context.Context) (int32, error) {
	ret, err := c.NewCall(netbsd.SYS_getpid).Do(ctx)
	return int32(ret.Retval[0]), err
}

// Reboot ends or halts the kernel (reboot(2)): with netbsd.RB_AUTOBOOT the
// server ends, with netbsd.RB_HALT the kernel stops to serve and its process
// stays. A connection that breaks before the answer is success.
func (c *Conn) Reboot(ctx context.Context, howto int32) error {
	err := effect(ctx, c.NewCall(netbsd.SYS_reboot).Int(howto).Ptr(0))
	if errors.Is(err, ErrLost) {
		return nil
	}
	return err
}

// ClockGettime returns the time of one of the kernel's clocks
// (clock_gettime(2)): netbsd.CLOCK_REALTIME, CLOCK_MONOTONIC.
func (c *Conn) ClockGettime(ctx context.Context, clock int32) (netbsd.Timespec, error) {
	var ts netbsd.Timespec
	m := c.Machine()
	buf := make([]byte, netbsd.Sizeof(m, ts))
	err := effect(ctx, c.NewCall(netbsd.SYS___clock_gettime50).Int(clock).Out(buf))
	if err != nil {
		return ts, err
	}
	return ts, netbsd.Unmarshal(m, buf, &ts)
}

// Uptime returns how long the kernel has been running.
func (c *Conn) Uptime(ctx context.Context) (time.Duration, error) {
	ts, err := c.ClockGettime(ctx, netbsd.CLOCK_MONOTONIC)
	return ts.Duration(), err
}

// Utsname is what uname(3) tells of a kernel.
type Utsname struct {
	Sysname  string // kern.ostype
	Nodename string // kern.hostname
	Release  string // kern.osrelease
	Version  string // kern.version, on one line
	Machine  string // hw.machine
}

// Uname returns the kernel's names (uname(3)).
func (c *Conn) Uname(ctx context.Context) (Utsname, error) {
	var u Utsname
	for _, x := range []struct {
		field *string
		mib   []int32
	}{
		{&u.Sysname, []int32{netbsd.CTL_KERN, netbsd.KERN_OSTYPE}},
		{&u.Nodename, []int32{netbsd.CTL_KERN, netbsd.KERN_HOSTNAME}},
		{&u.Release, []int32{netbsd.CTL_KERN, netbsd.KERN_OSRELEASE}},
		{&u.Version, []int32{netbsd.CTL_KERN, netbsd.KERN_VERSION}},
		{&u.Machine, []int32{netbsd.CTL_HW, netbsd.HW_MACHINE}},
	} {
		var err error
		if *x.field, err = c.SysctlString(ctx, x.mib); err != nil {
			return u, err
		}
	}
	u.Version = oneLine(u.Version)
	return u, nil
}

// oneLine makes line ends and tabs blanks, and drops the one at the end, as
// uname(3) does.
func oneLine(s string) string {
	s = strings.TrimSuffix(s, "\n")
	return strings.NewReplacer("\n", " ", "\t", " ").Replace(s)
}
