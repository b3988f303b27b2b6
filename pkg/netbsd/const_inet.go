package netbsd

// IP protocols (<netinet/in.h>).
const (
	IPPROTO_IP        = 0
	IPPROTO_HOPOPTS   = 0
	IPPROTO_ICMP      = 1
	IPPROTO_IGMP      = 2
	IPPROTO_GGP       = 3
	IPPROTO_IPV4      = 4
	IPPROTO_IPIP      = 4
	IPPROTO_TCP       = 6
	IPPROTO_EGP       = 8
	IPPROTO_PUP       = 12
	IPPROTO_UDP       = 17
	IPPROTO_IDP       = 22
	IPPROTO_TP        = 29
	IPPROTO_DCCP      = 33
	IPPROTO_IPV6      = 41
	IPPROTO_ROUTING   = 43
	IPPROTO_FRAGMENT  = 44
	IPPROTO_RSVP      = 46
	IPPROTO_GRE       = 47
	IPPROTO_ESP       = 50
	IPPROTO_AH        = 51
	IPPROTO_MOBILE    = 55
	IPPROTO_IPV6_ICMP = 58
	IPPROTO_ICMPV6    = 58
	IPPROTO_NONE      = 59
	IPPROTO_DSTOPTS   = 60
	IPPROTO_EON       = 80
	IPPROTO_ETHERIP   = 97
	IPPROTO_ENCAP     = 98
	IPPROTO_PIM       = 103
	IPPROTO_IPCOMP    = 108
	IPPROTO_VRRP      = 112
	IPPROTO_CARP      = 112
	IPPROTO_SCTP      = 132
	IPPROTO_PFSYNC    = 240
	IPPROTO_RAW       = 255
	IPPROTO_MAX       = 256
	IPPROTO_DONE      = 257
	IPPROTO_MAXID     = IPPROTO_AH + 1
)

// Ports: the first that is not reserved, and the ranges that the kernel chooses
// from.
const (
	IPPORT_RESERVED    = 1024
	IPPORT_ANONMIN     = 49152
	IPPORT_ANONMAX     = 65535
	IPPORT_RESERVEDMIN = 600
	IPPORT_RESERVEDMAX = IPPORT_RESERVED - 1
)

// Options of level IPPROTO_IP.
const (
	IP_OPTIONS                = 1
	IP_HDRINCL                = 2
	IP_TOS                    = 3
	IP_TTL                    = 4
	IP_RECVOPTS               = 5
	IP_RECVRETOPTS            = 6
	IP_RECVDSTADDR            = 7
	IP_RETOPTS                = 8
	IP_MULTICAST_IF           = 9
	IP_MULTICAST_TTL          = 10
	IP_MULTICAST_LOOP         = 11
	IP_ADD_MEMBERSHIP         = 12
	IP_DROP_MEMBERSHIP        = 13
	IP_PORTALGO               = 18
	IP_PORTRANGE              = 19
	IP_RECVIF                 = 20
	IP_ERRORMTU               = 21
	IP_IPSEC_POLICY           = 22
	IP_RECVTTL                = 23
	IP_MINTTL                 = 24
	IP_PKTINFO                = 25
	IP_RECVPKTINFO            = 26
	IP_DEFAULT_MULTICAST_TTL  = 1
	IP_DEFAULT_MULTICAST_LOOP = 1
	IP_MAX_MEMBERSHIPS        = 20
	IP_PORTRANGE_DEFAULT      = 0
	IP_PORTRANGE_HIGH         = 1
	IP_PORTRANGE_LOW          = 2
)

