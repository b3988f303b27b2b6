//go:build linux

package linuxsock

import (
	"context"
	"encoding/binary"
	"math"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/netview"
	"rumptools/internal/rtsock"
	"rumptools/pkg/netbsd"
)

// Sizes in bytes of the arguments of ioctls (<net/if.h>, <net/if_arp.h>).
const (
	sizeofIfreq  = unix.IFNAMSIZ + 16 + longSize // struct ifmap is the union's longest
	sizeofIfconf = 2 * longSize
	sizeofArpreq = 68
)

// Ioctls that package unix has no names for (<linux/sockios.h>,
// <linux/wireless.h>).
const (
	siocGIFCOUNT   = 0x8938
	siocIWFirst    = 0x8B00
	siocIWLast     = 0x8BFF
	siocDevPrivate = 0x89F0 // the first of 16
)

// ifreqUnion is where struct ifreq's union is.
const ifreqUnion = unix.IFNAMSIZ

// Write writes to the program's memory. It fails as a call does for an address
// that is not the program's: EFAULT.
type Write func(addr uint64, p []byte) unix.Errno

// ioctl is an ioctl about interfaces, addresses and the like.
type ioctl struct {
	size int // of the argument
	do   func(*ioctlRequest) unix.Errno
}

// ioctlRequest is a call of ioctl(2).
type ioctlRequest struct {
	ctx   context.Context
	k     rtsock.Kernel
	host  int
	arg   []byte // the argument; what is written to it goes back
	write Write
}

// ioctls are the ioctls that answer from the kernel.
var ioctls = map[uint32]ioctl{
	unix.SIOCGIFNAME:    {sizeofIfreq, (*ioctlRequest).ifName},
	unix.SIOCGIFINDEX:   {sizeofIfreq, ofInterface(ifIndex)},
	unix.SIOCGIFCONF:    {sizeofIfconf, (*ioctlRequest).ifConf},
	unix.SIOCGIFFLAGS:   {sizeofIfreq, ofInterface(ifFlags)},
	unix.SIOCGIFADDR:    {sizeofIfreq, ofAddress(func(a *ifAddress) netip.Addr { return a.addr })},
	unix.SIOCGIFDSTADDR: {sizeofIfreq, ofAddress(func(a *ifAddress) netip.Addr { return a.peer })},
	unix.SIOCGIFBRDADDR: {sizeofIfreq, ofAddress(func(a *ifAddress) netip.Addr { return a.broadcast })},
	unix.SIOCGIFNETMASK: {sizeofIfreq, ofAddress(func(a *ifAddress) netip.Addr { return a.mask })},
	unix.SIOCGIFMETRIC:  {sizeofIfreq, ofInterface(func(r *ioctlRequest, _ *rtsock.Interface) { r.putInt(0) })},
	unix.SIOCGIFMTU: {sizeofIfreq, ofInterface(func(r *ioctlRequest, ifp *rtsock.Interface) {
		r.putInt(uint32(min(ifp.Data.Mtu, math.MaxInt32)))
	})},
	unix.SIOCGIFTXQLEN: {sizeofIfreq, ofInterface(func(r *ioctlRequest, _ *rtsock.Interface) { r.putInt(txQueue) })},
	unix.SIOCGIFHWADDR: {sizeofIfreq, ofInterface(ifHWAddr)},
	unix.SIOCGIFMAP:    {sizeofIfreq, ofInterface(func(r *ioctlRequest, _ *rtsock.Interface) { clear(r.union()) })},
	unix.SIOCGARP:      {sizeofArpreq, (*ioctlRequest).arp},
	unix.SIOCOUTQNSD:   {4, (*ioctlRequest).outQueue},

	// No packet's time is kept: SO_TIMESTAMP tells it.
	unix.SIOCGSTAMP_OLD:   {2 * longSize, fail(unix.ENOENT)},
	unix.SIOCGSTAMPNS_OLD: {2 * longSize, fail(unix.ENOENT)},
	unix.SIOCGSTAMP_NEW:   {16, fail(unix.ENOENT)},
	unix.SIOCGSTAMPNS_NEW: {16, fail(unix.ENOENT)},
}

