package netbsd

import (
	"bytes"
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
