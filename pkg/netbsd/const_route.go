package netbsd

// The version and the types of routing messages (<net/route.h>).
const (
	RTM_VERSION    = 4
	RTM_ADD        = 0x1
	RTM_DELETE     = 0x2
	RTM_CHANGE     = 0x3
	RTM_GET        = 0x4
	RTM_LOSING     = 0x5
	RTM_REDIRECT   = 0x6
	RTM_MISS       = 0x7
	RTM_LOCK       = 0x8
	RTM_OLDADD     = 0x9
	RTM_OLDDEL     = 0xa
	RTM_NEWADDR    = 0xc
	RTM_DELADDR    = 0xd
	RTM_OOIFINFO   = 0xe
	RTM_OIFINFO    = 0xf
	RTM_IFANNOUNCE = 0x10
	RTM_IEEE80211  = 0x11
	RTM_SETGATE    = 0x12
	RTM_LLINFO_UPD = 0x13
	RTM_IFINFO     = 0x14
	RTM_CHGADDR    = 0x15
)

// Flags of routes.
const (
	RTF_UP        = 0x1
	RTF_GATEWAY   = 0x2
	RTF_HOST      = 0x4
	RTF_REJECT    = 0x8
	RTF_DYNAMIC   = 0x10
	RTF_MODIFIED  = 0x20
	RTF_DONE      = 0x40
	RTF_MASK      = 0x80
	RTF_CONNECTED = 0x100
	RTF_LLDATA    = 0x400
	RTF_STATIC    = 0x800
	RTF_BLACKHOLE = 0x1000
	RTF_PROTO2    = 0x4000
	RTF_PROTO1    = 0x8000
	RTF_SRC       = 0x10000
	RTF_ANNOUNCE  = 0x20000
	RTF_LOCAL     = 0x40000
	RTF_BROADCAST = 0x80000
)

// Bits of rtm_addrs: the socket addresses that follow a routing message.
const (
	RTA_DST     = 0x1
	RTA_GATEWAY = 0x2
	RTA_NETMASK = 0x4
	RTA_GENMASK = 0x8
	RTA_IFP     = 0x10
	RTA_IFA     = 0x20
	RTA_AUTHOR  = 0x40
	RTA_BRD     = 0x80
	RTA_TAG     = 0x100
)

// Indices of the socket addresses of a routing message: RTA_DST is
// 1<<RTAX_DST.
const (
	RTAX_DST     = 0
	RTAX_GATEWAY = 1
	RTAX_NETMASK = 2
	RTAX_GENMASK = 3
	RTAX_IFP     = 4
	RTAX_IFA     = 5
	RTAX_AUTHOR  = 6
	RTAX_BRD     = 7
	RTAX_TAG     = 8
	RTAX_MAX     = 9
)

// Bits of rtm_inits and rmx_locks: metrics.
const (
	RTV_MTU      = 0x1
	RTV_HOPCOUNT = 0x2
	RTV_EXPIRE   = 0x4
	RTV_RPIPE    = 0x8
	RTV_SPIPE    = 0x10
	RTV_SSTHRESH = 0x20
	RTV_RTT      = 0x40
	RTV_RTTVAR   = 0x80
)
