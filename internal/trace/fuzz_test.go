package trace

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"io"
	"os"
	"path"
	"strings"
	"testing"
	"time"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/sysproxy"
	"rumptools/pkg/sysproxy/recording"
)

// counting counts what is written to it.
type counting struct{ n int }

func (c *counting) Write(b []byte) (int, error) {
	c.n += len(b)
	return len(b), nil
}

// FuzzConversation shows a Tracer anything. The input is parts of a length of two
// bytes, of which the highest bit says that it is from the client, and so many
// bytes. Nothing may panic, and what is kept must be within its bounds.
func FuzzConversation(f *testing.F) {
	for _, seed := range conversationSeeds(f) {
		f.Add(seed, uint8(0))
	}
	f.Add([]byte("\x00\x05hello"), uint8(1))
	f.Fuzz(func(t *testing.T, script []byte, options uint8) {
		var out, rec counting
		tr := New(Options{
			Output: &out, Record: &rec, Strings: 32, Start: epoch, Whole: options&1 != 0, JSON: options&2 != 0,
			Descriptors: options&4 != 0, Failed: options&8 != 0, Quiet: options&16 != 0, Durations: true, Clock: Relative,
		})
		conns := []*Conn{tr.Open(epoch, 0), tr.Open(epoch, 7)}
		at := epoch
		total := len(script)
		for len(script) >= 2 {
			n := binary.BigEndian.Uint16(script)
			script = script[2:]
			part := script[:min(int(n&0x3fff), len(script))]
			script = script[len(part):]
			c := conns[n>>14&1]
			at = at.Add(time.Millisecond)
			c.Bytes(at, n&0x8000 != 0, part)
			checkBounds(t, c)
			if n&0xff == 0xff {
				tr.Tick(at.Add(time.Second))
			}
		}
		for _, c := range conns {
			c.EOF(at, true)
			c.EOF(at, false)
			c.Close(at)
		}
		tr.Flush()
		tr.Summary().Write(io.Discard)
		// Of a copy of 40 bytes no more than a line of bounded length is made.
		if limit := 64<<10 + total*2048; options&1 == 0 && out.n > limit {
			t.Errorf("%d bytes of trace for %d", out.n, total)
		}
	})
}

func checkBounds(t *testing.T, c *Conn) {
	t.Helper()
	sum := 0
	for _, call := range c.calls {
		sum += call.mem.bytes
		if len(call.mem.pieces) > maxPieces {
			t.Errorf("%d pieces", len(call.mem.pieces))
		}
	}
	switch {
	case sum != c.memory:
		t.Errorf("%d bytes of memory are held, counted are %d", sum, c.memory)
	case c.memory > maxMemory, c.memory < 0:
		t.Errorf("%d bytes of memory", c.memory)
	case len(c.calls) > maxCalls, len(c.copies) > maxCopies, len(c.files) > maxFiles:
		t.Errorf("%d calls, %d copies, %d files", len(c.calls), len(c.copies), len(c.files))
	case len(c.up.raw) > maxFrame, len(c.down.raw) > maxFrame, len(c.early) > maxEarly, len(c.banner) > 1<<16:
		t.Errorf("%d, %d, %d and %d bytes are kept", len(c.up.raw), len(c.down.raw), len(c.early), len(c.banner))
	}
}

// conversationSeeds are short recordings as scripts.
func conversationSeeds(tb testing.TB) (seeds [][]byte) {
	f, err := os.Open("../../pkg/sysproxy/testdata/recordings.tar.gz")
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	zr, err := gzip.NewReader(f)
	if err != nil {
		tb.Fatal(err)
	}
	for tr := tar.NewReader(zr); ; {
		h, err := tr.Next()
		if err == io.EOF {
			return seeds
		}
		if err != nil {
			tb.Fatal(err)
		}
		name := path.Base(h.Name)
		if !strings.HasPrefix(name, "prog-") && !strings.HasPrefix(name, "powerpc") && name != "ndp-get.rsp" && name != "ifconfig-C.rsp" || h.Size > 50<<10 {
			continue
		}
		var script []byte
		for r := recording.NewReader(tr); ; {
			e, err := r.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				tb.Fatal(err)
			}
			if len(script) > 8<<10 {
				break
			}
			for b := e.Data; len(b) > 0; {
				n := min(len(b), 0x3fff)
				head := uint16(n) | uint16(e.Conn-1)&1<<14
				if e.FromClient {
					head |= 0x8000
				}
				script = binary.BigEndian.AppendUint16(script, head)
				script = append(script, b[:n]...)
				b = b[n:]
			}
		}
		seeds = append(seeds, script)
	}
}

// FuzzMemory compares what is read of copies with a plain memory.
func FuzzMemory(f *testing.F) {
	f.Add([]byte{0, 3, 2, 4, 1, 9}, uint8(0), uint8(12))
	f.Fuzz(func(t *testing.T, script []byte, from, n uint8) {
		var m memory
		plain := make(map[uint64]byte)
		for i := 0; i+1 < len(script) && i < 2*maxPieces; i += 2 {
			addr, size := uint64(script[i]), int(script[i+1])
			data := bytes.Repeat([]byte{byte(i)}, size)
			m.add(toClient, addr, uint64(size), data, 1<<20)
			for j := range data {
				plain[addr+uint64(j)] = data[j]
			}
		}
		got := m.read(toClient, uint64(from), uint64(n))
		var want []byte
		for i := range uint64(n) {
			b, ok := plain[uint64(from)+i]
			if !ok {
				break
			}
			want = append(want, b)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%x, want %x", got, want)
		}
		if m.read(fromClient, uint64(from), uint64(n)) != nil {
			t.Error("copies out are read as copies in")
		}
	})
}

// TestArgumentTypes: what can be told of a call's arguments is told for every call
// of every machine, with any values.
func TestArgumentTypes(t *testing.T) {
	for _, m := range netbsd.Machines() {
		var out counting
		tr := New(Options{Output: &out, Strings: 32})
		c := tr.Open(epoch, 0)
		c.machine, c.layout.Order, c.layout.WordSize = m, m.Order, m.WordSize
		c.up.layout, c.down.layout = c.layout, c.layout
		for num := range 500 {
			info, ok := netbsd.LookupSyscall(num)
			if !ok {
				continue
			}
			for _, fill := range []byte{0, 1, 0x7f, 0xff} {
				call := &call{
					conn: c, kind: systemCall, num: uint32(num), name: info.Name, info: info, done: true,
					args: bytes.Repeat([]byte{fill}, info.ArgSize(m)), reply: sysproxy.SyscallReply{Retval: [2]uint64{uint64(fill), uint64(fill)}},
				}
				call.values, _ = info.Values(m, call.args)
				call.mem.add(fromClient, call.value(0), 4096, bytes.Repeat([]byte{fill}, 4096), 1<<20)
				call.mem.add(toClient, call.value(1), 4096, bytes.Repeat([]byte{fill}, 4096), 1<<20)
				if as := tr.arguments(call); as.known != len(as.text) {
					t.Errorf("%s on %s: %d of %d arguments are known at the end", info.Name, m, as.known, len(as.text))
				}
				if tr.result(call) == "" {
					t.Errorf("%s on %s: no result", info.Name, m)
				}
			}
		}
	}
}