// Options of level IPPROTO_IPV6 (<netinet6/in6.h>). ICMP6_FILTER is of level
// IPPROTO_ICMPV6.
const (
	IPV6_SOCKOPT_RESERVED1      = 3
	IPV6_UNICAST_HOPS           = 4
	IPV6_MULTICAST_IF           = 9
	IPV6_MULTICAST_HOPS         = 10
	IPV6_MULTICAST_LOOP         = 11
	IPV6_JOIN_GROUP             = 12
	IPV6_LEAVE_GROUP            = 13
	IPV6_PORTRANGE              = 14
	IPV6_PORTALGO               = 17
	ICMP6_FILTER                = 18
	IPV6_2292PKTINFO            = 19
	IPV6_2292HOPLIMIT           = 20
	IPV6_2292NEXTHOP            = 21
	IPV6_2292HOPOPTS            = 22
	IPV6_2292DSTOPTS            = 23
	IPV6_2292RTHDR              = 24
	IPV6_2292PKTOPTIONS         = 25
	IPV6_CHECKSUM               = 26
	IPV6_V6ONLY                 = 27
	IPV6_IPSEC_POLICY           = 28
	IPV6_FAITH                  = 29
	IPV6_RTHDRDSTOPTS           = 35
	IPV6_RECVPKTINFO            = 36
	IPV6_RECVHOPLIMIT           = 37
	IPV6_RECVRTHDR              = 38
	IPV6_RECVHOPOPTS            = 39
	IPV6_RECVDSTOPTS            = 40
	IPV6_RECVRTHDRDSTOPTS       = 41
	IPV6_USE_MIN_MTU            = 42
	IPV6_RECVPATHMTU            = 43
	IPV6_PATHMTU                = 44
	IPV6_PKTINFO                = 46
	IPV6_HOPLIMIT               = 47
	IPV6_NEXTHOP                = 48
	IPV6_HOPOPTS                = 49
	IPV6_DSTOPTS                = 50
	IPV6_RTHDR                  = 51
	IPV6_RECVTCLASS             = 57
	IPV6_OTCLASS                = 58
	IPV6_TCLASS                 = 61
	IPV6_DONTFRAG               = 62
	IPV6_PREFER_TEMPADDR        = 63
	IPV6_RTHDR_LOOSE            = 0
	IPV6_RTHDR_STRICT           = 1
	IPV6_RTHDR_TYPE_0           = 0
	IPV6_DEFAULT_MULTICAST_HOPS = 1
	IPV6_DEFAULT_MULTICAST_LOOP = 1
	IPV6_PORTRANGE_DEFAULT      = 0
	IPV6_PORTRANGE_HIGH         = 1
	IPV6_PORTRANGE_LOW          = 2
)

// Options of level IPPROTO_TCP (<netinet/tcp.h>).
const (
	TCP_NODELAY         = 1
	TCP_MAXSEG          = 2
	TCP_KEEPIDLE        = 3
	TCP_KEEPINTVL       = 5
	TCP_KEEPCNT         = 6
	TCP_KEEPINIT        = 7
	TCP_INFO            = 9
	TCP_MD5SIG          = 0x10
	TCP_CONGCTL         = 0x20
	TCPI_OPT_TIMESTAMPS = 0x01
	TCPI_OPT_SACK       = 0x02
	TCPI_OPT_WSCALE     = 0x04
	TCPI_OPT_ECN        = 0x08
	TCPI_OPT_TOE        = 0x10
)

// Options of level IPPROTO_UDP (<netinet/udp.h>).
const (
	UDP_ENCAP                     = 100
	UDP_ENCAP_ESPINUDP_NON_IKE    = 1
	UDP_ENCAP_ESPINUDP            = 2
	UDP_ENCAP_ESPINUDP_PORT       = 500
	UDP_ENCAP_ESPINUDP_MAXFRAGLEN = 552
)

// States of TCP connections (<netinet/tcp_fsm.h>).
const (
	TCPS_CLOSED       = 0
	TCPS_LISTEN       = 1
	TCPS_SYN_SENT     = 2
	TCPS_SYN_RECEIVED = 3
	TCPS_ESTABLISHED  = 4
	TCPS_CLOSE_WAIT   = 5
	TCPS_FIN_WAIT_1   = 6
	TCPS_CLOSING      = 7
	TCPS_LAST_ACK     = 8
	TCPS_FIN_WAIT_2   = 9
	TCPS_TIME_WAIT    = 10
)

// Flags of TCP segments.
const (
	TH_FIN  = 0x01
	TH_SYN  = 0x02
	TH_RST  = 0x04
	TH_PUSH = 0x08
	TH_ACK  = 0x10
	TH_URG  = 0x20
	TH_ECE  = 0x40
	TH_CWR  = 0x80
)

