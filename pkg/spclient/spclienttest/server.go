package spclienttest

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/sysproxy"
)

// TB is what a server needs of a test: where to complain, and when to end. A
// *testing.T, B or F is one. Error, Errorf and Cleanup may be called by any
// goroutine; Fatal is called, and must end the caller, when a server cannot
// start.
type TB interface {
	Helper()
	Error(args ...any)
	Errorf(format string, args ...any)
	Fatal(args ...any)
	Cleanup(func())
}

// Server listens for clients, on a local socket or on TCP's loopback.
type Server struct {
	ln      net.Listener
	url     string
	closing chan struct{} // closed by Close
	scripts sync.WaitGroup

	mu     sync.Mutex
	conns  map[net.Conn]struct{}
	closed bool
}

// NewServer starts a server that runs script for each client, in a goroutine of
// its own. The network is "unix" or "tcp", for an address that nobody else has,
// or the URL to serve at, as for a server that takes the place of one that ended.
// When the script returns the connection is closed. The server ends with the
// test, or with Close, and waits for its scripts, whose connections it closes.
func NewServer(tb TB, network string, m *netbsd.Machine, script func(*Peer)) *Server {
	tb.Helper()
	return newServer(tb, network, func(s *Server, nc net.Conn) {
		p := newPeer(tb, nc, m, s.closing)
		defer p.end()
		script(p)
	})
}

// NewRawServer is NewServer without a [Peer]: nothing has been said or read when
// it gives a connection to serve.
func NewRawServer(tb TB, network string, serve func(net.Conn)) *Server {
	tb.Helper()
	return newServer(tb, network, func(_ *Server, nc net.Conn) { serve(nc) })
}

func newServer(tb TB, network string, serve func(*Server, net.Conn)) *Server {
	tb.Helper()
	s := &Server{conns: make(map[net.Conn]struct{}), closing: make(chan struct{})}
	address := "127.0.0.1:0"
	if strings.Contains(network, "://") {
		u, err := sysproxy.ParseURL(network)
		if err != nil {
			tb.Fatal(err)
		}
		network, address = u.Network, u.Address
	} else if network == "unix" {
		// The path must be short; a test's own directory need not be.
		dir, err := os.MkdirTemp("", "sp")
		if err != nil {
			tb.Fatal(err)
		}
		// Not sooner: another server may be at the URL then.
		tb.Cleanup(func() { os.RemoveAll(dir) })
		address = filepath.Join(dir, "s")
	}
	var err error
	if s.ln, err = net.Listen(network, address); err != nil {
		tb.Fatal(err)
	}
	s.url = sysproxy.URL{Network: network, Address: s.ln.Addr().String()}.String()
	tb.Cleanup(s.Close)
	s.scripts.Add(1)
	go func() {
		defer s.scripts.Done()
		for {
			nc, err := s.ln.Accept()
			if err != nil {
				return
			}
			if !s.enter(nc) {
				return
			}
			go func() {
				// Also when the script ends itself with Goexit.
				defer s.leave(nc)
				serve(s, nc)
			}()
		}
	}()
	return s
}

// URL returns the address to dial.
func (s *Server) URL() string { return s.url }

// Close ends the server and its connections and waits for its scripts.
func (s *Server) Close() {
	s.ln.Close()
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		close(s.closing)
	}
	for nc := range s.conns {
		nc.Close()
	}
	s.mu.Unlock()
	s.scripts.Wait()
}

func (s *Server) enter(nc net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		nc.Close()
		return false
	}
	s.conns[nc] = struct{}{}
	s.scripts.Add(1)
	return true
}

func (s *Server) leave(nc net.Conn) {
	nc.Close()
	s.mu.Lock()
	delete(s.conns, nc)
	s.mu.Unlock()
	s.scripts.Done()
}

