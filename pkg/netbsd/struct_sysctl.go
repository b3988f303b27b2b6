package netbsd

// SYSCTL_NAMELEN is the size of a sysctl node's name, its NUL included.
const SYSCTL_NAMELEN = 32

// Sysctlnode is struct sysctlnode (<sys/sysctl.h>), what CTL_QUERY returns
// and CTL_CREATE takes. Pointers have slots of 8 bytes on every machine.
type Sysctlnode struct {
	Flags  uint32               `abi:"sysctl_flags"` // SYSCTL_VERSION | CTLFLAG_* | CTLTYPE_*
	Num    int32                `abi:"sysctl_num"`
	Name   [SYSCTL_NAMELEN]byte `abi:"sysctl_name"`
	Ver    uint32               `abi:"sysctl_ver"`
	Rsvd   uint32               `abi:"__rsvd"`
	Un     [16]byte             `abi:"sysctl_un,align64"`
	Size   uint64               `abi:"_sysctl_size"`
	Func   Ptr                  `abi:"sysctl_func,slot8"`
	Parent Ptr                  `abi:"sysctl_parent,slot8"`
	Desc   Ptr                  `abi:"sysctl_desc,slot8"`
}

// Type returns the node's type, CTLTYPE_*.
func (n *Sysctlnode) Type() uint32 { return n.Flags & SYSCTL_TYPEMASK }

// Children returns, for a node of type CTLTYPE_NODE, the room for children
// and how many there are.
func (n *Sysctlnode) Children(m *Machine) (size, count uint32) {
	return m.Order.Uint32(n.Un[:]), m.Order.Uint32(n.Un[4:])
}

// SetChildren sets the room for children and how many there are.
func (n *Sysctlnode) SetChildren(m *Machine, size, count uint32) {
	m.Order.PutUint32(n.Un[:], size)
	m.Order.PutUint32(n.Un[4:], count)
}

// Idata returns the immediate int (CTLFLAG_IMMEDIATE), or the number of the
// node that an alias (CTLFLAG_ALIAS) stands for.
func (n *Sysctlnode) Idata(m *Machine) int32 { return int32(m.Order.Uint32(n.Un[:])) }

// SetIdata sets the immediate int.
func (n *Sysctlnode) SetIdata(m *Machine, v int32) { m.Order.PutUint32(n.Un[:], uint32(v)) }

// Qdata returns the immediate 64-bit integer.
func (n *Sysctlnode) Qdata(m *Machine) uint64 { return m.Order.Uint64(n.Un[:]) }

// SetQdata sets the immediate 64-bit integer.
func (n *Sysctlnode) SetQdata(m *Machine, v uint64) { m.Order.PutUint64(n.Un[:], v) }

// Bdata returns the immediate bool.
func (n *Sysctlnode) Bdata() bool { return n.Un[0] != 0 }

// Sysctldesc is struct sysctldesc, of CTL_DESCRIBE, without the description
// itself: Len bytes, NUL included, that start [SysctldescStr] bytes after the
// structure's start. The next one starts at the next multiple of 4.
type Sysctldesc struct {
	Num int32   `abi:"descr_num"`
	Ver uint32  `abi:"descr_ver"`
	Len uint32  `abi:"descr_len"`
	Str [1]byte `abi:"descr_str"`
}

// SysctldescStr is the offset of a description's text in struct sysctldesc.
const SysctldescStr = 12

// KinfoPcb is struct kinfo_pcb (<sys/socket.h>): a socket in the lists
// net.inet.tcp.pcblist and the like.
type KinfoPcb struct {
	Pcbaddr  uint64    `abi:"ki_pcbaddr"`
	Ppcbaddr uint64    `abi:"ki_ppcbaddr"`
	Sockaddr uint64    `abi:"ki_sockaddr"` // address of the socket, not its name
	Family   uint32    `abi:"ki_family"`
	Type     uint32    `abi:"ki_type"`
	Protocol uint32    `abi:"ki_protocol"`
	Pflags   uint32    `abi:"ki_pflags"`
	Sostate  uint32    `abi:"ki_sostate"`
	Prstate  uint32    `abi:"ki_prstate"`
	Tstate   int32     `abi:"ki_tstate"` // TCPS_*
	Tflags   uint32    `abi:"ki_tflags"`
	Rcvq     uint64    `abi:"ki_rcvq"` // bytes
	Sndq     uint64    `abi:"ki_sndq"`
	Src      [264]byte `abi:"ki_s"` // socket address
	Dst      [264]byte `abi:"ki_d"`
	Inode    uint64    `abi:"ki_inode"`
	Vnode    uint64    `abi:"ki_vnode"`
	Conn     uint64    `abi:"ki_conn"`
	Refs     uint64    `abi:"ki_refs"`
	Nextref  uint64    `abi:"ki_nextref"`
}

// KinfoFile is struct kinfo_file (<sys/sysctl.h>): an open file in the list
// kern.file2.
type KinfoFile struct {
	Fileaddr   uint64 `abi:"ki_fileaddr"`
	Flag       uint32 `abi:"ki_flag"`
	Iflags     uint32 `abi:"ki_iflags"`
	Ftype      uint32 `abi:"ki_ftype"` // DTYPE_*
	Count      uint32 `abi:"ki_count"`
	Msgcount   uint32 `abi:"ki_msgcount"`
	Usecount   uint32 `abi:"ki_usecount"`
	Fucred     uint64 `abi:"ki_fucred"`
	Fuid       uint32 `abi:"ki_fuid"`
	Fgid       uint32 `abi:"ki_fgid"`
	Fops       uint64 `abi:"ki_fops"`
	Foffset    uint64 `abi:"ki_foffset"`
	Fdata      uint64 `abi:"ki_fdata"`
	Vun        uint64 `abi:"ki_vun"`
	Vsize      uint64 `abi:"ki_vsize"`
	Vtype      uint32 `abi:"ki_vtype"`
	Vtag       uint32 `abi:"ki_vtag"`
	Vdata      uint64 `abi:"ki_vdata"`
	Pid        uint32 `abi:"ki_pid"`
	Fd         int32  `abi:"ki_fd"`
	Ofileflags uint32 `abi:"ki_ofileflags"`
	Padto64    uint32 `abi:"_ki_padto64bits"`
}

// Clockinfo is struct clockinfo, of kern.clockrate.
type Clockinfo struct {
	Hz      int32 `abi:"hz"`
	Tick    int32 `abi:"tick"` // microseconds
	Tickadj int32 `abi:"tickadj"`
	Stathz  int32 `abi:"stathz"`
	Profhz  int32 `abi:"profhz"`
}

// Loadavg is struct loadavg, of vm.loadavg: averages over 1, 5 and 15 minutes
// in units of 1/Fscale.
type Loadavg struct {
	Ldavg  [3]uint32 `abi:"ldavg"`
	Fscale Long      `abi:"fscale"`
}

// KinfoDrivers is struct kinfo_drivers: a device driver in the list
// kern.drivers. Numbers are -1 where there is no such device.
type KinfoDrivers struct {
	Cmajor int32    `abi:"d_cmajor"`
	Bmajor int32    `abi:"d_bmajor"`
	Name   [24]byte `abi:"d_name"`
}
