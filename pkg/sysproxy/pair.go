package sysproxy

// ExtPair is the request PAIR: two programs whose sockets are the ends of one connection
// join sockets of the host's instead, which carry the bytes. It is announced to those
// only who get [ExtLend] announced.
const ExtPair = "pair"

// TypePair is the type of PAIR.
const TypePair Type = 0x4c03

// PcbPair is set in ki_tflags of the lists of TCP sockets (struct kinfo_pcb) for the ends
// of a connection that is a pair. NetBSD has no flag there.
const PcbPair = 1 << 30

// PairOp is what a PAIR request wants.
type PairOp uint32

// The operations of PAIR. FD is a TCP socket of the client's with all of them.
const (
	// PairExpect: FD is about to be connected, and its client will ask (PairAsk) when
	// it is, or lend or close it; or it is about to listen, and its client will offer
	// (PairOffer) for each connection that it accepts, or lend or close that.
	PairExpect PairOp = 0
	// PairExpected asks of FD, which was accepted, whether the other end of its connection
	// is a socket of this kernel's whose client will ask.
	PairExpected PairOp = 1
	// PairOffer says for FD, which was accepted, that a local stream socket of the
	// host listens at a path for the other end. It is answered when that is
	// connected, or will not be.
	PairOffer PairOp = 2
	// PairAsk asks for the path for FD, which is connected. It is answered when the
	// other end has offered one, or will not in time.
	PairAsk PairOp = 3
	// PairJoined says that the path was connected to, PairRefused that it will not be.
	PairJoined  PairOp = 4
	PairRefused PairOp = 5
)

// MaxPairPath is the longest path of PAIR, in bytes: that of struct sockaddr_un on Linux.
const MaxPairPath = 107

// Pair is a PAIR request.
type Pair struct {
	FD   int32
	Op   PairOp
	Path string // with PairOffer
}

// PairReply answers Pair.
type PairReply struct {
	Errno int32 // why there is no answer, an errno of the server's, or 0
	// Yes: it is expected; it was joined; there is a path.
	Yes  bool
	Path string // of PairAsk
}

const (
	pairLen      = 8
	pairReplyLen = 8
)

// Append implements [Message].
func (m Pair) Append(b []byte, l Layout, reqno uint64) []byte {
	b = l.header(b, reqno, Req, TypePair, 0, pairLen+len(m.Path))
	b = l.Order.AppendUint32(b, uint32(m.FD))
	b = l.Order.AppendUint32(b, uint32(m.Op))
	return append(b, m.Path...)
}

// Append implements [Message].
func (m PairReply) Append(b []byte, l Layout, reqno uint64) []byte {
	b = l.header(b, reqno, Resp, TypePair, 0, pairReplyLen+len(m.Path))
	b = l.Order.AppendUint32(b, uint32(m.Errno))
	var yes uint32
	if m.Yes {
		yes = 1
	}
	b = l.Order.AppendUint32(b, yes)
	return append(b, m.Path...)
}

// ParsePair reads the payload of a PAIR request.
func (l Layout) ParsePair(h Header, payload []byte) (Pair, error) {
	if len(payload) < pairLen || len(payload) > pairLen+MaxPairPath {
		return Pair{}, &PayloadError{h.Class, h.Type, h.U, len(payload), "8 bytes and a path"}
	}
	return Pair{
		FD:   int32(l.Order.Uint32(payload)),
		Op:   PairOp(l.Order.Uint32(payload[4:])),
		Path: string(payload[pairLen:]),
	}, nil
}

// ParsePairReply reads the payload of a RESP PAIR.
func (l Layout) ParsePairReply(h Header, payload []byte) (PairReply, error) {
	if len(payload) < pairReplyLen || len(payload) > pairReplyLen+MaxPairPath {
		return PairReply{}, &PayloadError{h.Class, h.Type, h.U, len(payload), "8 bytes and a path"}
	}
	return PairReply{
		Errno: int32(l.Order.Uint32(payload)),
		Yes:   l.Order.Uint32(payload[4:]) != 0,
		Path:  string(payload[pairReplyLen:]),
	}, nil
}
