//go:build linux

package linuxsock

import (
	"context"

	"golang.org/x/sys/unix"

	"rumptools/pkg/spclient"
)

// MaxOption is the longest value of an option that [Socket.Set] looks at, in
// bytes; what a program gives beyond that need not be read.
const MaxOption = 4096

// request is a call of setsockopt(2) or getsockopt(2).
type request struct {
	ctx  context.Context
	k    Kernel
	fd   spclient.FD
	host int // -1: none
	s    *Socket
	key  optionKey
	size int // of the buffer of getsockopt(2)
}

// where says what acts on an option; 0 is nothing, for it is a fact, or
// remembered.
type where int

const (
	// onHost: the program's own socket, of the host's.
	onHost where = 1 + iota
	// inKernel: the rump kernel's socket, after translation.
	inKernel
	// refused: nothing does, and the program is told so.
	refused
)

// option is an option that is allowed, or one that is refused in a way of its
// own. All others give ENOPROTOOPT.
type option struct {
	name string
	at   where
	// why says, for options that do not act in the kernel, why it is right
	// to answer so.
	why string
	// set and get are nil for an option that cannot be set or read.
	set func(r *request, value []byte) unix.Errno
	get func(r *request) ([]byte, unix.Errno)
	// isBytes says that the value is no number, though it may be as long.
	isBytes bool
}

// options are all options, by level and name.
var options = func() map[optionKey]*option {
	all := make(map[optionKey]*option)
	for level, list := range map[int][]map[int]*option{
		unix.SOL_SOCKET: {socketOptions},
		unix.SOL_IP:     {ipOptions, ipMulticastOptions},
		unix.SOL_IPV6:   {ip6Options, ip6MulticastOptions},
		unix.SOL_TCP:    {tcpOptions},
		unix.SOL_UDP:    {udpOptions},
		unix.SOL_RAW:    {rawOptions},
		unix.SOL_ICMPV6: {icmp6Options},
	} {
		for _, options := range list {
			for name, o := range options {
				all[optionKey{level, name}] = o
			}
		}
	}
	return all
}()

// patient are options that the kernel takes in any case: what is wrong with a value is found here. So it
// need not be asked at once.
var patient = map[optionKey]bool{
	{unix.SOL_SOCKET, unix.SO_KEEPALIVE}: true,
	{unix.SOL_SOCKET, unix.SO_LINGER}:    true,
	{unix.SOL_SOCKET, unix.SO_OOBINLINE}: true,
	// Of these it is not told.
	{unix.SOL_SOCKET, unix.SO_RCVTIMEO_OLD}: true,
	{unix.SOL_SOCKET, unix.SO_SNDTIMEO_OLD}: true,
	{unix.SOL_SOCKET, unix.SO_RCVTIMEO_NEW}: true,
	{unix.SOL_SOCKET, unix.SO_SNDTIMEO_NEW}: true,
	{unix.SOL_SOCKET, unix.SO_PRIORITY}:     true,
	{unix.SOL_IP, unix.IP_TOS}:              true,
	{unix.SOL_IPV6, unix.IPV6_V6ONLY}:       true,
	{unix.SOL_TCP, unix.TCP_NODELAY}:        true,
	{unix.SOL_TCP, unix.TCP_KEEPIDLE}:       true,
	{unix.SOL_TCP, unix.TCP_KEEPINTVL}:      true,
	{unix.SOL_TCP, unix.TCP_KEEPCNT}:        true,
}

// ofSent are options that say how datagrams are sent.
var ofSent = map[optionKey]bool{
	{unix.SOL_SOCKET, unix.SO_BROADCAST}:      true,
	{unix.SOL_SOCKET, unix.SO_DONTROUTE}:      true,
	{unix.SOL_SOCKET, unix.SO_BINDTODEVICE}:   true,
	{unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX}:  true,
	{unix.SOL_SOCKET, unix.SO_NO_CHECK}:       true,
	{unix.SOL_IP, unix.IP_TOS}:                true,
	{unix.SOL_IP, unix.IP_TTL}:                true,
	{unix.SOL_IP, unix.IP_HDRINCL}:            true,
	{unix.SOL_IP, unix.IP_OPTIONS}:            true,
	{unix.SOL_IP, unix.IP_MTU_DISCOVER}:       true,
	{unix.SOL_IP, unix.IP_MULTICAST_IF}:       true,
	{unix.SOL_IP, unix.IP_MULTICAST_TTL}:      true,
	{unix.SOL_IP, unix.IP_MULTICAST_LOOP}:     true,
	{unix.SOL_IPV6, unix.IPV6_UNICAST_HOPS}:   true,
	{unix.SOL_IPV6, unix.IPV6_TCLASS}:         true,
	{unix.SOL_IPV6, unix.IPV6_CHECKSUM}:       true,
	{unix.SOL_IPV6, unix.IPV6_PKTINFO}:        true,
	{unix.SOL_IPV6, unix.IPV6_MTU}:            true,
	{unix.SOL_IPV6, unix.IPV6_MTU_DISCOVER}:   true,
	{unix.SOL_IPV6, unix.IPV6_DONTFRAG}:       true,
	{unix.SOL_IPV6, unix.IPV6_MULTICAST_IF}:   true,
	{unix.SOL_IPV6, unix.IPV6_MULTICAST_HOPS}: true,
	{unix.SOL_IPV6, unix.IPV6_MULTICAST_LOOP}: true,
	{unix.SOL_UDP, unix.UDP_NO_CHECK6_TX}:     true,
}