// Types of ICMP messages and codes of ICMP errors (<netinet/ip_icmp.h>).
const (
	ICMP_ECHOREPLY                  = 0
	ICMP_UNREACH                    = 3
	ICMP_UNREACH_NET                = 0
	ICMP_UNREACH_HOST               = 1
	ICMP_UNREACH_PROTOCOL           = 2
	ICMP_UNREACH_PORT               = 3
	ICMP_UNREACH_NEEDFRAG           = 4
	ICMP_UNREACH_SRCFAIL            = 5
	ICMP_UNREACH_NET_UNKNOWN        = 6
	ICMP_UNREACH_HOST_UNKNOWN       = 7
	ICMP_UNREACH_ISOLATED           = 8
	ICMP_UNREACH_NET_PROHIB         = 9
	ICMP_UNREACH_HOST_PROHIB        = 10
	ICMP_UNREACH_TOSNET             = 11
	ICMP_UNREACH_TOSHOST            = 12
	ICMP_UNREACH_ADMIN_PROHIBIT     = 13
	ICMP_UNREACH_HOST_PREC          = 14
	ICMP_UNREACH_PREC_CUTOFF        = 15
	ICMP_SOURCEQUENCH               = 4
	ICMP_REDIRECT                   = 5
	ICMP_REDIRECT_NET               = 0
	ICMP_REDIRECT_HOST              = 1
	ICMP_REDIRECT_TOSNET            = 2
	ICMP_REDIRECT_TOSHOST           = 3
	ICMP_ALTHOSTADDR                = 6
	ICMP_ECHO                       = 8
	ICMP_ROUTERADVERT               = 9
	ICMP_ROUTERADVERT_NORMAL        = 0
	ICMP_ROUTERADVERT_NOROUTE       = 16
	ICMP_ROUTERSOLICIT              = 10
	ICMP_TIMXCEED                   = 11
	ICMP_TIMXCEED_INTRANS           = 0
	ICMP_TIMXCEED_REASS             = 1
	ICMP_PARAMPROB                  = 12
	ICMP_PARAMPROB_ERRATPTR         = 0
	ICMP_PARAMPROB_OPTABSENT        = 1
	ICMP_PARAMPROB_LENGTH           = 2
	ICMP_TSTAMP                     = 13
	ICMP_TSTAMPREPLY                = 14
	ICMP_IREQ                       = 15
	ICMP_IREQREPLY                  = 16
	ICMP_MASKREQ                    = 17
	ICMP_MASKREPLY                  = 18
	ICMP_TRACEROUTE                 = 30
	ICMP_DATACONVERR                = 31
	ICMP_MOBILE_REDIRECT            = 32
	ICMP_IPV6_WHEREAREYOU           = 33
	ICMP_IPV6_IAMHERE               = 34
	ICMP_MOBILE_REGREQUEST          = 35
	ICMP_MOBILE_REGREPLY            = 36
	ICMP_SKIP                       = 39
	ICMP_PHOTURIS                   = 40
	ICMP_PHOTURIS_UNKNOWN_INDEX     = 0
	ICMP_PHOTURIS_AUTH_FAILED       = 1
	ICMP_PHOTURIS_DECOMPRESS_FAILED = 2
	ICMP_PHOTURIS_DECRYPT_FAILED    = 3
	ICMP_PHOTURIS_NEED_AUTHN        = 4
	ICMP_PHOTURIS_NEED_AUTHZ        = 5
	ICMP_MAXTYPE                    = 40
	ICMP_NTYPES                     = ICMP_MAXTYPE + 1
)

