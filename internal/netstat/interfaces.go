package netstat

import (
	"bufio"
	"context"
	"fmt"
	"io"

	"rumptools/internal/humanize"
	"rumptools/internal/rtsock"
	"rumptools/pkg/netbsd"
)

// Interfaces is a snapshot of the interfaces.
type Interfaces struct {
	List []Interface

	machine *netbsd.Machine
	list    []rtsock.Interface
}

// Interface is an interface with its counters, as JSON has it.
type Interface struct {
	Name      string             `json:"name"`
	Index     int                `json:"index"`
	Up        bool               `json:"up"`
	MTU       uint64             `json:"mtu"`
	Addresses []InterfaceAddress `json:"addresses"`

	InputPackets    uint64 `json:"inputPackets"`
	InputErrors     uint64 `json:"inputErrors"`
	InputBytes      uint64 `json:"inputBytes"`
	InputQueueDrops uint64 `json:"inputQueueDrops"`
	OutputPackets   uint64 `json:"outputPackets"`
	OutputErrors    uint64 `json:"outputErrors"`
	OutputBytes     uint64 `json:"outputBytes"`
	Collisions      uint64 `json:"collisions"`
}

// InterfaceAddress is an address and the network that it is of.
type InterfaceAddress struct {
	Family  string `json:"family"` // "link", "inet" or "inet6"
	Address string `json:"address"`
	Network string `json:"network,omitempty"`
}

// ErrUnknownInterface is the error for an interface that the kernel has not.
type ErrUnknownInterface string

func (e ErrUnknownInterface) Error() string { return string(e) + ": unknown interface" }

// ListInterfaces takes a snapshot of the interfaces, or of the one with the
// name given. Without one of that name the snapshot is empty.
func ListInterfaces(ctx context.Context, k Kernel, name string) (*Interfaces, error) {
	list, err := rtsock.Interfaces(ctx, k)
	if err != nil {
		return nil, fmt.Errorf("interface list: %w", err)
	}
	names := rtsock.Names(list)
	result := &Interfaces{List: []Interface{}, machine: k.Machine()}
	text := addressText{names: Names{NumericAddresses: true}, machine: k.Machine(), interfaces: names}
	for _, r := range list {
		if name != "" && r.Name != name {
			continue
		}
		result.list = append(result.list, r)
		d := &r.Data
		i := Interface{
			Name: r.Name, Index: r.Index, Up: r.Flags&netbsd.IFF_UP != 0, MTU: d.Mtu,
			InputPackets: d.Ipackets, InputErrors: d.Ierrors, InputBytes: d.Ibytes, InputQueueDrops: d.Iqdrops,
			OutputPackets: d.Opackets, OutputErrors: d.Oerrors, OutputBytes: d.Obytes, Collisions: d.Collisions,
		}
		for n := range r.Addresses {
			if a, ok := text.interfaceAddress(&r.Addresses[n]); ok {
				i.Addresses = append(i.Addresses, a)
			}
		}
		result.List = append(result.List, i)
	}
	return result, nil
}

func (t addressText) interfaceAddress(a *rtsock.Address) (InterfaceAddress, bool) {
	sa, err := netbsd.ParseSockaddr(t.machine, a.Addr())
	if err != nil {
		return InterfaceAddress{}, false
	}
	if sa.Family == netbsd.AF_LINK {
		return InterfaceAddress{Family: "link", Address: hexText(sa.DL.Addr)}, len(sa.DL.Addr) > 0
	}
	if !sa.Addr().IsValid() {
		return InterfaceAddress{}, false
	}
	addr, scope := linkScope(sa)
	mask, err := netbsd.ParseNetmask(sa.Family, a.Netmask())
	if err != nil {
		return InterfaceAddress{}, false
	}
	result := InterfaceAddress{Family: familyName(sa.Family), Address: addr.WithZone(t.zone(scope)).String()}
	if p, ok := netbsd.Prefix(addr, mask); ok {
		result.Network = p.Masked().String()
	}
	return result, true
}

// InterfaceOptions choose the columns of the table of interfaces.
type InterfaceOptions struct {
	// Bytes shows bytes in place of packets, with Human in short form.
	Bytes, Human bool
	// Drops shows packets that were dropped.
	Drops bool
}

