package hijack

import (
	"strings"
	"testing"
)

func TestParseRumphijack(t *testing.T) {
	both := Families{true, true}
	for _, tt := range []struct {
		value string
		want  Families
		notes int
		err   string
	}{
		{"", both, 0, ""},
		{"socket=all", both, 0, ""},
		{"socket=all:nolocal", both, 0, ""},
		{"socket=inet", Families{Inet: true}, 0, ""},
		{"socket=inet6", Families{Inet6: true}, 0, ""},
		{"socket=inet:inet6", both, 0, ""},
		{"socket=noinet6", Families{Inet: true}, 0, ""},
		{"socket=all:noinet", Families{Inet6: true}, 0, ""},
		{"socket=local", Families{}, 0, ""},
		{"path=/rump,socket=all:nolocal", both, 1, ""},
		{"blanket=/etc:/var,vfs=nofdoff,fdoff=8", both, 3, ""},
		{"sysctl=yes", both, 1, ""},
		{"sysctl=no", both, 0, ""},
		{"sysctl=maybe", both, 0, "yes or no"},
		{"socket=ipx", Families{}, 0, "ipx: unknown"},
		{"socket=inet:all", Families{Inet: true}, 0, "all comes first"},
		{"socket=", Families{}, 0, "unknown"},
		{"sockets=all", both, 0, "sockets=all: unknown"},
		{"socket=all,", both, 0, "unknown"},
	} {
		f, notes, err := ParseRumphijack(tt.value)
		if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%q: error %v, want %q", tt.value, err, tt.err)
			continue
		}
		if err == nil && (f != tt.want || len(notes) != tt.notes) {
			t.Errorf("%q: %v, notes %q", tt.value, f, notes)
		}
	}
}
