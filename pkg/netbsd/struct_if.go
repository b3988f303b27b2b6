package netbsd

// IfData is struct if_data (<net/if.h>): what an interface is and what it has
// counted. On the wire it is in the middle of other structures; alone it is
// never sent.
type IfData struct {
	Type       uint8    `abi:"ifi_type"`       // IFT_*
	Addrlen    uint8    `abi:"ifi_addrlen"`    // bytes of a link-level address
	Hdrlen     uint8    `abi:"ifi_hdrlen"`     // bytes of a link-level header
	LinkState  int32    `abi:"ifi_link_state"` // LINK_STATE_*
	Mtu        uint64   `abi:"ifi_mtu"`
	Metric     uint64   `abi:"ifi_metric"`
	Baudrate   uint64   `abi:"ifi_baudrate"` // bits per second
	Ipackets   uint64   `abi:"ifi_ipackets"`
	Ierrors    uint64   `abi:"ifi_ierrors"`
	Opackets   uint64   `abi:"ifi_opackets"`
	Oerrors    uint64   `abi:"ifi_oerrors"`
	Collisions uint64   `abi:"ifi_collisions"`
	Ibytes     uint64   `abi:"ifi_ibytes"`
	Obytes     uint64   `abi:"ifi_obytes"`
	Imcasts    uint64   `abi:"ifi_imcasts"`
	Omcasts    uint64   `abi:"ifi_omcasts"`
	Iqdrops    uint64   `abi:"ifi_iqdrops"`
	Noproto    uint64   `abi:"ifi_noproto"`
	Lastchange Timespec `abi:"ifi_lastchange"`
}

// IfMsghdr is struct if_msghdr: the head of RTM_IFINFO messages.
type IfMsghdr struct {
	Msglen  uint16 `abi:"ifm_msglen,align8"`
	Version uint8  `abi:"ifm_version"`
	Type    uint8  `abi:"ifm_type"`
	Addrs   int32  `abi:"ifm_addrs"`
	Flags   int32  `abi:"ifm_flags"`
	Index   uint16 `abi:"ifm_index"`
	Data    IfData `abi:"ifm_data,align8"`
}

// IfaMsghdr is struct ifa_msghdr: the head of RTM_NEWADDR, RTM_DELADDR and
// RTM_CHGADDR messages.
type IfaMsghdr struct {
	Msglen  uint16 `abi:"ifam_msglen,align8"`
	Version uint8  `abi:"ifam_version"`
	Type    uint8  `abi:"ifam_type"`
	Addrs   int32  `abi:"ifam_addrs"`
	Flags   int32  `abi:"ifam_flags"`
	Metric  int32  `abi:"ifam_metric"`
	Index   uint16 `abi:"ifam_index"`
}

// IfAnnouncemsghdr is struct if_announcemsghdr: an RTM_IFANNOUNCE message.
type IfAnnouncemsghdr struct {
	Msglen  uint16         `abi:"ifan_msglen,align8"`
	Version uint8          `abi:"ifan_version"`
	Type    uint8          `abi:"ifan_type"`
	Index   uint16         `abi:"ifan_index"`
	Name    [IFNAMSIZ]byte `abi:"ifan_name"`
	What    uint16         `abi:"ifan_what"` // IFAN_*
}

// Ifreq is struct ifreq, the request of most interface ioctls. What the union
// Ifru holds depends on the request; see the methods. Its name can be set
// with [IfName].
type Ifreq struct {
	Name [IFNAMSIZ]byte `abi:"ifr_name"`
	Ifru [128]byte      `abi:"ifr_ifru,align64"`
}

// Flags returns ifr_flags, the IFF_* flags. They are a short in C: flag 15,
// IFF_MULTICAST, makes it negative there, here it is a bit like the others.
func (r *Ifreq) Flags(m *Machine) uint16 { return m.Order.Uint16(r.Ifru[:]) }

// SetFlags sets ifr_flags.
func (r *Ifreq) SetFlags(m *Machine, flags uint16) { m.Order.PutUint16(r.Ifru[:], flags) }

// Value returns the union's int: ifr_metric, ifr_mtu, ifr_media, ifr_dlt,
// ifr_index, ifr_addrflags.
func (r *Ifreq) Value(m *Machine) int32 { return int32(m.Order.Uint32(r.Ifru[:])) }

