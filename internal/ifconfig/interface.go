package ifconfig

import (
	"net/netip"
	"strconv"

	"rumptools/internal/rtsock"
	"rumptools/pkg/netbsd"
)

// Interface is what there is to know of an interface, as JSON has it.
type Interface struct {
	Name  string   `json:"name"`
	Index int      `json:"index"`
	Flags []string `json:"flags"` // as NetBSD's IFF_*, without the prefix
	// MTU is the largest packet, in bytes.
	MTU    int `json:"mtu"`
	Metric int `json:"metric"`
	// LinkState is "up" or "down", or nothing when the interface does not
	// know.
	LinkState           string   `json:"linkState,omitempty"`
	Capabilities        []string `json:"capabilities,omitempty"`
	CapabilitiesEnabled []string `json:"capabilitiesEnabled,omitempty"`
	// LinkAddress is the active link-level address.
	LinkAddress string `json:"linkAddress,omitempty"`
	// Linkstr is the bus file of a shmif(4) interface.
	Linkstr    string     `json:"linkstr,omitempty"`
	Media      *Media     `json:"media,omitempty"`
	Tunnel     *Tunnel    `json:"tunnel,omitempty"`
	Vlan       *Vlan      `json:"vlan,omitempty"`
	Statistics Statistics `json:"statistics"`
	Addresses  []Address  `json:"addresses,omitempty"`

	flags                      uint16
	capabilities, capEnabled   uint64
	etherCaps, etherCapEnabled uint64
}

// Statistics are an interface's counters since it was created or they were
// set to zero.
type Statistics struct {
	InputPackets     uint64 `json:"inputPackets"`
	InputBytes       uint64 `json:"inputBytes"`
	InputMulticasts  uint64 `json:"inputMulticasts"`
	InputErrors      uint64 `json:"inputErrors"`
	InputQueueDrops  uint64 `json:"inputQueueDrops"`
	InputUnknown     uint64 `json:"inputUnknownProtocol"`
	OutputPackets    uint64 `json:"outputPackets"`
	OutputBytes      uint64 `json:"outputBytes"`
	OutputMulticasts uint64 `json:"outputMulticasts"`
	OutputErrors     uint64 `json:"outputErrors"`
	Collisions       uint64 `json:"collisions"`
}

// Media is the medium of an interface.
type Media struct {
	Type      string   `json:"type"`
	Selected  string   `json:"selected"`
	Active    string   `json:"active"`
	Status    string   `json:"status,omitempty"`
	Supported []string `json:"supported"`

	current, active, status int32
	supported               []int32
}

// Tunnel is the outside of a tunnel: addresses, with a comma and the port when
// there is one.
type Tunnel struct {
	Family      string `json:"family"`
	Source      string `json:"source"`
	Destination string `json:"destination"`
}

// Vlan is the tag of a vlan(4) interface and the interface that it is on.
type Vlan struct {
	Tag    int    `json:"tag"`
	Parent string `json:"parent"`
}

// Address is an address of an interface.
type Address struct {
	Family string `json:"family"` // "inet", "inet6" or "link"
	// Address has the interface as its zone when it is link-local.
	Address string `json:"address"`
	// PrefixLen is missing for link-level addresses and netmasks with holes.
	PrefixLen   *int   `json:"prefixlen,omitempty"`
	Netmask     string `json:"netmask,omitempty"`     // of inet
	Broadcast   string `json:"broadcast,omitempty"`   // of inet
	Destination string `json:"destination,omitempty"` // the peer's, on a point-to-point link
	// Alias says that it is not the interface's first of inet.
	Alias bool `json:"alias,omitempty"`
	// Active says that the interface uses this link-level address.
	Active bool     `json:"active,omitempty"`
	Flags  []string `json:"flags,omitempty"` // "tentative" and others
	Scope  uint32   `json:"scopeid,omitempty"`
	// Preferred and Valid are how many seconds an address of inet6 still
	// lives; Infinite when it does for ever. They are missing when they
	// were not asked for.
	Preferred  *int64 `json:"pltime,omitempty"`
	Valid      *int64 `json:"vltime,omitempty"`
	Preference int    `json:"preference,omitempty"`

	addr, broadcast, peer netip.Addr
	zone                  string
	netmask               uint32
	haveLifetimes         bool
}

// Infinite is a lifetime without end.
const Infinite = -1

// lifetimes sets how long the address still lives at a moment, given when it
// stops being preferred and valid: 0 for never.
func (a *Address) lifetimes(preferred, expire, now int64) {
	left := func(t int64) *int64 {
		v := int64(Infinite)
		if t != 0 {
			v = max(t-now, 0)
		}
		return &v
	}
	a.Preferred, a.Valid = left(preferred), left(expire)
	a.haveLifetimes = preferred != 0 || expire != 0
}

var linkStates = map[int32]string{netbsd.LINK_STATE_DOWN: "down", netbsd.LINK_STATE_UP: "up"}

func statistics(d *netbsd.IfData) Statistics {
	return Statistics{
		InputPackets: d.Ipackets, InputBytes: d.Ibytes, InputMulticasts: d.Imcasts, InputErrors: d.Ierrors,
		InputQueueDrops: d.Iqdrops, InputUnknown: d.Noproto,
		OutputPackets: d.Opackets, OutputBytes: d.Obytes, OutputMulticasts: d.Omcasts, OutputErrors: d.Oerrors,
		Collisions: d.Collisions,
	}
}

// fill sets what is for people from what is from the kernel.
func (m *Media) fill() {
	m.Type = mediaTypeName(m.current)
	m.Selected, m.Active = mediaString(m.current, " "), mediaString(m.active, " ")
	m.Status = m.statusString()
	for _, word := range m.supported {
		m.Supported = append(m.Supported, mediaString(word, " mediaopt "))
	}
}

// statusString says what the link is like, nothing when the interface does not
// know.
func (m *Media) statusString() string {
	if m.status&netbsd.IFM_AVALID == 0 {
		return ""
	}
	names, ok := mediaStatus[m.current&netbsd.IFM_NMASK]
	switch {
	case !ok:
		return "unknown"
	case m.status&netbsd.IFM_ACTIVE != 0:
		return names[1]
	}
	return names[0]
}

// zoneOf names a scope: that of the interface itself has its name.
func zoneOf(scope uint32, r *rtsock.Interface) string {
	switch {
	case scope == 0:
		return ""
	case int(scope) == r.Index:
		return r.Name
	}
	return strconv.FormatUint(uint64(scope), 10)
}

// inetFlagBits are the IN_IFF_* flags of an address.
var inetFlagBits = bitNames{
	{netbsd.IN_IFF_TENTATIVE, "tentative"},
	{netbsd.IN_IFF_DUPLICATED, "duplicated"},
	{netbsd.IN_IFF_DETACHED, "detached"},
}

// inet6FlagBits are the IN6_IFF_* flags of an address.
var inet6FlagBits = bitNames{
	{netbsd.IN6_IFF_ANYCAST, "anycast"},
	{netbsd.IN6_IFF_TENTATIVE, "tentative"},
	{netbsd.IN6_IFF_DUPLICATED, "duplicated"},
	{netbsd.IN6_IFF_DETACHED, "detached"},
	{netbsd.IN6_IFF_DEPRECATED, "deprecated"},
	{netbsd.IN6_IFF_AUTOCONF, "autoconf"},
	{netbsd.IN6_IFF_TEMPORARY, "temporary"},
}
