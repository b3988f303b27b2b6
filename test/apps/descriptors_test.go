package apps

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// inherited writes to its argument which descriptors and variables this process has begun with.
const inherited = `
for fd in /proc/$$/fd/*; do
	[ -L "$fd" ] && all="$all${fd##*/}: $(readlink "$fd" | tr -d '\n') $(tr '\n' ' ' </proc/$$/fdinfo/${fd##*/})
"
done
echo "$all$(env | grep -v ^_= | sort)" >"$1"
`

// TestDescriptors: programs have the descriptors that their callers pass, as without exec, and no
// others.
func TestDescriptors(t *testing.T) {
	if server.kernel == "" {
		t.Skip("compares exec with the host")
	}
	tests := []struct {
		name    string
		numbers []int
		closed  []int
	}{
		{name: "none"},
		{name: "the first", numbers: []int{3}},
		{name: "all but the first", numbers: []int{4, 5, 6}},
		{name: "a gap", numbers: []int{3, 5}},
		{name: "many", numbers: []int{3, 4, 5, 9, 10, 20, 63, 1000}},
		{name: "no stdin", numbers: []int{3, 4, 63}, closed: []int{0}},
		{name: "no stdout", numbers: []int{3, 4, 63}, closed: []int{1}},
		{name: "no stderr", numbers: []int{3, 4, 63}, closed: []int{2}},
		{name: "nothing standard", numbers: []int{4, 9}, closed: []int{0, 1, 2}},
		{name: "nothing at all", closed: []int{0, 1, 2}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := tempDir(t)
			open := func(name string) *os.File {
				f, err := os.Create(filepath.Join(dir, name))
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { f.Close() })
				return f
			}
			standard := open("standard")
			var files []*os.File
			for _, n := range tt.numbers {
				for len(files) < n-3 {
					files = append(files, nil) // closed
				}
				f := open(fmt.Sprint("file", n))
				if _, err := f.Seek(int64(n), io.SeekStart); err != nil {
					t.Fatal(err)
				}
				files = append(files, f)
			}
			seen := func(cmd *exec.Cmd, closed string) string {
				out := filepath.Join(dir, "out")
				script := `exec "$@"`
				for _, n := range tt.closed {
					script += fmt.Sprintf(" %d%s", n, closed)
				}
				cmd.Args = slices.Concat([]string{"sh", "-c", script, "sh"}, cmd.Args, []string{out})
				cmd.Path = "/bin/sh"
				cmd.Stdin, cmd.Stdout, cmd.Stderr = standard, standard, standard
				cmd.ExtraFiles = files
				succeeds(t, cmd, limit)
				b, err := os.ReadFile(out)
				if err != nil {
					t.Fatal(err)
				}
				return string(b)
			}
			// Go's runtime opens /dev/null for those of 0, 1 and 2 that are closed.
			want := seen(exec.Command("/bin/sh", "-c", inherited, "sh"), "<>/dev/null")
			got := seen(server.command(nil, "/bin/sh", "-c", inherited, "sh"), "<&-")
			if got != want {
				t.Errorf("by exec:\n%s\non the host:\n%s", got, want)
			}
			for _, n := range append(tt.numbers, 0, 1, 2) {
				if !strings.Contains("\n"+want, fmt.Sprintf("\n%d: ", n)) {
					t.Errorf("the host's has no %d:\n%s", n, want)
				}
			}
		})
	}
}

// TestDescriptorRead: a shell's redirection reaches the program.
func TestDescriptorRead(t *testing.T) {
	file := write(t, filepath.Join(tempDir(t), "file"), "what it says\n")
	cmd := server.command(nil, "/bin/sh", "-c", "cat <&3")
	cmd.Args = append([]string{"sh", "-c", `exec "$@" 3<"$0"`, file}, cmd.Args...)
	cmd.Path = "/bin/sh"
	if out := succeeds(t, cmd, limit); out != "what it says\n" {
		t.Errorf("%q", out)
	}
}

