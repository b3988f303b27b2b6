package netbsd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"testing"
)

func TestErrno(t *testing.T) {
	for _, tt := range []struct {
		err        Errno
		name, text string
	}{
		{1, "EPERM", "Operation not permitted"},
		{2, "ENOENT", "No such file or directory"},
		{6, "ENXIO", "Device not configured"},
		{35, "EAGAIN", "Resource temporarily unavailable"},
		{48, "EADDRINUSE", "Address already in use"},
		{49, "EADDRNOTAVAIL", "Can't assign requested address"},
		{60, "ETIMEDOUT", "Operation timed out"},
		{65, "EHOSTUNREACH", "No route to host"},
		{78, "ENOSYS", "Function not implemented"},
		{96, "EPROTO", "Protocol error"},
		{0, "0", "Undefined error: 0"},
		{97, "97", "Unknown error: 97"},
		{1<<32 - 1, "4294967295", "Unknown error: 4294967295"},
	} {
		if got := tt.err.Name(); got != tt.name {
			t.Errorf("%d: name %q, want %q", uint32(tt.err), got, tt.name)
		}
		if got := tt.err.Error(); got != tt.text {
			t.Errorf("%d: text %q, want %q", uint32(tt.err), got, tt.text)
		}
		if e, ok := ErrnoByName(tt.name); ok != (tt.err > 0 && tt.err <= ELAST) || ok && e != tt.err {
			t.Errorf("%s: %d, %t", tt.name, uint32(e), ok)
		}
	}
	if EWOULDBLOCK != EAGAIN || ELAST != 96 {
		t.Error("EWOULDBLOCK or ELAST is wrong")
	}
}

func TestErrnoIs(t *testing.T) {
	for _, tt := range []struct {
		err    Errno
		target error
		want   bool
	}{
		{ENOENT, fs.ErrNotExist, true},
		{EEXIST, fs.ErrExist, true},
		{ENOTEMPTY, fs.ErrExist, true},
		{EACCES, fs.ErrPermission, true},
		{EPERM, fs.ErrPermission, true},
		{EPERM, fs.ErrNotExist, false},
		{ENOSYS, errors.ErrUnsupported, true},
		{EOPNOTSUPP, errors.ErrUnsupported, true},
		{ETIMEDOUT, os.ErrDeadlineExceeded, true},
		{EAGAIN, os.ErrDeadlineExceeded, false},
		{ECONNREFUSED, syscall.ECONNREFUSED, true},
		{EAGAIN, syscall.EAGAIN, true},
		{ENETUNREACH, syscall.EHOSTUNREACH, false},
		{EFTYPE, syscall.EINVAL, false}, // the nearest is not the same
		{EBADRPC, syscall.Errno(0), false},
		{Errno(1000), syscall.EIO, false},
		{ENXIO, ENXIO, true},
		{ENXIO, EIO, false},
	} {
		err := fmt.Errorf("ioctl: %w", tt.err)
		if got := errors.Is(err, tt.target); got != tt.want {
			t.Errorf("errors.Is(%s, %v) = %t", tt.err.Name(), tt.target, got)
		}
	}
}

func TestErrnoTimeout(t *testing.T) {
	for e := Errno(1); e <= ELAST; e++ {
		if got, want := e.Timeout(), e == EAGAIN || e == ETIMEDOUT; got != want {
			t.Errorf("%s: timeout %t", e.Name(), got)
		}
		// The host's numbers of the same names answer the same.
		if host := toHost[e]; host != 0 {
			if got, want := e.Temporary(), host.Temporary(); got != want {
				t.Errorf("%s: temporary %t, host %t", e.Name(), got, want)
			}
			if got, want := e.Timeout(), host.Timeout(); got != want {
				t.Errorf("%s: timeout %t, host %t", e.Name(), got, want)
			}
		}
	}
}

func TestErrnoHost(t *testing.T) {
	for e := Errno(1); e <= ELAST; e++ {
		host := e.Host()
		if host == 0 {
			t.Errorf("%s has no number on the host", e.Name())
		}
		if toHost[e] == 0 {
			continue
		}
		// There and back, unless the host has one number for two.
		if back := FromHost(host); back != e && toHost[back] != host {
			t.Errorf("%s: %d on the host, which is %s", e.Name(), host, back.Name())
		}
	}
	for host, want := range map[syscall.Errno]Errno{
		0:                    0,
		syscall.ENOENT:       ENOENT,
		syscall.EAGAIN:       EAGAIN,
		syscall.ECONNREFUSED: ECONNREFUSED,
		syscall.EOPNOTSUPP:   EOPNOTSUPP,
		syscall.ENOTEMPTY:    ENOTEMPTY,
		syscall.EADDRINUSE:   EADDRINUSE,
		99999:                EIO,
	} {
		if got := FromHost(host); got != want {
			t.Errorf("host's %d: %s, want %s", host, got.Name(), want.Name())
		}
	}
	if Errno(0).Host() != 0 || Errno(500).Host() != syscall.EIO {
		t.Error("numbers outside of the table")
	}
}

func TestSignals(t *testing.T) {
	for s, want := range map[Signal]string{
		1: "SIGHUP", 2: "SIGINT", 13: "SIGPIPE", 20: "SIGCHLD", 23: "SIGIO",
		29: "SIGINFO", 30: "SIGUSR1", 32: "SIGPWR", 0: "signal 0", 33: "signal 33", -1: "signal -1",
	} {
		if got := s.Name(); got != want {
			t.Errorf("%d: %q, want %q", int(s), got, want)
		}
	}
	for name, want := range map[string]Signal{"SIGIO": SIGIO, "TERM": SIGTERM, "": 0, "SIG": 0, "SIGFOO": 0} {
		if got, ok := SignalByName(name); got != want || ok != (want != 0) {
			t.Errorf("%q: %v, %t", name, got, ok)
		}
	}
	for s := SIGHUP; s <= SIGPWR; s++ {
		host, ok := s.Host()
		if !ok {
			if s != SIGEMT && s != SIGINFO && s != SIGPWR {
				t.Errorf("%s is not on the host", s)
			}
			continue
		}
		if back, ok := SignalFromHost(host); back != s || !ok {
			t.Errorf("%s: %v on the host, which is %s", s, host, back)
		}
	}
	if host, ok := SIGUSR1.Host(); host != syscall.SIGUSR1 || !ok {
		t.Errorf("SIGUSR1 is %v", host)
	}
	if s, ok := SignalFromHost(syscall.Signal(63)); ok {
		t.Errorf("the host's signal 63 is %s", s)
	}
}
