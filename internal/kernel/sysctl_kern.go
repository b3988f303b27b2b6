package kernel

import (
	"bytes"
	"crypto/rand"
	"time"

	"rumptools/pkg/netbsd"
)

// The machine as hw describes it.
const (
	pageSize = 4096
	hz       = 100 // clock ticks a second, as kern.clockrate says
)

// hostNameMax is MAXHOSTNAMELEN.
const hostNameMax = 256

// addKernSysctls adds what lies below kern and hw.
func (k *Kernel) addKernSysctls() {
	m := k.machine
	version := osType + " " + osRelease + " (rumpd)\n"
	byteorder := int32(1234)
	if m.Order.Uint16([]byte{0, 1}) == 1 {
		byteorder = 4321
	}
	for _, n := range []*Node{
		String("ostype", netbsd.KERN_OSTYPE, osType),
		String("osrelease", netbsd.KERN_OSRELEASE, osRelease),
		Int("osrevision", netbsd.KERN_OSREV, osRevision),
		String("version", netbsd.KERN_VERSION, version),
		Int("maxproc", netbsd.KERN_MAXPROC, maxPID),
		Int("maxfiles", netbsd.KERN_MAXFILES, maxOpenFiles),
		Int("argmax", netbsd.KERN_ARGMAX, 256<<10),
		k.hostnameNode(),
		Struct("clockrate", netbsd.KERN_CLOCKRATE, func(*SysctlRequest) any {
			return &netbsd.Clockinfo{Hz: hz, Tick: 1e6 / hz, Stathz: hz, Profhz: hz}
		}),
		Int("iov_max", netbsd.KERN_IOV_MAX, iovMax),
		Int("fscale", netbsd.KERN_FSCALE, 2048),
		{
			Name: "arandom", Num: netbsd.KERN_ARND, Type: netbsd.CTLTYPE_INT, Size: 4,
			Get: random,
		},
		Struct("boottime", netbsd.KERN_BOOTTIME, func(*SysctlRequest) any {
			return &netbsd.Timespec{Sec: k.boot.Unix(), Nsec: netbsd.Long(k.boot.Nanosecond())}
		}),
		IntFunc("hardclock_ticks", netbsd.KERN_HARDCLOCK_TICKS, func() int32 {
			return int32(k.Uptime() / (time.Second / hz))
		}, nil),
	} {
		k.AddSysctl("kern", n)
	}
	for _, n := range []*Node{
		String("machine", netbsd.HW_MACHINE, m.Name),
		String("model", netbsd.HW_MODEL, "rumpd (virtual)"),
		Int("ncpu", netbsd.HW_NCPU, int32(k.cfg.CPUs)),
		Int("byteorder", netbsd.HW_BYTEORDER, byteorder),
		Int("physmem", netbsd.HW_PHYSMEM, int32(min(k.cfg.Memory, 1<<31-1))),
		Int("pagesize", netbsd.HW_PAGESIZE, pageSize),
		String("machine_arch", netbsd.HW_MACHINE_ARCH, m.Arch),
		Int("alignbytes", netbsd.HW_ALIGNBYTES, int32(m.WordSize-1)),
		{
			Name: "physmem64", Num: netbsd.HW_PHYSMEM64, Type: netbsd.CTLTYPE_QUAD, Size: 8,
			Get: func(*SysctlRequest) ([]byte, error) {
				return m.Order.AppendUint64(nil, uint64(k.cfg.Memory)), nil
			},
		},
		Int("ncpuonline", netbsd.HW_NCPUONLINE, int32(k.cfg.CPUs)),
	} {
		k.AddSysctl("hw", n)
	}
}

// random gives as many bytes as there is room for, at most 256 as the real
// kernel does.
func random(r *SysctlRequest) ([]byte, error) {
	b := make([]byte, min(r.Room, 256))
	rand.Read(b)
	return b, nil
}

func (k *Kernel) hostnameNode() *Node {
	return &Node{
		Name: "hostname", Num: netbsd.KERN_HOSTNAME, Type: netbsd.CTLTYPE_STRING, Size: hostNameMax,
		Get: func(*SysctlRequest) ([]byte, error) {
			k.mu.Lock()
			defer k.mu.Unlock()
			return append([]byte(k.hostname), 0), nil
		},
		Set: func(_ *SysctlRequest, value []byte) error {
			name, _, _ := bytes.Cut(value, []byte{0})
			k.mu.Lock()
			defer k.mu.Unlock()
			k.hostname = string(name)
			return nil
		},
	}
}