// OfSent tells whether an option says how datagrams are sent, so that it is not for those that have been sent before.
func OfSent(level, name int) bool { return ofSent[optionKey{level, name}] }

// Waits tells whether the kernel need not be asked about an option as long as it has no socket: of a TCP
// socket's, Set finds what is wrong with a value, and the kernel is told with [Socket.Preparation].
func (s *Socket) Waits(level, name int) bool { return s.isTCP() && patient[optionKey{level, name}] }

// Set is setsockopt(2): it sets an option of Linux's in the kernel's socket, on
// the program's own socket of the host, or here. value is the option's value,
// of as many bytes as the program says. fd may be the zero FD when there is no
// socket in the kernel yet, and host is -1 when there is none of the host's.
func (s *Socket) Set(ctx context.Context, k Kernel, fd spclient.FD, host, level, name int, value []byte) unix.Errno {
	o := s.lookup(level, name)
	if errno := s.levelToSet(level, name, len(value)); errno != 0 {
		return errno
	}
	if o == nil || o.set == nil {
		return unix.ENOPROTOOPT
	}
	return o.set(&request{ctx: ctx, k: k, fd: fd, host: host, s: s, key: optionKey{level, name}}, value)
}

// Get is getsockopt(2): it returns an option's value, of at most size bytes,
// which is how long the program's buffer is; see [Socket.Set].
func (s *Socket) Get(ctx context.Context, k Kernel, fd spclient.FD, host, level, name, size int) ([]byte, unix.Errno) {
	if size < 0 {
		return nil, unix.EINVAL
	}
	if errno := s.levelToGet(level); errno != 0 {
		return nil, errno
	}
	o := s.lookup(level, name)
	if o == nil || o.get == nil {
		return nil, unix.ENOPROTOOPT
	}
	r := &request{ctx: ctx, k: k, fd: fd, host: host, s: s, key: optionKey{level, name}, size: size}
	value, errno := o.get(r)
	if errno != 0 {
		return nil, errno
	}
	if level == unix.SOL_IP && !o.isBytes && len(value) == 4 && size > 0 && size < 4 {
		// For programs that take such options for octets.
		if v := int32(native.Uint32(value)); v >= 0 && v <= 255 {
			return []byte{byte(v)}, 0
		}
	}
	return value[:min(size, len(value))], 0
}

// lookup finds an option that sockets of the kind have.
func (s *Socket) lookup(level, name int) *option {
	if !s.hasLevel(level) {
		return nil
	}
	if level == unix.SOL_RAW && s.Domain == unix.AF_INET6 {
		// The two options that raw sockets have at both levels.
		if name == unix.IPV6_CHECKSUM || name == unix.IPV6_HDRINCL {
			return options[optionKey{unix.SOL_IPV6, name}]
		}
		return nil
	}
	return options[optionKey{level, name}]
}

// hasLevel tells whether sockets of the kind have options of the level.
func (s *Socket) hasLevel(level int) bool {
	switch level {
	case unix.SOL_SOCKET:
		return true
	case unix.SOL_IP:
		return s.Domain == unix.AF_INET || !s.isRaw()
	case unix.SOL_IPV6:
		return s.Domain == unix.AF_INET6
	case unix.SOL_TCP:
		return s.isTCP()
	case unix.SOL_UDP:
		return s.isUDP()
	case unix.SOL_RAW:
		return s.isRaw()
	case unix.SOL_ICMPV6:
		return s.isRaw() && s.Domain == unix.AF_INET6
	}
	return false
}

// levelToGet is the error that getsockopt(2) has for levels that sockets of the
// kind have not: IPv4 has another one than IPv6.
func (s *Socket) levelToGet(level int) unix.Errno {
	switch {
	case s.otherICMP(level):
		return unix.EOPNOTSUPP
	case s.hasLevel(level):
		return 0
	case s.Domain == unix.AF_INET:
		return unix.EOPNOTSUPP
	}
	return unix.ENOPROTOOPT
}

// otherICMP tells whether a level is that of ICMPv6 and the socket a raw one of
// another protocol.
func (s *Socket) otherICMP(level int) bool {
	return level == unix.SOL_ICMPV6 && s.hasLevel(level) && s.Protocol != unix.IPPROTO_ICMPV6
}

// levelToSet is the error that setsockopt(2) has before it looks at the option,
// at some levels for values that are no int.
func (s *Socket) levelToSet(level, name, size int) unix.Errno {
	switch {
	case !s.hasLevel(level):
		return unix.ENOPROTOOPT
	case s.otherICMP(level):
		return unix.EOPNOTSUPP
	case size >= 4:
		return 0
	}
	isInt := false
	switch level {
	case unix.SOL_SOCKET:
		isInt = name != unix.SO_BINDTODEVICE
	case unix.SOL_TCP:
		isInt = name != unix.TCP_CONGESTION && name != unix.TCP_ULP && name != unix.TCP_FASTOPEN_KEY
	case unix.SOL_UDP:
		isInt = true
	case unix.SOL_RAW:
		isInt = s.Domain == unix.AF_INET6
	}
	if isInt {
		return unix.EINVAL
	}
	return 0
}
