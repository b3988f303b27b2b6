package netbsd

// Address families (<sys/socket.h>).
const (
	AF_UNSPEC          = 0
	AF_LOCAL           = 1
	AF_UNIX            = AF_LOCAL
	AF_INET            = 2
	AF_IMPLINK         = 3
	AF_PUP             = 4
	AF_CHAOS           = 5
	AF_NS              = 6
	AF_ISO             = 7
	AF_OSI             = AF_ISO
	AF_ECMA            = 8
	AF_DATAKIT         = 9
	AF_CCITT           = 10
	AF_SNA             = 11
	AF_DECnet          = 12
	AF_DLI             = 13
	AF_LAT             = 14
	AF_HYLINK          = 15
	AF_APPLETALK       = 16
	AF_OROUTE          = 17
	AF_LINK            = 18
	pseudo_AF_XTP      = 19
	AF_COIP            = 20
	AF_CNT             = 21
	pseudo_AF_RTIP     = 22
	AF_IPX             = 23
	AF_INET6           = 24
	pseudo_AF_PIP      = 25
	AF_ISDN            = 26
	AF_E164            = AF_ISDN
	AF_NATM            = 27
	AF_ARP             = 28
	pseudo_AF_KEY      = 29
	pseudo_AF_HDRCMPLT = 30
	AF_BLUETOOTH       = 31
	AF_IEEE80211       = 32
	AF_MPLS            = 33
	AF_ROUTE           = 34
	AF_MAX             = 35
)

// Protocol families.
const (
	PF_UNSPEC    = AF_UNSPEC
	PF_LOCAL     = AF_LOCAL
	PF_UNIX      = PF_LOCAL
	PF_INET      = AF_INET
	PF_IMPLINK   = AF_IMPLINK
	PF_PUP       = AF_PUP
	PF_CHAOS     = AF_CHAOS
	PF_NS        = AF_NS
	PF_ISO       = AF_ISO
	PF_OSI       = AF_ISO
	PF_ECMA      = AF_ECMA
	PF_DATAKIT   = AF_DATAKIT
	PF_CCITT     = AF_CCITT
	PF_SNA       = AF_SNA
	PF_DECnet    = AF_DECnet
	PF_DLI       = AF_DLI
	PF_LAT       = AF_LAT
	PF_HYLINK    = AF_HYLINK
	PF_APPLETALK = AF_APPLETALK
	PF_OROUTE    = AF_OROUTE
	PF_LINK      = AF_LINK
	PF_XTP       = pseudo_AF_XTP
	PF_COIP      = AF_COIP
	PF_CNT       = AF_CNT
	PF_INET6     = AF_INET6
	PF_IPX       = AF_IPX
	PF_RTIP      = pseudo_AF_RTIP
	PF_PIP       = pseudo_AF_PIP
	PF_ISDN      = AF_ISDN
	PF_E164      = AF_E164
	PF_NATM      = AF_NATM
	PF_ARP       = AF_ARP
	PF_KEY       = pseudo_AF_KEY
	PF_BLUETOOTH = AF_BLUETOOTH
	PF_MPLS      = AF_MPLS
	PF_ROUTE     = AF_ROUTE
	PF_MAX       = AF_MAX
)

// Socket types and the flags that socket(2) takes with them.
const (
	SOCK_STREAM     = 1
	SOCK_DGRAM      = 2
	SOCK_RAW        = 3
	SOCK_RDM        = 4
	SOCK_SEQPACKET  = 5
	SOCK_CONN_DGRAM = 6
	SOCK_DCCP       = SOCK_CONN_DGRAM
	SOCK_CLOEXEC    = 0x10000000
	SOCK_NONBLOCK   = 0x20000000
	SOCK_NOSIGPIPE  = 0x40000000
	SOCK_FLAGS_MASK = 0xf0000000
)

