package shmif

import (
	crand "crypto/rand"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"math/bits"
	"os"
	"runtime"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Open joins the bus in the file at path. The file is created if there is none,
// with mode 0644 less the umask, and an empty one becomes a bus. Nothing else is
// changed to be one: the error is then ErrNotBus, ErrNotRegular, ErrByteOrder or
// ErrVersion. A bus that is locked makes Open wait for as long as recovery
// takes, and fail with ErrLocked if the lock cannot be recovered.
func Open(path string, options ...Option) (*Bus, error) {
	b := &Bus{
		path:         path,
		lockTimeout:  DefaultLockTimeout,
		recoverAfter: DefaultRecovery,
		done:         make(chan struct{}),
	}
	for _, o := range options {
		o(b)
	}
	var id [8]byte
	crand.Read(id[:]) // never fails
	b.sender = binary.NativeEndian.Uint64(id[:])
	b.reader.sender = b.sender

	f, err := openFile(path)
	if err != nil {
		return nil, err
	}
	if err := b.attach(f); err != nil {
		f.Close()
		return nil, b.wrap("open", err)
	}
	return b, nil
}

// openFile opens or creates a regular file. Others are not even opened if they
// are there already, because that can have effects, or wait.
func openFile(path string) (*os.File, error) {
	if fi, err := os.Stat(path); err == nil && !fi.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "open", Path: path, Err: notRegular(fi)}
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NONBLOCK|unix.O_NOCTTY, 0o644)
	if err != nil {
		return nil, err
	}
	fi, err := f.Stat()
	if err == nil && !fi.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: path, Err: notRegular(fi)}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func notRegular(fi fs.FileInfo) error {
	if fi.IsDir() {
		return syscall.EISDIR
	}
	return ErrNotRegular
}

// attach maps the file and takes the first look.
func (b *Bus) attach(f *os.File) error {
	if err := checkContents(f); err != nil {
		return err
	}
	if err := giveSize(f); err != nil {
		return err
	}
	if err := b.mapFile(f); err != nil {
		return err
	}
	b.waiter = b.newWaiter()
	if err := b.pinned(b.join); err != nil {
		b.Close()
		return err
	}
	return nil
}

func (b *Bus) mapFile(f *os.File) error {
	mem, err := unix.Mmap(int(f.Fd()), 0, FileSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return os.NewSyscallError("mmap", err)
	}
	b.file, b.ring, b.base = f, newRing(mem), uintptr(unsafe.Pointer(&mem[0]))
	prefault(mem)
	return nil
}

// checkContents looks whether the file holds a bus, or nothing. Real kernels set
// the file's size first and then look; here nobody's data are lost to a slip.
func checkContents(f *os.File) error {
	data := make([]byte, FileSize+1)
	n, err := f.ReadAt(data, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return bare(err)
	}
	data = data[:n]
	if len(data) >= headerSize {
		h := newRing(data)
		if h.magic() != 0 {
			return checkHeader(h.magic(), h.version())
		}
	}
	// The lock may be taken by one who is about to make this a bus.
	ok := len(data) <= FileSize
	for i, c := range data {
		if c != 0 && i/4 != offLock/4 {
			ok = false
			break
		}
	}
	if ok {
		return nil
	}
	// It may have become one meanwhile.
	var word [8]byte
	f.ReadAt(word[:], offMagic)
	if m := binary.NativeEndian.Uint32(word[:]); m != 0 {
		return checkHeader(m, binary.NativeEndian.Uint32(word[offVersion:]))
	}
	return ErrNotBus
}

func checkHeader(magic, version uint32) error {
	switch {
	case magic == bits.ReverseBytes32(Magic):
		return ErrByteOrder
	case magic != Magic:
		return ErrNotBus
	case version != 0 && version != Version:
		return &VersionError{version}
	}
	return nil
}

// giveSize makes a file that is too short as long as a bus. It never shortens
// one.
func giveSize(f *os.File) error {
	// A hole in the file would be filled later, in the middle of a write
	// to the mapping, where a full disk can only kill the process.
	err := allocate(int(f.Fd()))
	if err == nil {
		return nil
	}
	if !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	fi, err := f.Stat()
	if err != nil {
		return bare(err)
	}
	if fi.Size() < FileSize {
		return bare(f.Truncate(FileSize))
	}
	return nil
}

// join makes an empty file a bus, and finds the place to start reading.
func (b *Bus) join() error {
	gen, err := b.acquire(b.openPatience())
	if err != nil {
		return err
	}
	switch m := b.ring.magic(); m {
	case 0:
		b.ring.setPosition(position{first: b.ring.size, last: 0, gen: 0})
		b.ring.setMagic(Magic)
		gen = 0
	case Magic:
	default:
		b.release(gen)
		return checkHeader(m, Version)
	}
	err = b.reader.start(b.ring)
	b.release(gen)
	if err != nil {
		b.stats.resyncs.Add(1)
	}
	return nil
}

// openPatience is long enough for a lock to be recovered.
func (b *Bus) openPatience() time.Duration {
	d := b.recoverAfter
	if runtime.GOOS != "linux" {
		d *= blindFactor
	}
	return d + b.lockTimeout
}

// bare strips operation and path from a file's error, for wrap to put on.
func bare(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return os.NewSyscallError(pe.Op, pe.Err)
	}
	return err
}

func unmap(mem []byte) { unix.Munmap(mem) }
