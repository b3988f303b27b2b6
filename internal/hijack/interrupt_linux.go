//go:build amd64 || arm64

package hijack

import (
	"bytes"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/ownthread"
	"rumptools/internal/hijack/seccomp"
)

// round is what is known of processes while calls are looked at.
type round struct {
	told    map[int]bool // one of its threads has been told of a signal, which is for one only
	stopped map[int]bool // whether its first thread is
}

// isStopped tells whether a process is being stopped.
func (r round) isStopped(pid int) bool {
	is, known := r.stopped[pid]
	if !known {
		is = stopped(pid)
		r.stopped[pid] = is
	}
	return is
}

// lookAt ends a call that a signal waits for, or whose thread has gone.
func (ws *waits) lookAt(w *wait, buf []byte, seen round) {
	tid := w.t.TID
	ws.mu.Lock()
	if w.over {
		ws.mu.Unlock()
		return
	}
	var err error
	if w.status < 0 {
		w.status, err = unix.Open("/proc/"+strconv.Itoa(int(tid))+"/status", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	}
	n := 0
	if err == nil {
		n, err = unix.Pread(w.status, buf, 0)
	}
	ws.mu.Unlock()
	if isShort(err) {
		return // nothing is known of it
	}
	if err != nil || n == 0 {
		ws.abandon(w)
		return
	}
	b := buf[:n]
	private, _ := statusBits(b, "SigPnd:", 16)
	shared, _ := statusBits(b, "ShdPnd:", 16)
	blocked, _ := statusBits(b, "SigBlk:", 16)
	tgid, _ := statusNumber(b, "Tgid:", 10)
	threads, _ := statusNumber(b, "Threads:", 10)
	switch {
	case private&^blocked != 0:
		ws.interrupt(w, seccomp.Restart)
	case threads > 1 && tgid != int(tid) && seen.isStopped(tgid):
		// The process stops when all its threads do: this one, too, and goes on with its
		// call afterwards.
		ws.interrupt(w, seccomp.Restart)
	case shared&^blocked == 0:
		w.pending = time.Time{}
		if tracer, _ := statusNumber(b, "TracerPid:", 10); tracer != 0 {
			ws.stopFor(w, tgid, tracer, blocked)
		}
	case w.pending.IsZero():
		// It may just be taken, by whomever the kernel has given it to.
		w.pending = time.Now()
	case threads == 1:
		ws.interrupt(w, seccomp.Restart)
	case seen.told[tgid]:
	case tgid == int(tid) || time.Since(w.pending) > firstThreadTime || !firstTakes(tgid, shared):
		seen.told[tgid] = true
		ws.handOver(w)
	}
}

// firstTakes tells whether the first thread of a process can take one of the signals.
func firstTakes(pid int, signals uint64) bool {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil || bytes.Contains(b, []byte("\nState:\tZ")) {
		return false
	}
	blocked, err := statusBits(b, "SigBlk:", 16)
	return err == nil && signals&^blocked != 0
}

// handOver has a thread take a signal of its process. The kernel has given it to one that
// wants it, which then looks for signals when its call ends; which one is not to be seen,
// and any other would return Restart to the program as an error.
func (ws *waits) handOver(w *wait) {
	ws.mu.Lock()
	if w.over || w.busy {
		ws.mu.Unlock()
		return
	}
	w.busy = true // nobody else answers meanwhile
	ws.mu.Unlock()
	e := seccomp.Restart
	if err := nudge(int(w.t.TID)); err != nil {
		// Perhaps somebody else traces it.
		ws.s.say("%d: a signal: ptrace: %v", w.t.TID, err)
		if tgid, err := processOf(w.t.TID); err != nil || tgid != int(w.t.TID) {
			e = unix.EINTR
		}
	}
	ws.mu.Lock()
	w.busy = false
	ws.remove(w)
	ws.mu.Unlock()
	w.fails(e)
}

// nudge has a thread look for signals when its call ends. A tracer's wish that it stops
// does that, and it stays so when the tracer has gone, before the thread has seen it.
func nudge(tid int) error {
	done := make(chan error)
	// The tracing ends with the thread.
	ownthread.Go(func() {
		err := unix.PtraceSeize(tid)
		if err == nil {
			err = unix.PtraceInterrupt(tid)
		}
		done <- err
	})
	if err := <-done; err != nil {
		return err
	}
	// If it stopped, it would seem to be a child that does, to reap.
	for range 1000 {
		b, err := os.ReadFile("/proc/" + strconv.Itoa(tid) + "/status")
		if err != nil {
			break
		}
		if tracer, _ := statusNumber(b, "TracerPid:", 10); tracer == 0 {
			break
		}
		time.Sleep(50 * time.Microsecond)
	}
	return nil
}

// interrupt answers a call that a signal has come for.
func (ws *waits) interrupt(w *wait, e unix.Errno) {
	if _, ok := ws.end(w); ok {
		w.fails(e)
	}
}

// fails answers a call that has been taken out, as a signal has come.
func (w *wait) fails(e unix.Errno) {
	if e == seccomp.Restart && w.timer != nil {
		// Linux does not make a call again that has a timeout of its socket's, whatever
		// the handler says: it would wait for all of its time again (signal(7)).
		e = unix.EINTR
	}
	if w.interrupted != nil {
		w.interrupted(e, w.fd)
	} else {
		w.t.fail(e)
	}
	unix.Close(w.fd)
}
