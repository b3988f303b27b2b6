package netbsd

// In6Addrlifetime is struct in6_addrlifetime (<netinet6/in6_var.h>). The
// first two are points in time, in seconds since 1970; the last two are what
// was asked for, in seconds, ND6_INFINITE_LIFETIME for ever.
type In6Addrlifetime struct {
	Expire    int64  `abi:"ia6t_expire"`
	Preferred int64  `abi:"ia6t_preferred"`
	Vltime    uint32 `abi:"ia6t_vltime"`
	Pltime    uint32 `abi:"ia6t_pltime"`
}

// In6Aliasreq is struct in6_aliasreq, of SIOCAIFADDR_IN6. Its addresses are
// those of sockaddr_in6: see [SockaddrIn6].
type In6Aliasreq struct {
	Name       [IFNAMSIZ]byte  `abi:"ifra_name"`
	Addr       [28]byte        `abi:"ifra_addr,align4"`
	Dstaddr    [28]byte        `abi:"ifra_dstaddr,align4"`
	Prefixmask [28]byte        `abi:"ifra_prefixmask,align4"`
	Flags      int32           `abi:"ifra_flags"` // IN6_IFF_*
	Lifetime   In6Addrlifetime `abi:"ifra_lifetime"`
}

// In6Ifreq is struct in6_ifreq, the request of interface ioctls for IPv6.
type In6Ifreq struct {
	Name [IFNAMSIZ]byte `abi:"ifr_name"`
	Ifru [272]byte      `abi:"ifr_ifru,align64"`
}

// Addr returns the socket address in the union; it aliases r.
func (r *In6Ifreq) Addr() []byte { return sockaddrIn(r.Ifru[:128]) }

// SetAddr puts a socket address into the union and clears the rest of it.
func (r *In6Ifreq) SetAddr(sa []byte) {
	clear(r.Ifru[:])
	copy(r.Ifru[:], sa)
}

// Flags6 returns ifru_flags6, the IN6_IFF_* flags of an address.
func (r *In6Ifreq) Flags6(m *Machine) int32 { return int32(m.Order.Uint32(r.Ifru[:])) }

// SetFlags6 sets ifru_flags6.
func (r *In6Ifreq) SetFlags6(m *Machine, v int32) { m.Order.PutUint32(r.Ifru[:], uint32(v)) }

// Lifetime returns ifru_lifetime.
func (r *In6Ifreq) Lifetime(m *Machine) (l In6Addrlifetime) {
	Unmarshal(m, r.Ifru[:], &l) // the union is never shorter
	return l
}

// SetLifetime sets ifru_lifetime and clears the rest of the union.
func (r *In6Ifreq) SetLifetime(m *Machine, l In6Addrlifetime) { r.SetAddr(Marshal(m, &l)) }

// Stat returns the n-th counter of ifru_stat or ifru_icmp6stat, which are 20
// and 34 64-bit counters; 0 when there is no such counter.
func (r *In6Ifreq) Stat(m *Machine, n int) uint64 {
	if n < 0 || n >= len(r.Ifru)/8 {
		return 0
	}
	return m.Order.Uint64(r.Ifru[8*n:])
}

// SetStat sets the n-th counter of ifru_stat or ifru_icmp6stat.
func (r *In6Ifreq) SetStat(m *Machine, n int, v uint64) {
	if n >= 0 && n < len(r.Ifru)/8 {
		m.Order.PutUint64(r.Ifru[8*n:], v)
	}
}

// In6Nbrinfo is struct in6_nbrinfo (<netinet6/nd6.h>), of SIOCGNBRINFO_IN6.
type In6Nbrinfo struct {
	Ifname   [IFNAMSIZ]byte `abi:"ifname"`
	Addr     [16]byte       `abi:"addr,align4"`
	Asked    Long           `abi:"asked"` // questions sent so far
	Isrouter int32          `abi:"isrouter"`
	State    int32          `abi:"state"`  // ND6_LLINFO_*
	Expire   int32          `abi:"expire"` // seconds since 1970
}

