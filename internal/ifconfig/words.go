package ifconfig

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"rumptools/internal/netdb"
	"rumptools/pkg/netbsd"
)

// Parse reads the words of a command line from the interface on: an
// interface, "create" or "destroy", an address family, and then addresses and
// parameters. Everything that can be wrong without a kernel is found here,
// before anything is changed. Names of hosts and networks are looked up in db.
func Parse(words []string, db *netdb.DB) (*Command, error) {
	if len(words) == 0 {
		return nil, fmt.Errorf("no interface given")
	}
	p := &parser{words: words[1:], db: db, cmd: &Command{Interface: words[0]}}
	if n := len(words[0]); n == 0 || n >= netbsd.IFNAMSIZ {
		return nil, badValue("interface", words[0], fmt.Sprintf("1 to %d bytes", netbsd.IFNAMSIZ-1))
	}
	if err := p.command(); err != nil {
		return nil, err
	}
	return p.cmd, nil
}

// parser is the state of Parse.
type parser struct {
	words []string // those that are still to come
	db    *netdb.DB
	cmd   *Command

	// What an address without a keyword means depends on those before it.
	haveAddress, haveMask, haveBroadcast bool
	prefix                               *mask // of ADDRESS/LEN
	vlanTag                              *uint16
	haveVlanif                           bool
	// need are the keywords that make sense only with an address, and only
	// need6 those that make sense only with one of inet6.
	need, need6 []string
}

// next takes a word.
func (p *parser) next() (string, bool) {
	if len(p.words) == 0 {
		return "", false
	}
	w := p.words[0]
	p.words = p.words[1:]
	return w, true
}

// peekIs takes the next word if it is the given one.
func (p *parser) peekIs(word string) bool {
	if len(p.words) == 0 || p.words[0] != word {
		return false
	}
	p.words = p.words[1:]
	return true
}

func (p *parser) command() error {
	switch {
	case p.peekIs("destroy"):
		p.cmd.Destroy = true
		if w, ok := p.next(); ok {
			return fmt.Errorf("unexpected word %q after destroy", w)
		}
		return nil
	case p.peekIs("create"):
		p.cmd.Create = true
	}
	if len(p.words) > 0 {
		if family, ok := families[p.words[0]]; ok {
			p.cmd.Family = family
			p.words = p.words[1:]
		}
	}
	if len(p.words) == 0 && !p.cmd.Create {
		p.cmd.Show = true
		return nil
	}
	for {
		w, ok := p.next()
		if !ok {
			return p.finish()
		}
		if err := p.word(w); err != nil {
			return err
		}
	}
}

// families are the address families by their names.
var families = map[string]Family{"inet": Inet, "inet6": Inet6, "link": Link}

// word reads a parameter and its values, or an address.
func (p *parser) word(w string) error {
	if w == "" {
		return fmt.Errorf("empty word")
	}
	if k, ok := keywords[w]; ok {
		return k(p, w)
	}
	if why, ok := refused[w]; ok {
		return fmt.Errorf("%s: %s", w, why)
	}
	switch {
	case w == "create" || w == "destroy":
		return fmt.Errorf("%s must come right after the interface", w)
	case families[w] != 0:
		return fmt.Errorf("%s: the address family must come before addresses and parameters", w)
	}
	return p.positional(w)
}

// positional reads an address without a keyword: the first is the interface's,
// the second the peer's or the netmask, the third the broadcast address.
func (p *parser) positional(w string) error {
	a, err := p.address(w, !p.haveAddress)
	if err != nil {
		return p.unknown(w, err)
	}
	switch {
	case !p.haveAddress:
		p.haveAddress = true
		p.cmd.address.text = w
		p.cmd.address.addr, p.cmd.address.link = a.addr, a.link
		if a.prefix >= 0 {
			p.prefix = &mask{prefix: a.prefix}
		}
	case a.link != nil:
		return fmt.Errorf("unexpected address %q: one is given", w)
	case !p.haveMask:
		p.haveMask = true
		p.cmd.address.masks = append(p.cmd.address.masks, mask{addr: a.addr, orPeer: true, prefix: -1})
	case !p.haveBroadcast:
		p.haveBroadcast = true
		p.cmd.address.broadcast = a.addr
	default:
		return fmt.Errorf("unexpected address %q: three are given", w)
	}
	return nil
}