// SetValue sets the union's int.
func (r *Ifreq) SetValue(m *Machine, v int32) { m.Order.PutUint32(r.Ifru[:], uint32(v)) }

// Metric returns ifr_metric.
func (r *Ifreq) Metric(m *Machine) int32 { return r.Value(m) }

// SetMetric sets ifr_metric.
func (r *Ifreq) SetMetric(m *Machine, v int32) { r.SetValue(m, v) }

// MTU returns ifr_mtu, in bytes.
func (r *Ifreq) MTU(m *Machine) int32 { return r.Value(m) }

// SetMTU sets ifr_mtu, in bytes.
func (r *Ifreq) SetMTU(m *Machine, v int32) { r.SetValue(m, v) }

// Addr returns the socket address in the union, as long as its sa_len says,
// but at least two bytes and at most the whole union. It aliases r.
func (r *Ifreq) Addr() []byte { return sockaddrIn(r.Ifru[:]) }

// SetAddr puts a socket address into the union and clears the rest of it.
func (r *Ifreq) SetAddr(sa []byte) {
	clear(r.Ifru[:])
	copy(r.Ifru[:], sa)
}

// Data returns ifr_data, an address.
func (r *Ifreq) Data(m *Machine) uint64 { return m.Word(r.Ifru[:]) }

// SetData sets ifr_data.
func (r *Ifreq) SetData(m *Machine, p uint64) { m.PutWord(r.Ifru[:], p) }

// Buf returns ifr_buf, an address, and ifr_buflen.
func (r *Ifreq) Buf(m *Machine) (p uint64, n uint32) {
	return m.Word(r.Ifru[m.WordSize:]), m.Order.Uint32(r.Ifru[:])
}

// SetBuf sets ifr_buf and ifr_buflen.
func (r *Ifreq) SetBuf(m *Machine, p uint64, n uint32) {
	m.Order.PutUint32(r.Ifru[:], n)
	m.PutWord(r.Ifru[m.WordSize:], p)
}

// sockaddrIn returns the socket address at the start of a field.
func sockaddrIn(b []byte) []byte { return b[:min(max(int(b[0]), 2), len(b))] }

// Ifaliasreq is struct ifaliasreq, of SIOCAIFADDR. Its addresses are those of
// sockaddr_in: see [SockaddrIn].
type Ifaliasreq struct {
	Name    [IFNAMSIZ]byte `abi:"ifra_name"`
	Addr    [16]byte       `abi:"ifra_addr"`
	Dstaddr [16]byte       `abi:"ifra_dstaddr"` // or the broadcast address
	Mask    [16]byte       `abi:"ifra_mask"`
}

// InAliasreq is struct in_aliasreq, what the kernel takes an ifaliasreq for.
type InAliasreq struct {
	Name    [IFNAMSIZ]byte `abi:"ifra_name"`
	Addr    [16]byte       `abi:"ifra_addr,align2"`
	Dstaddr [16]byte       `abi:"ifra_dstaddr,align2"`
	Mask    [16]byte       `abi:"ifra_mask,align2"`
}

// IfLaddrreq is struct if_laddrreq, of SIOCALIFADDR, SIOCGLIFADDR and
// SIOCDLIFADDR: link-level addresses.
type IfLaddrreq struct {
	Name      [IFNAMSIZ]byte `abi:"iflr_name"`
	Flags     uint32         `abi:"flags"` // IFLR_*
	Prefixlen uint32         `abi:"prefixlen"`
	Addr      [128]byte      `abi:"addr,align64"`
	Dstaddr   [128]byte      `abi:"dstaddr,align64"`
}

// IfAddrprefreq is struct if_addrprefreq, of SIOCGIFADDRPREF.
type IfAddrprefreq struct {
	Name       [IFNAMSIZ]byte `abi:"ifap_name"`
	Preference int16          `abi:"ifap_preference"`
	Addr       [128]byte      `abi:"ifap_addr,align64"`
}

// Ifconf is struct ifconf, of SIOCGIFCONF: a buffer for an array of [Ifreq].
type Ifconf struct {
	Len int32 `abi:"ifc_len"` // bytes of the buffer; of what is there, after the call
	Buf Ptr   `abi:"ifc_buf"`
}

