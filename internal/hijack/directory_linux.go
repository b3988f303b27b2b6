//go:build amd64 || arm64

package hijack

import (
	"errors"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// dirPrefix is what the names of supervisors' directories begin with.
const dirPrefix = "rump-exec-"

// privateDir makes a directory that nobody else can list or write, in memory if there
// is a place for that. Its path is short: sun_path has 108 bytes. Its descriptor keeps it
// locked: that of a supervisor that was killed is not, and the next one removes it.
func privateDir() (dir string, lock int, err error) {
	var errs []error
	for _, parent := range []string{"/dev/shm", os.Getenv("XDG_RUNTIME_DIR"), os.TempDir()} {
		if parent == "" || len(parent) > 60 || !filepath.IsAbs(parent) {
			continue
		}
		dir, err := os.MkdirTemp(parent, dirPrefix)
		if err == nil {
			err = os.Chmod(dir, 0o711)
		}
		lock := -1
		if err == nil {
			lock, err = lockDir(dir)
		}
		if err == nil {
			go removeDead(parent)
			return dir, lock, nil
		}
		errs = append(errs, err)
	}
	return "", -1, errors.Join(errs...)
}

// lockDir locks a directory, unless somebody else has it locked: EWOULDBLOCK.
func lockDir(dir string) (fd int, err error) {
	fd, err = unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		unix.Close(fd)
		return -1, &os.PathError{Op: "flock", Path: dir, Err: err}
	}
	return fd, nil
}

// newDir is how old a directory is at least whose supervisor has had the time to lock it.
const newDir = time.Minute

// removeDead removes directories that supervisors of this user's have left because they were
// killed.
func removeDead(parent string) {
	dirs, _ := filepath.Glob(filepath.Join(parent, dirPrefix+"*"))
	for _, dir := range dirs {
		var st unix.Stat_t
		if unix.Lstat(dir, &st) != nil || int(st.Uid) != os.Geteuid() || st.Mode&unix.S_IFMT != unix.S_IFDIR ||
			time.Since(time.Unix(st.Mtim.Unix())) < newDir {
			continue
		}
		if fd, err := lockDir(dir); err == nil {
			os.RemoveAll(dir)
			unix.Close(fd)
		}
	}
}
