package netbsd

import "time"

// Timeval is struct timeval (<sys/time.h>): seconds are 64 bits wide on every
// machine, microseconds an int.
type Timeval struct {
	Sec  int64 `abi:"tv_sec"`
	Usec int32 `abi:"tv_usec"`
}

// Timespec is struct timespec: seconds are 64 bits wide on every machine,
// nanoseconds a long.
type Timespec struct {
	Sec  int64 `abi:"tv_sec"`
	Nsec Long  `abi:"tv_nsec"`
}

// Timeval50 is the struct timeval of the calls before NetBSD 6 (compat_50):
// both members are long.
type Timeval50 struct {
	Sec  Long `abi:"tv_sec"`
	Usec Long `abi:"tv_usec"`
}

// Timespec50 is the struct timespec of the calls before NetBSD 6.
type Timespec50 struct {
	Sec  Long `abi:"tv_sec"`
	Nsec Long `abi:"tv_nsec"`
}

// Itimerval is struct itimerval, of setitimer(2).
type Itimerval struct {
	Interval Timeval `abi:"it_interval"`
	Value    Timeval `abi:"it_value"`
}

// Itimerspec is struct itimerspec, of timer_settime(2).
type Itimerspec struct {
	Interval Timespec `abi:"it_interval"`
	Value    Timespec `abi:"it_value"`
}

// NewTimeval splits a duration into whole seconds and microseconds, rounding
// down, so that the microseconds are never negative.
func NewTimeval(d time.Duration) Timeval {
	sec, nsec := splitDuration(d)
	return Timeval{Sec: sec, Usec: int32(nsec / 1000)}
}

// NewTimespec splits a duration into whole seconds and nanoseconds, rounding
// down.
func NewTimespec(d time.Duration) Timespec {
	sec, nsec := splitDuration(d)
	return Timespec{Sec: sec, Nsec: Long(nsec)}
}

func splitDuration(d time.Duration) (sec, nsec int64) {
	sec, nsec = int64(d/time.Second), int64(d%time.Second)
	if nsec < 0 {
		sec, nsec = sec-1, nsec+int64(time.Second)
	}
	return sec, nsec
}

// maxDurationSec is the number of whole seconds that a time.Duration holds.
const maxDurationSec = int64(1<<63-1) / int64(time.Second)

func joinDuration(sec, nsec int64) time.Duration {
	switch {
	case sec > maxDurationSec-1:
		return 1<<63 - 1
	case sec < -maxDurationSec+1:
		return -1 << 63
	}
	return time.Duration(sec)*time.Second + time.Duration(nsec)
}

// Duration returns the time as a duration, the nearest representable one when
// it does not fit (292 years).
func (t Timeval) Duration() time.Duration { return joinDuration(t.Sec, int64(t.Usec)*1000) }

// Duration returns the time as a duration, the nearest representable one when
// it does not fit (292 years).
func (t Timespec) Duration() time.Duration { return joinDuration(t.Sec, int64(t.Nsec)) }

// Time returns the time as one since 1970.
func (t Timeval) Time() time.Time { return time.Unix(t.Sec, int64(t.Usec)*1000) }

// Time returns the time as one since 1970.
func (t Timespec) Time() time.Time { return time.Unix(t.Sec, int64(t.Nsec)) }

// TimevalAt returns a point in time as seconds and microseconds since 1970.
func TimevalAt(t time.Time) Timeval {
	return Timeval{Sec: t.Unix(), Usec: int32(t.Nanosecond() / 1000)}
}

// TimespecAt returns a point in time as seconds and nanoseconds since 1970.
func TimespecAt(t time.Time) Timespec {
	return Timespec{Sec: t.Unix(), Nsec: Long(t.Nanosecond())}
}

// Rusage is struct rusage (<sys/resource.h>).
type Rusage struct {
	Utime    Timeval `abi:"ru_utime"`
	Stime    Timeval `abi:"ru_stime"`
	Maxrss   Long    `abi:"ru_maxrss"`
	Ixrss    Long    `abi:"ru_ixrss"`
	Idrss    Long    `abi:"ru_idrss"`
	Isrss    Long    `abi:"ru_isrss"`
	Minflt   Long    `abi:"ru_minflt"`
	Majflt   Long    `abi:"ru_majflt"`
	Nswap    Long    `abi:"ru_nswap"`
	Inblock  Long    `abi:"ru_inblock"`
	Oublock  Long    `abi:"ru_oublock"`
	Msgsnd   Long    `abi:"ru_msgsnd"`
	Msgrcv   Long    `abi:"ru_msgrcv"`
	Nsignals Long    `abi:"ru_nsignals"`
	Nvcsw    Long    `abi:"ru_nvcsw"`
	Nivcsw   Long    `abi:"ru_nivcsw"`
}

// Rlimit is struct rlimit (<sys/resource.h>).
type Rlimit struct {
	Cur uint64 `abi:"rlim_cur"`
	Max uint64 `abi:"rlim_max"`
}

// RLIM_INFINITY is the limit that is none.
const RLIM_INFINITY = 1<<63 - 1
