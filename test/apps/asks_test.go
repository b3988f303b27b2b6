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

// TestAddresses: what programs hear about interfaces, addresses and routes is the rump
// kernel's, by netlink and by ioctl.
func TestAddresses(t *testing.T) {
	twoKernels(t)
	ip, python := find(t, "ip"), find(t, "python3")
	out := server.want(t, ip, "-br", "addr")
	for _, want := range []string{"127.0.0.1/8", server.v4.String() + "/24", server.v6.String() + "/64"} {
		if !strings.Contains(out, want) {
			t.Errorf("ip addr has no %s:\n%s", want, out)
		}
	}
	if out := server.want(t, ip, "route"); !regexp.MustCompile(`(?m)^10\.0\.0\.0/24 dev \S+`).MatchString(out) {
		t.Errorf("ip route:\n%s", out)
	}
	if out := server.want(t, ip, "route", "get", client.v4.String()); !strings.Contains(out, "src "+server.v4.String()) {
		t.Errorf("ip route get:\n%s", out)
	}
	out = server.want(t, python, "-c", `
import fcntl, socket, struct
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for index, name in socket.if_nameindex():
    try:
        a = fcntl.ioctl(s, 0x8915, struct.pack('16s16x', name.encode()))[20:24] # SIOCGIFADDR
        print(index, name, socket.inet_ntoa(a))
    except OSError as e:
        print(index, name, e.errno)
`)
	if !regexp.MustCompile(`(?m)^\d+ lo\S* 127\.0\.0\.1$`).MatchString(out) || !strings.Contains(out, " "+server.v4.String()+"\n") {
		t.Errorf("if_nameindex, SIOCGIFADDR:\n%s", out)
	}
}

// TestSS: sockets of the rump kernel are what ss(8) lists, and none of the host's.
func TestSS(t *testing.T) {
	twoKernels(t)
	ss := find(t, "ss")
	p := port(t)
	server.serve(t, "tcp", p, server.command(nil, filepath.Join(bin, "goweb"), "serve", hostPort(server.v4, p)))
	out := server.want(t, ss, "-tlnH")
	if !regexp.MustCompile(`(?m)^LISTEN +\d+ +\d+ +` + regexp.QuoteMeta(hostPort(server.v4, p)) + ` `).MatchString(out) {
		t.Errorf("ss -tln:\n%s", out)
	}
}

// TestRawReceives: a raw socket gets what comes from the moment that it is made.
func TestRawReceives(t *testing.T) {
	python := find(t, "python3")
	for _, test := range []struct{ family, protocol, to, echo string }{
		{"AF_INET", "1", "127.0.0.1", `b'\x08\x00\xf7\xff\x00\x00\x00\x00'`},
		{"AF_INET6", "58", "::1", `b'\x80\x00\x00\x00\x00\x00\x00\x00'`},
	} {
		out := server.want(t, python, "-c", fmt.Sprintf(`
import select, socket
r = socket.socket(socket.%[1]s, socket.SOCK_RAW, %[2]s)
s = socket.socket(socket.%[1]s, socket.SOCK_RAW, %[2]s)
s.sendto(%[4]s, ('%[3]s', 0))
print(select.select([r], [], [], 10)[0] == [r], r.recvfrom(100)[1][0])
`, test.family, test.protocol, test.to, test.echo))
		if want := "True " + test.to + "\n"; out != want {
			t.Errorf("%s: %q, want %q", test.family, out, want)
		}
	}
}

