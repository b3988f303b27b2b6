package apps

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"rumptools/internal/shmif"
)

// TestCork: what a program writes while TCP_CORK is set leaves in full segments, and the rest
// when it is cleared, whoever carries the bytes: the kernel, or exec. What counts is what is
// seen on the bus.
func TestCork(t *testing.T) {
	twoKernels(t)
	python := find(t, "python3")
	script, err := filepath.Abs("cork.py")
	if err != nil {
		t.Fatal(err)
	}
	bus := filepath.Join(os.Getenv("XDG_RUNTIME_DIR"), "bus")
	for i, url := range []string{"unix", "tcp"} {
		t.Run(url, func(t *testing.T) {
			port := 7400 + i
			from := client.v4
			cmd := client.command(nil, python, script, server.v4.String(), strconv.Itoa(port))
			if url == "tcp" {
				// A kernel of its own in a network where lo is up.
				from = netip.MustParseAddr("10.0.0.77")
				cmd = onHost("/bin/sh", "-ec", fmt.Sprintf("export RUMP_SERVER=tcp://127.0.0.1:7777/; rumpd -s $RUMP_SERVER & "+
					"until rnetstat >/dev/null 2>&1; do kill -0 $! || exit; sleep 0.1; done; "+
					"rifconfig shmif0 create; rifconfig shmif0 linkstr %s; rifconfig shmif0 inet %s/24; "+
					"rumpctl exec -- %s %s %s %d; kill $!; wait $! || true", bus, from, python, script, server.v4, port))
			}
			var seen segments
			seen.watch(t, bus, from, uint16(port))
			sink := server.serve(t, "tcp", port, server.command(nil, python, script, strconv.Itoa(port)))
			out := succeeds(t, cmd, 2*limit)
			if r := sink.finish(limit); r.Stdout != "end 4\n" {
				t.Errorf("the other end: %q %s", r.Stdout, r.Stderr)
			}
			checkCork(t, out, &seen)
		})
	}
}

// checkCork compares what a program says that it has written with the segments.
func checkCork(t *testing.T, out string, seen *segments) {
	const full = 1500 - 40 - 40 // rumpd leaves room for all options that there may be
	rounds := regexp.MustCompile(`(?m)^round (\d+) (in time|answered late|late)$`).FindAllStringSubmatch(out, -1)
	all := 0
	for _, r := range rounds {
		n, _ := strconv.Atoi(r[1])
		all += n
	}
	got := seen.take(t, all)
	t.Logf("%s%d", out, got)
	checked, slow := 0, make(map[string]int)
	for _, r := range rounds {
		left, _ := strconv.Atoi(r[1])
		var want, have []int
		for n := left; n > 0; n -= full {
			want = append(want, min(n, full))
		}
		for left > 0 && len(got) > 0 {
			have = append(have, got[0])
			left -= got[0]
			got = got[1:]
		}
		if left != 0 {
			t.Fatalf("a segment has bytes of two rounds: %d", have)
		}
		switch r[2] {
		case "answered late":
			slow[r[1]]++
		case "in time":
			checked++
			delete(slow, r[1])
			if !slices.Equal(have, want) {
				t.Errorf("%s bytes left in segments of %d bytes, want %d", r[1], have, want)
			}
		}
	}
	for bytes, n := range slow {
		if n >= 20 {
			t.Errorf("%s bytes have left late each time", bytes)
		}
	}
	if checked < 3 {
		t.Skipf("this host is too busy: %d of %d rounds were in time", checked, len(rounds))
	}
	if !regexp.MustCompile(`(?m)^cork 1$`).MatchString(out) {
		t.Error("TCP_CORK is not read back")
	}
}

// segments are the lengths of TCP's segments with data from an address to a port.
type segments struct {
	mu   sync.Mutex
	seen map[uint32]bool // by sequence number: what is sent again counts once
	all  []int
}

// watch looks at a bus until the test ends.
func (s *segments) watch(t *testing.T, path string, from netip.Addr, port uint16) {
	bus, err := shmif.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { bus.Close() })
	s.seen = make(map[uint32]bool)
	go func() {
		b := make([]byte, 1<<16)
		for {
			n, err := bus.Recv(b)
			if err != nil {
				return
			}
			const ether = 14
			f := b[:n]
			if n < ether+40 || binary.BigEndian.Uint16(f[12:]) != 0x800 || f[ether+9] != 6 || netip.AddrFrom4([4]byte(f[ether+12:])) != from {
				continue
			}
			ip := f[ether:min(n, ether+int(binary.BigEndian.Uint16(f[ether+2:])))]
			tcp := ip[int(ip[0]&15)*4:]
			if binary.BigEndian.Uint16(tcp[2:]) != port {
				continue
			}
			seq, data := binary.BigEndian.Uint32(tcp[4:]), len(tcp)-int(tcp[12]>>4)*4
			s.mu.Lock()
			if data > 0 && !s.seen[seq] {
				s.seen[seq] = true
				s.all = append(s.all, data)
			}
			s.mu.Unlock()
		}
	}()
}

// take gives what has been seen once those are so many bytes.
func (s *segments) take(t *testing.T, bytes int) []int {
	t.Helper()
	for deadline := time.Now().Add(limit); ; time.Sleep(10 * time.Millisecond) {
		s.mu.Lock()
		n := 0
		for _, size := range s.all {
			n += size
		}
		all := slices.Clone(s.all)
		s.mu.Unlock()
		if n == bytes {
			return all
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d bytes of %d were seen: %d", n, bytes, all)
		}
	}
}

// TestCorkMuch: much that is written while TCP_CORK is set comes, also where both ends are one kernel's.
func TestCorkMuch(t *testing.T) {
	const script = `
import os, socket
listener = socket.create_server(('127.0.0.1', 0))
size = 5000000
if os.fork() == 0:
    sender = socket.create_connection(listener.getsockname())
    sender.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
    sender.sendall(bytes(size))
    os._exit(0)
reader = listener.accept()[0]
reader.settimeout(20)
got = 0
while got < size:
    got += len(reader.recv(65536))
print('all')
`
	if out := server.want(t, find(t, "python3"), "-c", script); out != "all\n" {
		t.Error(out)
	}
}
