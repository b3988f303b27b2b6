package netbsd

// RawSockaddr is struct sockaddr, the first 16 bytes of any socket address.
type RawSockaddr struct {
	Len    uint8    `abi:"sa_len"`
	Family uint8    `abi:"sa_family"`
	Data   [14]byte `abi:"sa_data"`
}

// RawSockaddrStorage is struct sockaddr_storage: room for any address of up
// to 128 bytes, aligned as a 64-bit integer.
type RawSockaddrStorage struct {
	Len    uint8     `abi:"ss_len,align64"`
	Family uint8     `abi:"ss_family"`
	Data   [126]byte `abi:"ss_data"`
}

// RawSockaddrIn is struct sockaddr_in. Port and address are in network order
// on every machine.
type RawSockaddrIn struct {
	Len    uint8   `abi:"sin_len"`
	Family uint8   `abi:"sin_family"`
	Port   [2]byte `abi:"sin_port,align2"`
	Addr   [4]byte `abi:"sin_addr"`
	Zero   [8]byte `abi:"sin_zero"`
}

// RawSockaddrIn6 is struct sockaddr_in6. Port, flow and address are in network
// order on every machine; the scope is in the machine's.
type RawSockaddrIn6 struct {
	Len      uint8    `abi:"sin6_len"`
	Family   uint8    `abi:"sin6_family"`
	Port     [2]byte  `abi:"sin6_port,align2"`
	Flowinfo [4]byte  `abi:"sin6_flowinfo,align4"`
	Addr     [16]byte `abi:"sin6_addr"`
	ScopeID  uint32   `abi:"sin6_scope_id"`
}

// RawSockaddrDl is struct sockaddr_dl. Data holds the interface's name, the
// link-level address and the selector one after the other; an address that
// needs more than its 12 bytes is longer than the structure.
type RawSockaddrDl struct {
	Len    uint8    `abi:"sdl_len"`
	Family uint8    `abi:"sdl_family"`
	Index  uint16   `abi:"sdl_index"`
	Type   uint8    `abi:"sdl_type"`
	Nlen   uint8    `abi:"sdl_nlen"`
	Alen   uint8    `abi:"sdl_alen"`
	Slen   uint8    `abi:"sdl_slen"`
	Data   [12]byte `abi:"sdl_data"`
}

// RawSockaddrUn is struct sockaddr_un.
type RawSockaddrUn struct {
	Len    uint8     `abi:"sun_len"`
	Family uint8     `abi:"sun_family"`
	Path   [104]byte `abi:"sun_path"`
}

// RawSockaddrInarp is struct sockaddr_inarp (<netinet/if_inarp.h>), the
// destination that arp(8) gives in routing messages.
type RawSockaddrInarp struct {
	Len     uint8   `abi:"sin_len"`
	Family  uint8   `abi:"sin_family"`
	Port    [2]byte `abi:"sin_port,align2"`
	Addr    [4]byte `abi:"sin_addr"`
	Srcaddr [4]byte `abi:"sin_srcaddr"`
	Tos     uint16  `abi:"sin_tos"`
	Other   uint16  `abi:"sin_other"`
}

// SIN_PROXY is the bit of [RawSockaddrInarp.Other] that says that the entry
// is a published one.
const SIN_PROXY = 1

// Msghdr is struct msghdr, of sendmsg(2) and recvmsg(2).
type Msghdr struct {
	Name       Ptr    `abi:"msg_name"`
	Namelen    uint32 `abi:"msg_namelen"`
	Iov        Ptr    `abi:"msg_iov"`
	Iovlen     int32  `abi:"msg_iovlen"`
	Control    Ptr    `abi:"msg_control"`
	Controllen uint32 `abi:"msg_controllen"`
	Flags      int32  `abi:"msg_flags"`
}

// Mmsghdr is struct mmsghdr, of sendmmsg(2) and recvmmsg(2).
type Mmsghdr struct {
	Hdr Msghdr `abi:"msg_hdr"`
	Len uint32 `abi:"msg_len"`
}

