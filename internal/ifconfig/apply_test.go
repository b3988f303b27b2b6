package ifconfig

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"rumptools/internal/rtsock"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
)

// fakeKernel has one interface, shmif0 unless it says otherwise, and writes
// down what it is asked to change.
type fakeKernel struct {
	machine *netbsd.Machine
	flags   uint16
	fail    map[*netbsd.Ioctl]netbsd.Errno
	first   netip.Addr // the first address of inet
	list    []byte     // net.route with NET_RT_IFLIST
	now     int64
	media   int32

	asked []string
	open  int
}

func (k *fakeKernel) Machine() *netbsd.Machine { return k.machine }

func (k *fakeKernel) SysctlBytes(context.Context, []int32) ([]byte, error) { return k.list, nil }

func (k *fakeKernel) Socket(_ context.Context, domain, _, _ int32) (spclient.FD, error) {
	k.open++
	return spclient.FD{}, nil
}

func (k *fakeKernel) CloseFD(context.Context, spclient.FD) error {
	k.open--
	return nil
}

func (k *fakeKernel) ClockGettime(context.Context, int32) (netbsd.Timespec, error) {
	return netbsd.Timespec{Sec: k.now}, nil
}

func (k *fakeKernel) IoctlStruct(ctx context.Context, fd spclient.FD, req *netbsd.Ioctl, v any) error {
	return k.IoctlPtr(ctx, fd, req, v, nil, nil)
}

func (k *fakeKernel) IoctlPtr(_ context.Context, _ spclient.FD, req *netbsd.Ioctl, v any, buf []byte, set func(netbsd.Ptr)) error {
	// A request goes to the kernel in the machine's structure and comes
	// back from there.
	m := k.machine
	if set != nil {
		set(0x1000)
	}
	if errno := k.fail[req]; errno != 0 {
		return &spclient.SyscallError{Call: req.Name, Errno: errno}
	}
	var what string
	switch r := v.(type) {
	case *netbsd.Ifreq:
		switch req {
		case netbsd.SIOCGIFFLAGS:
			r.SetFlags(m, k.flags)
			return nil
		case netbsd.SIOCSIFFLAGS:
			k.flags = r.Flags(m)
			what = fmt.Sprintf("%#x", k.flags)
		case netbsd.SIOCSIFMTU, netbsd.SIOCSIFMETRIC, netbsd.SIOCSIFMEDIA:
			what = fmt.Sprint(r.Value(m))
		case netbsd.SIOCGIFADDR:
			if !k.first.IsValid() {
				return &spclient.SyscallError{Call: req.Name, Errno: netbsd.EADDRNOTAVAIL}
			}
			r.SetAddr(netbsd.SockaddrIn(netip.AddrPortFrom(k.first, 0)))
			return nil
		case netbsd.SIOCDIFADDR:
			what = show(m, r.Addr())
		case netbsd.SIOCSETVLAN:
			var vlan netbsd.Vlanreq
			if err := netbsd.Unmarshal(m, buf, &vlan); err != nil {
				return err
			}
			what = fmt.Sprintf("%d %s", vlan.Tag, netbsd.CString(vlan.Parent[:]))
		}
	case *netbsd.Ifaliasreq:
		if req == netbsd.SIOCGIFALIAS {
			copy(r.Mask[:], netbsd.Netmask(netbsd.AF_INET, 16))
			return nil
		}
		what = show(m, r.Addr[:]) + " mask " + show(m, r.Mask[:]) + " dst " + show(m, r.Dstaddr[:])
	case *netbsd.In6Ifreq:
		if req == netbsd.SIOCGIFADDR_IN6 {
			return &spclient.SyscallError{Call: req.Name, Errno: netbsd.EADDRNOTAVAIL}
		}
		what = show(m, r.Addr())
	case *netbsd.In6Aliasreq:
		what = fmt.Sprintf("%s mask %s dst %s flags %#x lifetime %v", show(m, r.Addr[:]), show(m, r.Prefixmask[:]), show(m, r.Dstaddr[:]), r.Flags, r.Lifetime)
	case *netbsd.IfLaddrreq:
		what = fmt.Sprintf("%s %s flags %#x", show(m, r.Addr[:]), show(m, r.Dstaddr[:]), r.Flags)
	case *netbsd.Ifdrv:
		what = fmt.Sprintf("%d %q", r.Cmd, buf)
	case *netbsd.IfAddrprefreq:
		what = fmt.Sprintf("%s %d", show(m, r.Addr[:]), r.Preference)
	case *netbsd.Ifmediareq:
		r.Current = k.media
		return nil
	}
	k.asked = append(k.asked, strings.TrimSpace(req.Name+" "+what))
	return nil
}

