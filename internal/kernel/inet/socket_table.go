package inet

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"

	"rumptools/pkg/netbsd"
)

// socketTable has every socket of a stack, bound or not, and what packets need
// to find theirs.
//
// Its lock is taken before a socket's own. Packets arrive under no lock of a
// socket, so that a socket may send, and thereby receive, with none held.
type socketTable struct {
	mu sync.RWMutex
	// all are the sockets that lists show.
	all map[pcb]struct{}
	// raw4 and raw6 are the raw sockets, the newest first. The slices are
	// replaced, never changed.
	raw4, raw6 []*rawSocket
	// udp are the bound UDP sockets by local port, the newest first.
	udp map[uint16][]*udpSocket
	// tcp are the claims of TCP sockets to local ports.
	tcp map[uint16][]*tcpPort

	seq      atomic.Uint64
	udpStat  [netbsd.UDP_NSTATS]atomic.Uint64
	udp6Stat [netbsd.UDP6_NSTATS]atomic.Uint64
	ipID     atomic.Uint32
	icmp     icmpState
	params   protocolParams
}

// pcb is a socket in a list.
type pcb interface {
	// pcbList tells in which list it stands.
	pcbList() pcbList
	// pcbSeq is higher for a newer socket.
	pcbSeq() uint64
	// pcbPort is its local port, 0 for none.
	pcbPort() uint16
	// pcbInfo describes it. A socket without a protocol's control block
	// any more is not shown.
	pcbInfo() (info netbsd.KinfoPcb, ok bool)
}

// pcbList is one of the socket lists of sysctl(3).
type pcbList struct {
	family int32
	proto  int32 // IPPROTO_TCP, IPPROTO_UDP or IPPROTO_RAW
}

func (t *socketTable) init() {
	t.all = make(map[pcb]struct{})
	t.udp = make(map[uint16][]*udpSocket)
	t.tcp = make(map[uint16][]*tcpPort)
	t.params = newProtocolParams()
}

func (t *socketTable) nextSeq() uint64 { return t.seq.Add(1) }

// add makes a socket known.
func (t *socketTable) add(p pcb) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.all[p] = struct{}{}
	if r, ok := p.(*rawSocket); ok {
		list := t.rawList(r.family)
		*list = slices.Insert(slices.Clone(*list), 0, r)
	}
}

// remove forgets a socket.
func (t *socketTable) remove(p pcb) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.all, p)
	switch so := p.(type) {
	case *rawSocket:
		list := t.rawList(so.family)
		*list = slices.DeleteFunc(slices.Clone(*list), func(r *rawSocket) bool { return r == so })
	case *udpSocket:
		so.mu.Lock()
		so.closed = true // so that nobody binds it any more
		so.mu.Unlock()
		t.unbind(so)
	}
}

func (t *socketTable) rawList(family int32) *[]*rawSocket {
	if family == netbsd.AF_INET {
		return &t.raw4
	}
	return &t.raw6
}

// raw gives the raw sockets of a family, the newest first.
func (t *socketTable) raw(family int32) []*rawSocket {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return *t.rawList(family)
}

// list gives the sockets of a list, the newest first.
func (t *socketTable) list(which pcbList) []pcb {
	return newestFirst(t.unordered(which))
}

// listPort gives those that have a local port.
func (t *socketTable) listPort(which pcbList, port uint16) []pcb {
	return newestFirst(slices.DeleteFunc(t.unordered(which), func(p pcb) bool { return p.pcbPort() != port }))
}

func (t *socketTable) unordered(which pcbList) (list []pcb) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for p := range t.all {
		if p.pcbList() == which {
			list = append(list, p)
		}
	}
	return list
}

func newestFirst(list []pcb) []pcb {
	slices.SortFunc(list, func(a, b pcb) int { return cmp.Compare(b.pcbSeq(), a.pcbSeq()) })
	return list
}
