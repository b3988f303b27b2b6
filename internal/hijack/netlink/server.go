//go:build linux

package netlink

import (
	"context"
	"errors"
	"sync"

	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/linuxsock"
	"rumptools/internal/hijack/netview"
)

// Server answers requests from what a kernel says. Its methods may be used by
// any number of goroutines.
type Server struct {
	kernel netview.Kernel
	owner  netview.OwnerOf

	mu     sync.Mutex
	events *events // nil as long as nobody watches

	changing sync.Mutex // held while it is looked what there is and that is changed
}

// New makes a server for a kernel. owner tells whose a socket is; it may be
// nil.
func New(k netview.Kernel, owner netview.OwnerOf) *Server {
	return &Server{kernel: netview.Remember(k), owner: owner}
}

// handler answers a request; an error becomes its error number in the answer.
type handler func(s *Server, ctx context.Context, r *request) error

// Request answers a datagram that a program sent to a netlink socket of a
// protocol, NETLINK_ROUTE or NETLINK_SOCK_DIAG. portID is the socket's own
// address (nl_pid). The results are the datagrams that the program is to read,
// in their order, from the kernel: from nl_pid 0. There are none when the
// datagram asks for nothing.
func (s *Server) Request(ctx context.Context, protocol int, portID uint32, msg []byte) [][]byte {
	var out answers
	for len(msg) >= unix.NLMSG_HDRLEN {
		n := uint64(native.Uint32(msg))
		if n < unix.NLMSG_HDRLEN || n > uint64(len(msg)) {
			break
		}
		r := &request{
			header: header{
				typ: native.Uint16(msg[4:]), flags: native.Uint16(msg[6:]), seq: native.Uint32(msg[8:]), portID: portID,
			},
			raw: msg[:n], body: msg[unix.NLMSG_HDRLEN:n], out: &out,
		}
		s.request(ctx, protocol, r)
		msg = msg[min(align(int(n)), len(msg)):]
	}
	return out.list
}

func (s *Server) request(ctx context.Context, protocol int, r *request) {
	var err error
	// What is no request, and what is about netlink itself, is just
	// acknowledged.
	if r.is(unix.NLM_F_REQUEST) && r.typ >= unix.NLMSG_MIN_TYPE {
		var f handler
		if f, err = find(protocol, r); err == nil {
			err = f(s, ctx, r)
		}
	}
	// A list has its own end.
	if err != nil || r.is(unix.NLM_F_ACK) && !r.listed {
		r.acknowledge(errnoOf(err))
	}
}

// errnoOf is the number of an error: of one's own, or of a call in the kernel.
func errnoOf(err error) unix.Errno {
	var errno unix.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return linuxsock.Errno(err)
}

// nothing does nothing.
func nothing(*Server, context.Context, *request) error { return nil }

// emptyList answers with an empty list; there is nothing else to ask for.
func emptyList(_ *Server, _ context.Context, r *request) error {
	if !r.dump() {
		return unix.EOPNOTSUPP
	}
	r.answerList(unix.NLMSG_DONE, nil, 0)
	return nil
}

// find finds what answers a request.
func find(protocol int, r *request) (handler, error) {
	switch protocol {
	case unix.NETLINK_ROUTE:
		return findRoute(r)
	case unix.NETLINK_SOCK_DIAG:
		return findDiag(r)
	}
	return nil, unix.EPROTONOSUPPORT
}

func findRoute(r *request) (handler, error) {
	if r.typ < unix.RTM_BASE || r.typ > unix.RTM_MAX {
		return nil, unix.EOPNOTSUPP
	}
	// Without a family it is passed over.
	if len(r.body) == 0 {
		return nothing, nil
	}
	switch r.typ {
	case unix.RTM_NEWLINK, unix.RTM_SETLINK:
		return (*Server).setLink, nil
	case unix.RTM_NEWADDR:
		return (*Server).newAddr, nil
	case unix.RTM_DELADDR:
		return (*Server).delAddr, nil
	case unix.RTM_NEWROUTE:
		return (*Server).newRoute, nil
	case unix.RTM_DELROUTE:
		return (*Server).delRoute, nil
	case unix.RTM_GETLINK:
		return (*Server).getLink, nil
	case unix.RTM_GETADDR:
		return (*Server).getAddr, nil
	case unix.RTM_GETROUTE:
		return (*Server).getRoute, nil
	case unix.RTM_GETNEIGH:
		return (*Server).getNeigh, nil
	case unix.RTM_GETRULE:
		return (*Server).getRule, nil
	case unix.RTM_GETNEIGHTBL, unix.RTM_GETQDISC, unix.RTM_GETTCLASS, unix.RTM_GETTFILTER:
		// There are none of these. Of next hops a list would say that they can be made, and FRR would.
		return emptyList, nil
	}
	return nil, unix.EOPNOTSUPP
}
