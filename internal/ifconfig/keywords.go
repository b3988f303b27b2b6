package ifconfig

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"

	"rumptools/pkg/netbsd"
)

// keyword reads the values of a parameter, whose name is word.
type keyword func(p *parser, word string) error

// keywords are the parameters that ifconfig(8) has and that make sense for a
// rump kernel's interfaces.
var keywords map[string]keyword

// keywordList are the keywords in alphabetical order, the negative ones after
// theirs.
func keywordList() []string {
	list := make([]string, 0, len(keywords))
	for k := range keywords {
		list = append(list, k)
	}
	trim := func(s string) string {
		if s[0] == '-' {
			return s[1:] + "-"
		}
		return s
	}
	slices.SortFunc(list, func(a, b string) int {
		if trim(a) < trim(b) {
			return -1
		}
		return 1
	})
	return list
}

func init() {
	keywords = map[string]keyword{
		"up":     flagKeyword(netbsd.IFF_UP, true),
		"down":   flagKeyword(netbsd.IFF_UP, false),
		"arp":    flagKeyword(netbsd.IFF_NOARP, false),
		"-arp":   flagKeyword(netbsd.IFF_NOARP, true),
		"debug":  flagKeyword(netbsd.IFF_DEBUG, true),
		"-debug": flagKeyword(netbsd.IFF_DEBUG, false),
		"link0":  flagKeyword(netbsd.IFF_LINK0, true),
		"-link0": flagKeyword(netbsd.IFF_LINK0, false),
		"link1":  flagKeyword(netbsd.IFF_LINK1, true),
		"-link1": flagKeyword(netbsd.IFF_LINK1, false),
		"link2":  flagKeyword(netbsd.IFF_LINK2, true),
		"-link2": flagKeyword(netbsd.IFF_LINK2, false),

		"mtu":        mtuKeyword,
		"metric":     metricKeyword,
		"linkstr":    linkstrKeyword,
		"-linkstr":   func(p *parser, _ string) error { p.add(unsetLinkstr{}); return nil },
		"media":      mediaKeyword,
		"preference": preferenceKeyword,

		"alias":  actionKeyword(addressAdd),
		"-alias": actionKeyword(addressRemove),
		"delete": actionKeyword(addressRemove),

		"netmask":     netmaskKeyword,
		"prefixlen":   prefixlenKeyword,
		"broadcast":   broadcastKeyword,
		"active":      activeKeyword,
		"anycast":     flag6Keyword(netbsd.IN6_IFF_ANYCAST, true),
		"-anycast":    flag6Keyword(netbsd.IN6_IFF_ANYCAST, false),
		"deprecated":  flag6Keyword(netbsd.IN6_IFF_DEPRECATED, true),
		"-deprecated": flag6Keyword(netbsd.IN6_IFF_DEPRECATED, false),
		"vltime":      lifetimeKeyword(func(a *addressChange) **uint32 { return &a.vltime }),
		"pltime":      lifetimeKeyword(func(a *addressChange) **uint32 { return &a.pltime }),
		"eui64":       eui64Keyword,

		"tunnel":       tunnelKeyword,
		"deletetunnel": func(p *parser, _ string) error { p.add(deleteTunnel{}); return nil },
		"vlan":         vlanKeyword,
		"vlanif":       vlanifKeyword,
		"-vlanif":      noVlanifKeyword,

		"trailers":  func(p *parser, _ string) error { p.add(trailers{}); return nil },
		"-trailers": func(p *parser, _ string) error { p.add(trailers{}); return nil },
	}
}

// refused are the parameters that ifconfig(8) has and this program has not,
// and why.
var refused = map[string]string{}

