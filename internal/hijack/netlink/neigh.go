//go:build linux

package netlink

import (
	"context"

	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/netview"
)

// sizeofNdMsg is the size of struct ndmsg.
const sizeofNdMsg = 12

// getNeigh is RTM_GETNEIGH: all neighbours, of one family or one interface; or
// one of them.
func (s *Server) getNeigh(ctx context.Context, r *request) error {
	head, filter := r.fixed(sizeofNdMsg)
	family, index := head[0], int(int32(native.Uint32(head[4:])))
	proxies := head[10]&unix.NTF_PROXY != 0
	if !r.dump() {
		dst, ok := addrOf(family, filter[unix.NDA_DST])
		switch {
		case !ok || index <= 0:
			return unix.EINVAL
		case proxies:
			return unix.ENOENT
		}
		list, err := netview.Neighbours(ctx, s.kernel, family)
		if err != nil {
			return err
		}
		for i := range list {
			if n := &list[i]; n.IP == dst && n.Index == index {
				r.answer(unix.RTM_NEWNEIGH, neighBody(n))
				return nil
			}
		}
		return unix.ENOENT
	}
	if index == 0 {
		index = int(filter.uint32(unix.NDA_IFINDEX))
	}
	var flags uint16
	if index != 0 || filter.uint32(unix.NDA_MASTER) != 0 {
		flags = unix.NLM_F_DUMP_FILTERED
	}
	var bodies [][]byte
	// There are no bridges, proxies and masters.
	if known := family == unix.AF_UNSPEC || family == unix.AF_INET || family == unix.AF_INET6; known && !proxies && filter.uint32(unix.NDA_MASTER) == 0 {
		list, err := netview.Neighbours(ctx, s.kernel, family)
		if err != nil {
			return err
		}
		for i := range list {
			if n := &list[i]; index == 0 || n.Index == index {
				bodies = append(bodies, neighBody(n))
			}
		}
	}
	r.answerList(unix.RTM_NEWNEIGH, bodies, flags)
	return nil
}

// neighBody is a struct ndmsg with its attributes.
func neighBody(n *netview.Neighbour) []byte {
	b := make([]byte, 0, 96)
	b = append(b, n.Family(), 0, 0, 0)
	b = native.AppendUint32(b, uint32(n.Index))
	b = native.AppendUint16(b, n.State)
	b = append(b, n.Flags, unix.RTN_UNICAST)
	b = appendAttr(b, unix.NDA_DST, n.IP.AsSlice())
	if len(n.HardwareAddr) > 0 {
		b = appendAttr(b, unix.NDA_LLADDR, n.HardwareAddr)
	}
	b = appendAttr(b, unix.NDA_CACHEINFO, make([]byte, 16)) // when it was used is not known
	return appendAttr32(b, unix.NDA_PROBES, 0)
}
