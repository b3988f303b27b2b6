package signals

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The kernel's view: the program has a signalfd for the two signals, catches
// them, and leaves no mask behind for the programs it starts.
func TestSignalfd(t *testing.T) {
	c := startChild(t, "respect")
	proc := fmt.Sprintf("/proc/%d/", c.cmd.Process.Pid)
	fds, err := os.ReadDir(proc + "fdinfo")
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, fd := range fds {
		info, _ := os.ReadFile(proc + "fdinfo/" + fd.Name())
		found = found || strings.Contains(string(info), "sigmask:\t0000000000004002")
	}
	if !found {
		t.Error("the child has no signalfd for SIGINT and SIGTERM")
	}
	checkUnblocked(t, c.cmd.Process.Pid)
}

func TestAddSignal(t *testing.T) {
	var set unix.Sigset_t
	for _, sig := range []os.Signal{syscall.SIGHUP, syscall.SIGTERM, syscall.Signal(64)} {
		if err := addSignal(&set, sig); err != nil {
			t.Error(err)
		}
	}
	if set.Val[0]&0x7fff != 1<<0|1<<14 {
		t.Errorf("SIGHUP and SIGTERM are %#x", set.Val[0])
	}
	word := 8 * unsafe.Sizeof(set.Val[0])
	if last := set.Val[64/word-1]; last>>(word-1) != 1 {
		t.Errorf("signal 64 is %#x", last)
	}
	for _, sig := range []os.Signal{syscall.Signal(0), syscall.Signal(-1), syscall.Signal(100000), noSignal{}} {
		if addSignal(&set, sig) == nil {
			t.Errorf("%v is taken for a signal", sig)
		}
	}
}