func init() {
	for why, words := range map[string][]string{
		"details of media are not supported; media takes a type": {
			"mediaopt", "-mediaopt", "mode", "instance", "inst",
		},
		"offload capabilities are not supported": {
			"ip4csum", "ip4csum-tx", "ip4csum-rx", "tcp4csum", "tcp4csum-tx", "tcp4csum-rx", "udp4csum", "udp4csum-tx", "udp4csum-rx",
			"tcp6csum", "tcp6csum-tx", "tcp6csum-rx", "udp6csum", "udp6csum-tx", "udp6csum-rx", "tso4", "tso6",
			"-ip4csum", "-ip4csum-tx", "-ip4csum-rx", "-tcp4csum", "-tcp4csum-tx", "-tcp4csum-rx", "-udp4csum", "-udp4csum-tx", "-udp4csum-rx",
			"-tcp6csum", "-tcp6csum-tx", "-tcp6csum-rx", "-udp6csum", "-udp6csum-tx", "-udp6csum-rx", "-tso4", "-tso6",
		},
		"agr(4) is not supported":    {"agrport", "-agrport"},
		"carp(4) is not supported":   {"carpdev", "-carpdev", "vhid", "advbase", "advskew", "pass", "state"},
		"pfsync(4) is not supported": {"syncdev", "-syncdev", "syncpeer", "-syncpeer", "maxupd"},
		"wireless interfaces are not supported": {
			"ssid", "nwid", "nwkey", "-nwkey", "bssid", "-bssid", "chan", "-chan", "powersave", "-powersave", "powersavesleep",
			"hidessid", "-hidessid", "apbridge", "-apbridge", "frag", "-frag", "rts", "list", "scan", "ap", "-ap",
		},
		"address family not supported":            {"atalk", "iso", "ns", "mpls"},
		"not supported":                           {"range", "phase", "ipdst", "nsellength"},
		"no such parameter of NetBSD's: see link": {"lladdr"},
	} {
		for _, w := range words {
			refused[w] = why
		}
	}
}

func (p *parser) add(o op) { p.cmd.ops = append(p.cmd.ops, o) }

// value takes the value of a parameter.
func (p *parser) value(name string) (string, error) {
	v, ok := p.next()
	if !ok {
		return "", fmt.Errorf("%s: value missing", name)
	}
	return v, nil
}

// integer takes a value that is a decimal integer, or with base 0 one in C's
// notation.
func (p *parser) integer(name string, base int, lowest, highest int64) (int64, error) {
	v, err := p.value(name)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(v, base, 64)
	if err != nil || n < lowest || n > highest {
		return 0, badValue(name, v, fmt.Sprintf("%d to %d", lowest, highest))
	}
	return n, nil
}

func flagKeyword(flag uint16, set bool) keyword {
	return func(p *parser, word string) error {
		p.add(setFlag{flag, set, word})
		return nil
	}
}

func mtuKeyword(p *parser, word string) error {
	n, err := p.integer(word, 10, 0, math.MaxInt32)
	p.add(setMTU(n))
	return err
}

func metricKeyword(p *parser, word string) error {
	n, err := p.integer(word, 10, math.MinInt32, math.MaxInt32)
	p.add(setMetric(n))
	return err
}

// maxLinkstr is the longest path that shmif(4) takes, without its NUL.
const maxLinkstr = 1023

func linkstrKeyword(p *parser, word string) error {
	v, err := p.value(word)
	if err != nil {
		return err
	}
	if v == "" || len(v) > maxLinkstr {
		return badValue(word, v, fmt.Sprintf("1 to %d bytes", maxLinkstr))
	}
	p.add(setLinkstr(v))
	return nil
}

func mediaKeyword(p *parser, word string) error {
	if p.cmd.media != "" {
		return fmt.Errorf("media is given twice")
	}
	v, err := p.value(word)
	if err == nil && !knownMedia(v) {
		err = badValue(word, v, "a media type, as none, auto or 100baseTX")
	}
	p.cmd.media = v
	return err
}

func preferenceKeyword(p *parser, word string) error {
	n, err := p.integer(word, 10, math.MinInt16, math.MaxInt16)
	v := int16(n)
	p.cmd.preference = &v
	p.need = append(p.need, word)
	return err
}

func actionKeyword(action addressAction) keyword {
	return func(p *parser, word string) error {
		if p.cmd.address.action != addressNone {
			return fmt.Errorf("%s: only one of alias, -alias and delete can be given, once", word)
		}
		p.cmd.address.action = action
		return nil
	}
}

