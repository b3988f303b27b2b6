package apps

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestOwners: rnetstat tells whose a socket is, by whichever path each of the two was given the
// kernel; and rumpctl list tells of kernels, whoever else is in their directory.
func TestOwners(t *testing.T) {
	twoKernels(t)
	dir := tempDir(t)
	socket := strings.TrimPrefix(server.kernel, "unix://")
	if err := os.Symlink(socket, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Dir(socket), filepath.Join(dir, "run")); err != nil {
		t.Fatal(err)
	}
	listed := regexp.MustCompile(`(?m)^` + server.name + ` +running `)
	urls := []string{server.kernel, server.name, "unix://link", "unix://" + dir + "/run/" + server.name}
	for _, told := range urls {
		p := port(t)
		cmd := (&host{kernel: told}).command(nil, filepath.Join(bin, "goweb"), "serve", hostPort(server.v4, p))
		cmd.Dir = dir
		server.serve(t, "tcp", p, cmd)
		// Supervisors are no kernels.
		if out := succeeds(t, exec.Command(filepath.Join(bin, "rumpctl"), "list"), limit); !listed.MatchString(out) {
			t.Errorf("rumpctl list:\n%s", out)
		}
		for _, asked := range urls {
			cmd := exec.Command(filepath.Join(bin, "rnetstat"), "--server", asked, "-an", "--owners")
			cmd.Dir = dir
			out := succeeds(t, cmd, limit)
			if !regexp.MustCompile(fmt.Sprintf(`(?m)^tcp .*\.%d .* LISTEN +\d+/goweb`, p)).MatchString(out) {
				t.Errorf("exec --server %s, rnetstat --server %s:\n%s", told, asked, out)
			}
		}
	}
}

// TestOwnersShown: programs find whose a socket is by what /proc/net says of it, which is the inode of the descriptor, and by
// netlink. What stands for it on the host they do not find.
func TestOwnersShown(t *testing.T) {
	twoKernels(t)
	lsof, fuser, ss, netstat := find(t, "lsof"), find(t, "fuser"), find(t, "ss"), find(t, "netstat")
	const program = `
import os, socket, subprocess, sys, time
l = socket.socket(socket.AF_INET6)
l.bind(('::', 0))
l.listen()
port = l.getsockname()[1]
c = socket.create_connection(('127.0.0.1', port))
a = l.accept()[0]
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
u.bind(('127.0.0.1', port))
r = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
local = socket.socket(socket.AF_UNIX)
local.bind(sys.argv[1])
me = str(os.getpid())
def run(*args):
    return subprocess.run([arg.replace('PORT', str(port)) for arg in args], capture_output=True, text=True).stdout
lsof, fuser, ss, netstat = sys.argv[2:]
def inode(s):
    return os.fstat(s.fileno()).st_ino
for args, want in [
    ((lsof, '-nP', '-iTCP:PORT', '-sTCP:LISTEN', '-t'), me),
    ((fuser, 'PORT/tcp'), me),
    ((fuser, 'PORT/udp'), me),
    ((lsof, '-nP', '-iTCP', '-a', '-p', me, '-Ff'), 'p%s\nf%d\nf%d\nf%d' % (me, l.fileno(), c.fileno(), a.fileno())),
    ((lsof, '-nP', '-U', '-a', '-p', me, '-Ffi'), 'p%s\nf%d\ni%d' % (me, local.fileno(), inode(local))),
]:
    # What is in /proc/net may be some hundredths of a second old.
    begin = time.monotonic()
    while (got := run(*args).strip()) != want and time.monotonic() < begin + 2:
        time.sleep(.05)
    if got != want:
        print(args, repr(got), repr(want))
# The parent, which made the listener, has ended.
reads, writes = os.pipe()
if os.fork() == 0:
    left = socket.create_server(('127.0.0.1', 0), backlog=7)
    at = left.getsockname()[1]
    if os.fork() == 0:
        os.write(writes, b'%d %d' % (os.getpid(), at))
        time.sleep(60)
    os._exit(0)
os.wait()
heir, port2 = os.read(reads, 99).decode().split()
begin = time.monotonic()
while True:
    out = run(ss, '-Htlnp', 'sport = :' + port2)
    if ('pid=%s,' % heir in out and ' 7 ' in out) or time.monotonic() > begin + 2:
        break
    time.sleep(.05)
if 'pid=%s,' % heir not in out or ' 7 ' not in out:
    print(heir, out)
os.kill(int(heir), 9)
for args in (ss, '-Htanp'), (ss, '-Huanp'), (netstat, '-tan', '--program'), (netstat, '-uanp'):
    out = [line for line in run(*args).splitlines() if ':%d ' % port in line]
    if not out or not all('pid=' + me in line or ' ' + me + '/' in line for line in out):
        print(args, out)
if ' %d ' % inode(r) not in open('/proc/net/raw').read():
    print(open('/proc/net/raw').read())
print('end')
`
	if out := server.want(t, find(t, "python3"), "-c", program, filepath.Join(tempDir(t), "s"), lsof, fuser, ss, netstat); out != "end\n" {
		t.Error(out)
	}
}