// refusedIoctls are the errors of ioctls that change something, which needs
// privilege, and of those about what the kernel's interfaces do not have.
var refusedIoctls = map[unix.Errno][]uint32{
	unix.EPERM: {
		unix.SIOCADDRT, unix.SIOCDELRT, unix.SIOCSIFFLAGS, unix.SIOCSIFADDR, unix.SIOCSIFDSTADDR,
		unix.SIOCSIFBRDADDR, unix.SIOCSIFNETMASK, unix.SIOCSIFMETRIC, unix.SIOCSIFMTU, unix.SIOCSIFNAME,
		unix.SIOCSIFHWADDR, unix.SIOCSIFSLAVE, unix.SIOCADDMULTI, unix.SIOCDELMULTI,
		unix.SIOCSIFHWBROADCAST, unix.SIOCSIFTXQLEN, unix.SIOCSIFMAP, unix.SIOCSIFMEM,
		unix.SIOCDARP, unix.SIOCSARP, unix.SIOCSIFBR, unix.SIOCBRADDBR, unix.SIOCBRDELBR, unix.SIOCBRADDIF,
		unix.SIOCBRDELIF, unix.SIOCSIFVLAN, unix.SIOCBONDENSLAVE, unix.SIOCBONDRELEASE, unix.SIOCBONDSETHWADDR,
		unix.SIOCBONDCHANGEACTIVE, unix.SIOCSHWTSTAMP, unix.SIOCSMIIREG,
	},
	unix.EOPNOTSUPP: {
		unix.SIOCETHTOOL, unix.SIOCGMIIPHY, unix.SIOCGMIIREG, unix.SIOCWANDEV, unix.SIOCGHWTSTAMP,
		unix.SIOCBONDSLAVEINFOQUERY, unix.SIOCBONDINFOQUERY,
	},
	unix.ENOTTY: {
		unix.SIOCGIFMEM, unix.SIOCDIFADDR, unix.SIOCGIFENCAP, unix.SIOCSIFENCAP, unix.SIOCSIFLINK,
		unix.SIOCGIFSLAVE, unix.SIOCRTMSG, unix.SIOCDRARP, unix.SIOCGRARP, unix.SIOCSRARP, siocGIFCOUNT,
		unix.SIOCGIFBR, unix.SIOCGIFVLAN, unix.SIOCGSKNS,
	},
	unix.EINVAL: {unix.SIOCGIFPFLAGS, unix.SIOCSIFPFLAGS},
}

func init() {
	for errno, list := range refusedIoctls {
		for _, req := range list {
			ioctls[req] = ioctl{0, fail(errno)}
		}
	}
	for req := uint32(siocIWFirst); req <= siocIWLast; req++ {
		ioctls[req] = ioctl{0, fail(unix.EOPNOTSUPP)}
	}
	for req := uint32(siocDevPrivate); req < siocDevPrivate+16; req++ {
		ioctls[req] = ioctl{0, fail(unix.EOPNOTSUPP)}
	}
}

// TrapIoctls are the requests of ioctl(2) that must not reach the host: from
// the first to the last of each pair. That is all that Linux has numbers for
// that are about networks, but those about owners and marks of a socket of any
// kind, and about what is there to be read. What was sent and waits is trapped, too: the
// supervisor knows better.
var TrapIoctls = [][2]uint32{
	{unix.SIOCOUTQ, unix.SIOCOUTQ},
	{unix.SIOCGSTAMP_OLD, 0x89FF},
	{siocIWFirst, siocIWLast},
	{unix.SIOCGSTAMP_NEW, unix.SIOCGSTAMP_NEW},
	{unix.SIOCGSTAMPNS_NEW, unix.SIOCGSTAMPNS_NEW},
}

// IsTrapped tells whether a request is one of [TrapIoctls].
func IsTrapped(req uint32) bool {
	return slices.ContainsFunc(TrapIoctls, func(r [2]uint32) bool { return req >= r[0] && req <= r[1] })
}

// IoctlSize returns how many bytes the argument of a request has that [Ioctl]
// reads, and may give back. It is 0 for those that fail whatever it is.
func IoctlSize(req uint32) int { return ioctls[req].size }

// Ioctl is ioctl(2) with one of [TrapIoctls]; those that are unknown are ENOTTY. arg is the argument, of IoctlSize
// bytes, and the result what the program's argument becomes. host is the
// program's own socket of the host's, or -1. write is for arguments that point
// elsewhere.
func Ioctl(ctx context.Context, k rtsock.Kernel, host int, req uint32, arg []byte, write Write) ([]byte, unix.Errno) {
	io, ok := ioctls[req]
	if !ok {
		return nil, unix.ENOTTY
	}
	if len(arg) < io.size {
		return nil, unix.EFAULT
	}
	r := &ioctlRequest{ctx: ctx, k: k, host: host, arg: slices.Clone(arg[:io.size]), write: write}
	if errno := io.do(r); errno != 0 {
		return nil, errno
	}
	return r.arg, 0
}

// fail answers with an error.
func fail(errno unix.Errno) func(*ioctlRequest) unix.Errno {
	return func(*ioctlRequest) unix.Errno { return errno }
}

func (r *ioctlRequest) union() []byte { return r.arg[ifreqUnion:] }

// putInt puts an int into the union.
func (r *ioctlRequest) putInt(v uint32) { native.PutUint32(r.union(), v) }

