package kernel

import (
	"time"

	"rumptools/pkg/netbsd"
)

func sysGetpid(c *Call) (uint64, error) {
	c.ret1 = initPID
	return uint64(c.Proc.PID), nil
}

func sysGetppid(c *Call) (uint64, error) { return initPID, nil }

// sysRoot answers questions for identity: everybody who connects is root, and
// nobody's identity was ever changed.
func sysRoot(c *Call) (uint64, error) { return 0, nil }

// sysSetID is setuid(2) and its kin. A process may give up being root, for all
// that it is worth: nothing here asks for it afterwards.
func sysSetID(c *Call) (uint64, error) { return 0, nil }

func sysReboot(c *Call) (uint64, error) {
	howto := c.args.Int()
	c.after = func() { c.k.Halt(howto&netbsd.RB_HALT == 0) }
	return 0, nil
}

func sysGettimeofday(c *Call) (uint64, error) {
	tp, tzp := c.args.Ptr(), c.args.Ptr()
	if tp != 0 {
		now := time.Now()
		tv := netbsd.Timeval{Sec: now.Unix(), Usec: int32(now.Nanosecond() / 1000)}
		if err := c.copyOutStruct(tp, &tv); err != nil {
			return 0, err
		}
	}
	if tzp != 0 {
		return 0, c.CopyOut(tzp, make([]byte, 8))
	}
	return 0, nil
}

// The clocks (sys/time.h).
const (
	clockRealtime  = 0
	clockVirtual   = 1
	clockProf      = 2
	clockMonotonic = 3
)

func sysClockGettime(c *Call) (uint64, error) {
	id, tp := c.args.Int(), c.args.Ptr()
	var ts netbsd.Timespec
	switch id {
	case clockRealtime:
		now := time.Now()
		ts = netbsd.Timespec{Sec: now.Unix(), Nsec: netbsd.Long(now.Nanosecond())}
	case clockMonotonic:
		ts = timespec(c.k.Uptime())
	default:
		return 0, netbsd.EINVAL
	}
	return 0, c.copyOutStruct(tp, &ts)
}

func sysClockGetres(c *Call) (uint64, error) {
	id, tp := c.args.Int(), c.args.Ptr()
	if id < clockRealtime || id > clockMonotonic {
		return 0, netbsd.EINVAL
	}
	if tp == 0 {
		return 0, nil
	}
	ts := netbsd.Timespec{Nsec: 1}
	return 0, c.copyOutStruct(tp, &ts)
}

func timespec(d time.Duration) netbsd.Timespec {
	return netbsd.Timespec{Sec: int64(d / time.Second), Nsec: netbsd.Long(d % time.Second)}
}

// maxSeconds is what a time.Duration holds, with room to add.
const maxSeconds = int64(1 << 32)

// duration reads a timespec of the caller's.
func (c *Call) duration(addr uint64) (time.Duration, error) {
	var ts netbsd.Timespec
	if err := c.copyInStruct(addr, &ts); err != nil {
		return 0, err
	}
	if ts.Sec < 0 || ts.Nsec < 0 || ts.Nsec >= 1e9 {
		return 0, netbsd.EINVAL
	}
	return time.Duration(min(ts.Sec, maxSeconds))*time.Second + time.Duration(ts.Nsec), nil
}

func sysNanosleep(c *Call) (uint64, error) {
	rqtp, rmtp := c.args.Ptr(), c.args.Ptr()
	d, err := c.duration(rqtp)
	if err != nil {
		return 0, err
	}
	c.handOver()
	start := time.Now()
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return 0, nil
	case <-c.ctx.Done():
	}
	if rmtp != 0 {
		left := timespec(max(0, d-time.Since(start)))
		if err := c.copyOutStruct(rmtp, &left); err != nil {
			return 0, err
		}
	}
	return 0, netbsd.EINTR
}
