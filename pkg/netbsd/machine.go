package netbsd

import (
	"encoding/binary"
	"strings"
)

// ByteOrder is a byte order that reads, writes and appends integers.
type ByteOrder interface {
	binary.ByteOrder
	binary.AppendByteOrder
}

// Machine is what must be known of a kernel's machine to exchange structures
// with it. Machines are compared by pointer: use the variables of this
// package or [MachineByName], and do not change them.
type Machine struct {
	// Name is the machine's name in the banner and in hw.machine: "amd64".
	Name string
	// Arch is the processor's name, hw.machine_arch: "x86_64".
	Arch string
	// Order is the byte order of everything that is not in network order.
	Order ByteOrder
	// WordSize is the size in bytes of register_t, long, size_t and
	// pointers: 4 or 8.
	WordSize int
	// Align64 is the alignment in bytes of 64-bit integers in structures:
	// 8, but 4 on i386.
	Align64 int
	// CmsgAlign is the alignment in bytes of control message headers and
	// data (ALIGNBYTES + 1): 16 on aarch64 and sparc64, 8 on amd64, arm,
	// powerpc and sparc, 4 on i386.
	CmsgAlign int
	// BpfAlign is the alignment in bytes of packets in a buffer read from
	// bpf(4) (BPF_ALIGNMENT): the size of a long.
	BpfAlign int
	// PageSize is the size of a page in bytes, hw.pagesize.
	PageSize int
}

// The machines that are known. AMD64, I386 and POWERPC have been checked
// against compilers and against running kernels; the others follow the same
// rules with the parameters of their <machine/cdefs.h>.
var (
	AMD64   = &Machine{Name: "amd64", Arch: "x86_64", Order: binary.LittleEndian, WordSize: 8, Align64: 8, CmsgAlign: 8, BpfAlign: 8, PageSize: 4096}
	AARCH64 = &Machine{Name: "aarch64", Arch: "aarch64", Order: binary.LittleEndian, WordSize: 8, Align64: 8, CmsgAlign: 16, BpfAlign: 8, PageSize: 4096}
	I386    = &Machine{Name: "i386", Arch: "i386", Order: binary.LittleEndian, WordSize: 4, Align64: 4, CmsgAlign: 4, BpfAlign: 4, PageSize: 4096}
	ARM     = &Machine{Name: "arm", Arch: "earm", Order: binary.LittleEndian, WordSize: 4, Align64: 8, CmsgAlign: 8, BpfAlign: 4, PageSize: 4096}
	POWERPC = &Machine{Name: "powerpc", Arch: "powerpc", Order: binary.BigEndian, WordSize: 4, Align64: 8, CmsgAlign: 8, BpfAlign: 4, PageSize: 4096}
	SPARC   = &Machine{Name: "sparc", Arch: "sparc", Order: binary.BigEndian, WordSize: 4, Align64: 8, CmsgAlign: 8, BpfAlign: 4, PageSize: 4096}
	SPARC64 = &Machine{Name: "sparc64", Arch: "sparc64", Order: binary.BigEndian, WordSize: 8, Align64: 8, CmsgAlign: 16, BpfAlign: 8, PageSize: 8192}
)

var machines = []*Machine{AMD64, AARCH64, I386, ARM, POWERPC, SPARC, SPARC64}

// machineAliases maps names of ports and processors that a banner or a user
// may give to the machine whose layouts they use. Ports that come in both
// byte orders under one name (evbmips, mips) are left out: the name does not
// tell enough.
var machineAliases = map[string]*Machine{
	"x86_64":    AMD64,
	"arm64":     AARCH64,
	"evbarm64":  AARCH64,
	"i486":      I386,
	"i586":      I386,
	"i686":      I386,
	"386":       I386,
	"x86":       I386,
	"evbarm":    ARM,
	"amigappc":  POWERPC,
	"bebox":     POWERPC,
	"evbppc":    POWERPC,
	"ibmnws":    POWERPC,
	"macppc":    POWERPC,
	"mvmeppc":   POWERPC,
	"ofppc":     POWERPC,
	"ppc":       POWERPC,
	"prep":      POWERPC,
	"rs6000":    POWERPC,
	"sandpoint": POWERPC,
	"sparcv9":   SPARC64,
}

// Machines returns the known machines, the most common first.
func Machines() []*Machine { return append([]*Machine(nil), machines...) }

// MachineByName finds a machine by its name, its processor's name or the name
// of a port that runs on it ("macppc"), in upper or lower case.
func MachineByName(name string) (*Machine, bool) {
	name = strings.ToLower(name)
	for _, m := range machines {
		if m.Name == name || m.Arch == name {
			return m, true
		}
	}
	if m, ok := machineAliases[name]; ok {
		return m, true
	}
	// The 32-bit little-endian ARM processors: earmv7hf and the like. Names
	// that end in "eb" are big-endian.
	if strings.HasPrefix(name, "earm") && !strings.HasSuffix(name, "eb") {
		return ARM, true
	}
	return nil, false
}

// String returns the machine's name.
func (m *Machine) String() string { return m.Name }

// BigEndian tells whether the machine's most significant byte comes first.
func (m *Machine) BigEndian() bool {
	return m.Order.Uint16([]byte{0, 1}) == 1
}

// Word reads an integer of the machine's word size from the start of b, which
// must be long enough.
func (m *Machine) Word(b []byte) uint64 {
	if m.WordSize == 8 {
		return m.Order.Uint64(b)
	}
	return uint64(m.Order.Uint32(b))
}

// PutWord writes an integer of the machine's word size to the start of b,
// which must be long enough.
func (m *Machine) PutWord(b []byte, v uint64) {
	if m.WordSize == 8 {
		m.Order.PutUint64(b, v)
		return
	}
	m.Order.PutUint32(b, uint32(v))
}

// AppendWord appends an integer of the machine's word size.
func (m *Machine) AppendWord(b []byte, v uint64) []byte {
	if m.WordSize == 8 {
		return m.Order.AppendUint64(b, v)
	}
	return m.Order.AppendUint32(b, uint32(v))
}
