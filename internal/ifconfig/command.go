// Package ifconfig is what ifconfig(8) does, for the interfaces of a rump
// kernel: [Parse] makes a [Command] of the words of a command line, without a
// kernel; [Apply] carries it out; [List] takes a snapshot of interfaces, which
// [WriteText] prints as ifconfig does and encoding/json as JSON.
package ifconfig

import (
	"fmt"
	"net/netip"
	"strings"

	"rumptools/pkg/netbsd"
)

// Family is an address family of an interface's addresses; the zero Family is
// none in particular.
type Family int32

// The families that interfaces have addresses of.
const (
	Inet  Family = netbsd.AF_INET
	Inet6 Family = netbsd.AF_INET6
	Link  Family = netbsd.AF_LINK
)

// String is the family's name.
func (f Family) String() string {
	switch f {
	case Inet:
		return "inet"
	case Inet6:
		return "inet6"
	case Link:
		return "link"
	}
	return ""
}

// Command is what is to be done to an interface.
type Command struct {
	Interface string
	Create    bool
	Destroy   bool
	// Show says that nothing is to be done but to show the interface.
	Show bool
	// Family is the family that was given, or that the address has.
	Family Family

	ops        []op // in the order that they were given in
	media      string
	address    addressChange
	preference *int16
}

// addressAction says what becomes of the address.
type addressAction int

const (
	addressNone addressAction = iota
	addressReplace
	addressAdd
	addressRemove
	addressRemoveFirst // the interface's first address
)

// addressChange is a change to an interface's addresses.
type addressChange struct {
	action    addressAction
	text      string // as it was given
	addr      netip.Addr
	link      []byte
	masks     []mask // the last that says something wins
	broadcast netip.Addr
	active    bool // of link: use the address

	// Of inet6:
	flags6         int32
	vltime, pltime *uint32
	eui64          bool
}

// mask is a netmask, as an address or as a length.
type mask struct {
	addr   netip.Addr
	prefix int // -1 when it is given as an address
	// orPeer says that it is the second address of the line: a netmask on
	// a broadcast interface, and the peer's address on others.
	orPeer bool
}

// changesAddress tells whether the command has something to do with an
// address.
func (c *Command) changesAddress() bool { return c.address.action != addressNone }

// String describes the command, for tests and traces.
func (c *Command) String() string {
	var parts []string
	add := func(format string, args ...any) { parts = append(parts, fmt.Sprintf(format, args...)) }
	switch {
	case c.Destroy:
		add("destroy")
	case c.Create:
		add("create")
	case c.Show && c.Family != 0:
		add("show %s", c.Family)
	case c.Show:
		add("show")
	}
	for _, o := range c.ops {
		add("%s", o)
	}
	if c.media != "" {
		add("media %s", c.media)
	}
	if c.changesAddress() {
		add("%s", c.addressString())
	}
	if c.preference != nil {
		add("preference %d", *c.preference)
	}
	return c.Interface + ": " + strings.Join(parts, "; ")
}

func (c *Command) addressString() string {
	a := &c.address
	s := map[addressAction]string{
		addressReplace: "replace", addressAdd: "add", addressRemove: "remove", addressRemoveFirst: "remove first",
	}[a.action] + " " + c.Family.String()
	if a.link != nil {
		s += " " + linkString(a.link)
	} else if a.addr.IsValid() {
		s += " " + a.addr.String()
	}
	for _, m := range a.masks {
		if m.orPeer {
			s += " mask-or-peer"
		} else {
			s += " mask"
		}
		s += " " + m.addr.String()
	}
	if a.broadcast.IsValid() {
		s += " broadcast " + a.broadcast.String()
	}
	if a.active {
		s += " active"
	}
	if a.flags6 != 0 {
		s += fmt.Sprintf(" flags6 %#x", a.flags6)
	}
	if a.vltime != nil {
		s += fmt.Sprintf(" vltime %d", *a.vltime)
	}
	if a.pltime != nil {
		s += fmt.Sprintf(" pltime %d", *a.pltime)
	}
	if a.eui64 {
		s += " eui64"
	}
	return s
}

// linkString is a link-level address in hexadecimal.
func linkString(b []byte) string {
	return strings.ReplaceAll(fmt.Sprintf("% x", b), " ", ":")
}
