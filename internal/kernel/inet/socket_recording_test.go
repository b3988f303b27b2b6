package inet

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"rumptools/internal/kernel/local"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient/spclienttest"
	"rumptools/pkg/sysproxy"
)

// session has the clients of a recording talk to a kernel. It makes their system
// calls in the recorded order, with the memory that they had, and compares
// results and what is written to their memory. How that is cut into frames does
// not matter.
type session struct {
	layout sysproxy.Layout
	path   string
	// ports are the ports that our kernel chose in the place of recorded
	// ones, in network order.
	ports map[[2]byte][2]byte
	// differ are the calls, by the line that begins them, that may end
	// otherwise here, and why.
	differ map[int]string

	clients map[int]*sessionClient
	// errs is what did not go as recorded.
	errs []string
}

// sessionClient is a connection.
type sessionClient struct {
	s    *session
	c    net.Conn
	done chan *sessionCall // calls that have been answered

	mu     sync.Mutex
	memory map[uint64]byte // what COPYIN reads
	out    map[uint64]byte // what COPYOUT has written
	calls  map[uint64]*sessionCall
}

// sessionCall is a system call.
type sessionCall struct {
	line  int
	num   uint32
	reqno uint64
	frame []byte // the request
	reply sysproxy.SyscallReply
	out   map[uint64]byte
	err   error
	// want is what was recorded.
	want struct {
		reply sysproxy.SyscallReply
		out   []sysproxy.CopyOut
	}
}

// make makes a call.
func (c *sessionClient) make(call *sessionCall) error {
	c.mu.Lock()
	c.calls[call.reqno] = call
	c.mu.Unlock()
	_, err := c.c.Write(call.frame)
	return err
}

// read takes what our kernel sends.
func (c *sessionClient) read() {
	l := c.s.layout
	err := func() error {
		for {
			h, err := l.ReadHeader(c.c)
			if err != nil {
				return err
			}
			payload := make([]byte, h.Len-sysproxy.HeaderLen)
			if _, err := io.ReadFull(c.c, payload); err != nil {
				return err
			}
			msg, err := l.Decode(h, payload)
			if err != nil {
				return err
			}
			if err := c.take(h, msg); err != nil {
				return err
			}
		}
	}()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, call := range c.calls {
		call.err = err
		c.done <- call
	}
}

func (c *sessionClient) take(h sysproxy.Header, msg sysproxy.Message) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var answer sysproxy.Message
	switch msg := msg.(type) {
	case sysproxy.CopyIn:
		answer = sysproxy.CopyInReply{Data: c.at(msg.Addr, int(msg.Len))}
	case sysproxy.CopyInStr:
		b := c.at(msg.Addr, int(msg.Len))
		if i := bytes.IndexByte(b, 0); i >= 0 {
			b = b[:i+1]
		}
		answer = sysproxy.CopyInReply{Data: b}
	case sysproxy.CopyOut:
		for i, b := range msg.Data {
			c.out[msg.Addr+uint64(i)] = b
		}
	case sysproxy.SyscallReply:
		call := c.calls[h.ReqNo]
		if call == nil {
			return fmt.Errorf("answer to call %d, which nobody made", h.ReqNo)
		}
		delete(c.calls, h.ReqNo)
		call.reply, call.out = msg, c.out
		c.out = make(map[uint64]byte)
		c.done <- call
	case sysproxy.Refusal:
		return fmt.Errorf("request %d refused: %v", h.ReqNo, msg.Code)
	}
	if answer != nil {
		_, err := c.c.Write(answer.Append(nil, c.s.layout, h.ReqNo))
		return err
	}
	return nil
}

// at is the client's memory, zero where it is not known.
func (c *sessionClient) at(addr uint64, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = c.memory[addr+uint64(i)]
	}
	return b
}