// Write prints the table as netstat -i does: one line for an interface and
// one for each of its addresses.
func (l *Interfaces) Write(w io.Writer, names Names, o InterfaceOptions) error {
	b := bufio.NewWriter(w)
	if o.Bytes {
		fmt.Fprintf(b, "%-5s %-5s %-13s %-17s %10s %10s", "Name", "Mtu", "Network", "Address", "Ibytes", "Obytes")
	} else {
		fmt.Fprintf(b, "%-5s %-5s %-13s %-17s %8s %5s %8s %5s %5s", "Name", "Mtu", "Network", "Address",
			"Ipkts", "Ierrs", "Opkts", "Oerrs", "Colls")
	}
	if o.Drops {
		fmt.Fprintf(b, " %5s", "Drops")
	}
	b.WriteByte('\n')
	text := addressText{names: names, machine: l.machine, interfaces: rtsock.Names(l.list)}
	for n := range l.list {
		iface := &l.list[n]
		l.line(b, iface, o, text.link(iface.Link))
		for m := range iface.Addresses {
			l.line(b, iface, o, text.addressColumns(&iface.Addresses[m]))
		}
	}
	return b.Flush()
}

// line prints one line of the table. netstat(1) puts no blank after the MTU.
func (l *Interfaces) line(b *bufio.Writer, iface *rtsock.Interface, o InterfaceOptions, address string) {
	name := iface.Name
	if iface.Flags&netbsd.IFF_UP == 0 {
		name += "*"
	}
	d := &iface.Data
	fmt.Fprintf(b, "%-5s %-5d%s", name, d.Mtu, address)
	if o.Bytes {
		fmt.Fprintf(b, "%10s %10s", o.bytes(d.Ibytes), o.bytes(d.Obytes))
	} else {
		fmt.Fprintf(b, "%8d %5d %8d %5d %5d", d.Ipackets, d.Ierrors, d.Opackets, d.Oerrors, d.Collisions)
	}
	if o.Drops {
		// Kernels do not tell of drops on the way out.
		fmt.Fprintf(b, " %5d", 0)
	}
	b.WriteByte('\n')
}

var humanBytes = humanize.Style{Width: 6, Bytes: true}

func (o InterfaceOptions) bytes(n uint64) string {
	if o.Human {
		return humanBytes.Number(n)
	}
	return fmt.Sprint(n)
}

// Widths of the columns of networks and addresses.
const (
	networkWidth = 13
	addressWidth = 17
)

// columns are a network and an address, cut to their columns unless all of
// them is to be seen, with a blank after each.
func (t addressText) columns(network, address string) string {
	if !t.names.Verbose {
		network, address = cut(network, networkWidth), cut(address, addressWidth)
	}
	return fmt.Sprintf("%-*s %-*s ", networkWidth, network, addressWidth, address)
}

func (t addressText) link(b []byte) string {
	sa, err := netbsd.ParseSockaddr(t.machine, b)
	if err != nil || sa.Family != netbsd.AF_LINK {
		return t.columns("none", "none")
	}
	address := hexText(sa.DL.Addr)
	if sa.DL.Name == "" && len(sa.DL.Addr) == 0 && len(sa.DL.Sel) == 0 {
		address = fmt.Sprintf("link#%d", sa.DL.Index)
	}
	return t.columns("<Link>", address)
}

func (t addressText) addressColumns(a *rtsock.Address) string {
	sa, err := netbsd.ParseSockaddr(t.machine, a.Addr())
	if err != nil {
		return t.columns("none", "none")
	}
	switch sa.Family {
	case netbsd.AF_UNSPEC:
		return t.columns("none", "none")
	case netbsd.AF_LINK:
		return t.link(a.Addr())
	case netbsd.AF_INET:
		return t.columns(network4(sa.Addr(), a.Netmask()), t.host4(sa.Addr()))
	case netbsd.AF_INET6:
		addr, scope := linkScope(sa)
		if !t.names.Verbose {
			scope = 0
		}
		// The address is never shown by name.
		return t.columns(t.network6(netbsd.SA{Family: netbsd.AF_INET6, AddrPort: addrPort(addr), ScopeID: scope}, a.Netmask()),
			addr.WithZone(t.zone(scope)).String())
	}
	return otherColumns(sa)
}

// otherColumns shows the bytes of an address of another family, without the
// zeros at its end, in 32 characters.
func otherColumns(sa netbsd.SA) string {
	data := sa.Data
	for len(data) > 1 && data[len(data)-1] == 0 {
		data = data[:len(data)-1]
	}
	text := fmt.Sprintf("(%d)", sa.Family)
	for i, c := range data {
		separator := "."
		if i == len(data)-1 {
			separator = " "
		}
		text += fmt.Sprintf("%02x%s", c, separator)
	}
	return fmt.Sprintf("%-32s", text)
}
