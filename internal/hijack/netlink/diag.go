//go:build linux

package netlink

import (
	"context"
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/netview"
	"rumptools/pkg/netbsd"
)

// Types of requests (linux/sock_diag.h, linux/inet_diag.h).
const (
	tcpdiagGetSock   = 18
	dccpdiagGetSock  = 19
	sockDiagByFamily = unix.SOCK_DIAG_BY_FAMILY
	sockDestroy      = unix.SOCK_DESTROY
)

// Sizes of structures of linux/inet_diag.h.
const (
	sizeofDiagReq   = 56 // inet_diag_req
	sizeofDiagReqV2 = 56 // inet_diag_req_v2
	sizeofDiagID    = 48 // inet_diag_sockid
)

// Attributes of requests and of answers (linux/inet_diag.h). Answers have most
// of them when the bit of their number less one is in idiag_ext.
const (
	diagReqBytecode = 1
	diagReqProtocol = 3

	diagMemInfo   = 1
	diagInfo      = 2
	diagSKMemInfo = 7
	diagShutdown  = 8
	diagV6Only    = 11
)

// anyCookie is half of an idiag_cookie that says that none is meant.
const anyCookie = ^uint32(0)

func findDiag(r *request) (handler, error) {
	switch r.typ {
	case tcpdiagGetSock, dccpdiagGetSock:
		return (*Server).oldDiag, nil
	case sockDiagByFamily:
		return (*Server).diag, nil
	case sockDestroy:
		return nil, unix.EPERM
	}
	return nil, unix.EINVAL
}

// diagRequest is what is asked about sockets.
type diagRequest struct {
	families []uint8
	protocol uint8
	ext      uint8
	states   uint32 // bits of netview's TCP*
	// One socket, for requests of one.
	local, remote netip.AddrPort
	index         uint32
	cookie        [2]uint32
	filter        bytecode
}

// oldDiag is the request from before there was SOCK_DIAG_BY_FAMILY.
func (s *Server) oldDiag(ctx context.Context, r *request) error {
	if len(r.body) < sizeofDiagReq {
		return unix.EINVAL
	}
	head, rest := r.fixed(sizeofDiagReq)
	if r.typ == dccpdiagGetSock {
		return unix.ENOENT
	}
	q := &diagRequest{protocol: unix.IPPROTO_TCP, ext: head[3], states: native.Uint32(head[52:])}
	q.families = []uint8{unix.AF_INET, unix.AF_INET6}
	if head[0] != unix.AF_UNSPEC {
		q.families = []uint8{head[0]}
	}
	q.id(head[0], head[4:52])
	q.filter = rest[diagReqBytecode]
	return s.sockets(ctx, r, q)
}

// diag is SOCK_DIAG_BY_FAMILY.
func (s *Server) diag(ctx context.Context, r *request) error {
	if len(r.body) < 1 {
		return unix.EINVAL
	}
	switch r.body[0] {
	case unix.AF_UNIX, unix.AF_NETLINK, unix.AF_PACKET:
		// Those that a program has are the host's, and so are those that
		// its Internet sockets are made of. None is of this network.
		if !r.dump() {
			return unix.ENOENT
		}
		r.answerList(unix.NLMSG_DONE, nil, 0)
		return nil
	case unix.AF_INET, unix.AF_INET6:
	default:
		return unix.ENOENT
	}
	if len(r.body) < sizeofDiagReqV2 {
		return unix.EINVAL
	}
	head, rest := r.fixed(sizeofDiagReqV2)
	q := &diagRequest{families: head[:1], protocol: head[1], ext: head[2], states: native.Uint32(head[4:])}
	if p := rest[diagReqProtocol]; len(p) >= 4 && native.Uint32(p) > 255 {
		return unix.ENOENT // MPTCP
	}
	switch q.protocol {
	case unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_RAW:
	default:
		return unix.ENOENT
	}
	q.id(head[0], head[8:56])
	q.filter = rest[diagReqBytecode]
	return s.sockets(ctx, r, q)
}

// id reads a struct inet_diag_sockid.
func (q *diagRequest) id(family uint8, b []byte) {
	addr := func(b []byte, port uint16) netip.AddrPort {
		if family == unix.AF_INET6 {
			return netip.AddrPortFrom(netip.AddrFrom16([16]byte(b)), port)
		}
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b)), port)
	}
	q.local = addr(b[4:20], binary.BigEndian.Uint16(b))
	q.remote = addr(b[20:36], binary.BigEndian.Uint16(b[2:]))
	q.index = native.Uint32(b[36:])
	q.cookie = [2]uint32{native.Uint32(b[40:]), native.Uint32(b[44:])}
}

// sockets answers with a list of sockets, or with one of them.
func (s *Server) sockets(ctx context.Context, r *request, q *diagRequest) error {
	var found []netview.Socket
	for _, family := range q.families {
		list, err := netview.Sockets(ctx, s.kernel, family, q.protocol)
		if err != nil {
			return err
		}
		found = append(found, list...)
	}
	if !r.dump() {
		return s.oneSocket(r, q, found)
	}
	if !q.filter.valid() {
		return unix.EINVAL
	}
	var bodies [][]byte
	for i := range found {
		so := &found[i]
		switch {
		case q.states&(1<<so.State) == 0:
		case q.local.Port() != 0 && q.local.Port() != so.Local.Port():
		case q.remote.Port() != 0 && q.remote.Port() != so.Remote.Port():
		case !q.filter.accepts(so):
		default:
			bodies = append(bodies, s.socketBody(so, q.ext))
		}
	}
	r.answerList(r.typ, bodies, 0)
	return nil
}