func netmaskKeyword(p *parser, word string) error {
	v, err := p.value(word)
	if err != nil {
		return err
	}
	a, err := p.netmask(v)
	if err != nil {
		return badValue(word, v, "an address or a network's name")
	}
	p.haveMask = true
	p.need = append(p.need, word)
	p.cmd.address.masks = append(p.cmd.address.masks, mask{addr: a, prefix: -1})
	return nil
}

func prefixlenKeyword(p *parser, word string) error {
	n, err := p.integer(word, 10, 0, 128)
	p.need = append(p.need, word)
	p.cmd.address.masks = append(p.cmd.address.masks, mask{prefix: int(n)})
	return err
}

func broadcastKeyword(p *parser, word string) error {
	v, err := p.value(word)
	if err != nil {
		return err
	}
	a, err := p.address(v, false)
	if err != nil || !a.addr.IsValid() {
		return badValue(word, v, "an address")
	}
	p.haveBroadcast = true
	p.need = append(p.need, word)
	p.cmd.address.broadcast = a.addr
	return nil
}

func activeKeyword(p *parser, word string) error {
	p.need = append(p.need, word)
	p.cmd.address.active = true
	return nil
}

func flag6Keyword(flag int32, set bool) keyword {
	return func(p *parser, word string) error {
		p.need, p.need6 = append(p.need, word), append(p.need6, word)
		p.cmd.address.flags6 &^= flag
		if set {
			p.cmd.address.flags6 |= flag
		}
		return nil
	}
}

func lifetimeKeyword(field func(*addressChange) **uint32) keyword {
	return func(p *parser, word string) error {
		n, err := p.integer(word, 0, 0, math.MaxUint32)
		v := uint32(n)
		*field(&p.cmd.address) = &v
		p.need, p.need6 = append(p.need, word), append(p.need6, word)
		return err
	}
}

func eui64Keyword(p *parser, word string) error {
	p.need, p.need6 = append(p.need, word), append(p.need6, word)
	p.cmd.address.eui64 = true
	return nil
}

func tunnelKeyword(p *parser, word string) error {
	var ends [2]netip.AddrPort
	for i := range ends {
		v, err := p.value(word)
		if err != nil {
			return err
		}
		if ends[i], err = p.addressPort(v); err != nil {
			return badValue(word, v, "an address, or ADDRESS,PORT")
		}
	}
	src, dst := ends[0].Addr(), ends[1].Addr()
	switch {
	case src.BitLen() != dst.BitLen():
		return fmt.Errorf("source and destination address families do not match")
	case src.Zone() != dst.Zone():
		return fmt.Errorf("scope mismatch")
	case src.Is6() && (src.IsMulticast() || dst.IsMulticast()):
		return fmt.Errorf("tunnel src/dst is multicast")
	}
	p.add(setTunnel{ends[0], ends[1]})
	return nil
}

// vlanInterface checks that the interface is one of vlan(4).
func (p *parser) vlanInterface(word string) error {
	if !isVlan(p.cmd.Interface) {
		return fmt.Errorf("%s: valid only with vlan(4) interfaces", word)
	}
	return nil
}

func vlanKeyword(p *parser, word string) error {
	if err := p.vlanInterface(word); err != nil {
		return err
	}
	n, err := p.integer(word, 10, 0, math.MaxUint16)
	tag := uint16(n)
	p.vlanTag = &tag
	return err
}

func vlanifKeyword(p *parser, word string) error {
	if err := p.vlanInterface(word); err != nil {
		return err
	}
	v, err := p.value(word)
	if err != nil {
		return err
	}
	if n := len(v); n == 0 || n >= netbsd.IFNAMSIZ {
		return badValue(word, v, "an interface")
	}
	if p.vlanTag == nil {
		return fmt.Errorf("vlanif: vlan must come before")
	}
	p.haveVlanif = true
	p.add(setVlan{*p.vlanTag, v})
	return nil
}

func noVlanifKeyword(p *parser, word string) error {
	if err := p.vlanInterface(word); err != nil {
		return err
	}
	// The parent's name may follow; NetBSD's manual says so and its program
	// wants none.
	if len(p.words) > 0 && keywords[p.words[0]] == nil && !looksLikeAddress(p.words[0]) {
		p.next()
	}
	p.add(setVlan{})
	return nil
}
