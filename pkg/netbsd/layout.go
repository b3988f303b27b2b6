package netbsd

import (
	"fmt"
	"reflect"
	"strings"
	"sync"
)

// C types whose size is the machine's word size, for fields of structures.
type (
	// Long is C's long.
	Long int64
	// ULong is C's unsigned long.
	ULong uint64
	// Ptr is a user or kernel address.
	Ptr uint64
	// SizeT is size_t.
	SizeT uint64
)

var (
	typeLong  = reflect.TypeFor[Long]()
	typeULong = reflect.TypeFor[ULong]()
	typePtr   = reflect.TypeFor[Ptr]()
	typeSizeT = reflect.TypeFor[SizeT]()
)

// Field is where a structure's field lies.
type Field struct {
	Name   string // C name
	Offset int    // bytes from the structure's start
	Size   int    // bytes
}

// A layout is how one Go type lies in the memory of one machine.
//
// Structures are Go structs with exported fields only. Fields are laid out in
// order with natural alignment. A field's tag `abi:"cname,option..."` gives
// its C name and exceptions:
//
//	align8    aligned to 8 on every machine (C's __align64)
//	align64   aligned as a 64-bit integer is on the machine (unions that are
//	          byte arrays here and hold such an integer in C)
//	align4, align2, alignptr
//	          likewise, for unions with smaller members
//	slot8     the value, of word size, lies in a slot of 8 bytes, where a
//	          64-bit integer of the same value would have it
type layout struct {
	kind  layoutKind
	size  int
	align int

	fields []layoutField // kindStruct
	elem   *layout       // kindArray
	count  int           // kindArray
}

type layoutField struct {
	name   string
	index  int // in the Go struct
	offset int
	slot8  bool
	layout *layout
}

type layoutKind uint8

const (
	kindInt layoutKind = iota
	kindUint
	kindBytes // array of bytes
	kindArray
	kindStruct
)

type layoutKey struct {
	machine *Machine
	typ     reflect.Type
}

var layouts sync.Map // layoutKey -> *layout

func layoutOf(m *Machine, t reflect.Type) *layout {
	if l, ok := layouts.Load(layoutKey{m, t}); ok {
		return l.(*layout)
	}
	l := computeLayout(m, t)
	layouts.Store(layoutKey{m, t}, l)
	return l
}

func computeLayout(m *Machine, t reflect.Type) *layout {
	switch t {
	case typeLong:
		return &layout{kind: kindInt, size: m.WordSize, align: m.WordSize}
	case typeULong, typePtr, typeSizeT:
		return &layout{kind: kindUint, size: m.WordSize, align: m.WordSize}
	}
	switch t.Kind() {
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return scalarLayout(m, kindInt, int(t.Size()))
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return scalarLayout(m, kindUint, int(t.Size()))
	case reflect.Array:
		elem := layoutOf(m, t.Elem())
		l := &layout{kind: kindArray, size: elem.size * t.Len(), align: elem.align, elem: elem, count: t.Len()}
		if t.Elem().Kind() == reflect.Uint8 {
			l.kind = kindBytes
		}
		return l
	case reflect.Struct:
		return structLayout(m, t)
	}
	panic(fmt.Sprintf("netbsd: type %v has no layout", t))
}

func scalarLayout(m *Machine, kind layoutKind, size int) *layout {
	align := size
	if size == 8 {
		align = m.Align64
	}
	return &layout{kind: kind, size: size, align: align}
}

func structLayout(m *Machine, t reflect.Type) *layout {
	l := &layout{kind: kindStruct, align: 1}
	for i := range t.NumField() {
		sf := t.Field(i)
		if !sf.IsExported() {
			panic(fmt.Sprintf("netbsd: field %s of %v is not exported", sf.Name, t))
		}
		f := layoutField{index: i, layout: layoutOf(m, sf.Type)}
		align, size := f.layout.align, f.layout.size
		name, options, _ := strings.Cut(sf.Tag.Get("abi"), ",")
		for option := range strings.SplitSeq(options, ",") {
			switch option {
			case "":
			case "align8":
				align = max(align, 8)
			case "align64":
				align = max(align, m.Align64)
			case "alignptr":
				align = max(align, m.WordSize)
			case "align4":
				align = max(align, 4)
			case "align2":
				align = max(align, 2)
			case "slot8":
				f.slot8 = true
				size, align = 8, m.Align64
			default:
				panic(fmt.Sprintf("netbsd: field %s of %v: unknown option %q", sf.Name, t, option))
			}
		}
		if f.name = name; name == "" {
			f.name = sf.Name
		}
		l.size = roundUp(l.size, align)
		f.offset = l.size
		l.size += size
		l.align = max(l.align, align)
		l.fields = append(l.fields, f)
	}
	l.size = roundUp(l.size, l.align)
	return l
}

// roundUp rounds n up to a multiple of align, a power of two.
func roundUp(n, align int) int { return (n + align - 1) &^ (align - 1) }

func typeOf(v any) reflect.Type {
	t, ok := v.(reflect.Type)
	if !ok {
		t = reflect.TypeOf(v)
	}
	if t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t
}

// Sizeof returns the size in bytes of a structure on the machine, as C's
// sizeof. v is a structure, a pointer to one or its reflect.Type. It panics
// when the type is not one that has a layout: integers of fixed size, the C
// types of this package, arrays and structs of them.
func Sizeof(m *Machine, v any) int { return layoutOf(m, typeOf(v)).size }

