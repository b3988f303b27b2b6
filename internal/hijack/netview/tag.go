//go:build linux

package netview

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"

	"rumptools/internal/rtsock"
	"rumptools/pkg/netbsd"
)

// NetBSD's routes have neither a metric nor who made them, by which routing daemons know their own again. A route that a
// program adds has these in its tag (RTA_TAG), which the kernel keeps for MPLS and does not look at otherwise: a
// sockaddr_dl with tagName as its name and, as its address,
//
//	byte 0     RTPROT_*
//	byte 1     tagMTU, tagPrefSrc
//	bytes 2-5  the metric, big-endian
const tagName = "linux"

// What a route was given, and has not by itself.
const (
	tagMTU     = 1 << 0
	tagPrefSrc = 1 << 1
)

// tag makes the route's.
func (r *Route) tag(m *netbsd.Machine) ([]byte, error) {
	var given byte
	if r.MTU != 0 {
		given |= tagMTU
	}
	if r.PrefSrc.IsValid() {
		given |= tagPrefSrc
	}
	b := binary.BigEndian.AppendUint32([]byte{r.Protocol, given}, r.Metric)
	return netbsd.AppendSockaddrDlCompact(m, nil, netbsd.SockaddrDL{Name: tagName, Addr: b})
}

// readTag takes what a route's tag says, if it has one.
func (r *Route) readTag(m *netbsd.Machine, raw *rtsock.Route) {
	sa, err := netbsd.ParseSockaddr(m, raw.Addrs[netbsd.RTAX_TAG])
	if err != nil || sa.Family != netbsd.AF_LINK || sa.DL.Name != tagName || len(sa.DL.Addr) != 6 || r.Table != unix.RT_TABLE_MAIN {
		return
	}
	b := sa.DL.Addr
	r.Protocol, r.Metric = b[0], binary.BigEndian.Uint32(b[2:])
	r.MTU, r.PrefSrc = 0, netip.Addr{}
	if b[1]&tagMTU != 0 {
		r.MTU = uint32(min(raw.Rmx.Mtu, 1<<32-1))
	}
	if b[1]&tagPrefSrc != 0 {
		if sa, err := netbsd.ParseSockaddr(m, raw.Addrs[netbsd.RTAX_IFA]); err == nil && sa.Family == netbsdFamily(r.Dst.Addr()) {
			r.PrefSrc = sa.ExtractScope().Addr()
		}
	}
}