func show(m *netbsd.Machine, sa []byte) string {
	if rtsock.Family(sa) == 0 {
		return "-"
	}
	a, err := netbsd.ParseSockaddr(m, sa)
	if err != nil {
		return err.Error()
	}
	if a.Addr().IsValid() {
		return a.Addr().String()
	}
	return a.String()
}

// ifList is a list of one interface with a link-local address.
func ifList(m *netbsd.Machine) []byte {
	link, _ := netbsd.AppendSockaddrDl(m, nil, netbsd.SockaddrDL{Index: 7, Type: netbsd.IFT_ETHER, Name: "shmif0", Addr: []byte{2, 0, 0, 0, 0, 1}})
	b := netbsd.AppendRtMessage(m, nil, &netbsd.IfMsghdr{Type: netbsd.RTM_IFINFO, Index: 7}, rtsock.Addrs{netbsd.RTAX_IFP: link})
	local := netbsd.EmbedScope(netip.MustParseAddr("fe80::1122:3344:5566:7788"), 7)
	return netbsd.AppendRtMessage(m, b, &netbsd.IfaMsghdr{Type: netbsd.RTM_NEWADDR, Index: 7}, rtsock.Addrs{
		netbsd.RTAX_IFA: netbsd.SockaddrIn6(m, netip.AddrPortFrom(local, 0), 0, 0),
	})
}