// unknown is the error for a word that is neither a parameter nor an address.
func (p *parser) unknown(w string, err error) error {
	if looksLikeAddress(w) {
		return err
	}
	if near := nearest(w); near != "" {
		return fmt.Errorf("unknown word %q: did you mean %s?", w, near)
	}
	return fmt.Errorf("unknown word %q: expected an address or one of %s", w, strings.Join(keywordList(), " "))
}

// looksLikeAddress tells a mistyped address from a mistyped parameter.
func looksLikeAddress(w string) bool {
	return strings.ContainsAny(w, ":/") || strings.Count(w, ".") > 1 || w[0] >= '0' && w[0] <= '9'
}

// nearest returns the keyword that is one slip of the finger from w, or "".
func nearest(w string) string {
	for _, k := range keywordList() {
		if oneEdit(w, k) {
			return k
		}
	}
	return ""
}

// oneEdit tells whether a becomes b by adding, leaving out, changing or
// swapping one character.
func oneEdit(a, b string) bool {
	if len(a) > len(b) {
		a, b = b, a
	}
	i := 0
	for i < len(a) && a[i] == b[i] {
		i++
	}
	switch len(b) - len(a) {
	case 1:
		return a[i:] == b[i+1:]
	case 0:
		if i == len(a) {
			return false
		}
		swapped := i+1 < len(a) && a[i] == b[i+1] && a[i+1] == b[i] && a[i+2:] == b[i+2:]
		return swapped || a[i+1:] == b[i+1:]
	}
	return false
}

// finish checks what can be checked only when all words are known.
func (p *parser) finish() error {
	c := p.cmd
	a := &c.address
	p.family()
	if p.vlanTag != nil && !p.haveVlanif {
		return fmt.Errorf("vlan: vlanif must be given as well")
	}
	if len(p.need6) > 0 && c.Family != Inet6 {
		return fmt.Errorf("%s: only for addresses of inet6", p.need6[0])
	}
	if a.active && c.Family != Link {
		return fmt.Errorf("active: only for addresses of link")
	}
	if !p.haveAddress {
		if len(p.need) > 0 {
			return fmt.Errorf("%s: no address given", p.need[0])
		}
		if a.action == addressRemove {
			a.action = addressRemoveFirst
			if c.Family == Link {
				return fmt.Errorf("no address given to delete")
			}
		} else if a.action == addressAdd {
			return fmt.Errorf("alias: no address given")
		}
		return nil
	}
	if a.action == addressNone {
		a.action = addressReplace
		if c.Family == Link {
			// Link-level addresses are only ever added.
			a.action = addressAdd
		}
	}
	return p.masks()
}

// family settles the address's family, from the address when it is not given.
func (p *parser) family() {
	if c := p.cmd; c.Family == 0 {
		c.Family = Inet
		if c.address.addr.Is6() {
			c.Family = Inet6
		}
	}
}

// masks checks the netmasks against the address and puts them in order: what
// is said of it later goes before what was said earlier, and the address's own
// /LEN comes first.
func (p *parser) masks() error {
	a := &p.cmd.address
	if p.prefix != nil {
		a.masks = slices.Insert(a.masks, 0, *p.prefix)
	}
	bits := 32
	if p.cmd.Family == Inet6 {
		bits = 128
	}
	for i := range a.masks {
		m := &a.masks[i]
		if p.cmd.Family == Link {
			return fmt.Errorf("netmask not supported")
		}
		switch {
		case m.prefix > bits:
			return badValue("prefixlen", strconv.Itoa(m.prefix), fmt.Sprintf("0 to %d", bits))
		case m.prefix >= 0:
			m.addr = prefixMask(p.cmd.Family, m.prefix)
		case m.addr.BitLen() != bits:
			return badValue("netmask", m.addr.String(), "an address of the family "+p.cmd.Family.String())
		}
	}
	if a.broadcast.IsValid() && !a.broadcast.Is4() {
		return badValue("broadcast", a.broadcast.String(), "an address of the family inet")
	}
	if a.broadcast.IsValid() && p.cmd.Family != Inet {
		return fmt.Errorf("broadcast: only for addresses of inet")
	}
	if a.eui64 {
		if b := a.addr.As16(); [8]byte(b[8:]) != [8]byte{} {
			return badValue("address", a.text, "an address whose lower 64 bits are zero, for eui64")
		}
	}
	return nil
}

func badValue(name, value, want string) error {
	return fmt.Errorf("bad value for %s: %q: expected %s", name, value, want)
}
