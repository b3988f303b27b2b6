package apps

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// sshd is a server with keys of its own; whoever runs the tests may log in.
type sshd struct {
	*process
	dir, ssh, config string
	port             int
	user             string
}

func startSSHD(t *testing.T, more ...string) *sshd {
	t.Helper()
	program, ssh, keygen := find(t, "sshd"), find(t, "ssh"), find(t, "ssh-keygen")
	if _, err := user.LookupId(strconv.Itoa(os.Getuid())); err != nil {
		t.Skipf("ssh wants a user who has a name: %v", err)
	}
	dir := tempDir(t)
	for _, key := range []string{"host", "user"} {
		if out, err := exec.Command(keygen, "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(dir, key)).CombinedOutput(); err != nil {
			t.Fatalf("ssh-keygen: %v\n%s", err, out)
		}
	}
	key, err := os.ReadFile(filepath.Join(dir, "user.pub"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "authorized"), string(key))
	// Debian's init makes this directory at boot.
	if os.Geteuid() == 0 {
		if err := os.Mkdir("/run/sshd", 0o755); err == nil {
			t.Cleanup(func() { os.Remove("/run/sshd") })
		} else if !os.IsExist(err) {
			t.Fatal(err)
		}
	}
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	s := &sshd{dir: dir, ssh: ssh, port: port(t), user: me.Username}
	var listen strings.Builder
	for _, addr := range server.addresses() {
		fmt.Fprintf(&listen, "ListenAddress %s\n", hostPort(addr, s.port))
	}
	config := write(t, filepath.Join(dir, "sshd_config"), listen.String()+`HostKey `+dir+`/host
AuthorizedKeysFile `+dir+`/authorized
PidFile none
StrictModes no
UsePAM no
PermitRootLogin yes
PasswordAuthentication no
MaxStartups 100
LogLevel DEBUG3
Subsystem sftp internal-sftp
`+strings.Join(more, "\n")+"\n")
	s.config = write(t, filepath.Join(dir, "ssh_config"), `Host *
IdentityFile `+dir+`/user
IdentitiesOnly yes
UserKnownHostsFile `+dir+`/known
GlobalKnownHostsFile /dev/null
StrictHostKeyChecking no
LogLevel ERROR
BatchMode yes
`)
	// Its path is absolute: for every connection it executes itself again.
	s.process = server.serve(t, "tcp", s.port, server.command(nil, program, "-D", "-e", "-f", config))
	return s
}

// client is ssh(1) with args, which name the host last.
func (s *sshd) client(args ...string) *exec.Cmd {
	return client.command(nil, s.ssh, append([]string{"-F", s.config, "-p", fmt.Sprint(s.port)}, args...)...)
}

func (s *sshd) copyCommand(name string, args ...string) *exec.Cmd {
	return client.command(nil, filepath.Join(filepath.Dir(s.ssh), name), append([]string{"-q", "-F", s.config, "-P", fmt.Sprint(s.port)}, args...)...)
}

// TestSSH: log in, run a command, and be who one is; the server changes its root, its
// user and what system calls it may make.
func TestSSH(t *testing.T) {
	s := startSSHD(t)
	for i, addr := range server.addresses() {
		succeeds(t, s.client(addr.String(), "true"), limit)
		out := succeeds(t, s.client(addr.String(), "echo $SSH_CONNECTION"), limit)
		if !regexp.MustCompile(`^` + regexp.QuoteMeta(client.addresses()[i].String()) + ` \d+ ` + regexp.QuoteMeta(addr.String()) + fmt.Sprintf(` %d\n$`, s.port)).MatchString(out) {
			t.Errorf("SSH_CONNECTION is %q", out)
		}
		if r := start(t, s.client(addr.String(), "exit 7")).finish(limit); r.Code != 7 {
			t.Errorf("exit 7: %+v", r)
		}
	}
	s.says("ssh_sandbox_child: attaching seccomp filter program")
	if os.Geteuid() == 0 {
		s.says(`privsep user:group|permanently_set_uid|chroot`)
	}
	begin := time.Now()
	if r := start(t, client.command(nil, s.ssh, "-F", s.config, "-p", fmt.Sprint(port(t)), server.v4.String(), "true")).finish(limit); r.Code != 255 || !strings.Contains(r.Stderr, "Connection refused") {
		t.Errorf("refused: %+v", r)
	}
	atOnce(t, "ssh's refusal", begin)
}

// TestSSHInput: what a command reads ends, and what it writes comes back whole.
func TestSSHInput(t *testing.T) {
	s := startSSHD(t)
	cmd := s.client(server.v4.String(), "wc -c; echo done")
	file := filepath.Join(tempDir(t), "in")
	content(t, file, 3_000_000)
	in, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	cmd.Stdin = in
	if out := succeeds(t, cmd, 2*limit); out != "3000000\ndone\n" {
		t.Errorf("%q", out)
	}
}

