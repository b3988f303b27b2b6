package ping

import (
	"bytes"
	"context"
	"encoding/binary"
	"net/netip"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
)

// TestRecordings runs the engine with what NetBSD's programs received from a
// real kernel, and compares what it sends and prints with what they did.
func TestRecordings(t *testing.T) {
	files, err := filepath.Glob("testdata/recordings/*.gz")
	if err != nil || len(files) < 30 {
		t.Fatalf("%d recordings: %v", len(files), err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".rsp.gz")
		if name == "ping6-noroute" {
			continue // ends before anything is sent; see TestOpen6NoRoute
		}
		t.Run(name, func(t *testing.T) {
			rec := loadRecording(t, file)
			o := recordedOptions(t, rec)
			synctest.Test(t, func(t *testing.T) { replay(t, rec, o) })
		})
	}
}

func replay(t *testing.T, rec *recording, o *Options) {
	sock := newReplaySocket(rec)
	var stdout, stderr bytes.Buffer
	exit := Run(t.Context(), o, sock, nil, &stdout, &stderr)

	mask := func(s string) string { return s }
	if o.Flood { // the pace is not the recorded one
		times := regexp.MustCompile(`(stddev = ).*|[0-9.]+( packets/sec)`)
		mask = func(s string) string { return times.ReplaceAllString(s, "$1*$2") }
	}
	if diff := cmp.Diff(mask(rec.stdout), mask(cutTrailing(stdout.String()))); diff != "" {
		t.Errorf("stdout, recorded -, ours +:\n%s", diff)
	}
	if diff := cmp.Diff(rec.stderr, stderr.String()); diff != "" {
		t.Errorf("stderr, recorded -, ours +:\n%s", diff)
	}
	want := rec.exit
	if o.ip6() && want == 1 {
		want = exitNone // ping6 has 1 for it
	}
	if exit != want {
		t.Errorf("exit status %d, want %d", exit, want)
	}
	sock.check(t, o)
}

// cutTrailing cuts blanks at the ends of lines, as the recordings have it.
func cutTrailing(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " \t")
	}
	return strings.Join(lines, "\n")
}

