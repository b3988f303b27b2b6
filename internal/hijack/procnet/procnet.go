//go:build linux

package procnet

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/netview"
)

// writer writes one file.
type writer struct {
	bytes.Buffer
	ctx    context.Context
	kernel netview.Kernel
	owner  netview.OwnerOf
}

// files are the files by name.
var files = map[string]func(*writer) error{
	"anycast6":   (*writer).empty,
	"arp":        (*writer).arp,
	"dev":        (*writer).dev,
	"dev_mcast":  (*writer).devMcast,
	"fib_trie":   (*writer).fibTrie,
	"icmp":       (*writer).icmp,
	"icmp6":      (*writer).icmp6,
	"if_inet6":   (*writer).ifInet6,
	"igmp":       (*writer).igmp,
	"igmp6":      (*writer).igmp6,
	"ipv6_route": (*writer).ipv6Route,
	"mcfilter":   (*writer).mcfilter,
	"mcfilter6":  (*writer).mcfilter6,
	"netstat":    (*writer).netstat,
	"packet":     (*writer).packet,
	"raw":        (*writer).raw,
	"raw6":       (*writer).raw6,
	"route":      (*writer).route,
	"rt_cache":   (*writer).rtCache,
	"snmp":       (*writer).snmp,
	"snmp6":      (*writer).snmp6,
	"sockstat":   (*writer).sockstat,
	"sockstat6":  (*writer).sockstat6,
	"tcp":        (*writer).tcp,
	"tcp6":       (*writer).tcp6,
	"udp":        (*writer).udp,
	"udp6":       (*writer).udp6,
	"udplite":    (*writer).udplite,
	"udplite6":   (*writer).udplite6,
}

// Names lists the files that there are, sorted.
func Names() []string { return slices.Sorted(maps.Keys(files)) }

// Reader reads the files of a kernel. Its methods may be used by any number of
// goroutines.
type Reader struct {
	kernel netview.Kernel
	owner  netview.OwnerOf
}

// NewReader makes a reader. owner tells whose sockets are; it may be nil.
func NewReader(k netview.Kernel, owner netview.OwnerOf) *Reader {
	return &Reader{netview.Remember(k), owner}
}

// Read is what a file has now. The error is fs.ErrNotExist for a name that is
// not among [Names].
func (r *Reader) Read(ctx context.Context, name string) ([]byte, error) {
	return read(ctx, newMoment(r.kernel), r.owner, name)
}

// All is what all files have now. It takes far less than to read one after the
// other: much is the same, and the kernel is asked several things at a time.
func (r *Reader) All(ctx context.Context) (map[string][]byte, error) {
	k := newMoment(r.kernel)
	var mu sync.Mutex
	var first error
	all := make(map[string][]byte, len(files))
	var readers sync.WaitGroup
	for name := range files {
		readers.Go(func() {
			b, err := read(ctx, k, r.owner, name)
			mu.Lock()
			defer mu.Unlock()
			if err != nil && first == nil {
				first = err
			}
			all[name] = b
		})
	}
	readers.Wait()
	if first != nil {
		return nil, first
	}
	return all, nil
}

// Read is what a file of a kernel has now, for who reads only one; see
// [Reader.Read].
func Read(ctx context.Context, k netview.Kernel, owner netview.OwnerOf, name string) ([]byte, error) {
	return read(ctx, newMoment(k), owner, name)
}

func read(ctx context.Context, k netview.Kernel, owner netview.OwnerOf, name string) ([]byte, error) {
	f, ok := files[name]
	if !ok {
		return nil, fmt.Errorf("/proc/net/%s: %w", name, fs.ErrNotExist)
	}
	w := &writer{ctx: ctx, kernel: k, owner: owner}
	if err := f(w); err != nil {
		return nil, fmt.Errorf("/proc/net/%s: %w", name, err)
	}
	return w.Bytes(), nil
}

// printf appends text.
func (w *writer) printf(format string, args ...any) { fmt.Fprintf(&w.Buffer, format, args...) }

// line appends a line with blanks up to a width.
func (w *writer) line(width int, format string, args ...any) {
	w.printf("%-*s\n", width, fmt.Sprintf(format, args...))
}

// Widths of the lines of some files, without their ends.
const (
	tcpWidth   = 149
	dgramWidth = 127
)

// hex4 shows an IPv4 address as Linux does, the number that its bytes are on
// this machine.
func hex4(a netip.Addr) string {
	if !a.Is4() {
		return "00000000"
	}
	b := a.As4()
	return fmt.Sprintf("%08X", binary.NativeEndian.Uint32(b[:]))
}

// hex6 shows an IPv6 address so, four numbers.
func hex6(a netip.Addr) string {
	b := a.As16()
	var text string
	for i := 0; i < len(b); i += 4 {
		text += fmt.Sprintf("%08X", binary.NativeEndian.Uint32(b[i:]))
	}
	return text
}

// plain6 shows an IPv6 address as its bytes in their order.
func plain6(a netip.Addr) string {
	if !a.IsValid() {
		a = netip.IPv6Unspecified()
	}
	return fmt.Sprintf("%x", a.AsSlice())
}

// names are the interfaces' names by number.
func (w *writer) names() (map[int]string, error) {
	links, err := netview.Links(w.ctx, w.kernel)
	if err != nil {
		return nil, err
	}
	names := make(map[int]string, len(links))
	for i := range links {
		names[links[i].Index] = links[i].Name
	}
	return names, nil
}

