package ifconfig

import (
	"fmt"
	"strings"

	"rumptools/pkg/netbsd"
)

// mediaTypes are the types of media words. Of several names for one part the
// first is shown, the others a user may give.
var mediaTypes = []bitName{
	{netbsd.IFM_ETHER, "Ethernet"},
	{netbsd.IFM_TOKEN, "TokenRing"},
	{netbsd.IFM_FDDI, "FDDI"},
	{netbsd.IFM_IEEE80211, "IEEE802.11"},
	{netbsd.IFM_CARP, "CARP"},
}

// mediaSubtypes are the types of media that a user can give: those of any
// interface and those of Ethernets. Other kinds are not to be had in a rump
// kernel.
var mediaSubtypes = []bitName{
	{netbsd.IFM_AUTO, "autoselect"}, {netbsd.IFM_AUTO, "auto"},
	{netbsd.IFM_MANUAL, "manual"},
	{netbsd.IFM_NONE, "none"},

	{netbsd.IFM_ETHER | netbsd.IFM_10_T, "10baseT"}, {netbsd.IFM_ETHER | netbsd.IFM_10_T, "10baseT/UTP"},
	{netbsd.IFM_ETHER | netbsd.IFM_10_T, "UTP"}, {netbsd.IFM_ETHER | netbsd.IFM_10_T, "10UTP"},
	{netbsd.IFM_ETHER | netbsd.IFM_10_T, "10BASE-T"},
	{netbsd.IFM_ETHER | netbsd.IFM_10_2, "10base2"}, {netbsd.IFM_ETHER | netbsd.IFM_10_2, "10base2/BNC"},
	{netbsd.IFM_ETHER | netbsd.IFM_10_2, "BNC"}, {netbsd.IFM_ETHER | netbsd.IFM_10_2, "10BNC"},
	{netbsd.IFM_ETHER | netbsd.IFM_10_5, "10base5"}, {netbsd.IFM_ETHER | netbsd.IFM_10_5, "10base5/AUI"},
	{netbsd.IFM_ETHER | netbsd.IFM_10_5, "AUI"}, {netbsd.IFM_ETHER | netbsd.IFM_10_5, "10AUI"},
	{netbsd.IFM_ETHER | netbsd.IFM_100_TX, "100baseTX"}, {netbsd.IFM_ETHER | netbsd.IFM_100_TX, "100TX"},
	{netbsd.IFM_ETHER | netbsd.IFM_100_TX, "100BASE-TX"},
	{netbsd.IFM_ETHER | netbsd.IFM_100_FX, "100baseFX"}, {netbsd.IFM_ETHER | netbsd.IFM_100_FX, "100FX"},
	{netbsd.IFM_ETHER | netbsd.IFM_100_FX, "100BASE-FX"},
	{netbsd.IFM_ETHER | netbsd.IFM_100_T4, "100baseT4"}, {netbsd.IFM_ETHER | netbsd.IFM_100_T4, "100T4"},
	{netbsd.IFM_ETHER | netbsd.IFM_100_T4, "100BASE-T4"},
	{netbsd.IFM_ETHER | netbsd.IFM_100_VG, "100baseVG"}, {netbsd.IFM_ETHER | netbsd.IFM_100_VG, "100VG"},
	{netbsd.IFM_ETHER | netbsd.IFM_100_VG, "100VG-AnyLAN"},
	{netbsd.IFM_ETHER | netbsd.IFM_100_T2, "100baseT2"}, {netbsd.IFM_ETHER | netbsd.IFM_100_T2, "100T2"},
	{netbsd.IFM_ETHER | netbsd.IFM_100_T2, "100BASE-T2"},
	{netbsd.IFM_ETHER | netbsd.IFM_1000_SX, "1000baseSX"}, {netbsd.IFM_ETHER | netbsd.IFM_1000_SX, "1000SX"},
	{netbsd.IFM_ETHER | netbsd.IFM_1000_SX, "1000BASE-SX"},
	{netbsd.IFM_ETHER | netbsd.IFM_10_STP, "10baseSTP"}, {netbsd.IFM_ETHER | netbsd.IFM_10_STP, "STP"},
	{netbsd.IFM_ETHER | netbsd.IFM_10_STP, "10STP"}, {netbsd.IFM_ETHER | netbsd.IFM_10_STP, "10BASE-STP"},
	{netbsd.IFM_ETHER | netbsd.IFM_10_FL, "10baseFL"}, {netbsd.IFM_ETHER | netbsd.IFM_10_FL, "FL"},
	{netbsd.IFM_ETHER | netbsd.IFM_10_FL, "10FL"}, {netbsd.IFM_ETHER | netbsd.IFM_10_FL, "10BASE-FL"},
	{netbsd.IFM_ETHER | netbsd.IFM_1000_LX, "1000baseLX"}, {netbsd.IFM_ETHER | netbsd.IFM_1000_LX, "1000LX"},
	{netbsd.IFM_ETHER | netbsd.IFM_1000_LX, "1000BASE-LX"},
	{netbsd.IFM_ETHER | netbsd.IFM_1000_CX, "1000baseCX"}, {netbsd.IFM_ETHER | netbsd.IFM_1000_CX, "1000CX"},
	{netbsd.IFM_ETHER | netbsd.IFM_1000_CX, "1000BASE-CX"},
	{netbsd.IFM_ETHER | netbsd.IFM_1000_BX10, "1000BASE-BX10"},
	{netbsd.IFM_ETHER | netbsd.IFM_1000_T, "1000baseT"}, {netbsd.IFM_ETHER | netbsd.IFM_1000_T, "1000T"},
	{netbsd.IFM_ETHER | netbsd.IFM_1000_T, "1000BASE-T"},
	{netbsd.IFM_ETHER | netbsd.IFM_HPNA_1, "HomePNA1"}, {netbsd.IFM_ETHER | netbsd.IFM_HPNA_1, "HPNA1"},
	{netbsd.IFM_ETHER | netbsd.IFM_10G_LR, "10GbaseLR"}, {netbsd.IFM_ETHER | netbsd.IFM_10G_LR, "10GLR"},
	{netbsd.IFM_ETHER | netbsd.IFM_10G_LR, "10GBASE-LR"},
	{netbsd.IFM_ETHER | netbsd.IFM_10G_SR, "10GbaseSR"}, {netbsd.IFM_ETHER | netbsd.IFM_10G_SR, "10GSR"},
	{netbsd.IFM_ETHER | netbsd.IFM_10G_SR, "10GBASE-SR"},
	{netbsd.IFM_ETHER | netbsd.IFM_10G_LRM, "10Gbase-LRM"},
	{netbsd.IFM_ETHER | netbsd.IFM_10G_TWINAX, "10Gbase-Twinax"},
	{netbsd.IFM_ETHER | netbsd.IFM_10G_TWINAX_LONG, "10Gbase-Twinax-Long"},
	{netbsd.IFM_ETHER | netbsd.IFM_10G_T, "10Gbase-T"},
	{netbsd.IFM_ETHER | netbsd.IFM_10G_CX4, "10GbaseCX4"}, {netbsd.IFM_ETHER | netbsd.IFM_10G_CX4, "10GCX4"},
	{netbsd.IFM_ETHER | netbsd.IFM_10G_CX4, "10GBASE-CX4"},
	{netbsd.IFM_ETHER | netbsd.IFM_2500_SX, "2500baseSX"}, {netbsd.IFM_ETHER | netbsd.IFM_2500_SX, "2500SX"},
}