// Iovec is struct iovec.
type Iovec struct {
	Base Ptr   `abi:"iov_base"`
	Len  SizeT `abi:"iov_len"`
}

// Cmsghdr is struct cmsghdr, the header of a control message. Its data starts
// at the next multiple of [Machine.CmsgAlign]; see [AppendCmsg].
type Cmsghdr struct {
	Len   uint32 `abi:"cmsg_len"`
	Level int32  `abi:"cmsg_level"`
	Type  int32  `abi:"cmsg_type"`
}

// InPktinfo is struct in_pktinfo, the data of IP_PKTINFO.
type InPktinfo struct {
	Addr    [4]byte `abi:"ipi_addr"`
	Ifindex uint32  `abi:"ipi_ifindex"`
}

// In6Pktinfo is struct in6_pktinfo, the data of IPV6_PKTINFO.
type In6Pktinfo struct {
	Addr    [16]byte `abi:"ipi6_addr,align4"`
	Ifindex uint32   `abi:"ipi6_ifindex"`
}

// Linger is struct linger, of SO_LINGER; the time is in seconds.
type Linger struct {
	Onoff  int32 `abi:"l_onoff"`
	Linger int32 `abi:"l_linger"`
}

// IpMreq is struct ip_mreq, of IP_ADD_MEMBERSHIP.
type IpMreq struct {
	Multiaddr [4]byte `abi:"imr_multiaddr"`
	Interface [4]byte `abi:"imr_interface"`
}

// Ipv6Mreq is struct ipv6_mreq, of IPV6_JOIN_GROUP.
type Ipv6Mreq struct {
	Multiaddr [16]byte `abi:"ipv6mr_multiaddr,align4"`
	Interface uint32   `abi:"ipv6mr_interface"`
}

// Icmp6Filter is struct icmp6_filter, of ICMP6_FILTER: one bit for each type,
// set when messages of the type pass.
type Icmp6Filter struct {
	Filt [8]uint32 `abi:"icmp6_filt"`
}

// PassAll lets every type pass.
func (f *Icmp6Filter) PassAll() {
	for i := range f.Filt {
		f.Filt[i] = 1<<32 - 1
	}
}

// BlockAll lets no type pass.
func (f *Icmp6Filter) BlockAll() { *f = Icmp6Filter{} }

// SetPass lets one type pass.
func (f *Icmp6Filter) SetPass(typ uint8) { f.Filt[typ>>5] |= 1 << (typ & 31) }

// SetBlock lets one type no longer pass.
func (f *Icmp6Filter) SetBlock(typ uint8) { f.Filt[typ>>5] &^= 1 << (typ & 31) }

// WillPass tells whether messages of the type pass.
func (f *Icmp6Filter) WillPass(typ uint8) bool { return f.Filt[typ>>5]&(1<<(typ&31)) != 0 }

// Unpcbid is struct unpcbid, of LOCAL_PEEREID.
type Unpcbid struct {
	Pid  int32  `abi:"unp_pid"`
	Euid uint32 `abi:"unp_euid"`
	Egid uint32 `abi:"unp_egid"`
}

// Sockcred is struct sockcred, the data of SCM_CREDS, with no group but the
// first.
type Sockcred struct {
	Pid     int32     `abi:"sc_pid"`
	Uid     uint32    `abi:"sc_uid"`
	Euid    uint32    `abi:"sc_euid"`
	Gid     uint32    `abi:"sc_gid"`
	Egid    uint32    `abi:"sc_egid"`
	Ngroups int32     `abi:"sc_ngroups"`
	Groups  [1]uint32 `abi:"sc_groups"`
}

// Pollfd is struct pollfd.
type Pollfd struct {
	Fd      int32 `abi:"fd"`
	Events  int16 `abi:"events"`
	Revents int16 `abi:"revents"`
}

