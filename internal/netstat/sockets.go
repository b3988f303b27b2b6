package netstat

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"net/netip"
	"slices"
	"strings"

	"rumptools/internal/owners"
	"rumptools/internal/rtsock"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/sysproxy"
)

// Socket is a socket of the Internet families, as JSON has it.
type Socket struct {
	Protocol  string   `json:"protocol"` // "tcp", "udp", "tcp6" or "udp6"
	Local     Endpoint `json:"local"`
	Foreign   Endpoint `json:"foreign"`
	State     string   `json:"state,omitempty"` // of TCP
	RecvQueue uint64   `json:"recvQueue"`       // bytes, as the next
	SendQueue uint64   `json:"sendQueue"`
	// Pair is set when the bytes go past the kernel, from one program of this host to
	// the other (net.inet.tcp.pair of rumpd).
	Pair bool `json:"pair,omitempty"`
	// Owner is the program that has the socket, where that is known.
	Owner *Owner `json:"owner,omitempty"`

	anonymous bool // the kernel chose the local port
	tstate    int32
}

// Owner is a program of this host that has a socket in the kernel.
type Owner struct {
	PID     int    `json:"pid"`
	Program string `json:"program"`
}

// AddOwners fills in who has the sockets, and adds what these programs have not read yet of what the
// kernel has given them. The kernel does not know; the list is what supervisors say (package owners).
func AddOwners(sockets []Socket, list []owners.Socket) {
	type key struct {
		protocol      string
		local, remote netip.AddrPort
	}
	plain := func(addr netip.Addr, port uint16) netip.AddrPort {
		addr = addr.Unmap().WithZone("")
		if addr.IsUnspecified() {
			// A socket for both versions of IP.
			addr = netip.Addr{}
		}
		return netip.AddrPortFrom(addr, port)
	}
	known := make(map[key]*owners.Socket)
	for i := range list {
		s := &list[i]
		known[key{s.Protocol, plain(s.Local.Addr(), s.Local.Port()), plain(s.Remote.Addr(), s.Remote.Port())}] = s
	}
	for i := range sockets {
		s := &sockets[i]
		o := known[key{
			strings.TrimSuffix(s.Protocol, "6"), plain(s.Local.addr, s.Local.Port), plain(s.Foreign.addr, s.Foreign.Port),
		}]
		if o == nil {
			continue
		}
		s.Owner = &Owner{o.PID, o.Program}
		s.RecvQueue += uint64(max(o.Unread, 0))
	}
}

// Endpoint is an address and a port; the unspecified address is any, and the
// port 0 is none.
type Endpoint struct {
	Address string `json:"address"`
	Port    uint16 `json:"port"`

	addr  netip.Addr
	scope uint32 // the interface's number, of link-local addresses
}

// LocalSocket is a socket of the local family.
type LocalSocket struct {
	Type      string `json:"type"` // "stream", "dgram" or "seqpacket"
	Path      string `json:"path,omitempty"`
	Peer      string `json:"peer,omitempty"` // the path of the socket that it is connected to
	RecvQueue uint64 `json:"recvQueue"`      // bytes, as the next
	SendQueue uint64 `json:"sendQueue"`

	pcb netbsd.KinfoPcb
}

// inpAnonPort is INP_ANONPORT of <netinet/in_pcb.h>, in ki_pflags.
const inpAnonPort = 0x0040

// The protocols that have sockets, in the order in which they are shown.
var (
	InetProtocols  = []string{"tcp", "udp"}
	Inet6Protocols = []string{"tcp6", "udp6"}
)

// Pcbs reads a list of sockets as the kernel has it: the node's name is one of
// net.inet.tcp.pcblist and its like. A kernel that has not the protocol gives
// ENOENT.
func Pcbs(ctx context.Context, k Kernel, name string) ([]netbsd.KinfoPcb, error) {
	b, err := pcbList(ctx, k, name, netbsd.PCB_ALL, 0)
	return parsePcbs(k.Machine(), b), err
}