// remember puts recorded bytes into the client's memory. Ports that were
// chosen by the recorded kernel become ours.
func (c *sessionClient) remember(addr uint64, data []byte) {
	data = bytes.Clone(data)
	if len(data) == netbsd.SizeofSockaddrIn && data[1] == netbsd.AF_INET {
		if p, ok := c.s.ports[[2]byte(data[2:4])]; ok {
			copy(data[2:], p[:])
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, b := range data {
		c.memory[addr+uint64(i)] = b
	}
}

// dial opens a connection.
func (s *session) dial(program string) (*sessionClient, error) {
	nc, err := net.Dial("unix", s.path)
	if err != nil {
		return nil, err
	}
	nc.SetDeadline(time.Now().Add(30 * time.Second))
	for b := []byte{0}; b[0] != '\n'; { // the banner
		if _, err := nc.Read(b); err != nil {
			return nil, err
		}
	}
	if _, err := nc.Write(sysproxy.Guest{Name: program}.Append(nil, s.layout, 1<<40)); err != nil {
		return nil, err
	}
	c := &sessionClient{
		s: s, c: nc, done: make(chan *sessionCall, 1),
		memory: make(map[uint64]byte), out: make(map[uint64]byte), calls: make(map[uint64]*sessionCall),
	}
	go c.read()
	return c, nil
}

// play makes the calls of a recording.
func (s *session) play(rec *spclienttest.Recording) error {
	s.clients = make(map[int]*sessionClient)
	open := make(map[int]*sessionCall) // by connection
	copies := make(map[[2]uint64]uint64)
	const pause = 10 * time.Millisecond
	var last time.Duration
	for i, e := range rec.Events {
		if e.Kind == spclienttest.Opened {
			c, err := s.dial("program")
			if err != nil {
				return err
			}
			s.clients[e.Conn] = c
			continue
		}
		c := s.clients[e.Conn]
		if e.Kind == spclienttest.Ended {
			if e.FromClient {
				c.c.Close()
			}
			continue
		}
		if !e.IsFrame() {
			continue
		}
		h, msg, err := s.decode(e)
		if err != nil {
			return err
		}
		if e.FromClient {
			// Programs sleep to have something happen meanwhile.
			time.Sleep(min(max(e.At-last-pause, 0), 5*pause))
		}
		last = e.At
		key := [2]uint64{uint64(e.Conn), h.ReqNo}
		switch msg := msg.(type) {
		case sysproxy.Syscall:
			call := &sessionCall{line: e.Line, num: msg.Num, reqno: h.ReqNo, frame: e.Data}
			open[e.Conn] = call
			s.recall(c, rec.Events[i+1:], e.Conn)
			if err := c.make(call); err != nil {
				return err
			}
		case sysproxy.CopyIn:
			copies[key] = msg.Addr
		case sysproxy.CopyOut:
			open[e.Conn].want.out = append(open[e.Conn].want.out, msg)
		case sysproxy.SyscallReply:
			call := open[e.Conn]
			call.want.reply = msg
			for again := 0; ; again++ {
				if got := <-c.done; got.err != nil {
					return fmt.Errorf("line %d: %w", e.Line, got.err)
				}
				// TCP needs a moment for what the recorded kernel does at once.
				if call.reply.Errno != int32(netbsd.EAGAIN) || msg.Errno != 0 || again == 1000 {
					break
				}
				time.Sleep(time.Millisecond)
				if err := c.make(call); err != nil {
					return err
				}
			}
			s.compare(c, call)
		}
	}
	return nil
}

func (s *session) decode(e spclienttest.Event) (sysproxy.Header, sysproxy.Message, error) {
	h, err := s.layout.ParseHeader(e.Data)
	if err != nil {
		return h, nil, fmt.Errorf("line %d: %w", e.Line, err)
	}
	msg, err := s.layout.Decode(h, e.Data[sysproxy.HeaderLen:])
	if err != nil {
		return h, nil, fmt.Errorf("line %d: %w", e.Line, err)
	}
	return h, msg, nil
}

// recall fills the client's memory with what it is asked for during the call
// that begins before events.
func (s *session) recall(c *sessionClient, events []spclienttest.Event, conn int) {
	asked := make(map[uint64]uint64)
	for _, e := range events {
		if e.Conn != conn || !e.IsFrame() {
			continue
		}
		h, msg, err := s.decode(e)
		if err != nil {
			return
		}
		switch msg := msg.(type) {
		case sysproxy.CopyIn:
			asked[h.ReqNo] = msg.Addr
		case sysproxy.CopyInStr:
			asked[h.ReqNo] = msg.Addr
		case sysproxy.CopyInReply:
			c.remember(asked[h.ReqNo], msg.Data)
		case sysproxy.SyscallReply:
			return
		}
	}
}

// compare compares a call's end with the recorded one.
func (s *session) compare(c *sessionClient, call *sessionCall) {
	var diffs []string
	got, want := call.reply, call.want.reply
	switch {
	case got.Errno != want.Errno:
		diffs = append(diffs, fmt.Sprintf("error %v, want %v", netbsd.Errno(got.Errno), netbsd.Errno(want.Errno)))
	case got.Errno == 0 && got.Retval[0] != want.Retval[0]:
		diffs = append(diffs, fmt.Sprintf("result %d, want %d", got.Retval[0], want.Retval[0]))
	}
	for _, w := range join(call.want.out) {
		have := make([]byte, len(w.Data))
		missing := 0
		for i := range have {
			b, ok := call.out[w.Addr+uint64(i)]
			if !ok {
				missing++
			}
			have[i] = b
			delete(call.out, w.Addr+uint64(i))
		}
		want := bytes.Clone(w.Data)
		if missing == 0 {
			s.mask(want, have)
		}
		if missing != 0 || !bytes.Equal(want, have) {
			diffs = append(diffs, fmt.Sprintf("at %#x (%d missing)\n  got  %x\n  want %x", w.Addr, missing, have, want))
		}
	}
	if len(call.out) > 0 {
		var b []byte
		for _, a := range slices.Sorted(maps.Keys(call.out)) {
			b = append(b, call.out[a])
		}
		diffs = append(diffs, fmt.Sprintf("%d bytes too many: %x", len(call.out), b))
	}
	switch netbsd.SyscallName(int(call.num)) {
	// What these tell is not about sockets.
	case "__clock_gettime50", "__gettimeofday50", "__fstat50", "__sysctl":
		return
	}
	if len(diffs) > 0 && s.differ[call.line] == "" {
		s.errs = append(s.errs, fmt.Sprintf("line %d, %s: %s", call.line, netbsd.SyscallName(int(call.num)), strings.Join(diffs, "; ")))
	}
}

// join puts copies together that follow each other in memory.
func join(copies []sysproxy.CopyOut) (out []sysproxy.CopyOut) {
	for _, c := range copies {
		if n := len(out); n > 0 && out[n-1].Addr+uint64(len(out[n-1].Data)) == c.Addr {
			out[n-1].Data = append(slices.Clip(out[n-1].Data), c.Data...)
			continue
		}
		out = append(out, c)
	}
	return out
}

// mask makes equal what differs from run to run: ports that the kernel chose,
// the identification and checksum of IP headers, and times.
func (s *session) mask(want, got []byte) {
	same := func(from, to int) { copy(want[from:to], got[from:to]) }
	switch {
	case len(want) == netbsd.SizeofSockaddrIn && want[1] == netbsd.AF_INET &&
		binary.BigEndian.Uint16(want[2:]) >= netbsd.IPPORT_ANONMIN:
		s.ports[[2]byte(want[2:4])] = [2]byte(got[2:4])
		same(2, 4)
	case len(want) == 4 && want[0] == netbsd.SizeofSockaddrIn && want[1] == netbsd.AF_INET:
		same(2, 4) // a sockaddr_in that is cut short
	case len(want) == netbsd.SizeofSockaddrIn6 && want[1] == netbsd.AF_INET6 &&
		binary.BigEndian.Uint16(want[2:]) >= netbsd.IPPORT_ANONMIN:
		same(2, 4)
	case len(want) >= 28 && want[0]>>4 == 4 && len(want) == 4*int(want[0]&15)+int(s.layout.Order.Uint16(want[2:])):
		same(4, 6)
		same(10, 12)
	case len(want) == netbsd.Sizeof(netbsd.AMD64, netbsd.Msghdr{}):
		same(28, 32) // padding
	case len(want) >= 32 && s.layout.Order.Uint32(want[4:]) == netbsd.SOL_SOCKET &&
		s.layout.Order.Uint32(want[8:]) == netbsd.SCM_TIMESTAMP:
		same(16, 32)
	}
}

// serve serves a stack's kernel; the result is its socket's path.
func serve(t *testing.T, s *Stack) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	local.Register(s.kernel)
	done := make(chan error, 1)
	go func() { done <- s.kernel.Serve(l) }()
	t.Cleanup(func() {
		s.kernel.Halt(true)
		<-done
		s.kernel.Wait()
	})
	return path
}

// recordedClients are the recordings that are played, those of programs that
// need the network's other host. What differs is said by the line of the call.
var recordedClients = map[string]map[int]string{
	"ping-D":        nil,
	"ping-I":        nil,
	"ping-R":        nil,
	"ping-T":        nil,
	"ping-i":        nil,
	"ping-lo":       nil,
	"ping-noroute":  nil,
	"ping-o":        nil,
	"ping-p":        nil,
	"ping-q":        nil,
	"ping-r":        nil,
	"ping-s":        nil,
	"ping-s-frag":   nil,
	"ping-self":     nil,
	"ping6-2":       nil,
	"ping6-lo":      nil,
	"ping6-noroute": nil,
	"ping6-s":       nil,
	"prog-rawicmp":  nil,
	"prog-tcp":      nil,
	"prog-nbconn": {
		71: "the refusal, from another host, may not have come yet: EALREADY",
	},
}

// TestRecordedClients has programs that were recorded with a real kernel talk
// to this one. Each call must end as it did there.
func TestRecordedClients(t *testing.T) {
	recs, err := spclienttest.OpenRecordings("../../../pkg/sysproxy/testdata/recordings.tar.gz")
	if err != nil {
		t.Fatal(err)
	}
	played := 0
	for _, rec := range recs {
		differ, ok := recordedClients[rec.Name]
		if !ok {
			continue
		}
		played++
		t.Run(rec.Name, func(t *testing.T) {
			t.Parallel()
			a, _ := pair(t)
			s := &session{
				layout: sysproxy.Layout{Order: netbsd.AMD64.Order, WordSize: 8},
				path:   serve(t, a),
				ports:  make(map[[2]byte][2]byte),
				differ: differ,
			}
			if err := s.play(rec); err != nil {
				t.Error(err)
			}
			for _, e := range s.errs {
				t.Error(e)
			}
		})
	}
	if played != len(recordedClients) {
		t.Errorf("%d recordings played of %d", played, len(recordedClients))
	}
}