// Types of ICMPv6 messages, codes of ICMPv6 errors and flags in messages
// (<netinet/icmp6.h>). Flags of more than a byte are as read in network order.
const (
	ICMP6_DST_UNREACH                     = 1
	ICMP6_PACKET_TOO_BIG                  = 2
	ICMP6_TIME_EXCEEDED                   = 3
	ICMP6_PARAM_PROB                      = 4
	ICMP6_ECHO_REQUEST                    = 128
	ICMP6_ECHO_REPLY                      = 129
	MLD_LISTENER_QUERY                    = 130
	MLD_LISTENER_REPORT                   = 131
	MLD_LISTENER_DONE                     = 132
	MLD_LISTENER_REDUCTION                = MLD_LISTENER_DONE
	ICMP6_MEMBERSHIP_QUERY                = 130
	ICMP6_MEMBERSHIP_REPORT               = 131
	ICMP6_MEMBERSHIP_REDUCTION            = 132
	ND_ROUTER_SOLICIT                     = 133
	ND_ROUTER_ADVERT                      = 134
	ND_NEIGHBOR_SOLICIT                   = 135
	ND_NEIGHBOR_ADVERT                    = 136
	ND_REDIRECT                           = 137
	ICMP6_ROUTER_RENUMBERING              = 138
	ICMP6_WRUREQUEST                      = 139
	ICMP6_WRUREPLY                        = 140
	ICMP6_FQDN_QUERY                      = 139
	ICMP6_FQDN_REPLY                      = 140
	ICMP6_NI_QUERY                        = 139
	ICMP6_NI_REPLY                        = 140
	MLD_MTRACE_RESP                       = 200
	MLD_MTRACE                            = 201
	ICMP6_MAXTYPE                         = 201
	ICMP6_DST_UNREACH_NOROUTE             = 0
	ICMP6_DST_UNREACH_ADMIN               = 1
	ICMP6_DST_UNREACH_NOTNEIGHBOR         = 2
	ICMP6_DST_UNREACH_BEYONDSCOPE         = 2
	ICMP6_DST_UNREACH_ADDR                = 3
	ICMP6_DST_UNREACH_NOPORT              = 4
	ICMP6_DST_UNREACH_POLICY              = 5
	ICMP6_DST_UNREACH_REJROUTE            = 6
	ICMP6_DST_UNREACH_SOURCERT            = 7
	ICMP6_TIME_EXCEED_TRANSIT             = 0
	ICMP6_TIME_EXCEED_REASSEMBLY          = 1
	ICMP6_PARAMPROB_HEADER                = 0
	ICMP6_PARAMPROB_NEXTHEADER            = 1
	ICMP6_PARAMPROB_OPTION                = 2
	ICMP6_INFOMSG_MASK                    = 0x80
	ICMP6_NI_SUBJ_IPV6                    = 0
	ICMP6_NI_SUBJ_FQDN                    = 1
	ICMP6_NI_SUBJ_IPV4                    = 2
	ICMP6_NI_SUCCESS                      = 0
	ICMP6_NI_REFUSED                      = 1
	ICMP6_NI_UNKNOWN                      = 2
	ICMP6_ROUTER_RENUMBERING_COMMAND      = 0
	ICMP6_ROUTER_RENUMBERING_RESULT       = 1
	ICMP6_ROUTER_RENUMBERING_SEQNUM_RESET = 255
	ND_REDIRECT_ONLINK                    = 0
	ND_REDIRECT_ROUTER                    = 1
	MLD_MINLEN                            = 24
	ND_RA_FLAG_MANAGED                    = 0x80
	ND_RA_FLAG_OTHER                      = 0x40
	ND_RA_FLAG_HOME_AGENT                 = 0x20
	ND_RA_FLAG_RTPREF_MASK                = 0x18
	ND_RA_FLAG_RTPREF_HIGH                = 0x08
	ND_RA_FLAG_RTPREF_MEDIUM              = 0x00
	ND_RA_FLAG_RTPREF_LOW                 = 0x18
	ND_RA_FLAG_RTPREF_RSV                 = 0x10
	ND_NA_FLAG_ROUTER                     = 0x80000000
	ND_NA_FLAG_SOLICITED                  = 0x40000000
	ND_NA_FLAG_OVERRIDE                   = 0x20000000
	ND_OPT_SOURCE_LINKADDR                = 1
	ND_OPT_TARGET_LINKADDR                = 2
	ND_OPT_PREFIX_INFORMATION             = 3
	ND_OPT_REDIRECTED_HEADER              = 4
	ND_OPT_MTU                            = 5
	ND_OPT_ADVINTERVAL                    = 7
	ND_OPT_HOMEAGENT_INFO                 = 8
	ND_OPT_SOURCE_ADDRLIST                = 9
	ND_OPT_TARGET_ADDRLIST                = 10
	ND_OPT_MAP                            = 23
	ND_OPT_ROUTE_INFO                     = 24
	ND_OPT_RDNSS                          = 25
	ND_OPT_DNSSL                          = 31
	ND_OPT_PI_FLAG_ONLINK                 = 0x80
	ND_OPT_PI_FLAG_AUTO                   = 0x40
	ICMP6_RR_FLAGS_TEST                   = 0x80
	ICMP6_RR_FLAGS_REQRESULT              = 0x40
	ICMP6_RR_FLAGS_FORCEAPPLY             = 0x20
	ICMP6_RR_FLAGS_SPECSITE               = 0x10
	ICMP6_RR_FLAGS_PREVDONE               = 0x08
	ICMP6_RR_PCOUSE_RAFLAGS_ONLINK        = 0x80
	ICMP6_RR_PCOUSE_RAFLAGS_AUTO          = 0x40
	ICMP6_RR_PCOUSE_FLAGS_DECRVLTIME      = 0x80000000
	ICMP6_RR_PCOUSE_FLAGS_DECRPLTIME      = 0x40000000
	ICMP6_RR_RESULT_FLAGS_OOB             = 0x0002
	ICMP6_RR_RESULT_FLAGS_FORBIDDEN       = 0x0001
	ICMP6_ERRSTAT_DST_UNREACH_NOROUTE     = 0
	ICMP6_ERRSTAT_DST_UNREACH_ADMIN       = 1
	ICMP6_ERRSTAT_DST_UNREACH_BEYONDSCOPE = 2
	ICMP6_ERRSTAT_DST_UNREACH_ADDR        = 3
	ICMP6_ERRSTAT_DST_UNREACH_NOPORT      = 4
	ICMP6_ERRSTAT_PACKET_TOO_BIG          = 5
	ICMP6_ERRSTAT_TIME_EXCEED_TRANSIT     = 6
	ICMP6_ERRSTAT_TIME_EXCEED_REASSEMBLY  = 7
	ICMP6_ERRSTAT_PARAMPROB_HEADER        = 8
	ICMP6_ERRSTAT_PARAMPROB_NEXTHEADER    = 9
	ICMP6_ERRSTAT_PARAMPROB_OPTION        = 10
	ICMP6_ERRSTAT_REDIRECT                = 11
	ICMP6_ERRSTAT_UNKNOWN                 = 12
)