// PcbsAt is [Pcbs] for the sockets of TCP or UDP that have a local port.
func PcbsAt(ctx context.Context, k Kernel, name string, port uint16) ([]netbsd.KinfoPcb, error) {
	b, err := pcbList(ctx, k, name, sysproxy.PcbLocalPort, int32(port))
	m := k.Machine()
	size, src := netbsd.Sizeof(m, netbsd.KinfoPcb{}), netbsd.Offsetof(m, netbsd.KinfoPcb{}, "ki_s")
	// NetBSD's own kernel lists all.
	var have []byte
	for ; len(b) >= size; b = b[size:] {
		if binary.BigEndian.Uint16(b[src+2:]) == port {
			have = append(have, b[:size]...)
		}
	}
	return parsePcbs(m, have), err
}

// pcbList reads a list of sockets, or of those that which and arg choose.
func pcbList(ctx context.Context, k Kernel, name string, which, arg int32) ([]byte, error) {
	mib, _, err := k.SysctlNode(ctx, name)
	if err != nil {
		return nil, err
	}
	// What follows the node's own path chooses sockets, which NetBSD's kernel
	// does not do yet, and says how long the entries are that the program
	// knows, and how many it wants.
	size := netbsd.Sizeof(k.Machine(), netbsd.KinfoPcb{})
	b, err := k.SysctlBytes(ctx, append(mib, which, arg, int32(size), math.MaxInt32))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return b, nil
}

// parsePcbs reads the entries of a list. What is left after the last whole one
// is no entry.
func parsePcbs(m *netbsd.Machine, b []byte) []netbsd.KinfoPcb {
	size := netbsd.Sizeof(m, netbsd.KinfoPcb{})
	list := make([]netbsd.KinfoPcb, 0, len(b)/size)
	for ; len(b) >= size; b = b[size:] {
		var pcb netbsd.KinfoPcb
		if err := netbsd.Unmarshal(m, b, &pcb); err != nil {
			break // it is long enough
		}
		list = append(list, pcb)
	}
	return list
}

