package netbsd

import (
	"bytes"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"
)

// recordedList returns what the first sysctl of a recording that gave a list
// below net.route returned.
func recordedList(t *testing.T, file string) (*Machine, []byte) {
	t.Helper()
	for _, c := range readRecording(t, "testdata/"+file) {
		if c.num != SYS___sysctl {
			continue
		}
		for _, b := range routingMessages(c) {
			return c.m, b
		}
	}
	t.Fatalf("%s: no list", file)
	return nil, nil
}

// TestInterfaceList reads what the real kernel says of its interfaces and
// their addresses (net.route.0.0.iflist).
func TestInterfaceList(t *testing.T) {
	m, b := recordedList(t, "prog-sysctl-iflist.rsp")
	var got []string
	names := make(map[uint16]string)
	for len(b) > 0 {
		msg, rest, err := NextRtMessage(m, b)
		if err != nil {
			t.Fatal(err)
		}
		b = rest
		var s []string
		switch {
		case msg.Ifm != nil:
			sa, err := ParseSockaddr(m, msg.Addrs[RTAX_IFP])
			if err != nil {
				t.Fatal(err)
			}
			names[msg.Ifm.Index] = sa.DL.Name
			s = append(s, "interface", sa.DL.Name)
			if msg.Ifm.Index != sa.DL.Index || msg.Ifm.Data.Type != sa.DL.Type || int(msg.Ifm.Data.Addrlen) != len(sa.DL.Addr) {
				t.Errorf("%+v and %+v do not fit", msg.Ifm, sa.DL)
			}
			if msg.Ifm.Data.Type == IFT_LOOP && (msg.Ifm.Data.Mtu != 33624 || uint16(msg.Ifm.Flags) != IFF_UP|IFF_LOOPBACK|IFF_RUNNING|IFF_MULTICAST) {
				t.Errorf("lo0: %+v", msg.Ifm)
			}
			if msg.Ifm.Data.Type == IFT_ETHER && (msg.Ifm.Data.Mtu != 1500 || msg.Ifm.Data.Hdrlen != 14 || msg.Ifm.Data.Baudrate != 10000000) {
				t.Errorf("Ethernet: %+v", msg.Ifm)
			}
		case msg.Ifam != nil:
			sa, err := ParseSockaddr(m, msg.Addrs[RTAX_IFA])
			if err != nil {
				t.Fatal(err)
			}
			s = append(s, "address", names[msg.Ifam.Index])
			if sa.Family == AF_LINK {
				s = append(s, "link")
				if got, want := msg.Addrs[RTAX_NETMASK], LinkNetmask(sa.DL.Name); !bytes.Equal(got, want) {
					t.Errorf("netmask % x, want % x", got, want)
				}
				break
			}
			mask, err := ParseNetmask(sa.Family, msg.Addrs[RTAX_NETMASK])
			if err != nil {
				t.Fatal(err)
			}
			n, _ := PrefixLen(mask)
			if got, want := msg.Addrs[RTAX_NETMASK], AddrNetmask(sa.Family, n); !bytes.Equal(got, want) {
				t.Errorf("netmask % x, want % x", got, want)
			}
			sa = sa.ExtractScope()
			if HasScope(sa.Addr()) && sa.ScopeID != uint32(msg.Ifam.Index) {
				t.Errorf("%s: scope %d on interface %d", sa, sa.ScopeID, msg.Ifam.Index)
			}
			p, ok := Prefix(sa.Addr(), mask)
			if !ok {
				t.Errorf("% x is no netmask of %s", mask, sa)
			}
			if sa.Addr().IsLinkLocalUnicast() && names[msg.Ifam.Index] != "lo0" {
				s = append(s, "link-local") // made of a random number
			} else {
				s = append(s, p.String())
			}
		}
		got = append(got, strings.Join(s, " "))
	}
	want := []string{
		"interface lo0",
		"address lo0 link",
		"address lo0 ::1/128",
		"address lo0 fe80::1/64",
		"address lo0 127.0.0.1/8",
		"interface shmif0",
		"address shmif0 link",
		"address shmif0 10.0.0.1/24",
		"address shmif0 link-local",
		"address shmif0 fd00::1/64",
	}
	if len(got) != len(want) {
		t.Fatalf("%q", got)
	}
	seen := make(map[string]bool)
	for _, s := range got {
		seen[s] = true
	}
	for _, s := range want {
		if !seen[s] {
			t.Errorf("%s is missing in %q", s, got)
		}
	}
}

