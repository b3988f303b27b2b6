package kernel_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"rumptools/internal/kernel"
	"rumptools/internal/kernel/local"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient/spclienttest"
	"rumptools/pkg/sysproxy"
)

// differs are recorded conversations that this kernel holds otherwise on
// purpose, and why.
var differs = map[string]string{
	"raw-150-blocked-reads":        "every client has workers of its own here",
	"raw-300-connections":          "there is no table of 256",
	"raw-copyin-short-response":    "EFAULT here; the real kernel takes what lies behind the answer",
	"raw-copyin-empty-response":    "EFAULT here; the real kernel dies",
	"raw-syscall-short-args":       "EFAULT here; the real kernel takes what lies behind the arguments",
	"raw-syscall-no-args":          "EFAULT here; the real kernel dies",
	"raw-syscall-minus-1":          "ENOSYS here; the real kernel dies",
	"raw-syscall-0x80000000":       "ENOSYS here; the real kernel dies",
	"raw-guest-empty-name":         "a process without a name here; the real kernel dies",
	"raw-exec-empty-name":          "refused here; the real kernel dies",
	"raw-never-answers-copyin":     "the recording is cut by a time limit",
	"raw-len-64M-unfinished":       "closed here, where the real kernel waits for 64 MiB",
	"raw-pipelined":                "two calls at once are answered in another order",
	"raw-disconnect-during-copyin": "the recorder closed both sides",
}

// needsMore are recordings with Internet sockets, which a bare kernel lacks;
// package inet plays them.
var needsMore = map[string]bool{
	"raw-trailing-bytes-in-args": true,
	"raw-exec-new-name":          true,
}

// TestRecordedConversations says what hand-written clients said to a real
// kernel, and expects its answers, frame by frame.
func TestRecordedConversations(t *testing.T) {
	recs, err := spclienttest.OpenRecordings("../../pkg/sysproxy/testdata/recordings.tar.gz")
	if err != nil {
		t.Fatal(err)
	}
	played := 0
	for _, rec := range recs {
		if !strings.HasPrefix(rec.Name, "raw-") || differs[rec.Name] != "" || needsMore[rec.Name] {
			continue
		}
		played++
		t.Run(rec.Name, func(t *testing.T) { play(t, rec) })
	}
	if played < 30 {
		t.Errorf("only %d recordings played", played)
	}
}

// play holds one recorded conversation with a fresh kernel.
func play(t *testing.T, rec *spclienttest.Recording) {
	k, url := serve(t, kernel.Config{})
	local.Register(k)
	l := sysproxy.Layout{Order: netbsd.AMD64.Order, WordSize: 8}
	conns := make(map[int]net.Conn)
	cookies := make(map[string][]byte) // recorded to ours
	for _, e := range rec.Events {
		c := conns[e.Conn]
		switch {
		case e.Kind == spclienttest.Opened:
			nc, err := net.Dial("unix", strings.TrimPrefix(url, "unix://"))
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			nc.SetDeadline(time.Now().Add(10 * time.Second))
			conns[e.Conn] = nc
		case e.Kind == spclienttest.Ended && e.FromClient:
			c.(*net.UnixConn).CloseWrite()
		case e.Kind == spclienttest.Ended:
			// The kernel may close with something of ours unread.
			if n, err := io.Copy(io.Discard, c); n != 0 || err != nil && !errors.Is(err, syscall.ECONNRESET) {
				t.Fatalf("line %d: %d more bytes, then %v, want the end", e.Line, n, err)
			}
		case e.FromClient:
			data := e.Data
			for recorded, ours := range cookies {
				data = bytes.ReplaceAll(data, []byte(recorded), ours)
			}
			if _, err := c.Write(data); err != nil && !errors.Is(err, syscall.EPIPE) {
				t.Fatalf("line %d: %v", e.Line, err)
			}
		default:
			expect(t, l, c, e, cookies)
		}
	}
}

// expect reads a frame and compares it with the recorded one.
func expect(t *testing.T, l sysproxy.Layout, c net.Conn, e spclienttest.Event, cookies map[string][]byte) {
	t.Helper()
	if e.Comment == "BANNER" {
		b, err := sysproxy.ReadBanner(c)
		b.Extensions = nil // which clients of old don't mind
		if err != nil || b.String()+"\n" != string(e.Data) {
			t.Fatalf("line %d: banner %q and %v, want %q", e.Line, b, err, e.Data)
		}
		return
	}
	got := make([]byte, len(e.Data))
	if n, err := io.ReadFull(c, got); err != nil {
		t.Fatalf("line %d: %d bytes of %x, then %v", e.Line, n, e.Data, err)
	}
	want := bytes.Clone(e.Data)
	if h, err := l.ParseHeader(want); err == nil && e.IsFrame() {
		switch {
		case h.Class == sysproxy.Resp && h.Type == sysproxy.TypeSyscall:
			// The padding behind the error is not cleared there.
			clear(want[28:32])
			clear(got[28:32])
		case h.Class == sysproxy.Resp && h.Type == sysproxy.TypePrefork:
			cookies[string(want[24:])] = bytes.Clone(got[24:])
			copy(want[24:], got[24:])
		case h.Class == sysproxy.Req && h.Type == sysproxy.TypeRaise:
			clear(want[8:16])
			clear(got[8:16])
		}
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("line %d:\n got %x\nwant %x", e.Line, got, want)
	}
}