// Peer is the server's side of a connection. Its methods may be used by several
// goroutines. A method that needs a client that is gone ends the goroutine, as
// t.FailNow does; that is no failure of the test, for the client knows best
// whether it should have gone.
type Peer struct {
	TB      TB
	Conn    net.Conn
	Machine *netbsd.Machine
	Layout  sysproxy.Layout

	gone    chan struct{} // closed when the client has ended
	reader  chan struct{} // closed when the reader has
	ended   chan struct{} // closed when the script has ended
	closing chan struct{} // closed when the server is to end

	// wmu is held while something is written: frames are whole. The reader
	// must not wait for it.
	wmu sync.Mutex
	out []byte

	more     chan struct{} // gets a value when requests is no longer empty
	mu       sync.Mutex
	requests []Frame
	reqno    uint64
	copies   map[uint64]chan Frame
	deaf     chan struct{} // not nil while nothing is read; closed then
}

// Frame is a frame that has been received.
type Frame struct {
	Header  sysproxy.Header
	Message sysproxy.Message
}

// maxFrame is the longest payload that is read of a client.
const maxFrame = 64 << 20

func newPeer(tb TB, nc net.Conn, m *netbsd.Machine, closing chan struct{}) *Peer {
	p := &Peer{
		TB: tb, Conn: nc, Machine: m,
		Layout:  sysproxy.Layout{Order: m.Order, WordSize: m.WordSize},
		gone:    make(chan struct{}),
		reader:  make(chan struct{}),
		ended:   make(chan struct{}),
		closing: closing,
		more:    make(chan struct{}, 1),
		copies:  make(map[uint64]chan Frame),
	}
	go p.read()
	return p
}

func (p *Peer) end() {
	close(p.ended)
	p.Conn.Close()
	<-p.reader
}

// read sorts what comes: answers go to whoever asked, requests are queued for NextRequest.
func (p *Peer) read() {
	defer close(p.reader)
	defer close(p.gone)
	for {
		f, err := p.readFrame()
		if !p.listening() {
			return
		}
		if err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) && !isReset(err) {
				p.TB.Errorf("from the client: %v", err)
			}
			return
		}
		p.mu.Lock()
		if f.Header.Class != sysproxy.Resp {
			p.requests = append(p.requests, f)
			select {
			case p.more <- struct{}{}:
			default:
			}
		} else if to := p.copies[f.Header.ReqNo]; to != nil {
			to <- f // has room
			delete(p.copies, f.Header.ReqNo)
		} else {
			p.TB.Errorf("from the client: %s %s to request %d, which was not made",
				f.Header.Class, f.Header.Type, f.Header.ReqNo)
		}
		p.mu.Unlock()
	}
}

// listening waits for the end of StopReading and returns false if it has none.
func (p *Peer) listening() bool {
	p.mu.Lock()
	deaf := p.deaf
	p.mu.Unlock()
	if deaf == nil {
		return true
	}
	select {
	case <-deaf:
		return true
	case <-p.ended:
	case <-p.closing:
	}
	return false
}

func (p *Peer) readFrame() (Frame, error) {
	h, err := p.Layout.ReadHeader(p.Conn)
	if err != nil {
		return Frame{}, err
	}
	payload, err := sysproxy.ReadPayload(p.Conn, h, nil, maxFrame)
	if err != nil {
		return Frame{}, err
	}
	m, err := p.Layout.Decode(h, payload)
	return Frame{h, m}, err
}

// Write sends bytes as they are.
func (p *Peer) Write(b []byte) {
	p.wmu.Lock()
	defer p.wmu.Unlock()
	p.write(b)
}

func (p *Peer) write(b []byte) {
	if _, err := p.Conn.Write(b); err != nil {
		runtime.Goexit()
	}
}

// Send sends a frame.
func (p *Peer) Send(m sysproxy.Message, reqno uint64) {
	p.wmu.Lock()
	defer p.wmu.Unlock()
	p.out = m.Append(p.out[:0], p.Layout, reqno)
	p.write(p.out)
}

// Encode returns a frame's bytes, to be cut, changed or repeated and then sent
// with [Peer.Write], [Peer.Trickle] or [Peer.Flood].
func (p *Peer) Encode(m sysproxy.Message, reqno uint64) []byte { return m.Append(nil, p.Layout, reqno) }

// Trickle sends bytes one by one, with a pause after each, and nothing else in
// between.
func (p *Peer) Trickle(b []byte, pause time.Duration) {
	p.wmu.Lock()
	defer p.wmu.Unlock()
	for i := range b {
		p.write(b[i : i+1])
		time.Sleep(pause)
	}
}

