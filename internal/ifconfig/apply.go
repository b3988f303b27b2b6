package ifconfig

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"

	"rumptools/internal/netdb"
	"rumptools/internal/rtsock"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
)

// Output is where Apply tells things that are no errors.
type Output struct {
	// Stdout gets what ifconfig(8) prints.
	Stdout io.Writer
	// Warn is given errors that ifconfig(8) tells of but goes on after.
	Warn func(error)
}

// op is one change to an interface.
type op interface {
	fmt.Stringer
	apply(ctx context.Context, c *client, name string, out Output) error
}

// Apply does to a kernel's interface what a command says. When it fails an
// interface that it has created is destroyed again, and an address that it has
// replaced is put back.
func Apply(ctx context.Context, k Kernel, cmd *Command, out Output) error {
	c := newClient(k)
	defer c.close(ctx)
	r := netbsd.Ifreq{Name: netbsd.IfName(cmd.Interface)}
	if cmd.Destroy {
		return cloneError(cmd.Interface, c.request(ctx, netbsd.SIOCIFDESTROY, &r))
	}
	if cmd.Create {
		if err := c.request(ctx, netbsd.SIOCIFCREATE, &r); err != nil {
			return cloneError(cmd.Interface, err)
		}
	}
	err := c.apply(ctx, cmd, out)
	if err != nil && cmd.Create {
		// The context may be why it failed; what was begun is undone all
		// the same.
		undo := context.WithoutCancel(ctx)
		r = netbsd.Ifreq{Name: netbsd.IfName(cmd.Interface)}
		if failed := c.request(undo, netbsd.SIOCIFDESTROY, &r); failed != nil {
			out.Warn(fmt.Errorf("%s is left: %w", cmd.Interface, failed))
		}
	}
	return err
}

// CloneError is the failure to create or destroy an interface.
type CloneError struct {
	Interface string
	Err       error
}

// Error is what ifconfig(8) says.
func (e *CloneError) Error() string { return wrap("clone_command", e.Err).Error() }

// Unwrap returns the cause.
func (e *CloneError) Unwrap() error { return e.Err }

func cloneError(name string, err error) error {
	if err == nil {
		return nil
	}
	return &CloneError{name, err}
}

// Configure does to a kernel's interface what the words of a command line say,
// see [Parse]. Unlike with [Apply] a warning is an error.
func Configure(ctx context.Context, k Kernel, words []string) error {
	cmd, err := Parse(words, netdb.Host())
	if err != nil {
		return err
	}
	if cmd.Show {
		return fmt.Errorf("%s: nothing to do is given", cmd.Interface)
	}
	var warnings []error
	err = Apply(ctx, k, cmd, Output{
		Stdout: io.Discard,
		Warn:   func(err error) { warnings = append(warnings, err) },
	})
	if err != nil {
		return err
	}
	return errors.Join(warnings...)
}

func (c *client) apply(ctx context.Context, cmd *Command, out Output) error {
	var change *change
	if cmd.changesAddress() {
		var err error
		// Everything that can be refused is looked at before anything
		// is changed.
		if change, err = c.prepare(ctx, cmd); err != nil {
			return err
		}
	}
	var media *int32
	if cmd.media != "" {
		word, err := c.media(ctx, cmd.Interface, cmd.media)
		if err != nil {
			return err
		}
		media = &word
	}
	for _, o := range cmd.ops {
		if err := o.apply(ctx, c, cmd.Interface, out); err != nil {
			return err
		}
	}
	if media != nil {
		r := netbsd.Ifreq{Name: netbsd.IfName(cmd.Interface)}
		r.SetValue(c.Machine(), *media)
		if err := c.request(ctx, netbsd.SIOCSIFMEDIA, &r); err != nil {
			return err
		}
	}
	if change != nil {
		if err := change.commit(ctx, c); err != nil {
			return err
		}
	}
	if cmd.preference != nil {
		c.setPreference(ctx, cmd, out)
	}
	return nil
}

