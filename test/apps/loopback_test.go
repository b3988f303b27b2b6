package apps

import "testing"

// TestAddrconfig: getaddrinfo(3) with AI_ADDRCONFIG, which asks for the host's addresses, finds IPv4 and IPv6 on a kernel
// that has no address but the loopback interface's.
func TestAddrconfig(t *testing.T) {
	python := find(t, "python3")
	h := &host{}
	if !native {
		h = startKernel(t, "alone")
	}
	const program = `
import socket
for name in '127.0.0.1', '::1', '10.0.0.9':
    print(*sorted({a[4][0] for a in socket.getaddrinfo(name, 80, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)}))
print(open('/proc/net/if_inet6').read(), end='')
`
	want := "127.0.0.1\n::1\n10.0.0.9\n00000000000000000000000000000001 01 80 10 "
	if out := h.want(t, python, "-c", program); len(out) < len(want) || out[:len(want)] != want {
		t.Errorf("%s", out)
	}
	if out := h.want(t, find(t, "ip"), "-6", "-o", "addr", "show"); len(lines(out)) != 1 {
		t.Errorf("%s", out)
	}
}
