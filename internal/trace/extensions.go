package trace

import (
	"strings"

	"rumptools/pkg/sysproxy"
)

// plainBanner takes the extensions out of the banner that a kernel's bytes begin with:
// what the proxy is to show are the protocol's own frames, and descriptors of the host
// would not come through.
type plainBanner struct {
	seen int  // bytes
	skip bool // the blank after the machine has come
	done bool // the banner has ended, or there is none
}

// bannerStart is how a banner begins.
const bannerStart = "RUMPSP-"

// pass gives what of the kernel's next bytes is to be passed on, in b's memory.
func (p *plainBanner) pass(b []byte) []byte {
	if p.done {
		return b
	}
	kept := b[:0]
	for i, c := range b {
		switch {
		case p.seen < len(bannerStart) && !strings.HasPrefix(bannerStart[p.seen:], string(c)),
			p.seen == sysproxy.MaxBanner, c == '\n':
			p.done = true
			return append(kept, b[i:]...)
		case c == ' ':
			p.skip = true
		}
		p.seen++
		if !p.skip {
			kept = append(kept, c)
		}
	}
	return kept
}