// Flood sends the same bytes again and again until the client goes or the server
// is closed, and calls sent, which may be nil, after each time. Together with
// [Peer.StopReading] it is a server that asks and does not listen. It blocks, as
// any Write does, when the client does not read.
func (p *Peer) Flood(b []byte, sent func()) {
	for {
		p.wmu.Lock()
		_, err := p.Conn.Write(b)
		p.wmu.Unlock()
		if err != nil {
			return
		}
		if sent != nil {
			sent()
		}
	}
}

// StopReading leaves what the client sends where it is, one frame that may be on
// its way in the peer, the others in the connection, until [Peer.ResumeReading].
// That the client has gone is not noticed either.
func (p *Peer) StopReading() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.deaf == nil {
		p.deaf = make(chan struct{})
	}
}

// ResumeReading ends StopReading.
func (p *Peer) ResumeReading() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.deaf != nil {
		close(p.deaf)
		p.deaf = nil
	}
}

// Hangup closes the connection, wherever it is, and ends the goroutine as every
// method does that needs a client.
func (p *Peer) Hangup() {
	p.Conn.Close()
	runtime.Goexit()
}

// BannerOf returns the banner of a kernel of the machine, with its newline.
func BannerOf(m *netbsd.Machine) string {
	return sysproxy.Banner{
		Major: sysproxy.ProtocolMajor, Minor: sysproxy.ProtocolMinor,
		OSType: "NetBSD", OSRelease: "7.99.34", Machine: m.Name,
	}.String() + "\n"
}

// Handshake sends the banner and lets the client be a process. It returns the
// program's name.
func (p *Peer) Handshake() string { return p.handshake(BannerOf(p.Machine)) }

// Greet sends the banner and returns the client's first request, which should be
// a handshake, unanswered: to refuse it, to answer it late, or to see whether the
// client is a new process (sysproxy.Guest) or a child (sysproxy.Fork).
func (p *Peer) Greet() Frame { return p.greet(BannerOf(p.Machine)) }

func (p *Peer) greet(banner string) Frame {
	p.Write([]byte(banner))
	return p.NextRequest()
}

func (p *Peer) handshake(banner string) string {
	f := p.greet(banner)
	guest, ok := f.Message.(sysproxy.Guest)
	if !ok {
		p.TB.Errorf("client began with %s %s, not with a handshake", f.Header.Class, f.Header.Type)
		runtime.Goexit()
	}
	p.Send(sysproxy.HandshakeReply{}, f.Header.ReqNo)
	return guest.Name
}

// NextRequest returns the client's next request.
func (p *Peer) NextRequest() Frame {
	for {
		p.mu.Lock()
		if len(p.requests) > 0 {
			f := p.requests[0]
			p.requests = p.requests[1:]
			if len(p.requests) > 0 {
				select {
				case p.more <- struct{}{}: // for somebody else who waits
				default:
				}
			}
			p.mu.Unlock()
			return f
		}
		p.mu.Unlock()
		select {
		case <-p.more:
		case <-p.gone:
			if !p.anyRequest() {
				runtime.Goexit()
			}
		}
	}
}

func (p *Peer) anyRequest() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.requests) > 0
}

// Gone returns a channel that is closed when the client has gone.
func (p *Peer) Gone() <-chan struct{} { return p.gone }

// WaitGone waits for the client to go.
func (p *Peer) WaitGone() { <-p.gone }

// NextReqNo returns a number for a request of the server's.
func (p *Peer) NextReqNo() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reqno++
	return p.reqno - 1
}

// CopyIn reads n bytes of the client's memory.
func (p *Peer) CopyIn(addr uint64, n int) []byte {
	b := p.copyIn(sysproxy.CopyIn{Len: uint64(n), Addr: addr})
	if len(b) != n {
		p.TB.Errorf("client answered COPYIN of %d bytes with %d", n, len(b))
		runtime.Goexit()
	}
	return b
}

// CopyInStr reads a string of at most limit bytes, its NUL included, and returns
// what came.
func (p *Peer) CopyInStr(addr uint64, limit int) []byte {
	return p.copyIn(sysproxy.CopyInStr{Len: uint64(limit), Addr: addr})
}

