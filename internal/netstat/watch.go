package netstat

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"time"

	"rumptools/internal/rtsock"
	"rumptools/pkg/netbsd"
)

// WatchOptions say what [Watch] shows.
type WatchOptions struct {
	InterfaceOptions
	// Name is the interface that is shown beside the sum of all; the last
	// one when it is empty.
	Name     string
	Interval time.Duration
	// Lines is how many lines are printed before the heading is repeated.
	Lines int
}

// totals are the counters that Watch shows.
type totals struct {
	ipackets, ierrors, ibytes, opackets, oerrors, obytes, collisions uint64
}

func (t totals) minus(old totals) totals {
	return totals{
		t.ipackets - old.ipackets, t.ierrors - old.ierrors, t.ibytes - old.ibytes,
		t.opackets - old.opackets, t.oerrors - old.oerrors, t.obytes - old.obytes,
		t.collisions - old.collisions,
	}
}

func (t *totals) add(d *netbsd.IfData) {
	t.ipackets += d.Ipackets
	t.ierrors += d.Ierrors
	t.ibytes += d.Ibytes
	t.opackets += d.Opackets
	t.oerrors += d.Oerrors
	t.obytes += d.Obytes
	t.collisions += d.Collisions
}

// Watch prints a line of what was counted at every interval, the first with
// what was counted so far, until the context ends; its end is no error.
func Watch(ctx context.Context, k Kernel, w io.Writer, o WatchOptions) error {
	tick := time.NewTicker(o.Interval)
	defer tick.Stop()
	b := bufio.NewWriter(w)
	var one, sum totals
	for line := 0; ; line++ {
		name, nowOne, nowSum, err := read(ctx, k, o.Name)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		if line%max(o.Lines, 1) == 0 {
			o.heading(b, name)
			one, sum = totals{}, totals{}
		}
		o.columns(b, nowOne.minus(one))
		b.WriteString("  ")
		o.columns(b, nowSum.minus(sum))
		b.WriteByte('\n')
		if err := b.Flush(); err != nil {
			return err
		}
		one, sum = nowOne, nowSum
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// read takes the counters of an interface and of all.
func read(ctx context.Context, k Kernel, name string) (found string, one, sum totals, err error) {
	list, err := rtsock.Interfaces(ctx, k)
	if err != nil {
		return "", one, sum, fmt.Errorf("interface list: %w", err)
	}
	for n := range list {
		iface := &list[n]
		if name == "" || iface.Name == name {
			found, one = iface.Name, totals{}
			one.add(&iface.Data)
		}
		sum.add(&iface.Data)
	}
	if found == "" {
		return "", one, sum, ErrUnknownInterface(name)
	}
	return found, one, sum, nil
}

func (o WatchOptions) heading(b *bufio.Writer, name string) {
	drops := func(text string) {
		if o.Drops {
			fmt.Fprintf(b, " %5s", text)
		}
	}
	for i, name := range []string{name, "total"} {
		if i > 0 {
			b.WriteString("  ")
		}
		if o.Bytes {
			fmt.Fprintf(b, "%7.7s in %8s %6.6s out %5s", name, " ", name, " ")
		} else {
			fmt.Fprintf(b, "%5.5s in %5s%5.5s out %5s %5s", name, " ", name, " ", " ")
		}
		drops(" ")
	}
	b.WriteByte('\n')
	for i := range 2 {
		if i > 0 {
			b.WriteString("  ")
		}
		if o.Bytes {
			fmt.Fprintf(b, "%10s %8s %10s %5s", "bytes", " ", "bytes", " ")
		} else {
			fmt.Fprintf(b, "%8s %5s %8s %5s %5s", "packets", "errs", "packets", "errs", "colls")
		}
		drops("drops")
	}
	b.WriteByte('\n')
}

func (o WatchOptions) columns(b *bufio.Writer, t totals) {
	if o.Bytes {
		fmt.Fprintf(b, "%10d %8s %10d %5s", t.ibytes, " ", t.obytes, " ")
	} else {
		fmt.Fprintf(b, "%8d %5d %8d %5d %5d", t.ipackets, t.ierrors, t.opackets, t.oerrors, t.collisions)
	}
	if o.Drops {
		fmt.Fprintf(b, " %5d", 0)
	}
}
