//go:build linux

package linuxsock

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/netview"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/sysproxy"
)

// minMTU6 is the least MTU of IPv6.
const minMTU6 = 1280

// setMTUDiscover is IP_MTU_DISCOVER. NetBSD's own kernel has all datagrams fragmented, and none of TCP's.
func setMTUDiscover(r *request, v int32) unix.Errno {
	if v < unix.IP_PMTUDISC_DONT || v > unix.IP_PMTUDISC_OMIT {
		return unix.EINVAL
	}
	errno := r.kernelInt(netbsd.IPPROTO_IP, sysproxy.IPMTUDiscover, v)
	if errno == unix.ENOPROTOOPT {
		switch {
		case v == unix.IP_PMTUDISC_WANT, r.s.isTCP() && v == unix.IP_PMTUDISC_DO,
			!r.s.isTCP() && !refusesTooLong(v):
			errno = 0
		}
	}
	if errno != 0 {
		return errno
	}
	return r.store(v)
}

// refusesTooLong tells whether with a value of IP_MTU_DISCOVER or IPV6_MTU_DISCOVER a datagram that is
// too long fails.
func refusesTooLong(v int32) bool {
	switch v {
	case unix.IP_PMTUDISC_DO, unix.IP_PMTUDISC_PROBE, unix.IP_PMTUDISC_INTERFACE:
		return true
	}
	return false
}

// RefusesTooLong tells whether the program wants datagrams that are too long for their path to
// fail, and not to be fragmented.
func (s *Socket) RefusesTooLong() bool {
	return refusesTooLong(s.values[optionKey{unix.SOL_IP, unix.IP_MTU_DISCOVER}]) ||
		s.Domain == unix.AF_INET6 && refusesTooLong(s.values[optionKey{unix.SOL_IPV6, unix.IPV6_MTU_DISCOVER}])
}

// MTU gives how long a datagram may be, of the MTUs of its path and of the interface that it leaves by.
func (s *Socket) MTU(path, link int) int {
	key := optionKey{unix.SOL_IP, unix.IP_MTU_DISCOVER}
	if s.Domain == unix.AF_INET6 {
		key = optionKey{unix.SOL_IPV6, unix.IPV6_MTU_DISCOVER}
	}
	if s.values[key] >= unix.IP_PMTUDISC_PROBE {
		return link
	}
	return path
}

// setMTUDiscover6 is IPV6_MTU_DISCOVER. NetBSD's own kernel has IPV6_DONTFRAG, which goes by the interface's
// MTU.
func setMTUDiscover6(r *request, v int32) unix.Errno {
	if v < unix.IPV6_PMTUDISC_DONT || v > unix.IPV6_PMTUDISC_OMIT {
		return unix.EINVAL
	}
	errno := r.kernelInt(netbsd.IPPROTO_IPV6, sysproxy.IPv6MTUDiscover, v)
	if errno == unix.ENOPROTOOPT {
		whole := refusesTooLong(v) || r.s.on(unix.SOL_IPV6, unix.IPV6_DONTFRAG)
		errno = r.kernelInt(netbsd.IPPROTO_IPV6, netbsd.IPV6_DONTFRAG, boolInt(whole))
	}
	if errno != 0 {
		return errno
	}
	return r.store(v)
}

func setDontFrag6(r *request, v int32) unix.Errno {
	v = boolInt(v != 0)
	if errno := r.kernelInt(netbsd.IPPROTO_IPV6, netbsd.IPV6_DONTFRAG, v); errno != 0 {
		return errno
	}
	r.store(v)
	if discover := r.s.values[optionKey{unix.SOL_IPV6, unix.IPV6_MTU_DISCOVER}]; v == 0 && refusesTooLong(discover) {
		// On NetBSD's own kernel it is the same option.
		of := *r
		of.key.name = unix.IPV6_MTU_DISCOVER
		return setMTUDiscover6(&of, discover)
	}
	return 0
}

// setMTU6 is IPV6_MTU, the longest fragment to send. NetBSD's own kernel can be asked for the least.
func setMTU6(r *request, v int32) unix.Errno {
	if v < 0 || v != 0 && v < minMTU6 {
		return unix.EINVAL
	}
	errno := r.kernelInt(netbsd.IPPROTO_IPV6, sysproxy.IPv6MTU, v)
	if errno == unix.ENOPROTOOPT && (v == 0 || v == minMTU6) {
		least := int32(-1) // as the kernel finds right
		if v != 0 {
			least = 1
		}
		errno = r.kernelInt(netbsd.IPPROTO_IPV6, netbsd.IPV6_USE_MIN_MTU, least)
	}
	if errno != 0 {
		return errno
	}
	return r.store(v)
}

// getMTU is IP_MTU and IPV6_MTU: that of the path to the peer of a connected socket.
func getMTU(r *request) ([]byte, unix.Errno) {
	mtu, _, errno := r.mtu()
	return intValue(mtu), errno
}

// mtu gives the MTU of the path to the peer, and the peer.
func (r *request) mtu() (mtu int32, peer []byte, errno unix.Errno) {
	if !r.fd.Valid() {
		return 0, nil, unix.ENOTCONN
	}
	peer, err := r.k.Getpeername(r.ctx, r.fd)
	if err != nil {
		return 0, nil, Errno(err)
	}
	sa, err := netbsd.ParseSockaddr(r.k.Machine(), peer)
	if err != nil {
		return 0, nil, unix.ENOTCONN
	}
	sa = sa.ExtractScope()
	path, link, err := netview.PathMTU(r.ctx, r.k, sa.Addr().Unmap(), int(sa.ScopeID))
	if err != nil {
		return 0, nil, Errno(err)
	}
	return int32(r.s.MTU(path, link)), peer, 0
}

// getPathMTU is IPV6_PATHMTU: struct ip6_mtuinfo, the peer's address and the
// MTU.
func getPathMTU(r *request) ([]byte, unix.Errno) {
	if r.size < unix.SizeofIPv6MTUInfo {
		return nil, unix.EINVAL
	}
	mtu, sa, errno := r.mtu()
	if errno != 0 {
		return nil, errno
	}
	peer := FromNetBSD(r.k.Machine(), sa)
	if len(peer) != sizeofSockaddrIn6 {
		return nil, unix.ENOTCONN
	}
	binary.BigEndian.PutUint16(peer[2:], 0)
	return native.AppendUint32(peer, uint32(mtu)), 0
}