// recordedOptions reads a command line of the recordings.
func recordedOptions(t *testing.T, rec *recording) *Options {
	o := &Options{Program: rec.args[0], Size: -1}
	six := rec.args[0] == "ping6"
	args := rec.args[1:]
	for len(args) > 1 {
		flag := args[0]
		args = args[1:]
		value := func() string {
			v := args[0]
			args = args[1:]
			return v
		}
		num := func() int {
			n, err := strconv.Atoi(value())
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		seconds := func() time.Duration {
			d, err := time.ParseDuration(value() + "s")
			if err != nil {
				t.Fatal(err)
			}
			return d
		}
		switch flag {
		case "-n":
		case "-c":
			o.Count = num()
		case "-w", "-X":
			o.Deadline = seconds()
		case "-i":
			o.Interval = seconds()
		case "-s":
			o.Size = num()
		case "-T", "-h":
			o.TTL = num()
		case "-I":
			if six {
				o.Interface = value()
			} else {
				o.Source = netip.MustParseAddr(value())
			}
		case "-p":
			var err error
			if o.Pattern, err = ParsePattern(value()); err != nil {
				t.Fatal(err)
			}
		case "-q":
			o.Quiet = true
		case "-o":
			o.Once = true
		case "-v":
			o.Verbose = true
		case "-f":
			o.Flood = true
		case "-D":
			o.DontFrag = true
		case "-R":
			o.RecordRoute = true
		case "-r":
			o.DontRoute = true
		case "-L":
			o.NoLoop = true
		case "-Q":
			o.SemiQuiet = true
		default:
			t.Fatalf("flag %s of a recording is not known", flag)
		}
	}
	o.Host = args[0]
	o.Addr = netip.MustParseAddr(o.Host)
	if err := o.Check(); err != nil {
		t.Fatal(err)
	}
	if len(rec.sends) == 0 {
		t.Fatal("nothing is sent in the recording")
	}
	o.Ident = binary.BigEndian.Uint16(icmpPart(rec.sends[0].packet, six)[4:])
	return o
}

// icmpPart is the ICMP message of what the program gave to its socket.
func icmpPart(packet []byte, six bool) []byte {
	if six {
		return packet
	}
	return packet[int(packet[0]&0xf)*4:]
}

// replaySocket gives the answers of a recording.
type replaySocket struct {
	rec    *recording
	source netip.Addr
	ifaces *interfaces
	sent   [][]byte
	queue  chan *Packet
	next   int // of rec.recvs
}

func newReplaySocket(rec *recording) *replaySocket {
	s := &replaySocket{rec: rec, queue: make(chan *Packet, len(rec.recvs))}
	s.ifaces = &interfaces{machine: netbsd.AMD64, list: func(context.Context) (map[int]string, error) {
		return map[int]string{1: "lo0", 2: "shmif0"}, nil
	}}
	// The source address that the kernel told is in the first line only.
	if _, rest, ok := strings.Cut(rec.stdout, " bytes) "); ok && rec.args[0] == "ping6" {
		src, _, _ := strings.Cut(rest, " ")
		s.source = netip.MustParseAddr(src)
	}
	return s
}

func (s *replaySocket) Source() netip.Addr { return s.source }

func (s *replaySocket) Send(ctx context.Context, msg []byte) error {
	k := len(s.sent)
	s.sent = append(s.sent, msg)
	if k >= len(s.rec.sends) {
		return nil // more than recorded; check complains
	}
	var batch []recordedRecv
	for s.next < len(s.rec.recvs) && s.rec.recvs[s.next].after == k {
		batch = append(batch, s.rec.recvs[s.next])
		s.next++
	}
	go func() {
		var now time.Duration
		for _, r := range batch {
			time.Sleep(r.delay - now)
			now = r.delay
			pkt := &Packet{Data: r.data, HopLimit: -1}
			s.ifaces.describe(ctx, pkt, r.from, r.control)
			s.queue <- pkt
		}
	}()
	if errno := s.rec.sends[k].errno; errno != 0 {
		call := "sendto"
		if s.rec.args[0] == "ping6" {
			call = "sendmsg"
		}
		return &spclient.SyscallError{Call: call, Errno: errno}
	}
	return nil
}

func (s *replaySocket) Recv(ctx context.Context, pkt *Packet) error {
	select {
	case r := <-s.queue:
		n := copy(pkt.Data, r.Data)
		r.Data = pkt.Data[:n]
		*pkt = *r
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// check compares the requests with the recorded ones, byte by byte except for
// what the time changes.
func (s *replaySocket) check(t *testing.T, o *Options) {
	t.Helper()
	if len(s.sent) != len(s.rec.sends) {
		t.Errorf("%d requests, %d were recorded", len(s.sent), len(s.rec.sends))
	}
	stamp := 8
	if !o.ip6() && o.size() >= 16 {
		stamp = 16
	}
	for k := range min(len(s.sent), len(s.rec.sends)) {
		packet := s.rec.sends[k].packet
		want, got := bytes.Clone(icmpPart(packet, o.ip6())), bytes.Clone(s.sent[k])
		if !o.ip6() && checksum(got) != 0 {
			t.Errorf("request %d: wrong checksum", k)
		}
		for _, b := range [][]byte{want, got} {
			clear(b[2:4])
			clear(b[8:min(len(b), 8+stamp)])
		}
		if !bytes.Equal(want, got) {
			t.Errorf("request %d is\n%x, recorded is\n%x", k, got, want)
		}
		if o.ip6() {
			continue
		}
		header := header4(netbsd.AMD64, o, o.Addr)
		binary.LittleEndian.PutUint16(header[2:], uint16(len(header)+len(got)))
		if want := packet[:len(packet)-len(want)]; !bytes.Equal(header, want) {
			t.Errorf("IP header is\n%x, recorded is\n%x", header, want)
		}
	}
}

// checksum is that of the internet (RFC 1071): 0 for a message with the right one in it.
func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		sum += uint32(b[i]) << 8
		if i+1 < len(b) {
			sum += uint32(b[i+1])
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
