// Package trace shows what clients ask of a rump kernel, as strace(1) shows what
// processes ask of the host's.
//
// A [Proxy] stands between clients and the kernel. It passes on every byte as it
// came, and shows them to a [Tracer], which takes the conversations apart: frames
// into system calls, copied memory into the structures that the calls' arguments
// point to. What it can't take apart it says, and is passed on like the rest.
//
// A recording of a conversation can be shown to a Tracer as well: see [Read].
package trace
