//go:build amd64 || arm64

package hijack

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/seccomp"
)

// noResolv is what programs find as resolv.conf(5) without --resolv: the host's name
// servers are not on the rump kernel's network, and a look-up would wait for them until
// it gives up. At 127.0.0.1 somebody answers, or refuses at once. That is where resolvers ask
// without a line, too, but for some that crash.
const noResolv = "# rumpctl exec: no name server; --resolv gives one\nnameserver 127.0.0.1\noptions attempts:1 timeout:2\n"

// place is a file that programs see at another's name.
type place struct{ from, to string }

// places are the files that programs see at other places' names.
func (s *supervisor) places(o *Options) ([]place, error) {
	resolv := o.Resolv
	if resolv == "" {
		resolv = filepath.Join(s.dir, "resolv.conf")
		if err := os.WriteFile(resolv, []byte(noResolv), 0o644); err != nil {
			return nil, err
		}
		if err := os.Chmod(resolv, 0o644); err != nil {
			return nil, err
		}
	}
	var list []place
	for _, f := range []place{{resolv, "/etc/resolv.conf"}, {o.Hosts, "/etc/hosts"}} {
		if f.from == "" {
			continue
		}
		if _, err := os.Stat(f.to); err != nil {
			// Nothing can be mounted there.
			if f.from == o.Resolv || f.from == o.Hosts {
				return nil, fmt.Errorf("%s cannot stand for %s: %w", f.from, f.to, err)
			}
			continue
		}
		list = append(list, f)
	}
	return list, nil
}

// hostSysctls are the host's variables about its network. Programs read them, and they say nothing about the rump
// kernel's.
const hostSysctls = "/proc/sys/net"

// mounts has all that programs see otherwise mounted, /proc/net among it.
func (s *supervisor) mounts(o *Options) (mounts []seccomp.Mount, err error) {
	// A program in a user namespace of its own may mount proc(5) only where one is that nothing is mounted
	// over (mount_too_revealing in Linux's fs/namespace.c), so one is kept that looks as it did before, where
	// nobody looks. Below /proc there can be mounts already, which cannot be left behind in a user namespace.
	whole := filepath.Join(s.sockDir, "proc")
	if err := os.Mkdir(whole, 0o700); err != nil {
		return nil, err
	}
	mounts = append(mounts, seccomp.Mount{From: "/proc", To: whole, Tree: true})
	for _, f := range s.standIns {
		mounts = append(mounts, seccomp.Mount{From: f.from, To: f.to})
	}
	if s.proc, err = newProcDir(s); err != nil {
		return nil, err
	}
	// What root sets there would be the host's.
	if _, err := os.Stat(hostSysctls); err == nil {
		mounts = append(mounts, seccomp.Mount{From: hostSysctls, To: hostSysctls, ReadOnly: true})
	}
	// Who makes a container of all that is mounted changes the flags of each mount by its path, which leads to
	// the directory: that is to be a mount, too.
	mounts = append(mounts, seccomp.Mount{From: s.proc.path, To: s.proc.path})
	return append(mounts, seccomp.Mount{From: s.proc.link, To: "/proc/net", Links: true}), nil
}

// namespace gives the program a mount namespace of its own: within a user namespace when
// that takes one.
func namespace(attr *syscall.SysProcAttr) {
	attr.Cloneflags |= unix.CLONE_NEWNS
	if unix.Geteuid() == 0 {
		return
	}
	attr.Cloneflags |= unix.CLONE_NEWUSER
	attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: unix.Geteuid(), HostID: unix.Geteuid(), Size: 1}}
	// The stage mounts, and gives it up for the program.
	attr.AmbientCaps = []uintptr{unix.CAP_SYS_ADMIN}
	attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: unix.Getegid(), HostID: unix.Getegid(), Size: 1}}
}

// notPermitted tells whether an error says that there may be no namespace, or no mount
// in it.
func notPermitted(err error) bool {
	var se *seccomp.StageError
	if !errors.As(err, &se) || se.Op != "start" && se.Op != "mount" {
		return false
	}
	return errors.Is(err, seccomp.ErrKilled) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.ENOSPC) ||
		errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EUSERS)
}