// TestRecordedIfreq reads SIOCGIFFLAGS on lo0 and shmif0 as the real kernel
// answers it, and writes the request.
func TestRecordedIfreq(t *testing.T) {
	found := 0
	for _, c := range readRecording(t, "testdata/ifconfig-inet.rsp") {
		if c.num != SYS_ioctl {
			continue
		}
		r := NewArgReader(c.m, c.args)
		r.Int()
		cmd, data := uint32(r.Word()), r.Ptr()
		i, ok := LookupIoctl(c.m, cmd)
		if !ok {
			t.Fatalf("ioctl %#x", cmd)
		}
		switch i {
		case SIOCGIFFLAGS:
			found++
			var req Ifreq
			if err := Unmarshal(c.m, read(c.out, data), &req); err != nil {
				t.Fatal(err)
			}
			if CString(req.Name[:]) != "shmif0" || req.Flags(c.m) != IFF_BROADCAST|IFF_SIMPLEX|IFF_MULTICAST {
				t.Errorf("%s: %#x", req.Name, req.Flags(c.m))
			}
			if got := Marshal(c.m, &req); !bytes.Equal(got, read(c.out, data)) {
				t.Errorf("% x", got)
			}
		case SIOCAIFADDR:
			found++
			req := Ifaliasreq{Name: IfName("shmif0")}
			copy(req.Addr[:], SockaddrIn(netip.MustParseAddrPort("10.0.0.1:0")))
			mask := Netmask(AF_INET, 24)
			mask[1] = 0 // as ifconfig has it
			copy(req.Mask[:], mask)
			got, want := Marshal(c.m, &req), read(c.in, data)
			want[48+1] = 0
			if !bytes.Equal(got, want) {
				t.Errorf("got  % x\nwant % x", got, want)
			}
		}
	}
	if found < 2 {
		t.Errorf("only %d requests", found)
	}
}