// TestNetlinkCredentials: the kernel says who it is, as avahi-daemon wants it.
func TestNetlinkCredentials(t *testing.T) {
	python := find(t, "python3")
	const ask = `
import socket, struct
s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
s.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
s.bind((0, 0))
for room in (socket.CMSG_SPACE(12), 0):
    s.send(struct.pack('IHHIIB15x', 32, 18, 0x301, 1, 0, 0)) # RTM_GETLINK
    data, control, flags, address = s.recvmsg(1 << 16, room)
    print([(level, type, struct.unpack('III', b)) for level, type, b in control], flags & socket.MSG_CTRUNC != 0)
    done = False
    while not done:
        while data:
            length, kind = struct.unpack('IH', data[:6])
            done, data = done or kind == 3, data[(length + 3) & ~3:] # NLMSG_DONE
        if not done:
            data = s.recv(1 << 16)
`
	out, err := exec.Command(python, "-c", ask).CombinedOutput()
	if err != nil {
		t.Fatalf("on the host: %v\n%s", err, out)
	}
	if got := server.want(t, python, "-c", ask); got != string(out) {
		t.Errorf("%s, on the host %s", got, out)
	}
}

// TestNetlinkPorts: an address is one socket's, as long as that is open, and a socket has one.
func TestNetlinkPorts(t *testing.T) {
	python := find(t, "python3")
	const ask = `
import errno, os, socket
def bind(s, port):
    try:
        s.bind((port, 0))
        return 'ok'
    except OSError as e:
        return errno.errorcode[e.errno]
for protocol in (0, 4): # NETLINK_ROUTE, NETLINK_SOCK_DIAG
    a, b, c = [socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol) for _ in range(3)]
    other = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 4 - protocol)
    print(bind(a, 77777), bind(b, 77777), bind(other, 77777), a.getsockname())
    print(bind(a, 77778), bind(a, 0), bind(a, 77777), a.getsockname())
    print(bind(b, 0), b.getsockname()[0] == os.getpid(), bind(c, os.getpid()), bind(c, 0))
    for i in range(20):
        a.close()
        a = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol)
        print(bind(a, 77777))
    a.close()
    other.close()
`
	out, err := exec.Command(python, "-c", ask).CombinedOutput()
	if err != nil {
		t.Fatalf("on the host: %v\n%s", err, out)
	}
	if got := server.want(t, python, "-c", ask); got != string(out) {
		t.Errorf("%s, on the host %s", got, out)
	}
}

// What no rump kernel has is refused, by the error that programs expect where a host
// has no such protocol; nothing of it reaches the host.
const leaks = `
import ctypes, errno, socket
def try_(what, *args):
    try:
        socket.socket(*args).close()
        print(what, 'ok')
    except OSError as e:
        print(what, errno.errorcode[e.errno])
try_('unix', socket.AF_UNIX, socket.SOCK_STREAM)
try_('tcp', socket.AF_INET, socket.SOCK_STREAM)
try_('udp6', socket.AF_INET6, socket.SOCK_DGRAM)
try_('mptcp', socket.AF_INET, socket.SOCK_STREAM, 262)
try_('sctp', socket.AF_INET, socket.SOCK_STREAM, 132)
try_('seqpacket', socket.AF_INET, socket.SOCK_SEQPACKET, 132)
try_('udplite', socket.AF_INET, socket.SOCK_DGRAM, 136)
try_('dccp', socket.AF_INET, 6, 33)
try_('packet', socket.AF_PACKET, socket.SOCK_RAW, 0x300)
try_('vsock', 40, socket.SOCK_STREAM)
try_('xdp', 44, socket.SOCK_RAW)
try_('bluetooth', 31, socket.SOCK_STREAM)
try_('can', 29, socket.SOCK_RAW, 1)
try_('smc', 43, socket.SOCK_STREAM)
try_('rds', 21, socket.SOCK_SEQPACKET)
try_('tipc', 30, socket.SOCK_STREAM)
try_('alg', 38, socket.SOCK_SEQPACKET)
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall(425, 8, ctypes.create_string_buffer(256))
print('io_uring', errno.errorcode[ctypes.get_errno()])
s = socket.socket()
try:
    s.setsockopt(socket.SOL_SOCKET, 25, b'eth0\0')
    print('bindtodevice ok')
except OSError as e:
    print('bindtodevice', errno.errorcode[e.errno])
try:
    s.setsockopt(socket.SOL_SOCKET, 36, 1)
    print('mark ok')
except OSError as e:
    print('mark', errno.errorcode[e.errno])
`

