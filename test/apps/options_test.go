package apps

import (
	"bytes"
	"fmt"
	"strconv"
	"testing"

	"rumptools/internal/netstat"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
)

// What a program sets before it connects, when the kernel has no socket of its yet.
const early = `
import socket, sys
for host in sys.argv[1:]:
    family = socket.AF_INET6 if ':' in host else socket.AF_INET
    l = socket.create_server((host, 0), family=family)
    for on in (0, 1):
        s = socket.socket(family)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, on)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, on)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 100 + on)
        try:
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 0)
        except OSError as e:
            assert e.errno == 22, e
        s.connect(l.getsockname())
        assert bool(s.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)) == bool(on)
        assert s.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 100 + on
        print('socket', family == socket.AF_INET6, on, 'port', s.getsockname()[1], flush=True)
        sys.stdin.readline()
`

// TestOptionsBeforeConnect: they act in the kernel, as it says itself.
func TestOptionsBeforeConnect(t *testing.T) {
	if native {
		t.Skip("asks the rump kernel")
	}
	c, err := spclient.Dial(t.Context(), server.kernel, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	cmd := server.command(nil, find(t, "python3"), "-c", early, server.v4.String(), server.v6.String())
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	p := start(t, cmd)
	for _, v6 := range []bool{false, true} {
		list := "net.inet.tcp.pcblist"
		if v6 {
			list = "net.inet6.tcp6.pcblist"
		}
		for _, on := range []bool{false, true} {
			earlyOption(t, c, p, list, v6, on)
			fmt.Fprintln(stdin)
		}
	}
	if r := p.finish(limit); r.Code != 0 {
		t.Errorf("exit %d: %s", r.Code, r.Stderr)
	}
}

func earlyOption(t *testing.T, c *spclient.Conn, p *process, list string, v6, on bool) {
	t.Helper()
	said := p.says(fmt.Sprintf("socket (?i:%v) %d port ([0-9]+)", v6, map[bool]int{true: 1}[on]))
	port, err := strconv.Atoi(said[1])
	if err != nil {
		t.Fatal(err)
	}
	pcbs, err := netstat.Pcbs(t.Context(), c, list)
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, pcb := range pcbs {
		// The port is at the same place in sockaddrs of both families.
		if bytes.Equal(pcb.Src[2:4], []byte{byte(port >> 8), byte(port)}) && pcb.Tstate == netbsd.TCPS_ESTABLISHED {
			found = true
			const tfNoDelay = 4 // <netinet/tcp_var.h>
			if got := pcb.Tflags&tfNoDelay != 0; got != on {
				t.Errorf("%s: TCP_NODELAY %v, the kernel's flags are %#x", list, on, pcb.Tflags)
			}
		}
	}
	if !found {
		t.Errorf("no connection of port %d in %s", port, list)
	}
}