// putAddr puts a sockaddr_in into the union.
func (r *ioctlRequest) putAddr(a netip.Addr) {
	copy(r.union(), Sockaddr(netip.AddrPortFrom(a, 0), unix.AF_INET))
}

// name is the interface's name in the argument. What follows a colon is the
// name of an address, of which NetBSD's have none.
func (r *ioctlRequest) name() string {
	name, _, _ := strings.Cut(netbsd.CString(r.arg[:unix.IFNAMSIZ]), ":")
	return netview.Name(name)
}

// find finds the interface of the argument.
func (r *ioctlRequest) find() (*rtsock.Interface, unix.Errno) {
	name := r.name()
	return findInterface(r.ctx, r.k, func(ifp *rtsock.Interface) bool { return ifp.Name == name })
}

// findInterface finds an interface of the kernel's: ENODEV if there is none.
func findInterface(ctx context.Context, k rtsock.Kernel, is func(*rtsock.Interface) bool) (*rtsock.Interface, unix.Errno) {
	list, err := rtsock.Interfaces(ctx, k)
	if err != nil {
		return nil, Errno(err)
	}
	for i := range list {
		if is(&list[i]) {
			return &list[i], 0
		}
	}
	return nil, unix.ENODEV
}

// ofInterface is an ioctl that tells something of an interface.
func ofInterface(f func(*ioctlRequest, *rtsock.Interface)) func(*ioctlRequest) unix.Errno {
	return func(r *ioctlRequest) unix.Errno {
		ifp, errno := r.find()
		if errno == 0 {
			f(r, ifp)
		}
		return errno
	}
}

// ofAddress is an ioctl that tells something of an interface's first address.
func ofAddress(f func(*ifAddress) netip.Addr) func(*ioctlRequest) unix.Errno {
	return func(r *ioctlRequest) unix.Errno {
		ifp, errno := r.find()
		if errno != 0 {
			return errno
		}
		list := addresses4(r.k.Machine(), ifp)
		if len(list) == 0 {
			return unix.EADDRNOTAVAIL
		}
		// One of several may be asked for by its address.
		a := &list[0]
		if ap, ok := Addr(r.union()); ok && ap.Addr().Is4() {
			if i := slices.IndexFunc(list, func(a ifAddress) bool { return a.addr == ap.Addr() }); i >= 0 {
				a = &list[i]
			}
		}
		r.putAddr(f(a))
		return 0
	}
}

// ifAddress is an address of IPv4 of an interface. What it does not have is not
// valid.
type ifAddress struct{ addr, peer, broadcast, mask netip.Addr }

// addresses4 are an interface's addresses of IPv4.
func addresses4(m *netbsd.Machine, ifp *rtsock.Interface) (list []ifAddress) {
	for i := range ifp.Addresses {
		ifa := &ifp.Addresses[i]
		sa, err := netbsd.ParseSockaddr(m, ifa.Addr())
		if err != nil || sa.Family != netbsd.AF_INET {
			continue
		}
		a := ifAddress{addr: sa.Addr(), peer: sa.Addr()}
		if mask, err := netbsd.ParseNetmask(netbsd.AF_INET, ifa.Netmask()); err == nil {
			a.mask = netip.AddrFrom4([4]byte(mask))
		}
		if dst, err := netbsd.ParseSockaddr(m, ifa.Dst()); err == nil && dst.Family == netbsd.AF_INET {
			switch {
			case ifp.Flags&netbsd.IFF_BROADCAST != 0:
				a.broadcast = dst.Addr()
			case ifp.Flags&netbsd.IFF_POINTOPOINT != 0:
				a.peer = dst.Addr()
			}
		}
		list = append(list, a)
	}
	return list
}

// ifName is SIOCGIFNAME: the name of the interface with a number.
func (r *ioctlRequest) ifName() unix.Errno {
	index := int(native.Uint32(r.union()))
	list, err := rtsock.Interfaces(r.ctx, r.k)
	if err != nil {
		return Errno(err)
	}
	for i := range list {
		if list[i].Index == index {
			r.putName(list[i].Name)
			return 0
		}
	}
	return unix.ENODEV
}

func (r *ioctlRequest) putName(name string) {
	clear(r.arg[:unix.IFNAMSIZ])
	copy(r.arg[:unix.IFNAMSIZ-1], name)
}

func ifIndex(r *ioctlRequest, ifp *rtsock.Interface) { r.putInt(uint32(ifp.Index)) }

func ifFlags(r *ioctlRequest, ifp *rtsock.Interface) {
	native.PutUint16(r.union(), uint16(InterfaceFlags(ifp.Flags)))
}