// TestSSHBulk: 100 MB each way, with new keys on the way.
func TestSSHBulk(t *testing.T) {
	all(t)
	n := size(t)
	s := startSSHD(t, fmt.Sprintf("RekeyLimit %d", n/10))
	dir := tempDir(t)
	file := filepath.Join(dir, "file")
	body := content(t, file, n)

	up := filepath.Join(dir, "up")
	cmd := s.client("-o", "LogLevel=DEBUG1", "-o", fmt.Sprintf("RekeyLimit=%d", n/10), server.v4.String(), "cat > "+up)
	in, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	cmd.Stdin = in
	r := start(t, cmd).finish(10 * limit)
	if r.Code != 0 {
		t.Fatalf("up: %+v", r)
	}
	sameFile(t, up, body)
	if rekeys := strings.Count(r.Stderr, "SSH2_MSG_NEWKEYS received"); rekeys < 5 {
		t.Errorf("new keys %d times only", rekeys)
	}
	t.Logf("up: %.0f MB/s", float64(n)/1e6/r.Took.Seconds())

	down := filepath.Join(dir, "down")
	out, err := os.Create(down)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd = s.client(server.v4.String(), "cat "+file)
	cmd.Stdout = out
	r = start(t, cmd).finish(10 * limit)
	if r.Code != 0 {
		t.Fatalf("down: %+v", r)
	}
	sameFile(t, down, body)
	t.Logf("down: %.0f MB/s", float64(n)/1e6/r.Took.Seconds())
}

// TestSCP: copies both ways, by scp and by sftp.
func TestSCP(t *testing.T) {
	all(t)
	s := startSSHD(t)
	dir := tempDir(t)
	file := filepath.Join(dir, "file")
	n := size(t)
	body := content(t, file, n)
	remote := s.user + "@" + server.v4.String() + ":"
	succeeds(t, s.copyCommand("scp", file, remote+filepath.Join(dir, "scp-up")), 10*limit)
	sameFile(t, filepath.Join(dir, "scp-up"), body)
	succeeds(t, s.copyCommand("scp", remote+file, filepath.Join(dir, "scp-down")), 10*limit)
	sameFile(t, filepath.Join(dir, "scp-down"), body)
	if server.v6.IsValid() {
		succeeds(t, s.copyCommand("scp", "-r", file, s.user+"@["+server.v6.String()+"]:"+filepath.Join(dir, "scp-6")), 10*limit)
		sameFile(t, filepath.Join(dir, "scp-6"), body)
	}
	batch := write(t, filepath.Join(dir, "batch"), fmt.Sprintf("put %s %s\nget %[2]s %[3]s\nls -l %[2]s\n", file, filepath.Join(dir, "sftp-up"), filepath.Join(dir, "sftp-down")))
	out := succeeds(t, s.copyCommand("sftp", "-b", batch, s.user+"@"+server.v4.String()), 10*limit)
	if !strings.Contains(out, fmt.Sprint(n)) {
		t.Errorf("ls -l: %s", out)
	}
	sameFile(t, filepath.Join(dir, "sftp-up"), body)
	sameFile(t, filepath.Join(dir, "sftp-down"), body)
}

// TestSSHForward: -L has the client listen and the server connect, -R the other way.
func TestSSHForward(t *testing.T) {
	all(t)
	s := startSSHD(t)
	curl := find(t, "curl")
	goweb := filepath.Join(bin, "goweb")
	atServer, atClient := port(t), port(t)
	server.serve(t, "tcp", atServer, server.command(nil, goweb, "serve", fmt.Sprintf("127.0.0.1:%d", atServer)))
	client.serve(t, "tcp", atClient, client.command(nil, goweb, "serve", fmt.Sprintf("127.0.0.1:%d", atClient)))
	local, remote := port(t), port(t)
	ssh := client.serve(t, "tcp", local, s.client("-N", "-o", "ExitOnForwardFailure=yes",
		"-L", fmt.Sprintf("127.0.0.1:%d:127.0.0.1:%d", local, atServer),
		"-R", fmt.Sprintf("127.0.0.1:%d:127.0.0.1:%d", remote, atClient), server.v4.String()))
	server.listens(t, ssh, "tcp", remote)
	for _, tt := range []struct {
		what string
		from *host
		port int
	}{{"-L", client, local}, {"-R", server, remote}} {
		url := fmt.Sprintf("http://127.0.0.1:%d/", tt.port)
		if out := tt.from.want(t, curl, "-sSf", url+"a", url+"b"); out != "hello /a\nhello /b\n" {
			t.Errorf("%s: %q", tt.what, out)
		}
		out := tt.from.want(t, curl, "-sSf", "-Z", "--parallel-max", "10", url+"bytes/500000?[1-20]", "-o", os.DevNull, "-w", "%{size_download}\n")
		if strings.Count(out, "500000\n") != 20 {
			t.Errorf("%s: %q", tt.what, out)
		}
	}
}

// TestRelativeURL: the kernel's socket is named relative to where exec starts; what the
// program does to its directory and root is its own.
func TestRelativeURL(t *testing.T) {
	twoKernels(t)
	s := startSSHD(t)
	dir := filepath.Join(os.Getenv("XDG_RUNTIME_DIR"), "rump")
	relative := *client
	relative.kernel = "unix://" + client.name
	cmd := relative.command(nil, "/bin/sh", "-c", `cd / && exec "$@"`, "sh", s.ssh, "-F", s.config, "-p", fmt.Sprint(s.port), server.v4.String(), "pwd")
	cmd.Dir = dir
	succeeds(t, cmd, limit)
	// A server that goes to /, as daemons do.
	goweb := filepath.Join(bin, "goweb")
	p := port(t)
	relative = *server
	relative.kernel = "unix://./" + server.name
	cmd = relative.command(nil, "/bin/sh", "-c", `cd / && exec "$@"`, "sh", goweb, "serve", hostPort(server.v4, p))
	cmd.Dir = dir
	server.serve(t, "tcp", p, cmd)
	if out := client.want(t, goweb, "get", "http://"+hostPort(server.v4, p)+"/d"); out != "hello /d\n" {
		t.Errorf("%q", out)
	}
}