func TestApply(t *testing.T) {
	const up, broadcast = netbsd.IFF_UP, netbsd.IFF_BROADCAST
	forever := "{0 0 4294967295 4294967295}"
	for _, c := range []struct {
		words string
		flags uint16
		fail  map[*netbsd.Ioctl]netbsd.Errno
		first string
		want  []string
		err   string
		warn  string
	}{
		{words: "shmif0 create", want: []string{"SIOCIFCREATE"}},
		{words: "shmif0 destroy", want: []string{"SIOCIFDESTROY"}},
		{words: "shmif0 up -arp", want: []string{"SIOCSIFFLAGS 0x1", "SIOCSIFFLAGS 0x81"}},
		{words: "shmif0 down", flags: up | broadcast, want: []string{"SIOCSIFFLAGS 0x2"}},
		{words: "shmif0 mtu 1400 metric 2 linkstr bus", want: []string{"SIOCSIFMTU 1400", "SIOCSIFMETRIC 2", `SIOCSLINKSTR 0 "bus\x00"`}},
		{words: "shmif0 -linkstr", want: []string{`SIOCSLINKSTR 2 ""`}},
		{words: "shmif0 mtu 9 up", fail: map[*netbsd.Ioctl]netbsd.Errno{netbsd.SIOCSIFMTU: netbsd.EINVAL},
			want: []string{"SIOCSIFFLAGS 0x1"}, warn: "SIOCSIFMTU: Invalid argument"},
		{words: "shmif0 media none", want: []string{"SIOCSIFMEDIA 34"}},

		{words: "shmif0 10.0.0.1/24 up", flags: broadcast, want: []string{
			"SIOCSIFFLAGS 0x3", "SIOCAIFADDR 10.0.0.1 mask 255.255.255.0 dst -"}},
		{words: "shmif0 10.0.0.1/24", flags: broadcast, first: "10.9.0.1", want: []string{
			"SIOCDIFADDR 10.9.0.1", "SIOCAIFADDR 10.0.0.1 mask 255.255.255.0 dst -"}},
		{words: "shmif0 10.0.0.1 255.255.0.0 10.0.255.255 alias", flags: broadcast, first: "10.9.0.1", want: []string{
			"SIOCAIFADDR 10.0.0.1 mask 255.255.0.0 dst 10.0.255.255"}},
		{words: "gif0 10.0.0.1 10.0.0.2", flags: netbsd.IFF_POINTOPOINT, want: []string{
			"SIOCAIFADDR 10.0.0.1 mask - dst 10.0.0.2"}},
		{words: "lo0 10.0.0.1 broadcast 10.0.0.255", err: "not a broadcast interface"},
		{words: "shmif0 10.0.0.1", flags: broadcast | netbsd.IFF_POINTOPOINT, err: "unsupported interface flags"},
		{words: "shmif0 delete 10.0.0.1", want: []string{"SIOCDIFADDR 10.0.0.1"}},
		{words: "shmif0 delete", first: "10.9.0.1", want: []string{"SIOCDIFADDR 10.9.0.1"}},
		{words: "shmif0 delete", err: "SIOCGIFADDR: Can't assign requested address"},
		{words: "shmif0 10.0.0.1 preference 4", want: []string{"SIOCAIFADDR 10.0.0.1 mask - dst -", "SIOCSIFADDRPREF 10.0.0.1 4"}},
		{words: "shmif0 10.0.0.1", fail: map[*netbsd.Ioctl]netbsd.Errno{netbsd.SIOCGIFFLAGS: netbsd.ENXIO},
			err: "SIOCGIFFLAGS shmif0: Device not configured"},

		{words: "shmif0 inet6 fd00::1/48", want: []string{"SIOCAIFADDR_IN6 fd00::1 mask ffff:ffff:ffff:: dst - flags 0x0 lifetime " + forever}},
		{words: "shmif0 inet6 fd00::1 anycast vltime 50 pltime 5", want: []string{
			"SIOCAIFADDR_IN6 fd00::1 mask ffff:ffff:ffff:ffff:: dst - flags 0x1 lifetime {1050 1005 50 5}"}},
		{words: "shmif0 inet6 fd00::/64 eui64", want: []string{
			"SIOCAIFADDR_IN6 fd00::1122:3344:5566:7788 mask ffff:ffff:ffff:ffff:: dst - flags 0x0 lifetime " + forever}},
		{words: "shmif1 inet6 fd00::/64 eui64", err: "could not determine link local address"},
		{words: "shmif0 inet6 fe80::9%shmif0", want: []string{
			"SIOCAIFADDR_IN6 fe80:7::9 mask ffff:ffff:ffff:ffff:: dst - flags 0x0 lifetime " + forever}},
		{words: "shmif0 inet6 fe80::9%shmif4", err: "%shmif4: no such interface"},
		{words: "shmif0 inet6 fd00::1 delete", want: []string{"SIOCDIFADDR_IN6 fd00::1"}},

		{words: "shmif0 link 02:00:00:00:00:02 active", want: []string{"SIOCALIFADDR 02:00:00:00:00:02 - flags 0x4000"}},
		{words: "shmif0 link 02:00:00:00:00:02 delete", want: []string{"SIOCDLIFADDR 02:00:00:00:00:02 - flags 0x0"}},

		{words: "gif0 tunnel 10.0.0.1 10.0.0.2,7", want: []string{"SIOCSLIFPHYADDR 10.0.0.1 10.0.0.2 flags 0x0"}},
		{words: "gif0 deletetunnel", want: []string{"SIOCDIFPHYADDR"}},
		{words: "vlan0 vlan 3 vlanif shmif0", want: []string{"SIOCSIFGENERIC 3 shmif0"}},

		// Nothing half-done stays.
		{words: "shmif0 create linkstr /nosuch/bus", fail: map[*netbsd.Ioctl]netbsd.Errno{netbsd.SIOCSLINKSTR: netbsd.ENOENT},
			want: []string{"SIOCIFCREATE", "SIOCIFDESTROY"}, err: "SIOCSLINKSTR: No such file or directory"},
		{words: "shmif0 create", fail: map[*netbsd.Ioctl]netbsd.Errno{netbsd.SIOCIFCREATE: netbsd.EEXIST},
			err: "clone_command: File exists"},
		{words: "shmif0 up 10.0.0.1 broadcast 10.0.0.255", err: "not a broadcast interface"},
		{words: "shmif0 up media 10baseT", fail: map[*netbsd.Ioctl]netbsd.Errno{netbsd.SIOCGIFMEDIA: netbsd.ENOTTY},
			err: "SIOCGIFMEDIA: Inappropriate ioctl for device"},
	} {
		for _, m := range []*netbsd.Machine{netbsd.AMD64, netbsd.I386, netbsd.POWERPC} {
			k := &fakeKernel{machine: m, flags: c.flags, fail: c.fail, now: 1000, list: ifList(m), media: netbsd.IFM_ETHER | netbsd.IFM_AUTO}
			if c.first != "" {
				k.first = netip.MustParseAddr(c.first)
			}
			cmd, err := Parse(strings.Fields(c.words), testNames(t))
			if err != nil {
				t.Errorf("%s: %v", c.words, err)
				continue
			}
			var warnings []string
			err = Apply(t.Context(), k, cmd, Output{io.Discard, func(err error) { warnings = append(warnings, err.Error()) }})
			if got := fmt.Sprint(err); got != c.err && (err != nil || c.err != "") {
				t.Errorf("%s: error %s, want %q", c.words, got, c.err)
			}
			if got := strings.Join(warnings, "; "); got != c.warn {
				t.Errorf("%s: warnings %s, want %s", c.words, got, c.warn)
			}
			if diff := cmp.Diff(c.want, k.asked); diff != "" {
				t.Errorf("%s on %s: %s", c.words, m, diff)
			}
			if k.open != 0 {
				t.Errorf("%s: %d sockets left open", c.words, k.open)
			}
		}
	}
}

