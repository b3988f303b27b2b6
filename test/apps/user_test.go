package apps

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// ordinary has commands run as a user who may do nothing in particular: nobody, if that
// is not who runs the tests. All that the user makes is in dir.
type ordinary struct {
	dir        string
	credential *syscall.Credential
}

func newOrdinary(t *testing.T) *ordinary {
	t.Helper()
	u := &ordinary{dir: tempDir(t)}
	if os.Geteuid() != 0 {
		return u
	}
	nobody, err := user.Lookup("nobody")
	if err != nil {
		t.Fatal(err)
	}
	uid, _ := strconv.Atoi(nobody.Uid)
	gid, _ := strconv.Atoi(nobody.Gid)
	u.credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	if err := os.Chown(u.dir, uid, gid); err != nil {
		t.Fatal(err)
	}
	return u
}

func (u *ordinary) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Dir = u.dir
	cmd.Env = append(os.Environ(), "HOME="+u.dir, "XDG_RUNTIME_DIR="+u.dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: u.credential}
	return cmd
}

// TestOrdinaryUser: with a kernel of one's own nobody needs a privilege.
func TestOrdinaryUser(t *testing.T) {
	twoKernels(t)
	python, unshare := find(t, "python3"), find(t, "unshare")
	rumpctl := filepath.Join(bin, "rumpctl")
	u := newOrdinary(t)
	succeeds(t, u.command(rumpctl, "start", "own"), limit)
	t.Cleanup(func() {
		if out, err := u.command(rumpctl, "halt", "own").CombinedOutput(); err != nil {
			t.Errorf("rumpctl halt: %v\n%s", err, out)
		}
	})
	under := func(args ...string) *exec.Cmd {
		return u.command(rumpctl, append([]string{"exec", "--server", "own"}, args...)...)
	}
	t.Run("procnet at once", func(t *testing.T) {
		// The kernel has not told yet what is in it when a program opens it.
		for range 10 {
			if out := succeeds(t, under("--", "/bin/cat", "/proc/net/dev"), limit); !strings.Contains(out, "lo0:") {
				t.Fatalf("%s", out)
			}
		}
	})
	t.Run("--procnet", func(t *testing.T) {
		if out := succeeds(t, under("--procnet", "--", "/bin/cat", "/proc/net/dev"), limit); !strings.Contains(out, "lo0:") {
			t.Errorf("%s", out)
		}
	})
	// A connection, with threads, and what a fork of it has.
	const talk = `
import os, socket, threading
l = socket.create_server(('127.0.0.1', 0))
c = socket.create_connection(l.getsockname())
s, peer = l.accept()
assert peer == c.getsockname(), peer
got = []
def reads():
    while b := s.recv(65536): got.append(b)
    s.sendall(b'thanks')
t = threading.Thread(target=reads)
t.start()
if os.fork() == 0:
    c.sendall(b'x' * 1000000)
    c.shutdown(socket.SHUT_WR)
    os._exit(0)
os.wait()
t.join()
print(len(b''.join(got)), c.recv(100).decode(), os.getuid())
`
	uid := os.Geteuid()
	if u.credential != nil {
		uid = int(u.credential.Uid)
	}
	t.Run("connection", func(t *testing.T) {
		if out, want := succeeds(t, under("--", python, "-c", talk), limit), fmt.Sprintf("1000000 thanks %d\n", uid); out != want {
			t.Errorf("%q, want %q", out, want)
		}
	})
	t.Run("daemon", func(t *testing.T) {
		// It is told by a file what has come of it, when exec has ended.
		file := filepath.Join(u.dir, "daemon")
		succeeds(t, under("--", "/bin/sh", "-c", `(sleep 1; exec "$@") >daemon.part 2>&1 && mv daemon.part daemon &`, "sh", python, "-c", talk), limit)
		r := start(t, u.command("/bin/sh", "-c", `while [ ! -e daemon ]; do sleep 0.1; done; cat daemon`)).finish(limit)
		if want := fmt.Sprintf("1000000 thanks %d\n", uid); r.Stdout != want {
			t.Errorf("%s: %q, want %q", file, r.Stdout, want)
		}
	})
	if start(t, u.command(unshare, "-U", "-r", "true")).finish(limit).Code != 0 {
		return // no user namespaces here
	}
	t.Run("within a user namespace", func(t *testing.T) {
		cmd := under("--", python, "-c", talk)
		cmd.Args = append([]string{unshare, "-U", "-r"}, cmd.Args...)
		cmd.Path = unshare
		if out := succeeds(t, cmd, limit); out != "1000000 thanks 0\n" {
			t.Errorf("%q", out)
		}
	})
	t.Run("around user and process namespaces", func(t *testing.T) {
		if out := succeeds(t, under("--", unshare, "-U", "-r", "-p", "-f", python, "-c", talk), limit); out != "1000000 thanks 0\n" {
			t.Errorf("%q", out)
		}
	})
}
