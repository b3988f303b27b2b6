package netbsd

import (
	"strconv"
	"syscall"
)

// Signal is a NetBSD signal number, whatever the host's numbers are.
type Signal int

// Signals (<sys/signal.h>).
const (
	SIGHUP    Signal = 1
	SIGINT    Signal = 2
	SIGQUIT   Signal = 3
	SIGILL    Signal = 4
	SIGTRAP   Signal = 5
	SIGABRT   Signal = 6
	SIGEMT    Signal = 7
	SIGFPE    Signal = 8
	SIGKILL   Signal = 9
	SIGBUS    Signal = 10
	SIGSEGV   Signal = 11
	SIGSYS    Signal = 12
	SIGPIPE   Signal = 13
	SIGALRM   Signal = 14
	SIGTERM   Signal = 15
	SIGURG    Signal = 16
	SIGSTOP   Signal = 17
	SIGTSTP   Signal = 18
	SIGCONT   Signal = 19
	SIGCHLD   Signal = 20
	SIGTTIN   Signal = 21
	SIGTTOU   Signal = 22
	SIGIO     Signal = 23
	SIGXCPU   Signal = 24
	SIGXFSZ   Signal = 25
	SIGVTALRM Signal = 26
	SIGPROF   Signal = 27
	SIGWINCH  Signal = 28
	SIGINFO   Signal = 29
	SIGUSR1   Signal = 30
	SIGUSR2   Signal = 31
	SIGPWR    Signal = 32
)

// NSIG is one more than the largest signal number.
const NSIG = 64

var signalNames = [...]string{
	SIGHUP: "SIGHUP", SIGINT: "SIGINT", SIGQUIT: "SIGQUIT", SIGILL: "SIGILL",
	SIGTRAP: "SIGTRAP", SIGABRT: "SIGABRT", SIGEMT: "SIGEMT", SIGFPE: "SIGFPE",
	SIGKILL: "SIGKILL", SIGBUS: "SIGBUS", SIGSEGV: "SIGSEGV", SIGSYS: "SIGSYS",
	SIGPIPE: "SIGPIPE", SIGALRM: "SIGALRM", SIGTERM: "SIGTERM", SIGURG: "SIGURG",
	SIGSTOP: "SIGSTOP", SIGTSTP: "SIGTSTP", SIGCONT: "SIGCONT", SIGCHLD: "SIGCHLD",
	SIGTTIN: "SIGTTIN", SIGTTOU: "SIGTTOU", SIGIO: "SIGIO", SIGXCPU: "SIGXCPU",
	SIGXFSZ: "SIGXFSZ", SIGVTALRM: "SIGVTALRM", SIGPROF: "SIGPROF",
	SIGWINCH: "SIGWINCH", SIGINFO: "SIGINFO", SIGUSR1: "SIGUSR1",
	SIGUSR2: "SIGUSR2", SIGPWR: "SIGPWR",
}

// Name returns the signal's name, "SIGHUP", or "signal N" when it has none.
func (s Signal) Name() string {
	if s > 0 && int(s) < len(signalNames) {
		return signalNames[s]
	}
	return "signal " + strconv.Itoa(int(s))
}

// String returns the signal's name.
func (s Signal) String() string { return s.Name() }

// SignalByName finds a signal by its name, with or without SIG.
func SignalByName(name string) (Signal, bool) {
	for s := SIGHUP; int(s) < len(signalNames); s++ {
		if n := signalNames[s]; n == name || n[3:] == name {
			return s, true
		}
	}
	return 0, false
}

// Host returns the host's number of the signal, by its name; false when the
// host has no such signal.
func (s Signal) Host() (syscall.Signal, bool) {
	for _, p := range [2][]hostSignal{hostSignals[:], moreHostSignals[:]} {
		for _, p := range p {
			if p.netbsd == s {
				return p.host, true
			}
		}
	}
	return 0, false
}

// SignalFromHost returns NetBSD's number of a host's signal, by its name;
// false when NetBSD has no such signal.
func SignalFromHost(host syscall.Signal) (Signal, bool) {
	for _, p := range [2][]hostSignal{hostSignals[:], moreHostSignals[:]} {
		for _, p := range p {
			if p.host == host {
				return p.netbsd, true
			}
		}
	}
	return 0, false
}

type hostSignal struct {
	netbsd Signal
	host   syscall.Signal
}
