//go:build unix

package registry

import (
	"io/fs"
	"os"
	"syscall"
)

// ownedByUs reports whether a file is this process's user's.
func ownedByUs(st fs.FileInfo) bool {
	sys, ok := st.Sys().(*syscall.Stat_t)
	return ok && int(sys.Uid) == os.Geteuid()
}