var mediaOptions = []bitName{
	{netbsd.IFM_FDX, "full-duplex"},
	{netbsd.IFM_HDX, "half-duplex"},
	{netbsd.IFM_FLOW, "flowcontrol"},
	{netbsd.IFM_FLAG0, "flag0"},
	{netbsd.IFM_FLAG1, "flag1"},
	{netbsd.IFM_FLAG2, "flag2"},
	{netbsd.IFM_LOOP, "loopback"},
	{netbsd.IFM_ETHER | netbsd.IFM_ETH_MASTER, "master"},
	{netbsd.IFM_ETHER | netbsd.IFM_ETH_RXPAUSE, "rxpause"},
	{netbsd.IFM_ETHER | netbsd.IFM_ETH_TXPAUSE, "txpause"},
}

// mediaStatus is what a link without and with a carrier is called.
var mediaStatus = map[int32][2]string{
	netbsd.IFM_ETHER:     {"no carrier", "active"},
	netbsd.IFM_FDDI:      {"no ring", "inserted"},
	netbsd.IFM_TOKEN:     {"no ring", "inserted"},
	netbsd.IFM_IEEE80211: {"no network", "active"},
	netbsd.IFM_CARP:      {"backup", "master"},
}

// mediaOptionBits are the bits of a media word that are options.
const mediaOptionBits = netbsd.IFM_OMASK | netbsd.IFM_GMASK

// matches tells whether a name's word goes with media of a type: those
// without a type go with all.
func (n bitName) matches(word int32) bool {
	t := n.word & netbsd.IFM_NMASK
	return t == 0 || t == word&netbsd.IFM_NMASK
}

// mediaTypeName is the name of a media word's type.
func mediaTypeName(word int32) string {
	for _, n := range mediaTypes {
		if n.word == word&netbsd.IFM_NMASK {
			return n.name
		}
	}
	return "<unknown type>"
}

// mediaString is a media word's subtype, mode, options, with the separator
// before the first, and instance.
func mediaString(word int32, separator string) string {
	s := "<unknown subtype>"
	for _, n := range mediaSubtypes {
		if n.matches(word) && n.word&netbsd.IFM_TMASK == word&netbsd.IFM_TMASK {
			s = n.name
			break
		}
	}
	for _, n := range mediaOptions {
		if n.matches(word) && word&n.word&mediaOptionBits != 0 {
			s += separator + n.name
			separator = ","
		}
	}
	if instance := uint32(word) & netbsd.IFM_IMASK >> netbsd.IFM_ISHIFT; instance != 0 {
		s += fmt.Sprintf(" instance %d", instance)
	}
	return s
}

// findMedia finds the subtype of a name for media of the given word's type.
func findMedia(word int32, name string) (int32, bool) {
	for _, n := range mediaSubtypes {
		if n.matches(word) && strings.EqualFold(n.name, name) {
			return n.word, true
		}
	}
	return 0, false
}

// knownMedia tells whether there is media of any type with that name.
func knownMedia(name string) bool {
	_, ok := findMedia(netbsd.IFM_ETHER, name)
	return ok
}