// media finds the media word for a name on an interface.
func (c *client) media(ctx context.Context, name, media string) (int32, error) {
	r := netbsd.Ifmediareq{Name: netbsd.IfName(name)}
	// E2BIG says that there is more to tell than was asked for.
	if err := c.request(ctx, netbsd.SIOCGIFMEDIA, &r); err != nil && !errors.Is(err, netbsd.E2BIG) {
		return 0, err
	}
	kind := r.Current & netbsd.IFM_NMASK
	if kind == 0 {
		return 0, fmt.Errorf("%s: no link type?", name)
	}
	subtype, ok := findMedia(kind, media)
	if !ok {
		return 0, fmt.Errorf("unknown %s media subtype: %s", mediaTypeName(kind), media)
	}
	instance := int32(uint32(r.Current) & netbsd.IFM_IMASK)
	return kind | subtype | instance, nil
}

func (c *client) setPreference(ctx context.Context, cmd *Command, out Output) {
	r := netbsd.IfAddrprefreq{Name: netbsd.IfName(cmd.Interface), Preference: *cmd.preference}
	copy(r.Addr[:], cmd.address.sockaddr(c.Machine(), 0))
	if err := c.requestOf(ctx, int32(cmd.Family), netbsd.SIOCSIFADDRPREF, &r); err != nil {
		out.Warn(err)
	}
}

// setFlag sets or clears a flag of the interface.
type setFlag struct {
	flag uint16
	set  bool
	word string
}

func (o setFlag) String() string { return o.word }

func (o setFlag) apply(ctx context.Context, c *client, name string, _ Output) error {
	flags, err := c.flags(ctx, name)
	if err != nil {
		return err
	}
	if flags &^= o.flag; o.set {
		flags |= o.flag
	}
	r := netbsd.Ifreq{Name: netbsd.IfName(name)}
	r.SetFlags(c.Machine(), flags)
	return on(name, c.request(ctx, netbsd.SIOCSIFFLAGS, &r))
}

// setMTU sets the largest packet, in bytes.
type setMTU int32

func (o setMTU) String() string { return fmt.Sprintf("mtu %d", int32(o)) }

func (o setMTU) apply(ctx context.Context, c *client, name string, out Output) error {
	return c.setValue(ctx, netbsd.SIOCSIFMTU, name, int32(o), out)
}

// setMetric sets the metric that routing programs use.
type setMetric int32

func (o setMetric) String() string { return fmt.Sprintf("metric %d", int32(o)) }

func (o setMetric) apply(ctx context.Context, c *client, name string, out Output) error {
	return c.setValue(ctx, netbsd.SIOCSIFMETRIC, name, int32(o), out)
}

// setValue sets a number. ifconfig(8) warns when the kernel refuses it, and
// goes on.
func (c *client) setValue(ctx context.Context, req *netbsd.Ioctl, name string, v int32, out Output) error {
	r := netbsd.Ifreq{Name: netbsd.IfName(name)}
	r.SetValue(c.Machine(), v)
	return warned(c.request(ctx, req, &r), out)
}

// warned makes a warning of what the kernel refused; other errors stay.
func warned(err error, out Output) error {
	var e *spclient.SyscallError
	if errors.As(err, &e) {
		out.Warn(err)
		return nil
	}
	return err
}

// setLinkstr attaches a shmif(4) interface to a bus file.
type setLinkstr string

func (o setLinkstr) String() string { return "linkstr " + string(o) }

func (o setLinkstr) apply(ctx context.Context, c *client, name string, _ Output) error {
	buf := append([]byte(o), 0)
	r := netbsd.Ifdrv{Name: netbsd.IfName(name), Len: netbsd.SizeT(len(buf))}
	return c.requestPtr(ctx, netbsd.SIOCSLINKSTR, &r, buf, func(p netbsd.Ptr) { r.Data = p })
}

// unsetLinkstr detaches it.
type unsetLinkstr struct{}

func (unsetLinkstr) String() string { return "-linkstr" }

func (unsetLinkstr) apply(ctx context.Context, c *client, name string, _ Output) error {
	return c.request(ctx, netbsd.SIOCSLINKSTR, &netbsd.Ifdrv{Name: netbsd.IfName(name), Cmd: netbsd.IFLINKSTR_UNSET})
}

// setTunnel sets the outer addresses of a tunnel.
type setTunnel struct{ src, dst netip.AddrPort }

