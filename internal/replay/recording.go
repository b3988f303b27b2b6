package replay

import (
	"fmt"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient/spclienttest"
	"rumptools/pkg/sysproxy"
)

// call is a recorded system call.
type call struct {
	num   uint32
	args  []uint64 // one for each slot
	in    []chunk  // what the kernel read of the client's memory, in order
	out   []chunk  // what it wrote there
	errno netbsd.Errno
	used  int // how many times it was the answer
}

// arg returns an argument, 0 when the call has not so many.
func (c *call) arg(n int) uint64 {
	if n >= len(c.args) {
		return 0
	}
	return c.args[n]
}

// read returns what the kernel read at an address: the longest, for it looks at
// the head of some structures first.
func (c *call) read(addr uint64) (data []byte) {
	for _, ch := range c.in {
		if ch.addr == addr && len(ch.data) > len(data) {
			data = ch.data
		}
	}
	return data
}

type chunk struct {
	addr uint64
	data []byte
}

// calls takes the system calls out of a recording of one client.
func calls(rec *spclienttest.Recording, m *netbsd.Machine) ([]*call, error) {
	layout := sysproxy.Layout{Order: m.Order, WordSize: m.WordSize}
	var list []*call
	var current *call         // the call that copies belong to
	var asked sysproxy.CopyIn // the copy request that waits for its answer
	for _, e := range rec.Events {
		if !e.IsFrame() {
			continue
		}
		h, err := layout.ParseHeader(e.Data)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", rec.Name, e.Line, err)
		}
		message, err := layout.Decode(h, e.Data[sysproxy.HeaderLen:])
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", rec.Name, e.Line, err)
		}
		if s, ok := message.(sysproxy.Syscall); ok {
			current = &call{num: s.Num}
			for b := s.Args; len(b) >= layout.WordSize; b = b[layout.WordSize:] {
				current.args = append(current.args, layout.Word(b))
			}
			continue
		}
		if current == nil {
			continue
		}
		switch r := message.(type) {
		case sysproxy.CopyIn:
			asked = r
		case sysproxy.CopyInStr:
			asked = sysproxy.CopyIn(r)
		case sysproxy.CopyInReply:
			current.in = append(current.in, chunk{asked.Addr, r.Data})
		case sysproxy.CopyOut:
			current.out = append(current.out, chunk{r.Addr, r.Data})
		case sysproxy.SyscallReply:
			current.errno = netbsd.Errno(r.Errno)
			list = append(list, current)
			current = nil
		}
	}
	return list, nil
}