// TestRecordedNodes reads the top of the sysctl tree.
func TestRecordedNodes(t *testing.T) {
	var got []string
	for _, c := range readRecording(t, "testdata/prog-sysctl-lookup.rsp") {
		if c.num != SYS___sysctl {
			continue
		}
		for _, out := range c.out {
			if len(out.data) != Sizeof(c.m, Sysctlnode{}) {
				continue
			}
			var n Sysctlnode
			if err := Unmarshal(c.m, out.data, &n); err != nil {
				t.Fatal(err)
			}
			if n.Flags&SYSCTL_VERS_MASK != SYSCTL_VERSION {
				t.Errorf("%s: flags %#x", n.Name, n.Flags)
			}
			if !bytes.Equal(Marshal(c.m, &n), out.data) {
				t.Errorf("%s is not written as it was read", n.Name)
			}
			if n.Type() == CTLTYPE_NODE {
				if size, count := n.Children(c.m); count > size {
					t.Errorf("%s: %d children of %d", n.Name, count, size)
				}
			}
			got = append(got, CString(n.Name[:]))
		}
		break
	}
	want := strings.Fields("kern vm vfs net debug hw machdep user ddb proc vendor emul security")
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestRecordedCmsg reads the descriptor that a message carried.
func TestRecordedCmsg(t *testing.T) {
	found := 0
	for _, c := range readRecording(t, "testdata/prog-passfd.rsp") {
		var copies []recordedCopy
		switch c.num {
		case SYS_sendmsg:
			copies = c.in
		case SYS_recvmsg:
			copies = c.out
		default:
			continue
		}
		r := NewArgReader(c.m, c.args)
		r.Int()
		var msg Msghdr
		if err := Unmarshal(c.m, read(copies, r.Ptr()), &msg); err != nil {
			t.Fatal(err)
		}
		control := read(copies, uint64(msg.Control))
		if len(control) != int(msg.Controllen) {
			t.Fatalf("%d bytes of control messages, %d were there", len(control), msg.Controllen)
		}
		cmsgs, err := ParseCmsgs(c.m, control)
		if err != nil || len(cmsgs) != 1 {
			t.Fatalf("%+v, %v", cmsgs, err)
		}
		cm := cmsgs[0]
		if cm.Level != SOL_SOCKET || cm.Type != SCM_RIGHTS || len(cm.Data) != 4 {
			t.Errorf("%+v", cm)
		}
		again := AppendCmsg(c.m, nil, cm.Level, cm.Type, cm.Data)
		// The padding after the data is rubbish in what programs send.
		if n := CmsgLen(c.m, 4); !bytes.Equal(again[:12], control[:12]) || !bytes.Equal(again[16:n], control[16:n]) || len(again) != len(control) {
			t.Errorf("% x again, was % x", again, control)
		}
		found++
	}
	if found != 2 {
		t.Errorf("%d messages", found)
	}
}

func TestCmsgs(t *testing.T) {
	for _, tt := range []struct {
		m    *Machine
		want string
	}{
		{AMD64, "14000000 ffff0000 01000000 00000000 05000000 00000000" + "11000000 00000000 07000000 00000000 ff000000 00000000"},
		{I386, "10000000 ffff0000 01000000 05000000" + "0d000000 00000000 07000000 ff000000"},
		{POWERPC, "00000014 0000ffff 00000001 00000000 05000000 00000000" + "00000011 00000000 00000007 00000000 ff000000 00000000"},
		{SPARC64, "00000014 0000ffff 00000001 00000000 05000000 00000000 00000000 00000000" +
			"00000011 00000000 00000007 00000000 ff000000 00000000 00000000 00000000"},
	} {
		b := AppendCmsg(tt.m, nil, SOL_SOCKET, SCM_RIGHTS, []byte{5, 0, 0, 0})
		b = AppendCmsg(tt.m, b, IPPROTO_IP, IP_RECVDSTADDR, []byte{0xff})
		if !bytes.Equal(b, unhex(t, tt.want)) {
			t.Errorf("%s: % x, want %s", tt.m, b, tt.want)
		}
		got, err := ParseCmsgs(tt.m, b)
		want := []Cmsg{{SOL_SOCKET, SCM_RIGHTS, []byte{5, 0, 0, 0}}, {IPPROTO_IP, IP_RECVDSTADDR, []byte{0xff}}}
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v", tt.m, got, err)
		}
		// Without the padding at the end, and cut.
		n := CmsgSpace(tt.m, 4) + CmsgLen(tt.m, 1)
		if got, err := ParseCmsgs(tt.m, b[:n]); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v", tt.m, got, err)
		}
		if got, err := ParseCmsgs(tt.m, b[:n-1]); err == nil || !reflect.DeepEqual(got, want[:1]) {
			t.Errorf("%s: %+v, %v", tt.m, got, err)
		}
	}
}