// InterfaceFlags translates the flags of an interface, IFF_*. What NetBSD alone
// has is left out.
func InterfaceFlags(flags int32) uint32 {
	const same = netbsd.IFF_UP | netbsd.IFF_BROADCAST | netbsd.IFF_DEBUG | netbsd.IFF_LOOPBACK |
		netbsd.IFF_POINTOPOINT | netbsd.IFF_NOTRAILERS | netbsd.IFF_RUNNING | netbsd.IFF_NOARP |
		netbsd.IFF_PROMISC | netbsd.IFF_ALLMULTI
	result := uint32(flags) & same
	if flags&netbsd.IFF_MULTICAST != 0 {
		result |= unix.IFF_MULTICAST
	}
	return result
}

// txQueue is how many packets an interface's queue holds (IFQ_MAXLEN).
const txQueue = 256

// ifHWAddr is SIOCGIFHWADDR: a sockaddr whose family is the kind of link.
func ifHWAddr(r *ioctlRequest, ifp *rtsock.Interface) {
	union := r.union()[:16]
	clear(union)
	native.PutUint16(union, netview.LinkType(ifp.Data.Type))
	if sa, err := netbsd.ParseSockaddr(r.k.Machine(), ifp.Link); err == nil {
		copy(union[2:], sa.DL.Addr)
	}
}

// ifConf is SIOCGIFCONF: an ifreq for each address of IPv4 that there is room
// for, or without a buffer the room that all need.
func (r *ioctlRequest) ifConf() unix.Errno {
	room := int(int32(native.Uint32(r.arg)))
	addr := uint64(native.Uint32(r.arg[longSize:]))
	if longSize == 8 {
		addr = native.Uint64(r.arg[longSize:])
	}
	list, err := rtsock.Interfaces(r.ctx, r.k)
	if err != nil {
		return Errno(err)
	}
	var all []byte
	for i := range list {
		for _, a := range addresses4(r.k.Machine(), &list[i]) {
			req := make([]byte, sizeofIfreq)
			copy(req[:unix.IFNAMSIZ-1], list[i].Name)
			copy(req[ifreqUnion:], Sockaddr(netip.AddrPortFrom(a.addr, 0), unix.AF_INET))
			all = append(all, req...)
		}
	}
	if addr != 0 {
		all = all[:min(len(all), max(room, 0)/sizeofIfreq*sizeofIfreq)]
		if len(all) > 0 {
			if errno := r.write(addr, all); errno != 0 {
				return errno
			}
		}
	}
	native.PutUint32(r.arg, uint32(len(all)))
	return 0
}

// Parts of struct arpreq.
const (
	arpHA      = 16
	arpFlags   = 32
	arpNetmask = 36
	arpDev     = 52

	atfCom  = 0x02 // the address is known
	atfPerm = 0x04 // and stays
)

// arp is SIOCGARP: the link-level address of a neighbour.
func (r *ioctlRequest) arp() unix.Errno {
	ap, ok := Addr(r.arg[:16])
	if !ok || !ap.Addr().Is4() {
		return unix.EPFNOSUPPORT
	}
	dev := netview.Name(netbsd.CString(r.arg[arpDev : arpDev+unix.IFNAMSIZ]))
	list, err := rtsock.Interfaces(r.ctx, r.k)
	if err != nil {
		return Errno(err)
	}
	names := rtsock.Names(list)
	if dev != "" && !slices.ContainsFunc(list, func(ifp rtsock.Interface) bool { return ifp.Name == dev }) {
		return unix.ENODEV
	}
	neighbours, err := rtsock.Neighbours(r.ctx, r.k, netbsd.AF_INET)
	if err != nil {
		return Errno(err)
	}
	for i := range neighbours {
		n := &neighbours[i]
		name := names[int(n.Index)]
		if n.IP != ap.Addr() || dev != "" && dev != name {
			continue
		}
		clear(r.arg[arpHA:])
		native.PutUint16(r.arg[arpHA:], unix.ARPHRD_ETHER)
		flags := uint32(0)
		if len(n.HardwareAddr) > 0 {
			copy(r.arg[arpHA+2:arpFlags], n.HardwareAddr)
			flags = atfCom
			if n.Rmx.Expire == 0 {
				flags |= atfPerm
			}
		}
		native.PutUint32(r.arg[arpFlags:], flags)
		native.PutUint16(r.arg[arpNetmask:], unix.AF_INET)
		binary.BigEndian.PutUint32(r.arg[arpNetmask+4:], 0)
		copy(r.arg[arpDev:arpDev+unix.IFNAMSIZ-1], name)
		return 0
	}
	return unix.ENXIO
}

// outQueue is SIOCOUTQNSD: what was sent and waits, which is in the program's
// own socket.
func (r *ioctlRequest) outQueue() unix.Errno {
	if r.host < 0 {
		return unix.ENOTTY
	}
	n, err := unix.IoctlGetInt(r.host, unix.SIOCOUTQ)
	if err != nil {
		errno, _ := err.(unix.Errno)
		return errno
	}
	native.PutUint32(r.arg, uint32(n))
	return 0
}
