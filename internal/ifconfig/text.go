package ifconfig

import (
	"bufio"
	"fmt"
	"io"
	"net/netip"

	"rumptools/internal/humanize"
	"rumptools/internal/netdb"
)

// TextOptions say what [WriteText] shows beyond the essential.
type TextOptions struct {
	// Family shows only the addresses of one family.
	Family Family
	// Statistics shows counters; with Human their bytes in short form.
	Statistics, Human bool
	// Media lists the media that the interface supports.
	Media bool
	// Lifetimes shows those of inet6 addresses.
	Lifetimes bool
	// Names has the names of hosts, when addresses are to be shown by name.
	Names *netdb.DB
}

// Widths of the lines that capabilities are broken into.
const (
	capabilityWidth      = 58
	etherCapabilityWidth = 55
)

// WriteText prints interfaces as ifconfig(8) does.
func WriteText(w io.Writer, list []Interface, o TextOptions) error {
	b := bufio.NewWriter(w)
	for i := range list {
		text{b, o}.iface(&list[i])
	}
	return b.Flush()
}

// text prints to a writer that keeps its errors.
type text struct {
	w *bufio.Writer
	o TextOptions
}

func (t text) printf(format string, args ...any) { fmt.Fprintf(t.w, format, args...) }

func (t text) iface(i *Interface) {
	t.printf("%s: flags=%s", i.Name, flagBits.text(uint64(i.flags)))
	if i.Metric != 0 {
		t.printf(" metric %d", i.Metric)
	}
	if i.MTU != 0 {
		t.printf(" mtu %d", i.MTU)
	}
	t.printf("\n")
	if i.capabilities != 0 {
		t.bits("capabilities", capabilityBits.lines(i.capabilities, capabilityWidth))
		t.bits("enabled", capabilityBits.lines(i.capEnabled, capabilityWidth))
	}
	if i.etherCaps != 0 {
		t.bits("ec_capabilities", etherCapabilityBits.lines(i.etherCaps, etherCapabilityWidth))
		t.bits("ec_enabled", etherCapabilityBits.lines(i.etherCapEnabled, etherCapabilityWidth))
	}
	if i.Tunnel != nil {
		family := i.Tunnel.Family
		if family == "" {
			family = "???"
		}
		t.printf("\ttunnel %s %s --> %s\n", family, i.Tunnel.Source, i.Tunnel.Destination)
	}
	if i.Vlan != nil {
		parent := i.Vlan.Parent
		if parent == "" {
			parent = "<none>"
		}
		t.printf("\tvlan: %d parent: %s\n", i.Vlan.Tag, parent)
	}
	t.linkAddresses(i, true)
	if i.Linkstr != "" {
		t.printf("\tlinkstr: %s\n", i.Linkstr)
	}
	if i.Media != nil {
		t.media(i.Media)
	}
	if t.o.Statistics {
		t.statistics(&i.Statistics)
	}
	if t.o.Family == 0 || t.o.Family == Link {
		t.linkAddresses(i, false)
	}
	if t.o.Family == 0 || t.o.Family == Inet6 {
		t.addresses(i, Inet6, t.inet6)
	}
	if t.o.Family == 0 || t.o.Family == Inet {
		t.addresses(i, Inet, t.inet)
	}
}

// bits prints the lines of a value. ifconfig(8) leaves out the 0x.
func (t text) bits(name string, lines []string) {
	for _, l := range lines {
		t.printf("\t%s=%s\n", name, l[len("0x"):])
	}
}

// linkAddresses prints those that the interface uses, or the others.
func (t text) linkAddresses(i *Interface, active bool) {
	label := "link"
	if active {
		label = "address:"
	}
	for _, a := range i.Addresses {
		if a.Family == Link.String() && a.Active == active && a.Address != "" {
			t.printf("\t%s %s\n", label, a.Address)
		}
	}
}

