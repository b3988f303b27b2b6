// Package stage is the process that becomes a program under a seccomp filter: a copy of
// the supervisor's own program, which installs the filter and executes the other. It
// takes [Env] in the environment; whatever links this package is a stage then, and
// nothing else of it runs.
//
// A program's start waits for its stage, so that is to be short. The linker has packages
// initialized in the order of their import paths as soon as what they import is (see "Package
// initialization" in the language's specification). This one imports next to nothing and so
// comes before most others: package time and all that uses it, os, fmt and net among them.
package stage

// Env holds the number of the stage's descriptor, in the stage's environment only, and after a colon
// the process in whose place the program is: see [Variables]. The descriptor is of a
// socket of type SOCK_SEQPACKET, at which two messages wait: the filter, as an array of
// struct sock_filter, and the mounts, each a byte ([File], [Link], [ReadOnly] or [Tree]), the place of
// what is mounted, a zero byte, the place where, and another. The stage's arguments, behind the first, are
// the program's path and its arguments. It answers
//
//	listener N       the filter is installed, and N is its listener; a byte lets it go on
//	OPERATION ERRNO  it has failed
//
// and closes the descriptor when the program begins.
const Env = "RUMPTOOLS__STAGE"

// Kinds of mounts: of what a path leads to, of a symbolic link over another, of what a path leads to so
// that it cannot be written, and of it with all that is mounted below, which may fail.
const (
	File = 'f'
	Link = 'l'
	Tree = 't'

	ReadOnly = 'r'
)

// Variables name the process for which others beside them are meant, that nobody takes those for its own
// who has only inherited them: sd_listen_fds(3), sd_watchdog_enabled(3), systemd.exec(5). Where
// one names the process in whose place the program is, it is to name the program.
var Variables = []string{"LISTEN_PID", "WATCHDOG_PID", "SYSTEMD_EXEC_PID"}

// listenInode names the one of LISTEN_PID by the inode of its pidfd, too.
const listenInode = "LISTEN_PIDFDID"

// MaxMessage is the most bytes that a message may have.
const MaxMessage = 64 << 10