func (p *Peer) copyIn(m sysproxy.Message) []byte {
	switch m := p.Ask(m).Message.(type) {
	case sysproxy.CopyInReply:
		return m.Data
	default:
		p.TB.Errorf("client answered a copy request with %T", m)
	}
	runtime.Goexit()
	panic("unreachable")
}

// Ask makes a request of the client and returns its answer.
func (p *Peer) Ask(m sysproxy.Message) Frame {
	reqno := p.NextReqNo()
	// With room, for the reader does not wait.
	answer := make(chan Frame, 1)
	p.mu.Lock()
	p.copies[reqno] = answer
	p.mu.Unlock()
	p.Send(m, reqno)
	select {
	case f := <-answer:
		return f
	case <-p.gone:
		// It may have answered before it went.
		select {
		case f := <-answer:
			return f
		default:
		}
	}
	runtime.Goexit()
	panic("unreachable")
}

// CopyOut writes to the client's memory.
func (p *Peer) CopyOut(addr uint64, data []byte) {
	p.Send(sysproxy.CopyOut{Addr: addr, Data: data}, p.NextReqNo())
}

// CopyOutStr writes a string and its NUL to the client's memory.
func (p *Peer) CopyOutStr(addr uint64, s string) {
	p.Send(sysproxy.CopyOutStr{Addr: addr, Data: append([]byte(s), 0)}, p.NextReqNo())
}

// AnonMmap asks the client for n bytes of memory and returns their address, 0 when
// it gives none.
func (p *Peer) AnonMmap(n uint64) (addr uint64) {
	switch m := p.Ask(sysproxy.AnonMmap{Len: n}).Message.(type) {
	case sysproxy.AnonMmapReply:
		return m.Addr
	default:
		p.TB.Errorf("client answered ANONMMAP with %T", m)
	}
	runtime.Goexit()
	panic("unreachable")
}

// Raise raises a signal, by NetBSD's number, in the client.
func (p *Peer) Raise(signo int32) {
	p.Send(sysproxy.Raise{Signo: uint32(signo)}, p.NextReqNo())
}

// Call is a system call of the client's.
type Call struct {
	*Peer
	ReqNo uint64
	Num   uint32
	Args  netbsd.ArgReader

	args []byte
}

// NextCall returns the client's next request, which must be a system call.
func (p *Peer) NextCall() *Call {
	f := p.NextRequest()
	call, ok := f.Message.(sysproxy.Syscall)
	if !ok {
		p.TB.Errorf("client sent %s %s, not a system call", f.Header.Class, f.Header.Type)
		runtime.Goexit()
	}
	return &Call{p, f.Header.ReqNo, call.Num, netbsd.NewArgReader(p.Machine, call.Args), call.Args}
}

// Reply answers the call with success and the two registers of the result.
func (c *Call) Reply(ret0, ret1 uint64) {
	c.Send(sysproxy.SyscallReply{Retval: [2]uint64{ret0, ret1}, Pad: 0x7f00}, c.ReqNo)
}

// Fail answers the call with an errno.
func (c *Call) Fail(errno netbsd.Errno) {
	c.Send(sysproxy.SyscallReply{Errno: int32(errno), Pad: 0x7f00}, c.ReqNo)
}

// Refuse answers the call with an ERROR frame.
func (c *Call) Refuse(code sysproxy.ErrorCode) { c.Send(sysproxy.Refusal{Code: code}, c.ReqNo) }

// Serve makes the handshake and answers calls until the client goes, each in a
// goroutine of its own, with the function for its number. Others get ENOSYS.
func (p *Peer) Serve(calls map[uint32]func(*Call)) {
	p.ServeAll(func(c *Call) {
		if f := calls[c.Num]; f != nil {
			f(c)
		} else {
			c.Fail(netbsd.ENOSYS)
		}
	})
}

// ServeAll is Serve with one function for all calls.
func (p *Peer) ServeAll(f func(*Call)) {
	p.Handshake()
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		call := p.NextCall()
		wg.Add(1)
		go func() {
			defer wg.Done()
			f(call)
		}()
	}
}
