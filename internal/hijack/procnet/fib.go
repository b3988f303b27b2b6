//go:build linux

package procnet

import (
	"cmp"
	"math/bits"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/netview"
)

// fibTrie has the tables of IPv4, each as a tree of one level: from its leaves
// scripts read a host's addresses.
func (w *writer) fibTrie() error {
	routes, err := netview.Routes(w.ctx, w.kernel, unix.AF_INET)
	if err != nil {
		return err
	}
	for _, table := range []struct {
		name   string
		number uint8
	}{{"Main", unix.RT_TABLE_MAIN}, {"Local", unix.RT_TABLE_LOCAL}} {
		list := slices.Clone(routes)
		list = slices.DeleteFunc(list, func(r netview.Route) bool { return r.Table != table.number })
		// A leaf is an address; what has longer prefixes comes first.
		slices.SortStableFunc(list, func(a, b netview.Route) int {
			return cmp.Or(a.Dst.Addr().Compare(b.Dst.Addr()), cmp.Compare(b.Dst.Bits(), a.Dst.Bits()))
		})
		leaves := 0
		for i := range list {
			if i == 0 || list[i].Dst.Addr() != list[i-1].Dst.Addr() {
				leaves++
			}
		}
		w.printf("%s:\n", table.name)
		if leaves == 0 {
			continue
		}
		// The root's children by so many bits, of which some are empty.
		n := bits.Len(uint(leaves - 1))
		w.printf("  +-- 0.0.0.0/0 %d 0 %d\n", n, 1<<n-leaves)
		var leaf netip.Addr
		for i := range list {
			r := &list[i]
			if r.Dst.Addr() != leaf {
				leaf = r.Dst.Addr()
				w.printf("     |-- %s\n", leaf)
			}
			w.printf("        /%d %s %s\n", r.Dst.Bits(), scopeNames[r.Scope], typeNames[r.Type])
		}
	}
	return nil
}

// scopeNames and typeNames are Linux's names of RT_SCOPE_* and RTN_*.
var (
	scopeNames = map[uint8]string{
		unix.RT_SCOPE_UNIVERSE: "universe", unix.RT_SCOPE_SITE: "site", unix.RT_SCOPE_LINK: "link", unix.RT_SCOPE_HOST: "host",
	}
	typeNames = map[uint8]string{
		unix.RTN_UNICAST: "UNICAST", unix.RTN_LOCAL: "LOCAL", unix.RTN_BROADCAST: "BROADCAST", unix.RTN_MULTICAST: "MULTICAST",
		unix.RTN_BLACKHOLE: "BLACKHOLE", unix.RTN_UNREACHABLE: "UNREACHABLE",
	}
)
