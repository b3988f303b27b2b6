//go:build amd64 || arm64

package hijack

import (
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/linuxsock"
	"rumptools/internal/hijack/netview"
	"rumptools/internal/owners"
)

// plainAddr is an address as both who lists sockets and who has them say it.
func plainAddr(ap netip.AddrPort) netip.AddrPort {
	addr := ap.Addr().Unmap().WithZone("")
	if addr.IsUnspecified() {
		addr = netip.Addr{}
	}
	return netip.AddrPortFrom(addr, ap.Port())
}

// ownerOf tells programs whose socket of the kernel's is theirs, or another
// supervisor's programs'.
func (s *supervisor) ownerOf(k *netview.Socket) netview.Owner {
	protocol, local := int(k.Protocol), k.Local
	if protocol == unix.IPPROTO_RAW {
		// Linux shows it as the port.
		protocol, local = int(local.Port()), netip.AddrPortFrom(local.Addr(), 0)
	}
	for _, o := range s.known() {
		if o.Protocol == protocolName(protocol) && plainAddr(o.Local) == plainAddr(local) && plainAddr(o.Remote) == plainAddr(k.Remote) {
			return netview.Owner{Inode: o.Inode, UID: o.UID, Backlog: uint32(o.Backlog), Unread: uint32(max(o.Unread, 0))}
		}
	}
	return netview.Owner{}
}

// knownFor is how long an answer holds: a list of sockets asks about each.
const knownFor = 20 * time.Millisecond

// known are the sockets that all supervisors know.
func (s *supervisor) known() []owners.Socket {
	s.knownMu.Lock()
	defer s.knownMu.Unlock()
	if s.listOwners != nil && time.Since(s.knownAt) > knownFor {
		// What cannot be asked does not count.
		s.knownNow, _ = s.listOwners(s.ctx, s.url)
		s.knownAt = time.Now()
	}
	return s.knownNow
}

func protocolName(protocol int) string {
	switch protocol {
	case unix.IPPROTO_TCP:
		return "tcp"
	case unix.IPPROTO_UDP:
		return "udp"
	case unix.IPPROTO_ICMP, unix.IPPROTO_ICMPV6:
		return "icmp"
	}
	return "ip"
}

// all are the sockets of this supervisor's programs.
func (s *supervisor) all() []*socket {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Values(s.sockets))
}

// unread is what waits in S, as [owners.Socket] has it.
func (x *socket) unread() (n int) {
	x.mu.Lock()
	l, held := x.listener, x.held
	if l != nil {
		n = l.queued
	}
	x.mu.Unlock()
	if l != nil {
		return n
	}
	// A copy that this process has meanwhile is not to be taken for the program's.
	x.s.giving.RLock()
	defer x.s.giving.RUnlock()
	fd, err := x.s.t.borrow(held.tid, held.num)
	if err != nil {
		return 0
	}
	defer unix.Close(fd)
	switch {
	case !x.is(fd):
	case x.opts.Type == unix.SOCK_STREAM:
		n, _ = unix.IoctlGetInt(fd, unix.SIOCINQ)
	default:
		n, _ = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MEMINFO) // the first of its numbers, SK_MEMINFO_RMEM_ALLOC
	}
	return n
}

// owners lists the sockets of this supervisor's programs that have an address.
func (s *supervisor) owners() []owners.Socket {
	list := []owners.Socket{}
	var others map[string]holder // looked for once
	for _, x := range s.all() {
		x.mu.Lock()
		ks, peer, held, inode, backlog := x.ks, x.peer, x.held, x.inode, 0
		if x.listener != nil {
			backlog = x.listener.backlog
		}
		x.mu.Unlock()
		if ks == nil {
			continue
		}
		name, err := ks.Getsockname()
		if err != nil {
			continue
		}
		pid, err := processOf(held.tid)
		if err != nil {
			// It has ended, but another may have the socket, too.
			if others == nil {
				others = holders()
			}
			other, ok := others[socketLink(inode)]
			if !ok {
				continue
			}
			x.seen(other.tid, other.num)
			pid = int(other.tid)
		}
		var st unix.Stat_t
		dir := fmt.Sprintf("/proc/%d", pid)
		comm, err := os.ReadFile(dir + "/comm")
		if err != nil || unix.Stat(dir, &st) != nil {
			continue
		}
		o := owners.Socket{
			Protocol: protocolName(x.opts.Protocol), PID: pid, Program: strings.TrimSpace(string(comm)),
			Inode: inode, UID: st.Uid, Backlog: backlog, Unread: x.unread(),
		}
		o.Local, _ = linuxsock.Addr(x.linuxAddr(name))
		o.Remote, _ = linuxsock.Addr(peer)
		list = append(list, o)
	}
	return list
}
