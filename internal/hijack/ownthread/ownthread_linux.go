// Package ownthread runs functions on threads that change what they share with the process: namespaces, the table of
// descriptors.
package ownthread

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// Go runs a function on a thread on which nothing else runs, and that ends with it. It is not the process's first
// thread, which never ends before the process, and whose are what /proc/self shows.
func Go(f func()) {
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() != unix.Getpid() {
			f()
			return // the thread ends with a goroutine that has it locked
		}
		// As long as this one is held another is not it.
		begun := make(chan struct{})
		go func() {
			runtime.LockOSThread()
			close(begun)
			f()
		}()
		<-begun
		runtime.UnlockOSThread()
	}()
}
