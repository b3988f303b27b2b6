//go:build amd64 || arm64

package hijack

import (
	"fmt"
	"os"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// A tracer that has seized a thread, as strace(1) does, can ask it to stop without a signal
// (PTRACE_INTERRUPT), and to stop it is the only way to let go of it. A thread that waits for its
// answer does not stop, and nothing in its status says that it is to. But its tracer waits for this
// thread and no other then, which is to be seen. A signal that does nothing has the call end, and made
// again: who is traced has also those pending that are ignored.

// stopSignal is that signal: by default it is ignored, and who has a handler for it, as programs in Go
// have, must expect it at any time.
const stopSignal = unix.SIGURG

// traced is what is known of a thread's tracer.
type traced struct {
	tracer int
	// helped tells that the thread was sent a signal for it. One that always waits for this thread
	// alone is not sent more than one.
	helped bool
}

// maxTraced is of how many threads that is kept.
const maxTraced = 512

// stopFor has the call of a thread that is traced end if the tracer waits for that.
func (ws *waits) stopFor(w *wait, tgid, tracer int, blocked uint64) {
	tid := int(w.t.TID)
	known := ws.traced[tid]
	if known.tracer != tracer {
		known = traced{tracer: tracer}
	}
	if !awaits(tracer, tid) {
		known.helped = false
	} else if !known.helped && blocked&(1<<(stopSignal-1)) == 0 {
		known.helped = unix.Tgkill(tgid, tid, stopSignal) == nil
	}
	if len(ws.traced) >= maxTraced {
		clear(ws.traced)
	}
	ws.traced[tid] = known
}

// awaits tells whether a thread waits for one child, or thread that it traces, and no other.
func awaits(tid, child int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/syscall", tid))
	if err != nil {
		return false // somebody else's
	}
	var nr int
	var args [2]uint64
	if n, _ := fmt.Sscanf(string(b), "%d %v %v", &nr, &args[0], &args[1]); n != 3 {
		return false // it runs
	}
	switch nr {
	case unix.SYS_WAIT4:
		return uint32(args[0]) == uint32(child)
	case unix.SYS_WAITID:
		return uint32(args[0]) == unix.P_PID && uint32(args[1]) == uint32(child)
	}
	return false
}

// spareThreads is how many threads a supervisor has at least that is traced itself; it seldom needs more.
const spareThreads = 32

// makeThreads has this process have so many threads more, which the runtime keeps for later, if it is traced. Who traces a
// supervisor and its programs, as "strace -f rumpctl exec" does, lets go of them in the order in which they began: those
// threads of the supervisor that began after a program would wait for the tracer while that waits for the program, and this
// for them.
func makeThreads(n int) {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return
	}
	if tracer, err := statusNumber(b, "TracerPid:", 10); err != nil || tracer == 0 {
		return
	}
	var begun, ended sync.WaitGroup
	begun.Add(n)
	all := make(chan struct{})
	for range n {
		ended.Go(func() {
			// As long as this one is held no other goroutine has it.
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			begun.Done()
			<-all
		})
	}
	begun.Wait()
	close(all)
	ended.Wait()
}