// TestDescriptorsLetGo: a daemon that has let go of what its caller gave it holds up neither who
// reads a pipe nor who wants a lock.
func TestDescriptorsLetGo(t *testing.T) {
	dir := tempDir(t)
	lock := filepath.Join(dir, "lock")
	const daemon = `
		setsid sh -c 'echo $$ >"$0"; read line <"$0.end"' "$0" 9>&- </dev/null >/dev/null 2>&1 &
		while ! [ -s "$0" ]; do sleep 0.01; done
		echo started; echo a warning >&2`
	pid, end := filepath.Join(dir, "pid"), filepath.Join(dir, "pid.end")
	if out, err := exec.Command("mkfifo", end).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	cmd := server.command(nil, "/bin/sh", "-c", daemon, pid)
	cmd.Args = append([]string{"sh", "-c", `
		exec 9>"$0"
		flock -n 9 || exit
		"$@" 2>&1 | cat
		exec 9>&-
		for try in 1 2 3 4 5 6 7 8 9 10; do
			if flock -n "$0" echo free; then exit; fi
			sleep 0.1
		done`, lock}, cmd.Args...)
	cmd.Path = "/bin/sh"
	out := succeeds(t, cmd, limit)
	if lines := strings.Fields(out); !slices.Contains(lines, "started") || !slices.Contains(lines, "warning") || !slices.Contains(lines, "free") {
		t.Errorf("%q", out)
	}
	// The daemon is still there.
	b, err := os.ReadFile(pid)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat("/proc/" + strings.TrimSpace(string(b))); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(end, []byte("end\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestDescriptorsClosed: what a program closes of what its caller gave it is closed.
func TestDescriptorsClosed(t *testing.T) {
	end := filepath.Join(tempDir(t), "end")
	if out, err := exec.Command("mkfifo", end).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	cmd := server.command(nil, "/bin/sh", "-c", `echo on 7 >&7; echo on 1; exec >&- 7>&-; read line <"$0"`, end)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd.ExtraFiles = []*os.File{nil, nil, nil, nil, w}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	timer := time.AfterFunc(limit, func() { cmd.Process.Kill() })
	defer timer.Stop()
	for want, r := range map[string]io.Reader{"on 7\n": r, "on 1\n": out} {
		if b, err := io.ReadAll(r); string(b) != want || err != nil {
			t.Errorf("%q, %v, want %q", b, err, want)
		}
	}
	// The program is still there to read it.
	f, err := os.OpenFile(end, os.O_WRONLY|syscall.O_NONBLOCK, 0)
	for until := time.Now().Add(limit); errors.Is(err, syscall.ENXIO) && time.Now().Before(until); {
		time.Sleep(10 * time.Millisecond)
		f, err = os.OpenFile(end, os.O_WRONLY|syscall.O_NONBLOCK, 0)
	}
	if err != nil {
		t.Error(err)
	} else {
		f.WriteString("end\n")
		f.Close()
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// TestListenPID: the variables by which systemd says for which process something is meant say that it is the
// program, and only where it was.
func TestListenPID(t *testing.T) {
	python := find(t, "python3")
	const show = `
import os
pid = str(os.getpid())
inode = str(os.fstat(os.pidfd_open(os.getpid())).st_ino)
print([k + ' ' + {pid: 'own', inode: 'inode'}.get(v, v) for k, v in sorted(os.environ.items()) if 'PID' in k])
`
	for _, tt := range []struct{ set, want string }{
		{"LISTEN_PID=$$ LISTEN_FDS=1 WATCHDOG_PID=$$ SYSTEMD_EXEC_PID=$$", "['LISTEN_PID own', 'SYSTEMD_EXEC_PID own', 'WATCHDOG_PID own']\n"},
		{"LISTEN_PID=$$ LISTEN_PIDFDID=4711 WATCHDOG_PID=1", "['LISTEN_PID own', 'LISTEN_PIDFDID inode', 'WATCHDOG_PID 1']\n"},
		{"LISTEN_PID=$PPID LISTEN_PIDFDID=4711 OTHER_PID=99999999", "['LISTEN_PID ppid', 'LISTEN_PIDFDID 4711', 'OTHER_PID 99999999']\n"},
		{"", "[]\n"},
	} {
		cmd := server.command(nil, python, "-c", show)
		if server.kernel == "" && strings.Contains(tt.set, "4711") {
			continue // that of this process is not the shell's to know
		}
		cmd.Args = append([]string{"sh", "-c", tt.set + ` exec "$0" "$@"`, cmd.Path}, cmd.Args[1:]...)
		cmd.Path = "/bin/sh"
		out := strings.Replace(succeeds(t, cmd, limit), fmt.Sprint(" ", os.Getpid(), "'"), " ppid'", 1)
		if out != tt.want {
			t.Errorf("%s: %q, want %q", tt.set, out, tt.want)
		}
	}
}

// TestSocketActivation: a program accepts by a socket of systemd's.
func TestSocketActivation(t *testing.T) {
	python, activate := find(t, "python3"), find(t, "systemd-socket-activate")
	path := filepath.Join(tempDir(t), "socket")
	const program = `
import os, socket
assert os.environ['LISTEN_PID'] == str(os.getpid()) and os.environ['LISTEN_FDS'] == '1'
c, _ = socket.socket(fileno=3).accept()
c.sendall(c.recv(99).upper())
`
	cmd := server.command(nil, python, "-c", program)
	cmd.Args = append([]string{activate, "-l", path}, cmd.Args...)
	cmd.Args[3], cmd.Path = cmd.Path, activate
	p := start(t, cmd)
	p.says("Listening on")
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(limit))
	c.Write([]byte("hello"))
	if b, err := io.ReadAll(c); string(b) != "HELLO" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
	if r := p.finish(limit); r.Code != 0 {
		t.Errorf("exit %d\n%s", r.Code, r.Stderr)
	}
}
