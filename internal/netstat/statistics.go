package netstat

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"rumptools/internal/netdb"
	"rumptools/internal/rtsock"
	"rumptools/pkg/netbsd"
)

// Statistics are the counters of a protocol, as JSON has them.
type Statistics struct {
	Protocol string `json:"protocol"`
	// Counters are NetBSD's, by the names of their constants in lower case
	// and without the protocol: "total" is IP_STAT_TOTAL. Histograms have
	// the number of the type or protocol after a dot, and only those that
	// are not 0.
	Counters map[string]uint64 `json:"counters"`

	protocol   *protocol
	values     []uint64
	interfaces map[int]string
}

// protocol is a protocol that keeps counters.
type protocol struct {
	name  string
	node  string // of the sysctl tree: an array of 64-bit counters
	items []item
}

// item is a part of what is printed of a protocol.
type item interface {
	// write prints the item; with zeros left out, nothing of what is 0.
	write(p *printer)
	// collect puts the item's counters into a map.
	collect(values counters, to map[string]uint64)
}

// counters are a protocol's array. Kernels may have more or fewer than we know.
type counters []uint64

func (c counters) at(i int) uint64 {
	if i < 0 || i >= len(c) {
		return 0
	}
	return c[i]
}

// printer prints the items of one protocol.
type printer struct {
	*bufio.Writer
	counters
	hideZeros  bool
	interfaces map[int]string
	db         *netdb.DB
}

// counter is one of a protocol's counters.
type counter struct {
	index int
	name  string
}

// line is a line of text with the values of counters in it. In the text # is
// the next value, and ~s, ~es and ~y are the ending of a word that depends on
// the last one: nothing or s, nothing or es, y or ies.
type line struct {
	indent   int
	text     string
	counters []counter
}

func (l line) write(p *printer) {
	values := make([]uint64, len(l.counters))
	zero := true
	for i, c := range l.counters {
		values[i] = p.at(c.index)
		zero = zero && values[i] == 0
	}
	if zero && p.hideZeros {
		return
	}
	p.WriteString(strings.Repeat("\t", l.indent) + fill(l.text, values) + "\n")
}

func (l line) collect(values counters, to map[string]uint64) {
	for _, c := range l.counters {
		to[c.name] = values.at(c.index)
	}
}

// endings are the endings of words for one and for any other number.
var endings = []struct{ mark, one, many string }{
	{"~es", "", "es"},
	{"~s", "", "s"},
	{"~y", "y", "ies"},
}

// fill puts values into the text of a line.
func fill(text string, values []uint64) string {
	var b strings.Builder
	var last uint64
	for text != "" {
		if text[0] == '#' && len(values) > 0 {
			last, values = values[0], values[1:]
			fmt.Fprint(&b, last)
			text = text[1:]
			continue
		}
		marked := false
		for _, e := range endings {
			if rest, ok := strings.CutPrefix(text, e.mark); ok {
				if last == 1 {
					b.WriteString(e.one)
				} else {
					b.WriteString(e.many)
				}
				text, marked = rest, true
				break
			}
		}
		if !marked {
			b.WriteByte(text[0])
			text = text[1:]
		}
	}
	return b.String()
}

// optional is a line of which the part after the first counter is left out
// with zeros.
type optional struct{ first, second line }

func (o optional) write(p *printer) {
	var text string
	for _, l := range []line{o.first, o.second} {
		if v := p.at(l.counters[0].index); v != 0 || !p.hideZeros {
			text += fill(l.text, []uint64{v})
		}
	}
	if text != "" {
		p.WriteString(strings.Repeat("\t", o.first.indent) + strings.TrimSpace(text) + "\n")
	}
}

func (o optional) collect(values counters, to map[string]uint64) {
	o.first.collect(values, to)
	o.second.collect(values, to)
}

// difference is a line of text with what remains of the first counter without
// the others.
type difference struct {
	text     string
	of       int
	without  []int
	jsonName string
}

func (d difference) value(values counters) uint64 {
	v := values.at(d.of)
	for _, i := range d.without {
		v -= values.at(i)
	}
	return v
}

func (d difference) write(p *printer) {
	if v := d.value(p.counters); v != 0 || !p.hideZeros {
		p.WriteString("\t" + fill(d.text, []uint64{v}) + "\n")
	}
}

func (d difference) collect(values counters, to map[string]uint64) {
	to[d.jsonName] = d.value(values)
}

// heading is a line that is always there.
type heading string

func (h heading) write(p *printer)                    { p.WriteString("\t" + string(h) + "\n") }
func (h heading) collect(counters, map[string]uint64) {}

// histogram is a row of counters with a heading; those that are 0 are never
// shown.
type histogram struct {
	indent int
	title  string
	first  counter
	n      int
	// entry is the text for one of them.
	entry func(p *printer, i int, v uint64) string
}

