package apps

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// A profile is what a container's seccomp profile has in place of system calls' results:
// an error, or 0 for death.
type profile map[string]syscall.Errno

// profileEnv holds a profile's name, for a process that is to run its arguments under it.
const profileEnv = "APPS_PROFILE"

// profileCalls are the calls that profiles are about. namespaces are clone(2) and
// unshare(2) with flags that make one, which alone are denied.
var profileCalls = map[string]uint32{
	"seccomp": unix.SYS_SECCOMP, "pidfd_open": unix.SYS_PIDFD_OPEN, "pidfd_getfd": unix.SYS_PIDFD_GETFD,
	"process_vm_readv": unix.SYS_PROCESS_VM_READV, "process_vm_writev": unix.SYS_PROCESS_VM_WRITEV,
	"mount": unix.SYS_MOUNT, "open_tree": unix.SYS_OPEN_TREE, "move_mount": unix.SYS_MOVE_MOUNT, "clone3": unix.SYS_CLONE3,
}

const makesNamespace = unix.CLONE_NEWNS | unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET

// profiles are those of the tests: what is said, on standard error, and whether the
// program runs all the same.
var profiles = []struct {
	name   string
	denied profile
	runs   bool
	says   []string
}{
	{"no pidfd_getfd", profile{"pidfd_getfd": unix.EPERM}, false, []string{"pidfd_getfd: operation not permitted", "allow pidfd_open, pidfd_getfd,", "CAP_SYS_PTRACE"}},
	{"pidfd_getfd unknown", profile{"pidfd_getfd": unix.ENOSYS}, false, []string{"pidfd_getfd: function not implemented", "allow "}},
	{"no pidfd_open", profile{"pidfd_open": unix.EPERM}, false, []string{"pidfd_open: operation not permitted", "allow pidfd_open,"}},
	{"no process_vm_readv", profile{"process_vm_readv": unix.EPERM}, false, []string{"process_vm_readv: operation not permitted", "allow ", "process_vm_readv and"}},
	{"no process_vm_writev", profile{"process_vm_writev": unix.EPERM}, false, []string{"process_vm_writev: operation not permitted", "allow ", "and process_vm_writev"}},
	{"process_vm_writev unknown", profile{"process_vm_writev": unix.ENOSYS}, false, []string{"process_vm_writev: function not implemented", "allow "}},
	{"no seccomp", profile{"seccomp": unix.EPERM}, false, []string{"seccomp: operation not permitted", "allow seccomp"}},
	{"seccomp unknown", profile{"seccomp": unix.ENOSYS}, false, []string{"seccomp: function not implemented", "allow seccomp"}},
	{"seccomp of an old kernel", profile{"seccomp": unix.EINVAL}, false, []string{"Linux " + release() + " has no", "with 5.19"}},
	{"seccomp is death", profile{"seccomp": 0}, false, []string{"killed by SIGSYS", "allow seccomp"}},
	{"no mounts", profile{"mount": unix.EPERM}, true, []string{"/proc/net", "mount: operation not permitted", "--procnet"}},
	{"mounts are death", profile{"mount": 0}, true, []string{"/proc/net", "killed by SIGSYS", "--procnet"}},
	{"no move_mount", profile{"move_mount": unix.EPERM}, true, []string{"/proc/net", "--procnet"}},
	{"open_tree unknown", profile{"open_tree": unix.ENOSYS}, true, []string{"/proc/net", "--procnet"}},
	{"no namespaces", profile{"namespaces": unix.EPERM, "clone3": unix.ENOSYS, "mount": unix.EPERM}, true, []string{"/proc/net", "operation not permitted", "--procnet"}},
}

