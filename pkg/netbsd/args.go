package netbsd

import "fmt"

// MaxArgs is the number of argument slots that the kernel accepts of a call
// on any machine: SYS_MAXSYSARGS.
const MaxArgs = 10

// Args builds the argument block of a system call: one slot of the machine's
// word size for each argument. An Args is meant to be reused; after
// [Args.Reset] it allocates nothing.
type Args struct {
	m   *Machine
	n   int
	buf [(MaxArgs + 2) * 8]byte
}

// Reset empties the block and sets the machine.
func (a *Args) Reset(m *Machine) *Args {
	a.m, a.n = m, 0
	return a
}

// Int adds a signed 32-bit argument (int, pid_t), sign-extended to the slot.
func (a *Args) Int(v int32) *Args { return a.Word(uint64(int64(v))) }

// Uint adds an unsigned 32-bit argument (u_int, socklen_t, mode_t).
func (a *Args) Uint(v uint32) *Args { return a.Word(uint64(v)) }

// Word adds an argument of word size (size_t, u_long), cut to the slot.
func (a *Args) Word(v uint64) *Args {
	a.grow(a.m.WordSize)
	a.m.PutWord(a.buf[a.n:], v)
	a.n += a.m.WordSize
	return a
}

// Long adds a signed argument of word size (long, ssize_t).
func (a *Args) Long(v int64) *Args { return a.Word(uint64(v)) }

// Ptr adds an address.
func (a *Args) Ptr(v uint64) *Args { return a.Word(v) }

// Quad adds a 64-bit argument without a slot of padding before it (dev_t of
// __mknod50, the second off_t of posix_fadvise): one slot, or two on 32-bit
// machines.
func (a *Args) Quad(v int64) *Args {
	a.grow(8)
	a.m.Order.PutUint64(a.buf[a.n:], uint64(v))
	a.n += 8
	return a
}

// Off adds an off_t with the slot of padding that NetBSD's calls have before
// it (lseek, pread, ftruncate, mmap).
func (a *Args) Off(v int64) *Args { return a.Word(0).Quad(v) }

// Bytes returns the block. It is valid until the next use of a.
func (a *Args) Bytes() []byte { return a.buf[:a.n] }

func (a *Args) grow(n int) {
	if a.n+n > len(a.buf) {
		panic("netbsd: more system call arguments than any call takes")
	}
}

// ArgReader takes arguments from a system call's argument block. Its first
// error sticks: later calls return zero.
type ArgReader struct {
	m   *Machine
	b   []byte
	off int
	err error
}

// NewArgReader returns a reader of the block b.
func NewArgReader(m *Machine, b []byte) ArgReader { return ArgReader{m: m, b: b} }

// Word takes an argument of word size, zero-extended.
func (r *ArgReader) Word() uint64 {
	b := r.take(r.m.WordSize)
	if b == nil {
		return 0
	}
	return r.m.Word(b)
}

// Int takes a signed 32-bit argument. The upper half of a 64-bit slot is not
// looked at, as in the kernel.
func (r *ArgReader) Int() int32 { return int32(r.Word()) }

// Uint takes an unsigned 32-bit argument.
func (r *ArgReader) Uint() uint32 { return uint32(r.Word()) }

// Long takes a signed argument of word size.
func (r *ArgReader) Long() int64 {
	if r.m.WordSize == 4 {
		return int64(int32(r.Word()))
	}
	return int64(r.Word())
}

// Ptr takes an address.
func (r *ArgReader) Ptr() uint64 { return r.Word() }

// Quad takes a 64-bit argument that has no padding before it.
func (r *ArgReader) Quad() int64 {
	b := r.take(8)
	if b == nil {
		return 0
	}
	return int64(r.m.Order.Uint64(b))
}

// Off takes an off_t and the slot of padding before it.
func (r *ArgReader) Off() int64 {
	r.Word()
	return r.Quad()
}

// Err returns the error of the first argument that was not there, or nil.
func (r *ArgReader) Err() error { return r.err }

func (r *ArgReader) take(n int) []byte {
	if r.err != nil {
		return nil
	}
	if len(r.b)-r.off < n {
		r.err = fmt.Errorf("netbsd: system call arguments: need %d bytes, got %d", r.off+n, len(r.b))
		return nil
	}
	b := r.b[r.off : r.off+n]
	r.off += n
	return b
}
