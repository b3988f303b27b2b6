package netbsd

import (
	"encoding/hex"
	"testing"
)

func TestArgs(t *testing.T) {
	for _, tt := range []struct {
		name  string
		m     *Machine
		build func(*Args) *Args
		want  string
	}{
		// As in the recordings of a powerpc and of an i386 kernel.
		{"lseek", POWERPC, func(a *Args) *Args { return a.Int(3).Off(1<<32 + 2).Int(0) },
			"00000003 00000000 00000001 00000002 00000000"},
		{"lseek", I386, func(a *Args) *Args { return a.Int(3).Off(1<<32 + 2).Int(0) },
			"03000000 00000000 02000000 01000000 00000000"},
		{"lseek", AMD64, func(a *Args) *Args { return a.Int(3).Off(-1).Int(0) },
			"0300000000000000 0000000000000000 ffffffffffffffff 0000000000000000"},
		{"negative int", AMD64, func(a *Args) *Args { return a.Int(-1) }, "ffffffffffffffff"},
		{"unsigned", AMD64, func(a *Args) *Args { return a.Uint(1<<32 - 1) }, "ffffffff00000000"},
		{"negative long", SPARC64, func(a *Args) *Args { return a.Long(-2) }, "fffffffffffffffe"},
		{"address", POWERPC, func(a *Args) *Args { return a.Ptr(0x12000) }, "00012000"},
		{"mknod", I386, func(a *Args) *Args { return a.Ptr(0x1000).Uint(0o644).Quad(5) },
			"00100000 a4010000 05000000 00000000"},
	} {
		var a Args
		a.Reset(AMD64).Int(7) // what was there before must not matter
		got := tt.build(a.Reset(tt.m)).Bytes()
		want, err := hex.DecodeString(removeSpaces(tt.want))
		if err != nil {
			t.Fatal(err)
		}
		if hex.EncodeToString(got) != hex.EncodeToString(want) {
			t.Errorf("%s on %s: %x, want %x", tt.name, tt.m, got, want)
		}
	}
}

func removeSpaces(s string) string {
	b := make([]byte, 0, len(s))
	for i := range len(s) {
		if s[i] != ' ' {
			b = append(b, s[i])
		}
	}
	return string(b)
}

// TestArgSizes checks the argument structures that compilers laid out. On
// powerpc C pads some at the end.
func TestArgSizes(t *testing.T) {
	for _, tt := range []struct {
		num                  int
		amd64, i386, powerpc int
	}{
		{SYS_lseek, 32, 20, 20},
		{SYS_pread, 40, 24, 24},
		{SYS_preadv, 40, 24, 24},
		{SYS_mmap, 56, 32, 32},
		{SYS_ftruncate, 24, 16, 16},
		{SYS___mknod50, 24, 16, 16},
		{SYS_ioctl, 24, 12, 12},
		{SYS_sendto, 48, 24, 24},
		{SYS_getpid, 0, 0, 0},
	} {
		info, ok := LookupSyscall(tt.num)
		if !ok {
			t.Errorf("no call %d", tt.num)
			continue
		}
		if a, i, p := info.ArgSize(AMD64), info.ArgSize(I386), info.ArgSize(POWERPC); a != tt.amd64 || i != tt.i386 || p != tt.powerpc {
			t.Errorf("%s: %d, %d, %d bytes, want %d, %d, %d", info.Name, a, i, p, tt.amd64, tt.i386, tt.powerpc)
		}
	}
}

func TestArgReader(t *testing.T) {
	for _, m := range Machines() {
		var a Args
		a.Reset(m).Int(-5).Uint(1<<32 - 1).Long(-6).Ptr(0xdeadbeef).Off(-1 << 40).Quad(1 << 41)
		r := NewArgReader(m, a.Bytes())
		if v := r.Int(); v != -5 {
			t.Errorf("%s: int %d", m, v)
		}
		if v := r.Uint(); v != 1<<32-1 {
			t.Errorf("%s: uint %d", m, v)
		}
		if v := r.Long(); v != -6 {
			t.Errorf("%s: long %d", m, v)
		}
		if v := r.Ptr(); v != 0xdeadbeef {
			t.Errorf("%s: ptr %#x", m, v)
		}
		if v := r.Off(); v != -1<<40 {
			t.Errorf("%s: off %d", m, v)
		}
		if v := r.Quad(); v != 1<<41 {
			t.Errorf("%s: quad %d", m, v)
		}
		if r.Err() != nil {
			t.Errorf("%s: %v", m, r.Err())
		}
		if v := r.Int(); v != 0 || r.Err() == nil {
			t.Errorf("%s: %d, %v after the end", m, v, r.Err())
		}
	}
}

// TestArgReaderErrorSticks checks that nothing is read after a short argument,
// even where something shorter is still there.
func TestArgReaderErrorSticks(t *testing.T) {
	r := NewArgReader(POWERPC, []byte{0, 0, 0, 1, 0, 0, 0, 2})
	if v := r.Off(); v != 0 || r.Err() == nil {
		t.Fatalf("%d, %v", v, r.Err())
	}
	first := r.Err()
	if v := r.Word(); v != 0 || r.Err() != first {
		t.Errorf("%d, %v", v, r.Err())
	}
}

func TestArgsDoNotAllocate(t *testing.T) {
	var a Args
	n := testing.AllocsPerRun(100, func() {
		a.Reset(AMD64).Int(3).Ptr(0x1000).Word(12).Off(7)
		r := NewArgReader(AMD64, a.Bytes())
		r.Int()
		r.Ptr()
		r.Word()
		r.Off()
		if r.Err() != nil {
			panic(r.Err())
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzArgReader(f *testing.F) {
	f.Add([]byte{1, 2, 3, 4, 5, 6, 7, 8}, []byte{0, 1, 2}, uint8(0))
	f.Fuzz(func(t *testing.T, b, script []byte, machine uint8) {
		m := machines[int(machine)%len(machines)]
		r := NewArgReader(m, b)
		need := 0
		for _, op := range script {
			switch op % 6 {
			case 0:
				r.Int()
				need += m.WordSize
			case 1:
				r.Uint()
				need += m.WordSize
			case 2:
				r.Long()
				need += m.WordSize
			case 3:
				r.Ptr()
				need += m.WordSize
			case 4:
				r.Off()
				need += m.WordSize + 8
			case 5:
				r.Quad()
				need += 8
			}
			if (r.Err() != nil) != (need > len(b)) {
				t.Fatalf("%d of %d bytes: %v", need, len(b), r.Err())
			}
		}
		for num := range 500 {
			if info, ok := LookupSyscall(num); ok {
				_, err := info.Values(m, b)
				if (err != nil) != (len(b) < info.ArgSize(m)) {
					t.Fatalf("%s: %d bytes: %v", info.Name, len(b), err)
				}
			}
		}
	})
}