// Ifdrv is struct ifdrv, of SIOCSDRVSPEC (bridges) and SIOCGLINKSTR.
type Ifdrv struct {
	Name [IFNAMSIZ]byte `abi:"ifd_name"`
	Cmd  ULong          `abi:"ifd_cmd"`
	Len  SizeT          `abi:"ifd_len"`
	Data Ptr            `abi:"ifd_data"`
}

// Ifdatareq is struct ifdatareq, of SIOCGIFDATA and SIOCZIFDATA.
type Ifdatareq struct {
	Name [IFNAMSIZ]byte `abi:"ifdr_name"`
	Data IfData         `abi:"ifdr_data"`
}

// Ifmediareq is struct ifmediareq, of SIOCGIFMEDIA.
type Ifmediareq struct {
	Name    [IFNAMSIZ]byte `abi:"ifm_name"`
	Current int32          `abi:"ifm_current"`
	Mask    int32          `abi:"ifm_mask"`
	Status  int32          `abi:"ifm_status"`
	Active  int32          `abi:"ifm_active"`
	Count   int32          `abi:"ifm_count"` // entries of the list
	Ulist   Ptr            `abi:"ifm_ulist"` // array of int
}

// IfClonereq is struct if_clonereq, of SIOCIFGCLONERS: the buffer is an array
// of Count names of IFNAMSIZ bytes each.
type IfClonereq struct {
	Total  int32 `abi:"ifcr_total"`
	Count  int32 `abi:"ifcr_count"`
	Buffer Ptr   `abi:"ifcr_buffer"`
}

// Ifcapreq is struct ifcapreq, of SIOCGIFCAP and SIOCSIFCAP.
type Ifcapreq struct {
	Name         [IFNAMSIZ]byte `abi:"ifcr_name"`
	Capabilities uint64         `abi:"ifcr_capabilities"` // IFCAP_*
	Capenable    uint64         `abi:"ifcr_capenable"`
}

// Eccapreq is struct eccapreq (<net/if_ether.h>), of SIOCGETHERCAP.
type Eccapreq struct {
	Name         [IFNAMSIZ]byte `abi:"eccr_name"`
	Capabilities int32          `abi:"eccr_capabilities"`
	Capenable    int32          `abi:"eccr_capenable"`
}

// Vlanreq is struct vlanreq (<net/if_vlanvar.h>), of SIOCSETVLAN.
type Vlanreq struct {
	Parent [IFNAMSIZ]byte `abi:"vlr_parent"`
	Tag    uint16         `abi:"vlr_tag"`
}

// Ifbreq is struct ifbreq (<net/if_bridgevar.h>): a member of a bridge.
type Ifbreq struct {
	Ifsname  [IFNAMSIZ]byte `abi:"ifbr_ifsname"`
	Ifsflags uint32         `abi:"ifbr_ifsflags"`
	State    uint8          `abi:"ifbr_state"`
	Priority uint8          `abi:"ifbr_priority"`
	PathCost uint8          `abi:"ifbr_path_cost"`
	Portno   uint8          `abi:"ifbr_portno"`
}

// Ifbifconf is struct ifbifconf: the list of a bridge's members.
type Ifbifconf struct {
	Len uint32 `abi:"ifbic_len"`
	Buf Ptr    `abi:"ifbic_buf"`
}

// Ifbareq is struct ifbareq: a link-level address that a bridge knows.
type Ifbareq struct {
	Ifsname [IFNAMSIZ]byte `abi:"ifba_ifsname"`
	Expire  int64          `abi:"ifba_expire"`
	Flags   uint8          `abi:"ifba_flags"`
	Dst     [6]byte        `abi:"ifba_dst"`
}

// Ifbaconf is struct ifbaconf: the list of a bridge's addresses.
type Ifbaconf struct {
	Len uint32 `abi:"ifbac_len"`
	Buf Ptr    `abi:"ifbac_buf"`
}

// Ifbrparam is struct ifbrparam: one parameter of a bridge, of 32, 16 or 8
// bits.
type Ifbrparam struct {
	Ifbrpu [4]byte `abi:"ifbrp_ifbrpu,align4"`
}

// ifaddr is the kernel's struct ifaddr, the nominal argument of
// SIOCINITIFADDR, which no program can give.
type ifaddr struct {
	Addr, Dstaddr, Netmask, Ifp Ptr
	List                        [2]Ptr
	Data                        [2]uint64
	Rtrequest                   Ptr
	Flags, Refcnt, Metric       int32
	Getifa, Seqno               Ptr
	Preference                  int16
}