// dev has the interfaces' counters.
func (w *writer) dev() error {
	links, err := netview.Links(w.ctx, w.kernel)
	if err != nil {
		return err
	}
	w.printf("Inter-|   Receive                                                |  Transmit\n")
	w.printf(" face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n")
	for i := range links {
		d := &links[i].Data
		w.printf("%6s: %7d %7d %4d %4d %4d %5d %10d %9d %8d %7d %4d %4d %4d %5d %7d %10d\n", links[i].Name,
			d.Ibytes, d.Ipackets, d.Ierrors, d.Iqdrops, 0, 0, 0, d.Imcasts,
			d.Obytes, d.Opackets, d.Oerrors, 0, 0, d.Collisions, 0, 0)
	}
	return nil
}

// Flags of routes (linux/route.h, linux/ipv6_route.h).
const (
	rtfUp        = 0x1
	rtfGateway   = 0x2
	rtfHost      = 0x4
	rtfReject    = 0x200
	rtfNoNextHop = 0x00200000
	rtfLocal     = 0x80000000
)

func isRejected(r *netview.Route) bool {
	return r.Type == unix.RTN_UNREACHABLE || r.Type == unix.RTN_BLACKHOLE
}

// route has the main table's routes of IPv4.
func (w *writer) route() error {
	routes, err := netview.Routes(w.ctx, w.kernel, unix.AF_INET)
	if err != nil {
		return err
	}
	names, err := w.names()
	if err != nil {
		return err
	}
	w.line(dgramWidth, "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT")
	for i := range routes {
		r := &routes[i]
		if r.Table != unix.RT_TABLE_MAIN {
			continue
		}
		flags := rtfUp
		if r.Gateway.IsValid() {
			flags |= rtfGateway
		}
		if r.Dst.Bits() == 32 {
			flags |= rtfHost
		}
		name := names[r.Index]
		if isRejected(r) {
			flags |= rtfReject
			name = "*"
		}
		var mask [4]byte
		binary.BigEndian.PutUint32(mask[:], ^uint32(0)<<(32-r.Dst.Bits()))
		w.line(dgramWidth, "%s\t%s\t%s\t%04X\t%d\t%d\t%d\t%s\t%d\t%d\t%d", name, hex4(r.Dst.Addr()), hex4(r.Gateway), flags, 0, 0,
			r.Metric, hex4(netip.AddrFrom4(mask)), r.MTU, 0, 0)
	}
	return nil
}

// empty is a file of what there is none of.
func (w *writer) empty() error { return nil }

// rtCache has what was looked up, which is nothing on newer Linux either.
func (w *writer) rtCache() error {
	w.line(dgramWidth, "Iface\tDestination\tGateway \tFlags\t\tRefCnt\tUse\tMetric\tSource\t\tMTU\tWindow\tIRTT\tTOS\tHHRef\tHHUptod\tSpecDst")
	return nil
}

// ipv6Route has the routes of IPv6 of all tables.
func (w *writer) ipv6Route() error {
	routes, err := netview.Routes(w.ctx, w.kernel, unix.AF_INET6)
	if err != nil {
		return err
	}
	names, err := w.names()
	if err != nil {
		return err
	}
	for i := range routes {
		r := &routes[i]
		flags := uint32(rtfUp)
		if r.Gateway.IsValid() {
			flags |= rtfGateway
		}
		if isRejected(r) {
			flags |= rtfReject | rtfNoNextHop
		}
		if r.Type == unix.RTN_LOCAL {
			flags |= rtfLocal | rtfNoNextHop
		}
		w.printf("%s %02x %s %02x %s %08x %08x %08x %08x %8s\n", plain6(r.Dst.Addr()), r.Dst.Bits(), plain6(netip.Addr{}), 0,
			plain6(r.Gateway), r.Metric, 1, 0, flags, names[r.Index])
	}
	return nil
}

// ifInet6 has the addresses of IPv6.
func (w *writer) ifInet6() error {
	addrs, err := netview.Addrs(w.ctx, w.kernel, unix.AF_INET6)
	if err != nil {
		return err
	}
	for i := range addrs {
		a := &addrs[i]
		// IPV6_ADDR_LOOPBACK and the like of Linux's net/ipv6.h.
		scope := 0
		switch a.Scope {
		case unix.RT_SCOPE_HOST:
			scope = 0x10
		case unix.RT_SCOPE_LINK:
			scope = 0x20
		case unix.RT_SCOPE_SITE:
			scope = 0x40
		}
		w.printf("%s %02x %02x %02x %02x %8s\n", plain6(a.Prefix.Addr()), a.Index, a.Prefix.Bits(), scope, a.Flags&0xff, a.Label)
	}
	return nil
}

// Flags of ARP's entries (linux/if_arp.h).
const (
	atfCom  = 0x02
	atfPerm = 0x04
)

// arp has the neighbours of IPv4.
func (w *writer) arp() error {
	list, err := netview.Neighbours(w.ctx, w.kernel, unix.AF_INET)
	if err != nil {
		return err
	}
	names, err := w.names()
	if err != nil {
		return err
	}
	w.printf("IP address       HW type     Flags       HW address            Mask     Device\n")
	for i := range list {
		n := &list[i]
		flags, mac := 0, "00:00:00:00:00:00"
		if len(n.HardwareAddr) > 0 {
			flags, mac = atfCom, n.HardwareAddr.String()
		}
		if n.State == unix.NUD_PERMANENT {
			flags |= atfPerm
		}
		w.printf("%-16s 0x%-10x0x%-10x%-17s     *        %s\n", n.IP, unix.ARPHRD_ETHER, flags, mac, names[n.Index])
	}
	return nil
}
