// Package netstat is what netstat(1) shows, of a rump kernel: routes,
// interfaces, sockets and the counters of protocols. Each has a function that
// takes a snapshot, and one that prints it as netstat does; as JSON
// encoding/json prints it.
package netstat

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"strings"

	"rumptools/internal/netdb"
	"rumptools/internal/rtsock"
	"rumptools/pkg/netbsd"
)

// Kernel is what this package needs of a kernel's client; an [spclient.Conn]
// has it.
type Kernel interface {
	rtsock.Kernel
	// SysctlNode finds the path of numbers of a node of the sysctl tree.
	SysctlNode(ctx context.Context, name string) ([]int32, netbsd.Sysctlnode, error)
}

// Names says how addresses and ports are shown.
type Names struct {
	// DB has the names of hosts and services, nil when there are none.
	DB *netdb.DB
	// NumericAddresses and NumericPorts show numbers in place of names.
	NumericAddresses, NumericPorts bool
	// Verbose shows what is long in full.
	Verbose bool
}

// host returns the name of an address. The host's own domain is left out.
func (n Names) host(a netip.Addr) (string, bool) {
	if n.NumericAddresses || n.DB == nil {
		return "", false
	}
	name, ok := n.DB.HostName(a)
	if !ok {
		return "", false
	}
	if first, domain, found := strings.Cut(name, "."); found && domain == hostDomain() {
		name = first
	}
	return name, true
}

// hostDomain is the domain of the host that the program runs on.
func hostDomain() string {
	name, err := os.Hostname()
	if err != nil {
		return ""
	}
	_, domain, _ := strings.Cut(name, ".")
	return domain
}

// service returns the name of a port of a protocol.
func (n Names) service(port uint16, protocol string) (string, bool) {
	if n.NumericPorts || n.DB == nil {
		return "", false
	}
	// The names of tcp6 and udp6 are those of tcp and udp.
	return n.DB.ServiceName(port, strings.TrimSuffix(protocol, "6"))
}

// missing tells whether the kernel has not the node that was asked for.
func missing(err error) bool { return errors.Is(err, netbsd.ENOENT) }

// cut shortens a string to n bytes.
func cut(s string, n int) string {
	if len(s) > n {
		return s[:n]
	}
	return s
}