// TestProfile: where a container's profile forbids what exec needs, that is said at once,
// with what to allow; what exec can do without only costs what it is for.
func TestProfile(t *testing.T) {
	if server.kernel == "" {
		t.Skip("needs exec")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	python := find(t, "python3")
	for _, p := range profiles {
		t.Run(strings.ReplaceAll(p.name, " ", "-"), func(t *testing.T) {
			// A name and an option: the supervisor reads and writes the program's memory.
			cmd := server.command(nil, python, "-c", "import socket; s = socket.socket(); s.bind(('127.0.0.1', 0)); print('runs', s.getsockname()[0])")
			cmd.Args = append([]string{self}, cmd.Args...)
			cmd.Path = self
			cmd.Env = append(os.Environ(), profileEnv+"="+p.name)
			r := start(t, cmd).finish(limit)
			if p.runs && (r.Code != 0 || r.Stdout != "runs 127.0.0.1\n") {
				t.Errorf("exit %d\n%s%s", r.Code, r.Stdout, r.Stderr)
			}
			if !p.runs && (r.Code != 1 || r.Stdout != "") {
				t.Errorf("exit %d, want 1\n%s%s", r.Code, r.Stdout, r.Stderr)
			}
			if strings.Count(r.Stderr, "\n") != 1 {
				t.Errorf("says not one line:\n%s", r.Stderr)
			}
			for _, want := range p.says {
				if !strings.Contains(r.Stderr, want) {
					t.Errorf("does not say %q:\n%s", want, r.Stderr)
				}
			}
		})
	}
}

// release is the version of the host's kernel.
func release() string {
	var u unix.Utsname
	unix.Uname(&u)
	return unix.ByteSliceToString(u.Release[:])
}

// TestTwoSupervisors: a program has one supervisor.
func TestTwoSupervisors(t *testing.T) {
	if server.kernel == "" {
		t.Skip("needs exec")
	}
	if strings.HasPrefix(server.kernel, "tcp:") {
		t.Skip("a program looks for it in the rump kernel's network")
	}
	inner := server.command(nil, find(t, "true"))
	r := start(t, server.command(nil, inner.Path, inner.Args[1:]...)).finish(limit)
	if r.Code != 1 || !strings.Contains(r.Stderr, "another seccomp supervisor") {
		t.Errorf("exit %d, want 1\n%s", r.Code, r.Stderr)
	}
}

// underProfile executes the arguments under the profile of that name.
func underProfile(name string) error {
	runtime.LockOSThread()
	os.Unsetenv(profileEnv)
	for _, p := range profiles {
		if p.name != name {
			continue
		}
		if err := p.denied.install(); err != nil {
			return err
		}
		path, err := exec.LookPath(os.Args[1])
		if err != nil {
			return err
		}
		return syscall.Exec(path, os.Args[1:], os.Environ())
	}
	return fmt.Errorf("no profile %q", name)
}

// install has this thread, and what it executes, find calls denied.
func (p profile) install() error {
	code := []bpf.Instruction{bpf.LoadAbsolute{Off: 0, Size: 4}} // struct seccomp_data: nr
	for name, e := range p {
		verdict := bpf.RetConstant{Val: unix.SECCOMP_RET_ERRNO | uint32(e)}
		if e == 0 {
			verdict.Val = unix.SECCOMP_RET_KILL_PROCESS
		}
		if name == "namespaces" {
			code = append(code,
				bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.SYS_CLONE, SkipTrue: 1},
				bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.SYS_UNSHARE, SkipFalse: 4},
				bpf.LoadAbsolute{Off: 16, Size: 4}, // args[0]
				bpf.JumpIf{Cond: bpf.JumpBitsNotSet, Val: makesNamespace, SkipTrue: 1},
				verdict,
				bpf.LoadAbsolute{Off: 0, Size: 4})
			continue
		}
		code = append(code, bpf.JumpIf{Cond: bpf.JumpEqual, Val: profileCalls[name], SkipFalse: 1}, verdict)
	}
	raw, err := bpf.Assemble(append(code, bpf.RetConstant{Val: unix.SECCOMP_RET_ALLOW}))
	if err != nil {
		return err
	}
	filter := make([]unix.SockFilter, len(raw))
	for i, ins := range raw {
		filter[i] = unix.SockFilter{Code: ins.Op, Jt: ins.Jt, Jf: ins.Jf, K: ins.K}
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	return unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&prog)), 0, 0)
}
