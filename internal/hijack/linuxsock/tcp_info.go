//go:build linux

package linuxsock

import (
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"

	"rumptools/pkg/netbsd"
)

// Linux's states of TCP (<net/tcp_states.h>).
const (
	tcpEstablished = 1 + iota
	tcpSynSent
	tcpSynRecv
	tcpFinWait1
	tcpFinWait2
	tcpTimeWait
	tcpClose
	tcpCloseWait
	tcpLastAck
	tcpListen
	tcpClosing
)

// TCPState translates a state of TCP, netbsd.TCPS_*, into Linux's number.
func TCPState(state int) uint8 {
	switch state {
	case netbsd.TCPS_LISTEN:
		return tcpListen
	case netbsd.TCPS_SYN_SENT:
		return tcpSynSent
	case netbsd.TCPS_SYN_RECEIVED:
		return tcpSynRecv
	case netbsd.TCPS_ESTABLISHED:
		return tcpEstablished
	case netbsd.TCPS_CLOSE_WAIT:
		return tcpCloseWait
	case netbsd.TCPS_FIN_WAIT_1:
		return tcpFinWait1
	case netbsd.TCPS_CLOSING:
		return tcpClosing
	case netbsd.TCPS_LAST_ACK:
		return tcpLastAck
	case netbsd.TCPS_FIN_WAIT_2:
		return tcpFinWait2
	case netbsd.TCPS_TIME_WAIT:
		return tcpTimeWait
	}
	return tcpClose
}

// linuxTCPIOptions are Linux's names of NetBSD's TCPI_OPT_*.
var linuxTCPIOptions = []struct{ netbsd, linux uint8 }{
	{netbsd.TCPI_OPT_TIMESTAMPS, 1},
	{netbsd.TCPI_OPT_SACK, 2},
	{netbsd.TCPI_OPT_WSCALE, 4},
	{netbsd.TCPI_OPT_ECN, 8},
}

// getTCPInfo is TCP_INFO: what NetBSD's own tells; the rest is 0. Its congestion
// window is in bytes, Linux's in segments.
func getTCPInfo(r *request) ([]byte, unix.Errno) {
	var info unix.TCPInfo
	var wscale uint8
	info.State = tcpClose
	if r.fd.Valid() {
		m := r.k.Machine()
		var k netbsd.TcpInfo
		b := make([]byte, netbsd.Sizeof(m, k))
		n, err := r.k.Getsockopt(r.ctx, r.fd, netbsd.IPPROTO_TCP, netbsd.TCP_INFO, b)
		if err == nil {
			err = netbsd.Unmarshal(m, b[:n], &k)
		}
		switch {
		case err == nil:
			info, wscale = tcpInfo(m, &k)
		case isLost(err):
			return nil, unix.ECONNRESET
		}
		// A connection that is gone has nothing to tell, and is closed.
	}
	b := slices.Clone(unsafe.Slice((*byte)(unsafe.Pointer(&info)), unsafe.Sizeof(info)))
	b[6] = wscale // two bit fields, where Go's structure has padding
	return b, 0
}

func tcpInfo(m *netbsd.Machine, k *netbsd.TcpInfo) (info unix.TCPInfo, wscale uint8) {
	info = unix.TCPInfo{
		State: TCPState(int(k.State)),
		Rto:   k.Rto, Snd_mss: k.SndMss, Rcv_mss: k.RcvMss, Advmss: k.RcvMss,
		Rtt: k.Rtt, Rttvar: k.Rttvar, Last_data_recv: k.LastDataRecv / 1000,
		Rcv_space: k.RcvSpace, Snd_wnd: k.SndWnd,
		Total_retrans: k.SndRexmitpack, Rcv_ooopack: k.RcvOoopack,
		Pmtu: k.Pmtu,
	}
	for _, o := range linuxTCPIOptions {
		if k.Options&o.netbsd != 0 {
			info.Options |= o.linux
		}
	}
	info.Snd_cwnd = segments(k.SndCwnd, k.SndMss)
	info.Snd_ssthresh = segments(k.SndSsthresh, k.SndMss)
	wscale = k.Wscale
	if m.BigEndian() {
		// Bit fields begin at the other end.
		wscale = wscale<<4 | wscale>>4
	}
	if hostBigEndian {
		wscale = wscale<<4 | wscale>>4
	}
	return info, wscale
}

// hostBigEndian tells the byte order of the programs.
var hostBigEndian = native.Uint16([]byte{0, 1}) == 1

// segments is how many segments of a size so many bytes are, at least one if
// there are any.
func segments(n, mss uint32) uint32 {
	if n == 0 || mss == 0 {
		return n
	}
	return max(n/mss, 1)
}
