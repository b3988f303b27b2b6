package netbsd

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
)

// allStructs returns every structure of the package, always in the same
// order.
func allStructs() []any {
	all := append([]any(nil), otherStructs...)
	for _, name := range slices.Sorted(maps.Keys(structs)) {
		all = append(all, structs[name])
	}
	return all
}

// fill sets every integer below v to a random value that fits the machine.
func fill(m *Machine, v reflect.Value, r *rand.Rand) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(m, v.Field(i), r)
		}
	case reflect.Array:
		for i := range v.Len() {
			fill(m, v.Index(i), r)
		}
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		x := int64(r.Uint64())
		if v.Type() == typeLong && m.WordSize == 4 {
			x = int64(int32(x))
		}
		bits := 64 - v.Type().Bits()
		v.SetInt(x << bits >> bits)
	default:
		x := r.Uint64()
		switch v.Type() {
		case typeULong, typePtr, typeSizeT:
			x &= wordMask(m)
		}
		bits := 64 - v.Type().Bits()
		v.SetUint(x << bits >> bits)
	}
}

// TestRoundTrip writes and reads every structure with random contents on
// every machine, and checks that fields neither overlap nor leave the
// structure.
func TestRoundTrip(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, m := range Machines() {
		for _, v := range allStructs() {
			typ := reflect.TypeOf(v)
			t.Run(m.Name+"/"+typ.Name(), func(t *testing.T) {
				before := reflect.New(typ)
				fill(m, before.Elem(), r)
				b := Marshal(m, before.Interface())
				if len(b) != Sizeof(m, typ) {
					t.Fatalf("%d bytes, size is %d", len(b), Sizeof(m, typ))
				}
				if got := Marshal(m, before.Elem().Interface()); !bytes.Equal(got, b) {
					t.Errorf("value gives % x, pointer % x", got, b)
				}
				after := reflect.New(typ)
				if err := Unmarshal(m, append(b[:len(b):len(b)], 0xaa), after.Interface()); err != nil {
					t.Fatal(err)
				}
				if !reflect.DeepEqual(before.Interface(), after.Interface()) {
					t.Errorf("before %+v\nafter  %+v", before, after)
				}
				if err := Unmarshal(m, b[:len(b)-1], after.Interface()); err == nil {
					t.Error("no error for one byte less than the structure")
				}
				end := 0
				for _, f := range Fields(m, v) {
					if f.Offset < end {
						t.Errorf("field %s at %d overlaps the one before, which ends at %d", f.Name, f.Offset, end)
					}
					end = f.Offset + f.Size
				}
				if end > len(b) {
					t.Errorf("fields end at %d of %d", end, len(b))
				}
			})
		}
	}
}

// TestEveryStructHasATest finds the structures by the ioctls that take them:
// none of them may be missing in the tables of the tests.
func TestEveryStructHasATest(t *testing.T) {
	known := make(map[reflect.Type]bool)
	for _, v := range allStructs() {
		known[reflect.TypeOf(v)] = true
	}
	for _, i := range Ioctls() {
		if i.Arg != nil && i.Arg.Kind() == reflect.Struct && !known[i.Arg] && i.Arg != reflect.TypeFor[ifaddr]() {
			t.Errorf("%s: %v is in no test", i, i.Arg)
		}
	}
}

func TestSysctlnodePointers(t *testing.T) {
	n := Sysctlnode{Size: 8, Func: 0x11223344}
	for _, tt := range []struct {
		m    *Machine
		want string
	}{
		{I386, "0800000000000000 4433221100000000"},
		{POWERPC, "0000000000000008 0000000011223344"},
		{AMD64, "0800000000000000 4433221100000000"},
		{SPARC64, "0000000000000008 0000000011223344"},
	} {
		b := Marshal(tt.m, &n)
		if got := fmt.Sprintf("%x %x", b[64:72], b[72:80]); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.m, got, tt.want)
		}
	}
}

func TestAppendKeepsWhatIsThere(t *testing.T) {
	b := Append(POWERPC, []byte("x"), Linger{1, 2})
	if want := []byte("x\x00\x00\x00\x01\x00\x00\x00\x02"); !bytes.Equal(b, want) {
		t.Errorf("% x, want % x", b, want)
	}
}

func TestUnmarshalWantsAPointer(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("Unmarshal into a value did not panic")
		}
	}()
	Unmarshal(AMD64, make([]byte, 8), Linger{})
}

func TestMachineByName(t *testing.T) {
	for name, want := range map[string]*Machine{
		"amd64": AMD64, "x86_64": AMD64, "AMD64": AMD64,
		"i386": I386, "i686": I386,
		"powerpc": POWERPC, "macppc": POWERPC, "evbppc": POWERPC,
		"aarch64": AARCH64, "arm64": AARCH64, "evbarm64": AARCH64,
		"sparc64": SPARC64, "sparc": SPARC,
		"evbarm": ARM, "earmv7hf": ARM,
		"earmv7hfeb": nil, "mips": nil, "": nil, "vax": nil,
	} {
		m, ok := MachineByName(name)
		if m != want || ok != (want != nil) {
			t.Errorf("%q: %v, %t, want %v", name, m, ok, want)
		}
	}
	for _, m := range Machines() {
		if got, ok := MachineByName(m.Name); got != m || !ok {
			t.Errorf("%s is not found by its name", m)
		}
	}
}

func FuzzUnmarshal(f *testing.F) {
	all := allStructs()
	f.Add([]byte("some bytes"), uint8(0), uint8(0))
	f.Add(make([]byte, 640), uint8(3), uint8(4))
	f.Fuzz(func(t *testing.T, b []byte, machine, which uint8) {
		m := machines[int(machine)%len(machines)]
		v := reflect.New(reflect.TypeOf(all[int(which)%len(all)]))
		err := Unmarshal(m, b, v.Interface())
		if (err != nil) != (len(b) < Sizeof(m, v.Interface())) {
			t.Fatalf("%d bytes: %v", len(b), err)
		}
		if err != nil {
			return
		}
		// Padding is lost the first time, nothing is after that.
		again := reflect.New(v.Type().Elem())
		if err := Unmarshal(m, Marshal(m, v.Interface()), again.Interface()); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(v.Interface(), again.Interface()) {
			t.Fatalf("%+v again %+v", v, again)
		}
	})
}

func BenchmarkMarshalTimespec(b *testing.B) {
	ts := Timespec{1, 2}
	buf := make([]byte, 0, 16)
	b.ReportAllocs()
	for b.Loop() {
		buf = Append(AMD64, buf[:0], &ts)
	}
}

func BenchmarkUnmarshalIfMsghdr(b *testing.B) {
	var h IfMsghdr
	buf := Marshal(AMD64, &h)
	b.ReportAllocs()
	for b.Loop() {
		if err := Unmarshal(AMD64, buf, &h); err != nil {
			b.Fatal(err)
		}
	}
}
