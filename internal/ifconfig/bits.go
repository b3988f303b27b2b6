package ifconfig

import (
	"fmt"

	"rumptools/pkg/netbsd"
)

// bitName is the name of a bit, or of the value of several.
type bitName struct {
	word int32
	name string
}

// bitNames are the names of bits, in the order in which they are shown.
type bitNames []bitName

// names lists the names of the bits that are set.
func (b bitNames) names(v uint64) []string {
	list := []string{}
	for _, n := range b {
		if v&uint64(uint32(n.word)) != 0 {
			list = append(list, n.name)
		}
	}
	return list
}

// text is the value in hexadecimal and the names of its bits, as snprintb(3)
// has them: 0x8049<UP,LOOPBACK,RUNNING,MULTICAST>.
func (b bitNames) text(v uint64) string { return b.lines(v, 0)[0] }

// lines is text broken into lines of at most width characters, each of which
// begins with the value, as snprintb_m(3) does it. A width of 0 is none.
func (b bitNames) lines(v uint64, width int) []string {
	value := fmt.Sprintf("%#x", v)
	line, separator := value, "<"
	var lines []string
	for _, name := range b.names(v) {
		// The > at the end must fit as well.
		if width > 0 && separator != "<" && len(line)+1+len(name) > width-1 {
			lines = append(lines, line+">")
			line, separator = value, "<"
		}
		line += separator + name
		separator = ","
	}
	if separator != "<" {
		line += ">"
	}
	return append(lines, line)
}

var flagBits = bitNames{
	{netbsd.IFF_UP, "UP"},
	{netbsd.IFF_BROADCAST, "BROADCAST"},
	{netbsd.IFF_DEBUG, "DEBUG"},
	{netbsd.IFF_LOOPBACK, "LOOPBACK"},
	{netbsd.IFF_POINTOPOINT, "POINTOPOINT"},
	{netbsd.IFF_NOTRAILERS, "NOTRAILERS"},
	{netbsd.IFF_RUNNING, "RUNNING"},
	{netbsd.IFF_NOARP, "NOARP"},
	{netbsd.IFF_PROMISC, "PROMISC"},
	{netbsd.IFF_ALLMULTI, "ALLMULTI"},
	{netbsd.IFF_OACTIVE, "OACTIVE"},
	{netbsd.IFF_SIMPLEX, "SIMPLEX"},
	{netbsd.IFF_LINK0, "LINK0"},
	{netbsd.IFF_LINK1, "LINK1"},
	{netbsd.IFF_LINK2, "LINK2"},
	{netbsd.IFF_MULTICAST, "MULTICAST"},
}

var capabilityBits = bitNames{
	{netbsd.IFCAP_TSOv4, "TSO4"},
	{netbsd.IFCAP_CSUM_IPv4_Rx, "IP4CSUM_Rx"},
	{netbsd.IFCAP_CSUM_IPv4_Tx, "IP4CSUM_Tx"},
	{netbsd.IFCAP_CSUM_TCPv4_Rx, "TCP4CSUM_Rx"},
	{netbsd.IFCAP_CSUM_TCPv4_Tx, "TCP4CSUM_Tx"},
	{netbsd.IFCAP_CSUM_UDPv4_Rx, "UDP4CSUM_Rx"},
	{netbsd.IFCAP_CSUM_UDPv4_Tx, "UDP4CSUM_Tx"},
	{netbsd.IFCAP_CSUM_TCPv6_Rx, "TCP6CSUM_Rx"},
	{netbsd.IFCAP_CSUM_TCPv6_Tx, "TCP6CSUM_Tx"},
	{netbsd.IFCAP_CSUM_UDPv6_Rx, "UDP6CSUM_Rx"},
	{netbsd.IFCAP_CSUM_UDPv6_Tx, "UDP6CSUM_Tx"},
	{netbsd.IFCAP_TSOv6, "TSO6"},
	{netbsd.IFCAP_LRO, "LRO"},
}

var etherCapabilityBits = bitNames{
	{netbsd.ETHERCAP_VLAN_MTU, "VLAN_MTU"},
	{netbsd.ETHERCAP_VLAN_HWTAGGING, "VLAN_HWTAGGING"},
	{netbsd.ETHERCAP_JUMBO_MTU, "JUMBO_MTU"},
}
