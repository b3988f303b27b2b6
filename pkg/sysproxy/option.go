package sysproxy

// Socket options of the level IPPROTO_TCP that rumpd has and NetBSD has not, for programs of
// other systems that set them: an int each, with the meaning that tcp(7) of Linux gives it. A kernel
// without them answers ENOPROTOOPT. They can be read as they were set.
const (
	TCPCork        = 0x4c03 // TCP_CORK: whether only full segments leave, of what a loan carries
	TCPLinger2     = 0x4c08 // TCP_LINGER2: seconds that FIN_WAIT_2 lasts without a program; negative is none
	TCPDeferAccept = 0x4c09 // TCP_DEFER_ACCEPT: seconds that a listener waits for a connection's first data; 0 is not at all
	TCPQuickAck    = 0x4c0c // TCP_QUICKACK: whether what comes in is acknowledged at once: always so, 0 gives ENOPROTOOPT
	TCPUserTimeout = 0x4c12 // TCP_USER_TIMEOUT: milliseconds without an answer until a connection is given up; 0 is TCP's own time
)

// Such options of the level SOL_SOCKET, as socket(7) has them.
const (
	SONoCheck      = 0x4c0b // SO_NO_CHECK: whether UDP over IPv4 leaves without checksums
	SODontRoute    = 0x4c05 // SO_DONTROUTE: NetBSD's, but that datagrams for IPv4 keep their time to live, which there becomes 1
	SOReach        = 0x4cff // only to be read, of no other system's: the error, 0 for none, that the next datagram to the peer would meet here
	SODissociate   = 0x4cfe // only to be set, of no other system's: ends a UDP socket's association; Keep* say what stays of its address
	SOReusePortLB  = 0x4c0f // FreeBSD's SO_REUSEPORT_LB: whether the datagrams of different senders are spread over the sockets of an address that have it
	SOBindToDevice = 0x4c19 // SO_BINDTOIFINDEX: the index of the only interface that the socket sends by and receives from; 0 is any
)

// What [SODissociate] leaves a socket of its own address, where connect(2) with an address of no family leaves NetBSD's the port
// only, and Linux's what it was bound to.
const (
	KeepAddress = 1
	KeepPort    = 2
)

// MsgKeepTTL beside MSG_DONTROUTE, of send(2) and its kin, is for one datagram what [SODontRoute] is for a socket. It
// is a bit that NetBSD has no meaning for, and passes over.
const MsgKeepTTL = 0x400000

// IPRecvTOS is such an option of the level IPPROTO_IP, ip(7)'s IP_RECVTOS: whether datagrams come with
// their type of service. The control message is an IP_TOS of one byte.
const IPRecvTOS = 0x4c0d

// IPMulticastAll of the level IPPROTO_IP and IPv6MulticastAll of IPPROTO_IPV6 are ip(7)'s IP_MULTICAST_ALL and
// IPV6_MULTICAST_ALL, for datagrams: 1, as at first, has the socket get what comes to any group that somebody has joined, 0 only what
// comes to groups that it has joined itself, by the interface that it has joined them on.
const (
	IPMulticastAll   = 0x4c31
	IPv6MulticastAll = 0x4c1d
)

// IPMTUDiscover of the level IPPROTO_IP is ip(7)'s IP_MTU_DISCOVER, for sockets of both families: how
// datagrams for IPv4, or a TCP connection, may be fragmented and find the path's MTU, one of
// PMTUDisc*. NetBSD's kernel treats datagrams as [PMTUDiscDont].
const IPMTUDiscover = 0x4c0a

// Such options of the level IPPROTO_IPV6.
const (
	IPv6MTUDiscover = 0x4c17 // ipv6(7)'s IPV6_MTU_DISCOVER: one of PMTUDisc*, for datagrams
	IPv6MTU         = 0x4c18 // IPV6_MTU: the longest fragment to send, in bytes with headers; 0 is the path's MTU
)

// Values of [IPMTUDiscover] and [IPv6MTUDiscover]: Linux's IP_PMTUDISC_*. What a datagram may be as
// long as is the path's MTU, as far as routers have told, or the interface's; what is longer
// is fragmented or fails with EMSGSIZE; routers may fragment a datagram for IPv4 that has not IP_DF.
const (
	PMTUDiscDont      = 0 // the path's, fragmented
	PMTUDiscWant      = 1 // the path's, fragmented; IP_DF if it need not be
	PMTUDiscDo        = 2 // the path's, EMSGSIZE; IP_DF
	PMTUDiscProbe     = 3 // the interface's, EMSGSIZE; IP_DF
	PMTUDiscInterface = 4 // the interface's, EMSGSIZE
	PMTUDiscOmit      = 5 // the interface's, fragmented
)

// Such options of the level IPPROTO_UDP, as Linux's <linux/udp.h> has them.
const (
	UDPNoCheck6TX = 0x4c65 // UDP_NO_CHECK6_TX: whether datagrams over IPv6 leave without checksums
	UDPNoCheck6RX = 0x4c66 // UDP_NO_CHECK6_RX: whether those that come without are taken
)

// CorkAnswer is the SO_PRIORITY of the server's end of a loan, once the server knows of so many
// changes of the cork, the last of which took it off (docs/sysproxy-extensions.md).
func CorkAnswer(changes uint32) int { return int((changes+1)/2%2) + 1 }

// PcbLocalPort as the first of the two numbers that choose sockets in a sysctl(3) node pcblist has rumpd(1) list those of TCP and
// UDP alone that have the local port which the second one is. NetBSD's kernel does not look at either yet, and lists all.
const PcbLocalPort = 0x4c01
