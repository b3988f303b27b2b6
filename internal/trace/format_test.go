package trace

import (
	"strings"
	"testing"
	"time"

	"rumptools/pkg/netbsd"
)

func TestQuote(t *testing.T) {
	tr := New(Options{Strings: 8})
	for _, tt := range []struct {
		b    string
		n    uint64
		want string
	}{
		{"", 0, `""`},
		{"abc", 3, `"abc"`},
		{"abc", 10, `"abc"...`},
		{"12345678", 8, `"12345678"`},
		{"123456789", 9, `"12345678"...`},
		{"a\"\\\n\t\r\v\f", 8, `"a\"\\\n\t\r\v\f"`},
		{"\x00\x01\xff", 3, `"\0\1\377"`},
		{"\x001\x07a", 4, `"\0001\7a"`},
	} {
		if got := tr.quote([]byte(tt.b), tt.n); got != tt.want {
			t.Errorf("%q of %d: %s, want %s", tt.b, tt.n, got, tt.want)
		}
	}
}

func TestBaseName(t *testing.T) {
	for name, want := range map[string]string{
		"socket": "socket", "__socket30": "socket", "pipe2": "pipe2", "compat_50___stat30": "stat", "compat_50_wait4": "wait",
		"____semctl50": "semctl", "_lwp_create": "lwp_create", "___lwp_park60": "lwp_park", "__posix_rename": "posix_rename",
		"compat_43_osend": "osend", "__kevent50": "kevent", "__getdents30": "getdents", "syscall_10000": "syscall_10000",
	} {
		if got := baseName(name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

func TestFilter(t *testing.T) {
	has := func(f *Filter, name string) bool {
		info, ok := netbsd.SyscallByName(name)
		if !ok {
			return f.match(&call{kind: handshake, name: name})
		}
		return f.match(&call{kind: systemCall, name: name, info: info})
	}
	for _, tt := range []struct{ expr, in, out string }{
		{"read,write", "read write", "open pread HANDSHAKE"},
		{"trace=socket", "__socket30 compat_30_socket", "socketpair read"},
		{"trace=__socket30", "__socket30", "compat_30_socket"},
		{"t=!read", "write __socket30 HANDSHAKE", "read"},
		{"%network", "__socket30 sendto recvmsg accept paccept setsockopt", "read ioctl open"},
		{"%net,close", "sendto close", "read"},
		{"%desc", "read ioctl __socket30 poll open fcntl __kevent50 pipe2", "getpid __stat50 unlink"},
		{"%file", "open __stat50 unlink mkdirat", "read __fstat50"},
		{"!%desc,%file", "getpid __clock_gettime50", "read open"},
		{"%clock", "__clock_gettime50 __gettimeofday50", "__nanosleep50"},
		{"%process", "getpid HANDSHAKE PREFORK", "read"},
		{"handshake", "HANDSHAKE", "PREFORK read"},
		{"all", "read HANDSHAKE MALFORMED", ""},
		{"none", "", "read HANDSHAKE"},
	} {
		f, err := ParseFilter(tt.expr)
		if err != nil {
			t.Errorf("%s: %v", tt.expr, err)
			continue
		}
		for _, name := range strings.Fields(tt.in) {
			if !has(f, name) {
				t.Errorf("%s leaves out %s", tt.expr, name)
			}
		}
		for _, name := range strings.Fields(tt.out) {
			if has(f, name) {
				t.Errorf("%s has %s", tt.expr, name)
			}
		}
	}
	for _, expr := range []string{"", "nosuch", "%nosuch", "read,", "signal=all"} {
		if _, err := ParseFilter(expr); err == nil {
			t.Errorf("%q is taken", expr)
		}
	}
	if !has(nil, "read") {
		t.Error("no filter leaves out read")
	}
}

func TestSummary(t *testing.T) {
	s := newSummary()
	begin := time.Unix(0, 0)
	for i := 1; i <= 1000; i++ {
		s.add(&call{name: "read", start: begin, end: begin.Add(time.Duration(i) * time.Microsecond), done: true})
	}
	s.add(&call{name: "open", start: begin, end: begin.Add(time.Second), done: true, errnum: 2})
	c := s.Counts()
	if len(c) != 2 || c[0].Name != "open" || c[0].Errors != 1 || c[1].Calls != 1000 || c[1].Errors != 0 || c[1].Max != time.Millisecond {
		t.Fatalf("%+v", c)
	}
	for _, p := range []float64{1, 50, 90, 99, 100} {
		want := time.Duration(p*10) * time.Microsecond
		if got := c[1].Percentile(p); got < want || got > want+want/15 {
			t.Errorf("p%v: %v, want %v to a sixteenth", p, got, want)
		}
	}
	for i := range 5000 {
		s.add(&call{name: strings.Repeat("x", i), start: begin, end: begin})
	}
	if n := len(s.calls); n > maxNames+1 {
		t.Errorf("%d names are kept", n)
	}
}

func TestHistogramBuckets(t *testing.T) {
	for d := time.Duration(1); d > 0 && d < 1<<62; d = d*17/16 + 1 {
		i := bucket(d)
		if up := upper(i); up < d || up-d > d/15 || i > 0 && upper(i-1) >= d {
			t.Fatalf("%d is in bucket %d, up to %d", d, i, up)
		}
	}
	bucket(1<<63 - 1)
	bucket(-5)
}
