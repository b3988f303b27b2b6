// Package seccomp lets one process carry out system calls of others: seccomp(2)'s
// user notification (seccomp_unotify(2)). [Start] starts a program under a filter, and a
// [Listener] receives the calls that the filter stops and answers them.
package seccomp
