package ifconfig

import (
	"context"
	"errors"
	"time"

	"rumptools/internal/rtsock"
	"rumptools/pkg/netbsd"
)

// waitPoll is how often addresses are looked at.
const waitPoll = 10 * time.Millisecond

// ErrTimedOut is what Wait returns when addresses are still tentative.
var ErrTimedOut = errors.New("timed out")

// Wait waits until no address of any interface is tentative: until duplicate
// address detection is through with all of them. After the time given, when it
// is not 0, it gives up. For as long as detached says it also waits for the
// addresses of interfaces that are up to be no longer detached.
func Wait(ctx context.Context, k Kernel, timeout, detached time.Duration) error {
	c := newClient(k)
	defer c.close(context.WithoutCancel(ctx))
	start := time.Now()
	tick := time.NewTicker(waitPoll)
	defer tick.Stop()
	for {
		elapsed := time.Since(start)
		// A time for detached addresses without a whole one is none.
		waiting, err := c.unready(ctx, timeout != 0 && elapsed < detached)
		if err != nil || !waiting {
			return err
		}
		if timeout != 0 && elapsed > timeout {
			return ErrTimedOut
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// unready tells whether there is an address that is tentative, or when it is
// asked for, one that is detached on an interface that is up.
func (c *client) unready(ctx context.Context, detached bool) (bool, error) {
	list, err := rtsock.Interfaces(ctx, c)
	if err != nil {
		return false, err
	}
	for i := range list {
		iface := &list[i]
		for n := range iface.Addresses {
			tentative, isDetached, err := c.state(ctx, iface.Name, &iface.Addresses[n])
			if err != nil {
				return false, err
			}
			if tentative || isDetached && detached && iface.Flags&netbsd.IFF_UP != 0 {
				return true, nil
			}
		}
	}
	return false, nil
}

// state asks what an address is like. Addresses that have gone since, and
// kernels that have no such states, are as if all were well.
func (c *client) state(ctx context.Context, name string, a *rtsock.Address) (tentative, detached bool, err error) {
	switch a.Family() {
	case netbsd.AF_INET:
		r := netbsd.Ifreq{Name: netbsd.IfName(name)}
		r.SetAddr(a.Addr())
		err = c.requestOf(ctx, netbsd.AF_INET, netbsd.SIOCGIFAFLAG_IN, &r)
		if err == nil {
			f := r.Value(c.Machine())
			return f&netbsd.IN_IFF_TENTATIVE != 0, f&netbsd.IN_IFF_DETACHED != 0, nil
		}
	case netbsd.AF_INET6:
		r := netbsd.In6Ifreq{Name: netbsd.IfName(name)}
		r.SetAddr(a.Addr())
		err = c.requestOf(ctx, netbsd.AF_INET6, netbsd.SIOCGIFAFLAG_IN6, &r)
		if err == nil {
			f := r.Flags6(c.Machine())
			return f&netbsd.IN6_IFF_TENTATIVE != 0, f&netbsd.IN6_IFF_DETACHED != 0, nil
		}
	}
	if errors.Is(err, netbsd.ENXIO) {
		err = nil
	}
	return false, false, ignore(err)
}
