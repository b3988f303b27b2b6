package netbsd

// RtMetrics is struct rt_metrics (<net/route.h>). Times to live and round
// trip times are as in route(4): seconds since 1970, microseconds.
type RtMetrics struct {
	Locks    uint64 `abi:"rmx_locks"` // RTV_* of the values that are fixed
	Mtu      uint64 `abi:"rmx_mtu"`
	Hopcount uint64 `abi:"rmx_hopcount"`
	Recvpipe uint64 `abi:"rmx_recvpipe"`
	Sendpipe uint64 `abi:"rmx_sendpipe"`
	Ssthresh uint64 `abi:"rmx_ssthresh"`
	Rtt      uint64 `abi:"rmx_rtt"`
	Rttvar   uint64 `abi:"rmx_rttvar"`
	Expire   int64  `abi:"rmx_expire"`
	Pksent   int64  `abi:"rmx_pksent"`
}

// RtMsghdr is struct rt_msghdr: the head of messages about routes.
type RtMsghdr struct {
	Msglen  uint16    `abi:"rtm_msglen,align8"` // bytes, the header included
	Version uint8     `abi:"rtm_version"`       // RTM_VERSION
	Type    uint8     `abi:"rtm_type"`          // RTM_*
	Index   uint16    `abi:"rtm_index"`         // interface
	Flags   int32     `abi:"rtm_flags"`         // RTF_*
	Addrs   int32     `abi:"rtm_addrs"`         // RTA_*: the addresses that follow
	Pid     int32     `abi:"rtm_pid"`
	Seq     int32     `abi:"rtm_seq"`
	Errno   int32     `abi:"rtm_errno"`
	Use     int32     `abi:"rtm_use"`
	Inits   int32     `abi:"rtm_inits"` // RTV_* of the metrics that are given
	Rmx     RtMetrics `abi:"rtm_rmx,align8"`
}

// Ortentry is struct ortentry, the argument of SIOCADDRT.
type Ortentry struct {
	Hash    uint32   `abi:"rt_hash"`
	Dst     [16]byte `abi:"rt_dst"`
	Gateway [16]byte `abi:"rt_gateway"`
	Flags   int16    `abi:"rt_flags"`
	Refcnt  int16    `abi:"rt_refcnt"`
	Use     uint32   `abi:"rt_use"`
	Ifp     Ptr      `abi:"rt_ifp"`
}
