package registry

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"rumptools/pkg/sysproxy"
)

// ErrTraced is returned by [Interpose] for a kernel that somebody stands before
// already.
var ErrTraced = errors.New("already traced")

// Who stands before a kernel has a socket of his own in the place of the kernel's
// and the kernel's beside it, under another name. There is a way to the kernel at
// every moment: the kernel's socket gets its second name before its first is
// taken. When he dies without giving it back, nobody listens at the place, and
// the other name is there: whoever looks for the kernel next gives it back.

// asidePath is where the kernel's own socket is while somebody stands before it.
func asidePath(path string) string {
	return filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".kernel")
}

// newPath is where a socket that is to take a kernel's place is made.
func newPath(path string) string {
	return filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".tracer")
}

// Interposition is a listener in the place of a kernel's socket.
type Interposition struct {
	*net.UnixListener
	path string
	mine fs.FileInfo // the listener's socket
}

// Interpose takes the place of the kernel that listens at url, a local socket:
// who connects there from now on gets to the listener. Mode and owner of the
// socket are those of the kernel's. The caller must call Undo.
func Interpose(url string) (*Interposition, error) {
	u, err := sysproxy.ParseURL(url)
	if err != nil {
		return nil, err
	}
	if u.Network != "unix" {
		return nil, fmt.Errorf("%s: not a local socket, whose place could be taken", url)
	}
	path, err := filepath.Abs(u.Address)
	if err != nil {
		return nil, err
	}
	if longest := (sysproxy.URL{Network: "unix", Address: newPath(path)}); longest.CheckDial() != nil {
		return nil, fmt.Errorf("%s: too long a path for a second socket beside it", path)
	}
	if _, err := os.Lstat(filepath.Dir(path)); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("no rump kernel at %s", url)
	}
	unlock, err := lockDir(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := repairLocked(path); err != nil {
		return nil, err
	}
	if _, err := os.Lstat(asidePath(path)); err == nil {
		return nil, fmt.Errorf("rump kernel at %s: %w", url, ErrTraced)
	}
	st, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist), err == nil && st.Mode().Type() == fs.ModeSocket && !listening(path):
		return nil, fmt.Errorf("no rump kernel at %s", url)
	case err != nil:
		return nil, err
	case st.Mode().Type() != fs.ModeSocket:
		return nil, fmt.Errorf("%s: not a socket", path)
	}
	l, mine, err := listenAs(newPath(path), st)
	if err != nil {
		return nil, err
	}
	i := &Interposition{l, path, mine}
	if err := i.takePlace(); err != nil {
		l.Close()
		os.Remove(newPath(path))
		return nil, err
	}
	return i, nil
}

// listenAs makes a listener with the mode and owner of another's file.
func listenAs(path string, like fs.FileInfo) (*net.UnixListener, fs.FileInfo, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, err
	}
	// Nobody may connect before the mode is the kernel's.
	old := unix.Umask(0o177)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	unix.Umask(old)
	if err != nil {
		return nil, nil, fmt.Errorf("listen %s: %w", path, rootCause(err))
	}
	l.SetUnlinkOnClose(false)
	mine, err := takeOwner(path, like)
	if err != nil {
		l.Close()
		os.Remove(path)
		return nil, nil, err
	}
	return l, mine, nil
}

// takeOwner gives a file another's owner and mode.
func takeOwner(path string, like fs.FileInfo) (fs.FileInfo, error) {
	want, ok := like.Sys().(*syscall.Stat_t)
	if !ok {
		return nil, fmt.Errorf("%s: owner unknown", path)
	}
	st, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if have, ok := st.Sys().(*syscall.Stat_t); !ok || have.Uid != want.Uid || have.Gid != want.Gid {
		if err := os.Lchown(path, int(want.Uid), int(want.Gid)); err != nil {
			return nil, fmt.Errorf("owner of the kernel's socket: %w", err)
		}
	}
	if err := os.Chmod(path, like.Mode().Perm()); err != nil {
		return nil, err
	}
	return os.Lstat(path)
}

// takePlace puts the listener's socket where the kernel's is.
func (i *Interposition) takePlace() error {
	aside := asidePath(i.path)
	err := os.Link(i.path, aside)
	if err != nil {
		// Not every file system has second names for sockets; then there is
		// a moment without any.
		err = os.Rename(i.path, aside)
	}
	if err != nil {
		return err
	}
	if err := os.Rename(newPath(i.path), i.path); err != nil {
		os.Rename(aside, i.path)
		os.Remove(aside)
		return err
	}
	return nil
}

// Kernel is the URL of the kernel itself.
func (i *Interposition) Kernel() string {
	return sysproxy.URL{Network: "unix", Address: asidePath(i.path)}.String()
}

// undoTime is how long Undo waits for others that change the directory: longer
// than they take, as a rule.
const undoTime = time.Second

// Undo gives the kernel its place back. Clients that had connected before may
// still be waiting: the caller is to accept them until it closes the listener.
// It may be called several times.
func (i *Interposition) Undo() error {
	unlock, err := lockDirFor(filepath.Dir(i.path), undoTime)
	if err == nil {
		defer unlock()
	}
	aside := asidePath(i.path)
	if _, err := os.Lstat(aside); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	st, err := os.Lstat(i.path)
	switch {
	case err == nil && os.SameFile(st, i.mine):
		return os.Rename(aside, i.path)
	case listening(aside) && errors.Is(err, fs.ErrNotExist):
		return os.Rename(aside, i.path)
	case listening(aside):
		return fmt.Errorf("%s: somebody else's now; the kernel is at %s", i.path, aside)
	}
	// The kernel has ended and taken the socket at its place with it.
	return os.Remove(aside)
}

// traced tells whether the kernel's socket at path has been set aside: somebody
// stands before the kernel, or has died there.
func traced(path string) bool {
	_, err := os.Lstat(asidePath(path))
	return err == nil
}

// repair gives a kernel its place back if who stood before it has died.
func repair(path string) error {
	aside, err := os.Lstat(asidePath(path))
	if err != nil {
		return nil
	}
	if st, err := os.Lstat(path); err == nil && !os.SameFile(st, aside) && listening(path) && listening(asidePath(path)) {
		return nil // it is traced
	}
	unlock, err := lockDir(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer unlock()
	return repairLocked(path)
}

// repairLocked is repair for who has locked the directory.
func repairLocked(path string) error {
	aside := asidePath(path)
	kernel, err := os.Lstat(aside)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	st, err := os.Lstat(path)
	switch {
	case err == nil && os.SameFile(st, kernel):
		// He died before he had taken the place.
		return os.Remove(aside)
	case err == nil && listening(path):
		if listening(aside) {
			return nil // it is traced
		}
		return os.Remove(aside)
	case errors.Is(err, fs.ErrNotExist) && !listening(aside):
		return os.Remove(aside)
	case err == nil && st.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("%s: not a socket; the kernel is at %s", path, aside)
	}
	return os.Rename(aside, path)
}

// listening tells whether somebody listens at a local socket.
func listening(path string) bool {
	c, err := net.Dial("unix", path)
	if err == nil {
		c.Close()
		return true
	}
	// A queue that is full is somebody's.
	return errors.Is(err, syscall.EAGAIN)
}

// rootCause is the innermost error: package net's chain names operation and
// address again.
func rootCause(err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}

// lockDirFor is lockDir for no longer than d.
func lockDirFor(dir string, d time.Duration) (unlock func(), err error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("run-time directory: %w", err)
	}
	for deadline := time.Now().Add(d); ; time.Sleep(goneInterval) {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if time.Now().After(deadline) {
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", dir, err)
		}
	}
}