// NdIfinfo is struct nd_ifinfo. Times are in milliseconds, the
// recalculation timer is in seconds.
type NdIfinfo struct {
	Linkmtu       uint32  `abi:"linkmtu"`
	Maxmtu        uint32  `abi:"maxmtu"`
	Basereachable uint32  `abi:"basereachable"`
	Reachable     uint32  `abi:"reachable"`
	Retrans       uint32  `abi:"retrans"`
	Flags         uint32  `abi:"flags"` // ND6_IFF_*
	Recalctm      int32   `abi:"recalctm"`
	Chlim         uint8   `abi:"chlim"`
	Initialized   uint8   `abi:"initialized"`
	Randomseed0   [8]byte `abi:"randomseed0"`
	Randomseed1   [8]byte `abi:"randomseed1"`
	Randomid      [8]byte `abi:"randomid"`
}

// In6Ndireq is struct in6_ndireq, of SIOCGIFINFO_IN6 and SIOCSIFINFO_FLAGS.
type In6Ndireq struct {
	Ifname [IFNAMSIZ]byte `abi:"ifname"`
	Ndi    NdIfinfo       `abi:"ndi"`
}

// In6Ndifreq is struct in6_ndifreq, of SIOCGDEFIFACE_IN6.
type In6Ndifreq struct {
	Ifname  [IFNAMSIZ]byte `abi:"ifname"`
	Ifindex ULong          `abi:"ifindex"`
}

// In6Defrouter is struct in6_defrouter: an entry of the list of default
// routers in net.inet6.icmp6.nd6_drlist.
type In6Defrouter struct {
	Rtaddr     [28]byte `abi:"rtaddr,align4"`
	Flags      uint8    `abi:"flags"`
	Rtlifetime uint16   `abi:"rtlifetime"` // seconds
	Expire     ULong    `abi:"expire"`
	IfIndex    uint16   `abi:"if_index"`
}

// In6Drlist is struct in6_drlist, of SIOCGDRLST_IN6.
type In6Drlist struct {
	Ifname    [IFNAMSIZ]byte  `abi:"ifname"`
	Defrouter [10]In6Drlistel `abi:"defrouter"`
}

// In6Drlistel is an element of [In6Drlist].
type In6Drlistel struct {
	Rtaddr     [16]byte `abi:"rtaddr,align4"`
	Flags      uint8    `abi:"flags"`
	Rtlifetime uint16   `abi:"rtlifetime"`
	Expire     ULong    `abi:"expire"`
	IfIndex    uint16   `abi:"if_index"`
}

// In6Prefix is struct in6_prefix: an entry of net.inet6.icmp6.nd6_prlist,
// followed by Advrtrs addresses (sockaddr_in6) of routers that announced the
// prefix. Raflags are bit fields; see [In6Prefix.Onlink].
type In6Prefix struct {
	Prefix    [28]byte `abi:"prefix,align4"`
	Raflags   uint32   `abi:"raflags"`
	Prefixlen uint8    `abi:"prefixlen"`
	Origin    uint8    `abi:"origin"` // PR_ORIG_*
	Vltime    uint32   `abi:"vltime"`
	Pltime    uint32   `abi:"pltime"`
	Expire    int64    `abi:"expire"`
	Flags     uint32   `abi:"flags"` // NDPRF_*
	Refcnt    int32    `abi:"refcnt"`
	IfIndex   uint16   `abi:"if_index"`
	Advrtrs   uint16   `abi:"advrtrs"`
}

// In6Addrpolicy is struct in6_addrpolicy, of SIOCAADDRCTL_POLICY.
type In6Addrpolicy struct {
	Addr     [28]byte `abi:"addr,align4"`
	Addrmask [28]byte `abi:"addrmask,align4"`
	Preced   int32    `abi:"preced"`
	Label    int32    `abi:"label"`
	Use      uint64   `abi:"use"`
}

// raflag returns bit n of raflags: bit fields fill a word from the lowest bit
// on little-endian machines, from the highest on big-endian ones.
func (p *In6Prefix) raflag(m *Machine, n int) uint32 {
	if m.BigEndian() {
		return 1 << (31 - n)
	}
	return 1 << n
}

// Onlink tells whether the prefix was announced as on-link.
func (p *In6Prefix) Onlink(m *Machine) bool { return p.Raflags&p.raflag(m, 0) != 0 }

// Autonomous tells whether hosts may make addresses of the prefix.
func (p *In6Prefix) Autonomous(m *Machine) bool { return p.Raflags&p.raflag(m, 1) != 0 }

// SetRaflags sets both flags.
func (p *In6Prefix) SetRaflags(m *Machine, onlink, autonomous bool) {
	p.Raflags = 0
	if onlink {
		p.Raflags |= p.raflag(m, 0)
	}
	if autonomous {
		p.Raflags |= p.raflag(m, 1)
	}
}