// ListSockets lists the sockets of a protocol, in the kernel's order: those
// that are connected, or all.
func ListSockets(ctx context.Context, k Kernel, protocol string, all bool) ([]Socket, error) {
	family := "inet"
	if protocol[len(protocol)-1] == '6' {
		family = "inet6"
	}
	list, err := Pcbs(ctx, k, "net."+family+"."+protocol+".pcblist")
	if missing(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var sockets []Socket
	scoped := false
	for i := range list {
		s := newSocket(k.Machine(), protocol, &list[i])
		if all || connected(s.Foreign.addr) {
			sockets = append(sockets, s)
			scoped = scoped || s.Local.scope != 0 || s.Foreign.scope != 0
		}
	}
	if scoped {
		interfaces, err := rtsock.Interfaces(ctx, k)
		if err != nil {
			return nil, fmt.Errorf("interface list: %w", err)
		}
		text := addressText{interfaces: rtsock.Names(interfaces)}
		for i := range sockets {
			for _, e := range []*Endpoint{&sockets[i].Local, &sockets[i].Foreign} {
				e.Address = e.addr.WithZone(text.zone(e.scope)).String()
			}
		}
	}
	return sockets, nil
}

func newSocket(m *netbsd.Machine, protocol string, pcb *netbsd.KinfoPcb) Socket {
	family := uint8(netbsd.AF_INET)
	if protocol == "tcp6" || protocol == "udp6" {
		family = netbsd.AF_INET6
	}
	s := Socket{
		Protocol: protocol,
		Local:    endpointOf(m, family, pcb.Src[:]), Foreign: endpointOf(m, family, pcb.Dst[:]),
		RecvQueue: pcb.Rcvq, SendQueue: pcb.Sndq,
		anonymous: pcb.Pflags&inpAnonPort != 0,
		tstate:    pcb.Tstate,
	}
	if protocol == "tcp" || protocol == "tcp6" {
		s.State = tcpState(pcb.Tstate)
		s.Pair = pcb.Tflags&sysproxy.PcbPair != 0
	}
	return s
}

// endpointOf reads an address, of which the kernel may not have set the
// length and the family.
func endpointOf(m *netbsd.Machine, family uint8, b []byte) Endpoint {
	sized := append([]byte(nil), b[:netbsd.SizeofSockaddrIn6]...)
	if family == netbsd.AF_INET {
		sized = sized[:netbsd.SizeofSockaddrIn]
	}
	sized[0], sized[1] = byte(len(sized)), family
	sa, err := netbsd.ParseSockaddr(m, sized)
	if err != nil {
		return Endpoint{} // it has the right length
	}
	addr, scope := linkScope(sa)
	return Endpoint{Address: addr.String(), Port: sa.Port(), addr: addr, scope: scope}
}

// connected tells whether a foreign address is one. Of an IPv4 address
// netstat(1) looks at the part that is not the network's, by the classes that
// networks once had.
func connected(a netip.Addr) bool {
	if !a.Is4() {
		return a.IsValid() && !a.IsUnspecified()
	}
	b := a.As4()
	switch {
	case b[0] < 128:
		return b[1]|b[2]|b[3] != 0
	case b[0] < 192:
		return b[2]|b[3] != 0
	}
	return b[3] != 0
}

// tcpStates are the states of a connection, by TCPS_*.
var tcpStates = []string{
	"CLOSED", "LISTEN", "SYN_SENT", "SYN_RCVD", "ESTABLISHED", "CLOSE_WAIT",
	"FIN_WAIT_1", "CLOSING", "LAST_ACK", "FIN_WAIT_2", "TIME_WAIT",
}

func tcpState(state int32) string {
	if state < 0 || int(state) >= len(tcpStates) {
		return fmt.Sprint(state)
	}
	return tcpStates[state]
}

// WriteSockets prints sockets of one Internet family as netstat does, or
// nothing when there are none. All says that those without connection are
// among them. When the owner of one is known there is a column more.
func WriteSockets(w io.Writer, sockets []Socket, all bool, names Names) error {
	if len(sockets) == 0 {
		return nil
	}
	b := bufio.NewWriter(w)
	title, state := "Active Internet connections", "State"
	if sockets[0].Foreign.addr.Is6() {
		title, state = "Active Internet6 connections", "(state)"
	}
	if all {
		title += " (including servers)"
	}
	fmt.Fprintf(b, "%s\n%-5s %-6s %-6s  %-22s %-22s ", title, "Proto", "Recv-Q", "Send-Q", "Local Address", "Foreign Address")
	owned := slices.ContainsFunc(sockets, func(s Socket) bool { return s.Owner != nil })
	if owned {
		fmt.Fprintf(b, "%-*s %s\n", stateWidth, state, "PID/Program")
	} else {
		fmt.Fprintln(b, state)
	}
	for i := range sockets {
		s := &sockets[i]
		// A port that the kernel chose has no meaning.
		local := names
		local.NumericPorts = local.NumericPorts || s.anonymous && s.Local.addr.Is4()
		fmt.Fprintf(b, "%-5.5s %6d %6d  %s %s", s.Protocol, s.RecvQueue, s.SendQueue,
			local.endpoint(&s.Local, s.Protocol), names.endpoint(&s.Foreign, s.Protocol))
		switch {
		case s.Owner != nil:
			fmt.Fprintf(b, " %-*s %d/%s", stateWidth, s.state(), s.Owner.PID, s.Owner.Program)
		case s.State != "":
			fmt.Fprintf(b, " %s", s.state())
		}
		b.WriteByte('\n')
	}
	return b.Flush()
}

// state is what stands in the last column.
func (s *Socket) state() string {
	if s.Pair {
		return s.State + " pair"
	}
	return s.State
}

// Widths of addresses of sockets, of them with their ports, and of states.
const (
	hostWidth     = 16
	endpointWidth = 22
	stateWidth    = 11
)

// endpoint shows an address and a port: *.80, 10.0.0.1.http.
func (n Names) endpoint(e *Endpoint, protocol string) string {
	host := "*"
	if !e.addr.IsUnspecified() {
		host = e.Address
		if name, ok := n.host(e.addr); ok {
			host = name
		}
	}
	port := "*"
	if e.Port != 0 {
		port = fmt.Sprint(e.Port)
		if name, ok := n.service(e.Port, protocol); ok {
			port = name
		}
	}
	// IPv6 addresses are shown in full when that is wanted, others never.
	if n.Verbose && e.addr.Is6() {
		return fmt.Sprintf("%-*s", endpointWidth, host+"."+port)
	}
	return fmt.Sprintf("%-*s", endpointWidth, cut(cut(host, hostWidth)+"."+port, endpointWidth))
}

// localLists are the lists of local sockets, in the order in which they are
// shown.
var localLists = []string{"stream", "dgram", "seqpacket"}

// socketTypes are the names of types of sockets, by SOCK_*.
var socketTypes = []string{"#0", "stream", "dgram", "raw", "rdm", "seqpacket"}

// ErrNoLocal is the error for a kernel without the local address family.
var ErrNoLocal = fmt.Errorf("net.local: %w", netbsd.ENOENT)

// ListLocalSockets lists the sockets of the local family.
func ListLocalSockets(ctx context.Context, k Kernel) ([]LocalSocket, error) {
	var sockets []LocalSocket
	found := false
	for _, name := range localLists {
		list, err := Pcbs(ctx, k, "net.local."+name+".pcblist")
		if missing(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		found = true
		for _, pcb := range list {
			s := LocalSocket{
				Type: fmt.Sprintf("#%d", pcb.Type),
				Path: localPath(pcb.Src[:]), Peer: localPath(pcb.Dst[:]),
				RecvQueue: pcb.Rcvq, SendQueue: pcb.Sndq, pcb: pcb,
			}
			if int(pcb.Type) < len(socketTypes) {
				s.Type = socketTypes[pcb.Type]
			}
			sockets = append(sockets, s)
		}
	}
	if !found {
		return nil, ErrNoLocal
	}
	return sockets, nil
}

// localPath is the path of a sockaddr_un, at most as long as the address says.
func localPath(b []byte) string {
	path := b[2:]
	if n := int(b[0]); n > 2 {
		path = path[:min(n-2, len(path))]
	}
	return netbsd.CString(path)
}

// WriteLocalSockets prints local sockets as netstat does, or nothing when there
// are none.
func WriteLocalSockets(w io.Writer, sockets []LocalSocket) error {
	if len(sockets) == 0 {
		return nil
	}
	b := bufio.NewWriter(w)
	fmt.Fprintf(b, "Active UNIX domain sockets\n%-8s %-6s %-6s %-6s %8s %8s %8s %8s Addr\n",
		"Address", "Type", "Recv-Q", "Send-Q", "Inode", "Conn", "Refs", "Nextref")
	for i := range sockets {
		s := &sockets[i]
		p := &s.pcb
		fmt.Fprintf(b, "%8x %-6.6s %6d %6d %8x %8x %8x %8x", p.Pcbaddr, s.Type, s.RecvQueue, s.SendQueue,
			p.Vnode, p.Conn, p.Refs, p.Nextref)
		switch {
		case s.Peer != "":
			fmt.Fprintf(b, " -> %s", s.Peer)
		case p.Sockaddr != 0:
			fmt.Fprintf(b, " %s", s.Path)
		}
		b.WriteByte('\n')
	}
	return b.Flush()
}