// Kevent is struct kevent, of kevent(2).
type Kevent struct {
	Ident  Ptr    `abi:"ident"`
	Filter uint32 `abi:"filter"`
	Flags  uint32 `abi:"flags"`
	Fflags uint32 `abi:"fflags"`
	Data   int64  `abi:"data"`
	Udata  Ptr    `abi:"udata"`
}

// KfilterMapping is struct kfilter_mapping, of KFILTER_BYNAME and
// KFILTER_BYFILTER: a filter's name, the size of the buffer for it and its
// number.
type KfilterMapping struct {
	Name   Ptr    `abi:"name"`
	Len    SizeT  `abi:"len"`
	Filter uint32 `abi:"filter"`
}

// FdSet is fd_set with FD_SETSIZE 256: bit n%32 of word n/32 is descriptor n.
type FdSet struct {
	Bits [8]uint32 `abi:"fds_bits"`
}

// TcpInfo is struct tcp_info, of TCP_INFO. Times are in microseconds.
type TcpInfo struct {
	State         uint8      `abi:"tcpi_state"`
	CaState       uint8      `abi:"__tcpi_ca_state"`
	Retransmits   uint8      `abi:"__tcpi_retransmits"`
	Probes        uint8      `abi:"__tcpi_probes"`
	Backoff       uint8      `abi:"__tcpi_backoff"`
	Options       uint8      `abi:"tcpi_options"`
	Wscale        uint8      `abi:"tcpi_snd_wscale"` // two bit fields of 4 bits: send, receive
	Rto           uint32     `abi:"tcpi_rto"`
	Ato           uint32     `abi:"__tcpi_ato"`
	SndMss        uint32     `abi:"tcpi_snd_mss"`
	RcvMss        uint32     `abi:"tcpi_rcv_mss"`
	Unacked       uint32     `abi:"__tcpi_unacked"`
	Sacked        uint32     `abi:"__tcpi_sacked"`
	Lost          uint32     `abi:"__tcpi_lost"`
	Retrans       uint32     `abi:"__tcpi_retrans"`
	Fackets       uint32     `abi:"__tcpi_fackets"`
	LastDataSent  uint32     `abi:"__tcpi_last_data_sent"`
	LastAckSent   uint32     `abi:"__tcpi_last_ack_sent"`
	LastDataRecv  uint32     `abi:"tcpi_last_data_recv"`
	LastAckRecv   uint32     `abi:"__tcpi_last_ack_recv"`
	Pmtu          uint32     `abi:"__tcpi_pmtu"`
	RcvSsthresh   uint32     `abi:"__tcpi_rcv_ssthresh"`
	Rtt           uint32     `abi:"tcpi_rtt"`
	Rttvar        uint32     `abi:"tcpi_rttvar"`
	SndSsthresh   uint32     `abi:"tcpi_snd_ssthresh"`
	SndCwnd       uint32     `abi:"tcpi_snd_cwnd"`
	Advmss        uint32     `abi:"__tcpi_advmss"`
	Reordering    uint32     `abi:"__tcpi_reordering"`
	RcvRtt        uint32     `abi:"__tcpi_rcv_rtt"`
	RcvSpace      uint32     `abi:"tcpi_rcv_space"`
	SndWnd        uint32     `abi:"tcpi_snd_wnd"`
	SndBwnd       uint32     `abi:"tcpi_snd_bwnd"`
	SndNxt        uint32     `abi:"tcpi_snd_nxt"`
	RcvNxt        uint32     `abi:"tcpi_rcv_nxt"`
	ToeTid        uint32     `abi:"tcpi_toe_tid"`
	SndRexmitpack uint32     `abi:"tcpi_snd_rexmitpack"`
	RcvOoopack    uint32     `abi:"tcpi_rcv_ooopack"`
	SndZerowin    uint32     `abi:"tcpi_snd_zerowin"`
	Pad           [26]uint32 `abi:"__tcpi_pad"`
}