// Flags of IPv4 addresses, of SIOCGIFAFLAG_IN (<netinet/in_var.h>).
const (
	IN_IFF_TENTATIVE    = 0x01
	IN_IFF_DUPLICATED   = 0x02
	IN_IFF_DETACHED     = 0x04
	IN_IFF_TRYTENTATIVE = 0x08
	IN_IFF_NOTREADY     = IN_IFF_TRYTENTATIVE | IN_IFF_TENTATIVE | IN_IFF_DUPLICATED
)

// Flags of IPv6 addresses, of SIOCGIFAFLAG_IN6 (<netinet6/in6_var.h>).
const (
	IN6_IFF_ANYCAST    = 0x01
	IN6_IFF_TENTATIVE  = 0x02
	IN6_IFF_DUPLICATED = 0x04
	IN6_IFF_DETACHED   = 0x08
	IN6_IFF_DEPRECATED = 0x10
	IN6_IFF_NODAD      = 0x20
	IN6_IFF_AUTOCONF   = 0x40
	IN6_IFF_TEMPORARY  = 0x80
	IN6_IFF_NOTREADY   = IN6_IFF_TENTATIVE | IN6_IFF_DUPLICATED
)

// Where an IPv6 prefix comes from, and its state.
const (
	PR_ORIG_RA     = 0
	PR_ORIG_RR     = 1
	PR_ORIG_STATIC = 2
	PR_ORIG_KERNEL = 3
	NDPRF_ONLINK   = 0x1
	NDPRF_DETACHED = 0x2
	NDPRF_HOME     = 0x4
)

// States of IPv6 neighbours, flags of interfaces, the endless lifetime
// (<netinet6/nd6.h>).
const (
	ND6_LLINFO_PURGE       = -3
	ND6_LLINFO_NOSTATE     = -2
	ND6_LLINFO_INCOMPLETE  = 0
	ND6_LLINFO_REACHABLE   = 1
	ND6_LLINFO_STALE       = 2
	ND6_LLINFO_DELAY       = 3
	ND6_LLINFO_PROBE       = 4
	ND6_IFF_PERFORMNUD     = 0x01
	ND6_IFF_ACCEPT_RTADV   = 0x02
	ND6_IFF_PREFER_SOURCE  = 0x04
	ND6_IFF_IFDISABLED     = 0x08
	ND6_IFF_OVERRIDE_RTADV = 0x10
	ND6_IFF_AUTO_LINKLOCAL = 0x20
	ND6_INFINITE_LIFETIME  = 0xffffffff
)

// Hardware types and operations of ARP (<net/if_arp.h>).
const (
	ARPHRD_ETHER     = 1
	ARPHRD_IEEE802   = 6
	ARPHRD_ARCNET    = 7
	ARPHRD_FRELAY    = 15
	ARPHRD_STRIP     = 23
	ARPHRD_IEEE1394  = 24
	ARPOP_REQUEST    = 1
	ARPOP_REPLY      = 2
	ARPOP_REVREQUEST = 3
	ARPOP_REVREPLY   = 4
	ARPOP_INVREQUEST = 8
	ARPOP_INVREPLY   = 9
)