func TestSplitAddrs(t *testing.T) {
	dst, mask := SockaddrIn(netip.MustParseAddrPort("10.0.0.0:0")), RouteNetmask(AF_INET, 24)
	var sas [RTAX_MAX][]byte
	sas[RTAX_DST], sas[RTAX_NETMASK], sas[RTAX_TAG] = dst, mask, []byte{3, 9, 9}
	sas[RTAX_GATEWAY] = []byte{}
	b, addrs := AppendAddrs(nil, sas)
	if addrs != RTA_DST|RTA_GATEWAY|RTA_NETMASK|RTA_TAG || len(b) != 16+8+8+8 {
		t.Fatalf("%#x, % x", addrs, b)
	}
	got, err := SplitAddrs(addrs, append(b, 1, 2, 3))
	if err != nil || !reflect.DeepEqual(got, sas) {
		t.Errorf("%x, %v", got, err)
	}
	if got, err := SplitAddrs(addrs, b[:len(b)-5]); err != nil || !reflect.DeepEqual(got, sas) {
		t.Errorf("without padding: %x, %v", got, err)
	}
	if _, err := SplitAddrs(addrs, b[:len(b)-6]); err == nil {
		t.Error("an address is cut")
	}
	if _, err := SplitAddrs(addrs|RTA_BRD, b); err == nil {
		t.Error("an address is missing")
	}
	if _, err := SplitAddrs(RTA_DST|1<<RTAX_MAX, b); err == nil {
		t.Error("an address is unknown")
	}
	if got, err := SplitAddrs(RTA_DST|RTA_IFP|RTA_IFA, b[:16]); err != nil || got[RTAX_IFP] != nil || got[RTAX_IFA] != nil {
		t.Errorf("asking for the interface: %x, %v", got, err)
	}
	for n, want := range map[int]int{-1: 8, 0: 8, 1: 8, 7: 8, 8: 8, 9: 16, 28: 32} {
		if got := RoundUp(n); got != want {
			t.Errorf("RoundUp(%d) = %d, want %d", n, got, want)
		}
	}
}

func TestRtMessages(t *testing.T) {
	for _, m := range Machines() {
		var sas [RTAX_MAX][]byte
		sas[RTAX_DST] = SockaddrIn(netip.MustParseAddrPort("10.0.0.0:0"))
		var b []byte
		b = AppendRtMessage(m, b, &RtMsghdr{Type: RTM_GET, Pid: 5, Seq: -1}, sas)
		b = AppendRtMessage(m, b, &IfMsghdr{Type: RTM_IFINFO, Index: 2}, [RTAX_MAX][]byte{})
		b = AppendRtMessage(m, b, &IfaMsghdr{Type: RTM_NEWADDR, Index: 2}, sas)
		b = AppendRtMessage(m, b, &IfAnnouncemsghdr{Type: RTM_IFANNOUNCE, Name: IfName("shmif0")}, [RTAX_MAX][]byte{})
		var types []uint8
		for rest := b; len(rest) > 0; {
			msg, next, err := NextRtMessage(m, rest)
			if err != nil {
				t.Fatalf("%s: %v", m, err)
			}
			if len(msg.Raw)%8 != 0 {
				t.Errorf("%s: type %d has %d bytes", m, msg.Type, len(msg.Raw))
			}
			types = append(types, msg.Type)
			rest = next
		}
		if !bytes.Equal(types, []byte{RTM_GET, RTM_IFINFO, RTM_NEWADDR, RTM_IFANNOUNCE}) {
			t.Errorf("%s: %v", m, types)
		}
		for n := range len(b) {
			for rest := b[:n]; len(rest) > 0; {
				var err error
				if _, rest, err = NextRtMessage(m, rest); err != nil {
					break
				}
			}
		}
	}
	old := []byte{8, 0, 3, RTM_GET, 1, 2, 3, 4}
	if msg, rest, err := NextRtMessage(AMD64, old); err != nil || len(rest) != 0 || msg.Rtm != nil || msg.Version != 3 {
		t.Errorf("old version: %+v, %v", msg, err)
	}
	for _, b := range [][]byte{nil, {8, 0, 4}, {3, 0, 4, 4}, {0, 0, 4, 4}, {9, 0, 4, 4, 0, 0, 0, 0}, {8, 0, 4, 4, 0, 0, 0, 0}} {
		if msg, _, err := NextRtMessage(AMD64, b); err == nil {
			t.Errorf("% x: %+v", b, msg)
		}
	}
}

