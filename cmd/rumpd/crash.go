package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"syscall"

	"rumptools/pkg/sysproxy"
)

// A kernel in the background has no terminal for its last words when it fails.
// They go to a file beside its socket, which is empty while all is well and
// goes with the kernel. Words of one before are kept.

// crashPath is where the last words of a kernel at a URL go.
func crashPath(url string) string {
	if u, err := sysproxy.ParseURL(url); err == nil && u.Network == "unix" {
		return u.Address + ".crash"
	}
	return filepath.Join(os.TempDir(), fmt.Sprintf("rumpd.%d.crash", os.Getpid()))
}

// catchCrash has the runtime write to the file what it says when the process
// fails. The kernel serves without as well, so only the file's name is lost
// when that is not possible. end removes the file if it is empty.
func catchCrash(path string) (end func(), err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return func() {}, err
	}
	defer f.Close()
	if err := debug.SetCrashOutput(f, debug.CrashOptions{}); err != nil {
		return func() {}, err
	}
	return func() {
		if st, err := os.Lstat(path); err == nil && st.Size() == 0 && st.Mode().IsRegular() {
			if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return
			}
		}
	}, nil
}