// The socket level of getsockopt(2), and its options.
const (
	SO_DEBUG        = 0x0001
	SO_ACCEPTCONN   = 0x0002
	SO_REUSEADDR    = 0x0004
	SO_KEEPALIVE    = 0x0008
	SO_DONTROUTE    = 0x0010
	SO_BROADCAST    = 0x0020
	SO_USELOOPBACK  = 0x0040
	SO_LINGER       = 0x0080
	SO_OOBINLINE    = 0x0100
	SO_REUSEPORT    = 0x0200
	SO_NOSIGPIPE    = 0x0800
	SO_ACCEPTFILTER = 0x1000
	SO_TIMESTAMP    = 0x2000
	SO_SNDBUF       = 0x1001
	SO_RCVBUF       = 0x1002
	SO_SNDLOWAT     = 0x1003
	SO_RCVLOWAT     = 0x1004
	SO_ERROR        = 0x1007
	SO_TYPE         = 0x1008
	SO_OVERFLOWED   = 0x1009
	SO_NOHEADER     = 0x100a
	SO_SNDTIMEO     = 0x100b
	SO_RCVTIMEO     = 0x100c
	SOL_SOCKET      = 0xffff
)

// The longest queue of connections that listen(2) keeps.
const (
	SOMAXCONN = 128
)

// Flags of send(2), recv(2) and their kin, and flags returned in msg_flags.
const (
	MSG_OOB          = 0x0001
	MSG_PEEK         = 0x0002
	MSG_DONTROUTE    = 0x0004
	MSG_EOR          = 0x0008
	MSG_TRUNC        = 0x0010
	MSG_CTRUNC       = 0x0020
	MSG_WAITALL      = 0x0040
	MSG_DONTWAIT     = 0x0080
	MSG_BCAST        = 0x0100
	MSG_MCAST        = 0x0200
	MSG_NOSIGNAL     = 0x0400
	MSG_CMSG_CLOEXEC = 0x0800
	MSG_NBIO         = 0x1000
	MSG_WAITFORONE   = 0x2000
	MSG_NOTIFICATION = 0x4000
)

// Control messages of level SOL_SOCKET.
const (
	SCM_RIGHTS    = 0x01
	SCM_TIMESTAMP = 0x08
	SCM_CREDS     = 0x10
)

// Ways of shutdown(2).
const (
	SHUT_RD   = 0
	SHUT_WR   = 1
	SHUT_RDWR = 2
)

// Options of local sockets, level 0 (<sys/un.h>).
const (
	LOCAL_OCREDS   = 0x0001
	LOCAL_CONNWAIT = 0x0002
	LOCAL_PEEREID  = 0x0003
	LOCAL_CREDS    = 0x0004
)

// Types of information in sysctl paths below net.route (CTL_NET, PF_ROUTE, 0, family, type, argument).
const (
	NET_RT_DUMP     = 1
	NET_RT_FLAGS    = 2
	NET_RT_OOIFLIST = 3
	NET_RT_OIFLIST  = 4
	NET_RT_IFLIST   = 5
)

// The argument of a pcblist that asks for all sockets, and the number of spare
// entries that the kernel adds to the size it tells.
const (
	PCB_SLOP = 20
	PCB_ALL  = 0
)

// Socket states in kinfo_pcb.ki_sostate (<sys/socketvar.h>).
const (
	SS_NOFDREF         = 0x001
	SS_ISCONNECTED     = 0x002
	SS_ISCONNECTING    = 0x004
	SS_ISDISCONNECTING = 0x008
	SS_CANTSENDMORE    = 0x010
	SS_CANTRCVMORE     = 0x020
	SS_RCVATMARK       = 0x040
	SS_ISABORTING      = 0x080
	SS_RESTARTSYS      = 0x100
	SS_ISDISCONNECTED  = 0x800
	SS_ASYNC           = 0x100
	SS_MORETOCOME      = 0x400
	SS_ISAPIPE         = 0x1000
	SS_NBIO            = 0x2000
)