// TestPutBack: when the new address is refused the old one comes back.
func TestPutBack(t *testing.T) {
	k := &refusing{fakeKernel{machine: netbsd.POWERPC, flags: netbsd.IFF_BROADCAST, first: netip.MustParseAddr("10.9.0.1")}}
	err := Configure(t.Context(), k, []string{"shmif0", "10.0.0.1/24"})
	if !errors.Is(err, netbsd.EEXIST) {
		t.Errorf("error %v", err)
	}
	want := []string{"SIOCDIFADDR 10.9.0.1", "SIOCAIFADDR 10.9.0.1 mask 255.255.0.0 dst -"}
	if diff := cmp.Diff(want, k.asked); diff != "" {
		t.Error(diff)
	}
}

// refusing is a kernel that refuses 10.0.0.1.
type refusing struct{ fakeKernel }

func (k *refusing) IoctlStruct(ctx context.Context, fd spclient.FD, req *netbsd.Ioctl, v any) error {
	if r, ok := v.(*netbsd.Ifaliasreq); ok && req == netbsd.SIOCAIFADDR && r.Addr[7] == 1 && r.Addr[5] == 0 {
		return &spclient.SyscallError{Call: req.Name, Errno: netbsd.EEXIST}
	}
	return k.fakeKernel.IoctlStruct(ctx, fd, req, v)
}

func TestConfigure(t *testing.T) {
	k := &fakeKernel{machine: netbsd.AMD64, fail: map[*netbsd.Ioctl]netbsd.Errno{netbsd.SIOCSIFMTU: netbsd.EINVAL}}
	for words, want := range map[string]string{
		"shmif0":          "shmif0: nothing to do is given",
		"shmif0 nonsense": `unknown word "nonsense"`,
		"shmif0 mtu 9":    "SIOCSIFMTU: Invalid argument",
	} {
		err := Configure(t.Context(), k, strings.Fields(words))
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: error %v, want %s", words, err, want)
		}
	}
}

// TestConnectionLost: an error that is not the kernel's answer ends the
// program; it is no missing feature of the interface.
func TestConnectionLost(t *testing.T) {
	lost := &spclient.LostError{URL: "unix:///x", Cause: io.EOF}
	if err := ignore(lost); !errors.Is(err, spclient.ErrLost) {
		t.Errorf("got %v", err)
	}
	if err := warned(lost, Output{}); !errors.Is(err, spclient.ErrLost) {
		t.Errorf("got %v", err)
	}
}
