package apps

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDatagrams has a program use UDP sockets, on the host and in a kernel: what has been sent
// and received around connect(2) and close(2) is the same.
func TestDatagrams(t *testing.T) {
	beside(t, "datagrams", differences)
}

// beside runs a program of Python's on the host and under exec at a time. Its last line is its name and "end".
func beside(t *testing.T, name string, differences []difference) {
	t.Helper()
	if server.kernel == "" {
		t.Skip("compares exec with the host")
	}
	python, script := find(t, "python3"), name+".py"
	host := start(t, onHost(python, script))
	there := start(t, server.command(nil, python, script))
	want := lines(host.finish(2 * limit).Stdout)
	got := lines(there.finish(2 * limit).Stdout)
	if len(want) == 0 || want[len(want)-1] != name+": end" {
		t.Fatalf("on the host: %q", want)
	}
	compare(t, want, got, differences)
}

// TestDatagramsClosed: what is sent to a socket that has just been closed is refused, or another's that has its port.
func TestDatagramsClosed(t *testing.T) {
	if os.Getenv("APPS_SERVER") != "" {
		t.Skip("NetBSD's own kernel is not told what its datagrams were for")
	}
	beside(t, "udpclosed", nil)
}

// TestErrorAtClose: sockets that are closed while an error comes for them hold nothing up, and
// the error is none of the socket's that comes next.
func TestErrorAtClose(t *testing.T) {
	if server.kernel == "" {
		t.Skip("is about exec")
	}
	if out := client.want(t, find(t, "python3"), "udperrors.py"); out != "done\n" {
		t.Errorf("%q", out)
	}
}

// TestGroups: multicasts find an interface, and broadcasts are refused, as on a host with one Ethernet interface and no default
// route.
func TestGroups(t *testing.T) {
	twoKernels(t)
	python := find(t, "python3")
	script, err := filepath.Abs("groups.py")
	if err != nil {
		t.Fatal(err)
	}
	h := startKernel(t, "groups", "--bus", filepath.Join(tempDir(t), "bus"), "--address", "10.50.0.2/24", "--address", "fd50::2/64")
	tool(t, "rifconfig", "--server", h.kernel, "-w", "30")
	got := h.want(t, python, script, "10.50.0.2", "fd50::2", "10.50.0.255")
	// As Linux says.
	want := `group, bound: 1
group, bound and connected: 2
group: ENETUNREACH
group, connected: ENETUNREACH
ff02::99: 1
ff02::99, bound: 1
ff02::99, bound and connected: EINVAL
ff05::99: 1
ff05::99, bound: 1
ff05::99, bound and connected: 2
ff15::99: 1
ff15::99, bound: 1
ff15::99, bound and connected: 2
broadcast: EACCES
broadcast, connected: EACCES
broadcast, connected and allowed: 2
named: 2
named, IPv6: 2
join ff02::1234: 0 EADDRINUSE 0 EADDRNOTAVAIL
join ff05::1234: 0 EADDRINUSE 0 EADDRNOTAVAIL
join ff0e::1234: 0 EADDRINUSE 0 EADDRNOTAVAIL
round trip: ('hello', True, '00000000')
round trip, IPv6: ('hello', True, '00000000')
`
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// TestGroupsOfLo0: multicasts leave by lo0 for who names it, also where there is no other interface, and are the host's own there.
func TestGroupsOfLo0(t *testing.T) {
	if server.kernel != "" {
		twoKernels(t)
	}
	h := &host{}
	if !native {
		h = startKernel(t, "lo0groups")
	}
	got := h.want(t, find(t, "python3"), "-c", `
import errno, socket, struct
group = socket.inet_aton("239.1.1.1")
lo = struct.pack("@i", next(i for i, name in socket.if_nameindex() if name in ("lo", "lo0")))
me, any = socket.inet_aton("127.0.0.1"), socket.inet_aton("0.0.0.0")
r = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
r.settimeout(20)
r.bind(("", 0))
r.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group + me)
to = "239.1.1.1", r.getsockname()[1]
for name, way, control in (
        ("address", me, []),
        ("index", any + any + lo, []),
        ("message", None, [(socket.IPPROTO_IP, 8, lo + any + any)]),
        ("none", None, [])):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    if way:
        s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, way)
    try:
        for word in b"one", b"two":
            s.sendmsg([word], control, 0, to)
            said, peer = r.recvfrom(10)
            print(name, said.decode(), peer[1] == s.getsockname()[1])
    except OSError as e:
        print(name, errno.errorcode[e.errno])
`)
	want := `address one True
address two True
index one True
index two True
message one True
message two True
none ENETUNREACH
`
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// TestNoRoute: what is sent to where no route leads is ENETUNREACH, also with control messages.
func TestNoRoute(t *testing.T) {
	twoKernels(t)
	got := client.want(t, find(t, "python3"), "-c", `
import errno, socket, struct
for family, level, option, to in (
        (socket.AF_INET, socket.IPPROTO_IP, socket.IP_TTL, "203.0.113.1"),
        (socket.AF_INET, socket.IPPROTO_IP, socket.IP_TOS, "203.0.113.1"),
        (socket.AF_INET, socket.IPPROTO_IP, socket.IP_TTL, "239.1.1.1"),
        (socket.AF_INET6, socket.IPPROTO_IPV6, socket.IPV6_HOPLIMIT, "2001:db8::1")):
    for control in [], [(level, option, struct.pack("@i", 5))]:
        try:
            socket.socket(family, socket.SOCK_DGRAM).sendmsg([b"x"], control, 0, (to, 9))
        except OSError as e:
            print(errno.errorcode[e.errno], end=" ")
`)
	if want := strings.Repeat("ENETUNREACH ", 8); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestKeptAddress: a socket keeps the address that it was bound to when it is connected to another peer, however near that is.
func TestKeptAddress(t *testing.T) {
	twoKernels(t)
	h := startKernel(t, "kept", "--bus", filepath.Join(tempDir(t), "bus"), "--address", "10.51.0.2/24", "--address", "fd51::2/64")
	tool(t, "rifconfig", "--server", h.kernel, "-w", "30")
	got := h.want(t, find(t, "python3"), "-c", `
import socket
for mine, near in ("10.51.0.2", "127.0.0.1"), ("fd51::2", "::1"):
    family = socket.AF_INET6 if ":" in mine else socket.AF_INET
    peers = [socket.socket(family, socket.SOCK_DGRAM) for _ in range(2)]
    s = socket.socket(family, socket.SOCK_DGRAM)
    s.bind((mine, 0))
    for p in peers:
        p.bind((near, 0))
        s.connect(p.getsockname())
        s.send(b"x")
        print(s.getsockname()[0], p.recvfrom(1)[1] == s.getsockname())
`)
	// As Linux says.
	if want := "10.51.0.2 True\n10.51.0.2 True\nfd51::2 True\nfd51::2 True\n"; got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// TestRefusals: every datagram to a port of the kernel's own that nobody has is refused, however many there are: a
// resolver waits for seconds where it is not told.
func TestRefusals(t *testing.T) {
	if os.Getenv("APPS_SERVER") != "" {
		t.Skip("NetBSD's kernel tells of 100 a second, as net.inet.icmp.errppslimit says")
	}
	if out := server.want(t, find(t, "python3"), "refusals.py"); out != "127.0.0.1 300\n::1 300\n" {
		t.Errorf("%s", out)
	}
}
