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

// sysUmask keeps a mask that no file is made with.
func sysUmask(c *Call) (uint64, error) {
	mask := c.args.Int() & 0o777
	return uint64(c.Proc.umask.Swap(mask)), nil
}

// rlimits is how many limits a process has (RLIM_NLIMITS).
const rlimits = netbsd.RLIMIT_NTHR + 1

// sysGetrlimit: nothing but the descriptors is limited.
func sysGetrlimit(c *Call) (uint64, error) {
	which, addr := c.args.Int(), c.args.Ptr()
	if which < 0 || which >= rlimits {
		return 0, netbsd.EINVAL
	}
	lim := netbsd.Rlimit{Cur: netbsd.RLIM_INFINITY, Max: netbsd.RLIM_INFINITY}
	if which == netbsd.RLIMIT_NOFILE {
		lim = netbsd.Rlimit{Cur: maxFiles, Max: maxFiles}
	}
	return 0, c.copyOutStruct(addr, &lim)
}

// sysSetrlimit takes every limit and keeps none.
func sysSetrlimit(c *Call) (uint64, error) {
	which, addr := c.args.Int(), c.args.Ptr()
	var lim netbsd.Rlimit
	if err := c.copyInStruct(addr, &lim); err != nil {
		return 0, err
	}
	if which < 0 || which >= rlimits || lim.Cur > lim.Max {
		return 0, netbsd.EINVAL
	}
	return 0, nil
}

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
	now, err := c.clock(id)
	if err != nil {
		return 0, err
	}
	ts := timespec(now)
	return 0, c.copyOutStruct(tp, &ts)
}

// clock is what a clock shows.
func (c *Call) clock(id int32) (time.Duration, error) {
	switch id {
	case clockRealtime:
		return time.Duration(time.Now().UnixNano()), nil
	case clockMonotonic:
		return c.k.Uptime(), nil
	}
	return 0, netbsd.EINVAL
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

// durationFunc reads a time limit of the caller's.
type durationFunc func(c *Call, addr uint64) (time.Duration, error)

// duration reads a timespec, and oldDuration one as it was before NetBSD 6.
func (c *Call) duration(addr uint64) (time.Duration, error) {
	var ts netbsd.Timespec
	if err := c.copyInStruct(addr, &ts); err != nil {
		return 0, err
	}
	return makeDuration(ts.Sec, int64(ts.Nsec), time.Nanosecond)
}

func (c *Call) oldDuration(addr uint64) (time.Duration, error) {
	var ts netbsd.Timespec50
	if err := c.copyInStruct(addr, &ts); err != nil {
		return 0, err
	}
	return makeDuration(int64(ts.Sec), int64(ts.Nsec), time.Nanosecond)
}

// microDuration reads a timeval, and oldMicroDuration one as it was before
// NetBSD 6.
func (c *Call) microDuration(addr uint64) (time.Duration, error) {
	var tv netbsd.Timeval
	if err := c.copyInStruct(addr, &tv); err != nil {
		return 0, err
	}
	return makeDuration(tv.Sec, int64(tv.Usec), time.Microsecond)
}

func (c *Call) oldMicroDuration(addr uint64) (time.Duration, error) {
	var tv netbsd.Timeval50
	if err := c.copyInStruct(addr, &tv); err != nil {
		return 0, err
	}
	return makeDuration(int64(tv.Sec), int64(tv.Usec), time.Microsecond)
}

func makeDuration(sec, frac int64, unit time.Duration) (time.Duration, error) {
	if sec < 0 || frac < 0 || frac >= int64(time.Second/unit) {
		return 0, netbsd.EINVAL
	}
	return time.Duration(min(sec, maxSeconds))*time.Second + time.Duration(frac)*unit, nil
}

func sysNanosleep(c *Call) (uint64, error) {
	rqtp, rmtp := c.args.Ptr(), c.args.Ptr()
	d, err := c.duration(rqtp)
	if err != nil {
		return 0, err
	}
	return c.sleep(d, rmtp)
}

// sysClockNanosleep gives its error as its result, too: it has no errno.
func sysClockNanosleep(c *Call) (uint64, error) {
	id, flags := c.args.Int(), c.args.Int()
	rqtp, rmtp := c.args.Ptr(), c.args.Ptr()
	d, err := c.duration(rqtp)
	if err != nil {
		return 0, err
	}
	now, err := c.clock(id)
	if err != nil {
		return 0, err
	}
	if flags&netbsd.TIMER_ABSTIME != 0 {
		d, rmtp = max(0, d-now), 0
	}
	return c.sleep(d, rmtp)
}

// sleep waits for d; when it is interrupted it tells what is left of it.
func (c *Call) sleep(d time.Duration, rmtp uint64) (uint64, error) {
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
