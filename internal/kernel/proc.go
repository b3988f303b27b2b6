package kernel

import (
	"crypto/rand"
	"encoding/binary"
	"slices"
	"sync"
	"sync/atomic"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/sysproxy"
)

// firstPID is the number of a real rump kernel's first guest: 0 is the kernel
// and 1 is init, every guest's parent.
const (
	firstPID = 2
	initPID  = 1
	maxPID   = 30000
)

// Proc is a process of the kernel: a client, seen from inside.
type Proc struct {
	PID int32

	mu   sync.Mutex
	name string
	fds  fdTable

	umask atomic.Int32
	// conn is the client's connection, nil before there is one.
	conn atomic.Pointer[conn]
}

// newUmask is a first process's file mode mask (CMASK).
const newUmask = 0o022

// Name is the name of the program that the process runs.
func (p *Proc) Name() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.name
}

func (p *Proc) setName(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.name = name
}

// newPID finds a free number; k.mu is held. 0 is returned when there is none.
func (k *Kernel) newPID() int32 {
	for range maxPID {
		pid := k.nextPID
		k.nextPID++
		if k.nextPID >= maxPID {
			k.nextPID = firstPID
		}
		if _, used := k.procs[pid]; !used {
			return pid
		}
	}
	return 0
}

// newProc makes a process whose descriptors 0 to 2 are the console.
func (k *Kernel) newProc(name string) (*Proc, error) {
	p := &Proc{name: name}
	p.umask.Store(newUmask)
	for fd := range int32(3) {
		k.console.ref()
		p.fds.install(fd, k.console, false)
	}
	return p, k.enter(p)
}

// enter gives p a number and makes it known. On failure p's files are closed.
func (k *Kernel) enter(p *Proc) error {
	k.mu.Lock()
	if !k.halted {
		p.PID = k.newPID()
	}
	if p.PID != 0 {
		k.procs[p.PID] = p
	}
	k.mu.Unlock()
	if p.PID == 0 {
		// Without the lock: closing a file may take long ways.
		p.fds.closeAll()
		return netbsd.EAGAIN
	}
	return nil
}

// leave ends p.
func (k *Kernel) leave(p *Proc) {
	k.mu.Lock()
	delete(k.procs, p.PID)
	k.mu.Unlock()
	p.fds.closeAll()
}

// maxCookies is how many children may wait to be born, and maxChildren how
// many of one parent. Each holds its parent's files open, and nothing but the
// child ever redeems it; when there are too many, the oldest goes. A child comes
// within moments, so that a parent which makes cookies for nobody hurts its own
// children first.
const (
	maxCookies  = 1024
	maxChildren = 128
)

// cookie is a child that waits for its client.
type cookie struct {
	auth   sysproxy.Auth
	parent *Proc
	child  *Proc
}

// dropCookie takes the oldest cookie out that makes too many, and gives its
// child; k.mu is held.
func (k *Kernel) dropCookie(parent *Proc) *Proc {
	own, oldest := 0, 0
	for i := len(k.cookies) - 1; i >= 0; i-- {
		if k.cookies[i].parent == parent {
			own, oldest = own+1, i
		}
	}
	switch {
	case own >= maxChildren:
	case len(k.cookies) >= maxCookies:
		oldest = 0
	default:
		return nil
	}
	child := k.cookies[oldest].child
	k.cookies = slices.Delete(k.cookies, oldest, oldest+1)
	return child
}

// prefork makes a child of p, with p's descriptors as they are now, and the
// cookie by which it can be claimed.
func (k *Kernel) prefork(p *Proc) (sysproxy.Auth, error) {
	child := &Proc{name: p.Name()}
	child.umask.Store(p.umask.Load())
	p.fds.copyTo(&child.fds)
	if err := k.enter(child); err != nil {
		return sysproxy.Auth{}, err
	}
	var raw [16]byte
	var auth sysproxy.Auth
	rand.Read(raw[:])
	for i := range auth {
		auth[i] = binary.NativeEndian.Uint32(raw[4*i:])
	}
	k.mu.Lock()
	old, late := k.dropCookie(p), k.halted
	if !late {
		k.cookies = append(k.cookies, cookie{auth, p, child})
	}
	k.mu.Unlock()
	if old != nil {
		k.leave(old)
	}
	if late {
		k.leave(child)
		return sysproxy.Auth{}, netbsd.EAGAIN
	}
	return auth, nil
}

// claim takes the child that a cookie stands for, or nil. A cookie is good
// once. The child gets a number of its own then; the one that it had in waiting
// is used up, as in the real kernel.
func (k *Kernel) claim(auth sysproxy.Auth) *Proc {
	k.mu.Lock()
	defer k.mu.Unlock()
	i := slices.IndexFunc(k.cookies, func(c cookie) bool { return c.auth == auth })
	if i < 0 {
		return nil
	}
	child := k.cookies[i].child
	k.cookies = slices.Delete(k.cookies, i, i+1)
	if pid := k.newPID(); pid != 0 {
		delete(k.procs, child.PID)
		child.PID = pid
		k.procs[pid] = child
	}
	return child
}