func (o setTunnel) String() string { return fmt.Sprintf("tunnel %s %s", o.src, o.dst) }

func (o setTunnel) apply(ctx context.Context, c *client, name string, out Output) error {
	scope, err := c.scope(ctx, o.src.Addr().Zone())
	if err != nil {
		return err
	}
	r := netbsd.IfLaddrreq{Name: netbsd.IfName(name)}
	copy(r.Addr[:], sockaddr(c.Machine(), o.src, scope))
	copy(r.Dstaddr[:], sockaddr(c.Machine(), o.dst, scope))
	return warned(c.request(ctx, netbsd.SIOCSLIFPHYADDR, &r), out)
}

// deleteTunnel takes the outer addresses of a tunnel away.
type deleteTunnel struct{}

func (deleteTunnel) String() string { return "deletetunnel" }

func (deleteTunnel) apply(ctx context.Context, c *client, name string, _ Output) error {
	return c.request(ctx, netbsd.SIOCDIFPHYADDR, &netbsd.Ifreq{Name: netbsd.IfName(name)})
}

// setVlan gives a vlan(4) interface its parent, or with an empty one takes it
// away.
type setVlan struct {
	tag    uint16
	parent string
}

func (o setVlan) String() string {
	if o.parent == "" {
		return "-vlanif"
	}
	return fmt.Sprintf("vlan %d vlanif %s", o.tag, o.parent)
}

func (o setVlan) apply(ctx context.Context, c *client, name string, _ Output) error {
	req := netbsd.Vlanreq{Tag: o.tag, Parent: netbsd.IfName(o.parent)}
	if o.parent == "" {
		is, err := c.vlan(ctx, name)
		if err != nil {
			return err
		}
		req.Tag = is.Tag
	}
	buf := netbsd.Marshal(c.Machine(), &req)
	r := netbsd.Ifreq{Name: netbsd.IfName(name)}
	err := c.requestPtr(ctx, netbsd.SIOCSETVLAN, &r, buf, func(p netbsd.Ptr) { r.SetData(c.Machine(), uint64(p)) })
	return wrap("SIOCSETVLAN", err)
}

// vlan asks for the tag and the parent of a vlan(4) interface.
func (c *client) vlan(ctx context.Context, name string) (v netbsd.Vlanreq, err error) {
	buf := netbsd.Marshal(c.Machine(), &v)
	r := netbsd.Ifreq{Name: netbsd.IfName(name)}
	err = c.requestPtr(ctx, netbsd.SIOCGETVLAN, &r, buf, func(p netbsd.Ptr) { r.SetData(c.Machine(), uint64(p)) })
	if err != nil {
		return v, err
	}
	return v, netbsd.Unmarshal(c.Machine(), buf, &v)
}

// trailers says what ifconfig(8) says.
type trailers struct{}

func (trailers) String() string { return "trailers" }

func (trailers) apply(_ context.Context, _ *client, _ string, out Output) error {
	_, err := fmt.Fprintln(out.Stdout, "Note: trailers are no longer sent, but always received")
	return err
}

// scope finds the number of the interface that an address's zone names.
func (c *client) scope(ctx context.Context, zone string) (uint32, error) {
	if zone == "" {
		return 0, nil
	}
	var n uint32
	if _, err := fmt.Sscanf(zone, "%d", &n); err == nil && fmt.Sprint(n) == zone {
		return n, nil
	}
	list, err := rtsock.Interfaces(ctx, c)
	if err != nil {
		return 0, err
	}
	for i := range list {
		if list[i].Name == zone {
			return uint32(list[i].Index), nil
		}
	}
	return 0, fmt.Errorf("%%%s: no such interface", zone)
}

// sockaddr is an address in a request: the scope goes into the address, where
// the kernel keeps it.
func sockaddr(m *netbsd.Machine, ap netip.AddrPort, scope uint32) []byte {
	a := ap.Addr().WithZone("")
	if scope != 0 && a.IsLinkLocalUnicast() {
		a = netbsd.EmbedScope(a, scope)
	}
	return netbsd.Sockaddr(m, netip.AddrPortFrom(a, ap.Port()))
}
