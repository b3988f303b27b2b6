package netbsd

import (
	"bytes"
	"net/netip"
	"reflect"
	"strings"
	"testing"
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
