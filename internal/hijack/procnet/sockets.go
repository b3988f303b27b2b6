//go:build linux

package procnet

import (
	"net/netip"

	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/netview"
)

// hexEndpoint shows an address and a port.
func hexEndpoint(family uint8, e netip.AddrPort) string {
	if family == unix.AF_INET6 {
		return hex6(e.Addr()) + ":" + hexPort(e.Port())
	}
	return hex4(e.Addr()) + ":" + hexPort(e.Port())
}

func hexPort(p uint16) string {
	const digits = "0123456789ABCDEF"
	return string([]byte{digits[p>>12], digits[p>>8&15], digits[p>>4&15], digits[p&15]})
}

// The start of a line about a socket, after its number: addresses, state,
// queues, timer, the time until it ends, retransmissions.
const socketFormat = "%s %s %02X %08X:%08X %02X:%08X %08X "

// noPointer stands for the address of a socket in Linux's memory.
const noPointer = "0000000000000000"

// jiffies of a second, as Linux shows times (USER_HZ).
const userHz = 100

// tcpSockets lists sockets of TCP; in IPv4's file lines have one width.
func (w *writer) tcpSockets(family uint8, width int) error {
	list, err := netview.Sockets(w.ctx, w.kernel, family, unix.IPPROTO_TCP)
	if err != nil {
		return err
	}
	for i := range list {
		s := &list[i]
		owner := w.owner.Of(s)
		timer := 0
		if s.State == netview.TCPTimeWait {
			timer = 3
		}
		start := []any{i, hexEndpoint(family, s.Local), hexEndpoint(family, s.Remote), s.State, s.SendQueue, s.RecvQueue + owner.Unread, timer, 0, 0}
		if s.State == netview.TCPTimeWait {
			w.line(width, "%4d: "+socketFormat+"%5d %8d %d %d %s", append(start, 0, 0, 0, 3, noPointer)...)
			continue
		}
		// The retransmission time-out is the one that Linux starts with; what
		// follows it of a connection is not known: 0 but for the initial
		// congestion window, and no slow start threshold.
		threshold := -1
		if s.State == netview.TCPListen {
			threshold = 0
		}
		w.line(width, "%4d: "+socketFormat+"%5d %8d %d %d %s %d %d %d %d %d",
			append(start, owner.UID, 0, owner.Inode, 1, noPointer, userHz, 0, 0, 10, threshold)...)
	}
	return nil
}

func (w *writer) tcp() error {
	w.line(tcpWidth, "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode")
	return w.tcpSockets(unix.AF_INET, tcpWidth)
}

func (w *writer) tcp6() error {
	w.printf("  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n")
	return w.tcpSockets(unix.AF_INET6, 0)
}

// dgramSockets lists sockets of another protocol.
func (w *writer) dgramSockets(family, protocol uint8, number string, width int) error {
	list, err := netview.Sockets(w.ctx, w.kernel, family, protocol)
	if err != nil {
		return err
	}
	for i := range list {
		s := &list[i]
		owner := w.owner.Of(s)
		w.line(width, number+": "+socketFormat+"%5d %8d %d %d %s %d", i, hexEndpoint(family, s.Local), hexEndpoint(family, s.Remote),
			s.State, s.SendQueue, s.RecvQueue+owner.Unread, 0, 0, 0, owner.UID, 0, owner.Inode, 2, noPointer, 0)
	}
	return nil
}

// Headings of the files about sockets without connection.
const (
	dgramHeading  = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops"
	dgramHeading6 = "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops"
)

func (w *writer) udp() error {
	w.line(dgramWidth, " "+dgramHeading)
	return w.dgramSockets(unix.AF_INET, unix.IPPROTO_UDP, "%5d", dgramWidth)
}

func (w *writer) udp6() error {
	w.printf("%s\n", dgramHeading6)
	return w.dgramSockets(unix.AF_INET6, unix.IPPROTO_UDP, "%5d", 0)
}

