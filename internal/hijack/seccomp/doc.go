// Package seccomp lets one process carry out system calls of others: seccomp(2)'s
// user notification (seccomp_unotify(2)). [Stage] installs a filter in a process that
// is about to execute a program, [Start] receives the filter's listener, and a
// [Listener] receives the calls that it stops and answers them.
package seccomp
