// Package early is how a copy of the supervisor's own program becomes another process than that (packages stage and
// factory): a variable in its environment says so, before most packages are initialized. It imports no more than they do,
// for they are to come before package time and all that uses it.
package early

import (
	"runtime"
	"strconv"
	"syscall"
)

// Said tells whether the environment has a variable: the number of a descriptor, and what may follow after a colon. The
// variable is gone then, and the caller's thread its own, for what such a process does is often a thread's. A process of
// which the variable says something else ends; what names it for the user.
func Said(env, what string) (fd int, more string, ok bool) {
	said, ok := syscall.Getenv(env)
	if !ok {
		return -1, "", false
	}
	syscall.Unsetenv(env)
	runtime.LockOSThread()
	number := said
	for i := range said {
		if said[i] == ':' {
			number, more = said[:i], said[i+1:]
			break
		}
	}
	fd, err := strconv.Atoi(number)
	if err != nil {
		syscall.Write(2, []byte(env+"="+said+": no "+what+"\n"))
		syscall.Exit(126)
	}
	return fd, more, true
}
