//go:build linux

package linuxsock

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"rumptools/internal/rtsock"
	"rumptools/pkg/netbsd"
)

// Addresses are a kernel's interfaces with their addresses, which are asked for
// anew when they are old. Its methods may be used by any number of goroutines.
// The zero value is ready.
type Addresses struct {
	mu   sync.Mutex
	list []rtsock.Interface
	at   time.Time
}

// maxAge is how long a list of interfaces is believed.
const maxAge = time.Second

// Interfaces lists the interfaces, as they were a second ago at most. The list
// must not be changed.
func (a *Addresses) Interfaces(ctx context.Context, k rtsock.Kernel) ([]rtsock.Interface, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.list != nil && time.Since(a.at) < maxAge {
		return a.list, nil
	}
	list, err := rtsock.Interfaces(ctx, k)
	if err != nil {
		return nil, err
	}
	a.list, a.at = list, time.Now()
	return list, nil
}

// Local returns the address of this host's for which a datagram to dst came on
// an interface: dst itself, and for broadcast addresses and groups the
// interface's first. It is what [Incoming] needs.
func (a *Addresses) Local(ctx context.Context, k rtsock.Kernel, index uint32, dst netip.Addr) netip.Addr {
	list, err := a.Interfaces(ctx, k)
	if err != nil {
		return dst
	}
	m := k.Machine()
	if !dst.IsMulticast() && interfaceWith(m, list, dst) != nil {
		return dst
	}
	for i := range list {
		if list[i].Index != int(index) {
			continue
		}
		if first := firstAddress4(m, &list[i]); first.IsValid() {
			return first
		}
	}
	return dst
}

// firstAddress4 is an interface's first address of IPv4, if it has one.
func firstAddress4(m *netbsd.Machine, ifp *rtsock.Interface) netip.Addr {
	for _, a := range ifp.Addresses {
		if sa, err := netbsd.ParseSockaddr(m, a.Addr()); err == nil && sa.Family == netbsd.AF_INET {
			return sa.Addr()
		}
	}
	return netip.Addr{}
}

// Own tells whether an address is one of the kernel's own, or stands for that.
func (a *Addresses) Own(ctx context.Context, k rtsock.Kernel, addr netip.Addr) bool {
	addr = addr.Unmap()
	if addr.IsLoopback() || addr.IsUnspecified() {
		return true
	}
	list, err := a.Interfaces(ctx, k)
	return err == nil && interfaceWith(k.Machine(), list, addr) != nil
}

// interfaceWith finds the interface that has an address.
func interfaceWith(m *netbsd.Machine, list []rtsock.Interface, addr netip.Addr) *rtsock.Interface {
	for i := range list {
		for _, a := range list[i].Addresses {
			if sa, err := netbsd.ParseSockaddr(m, a.Addr()); err == nil && sa.ExtractScope().Addr() == addr {
				return &list[i]
			}
		}
	}
	return nil
}