func TestLeaks(t *testing.T) {
	if native {
		t.Skip("is about exec")
	}
	python := find(t, "python3")
	script := write(t, filepath.Join(tempDir(t), "leaks.py"), leaks)
	out := client.want(t, python, script)
	for _, want := range []string{
		"unix ok", "tcp ok", "udp6 ok", "mptcp EPROTONOSUPPORT", "sctp EPROTONOSUPPORT", "udplite EPROTONOSUPPORT", "packet EAFNOSUPPORT|EPERM", "vsock EAFNOSUPPORT",
		"xdp EAFNOSUPPORT", "bluetooth EAFNOSUPPORT", "can EAFNOSUPPORT", "smc EAFNOSUPPORT", "rds EAFNOSUPPORT", "tipc EAFNOSUPPORT", "io_uring ENOSYS|EPERM",
		"mark ENOPROTOOPT|EPERM",
	} {
		name, errors, _ := strings.Cut(want, " ")
		if !regexp.MustCompile(`(?m)^` + name + ` (` + errors + `)$`).MatchString(out) {
			t.Errorf("want %s:\n%s", want, out)
		}
	}
	for line := range strings.Lines(out) {
		name, answer, _ := strings.Cut(strings.TrimSpace(line), " ")
		if answer == "ok" && name != "unix" && name != "tcp" && name != "udp6" {
			t.Errorf("%s", line)
		}
	}
}

// TestEnds: how a program ends is how exec ends, and what it leaves running is served on.
func TestEnds(t *testing.T) {
	if native {
		t.Skip("is about exec")
	}
	for _, tt := range []struct {
		script string
		code   int
		signal string
	}{{"exit 0", 0, ""}, {"exit 42", 42, ""}, {"kill -TERM $$", -1, "terminated"}, {"kill -KILL $$", -1, "killed"}} {
		p := start(t, client.command(nil, "/bin/sh", "-c", tt.script))
		r := p.finish(limit)
		if r.Code != tt.code || !strings.Contains(p.cmd.ProcessState.String(), tt.signal) {
			t.Errorf("%s: %v", tt.script, p.cmd.ProcessState)
		}
	}
	if r := client.run(t, "/nonexistent/program"); r.Code != 127 && r.Code != 1 || strings.Count(r.Stderr, "\n") != 1 {
		t.Errorf("no such program: %+v", r)
	}
	// Standard input and output are the program's own.
	cmd := client.command(nil, "/bin/cat")
	cmd.Stdin = strings.NewReader("through\n")
	if out := succeeds(t, cmd, limit); out != "through\n" {
		t.Errorf("%q", out)
	}
	// The signals that a program ignores or not are as they were.
	same, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	want := regexp.MustCompile(`(?m)^SigIgn:.*$`).FindString(string(same))
	if out := client.want(t, "/bin/grep", "SigIgn", "/proc/self/status"); strings.TrimSpace(out) != want {
		t.Errorf("%q, want %q", out, want)
	}
	// What it has left behind goes on: a daemon.
	p := port(t)
	pidfile := filepath.Join(tempDir(t), "pid")
	start(t, server.command(nil, "/bin/sh", "-c", fmt.Sprintf(`setsid %s serve %s >/dev/null 2>&1 & echo $! > %s`, filepath.Join(bin, "goweb"), hostPort(server.v4, p), pidfile)))
	t.Cleanup(func() {
		pid, _ := os.ReadFile(pidfile)
		exec := fmt.Sprintf("kill %s", strings.TrimSpace(string(pid)))
		(&host{}).run(t, "/bin/sh", "-c", exec)
	})
	waitBound(t, server, p)
	if out := client.want(t, filepath.Join(bin, "goweb"), "get", "http://"+hostPort(server.v4, p)+"/daemon"); out != "hello /daemon\n" {
		t.Errorf("%q", out)
	}
}
