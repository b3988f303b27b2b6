package netbsd

import (
	"bytes"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"
)

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

// TestUnions writes the unions of requests through their setters, sends them
// through the machine's layout and reads them back.
func TestUnions(t *testing.T) {
	for _, m := range Machines() {
		again := func(r *Ifreq) *Ifreq {
			var out Ifreq
			if err := Unmarshal(m, Marshal(m, r), &out); err != nil {
				t.Fatal(err)
			}
			return &out
		}
		var r Ifreq
		r.SetFlags(m, IFF_UP|IFF_MULTICAST)
		if got := again(&r).Flags(m); got != IFF_UP|IFF_MULTICAST {
			t.Errorf("%s: flags %#x", m, got)
		}
		r.SetMTU(m, 1400)
		if r := again(&r); r.MTU(m) != 1400 || r.Value(m) != 1400 {
			t.Errorf("%s: MTU %d", m, r.MTU(m))
		}
		r.SetMetric(m, -3)
		if got := again(&r).Metric(m); got != -3 {
			t.Errorf("%s: metric %d", m, got)
		}
		r.SetData(m, 0x10203040)
		if got := again(&r).Data(m); got != 0x10203040 {
			t.Errorf("%s: data %#x", m, got)
		}
		r.SetBuf(m, 0x10203040, 99)
		if p, n := again(&r).Buf(m); p != 0x10203040 || n != 99 {
			t.Errorf("%s: buffer %#x, %d", m, p, n)
		}
		sa := Sockaddr(m, netip.MustParseAddrPort("[fe80::1]:9"))
		r.SetAddr(sa)
		if got := again(&r).Addr(); !bytes.Equal(got, sa) {
			t.Errorf("%s: address % x", m, got)
		}
		for length, want := range map[byte]int{0: 2, 1: 2, 16: 16, 128: 128, 255: 128} {
			if got := (&Ifreq{Ifru: [128]byte{length}}).Addr(); len(got) != want {
				t.Errorf("address that says %d: %d bytes", length, len(got))
			}
		}

		var r6 In6Ifreq
		r6.SetAddr(sa)
		if got := r6.Addr(); !bytes.Equal(got, sa) {
			t.Errorf("%s: address % x", m, got)
		}
		r6.SetFlags6(m, IN6_IFF_TENTATIVE)
		if got := r6.Flags6(m); got != IN6_IFF_TENTATIVE {
			t.Errorf("%s: flags6 %#x", m, got)
		}
		life := In6Addrlifetime{1, 2, ND6_INFINITE_LIFETIME, 4}
		r6.SetLifetime(m, life)
		if got := r6.Lifetime(m); got != life {
			t.Errorf("%s: lifetime %+v", m, got)
		}
		r6.SetStat(m, 33, 1<<40)
		r6.SetStat(m, 34, 1) // there is no such counter
		if r6.Stat(m, 33) != 1<<40 || r6.Stat(m, 34) != 0 || r6.Stat(m, -1) != 0 {
			t.Errorf("%s: counters %d, %d", m, r6.Stat(m, 33), r6.Stat(m, 34))
		}

		var n Sysctlnode
		n.SetQdata(m, 1<<40+5)
		if n.Qdata(m) != 1<<40+5 {
			t.Errorf("%s: qdata %#x", m, n.Qdata(m))
		}
		n.SetIdata(m, -7)
		if n.Idata(m) != -7 {
			t.Errorf("%s: idata %d", m, n.Idata(m))
		}
		if !n.Bdata() || (&Sysctlnode{}).Bdata() {
			t.Errorf("%s: bdata", m)
		}
		if got := m.AppendWord(nil, 5); len(got) != m.WordSize || m.Word(got) != 5 {
			t.Errorf("%s: word % x", m, got)
		}
	}
}