// oneSocket answers with the socket that a packet from remote to local goes to,
// or with that of a cookie.
func (s *Server) oneSocket(r *request, q *diagRequest, list []netview.Socket) error {
	var best *netview.Socket
	for i := range list {
		so := &list[i]
		if so.Local.Port() != q.local.Port() || so.Index != 0 && q.index != 0 && so.Index != int(q.index) {
			continue
		}
		switch {
		case so.Remote.Port() != 0 || q.protocol == unix.IPPROTO_RAW:
			if so.Remote != q.remote || so.Local.Addr() != q.local.Addr() {
				continue
			}
		case so.Local.Addr() != q.local.Addr() && !so.Local.Addr().IsUnspecified():
			continue
		}
		if best == nil || closeness(so) > closeness(best) {
			best = so
		}
	}
	if best == nil {
		return unix.ENOENT
	}
	if c := cookie(best); q.cookie != [2]uint32{anyCookie, anyCookie} && q.cookie != c {
		return unix.ESTALE
	}
	r.answer(r.typ, s.socketBody(best, q.ext))
	return nil
}

// closeness is higher for sockets with a peer, and for those with an address.
func closeness(so *netview.Socket) int {
	switch {
	case so.Remote.Port() != 0:
		return 2
	case !so.Local.Addr().IsUnspecified():
		return 1
	}
	return 0
}

// cookie is what tells a socket from a later one with the same addresses: the
// kernel's address of it.
func cookie(so *netview.Socket) [2]uint32 {
	return [2]uint32{uint32(so.Pcb.Sockaddr), uint32(so.Pcb.Sockaddr >> 32)}
}

// socketBody is a struct inet_diag_msg with the attributes that are asked for.
func (s *Server) socketBody(so *netview.Socket, ext uint8) []byte {
	owner := s.owner.Of(so)
	b := make([]byte, 0, 128)
	b = append(b, so.Family, so.State, 0, 0)
	if so.State == netview.TCPTimeWait {
		b[2] = 3 // the timer that is running; how long it will is not known
	}
	b = binary.BigEndian.AppendUint16(b, so.Local.Port())
	b = binary.BigEndian.AppendUint16(b, so.Remote.Port())
	for _, a := range []netip.Addr{so.Local.Addr(), so.Remote.Addr()} {
		var room [16]byte
		copy(room[:], a.AsSlice())
		b = append(b, room[:]...)
	}
	b = native.AppendUint32(b, uint32(so.Index))
	c := cookie(so)
	b = native.AppendUint32(b, c[0])
	b = native.AppendUint32(b, c[1])
	b = native.AppendUint32(b, 0) // idiag_expires
	recvQueue, sendQueue := so.RecvQueue+owner.Unread, so.SendQueue
	if so.State == netview.TCPListen {
		sendQueue = owner.Backlog
	}
	b = native.AppendUint32(b, recvQueue)
	b = native.AppendUint32(b, sendQueue)
	b = native.AppendUint32(b, owner.UID)
	b = native.AppendUint32(b, owner.Inode)
	if so.State == netview.TCPTimeWait {
		return b
	}
	b = appendAttr8(b, diagShutdown, shutdownOf(so))
	if so.Family == unix.AF_INET6 && (so.State == netview.TCPListen || so.State == netview.TCPClose) {
		b = appendAttr8(b, diagV6Only, boolByte(so.V6Only))
	}
	if ext&(1<<(diagMemInfo-1)) != 0 {
		// struct inet_diag_meminfo: receive queue, send queue, reserved,
		// and what was sent.
		var mem []byte
		for _, v := range []uint32{recvQueue, sendQueue, 0, sendQueue} {
			mem = native.AppendUint32(mem, v)
		}
		b = appendAttr(b, diagMemInfo, mem)
	}
	if ext&(1<<(diagSKMemInfo-1)) != 0 {
		// SK_MEMINFO_*: the sizes of buffers are not known.
		var mem []byte
		for _, v := range [9]uint32{0: recvQueue, 2: sendQueue, 5: sendQueue} {
			mem = native.AppendUint32(mem, v)
		}
		b = appendAttr(b, diagSKMemInfo, mem)
	}
	if ext&(1<<(diagInfo-1)) != 0 && so.Protocol == unix.IPPROTO_TCP {
		b = appendAttr(b, diagInfo, tcpInfo(so))
	}
	return b
}

func boolByte(v bool) uint8 {
	if v {
		return 1
	}
	return 0
}

// shutdownOf is which directions are shut down, RCV_SHUTDOWN and
// SEND_SHUTDOWN.
func shutdownOf(so *netview.Socket) uint8 {
	return boolByte(so.Pcb.Sostate&netbsd.SS_CANTRCVMORE != 0) | boolByte(so.Pcb.Sostate&netbsd.SS_CANTSENDMORE != 0)<<1
}

// Flags of a TCP control block (<netinet/tcp_var.h>), in ki_tflags.
const (
	tfRcvdTstmp  = 0x0100
	tfSackPermit = 0x0200
)

// sizeofTCPInfo is the size of struct tcp_info up to tcpi_total_retrans.
const sizeofTCPInfo = 104

// duplicateAcks is how many duplicate acknowledgements make TCP send again: 3 on
// NetBSD as on Linux, where the number grows with reordering.
const duplicateAcks = 3

// tcpInfo is a struct tcp_info, of which only the state and some options are
// known from a list of sockets.
func tcpInfo(so *netview.Socket) []byte {
	b := make([]byte, sizeofTCPInfo)
	b[0] = so.State
	for _, f := range []struct {
		tf     uint32
		option uint8 // TCPI_OPT_*
	}{{tfRcvdTstmp, 1}, {tfSackPermit, 2}} {
		if so.Pcb.Tflags&f.tf != 0 {
			b[5] |= f.option
		}
	}
	native.PutUint32(b[88:], duplicateAcks) // tcpi_reordering
	return b
}
