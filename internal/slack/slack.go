// Package slack starts processes whose threads sleep less exactly.
//
// The monitor of Go's runtime (sysmon) looks at a process with little to do every 20 µs, each
// time it has something to do, for the time of some dozens of looks. For one that is woken for
// each message, and sleeps again, that is always. Where a timer's interrupt and a switch between
// threads are dear, in virtual machines, these looks were a third of all that a kernel and two
// supervisors took for a connection. How exactly a thread sleeps is its timer slack, 50 µs mostly
// (PR_SET_TIMERSLACK(2const)); that of a process's first thread, from which the monitor has it,
// is that of the thread which started the process.
package slack

import "time"

// Coarse is the timer slack of what [Start] starts. With 1 ms, calls of the host that take long
// would keep other goroutines from running for a noticeable time: the monitor ends that, too.
const Coarse = 200 * time.Microsecond