func TestTimes(t *testing.T) {
	for _, d := range []time.Duration{0, 1, 999 * time.Nanosecond, time.Microsecond, -time.Nanosecond, -1500 * time.Millisecond, 1500 * time.Millisecond, 1<<63 - 1, -1 << 63} {
		ts := NewTimespec(d)
		if ts.Nsec < 0 || ts.Nsec >= 1e9 {
			t.Errorf("%v: %+v", d, ts)
		}
		if got := ts.Duration(); got != d {
			// The ends are rounded to what never overflows.
			if got > 0 != (d > 0) || d < 1<<62 && d > -1<<62 {
				t.Errorf("%v: %+v, back %v", d, ts, got)
			}
		}
		if tv := NewTimeval(d); tv.Usec < 0 || tv.Usec >= 1e6 || tv.Sec != ts.Sec || int64(tv.Usec) != int64(ts.Nsec)/1000 {
			t.Errorf("%v: %+v", d, tv)
		}
	}
	if d := (Timespec{Sec: 1 << 62}).Duration(); d != 1<<63-1 {
		t.Errorf("2^62 seconds: %v", d)
	}
	if d := (Timeval{Sec: -1 << 62}).Duration(); d != -1<<63 {
		t.Errorf("-2^62 seconds: %v", d)
	}
	now := time.Unix(1700000000, 123456789)
	if got := TimespecAt(now).Time(); !got.Equal(now) {
		t.Errorf("%v, want %v", got, now)
	}
	if got := TimevalAt(now).Time(); !got.Equal(now.Truncate(time.Microsecond)) {
		t.Errorf("%v", got)
	}
}

func TestDirent(t *testing.T) {
	b := AppendDirent(AMD64, nil, 2, DT_DIR, "..")
	b = AppendDirent(AMD64, b, 3, DT_REG, "abc")
	want := unhex(t, "0200000000000000 1000 0200 04 2e2e00"+"0300000000000000 1800 0300 08 61626300 00000000000000")
	if !bytes.Equal(b, want) {
		t.Errorf("% x, want % x", b, want)
	}
	if b := AppendDirent(AMD64, nil, 1, DT_REG, strings.Repeat("x", 600)); len(b) != 528 {
		t.Errorf("long name: %d bytes", len(b))
	}
}

func TestIcmp6Filter(t *testing.T) {
	var f Icmp6Filter
	f.SetPass(ICMP6_ECHO_REPLY)
	for typ := range 256 {
		if f.WillPass(uint8(typ)) != (typ == ICMP6_ECHO_REPLY) {
			t.Errorf("type %d", typ)
		}
	}
	f.PassAll()
	f.SetBlock(135)
	if f.WillPass(135) || !f.WillPass(134) || !f.WillPass(255) {
		t.Errorf("%+v", f)
	}
	f.BlockAll()
	if f != (Icmp6Filter{}) {
		t.Errorf("%+v", f)
	}
}

func TestRaflags(t *testing.T) {
	for m, want := range map[*Machine]byte{AMD64: 0x03, POWERPC: 0xc0} {
		var p In6Prefix
		p.SetRaflags(m, true, true)
		if b := Marshal(m, &p); b[28] != want {
			t.Errorf("%s: % x", m, b[28:32])
		}
		p.SetRaflags(m, false, true)
		if p.Onlink(m) || !p.Autonomous(m) {
			t.Errorf("%s: %#x", m, p.Raflags)
		}
	}
}

func TestNames(t *testing.T) {
	if got := IfName("shmif0"); CString(got[:]) != "shmif0" {
		t.Errorf("%q", got)
	}
	if got := IfName("averylonginterfacename"); CString(got[:]) != "averylonginterf" {
		t.Errorf("%q", got)
	}
	if got := CString([]byte("abc")); got != "abc" {
		t.Errorf("%q", got)
	}
}

