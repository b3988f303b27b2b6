package inet

import (
	"bytes"
	"reflect"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"

	"rumptools/internal/kernel"
	"rumptools/pkg/netbsd"
)

// tcpView is what an endpoint looks like at one moment.
type tcpView struct {
	state tcp.EndpointState
	// received and unsent are the bytes to read, and those sent that the
	// peer has not acknowledged.
	received, unsent int
	// recvClosed says that no more will come.
	recvClosed bool
}

// lookAt takes a view of an endpoint. All parts of it are changed with the
// endpoint's lock held.
func lookAt(ep *tcp.Endpoint) tcpView {
	ep.LockUser()
	defer ep.UnlockUser()
	return tcpView{
		state:      ep.EndpointState(),
		received:   ep.RcvBufUsed,
		recvClosed: ep.RcvClosed,
		// Of one that has been closed the engine may count one too few.
		unsent: max(int(reflect.ValueOf(ep).Elem().FieldByIndex(sndBufUsed).Int()), 0),
	}
}

// sndBufUsed is where an endpoint counts the bytes in its send queue. The
// engine has no call that tells, but NetBSD shows it in netstat, poll and
// kqueue.
var sndBufUsed = func() []int {
	t := reflect.TypeFor[tcp.Endpoint]()
	queue, ok := t.FieldByName("sndQueueInfo")
	if !ok {
		panic("inet: this version of the engine has no sndQueueInfo")
	}
	used, ok := queue.Type.FieldByName("SndBufUsed")
	if !ok || used.Type.Kind() != reflect.Int {
		panic("inet: this version of the engine has no SndBufUsed")
	}
	return append(append([]int(nil), queue.Index...), used.Index...)
}()

// sender is where an endpoint has its sender, and the fields of that with the first byte that
// has not been sent, the first that is not acknowledged, and how many a segment has. The engine
// tells none of them; of the last, which the peer has a say in, nothing else does.
var sender = func() (at struct{ sender, next, una, segment []int }) {
	snd := field(reflect.TypeFor[tcp.Endpoint](), "snd", reflect.Pointer)
	at.sender = snd.Index
	at.next = field(snd.Type.Elem(), "SndNxt", reflect.Uint32).Index
	at.una = field(snd.Type.Elem(), "SndUna", reflect.Uint32).Index
	at.segment = field(snd.Type.Elem(), "MaxPayloadSize", reflect.Int).Index
	return at
}()

func field(t reflect.Type, name string, kind reflect.Kind) reflect.StructField {
	f, ok := t.FieldByName(name)
	if !ok || f.Type.Kind() != kind {
		panic("inet: this version of the engine has no " + name)
	}
	return f
}

// nextSegment gives the bytes of a full segment, 0 without a connection, and how many have been
// written and not sent.
func nextSegment(ep *tcp.Endpoint) (size, waiting int) {
	ep.LockUser()
	defer ep.UnlockUser()
	v := reflect.ValueOf(ep).Elem()
	snd := v.FieldByIndex(sender.sender)
	if snd.IsNil() {
		return 0, 0
	}
	snd = snd.Elem()
	uint := func(at []int) uint32 { return uint32(snd.FieldByIndex(at).Uint()) }
	inFlight := int(uint(sender.next) - uint(sender.una))
	return int(snd.FieldByIndex(sender.segment).Int()), max(int(v.FieldByIndex(sndBufUsed).Int())-inFlight, 0)
}

// Recv implements [kernel.Socket].
func (so *tcpSocket) Recv(_ *kernel.Call, m *kernel.Message) (int, error) {
	m.Name, m.Control, m.Files = nil, nil, nil
	m.Flags &^= netbsd.MSG_EOR
	if m.Flags&netbsd.MSG_OOB != 0 {
		return 0, netbsd.EINVAL // there is no urgent data
	}
	ready, err := so.readable(m.Flags, len(m.Data))
	if err != nil || !ready {
		return 0, err
	}
	peek := m.Flags&netbsd.MSG_PEEK != 0
	w := tcpip.SliceWriter(m.Data)
	res, terr := so.ep.Read(&w, tcpip.ReadOptions{Peek: peek})
	switch terr.(type) {
	case nil:
		if !peek {
			so.ep.ModerateRecvBuf(res.Count)
		}
		return res.Count, nil
	case *tcpip.ErrBadBuffer: // no room at all
		return 0, nil
	}
	// Another reader was faster, or the connection has just ended.
	so.broke(terr)
	return 0, netbsd.EAGAIN
}

// readable tells whether there is something to read. False without an error is
// the end of the stream. It decides as soreceive does.
func (so *tcpSocket) readable(flags int32, want int) (bool, error) {
	so.mu.Lock()
	defer so.mu.Unlock()
	v := so.sync()
	have := v.received
	if so.shutRead || so.phase == tcpListening {
		have = 0
	}
	enough := have > 0 && (flags&netbsd.MSG_DONTWAIT != 0 || have >= want ||
		have >= so.rcv.lowat && !(flags&netbsd.MSG_WAITALL != 0 && flags&netbsd.MSG_PEEK != 0 && want <= so.rcv.hiwat))
	if enough {
		return true, nil
	}
	switch {
	case so.err != 0:
		if have > 0 {
			return true, nil
		}
		if flags&netbsd.MSG_PEEK != 0 {
			return false, so.err
		}
		return false, so.takeError()
	case so.cantRecv:
		return have > 0, nil
	case !so.connected && so.phase != tcpConnecting:
		return false, netbsd.ENOTCONN
	case want == 0:
		return false, nil
	}
	return false, netbsd.EAGAIN
}

