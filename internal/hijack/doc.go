// Package hijack runs unmodified programs on a rump kernel's network: rumpctl exec.
//
// A supervisor carries out the programs' calls on sockets (package seccomp). What a
// program holds for a socket is a real descriptor of the host, of a local socket whose
// other end the supervisor has, so that dup(2), fork(2), execve(2), poll(2), epoll(7),
// read(2), write(2) and close(2) are the host's own. The socket proper is the rump
// kernel's; between the two goes a pump.
//
// In names and comments, S is the socket that the program holds, K the end that the
// supervisor keeps, L an S that listens.
package hijack
