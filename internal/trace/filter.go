package trace

import (
	"fmt"
	"slices"
	"strings"

	"rumptools/pkg/netbsd"
)

// Filter chooses calls.
type Filter struct {
	not     bool
	names   map[string]bool
	classes []func(*netbsd.SyscallInfo) bool
}

// ParseFilter reads an expression as strace's -e has it: "trace=" (which may be
// left out) and a list of names and classes with commas between, all others with
// a "!" before it. A name is a system call's, with or without the marks of its
// version (socket and __socket30), or handshake or prefork. "all" and "none" are
// what they say.
func ParseFilter(expr string) (*Filter, error) {
	list := expr
	if key, value, ok := strings.Cut(expr, "="); ok {
		if key != "trace" && key != "t" {
			return nil, fmt.Errorf("%s: only trace= is known", expr)
		}
		list = value
	}
	f := &Filter{names: make(map[string]bool)}
	list, f.not = strings.CutPrefix(list, "!")
	for _, word := range strings.Split(list, ",") {
		class, isClass := strings.CutPrefix(word, "%")
		switch {
		case word == "all":
			f.classes = append(f.classes, func(*netbsd.SyscallInfo) bool { return true })
			f.names["handshake"], f.names["prefork"], f.names["malformed"] = true, true, true
		case word == "none":
		case isClass:
			match, ok := classes[class]
			if !ok {
				return nil, fmt.Errorf("%s: no such class; there are %s", word, strings.Join(Classes(), ", "))
			}
			f.classes = append(f.classes, match)
			if class == "process" {
				f.names["handshake"], f.names["prefork"] = true, true
			}
		case word == "handshake", word == "prefork":
			f.names[word] = true
		case knownCall(word):
			f.names[word] = true
		default:
			return nil, fmt.Errorf("%q: no such system call", word)
		}
	}
	return f, nil
}

// Classes are the names of the classes that ParseFilter knows.
func Classes() []string {
	var names []string
	for name := range classes {
		names = append(names, "%"+name)
	}
	slices.Sort(names)
	return names
}

// match tells whether a call is chosen. A nil Filter chooses all.
func (f *Filter) match(c *call) bool {
	if f == nil {
		return true
	}
	return f.has(c) != f.not
}

func (f *Filter) has(c *call) bool {
	if c.kind != systemCall {
		return f.names[strings.ToLower(c.name)]
	}
	if f.names[c.name] || f.names[c.base()] {
		return true
	}
	info := c.info
	if info == nil {
		info = &netbsd.SyscallInfo{Name: c.name}
	}
	for _, match := range f.classes {
		if match(info) {
			return true
		}
	}
	return false
}

func knownCall(name string) bool {
	if _, ok := netbsd.SyscallByName(name); ok {
		return true
	}
	return callNames()[name]
}

// baseName is a system call's name without the marks of its version: "stat" for
// __stat50 and compat_30___stat13.
func baseName(name string) string {
	rest := name
	if after, ok := strings.CutPrefix(rest, "compat_"); ok {
		if i := strings.IndexByte(after, '_'); i > 0 {
			rest = after[i+1:]
		}
	}
	trimmed := strings.TrimLeft(rest, "_")
	if trimmed == "" || trimmed == rest && rest == name {
		return name
	}
	if cut := strings.TrimRight(trimmed, "0123456789"); cut != "" {
		return cut
	}
	return trimmed
}

// classes are strace's, as far as they mean something here.
var classes = map[string]func(*netbsd.SyscallInfo) bool{
	"network": isNetwork,
	"net":     isNetwork,
	"desc":    isDesc,
	"file":    isFile,
	"process": in("getpid", "getppid", "fork", "vfork", "execve", "exit", "wait", "kill", "getpgrp", "getpgid", "setpgid",
		"setsid", "getsid", "posix_spawn", "fexecve", "clone", "reboot"),
	"clock": in("clock_gettime", "clock_settime", "clock_getres", "gettimeofday", "settimeofday", "adjtime", "ntp_gettime", "ntp_adjtime"),
	"creds": in("getuid", "geteuid", "getgid", "getegid", "setuid", "seteuid", "setgid", "setegid", "setreuid", "setregid",
		"getgroups", "setgroups", "issetugid", "getlogin", "setlogin"),
	"signal": in("sigaction", "sigaction_sigtramp", "sigprocmask", "sigpending", "sigsuspend", "sigaltstack", "sigreturn",
		"sigtimedwait", "sigqueueinfo", "kill"),
	"ipc":    in("semget", "semop", "semctl", "msgget", "msgsnd", "msgrcv", "msgctl", "shmat", "shmdt", "shmget", "shmctl", "semconfig"),
	"memory": in("mmap", "munmap", "mprotect", "madvise", "mincore", "mlock", "munlock", "mlockall", "munlockall", "break", "msync", "minherit", "mremap"),
	"stat":   in("stat", "lstat", "fstat", "fstatat", "fhstat"),
	"statfs": in("statvfs1", "fstatvfs1", "getvfsstat", "fhstatvfs", "statfs", "fstatfs", "getfsstat"),
	"poll":   in("poll", "pollts", "select", "pselect", "kevent", "kqueue"),
	"sysctl": in("sysctl"),
	"ioctl":  in("ioctl"),
}

func in(names ...string) func(*netbsd.SyscallInfo) bool {
	set := make(map[string]bool)
	for _, n := range names {
		set[n] = true
	}
	return func(i *netbsd.SyscallInfo) bool { return set[baseName(i.Name)] || set[i.Name] }
}

var isNetwork = in("socket", "socketpair", "bind", "connect", "listen", "accept", "paccept", "shutdown", "getsockname",
	"getpeername", "getsockopt", "setsockopt", "sendto", "sendmsg", "sendmmsg", "recvfrom", "recvmsg", "recvmmsg",
	"osend", "orecv", "osendmsg", "orecvmsg", "orecvfrom", "oaccept", "ogetpeername", "ogetsockname")

// isDesc: calls that take descriptors, or make them.
func isDesc(i *netbsd.SyscallInfo) bool {
	for _, a := range i.Args {
		if a.Kind == netbsd.ArgFd {
			return true
		}
	}
	return makesDescriptors(i) || isPoll(i)
}

var isPoll = in("poll", "pollts", "select", "pselect")

var makesDescriptors = in("open", "socket", "socketpair", "pipe", "pipe2", "kqueue", "kqueue1", "fhopen", "mq_open")

// isFile: calls that take path names.
func isFile(i *netbsd.SyscallInfo) bool {
	for _, a := range i.Args {
		if a.Kind == netbsd.ArgPath {
			return true
		}
	}
	return false
}