func (w *writer) raw() error {
	w.printf("%s\n", dgramHeading)
	return w.dgramSockets(unix.AF_INET, unix.IPPROTO_RAW, "%4d", 0)
}

func (w *writer) raw6() error {
	w.printf("%s\n", dgramHeading6)
	return w.dgramSockets(unix.AF_INET6, unix.IPPROTO_RAW, "%5d", 0)
}

// icmp would have the sockets that ping without privileges has; here they are
// raw ones.
func (w *writer) icmp() error {
	w.line(dgramWidth, "%s", dgramHeading)
	return nil
}

func (w *writer) icmp6() error {
	w.printf("%s\n", dgramHeading6)
	return nil
}

// packet would have sockets of AF_PACKET, which programs cannot have.
func (w *writer) packet() error {
	w.printf("sk               RefCnt Type Proto  Iface R Rmem   User   Inode\n")
	return nil
}

// udplite would have sockets of UDP-Lite, of which there are none.
func (w *writer) udplite() error {
	w.line(dgramWidth, " "+dgramHeading)
	return nil
}

func (w *writer) udplite6() error { return w.icmp6() }

// count counts sockets.
func (w *writer) count(family, protocol uint8, wanted func(*netview.Socket) bool) (int, error) {
	list, err := netview.Sockets(w.ctx, w.kernel, family, protocol)
	if err != nil {
		return 0, err
	}
	n := 0
	for i := range list {
		if wanted(&list[i]) {
			n++
		}
	}
	return n, nil
}

func anySocket(*netview.Socket) bool    { return true }
func isTimeWait(s *netview.Socket) bool { return s.State == netview.TCPTimeWait }
func isInUse(s *netview.Socket) bool    { return s.State != netview.TCPTimeWait }

// counts has numbers of sockets by protocol.
type counts struct{ tcp, timeWait, udp, raw int }

func (w *writer) counts(family uint8) (c counts, err error) {
	for _, q := range []struct {
		n        *int
		protocol uint8
		wanted   func(*netview.Socket) bool
	}{
		{&c.tcp, unix.IPPROTO_TCP, isInUse}, {&c.timeWait, unix.IPPROTO_TCP, isTimeWait},
		{&c.udp, unix.IPPROTO_UDP, anySocket}, {&c.raw, unix.IPPROTO_RAW, anySocket},
	} {
		if *q.n, err = w.count(family, q.protocol, q.wanted); err != nil {
			return c, err
		}
	}
	return c, nil
}

// sockstat has numbers of sockets; what memory they take is not known.
func (w *writer) sockstat() error {
	c, err := w.counts(unix.AF_INET)
	if err != nil {
		return err
	}
	c6, err := w.counts(unix.AF_INET6)
	if err != nil {
		return err
	}
	// Some of these are of both families.
	tcp, udp, raw, timeWait := c.tcp+c6.tcp, c.udp+c6.udp, c.raw+c6.raw, c.timeWait+c6.timeWait
	w.printf("sockets: used %d\n", tcp+udp+raw)
	w.printf("TCP: inuse %d orphan %d tw %d alloc %d mem %d\n", c.tcp, 0, timeWait, tcp, 0)
	w.printf("UDP: inuse %d mem %d\n", c.udp, 0)
	w.printf("UDPLITE: inuse 0\n")
	w.printf("RAW: inuse %d\n", c.raw)
	w.printf("FRAG: inuse 0 memory 0\n")
	return nil
}

func (w *writer) sockstat6() error {
	c, err := w.counts(unix.AF_INET6)
	if err != nil {
		return err
	}
	w.printf("TCP6: inuse %d\n", c.tcp)
	w.printf("UDP6: inuse %d\n", c.udp)
	w.printf("UDPLITE6: inuse 0\n")
	w.printf("RAW6: inuse %d\n", c.raw)
	w.printf("FRAG6: inuse 0 memory 0\n")
	return nil
}
