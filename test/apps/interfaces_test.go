package apps

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// TestBindToDevice: a program that wants an interface, with SO_BINDTODEVICE, has that one and no other.
func TestBindToDevice(t *testing.T) {
	twoKernels(t)
	ping, curl, socat := find(t, "ping"), find(t, "curl"), find(t, "socat")
	dir := tempDir(t)
	here := startKernel(t, "here", "--bus", filepath.Join(dir, "1"), "--address", "10.8.1.1/24")
	first := startKernel(t, "first", "--bus", filepath.Join(dir, "1"), "--address", "10.8.1.2/24")
	second := startKernel(t, "second", "--bus", filepath.Join(dir, "2"), "--address", "10.8.2.2/24")
	tool(t, "rifconfig", "--server", here.kernel, "shmif1", "create")
	tool(t, "rifconfig", "--server", here.kernel, "shmif1", "linkstr", filepath.Join(dir, "2"))
	tool(t, "rifconfig", "--server", here.kernel, "shmif1", "inet", "10.8.2.1/24")
	tool(t, "rifconfig", "--server", here.kernel, "-w", "30")

	for _, test := range []struct {
		ifname, to, want string
		code             int
	}{
		{"shmif0", "10.8.1.2", " 1 received,", 0},
		{"shmif1", "10.8.2.2", " 1 received,", 0},
		{"shmif0", "10.8.2.2", " 0 received,", 1},
		{"nonesuch0", "10.8.1.2", "nonesuch0", 2},
	} {
		r := start(t, here.command(nil, ping, "-n", "-c", "1", "-W", "5", "-I", test.ifname, test.to)).finish(limit)
		if r.Code != test.code || !strings.Contains(r.Stdout+r.Stderr, test.want) {
			t.Errorf("ping -I %s %s: exit %d\n%s%s", test.ifname, test.to, r.Code, r.Stdout, r.Stderr)
		}
	}

	p, answer := port(t), filepath.Join(dir, "answer")
	write(t, answer, "HTTP/1.0 200 OK\r\n\r\nby shmif1")
	here.serve(t, "tcp", p, here.command(nil, socat, fmt.Sprintf("TCP-LISTEN:%d,fork,so-bindtodevice=shmif1", p),
		"SYSTEM:cat "+answer))
	if got := second.want(t, curl, "-sS", "--interface", "shmif0", fmt.Sprintf("http://10.8.2.1:%d/", p)); got != "by shmif1" {
		t.Errorf("curl by the second interface: %q", got)
	}
	if r := first.run(t, curl, "-sS", fmt.Sprintf("http://10.8.1.1:%d/", p)); r.Code != 7 {
		t.Errorf("curl by the first interface: exit %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
}

// TestAddressEvent: when netlink tells a program of a new address it can be bound, though NetBSD looks for three seconds
// whether another host has it.
func TestAddressEvent(t *testing.T) {
	twoKernels(t)
	python := find(t, "python3")
	h := startKernel(t, "event", "--bus", filepath.Join(tempDir(t), "bus"), "--address", "10.60.0.1/24")
	tool(t, "rifconfig", "--server", h.kernel, "-w", "30")
	const program = `
import socket, struct
r = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
r.bind((0, 0x10)) # RTMGRP_IPV4_IFADDR
print('ready', flush=True)
length, kind = struct.unpack_from('=IH', r.recv(9999))
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).bind(('10.60.0.78', 0))
print('bound after', kind, flush=True)
`
	p := start(t, h.command(nil, python, "-c", program))
	p.says("(?m)^ready$")
	tool(t, "rifconfig", "--server", h.kernel, "shmif0", "inet", "10.60.0.78/24", "alias")
	p.says("(?m)^bound after 20$")
}

// TestNetlinkAtOnce: the answer to a request is there when the call that sends it returns, by whatever call, for programs that
// do not wait (FRR).
func TestNetlinkAtOnce(t *testing.T) {
	python := find(t, "python3")
	const program = `
import socket, struct
def dump(kind, seq): # RTM_GET*, NLM_F_REQUEST | NLM_F_DUMP
    return struct.pack('=IHHII', 32, kind, 0x301, seq, 0) + bytes(16)
r = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
for i in range(100):
    kind, seq = [18, 22, 26][i % 3], i + 1
    if i % 2:
        r.sendto(dump(kind, seq), (0, 0))
    else:
        r.sendmsg([dump(kind, seq)])
    done = False
    while not done:
        answer = r.recv(1 << 16)
        while answer:
            length, typ, _, of, _ = struct.unpack_from('=IHHII', answer)
            assert of == seq and typ in (kind - 2, 3), (typ, of, kind, seq)
            done = typ == 3 # NLMSG_DONE
            answer = answer[(length + 3) & ~3:]
print('done')
`
	if out := server.want(t, python, "-c", program); out != "done\n" {
		t.Errorf("%q", out)
	}
}