func (t text) media(m *Media) {
	t.printf("\tmedia: %s %s", m.Type, m.Selected)
	if m.active != m.current {
		t.printf(" (%s)", m.Active)
	}
	t.printf("\n")
	if m.Status != "" {
		t.printf("\tstatus: %s\n", m.Status)
	}
	if !t.o.Media {
		return
	}
	for _, kind := range mediaTypes {
		first := true
		for n, word := range m.supported {
			if mediaTypeName(word) != kind.name {
				continue
			}
			if first {
				t.printf("\tsupported %s media:\n", kind.name)
				first = false
			}
			t.printf("\t\tmedia %s\n", m.Supported[n])
		}
	}
}

// count is a number of things: "1 packet", "2 packets".
func count(n uint64, unit string) string {
	if n == 1 {
		return "1 " + unit
	}
	return fmt.Sprintf("%d %ss", n, unit)
}

var humanBytes = humanize.Style{Width: 4, Decimal: true}

func (t text) bytes(n uint64) string {
	if !t.o.Human {
		return count(n, "byte")
	}
	s := humanBytes.Number(n)
	unit := "bytes"
	// So does ifconfig(8), which looks at the number alone: 1.0K byte.
	if s == "1" || len(s) == 4 && s[:3] == "1.0" {
		unit = "byte"
	}
	return s + " " + unit
}

func (t text) statistics(s *Statistics) {
	more := func(n uint64, unit string) {
		if n != 0 {
			t.printf(", %s", count(n, unit))
		}
	}
	t.printf("\tinput: %s, %s", count(s.InputPackets, "packet"), t.bytes(s.InputBytes))
	more(s.InputMulticasts, "multicast")
	more(s.InputErrors, "error")
	more(s.InputQueueDrops, "queue drop")
	if s.InputUnknown != 0 {
		t.printf(", %d unknown protocol", s.InputUnknown)
	}
	t.printf("\n\toutput: %s, %s", count(s.OutputPackets, "packet"), t.bytes(s.OutputBytes))
	more(s.OutputMulticasts, "multicast")
	more(s.OutputErrors, "error")
	more(s.Collisions, "collision")
	t.printf("\n")
}

// addresses prints those of a family. Their preferences are shown when one of
// them has one.
func (t text) addresses(i *Interface, f Family, print func(a *Address)) {
	preferences := false
	for _, a := range i.Addresses {
		preferences = preferences || a.Family == f.String() && a.Preference != 0
	}
	for n := range i.Addresses {
		a := &i.Addresses[n]
		if a.Family != f.String() {
			continue
		}
		print(a)
		if preferences {
			t.printf(" preference %d", a.Preference)
		}
		t.printf("\n")
	}
}

// host is an address, by name when there is one and it is wanted.
func (t text) host(a netip.Addr, zone string) string {
	if t.o.Names != nil {
		if name, ok := t.o.Names.HostName(a); ok {
			return name
		}
	}
	if !a.IsValid() {
		return ""
	}
	return a.WithZone(zone).String()
}

func (t text) flags(a *Address) {
	for _, f := range a.Flags {
		t.printf(" %s", f)
	}
}

func (t text) inet(a *Address) {
	t.printf("\tinet ")
	if a.Alias {
		t.printf("alias ")
	}
	t.printf("%s", t.host(a.addr, ""))
	if a.peer.IsValid() {
		t.printf(" -> %s", t.host(a.peer, ""))
	}
	t.printf(" netmask 0x%x", a.netmask)
	if a.broadcast.IsValid() {
		t.printf(" broadcast %s", t.host(a.broadcast, ""))
	}
	t.flags(a)
}

func (t text) inet6(a *Address) {
	t.printf("\tinet6 %s", t.host(a.addr, a.zone))
	if a.peer.IsValid() {
		zone := ""
		if a.peer.IsLinkLocalUnicast() {
			zone = a.zone
		}
		t.printf(" -> %s", t.host(a.peer, zone))
	}
	if a.PrefixLen != nil {
		t.printf(" prefixlen %d", *a.PrefixLen)
	}
	t.flags(a)
	if a.Scope != 0 {
		t.printf(" scopeid 0x%x", a.Scope)
	}
	if t.o.Lifetimes && a.haveLifetimes {
		left := func(v *int64) string {
			if *v == Infinite {
				return "infty"
			}
			return fmt.Sprint(*v)
		}
		t.printf(" pltime %s vltime %s", left(a.Preferred), left(a.Valid))
	}
}
