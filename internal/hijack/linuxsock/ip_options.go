//go:build linux

package linuxsock

import (
	"slices"

	"golang.org/x/sys/unix"

	"rumptools/pkg/netbsd"
)

// Types of the options in the header of IPv4 (<netinet/ip.h>, RFC 791, FIPS 188), and where in one its length and its pointer are.
const (
	ipoptEOL   = 0
	ipoptNOP   = 1
	ipoptRR    = 7
	ipoptTS    = 68
	ipoptLSRR  = 131
	ipoptCIPSO = 134
	ipoptSSRR  = 137

	ipoptLen    = 1
	ipoptOffset = 2
)

// WithIPOptions adds to the control messages of a packet of IPv4, NetBSD's, one that NetBSD has not: IP_RECVOPTS with the options in
// the packet's header and the packet's source behind them, if the program has asked for them, in one way or the other. Only the kernel's raw
// sockets give the header.
func (s *Socket) WithIPOptions(m *netbsd.Machine, control, packet []byte) []byte {
	if !s.on(unix.SOL_IP, unix.IP_RECVOPTS) && !s.on(unix.SOL_IP, unix.IP_RETOPTS) || len(packet) < ipMinLen {
		return control
	}
	n := int(packet[0]&15) * 4
	if n <= ipMinLen || n > len(packet) {
		return control
	}
	data := append(slices.Clone(packet[ipMinLen:n]), packet[ipSrc:ipDst]...)
	return netbsd.AppendCmsg(m, slices.Clone(control), netbsd.IPPROTO_IP, netbsd.IP_RECVOPTS, data)
}

// ipOptionCmsgs makes the control messages IP_RECVOPTS and IP_RETOPTS of what WithIPOptions has added.
func (s *Socket) ipOptionCmsgs(data []byte) (list []cmsg) {
	const srcLen = ipDst - ipSrc
	if len(data) <= srcLen {
		return nil
	}
	options, src := data[:len(data)-srcLen], data[len(data)-srcLen:]
	if s.on(unix.SOL_IP, unix.IP_RECVOPTS) {
		list = append(list, cmsg{unix.SOL_IP, unix.IP_RECVOPTS, options})
	}
	if s.on(unix.SOL_IP, unix.IP_RETOPTS) {
		// It is there also when nothing is to be returned.
		list = append(list, cmsg{unix.SOL_IP, unix.IP_RETOPTS, returnedOptions(options, src)})
	}
	return list
}

// returnedOptions are the options with which a packet that came with options from src is answered: the routes and times that
// were recorded, the source route the other way round, and the label of its secrecy, in Linux's order. Others are not returned.
func returnedOptions(options, src []byte) []byte {
	var rr, ts, route, cipso []byte
	for rest := options; len(rest) > ipoptOffset && rest[0] != ipoptEOL; {
		if rest[0] == ipoptNOP {
			rest = rest[1:]
			continue
		}
		n := int(rest[ipoptLen])
		if n <= ipoptOffset || n > len(rest) {
			break
		}
		switch option := rest[:n]; option[0] {
		case ipoptRR:
			rr = option
		case ipoptTS:
			ts = option
		case ipoptLSRR, ipoptSSRR:
			route = reversedRoute(option, src)
		case ipoptCIPSO:
			cipso = option
		}
		rest = rest[n:]
	}
	b := slices.Concat(rr, ts, route, cipso)
	return append(b, make([]byte, -len(b)&3)...)
}

// reversedRoute is the way back of a source route, nil for none. Its first hop is the last that the packet has come by; that the
// sender itself is named at the end, as some do, is left out (RFC 1812, 5.3.13.4).
func reversedRoute(option, src []byte) []byte {
	const first, addrLen = 3, 4
	hops := option[first:min(max(int(option[ipoptOffset])-1, first), len(option))]
	back := []byte{option[0], 0, first + 1}
	for ; len(hops) >= addrLen; hops = hops[:len(hops)-addrLen] {
		back = append(back, hops[len(hops)-addrLen:]...)
	}
	if n := len(back) - addrLen; n >= first && slices.Equal(back[n:], src) {
		back = back[:n]
	}
	if len(back) == first {
		return nil
	}
	back[ipoptLen] = byte(len(back))
	return back
}
