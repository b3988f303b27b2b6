//go:build amd64 || arm64

package hijack

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/linuxsock"
	"rumptools/pkg/spclient"
	"rumptools/pkg/spclient/spclienttest"
	"rumptools/pkg/sysproxy"
)

// lends is an S whose loans a test makes.
type lends struct {
	standIn
	k    *kept
	lent func(told func(spclient.LoanEnd))
}

func (l lends) sendingEnd() *kept { return l.k }

func (l lends) lend(_ *spclient.NetSocket, _ *kept, told func(spclient.LoanEnd)) error {
	l.lent(told)
	return nil
}

// TestLendTellsErrors: a program that asks for a queue of errors while its socket is being lent has no loan then, whose datagrams
// nobody here knows.
func TestLendTellsErrors(t *testing.T) {
	conn := scripted(t, func(call *spclienttest.Call) { call.Reply(3, 0) })
	sup := &supervisor{ctx: t.Context(), conn: conn, machine: conn.Machine(), say: t.Logf}
	x := &socket{s: sup, opts: &linuxsock.Socket{Domain: unix.AF_INET, Type: unix.SOCK_DGRAM, Protocol: unix.IPPROTO_UDP}}
	ks, e := x.kernel()
	if e != 0 {
		t.Fatal(e)
	}
	defer ks.Close()
	done := make(chan struct{})
	var ends func(spclient.LoanEnd)
	x.standIn = lends{k: &kept{closed: true}, lent: func(told func(spclient.LoanEnd)) {
		ends = told
		e := x.withOptions(false, func(fd spclient.FD) unix.Errno {
			return x.opts.Set(t.Context(), conn, fd, -1, unix.IPPROTO_IP, unix.IP_RECVERR, []byte{1, 0, 0, 0})
		})
		if e != 0 {
			t.Error(e)
		}
		go func() {
			defer close(done)
			x.tellsErrors()
		}()
		select {
		case <-done: // it is too early for that
		case <-time.After(50 * time.Millisecond):
		}
	}}
	x.lendDatagrams(ks)
	ends(spclient.LoanEnd{How: sysproxy.LoanRevoked})
	<-done
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.lending.never {
		t.Error("it is lent still")
	}
}
