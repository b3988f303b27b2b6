package netbsd

// BpfProgram is struct bpf_program (<net/bpf.h>), of BIOCSETF: the number of
// instructions and their address.
type BpfProgram struct {
	Len   uint32 `abi:"bf_len"`
	Insns Ptr    `abi:"bf_insns"`
}

// BpfInsn is struct bpf_insn.
type BpfInsn struct {
	Code uint16 `abi:"code"`
	Jt   uint8  `abi:"jt"`
	Jf   uint8  `abi:"jf"`
	K    uint32 `abi:"k"`
}

// BpfTimeval is struct bpf_timeval, a timeval of two longs.
type BpfTimeval struct {
	Sec  Long `abi:"tv_sec"`
	Usec Long `abi:"tv_usec"`
}

// BpfHdr is struct bpf_hdr, before each packet in a buffer read from bpf(4).
// The packet is Hdrlen bytes after the header's start and the next header at
// the next multiple of [Machine.BpfAlign] after the packet.
type BpfHdr struct {
	Tstamp  BpfTimeval `abi:"bh_tstamp"`
	Caplen  uint32     `abi:"bh_caplen"`
	Datalen uint32     `abi:"bh_datalen"`
	Hdrlen  uint16     `abi:"bh_hdrlen"`
}

// BpfStat is struct bpf_stat, of BIOCGSTATS and net.bpf.stats.
type BpfStat struct {
	Recv    uint64     `abi:"bs_recv"`
	Drop    uint64     `abi:"bs_drop"`
	Capt    uint64     `abi:"bs_capt"`
	Padding [13]uint64 `abi:"bs_padding"`
}

// BpfVersion is struct bpf_version, of BIOCVERSION.
type BpfVersion struct {
	Major uint16 `abi:"bv_major"`
	Minor uint16 `abi:"bv_minor"`
}

// BpfDltlist is struct bpf_dltlist, of BIOCGDLTLIST.
type BpfDltlist struct {
	Len  uint32 `abi:"bfl_len"`
	List Ptr    `abi:"bfl_list"`
}

// BpfDExt is struct bpf_d_ext (<net/bpfdesc.h>): an open bpf(4) descriptor in
// the list net.bpf.peers.
type BpfDExt struct {
	Bufsize   int32          `abi:"bde_bufsize"`
	Promisc   uint8          `abi:"bde_promisc"`
	State     uint8          `abi:"bde_state"`
	Immediate uint8          `abi:"bde_immediate"`
	Hdrcmplt  int32          `abi:"bde_hdrcmplt"`
	Seesent   int32          `abi:"bde_seesent"`
	Pid       int32          `abi:"bde_pid"`
	Rcount    uint64         `abi:"bde_rcount"`
	Dcount    uint64         `abi:"bde_dcount"`
	Ccount    uint64         `abi:"bde_ccount"`
	Ifname    [IFNAMSIZ]byte `abi:"bde_ifname"`
}

// BpfWordalign rounds n up to the alignment of packets in bpf(4)'s buffers.
func BpfWordalign(m *Machine, n int) int { return roundUp(n, m.BpfAlign) }
