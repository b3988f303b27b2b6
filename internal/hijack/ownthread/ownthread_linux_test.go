package ownthread

import (
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What a thread changes of its own is nobody else's, and the thread ends.
func TestGo(t *testing.T) {
	// One of them asks from the first thread, if there are as many as this.
	for range 100 {
		runtime.Gosched()
		tids := make(chan int, 1)
		Go(func() {
			if err := unix.Unshare(unix.CLONE_FILES); err != nil {
				t.Error(err)
			}
			tids <- unix.Gettid()
		})
		tid := <-tids
		if tid == unix.Getpid() {
			t.Fatal("it is the first thread")
		}
		task := filepath.Join("/proc/self/task", strconv.Itoa(tid))
		for end := time.Now().Add(10 * time.Second); ; {
			if _, err := os.Stat(task); os.IsNotExist(err) {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("thread %d does not end", tid)
			}
			time.Sleep(100 * time.Microsecond)
		}
	}
}