func (h histogram) write(p *printer) {
	titled := false
	for i := range h.n {
		v := p.at(h.first.index + i)
		if v == 0 {
			continue
		}
		if !titled {
			p.WriteString(strings.Repeat("\t", h.indent) + h.title + "\n")
			titled = true
		}
		p.WriteString(strings.Repeat("\t", h.indent+1) + h.entry(p, i, v) + "\n")
	}
}

func (h histogram) collect(values counters, to map[string]uint64) {
	for i := range h.n {
		if v := values.at(h.first.index + i); v != 0 {
			to[fmt.Sprintf("%s.%d", h.first.name, i)] = v
		}
	}
}

// The protocols whose counters are shown, by address family and in the order
// in which they are shown.
var (
	inetStatistics  = []*protocol{&tcpProtocol, &udpProtocol, &ipProtocol, &icmpProtocol, &igmpProtocol, &carpProtocol}
	inet6Statistics = []*protocol{&ip6Protocol, &icmp6Protocol, &tcp6Protocol, &udp6Protocol, &pim6Protocol, &rip6Protocol}
	arpStatistics   = []*protocol{&arpProtocol}
)

// StatisticsOf lists the names of the protocols of an address family that
// have counters: "inet", "inet6", "arp", or all for "".
func StatisticsOf(family string) []string {
	var list []*protocol
	switch family {
	case "":
		list = slices.Concat(inetStatistics, inet6Statistics, arpStatistics)
	case "inet":
		list = inetStatistics
	case "inet6":
		list = inet6Statistics
	case "arp":
		list = arpStatistics
	}
	names := make([]string, 0, len(list))
	for _, p := range list {
		names = append(names, p.name)
	}
	return names
}

// FindProtocol finds the protocol of a name or an alias of it that has
// counters.
func FindProtocol(name string, db *netdb.DB) (string, bool) {
	known := StatisticsOf("")
	if slices.Contains(known, name) {
		return name, true
	}
	alias, ok := db.ProtocolAlias(name)
	return alias, ok && slices.Contains(known, alias)
}

// ErrNoStatistics is the error for a protocol of which the kernel keeps no
// counters.
type ErrNoStatistics string

func (e ErrNoStatistics) Error() string {
	return string(e) + ": the kernel keeps no statistics of this protocol"
}

// ReadStatistics takes a snapshot of the counters of a protocol that
// StatisticsOf or FindProtocol has told of. The error is [ErrNoStatistics] when
// the kernel has none.
func ReadStatistics(ctx context.Context, k Kernel, name string) (*Statistics, error) {
	all := slices.Concat(inetStatistics, inet6Statistics, arpStatistics)
	i := slices.IndexFunc(all, func(p *protocol) bool { return p.name == name })
	if i < 0 {
		return nil, fmt.Errorf("%s: unknown or uninstrumented protocol", name)
	}
	p := all[i]
	values, err := readCounters(ctx, k, p.node)
	if missing(err) {
		return nil, ErrNoStatistics(name)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.node, err)
	}
	s := &Statistics{Protocol: name, Counters: map[string]uint64{}, protocol: p, values: values}
	for _, item := range p.items {
		item.collect(values, s.Counters)
	}
	if p == &ip6Protocol && mbufsByInterface(values) {
		interfaces, err := rtsock.Interfaces(ctx, k)
		if err != nil {
			return nil, fmt.Errorf("interface list: %w", err)
		}
		s.interfaces = rtsock.Names(interfaces)
	}
	return s, nil
}

// mbufsByInterface tells whether there are counters that belong to interfaces.
func mbufsByInterface(values counters) bool {
	for i := range mbufInterfaces {
		if values.at(netbsd.IP6_STAT_M2M+i) != 0 {
			return true
		}
	}
	return false
}

// readCounters reads an array of 64-bit counters.
func readCounters(ctx context.Context, k Kernel, node string) (counters, error) {
	mib, _, err := k.SysctlNode(ctx, node)
	if err != nil {
		return nil, err
	}
	b, err := k.SysctlBytes(ctx, mib)
	if err != nil {
		return nil, err
	}
	return parseCounters(k.Machine().Order, b), nil
}

// Write prints the counters as netstat -s does; when hideZeros is set without
// those that are 0, as netstat -ss does.
func (s *Statistics) Write(w io.Writer, hideZeros bool, db *netdb.DB) error {
	p := &printer{
		Writer: bufio.NewWriter(w), counters: s.values, hideZeros: hideZeros,
		interfaces: s.interfaces, db: db,
	}
	p.WriteString(s.Protocol + ":\n")
	for _, item := range s.protocol.items {
		item.write(p)
	}
	return p.Flush()
}