// Alignof returns the alignment in bytes of a structure on the machine.
func Alignof(m *Machine, v any) int { return layoutOf(m, typeOf(v)).align }

// Fields returns where the fields of a structure lie on the machine, in
// order. It panics when v is no structure.
func Fields(m *Machine, v any) []Field {
	l := layoutOf(m, typeOf(v))
	if l.kind != kindStruct {
		panic(fmt.Sprintf("netbsd: %v is no structure", typeOf(v)))
	}
	fields := make([]Field, len(l.fields))
	for i, f := range l.fields {
		fields[i] = Field{f.name, f.offset, f.layout.size}
		if f.slot8 && m.BigEndian() {
			fields[i].Offset += 8 - f.layout.size
		}
	}
	return fields
}

// Offsetof returns the offset in bytes of the field with the given C name, as
// C's offsetof, or -1 when there is none.
func Offsetof(m *Machine, v any, name string) int {
	for _, f := range Fields(m, v) {
		if f.Name == name {
			return f.Offset
		}
	}
	return -1
}

// Marshal returns the bytes of a structure as the machine has it in memory.
// v is a structure or a pointer to one; padding is zero. Values that do not
// fit (a Ptr above 4 GiB on a 32-bit machine) are cut as C's assignment does.
func Marshal(m *Machine, v any) []byte { return Append(m, nil, v) }

// Append is [Marshal], appending to b. The structure starts at the end of b,
// wherever that is: nothing is aligned.
func Append(m *Machine, b []byte, v any) []byte {
	rv := reflect.ValueOf(v)
	if rv.Kind() == reflect.Pointer {
		rv = rv.Elem()
	} else {
		// Bytes are copied out of arrays by slicing them, and only
		// addressable arrays can be sliced.
		p := reflect.New(rv.Type()).Elem()
		p.Set(rv)
		rv = p
	}
	l := layoutOf(m, rv.Type())
	n := len(b)
	b = append(b, make([]byte, l.size)...)
	l.encode(m, b[n:], rv)
	return b
}

func (l *layout) encode(m *Machine, b []byte, v reflect.Value) {
	switch l.kind {
	case kindInt:
		putUint(m, b[:l.size], uint64(v.Int()))
	case kindUint:
		putUint(m, b[:l.size], v.Uint())
	case kindBytes:
		copy(b, v.Bytes())
	case kindArray:
		for i := range l.count {
			l.elem.encode(m, b[i*l.elem.size:], v.Index(i))
		}
	case kindStruct:
		for i := range l.fields {
			f := &l.fields[i]
			if f.slot8 {
				putUint(m, b[f.offset:f.offset+8], v.Field(f.index).Uint()&wordMask(m))
				continue
			}
			f.layout.encode(m, b[f.offset:], v.Field(f.index))
		}
	}
}

// Unmarshal reads a structure from the start of b into *v. Bytes after the
// structure are not looked at; it is an error when b is shorter than the
// structure, and then *v is unchanged.
func Unmarshal(m *Machine, b []byte, v any) error {
	rv := reflect.ValueOf(v)
	if rv.Kind() != reflect.Pointer || rv.IsNil() {
		panic(fmt.Sprintf("netbsd: Unmarshal into %T, which is no pointer to a structure", v))
	}
	rv = rv.Elem()
	l := layoutOf(m, rv.Type())
	if len(b) < l.size {
		return fmt.Errorf("netbsd: %s on %s has %d bytes, got %d", rv.Type().Name(), m.Name, l.size, len(b))
	}
	l.decode(m, b, rv)
	return nil
}

func (l *layout) decode(m *Machine, b []byte, v reflect.Value) {
	switch l.kind {
	case kindInt:
		// Shifting up and down again extends the sign.
		shift := 64 - 8*l.size
		v.SetInt(int64(getUint(m, b[:l.size])<<shift) >> shift)
	case kindUint:
		v.SetUint(getUint(m, b[:l.size]))
	case kindBytes:
		copy(v.Bytes(), b[:l.size])
	case kindArray:
		for i := range l.count {
			l.elem.decode(m, b[i*l.elem.size:], v.Index(i))
		}
	case kindStruct:
		for i := range l.fields {
			f := &l.fields[i]
			if f.slot8 {
				v.Field(f.index).SetUint(getUint(m, b[f.offset:f.offset+8]) & wordMask(m))
				continue
			}
			f.layout.decode(m, b[f.offset:], v.Field(f.index))
		}
	}
}

func wordMask(m *Machine) uint64 { return 1<<(8*m.WordSize-1)<<1 - 1 }

func putUint(m *Machine, b []byte, v uint64) {
	switch len(b) {
	case 1:
		b[0] = byte(v)
	case 2:
		m.Order.PutUint16(b, uint16(v))
	case 4:
		m.Order.PutUint32(b, uint32(v))
	case 8:
		m.Order.PutUint64(b, v)
	}
}

func getUint(m *Machine, b []byte) uint64 {
	switch len(b) {
	case 1:
		return uint64(b[0])
	case 2:
		return uint64(m.Order.Uint16(b))
	case 4:
		return uint64(m.Order.Uint32(b))
	default:
		return m.Order.Uint64(b)
	}
}
