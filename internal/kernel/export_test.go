package kernel

import "net"

// KqueueSizes tells how many notes stand in a kqueue's queue, how many are tied
// to a descriptor, and how many timers the kernel has.
func KqueueSizes(k *Kernel, pid, kqfd, fd int32) (queued, notes, timers int) {
	k.mu.Lock()
	p := k.procs[pid]
	k.mu.Unlock()
	h, err := p.fds.get(kqfd)
	if err != nil {
		return -1, -1, -1
	}
	defer h.release()
	kq := h.File.(*kqueue)
	kq.mu.Lock()
	queued = len(kq.ready)
	kq.mu.Unlock()
	d, err := p.fds.get(fd)
	if err != nil {
		return -1, -1, -1
	}
	defer d.release()
	d.desc.mu.Lock()
	defer d.desc.mu.Unlock()
	return queued, len(d.desc.notes), int(k.ntimers.Load())
}

// Attach serves a client on a connection that was not accepted.
func (k *Kernel) Attach(nc net.Conn) { k.attach(nc) }

// Sizes tells how many connections, processes and open files there are.
func (k *Kernel) Sizes() (conns, procs, files int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.conns), len(k.procs), int(k.nfiles.Load())
}

// MaxCalls is how many calls of one client may be under way, and OutMost how many
// bytes wait for one that does not read.
const (
	MaxCalls = maxCalls
	OutMost  = outMost
)

// Held tells how many bytes calls and clients that do not read hold.
func (k *Kernel) Held() int64 { return k.memory.used.Load() }