// Options in the headers of IPv4 datagrams (<netinet/ip.h>).
const (
	IP_EF                      = 0x8000
	IP_DF                      = 0x4000
	IP_MF                      = 0x2000
	IP_OFFMASK                 = 0x1fff
	IP_MAXPACKET               = 65535
	IPTOS_DSCP_CS0             = 0x00
	IPTOS_DSCP_CS1             = 0x20
	IPTOS_DSCP_AF11            = 0x28
	IPTOS_DSCP_AF12            = 0x30
	IPTOS_DSCP_AF13            = 0x38
	IPTOS_DSCP_CS2             = 0x40
	IPTOS_DSCP_AF21            = 0x48
	IPTOS_DSCP_AF22            = 0x50
	IPTOS_DSCP_AF23            = 0x58
	IPTOS_DSCP_CS3             = 0x60
	IPTOS_DSCP_AF31            = 0x68
	IPTOS_DSCP_AF32            = 0x70
	IPTOS_DSCP_AF33            = 0x78
	IPTOS_DSCP_CS4             = 0x80
	IPTOS_DSCP_AF41            = 0x88
	IPTOS_DSCP_AF42            = 0x90
	IPTOS_DSCP_AF43            = 0x98
	IPTOS_DSCP_CS5             = 0xa0
	IPTOS_DSCP_EF              = 0xb8
	IPTOS_DSCP_CS6             = 0xc0
	IPTOS_DSCP_CS7             = 0xe0
	IPTOS_CLASS_CS0            = 0x00
	IPTOS_CLASS_CS1            = 0x20
	IPTOS_CLASS_CS2            = 0x40
	IPTOS_CLASS_CS3            = 0x60
	IPTOS_CLASS_CS4            = 0x80
	IPTOS_CLASS_CS5            = 0xa0
	IPTOS_CLASS_CS6            = 0xc0
	IPTOS_CLASS_CS7            = 0xe0
	IPTOS_CLASS_DEFAULT        = IPTOS_CLASS_CS0
	IPTOS_CLASS_MASK           = 0xe0
	IPTOS_DSCP_MASK            = 0xfc
	IPTOS_ECN_NOTECT           = 0x00
	IPTOS_ECN_ECT1             = 0x01
	IPTOS_ECN_ECT0             = 0x02
	IPTOS_ECN_CE               = 0x03
	IPTOS_ECN_MASK             = 0x03
	IPTOS_ECN_NOT_ECT          = 0x00
	IPTOS_LOWDELAY             = 0x10
	IPTOS_THROUGHPUT           = 0x08
	IPTOS_RELIABILITY          = 0x04
	IPTOS_MINCOST              = 0x02
	IPTOS_CE                   = 0x01
	IPTOS_ECT                  = 0x02
	IPTOS_PREC_NETCONTROL      = 0xe0
	IPTOS_PREC_INTERNETCONTROL = 0xc0
	IPTOS_PREC_CRITIC_ECP      = 0xa0
	IPTOS_PREC_FLASHOVERRIDE   = 0x80
	IPTOS_PREC_FLASH           = 0x60
	IPTOS_PREC_IMMEDIATE       = 0x40
	IPTOS_PREC_PRIORITY        = 0x20
	IPTOS_PREC_ROUTINE         = 0x00
	IPOPT_CONTROL              = 0x00
	IPOPT_RESERVED1            = 0x20
	IPOPT_DEBMEAS              = 0x40
	IPOPT_RESERVED2            = 0x60
	IPOPT_EOL                  = 0
	IPOPT_NOP                  = 1
	IPOPT_RR                   = 7
	IPOPT_TS                   = 68
	IPOPT_SECURITY             = 130
	IPOPT_LSRR                 = 131
	IPOPT_SATID                = 136
	IPOPT_SSRR                 = 137
	IPOPT_OPTVAL               = 0
	IPOPT_OLEN                 = 1
	IPOPT_OFFSET               = 2
	IPOPT_MINOFF               = 4
	IPOPT_TS_TSONLY            = 0
	IPOPT_TS_TSANDADDR         = 1
	IPOPT_TS_PRESPEC           = 3
	IPOPT_SECUR_UNCLASS        = 0x0000
	IPOPT_SECUR_CONFID         = 0xf135
	IPOPT_SECUR_EFTO           = 0x789a
	IPOPT_SECUR_MMMM           = 0xbc4d
	IPOPT_SECUR_RESTR          = 0xaf13
	IPOPT_SECUR_SECRET         = 0xd788
	IPOPT_SECUR_TOPSECRET      = 0x6bc5
	MAXTTL                     = 255
	IPDEFTTL                   = 64
	IPTTLDEC                   = 1
)
