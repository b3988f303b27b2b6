package sysproxy_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient/spclienttest"
	"rumptools/pkg/sysproxy"
)

var recordings = sync.OnceValues(func() ([]*spclienttest.Recording, error) {
	return spclienttest.OpenRecordings("testdata/recordings.tar.gz")
})

// malformed are the frames of the recordings that don't decode, because no
// client or server of the protocol sends them: what the real kernel says to them
// is their point.
var malformed = []string{
	"raw-auth-handshake: REQ HANDSHAKE AUTH reqno=1 len=28",
	"raw-first-frame-resp-class: RESP HANDSHAKE reqno=5 len=24",
	"raw-first-frame-type99: REQ 99 reqno=1 len=24",
	"raw-fork-short-payload: REQ HANDSHAKE FORK reqno=1 len=40",
	"raw-handshake-unknown: REQ HANDSHAKE 9 reqno=1 len=28",
	"raw-unknown-class: 7 HANDSHAKE reqno=1 len=24",
	"raw-unknown-class: 7 SYSCALL u=20 reqno=3 len=27",
	"raw-unknown-type: REQ 99 reqno=2 len=32",
}

// uncommon are the frames that decode and encode to other bytes: an ERROR frame
// with a type, which a client sent.
var uncommon = []string{
	"raw-copyin-error-answer: ERROR COPYIN 7 MALFORMED_REQUEST reqno=0 len=24",
}

// layoutOf is the layout of the machine in a banner.
func layoutOf(t *testing.T, banner string) sysproxy.Layout {
	t.Helper()
	b, err := sysproxy.ParseBanner(banner)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != banner {
		t.Errorf("banner %q encodes to %q", banner, b.String())
	}
	m, ok := netbsd.MachineByName(b.Machine)
	if !ok {
		t.Fatalf("unknown machine %q", b.Machine)
	}
	return sysproxy.Layout{Order: m.Order, WordSize: m.WordSize}
}

// TestRecordings decodes every frame of conversations with real kernels, encodes
// it and compares the bytes; what was decoded is compared with what the recorder
// said that the frame is.
func TestRecordings(t *testing.T) {
	recs, err := recordings()
	if err != nil {
		t.Fatal(err)
	}
	if len(recs) < 259 {
		t.Errorf("%d recordings, want 259", len(recs))
	}
	var gotMalformed, gotUncommon []string
	for _, rec := range recs {
		l := layoutOf(t, rec.Server)
		for _, e := range rec.Events {
			if !e.IsFrame() {
				continue
			}
			h, err := l.ParseHeader(e.Data)
			if err != nil {
				t.Errorf("%s:%d: %v", rec.Name, e.Line, err)
				continue
			}
			if h.Len != uint64(len(e.Data)) {
				t.Errorf("%s:%d: header says %d bytes of %d", rec.Name, e.Line, h.Len, len(e.Data))
			}
			m, err := l.Decode(h, e.Data[sysproxy.HeaderLen:])
			if err != nil {
				var perr *sysproxy.PayloadError
				if !errors.As(err, &perr) {
					t.Errorf("%s:%d: %v", rec.Name, e.Line, err)
				}
				gotMalformed = append(gotMalformed, rec.Name+": "+e.Comment)
				continue
			}
			if got := m.Append(nil, l, h.ReqNo); !bytes.Equal(got, e.Data) {
				gotUncommon = append(gotUncommon, rec.Name+": "+e.Comment)
			}
			if bare[rec.Name] {
				continue
			}
			if got, want := describe(h, m), e.Comment; !saysAll(want, got) {
				t.Errorf("%s:%d: decoded %q, recorder says %q", rec.Name, e.Line, got, want)
			}
		}
	}
	slices.Sort(gotMalformed)
	if diff := cmp.Diff(malformed, slices.Compact(gotMalformed)); diff != "" {
		t.Errorf("frames that don't decode (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(uncommon, gotUncommon); diff != "" {
		t.Errorf("frames that encode to other bytes (-want +got):\n%s", diff)
	}
}

// bare are the recordings whose comments say class and type only.
var bare = map[string]bool{"i386-basic": true, "powerpc-basic": true}

// describe says of a message what the recorder says of it, as words.
func describe(h sysproxy.Header, m sysproxy.Message) []string {
	words := []string{h.Class.String()}
	add := func(format string, args ...any) { words = append(words, fmt.Sprintf(format, args...)) }
	switch m := m.(type) {
	case sysproxy.Guest:
		add("HANDSHAKE GUEST")
		add("%s", quote(m.Name))
	case sysproxy.Exec:
		add("HANDSHAKE EXEC")
		add("%s", quote(m.Name))
	case sysproxy.Fork:
		add("HANDSHAKE FORK")
	case sysproxy.HandshakeReply:
		add("HANDSHAKE error=%d", m.Errno)
	case sysproxy.Syscall:
		add("SYSCALL %d", m.Num)
	case sysproxy.SyscallReply:
		add("SYSCALL")
		add("error=%d", m.Errno)
		add("retval=%d,%d", int64(m.Retval[0]), int64(m.Retval[1]))
	case sysproxy.CopyIn:
		add("COPYIN rcp_len=%d rcp_addr=%#x", m.Len, m.Addr)
	case sysproxy.CopyInStr:
		add("COPYINSTR rcp_len=%d rcp_addr=%#x", m.Len, m.Addr)
	case sysproxy.CopyInReply:
		add("COPYIN")
	case sysproxy.CopyOut:
		add("COPYOUT rcp_len=%d rcp_addr=%#x", len(m.Data), m.Addr)
	case sysproxy.AnonMmap:
		add("ANONMMAP len=%d", m.Len)
	case sysproxy.Prefork:
		add("PREFORK")
	case sysproxy.PreforkReply:
		add("PREFORK")
	case sysproxy.Raise:
		add("RAISE signo=%d", m.Signo)
	case sysproxy.Refusal:
		add("%d", uint32(m.Code))
	default:
		add("%T, which no recording has", m)
	}
	add("reqno=%d len=%d", h.ReqNo, h.Len)
	return words
}

// quote is how the recorder shows a program's name.
func quote(name string) string {
	if name == "" {
		return ""
	}
	return strconv.Quote(name)
}

func saysAll(comment string, words []string) bool {
	for _, w := range words {
		if !strings.Contains(comment, w) {
			return false
		}
	}
	return true
}