func TestIoctlNames(t *testing.T) {
	for _, tt := range []struct {
		m    *Machine
		cmd  uint32
		want string
	}{
		{AMD64, 0xc0906911, "SIOCGIFFLAGS"},
		{AMD64, 0xc0106926, "SIOCGIFCONF"},
		{POWERPC, 0xc0086926, "SIOCGIFCONF"},
		{POWERPC, 0xc0106926, "_IOWR('i', 38, 16)"},
		{AMD64, 0x8004667e, "FIONBIO"},
		{AMD64, 0x40087468, "TIOCGWINSZ"},
		{AMD64, 0x20006601, "FIOCLEX"},
		{AMD64, 0x80906939, "SIOCSIFGENERIC"},
		{AMD64, 0x20007a01, "_IO('z', 1, 0)"},
		{AMD64, 0x40047a01, "_IOR('z', 1, 4)"},
		{AMD64, 0x80047a01, "_IOW('z', 1, 4)"},
		{AMD64, 0x00047a01, "0x47a01"},
	} {
		if got := IoctlName(tt.m, tt.cmd); got != tt.want {
			t.Errorf("%s: %#x is %s, want %s", tt.m, tt.cmd, got, tt.want)
		}
	}
	for _, m := range Machines() {
		seen := make(map[uint32]string)
		for _, i := range Ioctls() {
			cmd := i.Cmd(m)
			if IoctlSize(cmd) != i.Size(m) || IoctlIn(cmd) != (i.Dir&IOC_IN != 0) || IoctlOut(cmd) != (i.Dir&IOC_OUT != 0) {
				t.Errorf("%s: %s: %#x", m, i, cmd)
			}
			if other, ok := seen[cmd]; ok {
				t.Errorf("%s: %s and %s are both %#x", m, i, other, cmd)
			}
			seen[cmd] = i.Name
		}
	}
}

func TestSyscalls(t *testing.T) {
	info, ok := LookupSyscall(SYS_sendto)
	if !ok {
		t.Fatal("no sendto")
	}
	want := &SyscallInfo{Num: 133, Name: "sendto", Ret: "ssize_t", Rump: true, Args: []Arg{
		{Name: "s", Kind: ArgFd, LenArg: -1},
		{Name: "buf", Kind: ArgIn, LenArg: 2},
		{Name: "len", Kind: ArgSize, LenArg: -1},
		{Name: "flags", Kind: ArgInt, LenArg: -1},
		{Name: "to", Kind: ArgIn, Type: "sockaddr", LenArg: 5},
		{Name: "tolen", Kind: ArgSocklen, LenArg: -1},
	}}
	if !reflect.DeepEqual(info, want) {
		t.Errorf("%+v", info)
	}
	info, _ = LookupSyscall(SYS___sysctl)
	if a := info.Args[0]; a.LenArg != 1 || !a.LenElements || a.LenIndirect || a.Type != "int" {
		t.Errorf("%+v", a)
	}
	if a := info.Args[2]; a.LenArg != 3 || a.LenElements || !a.LenIndirect || a.Kind != ArgOut {
		t.Errorf("%+v", a)
	}
	info, _ = LookupSyscall(SYS_pipe2)
	if a := info.Args[0]; a.Count != 2 || a.LenArg != -1 || a.Type != "int" {
		t.Errorf("%+v", a)
	}
	for num, want := range map[int]string{0: "syscall", 394: "__socket30", 14: "compat_50_mknod", 482: "clock_getcpuclockid2", 67: "", 483: "", 10000: "", -1: ""} {
		if got := SyscallName(num); got != want {
			t.Errorf("%d: %q, want %q", num, got, want)
		}
	}
	for _, name := range []string{"__kevent50", "SYS___kevent50"} {
		if info, ok := SyscallByName(name); !ok || info.Num != SYS___kevent50 {
			t.Errorf("%s: %+v", name, info)
		}
	}
	if _, ok := SyscallByName("nosuch"); ok {
		t.Error("nosuch")
	}
	names := make(map[string]bool)
	for num := range 500 {
		info, ok := LookupSyscall(num)
		if !ok {
			continue
		}
		if names[info.Name] {
			t.Errorf("%s is there twice", info.Name)
		}
		names[info.Name] = true
		if len(info.Args) > MaxArgs {
			t.Errorf("%s: %d arguments", info.Name, len(info.Args))
		}
		// What a call needs fits the builder, on every machine.
		for _, m := range Machines() {
			if n := info.ArgSize(m); n > len(Args{}.buf) {
				t.Errorf("%s: %d bytes", info.Name, n)
			}
		}
	}
	if len(names) != 430 {
		t.Errorf("%d calls", len(names))
	}
}

