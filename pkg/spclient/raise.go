package spclient

import (
	"os"

	"rumptools/pkg/netbsd"
)

// RaiseSignal sends this process the host's signal for SIGPIPE, SIGIO and SIGURG, as
// NetBSD's client does. It is meant for [Options].OnRaise: a program that is to be
// told of them by os/signal. Other signals are dropped, for what a kernel raises
// must not be able to end its client; SIGSYS comes with the error ENOSYS, which
// says as much.
//
// In a Go program that has not asked for them with signal.Notify, these signals
// do nothing (see package os/signal).
func RaiseSignal(signo int32) {
	switch netbsd.Signal(signo) {
	case netbsd.SIGPIPE, netbsd.SIGIO, netbsd.SIGURG:
	default:
		return
	}
	sig, ok := netbsd.Signal(signo).Host()
	if !ok {
		return
	}
	if p, err := os.FindProcess(os.Getpid()); err == nil {
		p.Signal(sig)
	}
}
