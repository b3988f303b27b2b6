package netstat

import (
	"context"
	"encoding/binary"
	"fmt"
)

// routingProtocol has the counters of the routing table (struct rtstat of
// <net/route.h>).
var routingProtocol = protocol{
	name: "routing",
	node: "net.route.stats",
	items: []item{
		line{1, "# bad routing redirect~s", []counter{{0, "badredirect"}}},
		line{1, "# dynamically created route~s", []counter{{1, "dynamic"}}},
		line{1, "# new gateway~s due to redirects", []counter{{2, "newgateway"}}},
		line{1, "# destination~s found unreachable", []counter{{3, "unreach"}}},
		line{1, "# use~s of a wildcard route", []counter{{4, "wildcard"}}},
	},
}

// ReadRoutingStatistics takes a snapshot of the routing table's counters.
func ReadRoutingStatistics(ctx context.Context, k Kernel) (*Statistics, error) {
	values, err := readCounters(ctx, k, routingProtocol.node)
	if missing(err) {
		return nil, ErrNoStatistics(routingProtocol.name)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", routingProtocol.node, err)
	}
	s := &Statistics{Protocol: routingProtocol.name, Counters: map[string]uint64{}, protocol: &routingProtocol, values: values}
	for _, item := range routingProtocol.items {
		item.collect(values, s.Counters)
	}
	return s, nil
}

// parseCounters reads 64-bit integers; what is left at the end is none.
func parseCounters(order binary.ByteOrder, b []byte) (list counters) {
	for ; len(b) >= 8; b = b[8:] {
		list = append(list, order.Uint64(b))
	}
	return list
}
