package kernel

import (
	"strings"

	"rumptools/pkg/netbsd"
)

// There is no file system but the names of the devices and the directories
// above them. So much of one keeps programs on their way that look for their
// configuration first.

// lookup gives what stat(2) says of a path.
func (k *Kernel) lookup(path string) (netbsd.Stat, error) {
	dir := netbsd.Stat{Mode: netbsd.S_IFDIR | 0o755, Nlink: 2, Blksize: 512}
	if _, ok := k.devices[path]; ok {
		return device{}.Stat()
	}
	clean := strings.TrimRight(path, "/") + "/"
	switch {
	case path == "":
		return netbsd.Stat{}, netbsd.ENOENT
	case clean == "/":
		return dir, nil
	}
	for name := range k.devices {
		if strings.HasPrefix(name, clean) {
			return dir, nil
		}
		if strings.HasPrefix(clean, name+"/") {
			return netbsd.Stat{}, netbsd.ENOTDIR
		}
	}
	return netbsd.Stat{}, netbsd.ENOENT
}

// argPath reads the path that is the next argument.
func (c *Call) argPath() (string, error) { return c.CopyInStr(c.args.Ptr(), pathMax) }

func sysStat(c *Call) (uint64, error) {
	path, err := c.argPath()
	if err != nil {
		return 0, err
	}
	st, err := c.k.lookup(path)
	if err != nil {
		return 0, err
	}
	return 0, c.copyOutStruct(c.args.Ptr(), &st)
}

// sysAccess: everybody is root.
func sysAccess(c *Call) (uint64, error) {
	path, err := c.argPath()
	if err != nil {
		return 0, err
	}
	_, err = c.k.lookup(path)
	return 0, err
}

// sysUnlink: what is there can't be removed.
func sysUnlink(c *Call) (uint64, error) {
	path, err := c.argPath()
	if err == nil {
		_, err = c.k.lookup(path)
	}
	if err == nil {
		err = netbsd.EPERM
	}
	return 0, err
}

// sysGetcwd is __getcwd: the working directory is always the root.
func sysGetcwd(c *Call) (uint64, error) {
	buf, size := c.args.Ptr(), c.args.Word()
	const root = "/\x00"
	if size < uint64(len(root)) {
		return 0, netbsd.ERANGE
	}
	return uint64(len(root)), c.CopyOut(buf, []byte(root))
}
