// Package kernel is the machine-independent part of the embedded kernel:
// processes, descriptors, system calls and the sysctl tree, served over the
// sysproxy protocol. It looks like NetBSD 7.99 from outside; what a client sees
// was checked against recordings of the real kernel.
//
// The kernel has no network of its own: address families come as [Domain],
// which other packages register.
package kernel

import (
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/sysproxy"
)

// The release that this kernel takes for its own. It decides which system
// calls and layouts a client uses.
const (
	osType    = "NetBSD"
	osRelease = "7.99.34"
	// osRevision is __NetBSD_Version__ of that release.
	osRevision = 799003400
)

// Config is what a kernel is made of.
type Config struct {
	// Machine is the machine that the kernel claims to be; nil is
	// netbsd.AMD64.
	Machine *netbsd.Machine
	// Hostname is kern.hostname; empty makes one as the real kernel does,
	// of the process's number.
	Hostname string
	// CPUs is hw.ncpu; 0 is 1.
	CPUs int
	// Memory is hw.physmem in bytes; 0 is 64 MiB.
	Memory int64
	// Clients is how many clients are served at a time; 0 is as many as
	// the kernel can have, 16384. Each takes a descriptor of this process.
	Clients int
	// Console takes what processes write to descriptors 1 and 2; nil is
	// os.Stdout.
	Console *os.File
}

// firstUptime is what the monotonic clock shows when the kernel starts. As in
// NetBSD it is never less than a second: ping(8) takes a packet that was sent at
// second 0 for one without a time.
const firstUptime = time.Second

// Kernel is a running kernel. Its methods may be called concurrently.
type Kernel struct {
	machine *netbsd.Machine
	layout  sysproxy.Layout
	banner  sysproxy.Banner
	cfg     Config
	boot    time.Time

	domains map[int32]Domain
	devices map[string]func() (File, error)
	sysctls *sysctlTree
	console *OpenFile
	links   links        // the connections' ways to their clients
	pump    pump         // of what is lent
	memory  memory       // what all calls hold
	nfiles  atomic.Int32 // open files
	ntimers atomic.Int32 // kqueue timers
	woken   atomic.Bool  // a call that waited, which perhaps does not run yet

	mu        sync.Mutex
	hostname  string
	procs     map[int32]*Proc
	nextPID   int32
	cookies   []cookie // the oldest first
	conns     map[*conn]struct{}
	listeners map[*listener]struct{}
	halted    bool
	exit      chan struct{} // closed by reboot(0)
	stopped   chan struct{} // closed by any reboot
	wg        sync.WaitGroup
}

// New makes a kernel with nothing but a console.
func New(cfg Config) *Kernel {
	if cfg.Machine == nil {
		cfg.Machine = netbsd.AMD64
	}
	if cfg.CPUs == 0 {
		cfg.CPUs = 1
	}
	if cfg.Clients <= 0 || cfg.Clients > maxConns {
		cfg.Clients = maxConns
	}
	if cfg.Memory == 0 {
		cfg.Memory = 64 << 20
	}
	if cfg.Hostname == "" {
		cfg.Hostname = fmt.Sprintf("rump-%05d.rumpd", os.Getpid())
	}
	if cfg.Console == nil {
		cfg.Console = os.Stdout
	}
	m := cfg.Machine
	k := &Kernel{
		machine: m,
		layout:  sysproxy.Layout{Order: m.Order, WordSize: m.WordSize},
		banner: sysproxy.Banner{
			Major: sysproxy.ProtocolMajor, Minor: sysproxy.ProtocolMinor,
			OSType: osType, OSRelease: osRelease, Machine: m.Name,
		},
		cfg:       cfg,
		hostname:  cfg.Hostname,
		boot:      time.Now().Add(-firstUptime),
		domains:   make(map[int32]Domain),
		devices:   make(map[string]func() (File, error)),
		procs:     make(map[int32]*Proc),
		nextPID:   firstPID,
		conns:     make(map[*conn]struct{}),
		listeners: make(map[*listener]struct{}),
		exit:      make(chan struct{}),
		stopped:   make(chan struct{}),
	}
	k.console = newOpenFile(&console{out: cfg.Console}, netbsd.O_RDWR)
	k.sysctls = newSysctlTree()
	k.addKernSysctls()
	k.AddDevice("/dev/null", func() (File, error) { return nullDevice{}, nil })
	k.AddDevice("/dev/zero", func() (File, error) { return zeroDevice{}, nil })
	return k
}

// Machine is the machine that the kernel claims to be.
func (k *Kernel) Machine() *netbsd.Machine { return k.machine }

// Uptime is the monotonic clock: the time since New, and a second.
func (k *Kernel) Uptime() time.Duration { return time.Since(k.boot) }

// AddDevice makes open(2) of path give the file that open makes. It must be
// called before the kernel serves.
func (k *Kernel) AddDevice(path string, open func() (File, error)) { k.devices[path] = open }

// Stopped is closed when the kernel has halted: nobody is served any more.
func (k *Kernel) Stopped() <-chan struct{} { return k.stopped }

// Exited is closed when the kernel was told to end the process that it runs
// in: reboot(2) with another argument than RB_HALT.
func (k *Kernel) Exited() <-chan struct{} { return k.exit }

// Halt ends the service: every connection and listener is closed, and every
// file of every process. exit is whether the process should end as well. A
// second call only adds that.
func (k *Kernel) Halt(exit bool) {
	k.mu.Lock()
	first := !k.halted
	k.halted = true
	if exit {
		select {
		case <-k.exit:
		default:
			close(k.exit)
		}
	}
	var ls []*listener
	var cs []*conn
	var unborn []cookie
	if first {
		unborn, k.cookies = k.cookies, nil
		for l := range k.listeners {
			ls = append(ls, l)
		}
		for c := range k.conns {
			cs = append(cs, c)
		}
	}
	k.mu.Unlock()
	if !first {
		return
	}
	for _, l := range ls {
		l.close()
	}
	for _, c := range unborn {
		k.leave(c.child)
	}
	for _, c := range cs {
		c.hangup()
	}
	k.pump.close()
	close(k.stopped)
}

// Wait returns when every connection has ended and its process is gone.
func (k *Kernel) Wait() { k.wg.Wait() }
