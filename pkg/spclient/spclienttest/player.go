package spclienttest

import (
	"bytes"
	"fmt"
	"slices"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/sysproxy"
)

// Player is a server that plays the kernel's part of a recorded conversation.
//
// For each system call of the client it looks for the next recorded call with
// the same number, the same arguments and the same memory where the kernel read
// memory, and does what the kernel did: the same copies, at the client's
// addresses, and the same answer. Recorded calls in between are skipped, so that a
// client need not do all that the recorded one did; that it does them in the same
// order it must. A call that is not in the rest of the recording fails the test
// and gets ENOSYS.
type Player struct {
	Recording *Recording
	// Conn is the connection's number in the recording; 0 is the first.
	Conn int
	// Same compares memory that the kernel read in a call of the client's
	// with what it read in the recorded one, in which addresses have been
	// replaced. nil compares all bytes. C programs leave rubbish in unions and
	// padding; of an ioctl's argument it is enough, as a rule, to compare the
	// name and the first member.
	Same func(num uint32, recorded, got []byte) bool
}

// Play starts a server that plays the first connection of a recording.
func Play(tb TB, rec *Recording) *Server {
	return (&Player{Recording: rec}).Start(tb)
}

// playedCall is a system call of a recording and all that belongs to it.
type playedCall struct {
	line   int
	num    uint32
	args   []byte
	copies []playedCopy
	reply  sysproxy.Message
}

// playedCopy is a copy request: with what the client answered, or what the kernel
// wrote.
type playedCopy struct {
	request sysproxy.Message
	addr    uint64
	data    []byte
}

// Start starts the server.
func (pl *Player) Start(tb TB) *Server {
	tb.Helper()
	calls, m, err := pl.calls()
	if err != nil {
		tb.Fatal(err)
	}
	return NewServer(tb, "unix", m, func(p *Peer) {
		p.handshake(pl.Recording.Server + "\n")
		play := playing{Player: pl, rest: calls}
		for {
			play.call(p.NextCall())
		}
	})
}

// calls takes a connection of the recording apart.
func (pl *Player) calls() ([]*playedCall, *netbsd.Machine, error) {
	rec, conn := pl.Recording, max(pl.Conn, 1)
	banner, err := sysproxy.ParseBanner(rec.Server)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", rec.Name, err)
	}
	m, ok := netbsd.MachineByName(banner.Machine)
	if !ok {
		return nil, nil, fmt.Errorf("%s: unknown machine %q", rec.Name, banner.Machine)
	}
	l := sysproxy.Layout{Order: m.Order, WordSize: m.WordSize}
	var calls []*playedCall
	open := make(map[uint64]*playedCall)   // by request number
	copies := make(map[uint64]*playedCall) // calls that wait for a COPYIN, by its number
	for i := range rec.Events {
		e := &rec.Events[i]
		if e.Conn != conn || !e.IsFrame() {
			continue
		}
		h, err := l.ParseHeader(e.Data)
		if err != nil {
			return nil, nil, fmt.Errorf("%s:%d: %w", rec.Name, e.Line, err)
		}
		msg, err := l.Decode(h, e.Data[sysproxy.HeaderLen:])
		if err != nil {
			return nil, nil, fmt.Errorf("%s:%d: %w", rec.Name, e.Line, err)
		}
		copied := func(addr uint64, data []byte) (*playedCall, error) {
			// Which call a copy is for is not said.
			if len(open) != 1 {
				return nil, fmt.Errorf("%s:%d: copy while %d calls are under way", rec.Name, e.Line, len(open))
			}
			for _, call := range open {
				call.copies = append(call.copies, playedCopy{msg, addr, data})
				return call, nil
			}
			return nil, nil
		}
		switch msg := msg.(type) {
		case sysproxy.Syscall:
			call := &playedCall{line: e.Line, num: msg.Num, args: msg.Args}
			calls, open[h.ReqNo] = append(calls, call), call
		case sysproxy.CopyIn:
			copies[h.ReqNo], err = copied(msg.Addr, nil)
		case sysproxy.CopyInStr:
			copies[h.ReqNo], err = copied(msg.Addr, nil)
		case sysproxy.CopyInReply:
			if call := copies[h.ReqNo]; call != nil {
				call.copies[len(call.copies)-1].data = msg.Data
			}
		case sysproxy.CopyOut:
			_, err = copied(msg.Addr, msg.Data)
		case sysproxy.CopyOutStr:
			_, err = copied(msg.Addr, msg.Data)
		case sysproxy.SyscallReply, sysproxy.Refusal:
			if call := open[h.ReqNo]; call != nil {
				call.reply = msg
				delete(open, h.ReqNo)
			}
		}
		if err != nil {
			return nil, nil, err
		}
	}
	return calls, m, nil
}

