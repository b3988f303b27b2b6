package sysproxy_test

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"rumptools/pkg/sysproxy"
)

func TestOrigin(t *testing.T) {
	in4 := []byte{16, 2, 0, 53, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0}
	in6 := append([]byte{28, 24, 0, 53, 0, 0, 0, 0, 0xfe, 0x80}, make([]byte, 18)...)
	control := func(level, typ int32, n int) sysproxy.Control {
		return sysproxy.Control{Level: level, Type: typ, Data: bytes.Repeat([]byte{0, 7}, n)[:n]}
	}
	for _, tt := range []struct {
		o    sysproxy.Origin
		kept int // control messages
	}{
		{sysproxy.Origin{From: in4}, 0},
		{sysproxy.Origin{From: in6}, 0},
		{sysproxy.Origin{From: []byte{}}, 0},
		{sysproxy.Origin{From: in4, Cut: true}, 0},
		{sysproxy.Origin{From: make([]byte, 93)}, 0},
		{sysproxy.Origin{From: in4, Control: []sysproxy.Control{control(0, 7, 4), control(0, 20, 20), control(0, 23, 1), control(0xffff, 8, 16)}}, 4},
		// All that an IPv6 socket can have but the headers' options.
		{sysproxy.Origin{From: in6, Control: []sysproxy.Control{control(41, 46, 20), control(41, 47, 4), control(41, 61, 4), control(0xffff, 8, 16)}}, 4},
		{sysproxy.Origin{From: in6, Control: []sysproxy.Control{control(41, 46, 20), control(41, 49, 40), control(41, 47, 4)}}, 2},
		{sysproxy.Origin{From: in4, Control: []sysproxy.Control{control(256, 1, 4), control(-1, 1, 4), control(0, 256, 4), control(0, -1, 4), control(255, 1, 0), control(254, 255, 0)}}, 1},
		{sysproxy.Origin{From: in4, Control: []sysproxy.Control{control(0, 1, 1000)}}, 0},
	} {
		name := tt.o.AppendName([]byte("before"), []byte("0\x00234567890"))
		if !bytes.HasPrefix(name, []byte("before")) {
			t.Fatalf("%+v: %q", tt.o, name)
		}
		name = name[len("before"):]
		if bytes.IndexByte(name, 0) >= 0 || len(name) > 107 {
			t.Errorf("%+v: name %q", tt.o, name)
		}
		got, ok := sysproxy.ParseOrigin(string(name))
		if !ok || !bytes.Equal(got.From, tt.o.From) || len(got.Control) != tt.kept {
			t.Errorf("%+v comes back as %+v, %v", tt.o, got, ok)
			continue
		}
		if want := tt.o.Cut || tt.kept < len(tt.o.Control); got.Cut != want {
			t.Errorf("%+v comes back as %+v", tt.o, got)
		}
		if !got.Cut && tt.kept > 0 && !reflect.DeepEqual(got.Control, tt.o.Control) {
			t.Errorf("%+v comes back as %+v", tt.o, got)
		}
	}
	if name := (&sysproxy.Origin{From: make([]byte, 94)}).AppendName(nil, make([]byte, 10)); name != nil {
		t.Errorf("a name for a long address: %q", name)
	}
	a := (&sysproxy.Origin{From: in4}).AppendName(nil, []byte("0123456789"))
	b := (&sysproxy.Origin{From: in4}).AppendName(nil, []byte("0123456788"))
	if bytes.Equal(a, b) {
		t.Error("two serials have the same name")
	}
}

func TestOriginOthers(t *testing.T) {
	good := string((&sysproxy.Origin{From: []byte("sixteen bytes of"), Control: []sysproxy.Control{{Level: 1, Type: 2, Data: []byte("data")}}}).AppendName(nil, []byte("0123456789")))
	bad := []string{"", "\x00", "000a1", "/tmp/socket", strings.Repeat("\x01", 107), strings.Repeat("\x02", 200), good + "\x01\x01", good + "x"}
	for i := range good {
		bad = append(bad, good[:i])
	}
	for _, name := range bad {
		if o, ok := sysproxy.ParseOrigin(name); ok && !strings.HasPrefix(good, name) {
			t.Errorf("%q tells of %+v", name, o)
		}
	}
}

func FuzzOrigin(f *testing.F) {
	f.Add("000a1", []byte("sixteen bytes of"))
	f.Add(string((&sysproxy.Origin{From: make([]byte, 28)}).AppendName(nil, []byte("0123456789"))), []byte{})
	f.Fuzz(func(t *testing.T, name string, from []byte) {
		if o, ok := sysproxy.ParseOrigin(name); ok {
			again, ok := sysproxy.ParseOrigin(string(o.AppendName(nil, make([]byte, 10))))
			if !ok || fmt.Sprint(again) != fmt.Sprint(o) {
				t.Errorf("%+v comes back as %+v, %v", o, again, ok)
			}
		}
		o := sysproxy.Origin{From: from, Control: []sysproxy.Control{{Level: 41, Type: 46, Data: from}}}
		if name := o.AppendName(nil, make([]byte, 10)); name != nil {
			if got, ok := sysproxy.ParseOrigin(string(name)); !ok || !bytes.Equal(got.From, from) {
				t.Errorf("%x comes back as %+v, %v", from, got, ok)
			}
		}
	})
}
