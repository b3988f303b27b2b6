package main

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// components are those of rump_server's -l whose work rumpd does; all of it is
// always there.
var components = []string{
	"rump", "rumpuser", "rumpkern_sysproxy", "rumpkern_tty", "rumpkern_z", "rumpkern_crypto",
	"rumpnet", "rumpnet_net", "rumpnet_netinet", "rumpnet_netinet6", "rumpnet_shmif", "rumpnet_config",
	"rumpnet_local",
	"rumpdev", "rumpdev_rnd",
}

// lacking are components that scripts for networking name though few need them,
// and what is missing here.
var lacking = map[string]string{
	"rumpdev_bpf":     "no packet capture",
	"rumpvfs":         "no file systems",
	"rumpnet_agr":     "no aggregation",
	"rumpnet_bridge":  "no bridges",
	"rumpnet_netmpls": "no MPLS",
	"rumpnet_npf":     "no packet filter",
	"rumpnet_sockin":  "sockets are this kernel's own, not the host's",
	"rumpnet_tap":     "no tap interfaces",
	"rumpnet_virtif":  "no host network interfaces",
	"rumpnet_vlan":    "no VLANs",
}

// checkComponents accepts every component that a networking script names, and
// gives what such a script should know. A name that nothing is known of is an
// error.
func checkComponents(names []string) (warnings []string, err error) {
	for _, name := range names {
		short := strings.TrimSuffix(strings.TrimPrefix(name, "lib"), ".so")
		if what, ok := lacking[short]; ok {
			warnings = append(warnings, fmt.Sprintf("component %s: %s here", name, what))
			continue
		}
		if !slices.Contains(components, short) {
			return nil, fmt.Errorf("component %s: not in this kernel", name)
		}
	}
	return warnings, nil
}

// parseSize reads a number of bytes with an optional unit, as rump_server's -r.
func parseSize(s string) (int64, error) {
	digits := strings.TrimRight(s, "kKmMgGbB")
	shift := 0
	switch strings.ToLower(s[len(digits):]) {
	case "", "b":
	case "k", "kb":
		shift = 10
	case "m", "mb":
		shift = 20
	case "g", "gb":
		shift = 30
	default:
		return 0, fmt.Errorf("not a size")
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n <= 0 || n > math.MaxInt64>>shift {
		return 0, fmt.Errorf("not a size")
	}
	return n << shift, nil
}