func FuzzSplitAddrs(f *testing.F) {
	f.Add(uint32(7), []byte{16, 2, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 255, 255, 255, 255, 255, 255, 0})
	f.Fuzz(func(t *testing.T, addrs uint32, b []byte) {
		sas, err := SplitAddrs(addrs, b)
		if err != nil {
			return
		}
		again, bits := AppendAddrs(nil, sas)
		if missing := addrs &^ bits; missing&^(RTA_IFP|RTA_IFA) != 0 {
			t.Fatalf("%#x, again %#x", addrs, bits)
		}
		sas2, err := SplitAddrs(bits, again)
		if err != nil || !reflect.DeepEqual(sas, sas2) {
			t.Fatalf("%x, again %x, %v", sas, sas2, err)
		}
	})
}

func FuzzNextRtMessage(f *testing.F) {
	f.Add(AppendRtMessage(AMD64, nil, &IfaMsghdr{Type: RTM_NEWADDR}, [RTAX_MAX][]byte{{16, 2, 0, 0, 10, 0, 0, 1}}), uint8(0))
	f.Add(AppendRtMessage(POWERPC, nil, &RtMsghdr{Type: RTM_GET}, [RTAX_MAX][]byte{}), uint8(4))
	f.Fuzz(func(t *testing.T, b []byte, machine uint8) {
		m := machines[int(machine)%len(machines)]
		for len(b) > 0 {
			msg, rest, err := NextRtMessage(m, b)
			if err != nil {
				return
			}
			if len(msg.Raw)+len(rest) != len(b) || len(msg.Raw) == 0 {
				t.Fatalf("%d and %d of %d bytes", len(msg.Raw), len(rest), len(b))
			}
			b = rest
		}
	})
}

func FuzzParseCmsgs(f *testing.F) {
	f.Add(AppendCmsg(AMD64, nil, SOL_SOCKET, SCM_RIGHTS, []byte{1, 0, 0, 0}), uint8(0))
	f.Add(AppendCmsg(SPARC64, nil, 0, 1, []byte{1, 0, 0}), uint8(6))
	f.Fuzz(func(t *testing.T, b []byte, machine uint8) {
		m := machines[int(machine)%len(machines)]
		cmsgs, _ := ParseCmsgs(m, b)
		var again []byte
		for _, c := range cmsgs {
			again = AppendCmsg(m, again, c.Level, c.Type, c.Data)
		}
		cmsgs2, err := ParseCmsgs(m, again)
		if err != nil || len(cmsgs) != len(cmsgs2) {
			t.Fatalf("%+v, again %+v, %v", cmsgs, cmsgs2, err)
		}
		for i := range cmsgs {
			if c, c2 := cmsgs[i], cmsgs2[i]; c.Level != c2.Level || c.Type != c2.Type || !bytes.Equal(c.Data, c2.Data) {
				t.Fatalf("%+v, again %+v", c, c2)
			}
		}
	})
}