// playing is a Player with one client.
type playing struct {
	*Player
	rest []*playedCall
}

// call finds the recorded call that the client makes and plays it.
func (pl *playing) call(call *Call) {
	got := call.args
	var why error
	for i, rec := range pl.rest {
		if rec.num != call.Num {
			continue
		}
		try := &attempt{call: call, rec: rec, same: pl.Same}
		if !try.sameArgs(got) {
			continue
		}
		done, err := try.play()
		if done {
			pl.rest = pl.rest[i+1:]
			return
		}
		if why == nil {
			why = err
		}
	}
	text := fmt.Sprintf("client made %s with arguments %x, which is not in the rest of %s",
		netbsd.SyscallName(int(call.Num)), got, pl.Recording.Name)
	if why != nil {
		text += ": " + why.Error()
	}
	call.TB.Error(text)
	call.Fail(netbsd.ENOSYS)
}

// attempt is to take a recorded call for the client's.
type attempt struct {
	call *Call
	rec  *playedCall
	same func(num uint32, recorded, got []byte) bool
	// places are where the recorded call's buffers are now.
	places []place
}

type place struct {
	recorded, now uint64
}

// isPointer tells whether an argument's value is an address.
func isPointer(k netbsd.ArgKind) bool {
	switch k {
	case netbsd.ArgPtr, netbsd.ArgPath, netbsd.ArgStr, netbsd.ArgIn, netbsd.ArgOut, netbsd.ArgInOut,
		netbsd.ArgIoctl, netbsd.ArgFcntl:
		return true
	}
	return false
}

// sameArgs compares arguments: addresses must both be there or not be there, other
// values be equal. It notes where the recorded addresses are now.
func (a *attempt) sameArgs(got []byte) bool {
	m := a.call.Machine
	info, ok := netbsd.LookupSyscall(int(a.call.Num))
	if !ok {
		return bytes.Equal(got, a.rec.args)
	}
	v1, ok1 := argValues(m, info, a.rec.args)
	v2, ok2 := argValues(m, info, got)
	if !ok1 || !ok2 {
		return false
	}
	for i, arg := range info.Args {
		switch {
		case v1[i] == v2[i]:
			if !isPointer(arg.Kind) {
				continue
			}
		case !isPointer(arg.Kind), arg.Kind == netbsd.ArgFcntl && !a.isBuffer(v1[i]):
			return false
		case arg.LenArg >= 0 && !arg.LenIndirect && v1[arg.LenArg] == 0 && v2[arg.LenArg] == 0:
			continue // of nothing
		case v1[i] == 0 || v2[i] == 0:
			return false
		}
		a.places = append(a.places, place{v1[i], v2[i]})
	}
	return true
}

