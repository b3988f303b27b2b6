package netbsd

import (
	"bytes"
	"net/netip"
	"testing"
)

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