// Read implements [kernel.File].
func (so *tcpSocket) Read(p []byte) (int, error) {
	return so.Recv(nil, &kernel.Message{Data: p})
}

// Write implements [kernel.File].
func (so *tcpSocket) Write(p []byte) (int, error) {
	return so.Send(nil, &kernel.Message{Data: p})
}

// Send implements [kernel.Socket]. Where it goes is known, so an address is not
// looked at.
func (so *tcpSocket) Send(_ *kernel.Call, m *kernel.Message) (int, error) {
	room, err := so.writable(m)
	if err != nil || len(m.Data) == 0 {
		return 0, err
	}
	n, terr := so.ep.Write(bytes.NewReader(m.Data[:min(room, len(m.Data))]), tcpip.WriteOptions{})
	if terr == nil {
		return int(n), nil
	}
	if _, ok := terr.(*tcpip.ErrWouldBlock); ok {
		return 0, netbsd.EAGAIN
	}
	// The connection has just ended; why tells the next call.
	so.broke(terr)
	return 0, netbsd.EPIPE
}

// broke keeps why the connection has ended, if a call of the engine's has said so: it says it once.
func (so *tcpSocket) broke(said tcpip.Error) {
	so.mu.Lock()
	defer so.mu.Unlock()
	so.sync()
	if errno := tcpErrno(said); so.phase == tcpGone && so.err == 0 && errno != netbsd.EINVAL {
		so.err = errno
	}
}

// writable gives the room in the send buffer, if there is enough for a message.
// It decides as sosend does.
func (so *tcpSocket) writable(m *kernel.Message) (int, error) {
	so.mu.Lock()
	defer so.mu.Unlock()
	v := so.sync()
	switch {
	case so.cantSend:
		return 0, netbsd.EPIPE
	case so.err != 0:
		return 0, so.takeError()
	case !so.connected:
		return 0, netbsd.ENOTCONN
	case len(m.Control) > 0:
		return 0, netbsd.EINVAL
	case m.Flags&netbsd.MSG_OOB != 0:
		return 0, netbsd.EOPNOTSUPP // there is no urgent data
	}
	room := so.sendRoom(v)
	most := so.stack.tcpParam("sendbuf_max")
	if room < len(m.Data) && so.opt.autoSend && v.unsent >= so.snd.hiwat/8*7 && so.snd.hiwat < most {
		so.snd.hiwat = min(so.snd.hiwat+so.stack.tcpParam("sendbuf_inc"), most)
		so.ep.SocketOptions().SetSendBufferSize(int64(so.snd.hiwat), true)
		room = so.sendRoom(v)
	}
	if room < len(m.Data) && room < so.sendLowat() {
		return 0, netbsd.EAGAIN
	}
	return room, nil
}

func (so *tcpSocket) sendRoom(v tcpView) int { return max(so.snd.hiwat-v.unsent, 0) }

// sendLowat is the room that makes the socket ready to write. It is at most
// half the buffer, since the engine tells of room when half of it is free.
func (so *tcpSocket) sendLowat() int { return min(so.snd.lowat, max(so.snd.hiwat/2, 1)) }

// Poll implements [kernel.File].
func (so *tcpSocket) Poll() (ev kernel.Events) {
	so.mu.Lock()
	defer so.mu.Unlock()
	v := so.sync()
	so.drain()
	if so.unread(v) >= so.rcv.lowat || so.cantRecv || so.waiting() > 0 || so.err != 0 {
		ev |= pollRead
	}
	if so.connected && so.sendRoom(v) >= so.sendLowat() || so.cantSend || so.err != 0 {
		ev |= pollWrite
	}
	return ev
}

// unread is the bytes to read.
func (so *tcpSocket) unread(v tcpView) int {
	if so.shutRead || so.phase == tcpListening || so.closed {
		return 0
	}
	return v.received
}

// Pending implements [kernel.File].
func (so *tcpSocket) Pending() (read, write int64) {
	so.mu.Lock()
	defer so.mu.Unlock()
	v := so.sync()
	so.drain()
	if so.phase == tcpListening {
		return int64(so.waiting()), int64(so.snd.hiwat)
	}
	return int64(so.unread(v)), int64(so.sendRoom(v))
}

// Ended implements [kernel.Ender].
func (so *tcpSocket) Ended() (read, write bool, err error) {
	so.mu.Lock()
	defer so.mu.Unlock()
	so.sync()
	return so.ended()
}

// Ioctl implements [kernel.File].
func (so *tcpSocket) Ioctl(c *kernel.Call, cmd uint32, data []byte) error {
	so.mu.Lock()
	v := so.sync()
	queued := so.unread(v)
	so.mu.Unlock()
	return so.ioctl(c, cmd, data, queued, v.unsent)
}