// argValues returns the values of arguments.
func argValues(m *netbsd.Machine, info *netbsd.SyscallInfo, b []byte) ([]uint64, bool) {
	r := netbsd.NewArgReader(m, b)
	values := make([]uint64, len(info.Args))
	for i, arg := range info.Args {
		switch arg.Kind {
		case netbsd.ArgPad:
			r.Word()
		case netbsd.ArgOff, netbsd.ArgDev:
			values[i] = uint64(r.Quad())
		case netbsd.ArgLong, netbsd.ArgULong, netbsd.ArgSize, netbsd.ArgCmd:
			values[i] = r.Word()
		default:
			if isPointer(arg.Kind) {
				values[i] = r.Word()
			} else {
				// The upper half of an int's slot may hold anything.
				values[i] = uint64(r.Uint())
			}
		}
	}
	return values, r.Err() == nil
}

// isBuffer tells whether the recorded call copied from or to an address.
func (a *attempt) isBuffer(addr uint64) bool {
	return slices.ContainsFunc(a.rec.copies, func(c playedCopy) bool { return c.addr == addr })
}

// now returns where a recorded address is: at or behind the last place before it.
func (a *attempt) now(recorded uint64) (uint64, bool) {
	var best place
	for _, p := range a.places {
		if p.recorded <= recorded && p.recorded >= best.recorded {
			best = p
		}
	}
	// What was far away from each other is not one buffer.
	if best == (place{}) || recorded-best.recorded > 1<<20 {
		return 0, false
	}
	return best.now + recorded - best.recorded, true
}

// play does the recorded copies and gives the recorded answer. It gives up, so
// that another recorded call can be tried, when the client's memory is not the
// recorded one's.
func (a *attempt) play() (done bool, err error) {
	c := a.call
	for i := range a.rec.copies {
		cp := &a.rec.copies[i]
		addr, ok := a.now(cp.addr)
		if !ok {
			return false, fmt.Errorf("line %d: nothing tells where the recorded address %#x is", a.rec.line, cp.addr)
		}
		switch m := cp.request.(type) {
		case sysproxy.CopyIn:
			got := c.CopyIn(addr, int(m.Len))
			if !a.sameMemory(cp.data, got) {
				return false, fmt.Errorf("line %d: kernel read %x, recorded is %x", a.rec.line, got, cp.data)
			}
		case sysproxy.CopyInStr:
			if got := c.CopyInStr(addr, int(m.Len)); !bytes.Equal(got, cp.data) {
				return false, fmt.Errorf("line %d: kernel read %q, recorded is %q", a.rec.line, got, cp.data)
			}
		default:
			c.CopyOut(addr, a.relocate(cp.data))
		}
	}
	if a.rec.reply != nil {
		c.Send(a.rec.reply, c.ReqNo)
	}
	return true, nil
}

// words calls f with every aligned word of b.
func (a *attempt) words(b []byte, f func(off int, v uint64)) {
	m := a.call.Machine
	for off := 0; off+m.WordSize <= len(b); off += m.WordSize {
		f(off, m.Word(b[off:]))
	}
}

// sameMemory compares memory, but that an address of a recorded buffer may be any
// other, which is noted.
func (a *attempt) sameMemory(recorded, got []byte) bool {
	if len(recorded) != len(got) {
		return false
	}
	m := a.call.Machine
	want := bytes.Clone(recorded)
	var found []place
	a.words(recorded, func(off int, v uint64) {
		if v != 0 && a.isBuffer(v) {
			if now := m.Word(got[off:]); now != 0 {
				found = append(found, place{v, now})
				m.PutWord(want[off:], now)
			}
		}
	})
	same := bytes.Equal(want, got)
	if a.same != nil {
		same = a.same(a.rec.num, want, got)
	}
	if same {
		a.places = append(a.places, found...)
	}
	return same
}

// relocate replaces addresses of recorded buffers in what the kernel wrote.
func (a *attempt) relocate(data []byte) []byte {
	out := bytes.Clone(data)
	a.words(data, func(off int, v uint64) {
		for _, p := range a.places {
			if p.recorded == v {
				a.call.Machine.PutWord(out[off:], p.now)
			}
		}
	})
	return out
}
