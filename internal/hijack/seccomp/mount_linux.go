//go:build amd64 || arm64

package seccomp

import (
	"os"

	"golang.org/x/sys/unix"
)

// Mount has a file or directory seen at another place, by the program alone.
type Mount struct {
	From string `json:"from"`
	To   string `json:"to"`
	// Links has symbolic links mounted: From itself, over To itself, and not what
	// they lead to. Only a link can be mounted over one.
	Links bool `json:"links,omitempty"`
}

// mountAll makes mounts in the calling thread's mount namespace, which is no other
// process's. What is mounted elsewhere later is still seen.
func mountAll(mounts []Mount) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return &os.PathError{Op: "mount", Path: "/", Err: err}
	}
	for _, m := range mounts {
		if err := m.make(); err != nil {
			return &os.PathError{Op: "mount", Path: m.To, Err: err}
		}
	}
	return nil
}

func (m *Mount) make() error {
	from, to := uint(unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC), unix.MOVE_MOUNT_F_EMPTY_PATH
	if m.Links {
		from |= unix.AT_SYMLINK_NOFOLLOW
	} else {
		to |= unix.MOVE_MOUNT_T_SYMLINKS
	}
	fd, err := unix.OpenTree(unix.AT_FDCWD, m.From, from)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.MoveMount(fd, "", unix.AT_FDCWD, m.To, to)
}
