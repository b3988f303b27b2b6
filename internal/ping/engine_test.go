package ping

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
)

// fakeSocket is a socket whose network is a function: it is called for each
// request and returns what comes back. The times are those of the test's bubble.
type fakeSocket struct {
	network func(seq int, msg []byte) []arrival
	sendErr func(seq int) error // may block
	queue   chan arrival
	n       int
}

type arrival struct {
	in  time.Duration
	pkt Packet
	err error
}

func newFake(network func(seq int, msg []byte) []arrival) *fakeSocket {
	return &fakeSocket{network: network, queue: make(chan arrival, 1000)}
}

func (s *fakeSocket) Source() netip.Addr { return netip.MustParseAddr("fd00::1") }

func (s *fakeSocket) Send(ctx context.Context, msg []byte) error {
	seq := s.n
	s.n++
	for _, a := range s.network(seq, msg) {
		time.AfterFunc(a.in, func() { s.queue <- a })
	}
	if s.sendErr != nil {
		return s.sendErr(seq)
	}
	return nil
}

func (s *fakeSocket) Recv(ctx context.Context, pkt *Packet) error {
	select {
	case a := <-s.queue:
		if a.err != nil {
			return a.err
		}
		a.pkt.Data = pkt.Data[:copy(pkt.Data, a.pkt.Data)]
		*pkt = a.pkt
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

var target4 = netip.MustParseAddr("10.0.0.2")

// answer4 is the datagram that answers a request.
func answer4(msg []byte, change func(b []byte) []byte) Packet {
	b := append([]byte{0x45, 0, 0, 0, 0, 1, 0, 0, 64, 1, 0, 0, 10, 0, 0, 2, 10, 0, 0, 1}, msg...)
	b[ipv4HeaderLen] = netbsd.ICMP_ECHOREPLY
	if change != nil {
		b = change(b)
	}
	return Packet{Data: b, From: target4}
}

// within answers every request after a time.
func within(d time.Duration) func(int, []byte) []arrival {
	return func(_ int, msg []byte) []arrival { return []arrival{{in: d, pkt: answer4(msg, nil)}} }
}

func silence(int, []byte) []arrival { return nil }

type result struct {
	stdout, stderr string
	exit           int
	took           time.Duration
}

// play runs ping in a bubble of time.
func play(t *testing.T, o Options, sock *fakeSocket, events func(chan<- Event)) result {
	t.Helper()
	if !o.Addr.IsValid() {
		o.Addr = target4
	}
	o.Host = o.Addr.String()
	o.Program = "rping"
	if err := o.Check(); err != nil {
		t.Fatal(err)
	}
	var r result
	synctest.Test(t, func(t *testing.T) {
		if sock.queue != nil {
			sock.queue = make(chan arrival, cap(sock.queue)) // of the bubble
		}
		ch := make(chan Event, 16)
		if events != nil {
			go events(ch)
		}
		var stdout, stderr bytes.Buffer
		start := time.Now()
		r.exit = Run(t.Context(), &o, sock, ch, &stdout, &stderr)
		r.took = time.Since(start)
		r.stdout, r.stderr = stdout.String(), stderr.String()
	})
	return r
}

func (r result) expect(t *testing.T, exit int, stdout string) {
	t.Helper()
	if diff := cmp.Diff(stdout, r.stdout); diff != "" {
		t.Errorf("stdout, wanted -, got +:\n%s", diff)
	}
	if r.exit != exit {
		t.Errorf("exit status %d, want %d", r.exit, exit)
	}
}

func (r result) expectStderr(t *testing.T, want string) {
	t.Helper()
	if diff := cmp.Diff(want, r.stderr); diff != "" {
		t.Errorf("stderr, wanted -, got +:\n%s", diff)
	}
}

const first = "PING 10.0.0.2 (10.0.0.2): 56 data bytes\n"

func TestStopEndsAtOnce(t *testing.T) {
	r := play(t, Options{Size: -1, Interval: 5 * time.Second}, newFake(within(1500*time.Microsecond)), func(ch chan<- Event) {
		time.Sleep(2 * time.Second)
		ch <- Stop
	})
	r.expect(t, exitReplies, first+
		"64 bytes from 10.0.0.2: icmp_seq=0 ttl=64 time=1.500000 ms\n"+
		"\n----10.0.0.2 PING Statistics----\n"+
		"1 packets transmitted, 1 packets received, 0.0% packet loss\n"+
		"round-trip min/avg/max/stddev = 1.500000/1.500000/1.500000/0.000000 ms\n")
	if r.took != 2*time.Second {
		t.Errorf("it took %v", r.took)
	}
}

// Packets that are still under way keep ping(8) from stopping, but not this one.
func TestStopDoesNotWaitForReplies(t *testing.T) {
	r := play(t, Options{Size: -1}, newFake(within(30*time.Second)), func(ch chan<- Event) {
		time.Sleep(2500 * time.Millisecond)
		ch <- Stop
	})
	r.expect(t, exitNone, first+"\n----10.0.0.2 PING Statistics----\n"+
		"3 packets transmitted, 0 packets received, 100.0% packet loss\n")
	if r.took != 2500*time.Millisecond {
		t.Errorf("it took %v", r.took)
	}
}

// A kernel that does not run lets calls hang. Stop ends ping all the same, also
// while nothing has come through at all, and whatever the socket makes of its context.
func TestStopWhileCallsHang(t *testing.T) {
	for _, after := range []int{0, 1, 3} {
		hang := make(chan struct{})
		sock := newFake(within(time.Millisecond))
		var deaf bool
		sock.sendErr = func(seq int) error {
			if seq >= after {
				deaf = true
				<-hang // does not look at its context
			}
			return nil
		}
		r := func() result {
			var r result
			o := Options{Size: -1, Addr: target4, Host: "10.0.0.2", Program: "rping"}
			synctest.Test(t, func(t *testing.T) {
				hang = make(chan struct{})
				sock.queue = make(chan arrival, 10)
				net := sock.network
				sock.network = func(seq int, msg []byte) []arrival {
					if seq >= after {
						return nil
					}
					return net(seq, msg)
				}
				ch := make(chan Event, 1)
				time.AfterFunc(10*time.Second, func() { ch <- Stop })
				var stdout, stderr bytes.Buffer
				start := time.Now()
				r.exit = Run(t.Context(), &o, sock, ch, &stdout, &stderr)
				r.took = time.Since(start)
				r.stdout = stdout.String()
				close(hang)
			})
			return r
		}()
		want := fmt.Sprintf("%d packets transmitted, %d packets received", after+1, after)
		if !strings.Contains(r.stdout, want) || !deaf || r.took != 10*time.Second {
			t.Errorf("after %d requests, in %v: %q, want %q", after, r.took, r.stdout, want)
		}
	}
}

// A hanging call does not keep the deadline from being kept.
func TestDeadlineWhileCallsHang(t *testing.T) {
	sock := newFake(silence)
	r := func() (r result) {
		o := Options{Size: -1, Addr: target4, Host: "10.0.0.2", Deadline: 3 * time.Second}
		synctest.Test(t, func(t *testing.T) {
			hang := make(chan struct{})
			sock.sendErr = func(int) error { <-hang; return nil }
			sock.queue = make(chan arrival)
			start := time.Now()
			r.exit = Run(t.Context(), &o, sock, nil, &bytes.Buffer{}, &bytes.Buffer{})
			r.took = time.Since(start)
			close(hang)
		})
		return r
	}()
	if r.took != 3*time.Second || r.exit != exitNone {
		t.Errorf("exit status %d after %v", r.exit, r.took)
	}
}

func TestStopAtAnyMoment(t *testing.T) {
	for range 300 {
		at := rand.N(4 * time.Second)
		// Every event of the bubble costs time: no more than 10,000 of each kind.
		o := Options{Size: -1, Interval: 400*time.Microsecond + rand.N(2*time.Second), Flood: rand.N(8) == 0, Preload: rand.N(3), Quiet: rand.N(3) == 0}
		r := play(t, o, newFake(within(400*time.Microsecond+rand.N(2*time.Second))), func(ch chan<- Event) {
			time.Sleep(at)
			ch <- Stop
		})
		var sent, received int
		_, stats, ok := strings.Cut(r.stdout, "\n----10.0.0.2 PING Statistics----\n")
		n, _ := fmt.Sscanf(stats, "%d packets transmitted, %d packets received", &sent, &received)
		if !ok || n != 2 || !strings.HasSuffix(stats, "\n") {
			t.Fatalf("stopped after %v: no statistics in %q", at, r.stdout)
		}
		if want := map[bool]int{true: exitReplies, false: exitNone}[received > 0]; r.exit != want {
			t.Errorf("%d replies, exit status %d", received, r.exit)
		}
		if r.took != at {
			t.Errorf("stopped after %v, it took %v", at, r.took)
		}
	}
}

// A rhythm faster than the loop's grain of 100 µs is kept on average.
func TestShortIntervals(t *testing.T) {
	for _, interval := range []time.Duration{10 * time.Microsecond, 49 * time.Microsecond, 50 * time.Microsecond,
		70 * time.Microsecond, 100 * time.Microsecond, 101 * time.Microsecond} {
		const length = 100 * time.Millisecond
		r := play(t, Options{Size: -1, Interval: interval, Quiet: true}, newFake(silence), func(ch chan<- Event) {
			time.Sleep(length)
			ch <- Stop
		})
		var sent int
		_, stats, _ := strings.Cut(r.stdout, "\n----10.0.0.2 PING Statistics----\n")
		fmt.Sscanf(stats, "%d packets transmitted", &sent)
		if want := int(length / interval); sent < want || sent > want+20 {
			t.Errorf("every %v: %d requests in %v, want %d", interval, sent, length, want)
		}
	}
}

func TestStatus(t *testing.T) {
	events := func(ch chan<- Event) {
		time.Sleep(1500 * time.Millisecond)
		ch <- Status
		ch <- Continued
		time.Sleep(time.Second)
		ch <- Stop
	}
	line := func(seq int) string {
		return fmt.Sprintf("64 bytes from 10.0.0.2: icmp_seq=%d ttl=64 time=2.000000 ms\n", seq)
	}
	stats := func(n int) string {
		return fmt.Sprintf("%d packets transmitted, %d packets received, 0.0%% packet loss\n"+
			"round-trip min/avg/max/stddev = 2.000000/2.000000/2.000000/0.000000 ms\n", n, n)
	}
	r := play(t, Options{Size: -1}, newFake(within(2*time.Millisecond)), events)
	r.expect(t, exitReplies, first+line(0)+line(1)+stats(2)+stats(2)+line(2)+
		"\n----10.0.0.2 PING Statistics----\n"+stats(3))

	// ping6 has no line for SIGCONT.
	o := Options{Size: 4, Addr: netip.MustParseAddr("fd00::2")}
	r = play(t, o, newFake(answer6(time.Millisecond)), events)
	stats6 := "\n--- fd00::2 ping6 statistics ---\n%d packets transmitted, %[1]d packets received, 0.0%% packet loss\n"
	line6 := "12 bytes from fd00::2, icmp_seq=%d hlim=63\n"
	r.expect(t, exitReplies, "PING6(52=40+8+4 bytes) fd00::1 --> fd00::2\n"+fmt.Sprintf(line6+line6, 0, 1)+
		fmt.Sprintf(stats6, 2)+fmt.Sprintf(line6, 2)+fmt.Sprintf(stats6, 3))
}

// answer6 answers every IPv6 request after a time.
func answer6(d time.Duration) func(int, []byte) []arrival {
	return func(_ int, msg []byte) []arrival {
		b := bytes.Clone(msg)
		b[0] = netbsd.ICMP6_ECHO_REPLY
		return []arrival{{in: d, pkt: Packet{Data: b, HopLimit: 63,
			From: netip.MustParseAddr("fd00::2"), Dst: netip.MustParseAddr("fd00::1%2")}}}
	}
}

func TestDuplicatesAndStrangers(t *testing.T) {
	sock := newFake(func(seq int, msg []byte) []arrival {
		return []arrival{
			{in: time.Millisecond, pkt: answer4(msg, nil)},
			{in: 2 * time.Millisecond, pkt: answer4(msg, nil)},
			// Another program's, one of ours from the future, our own request, a stub.
			{in: 3 * time.Millisecond, pkt: answer4(msg, func(b []byte) []byte { b[24] ^= 1; return b })},
			{in: 3 * time.Millisecond, pkt: answer4(msg, func(b []byte) []byte { b[27] += 100; return b })},
			{in: 3 * time.Millisecond, pkt: answer4(msg, func(b []byte) []byte { b[20] = netbsd.ICMP_ECHO; return b })},
			{in: 3 * time.Millisecond, pkt: answer4(msg, func(b []byte) []byte { return b[:27] })},
		}
	})
	r := play(t, Options{Size: -1, Count: 2}, sock, nil)
	r.expect(t, exitReplies, first+
		"64 bytes from 10.0.0.2: icmp_seq=0 ttl=64 time=1.000000 ms\n"+
		"64 bytes from 10.0.0.2: icmp_seq=0 DUP! ttl=64 time=2.000000 ms\n"+
		"64 bytes from 10.0.0.2: icmp_seq=1 ttl=64 time=1.000000 ms\n"+
		"\n----10.0.0.2 PING Statistics----\n"+
		"2 packets transmitted, 2 packets received, +1 duplicates, 0.0% packet loss\n"+
		"round-trip min/avg/max/stddev = 1.000000/1.333333/2.000000/0.577350 ms\n")
}

func TestVerbose(t *testing.T) {
	sock := newFake(func(seq int, msg []byte) []arrival {
		switch seq {
		case 0:
			return []arrival{
				{pkt: answer4(msg, func(b []byte) []byte { b[20] = netbsd.ICMP_ECHO; b[24], b[25] = 1, 2; return b })},
				{in: time.Microsecond, pkt: answer4(msg, func(b []byte) []byte { return b[:27] })},
				{in: time.Millisecond, pkt: answer4(msg, nil)},
			}
		case 3:
			return []arrival{{in: time.Millisecond, pkt: answer4(msg, nil)}}
		}
		return nil
	})
	r := play(t, Options{Size: -1, Count: 4, Deadline: 4 * time.Second, Verbose: true}, sock, nil)
	r.expect(t, exitReplies, first+
		"Echo Request: ID=258 seq=0\n"+
		"packet too short (27 bytes) from 10.0.0.2\n"+
		"64 bytes from 10.0.0.2: icmp_seq=0 ttl=64 time=1.000000 ms\n"+
		"[*** sequence gap of 2 packets from 1 ... 2 ***]\n"+
		"64 bytes from 10.0.0.2: icmp_seq=3 ttl=64 time=1.000000 ms\n"+
		"\n----10.0.0.2 PING Statistics----\n"+
		"4 packets transmitted, 2 packets received, 50.0% packet loss\n"+
		"round-trip min/avg/max/stddev = 1.000000/1.000000/1.000000/0.000000 ms\n")
}

func TestDamagedReplies(t *testing.T) {
	tests := []struct {
		name   string
		o      Options
		change func(b []byte) []byte
		want   string
	}{
		{"data", Options{Size: 20}, func(b []byte) []byte { b[28+17] = 0; return b },
			"28 bytes from 10.0.0.2: icmp_seq=0 ttl=64 time=1.000000 ms\n" +
				"wrong data byte #1 should have been 0x11 but was 0\n\t10  0 12 13 \n"},
		{"data, a line of zeros", Options{Size: 17, Pattern: []byte{0}}, func(b []byte) []byte { b[28+16] = 255; return b },
			"25 bytes from 10.0.0.2: icmp_seq=0 ttl=64 time=1.000000 ms\n" +
				"wrong data byte #0 should have been 0 but was 0xff\n\tff \n"},
		{"data, not timed", Options{Size: 3}, func(b []byte) []byte { b[28+1] = 9; return b },
			"16 bytes from 10.0.0.2: icmp_seq=0 ttl=64\n" +
				"wrong data byte #1 should have been 0x1 but was 0x9\n\t 0  9  2 \n"},
		{"timestamp", Options{Size: 20}, func(b []byte) []byte { copy(b[28:44], bytes.Repeat([]byte{255}, 16)); return b },
			"28 bytes from 10.0.0.2: icmp_seq=0 ttl=64 time=1.000000 ms\n"},
		{"random data", Options{Size: 20, Random: true}, func(b []byte) []byte { b[28+17] ^= 1; return b },
			"28 bytes from 10.0.0.2: icmp_seq=0 ttl=64 time=1.000000 ms\n"},
		{"longer", Options{Size: 20}, func(b []byte) []byte { return append(b, 0) },
			"29 bytes from 10.0.0.2: icmp_seq=0 ttl=64 time=1.000000 ms\nwrong total length 49 instead of 48\n"},
		{"shorter", Options{Size: 20}, func(b []byte) []byte { return b[:29] },
			"9 bytes from 10.0.0.2: icmp_seq=0 ttl=64 time=1.000000 ms\nwrong total length 29 instead of 48\n"},
		{"as if record route were not known, not asked for", Options{Size: 50}, func(b []byte) []byte { return b[:len(b)-40] },
			"18 bytes from 10.0.0.2: icmp_seq=0 ttl=64 time=1.000000 ms\nwrong total length 38 instead of 78\n"},
		{"record route not known", Options{Size: 8, RecordRoute: true}, func(b []byte) []byte { return b },
			"16 bytes from 10.0.0.2: icmp_seq=0 ttl=64 time=1.000 ms\nremote host does not support record route\n"},
		{"source route not known", Options{Size: 8, Gateway: netip.MustParseAddr("10.0.0.9")}, func(b []byte) []byte { return b },
			"16 bytes from 10.0.0.2: icmp_seq=0 ttl=64 time=1.000 ms\nremote host does not support source route\n"},
		{"quiet", Options{Size: 20, Quiet: true}, func(b []byte) []byte { b[28+17] = 0; return append(b, 0) }, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := tt.o
			o.Count = 1
			sock := newFake(func(_ int, msg []byte) []arrival {
				return []arrival{{in: time.Millisecond, pkt: answer4(msg, tt.change)}}
			})
			r := play(t, o, sock, nil)
			_, rest, _ := strings.Cut(r.stdout, "data bytes\n")
			got, _, _ := strings.Cut(rest, "\n----")
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("wanted -, got +:\n%s", diff)
			}
		})
	}
}

func TestWaitForTheLast(t *testing.T) {
	// Ten intervals after the last request, it gives up.
	r := play(t, Options{Size: -1, Count: 3, Interval: 200 * time.Millisecond}, newFake(silence), nil)
	if want := 2400 * time.Millisecond; r.took != want || r.exit != exitNone {
		t.Errorf("exit status %d after %v, want %v", r.exit, r.took, want)
	}
	// Or twice the longest time seen.
	sock := newFake(func(seq int, msg []byte) []arrival {
		if seq == 1 {
			return nil
		}
		return within(5*time.Second)(seq, msg)
	})
	r = play(t, Options{Size: -1, Count: 2, Interval: 100 * time.Millisecond, Preload: 0}, sock, nil)
	if want := 1100 * time.Millisecond; r.took != want || r.exit != exitNone {
		t.Errorf("exit status %d after %v, want %v", r.exit, r.took, want)
	}
	sock = newFake(func(seq int, msg []byte) []arrival {
		if seq == 1 {
			return nil
		}
		return within(900*time.Millisecond)(seq, msg)
	})
	r = play(t, Options{Size: -1, Count: 2, Interval: 100 * time.Millisecond}, sock, nil)
	if want := 1900 * time.Millisecond; r.took != want || r.exit != exitReplies {
		t.Errorf("exit status %d after %v, want %v", r.exit, r.took, want)
	}
}

func TestOnceAndPreload(t *testing.T) {
	r := play(t, Options{Size: -1, Once: true}, newFake(within(2500*time.Millisecond)), nil)
	if !strings.Contains(r.stdout, "3 packets transmitted, 1 packets received, 66.7% packet loss\n") || r.exit != exitReplies {
		t.Errorf("exit status %d, %q", r.exit, r.stdout)
	}
	r = play(t, Options{Size: -1, Count: 1, Preload: 4}, newFake(within(time.Millisecond)), nil)
	if !strings.Contains(r.stdout, "5 packets transmitted, 5 packets received, 0.0% packet loss\n") {
		t.Errorf("%q", r.stdout)
	}
}

func TestFlood(t *testing.T) {
	// The next request follows the reply.
	r := play(t, Options{Size: -1, Count: 100, Flood: true}, newFake(within(time.Millisecond)), nil)
	if r.took != 100*time.Millisecond {
		t.Errorf("100 requests and replies of 1 ms took %v", r.took)
	}
	if !strings.Contains(r.stdout, "100 packets transmitted, 100 packets received, 0.0% packet loss\n"+
		"round-trip min/avg/max/stddev = 1.000000/1.000000/1.000000/0.000000 ms\n"+
		"  1010.1 packets/sec sent,  1010.1 packets/sec received\n") {
		t.Errorf("%q", r.stdout)
	}
	// Without replies there are 100 requests a second, and a dot remains for each.
	r = play(t, Options{Size: -1, Flood: true, Deadline: time.Second, Audible: true}, newFake(silence), nil)
	dots := strings.Repeat(".", 100)
	r.expect(t, exitNone, first+dots+"\n\n----10.0.0.2 PING Statistics----\n"+
		"100 packets transmitted, 0 packets received, 100.0% packet loss\n")
	r.expectStderr(t, "rping: Sorry, no audible output for flood pings\n")

	o := Options{Size: -1, Flood: true, Count: 3, Addr: netip.MustParseAddr("fd00::2")}
	r = play(t, o, newFake(answer6(time.Millisecond)), nil)
	if !strings.HasPrefix(r.stdout, "PING6(56=40+8+8 bytes) fd00::1 --> fd00::2\n.\b.\b.\b\n--- fd00::2 ping6") {
		t.Errorf("%q", r.stdout)
	}
}

func TestAudible(t *testing.T) {
	sock := newFake(func(_ int, msg []byte) []arrival {
		return []arrival{{pkt: answer4(msg, nil)}, {pkt: answer4(msg, nil)}}
	})
	r := play(t, Options{Size: -1, Count: 2, Audible: true, Deadline: 1500 * time.Millisecond}, sock, nil)
	r.expectStderr(t, "\a\a")
}

func TestRefusedRequests(t *testing.T) {
	sock := newFake(silence)
	sock.sendErr = func(seq int) error {
		return &spclient.SyscallError{Call: "sendto", Errno: netbsd.EHOSTUNREACH}
	}
	r := play(t, Options{Size: -1, Count: 2, Deadline: 2 * time.Second}, sock, nil)
	r.expectStderr(t, "rping: sendto: No route to host\nrping: sendto: No route to host\n")
	if r.exit != exitNone {
		t.Errorf("exit status %d", r.exit)
	}
	sock = newFake(silence)
	sock.sendErr = func(seq int) error {
		return &spclient.SyscallError{Call: "sendmsg", Errno: netbsd.EMSGSIZE}
	}
	o := Options{Size: 2000, Count: 1, Addr: netip.MustParseAddr("fd00::2"), Deadline: time.Second}
	r = play(t, o, sock, nil)
	r.expectStderr(t, "rping: sendmsg: Message too long\n")
	r.expect(t, exitNone, "PING6(2048=40+8+2000 bytes) fd00::1 --> fd00::2\n"+
		"ping6: wrote fd00::2 2008 chars, ret=-1\n"+
		"\n--- fd00::2 ping6 statistics ---\n1 packets transmitted, 0 packets received, 100.0% packet loss\n")
}

func TestFailedReceiving(t *testing.T) {
	sock := newFake(func(seq int, msg []byte) []arrival {
		return []arrival{
			{err: &spclient.SyscallError{Call: "recvfrom", Errno: netbsd.ENOBUFS}},
			{err: &spclient.SyscallError{Call: "recvfrom", Errno: netbsd.EINTR}},
			{in: time.Second, pkt: answer4(msg, nil)},
		}
	})
	r := play(t, Options{Size: -1, Count: 1}, sock, nil)
	r.expectStderr(t, "rping: recvfrom: No buffer space available\n")
	if r.exit != exitReplies || !strings.Contains(r.stdout, "1 packets received") {
		t.Errorf("exit status %d, %q", r.exit, r.stdout)
	}
}

func TestLostKernel(t *testing.T) {
	gone := &spclient.LostError{URL: "unix:///k", Cause: errors.New("it is gone")}
	const message = "rping: lost the rump kernel at unix:///k: it is gone\n"
	const stats = "64 bytes from 10.0.0.2: icmp_seq=0 ttl=64 time=1.000000 ms\n" +
		"\n----10.0.0.2 PING Statistics----\n"
	sock := newFake(func(seq int, msg []byte) []arrival {
		return []arrival{{in: time.Millisecond, pkt: answer4(msg, nil)}, {in: 300 * time.Millisecond, err: gone}}
	})
	r := play(t, Options{Size: -1}, sock, nil)
	r.expect(t, exitError, first+stats+"1 packets transmitted, 1 packets received, 0.0% packet loss\n"+
		"round-trip min/avg/max/stddev = 1.000000/1.000000/1.000000/0.000000 ms\n")
	r.expectStderr(t, message)
	if r.took != 300*time.Millisecond {
		t.Errorf("it took %v", r.took)
	}

	sock = newFake(within(time.Millisecond))
	sock.sendErr = func(seq int) error {
		if seq == 1 {
			return gone
		}
		return nil
	}
	r = play(t, Options{Size: -1}, sock, nil)
	r.expect(t, exitError, first+stats+"2 packets transmitted, 1 packets received, 50.0% packet loss\n"+
		"round-trip min/avg/max/stddev = 1.000000/1.000000/1.000000/0.000000 ms\n")
	r.expectStderr(t, message)
}

func TestEndOfContext(t *testing.T) {
	var stdout bytes.Buffer
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		o := &Options{Addr: target4, Host: "10.0.0.2", Size: -1}
		sock := newFake(silence)
		if exit := Run(ctx, o, sock, nil, &stdout, &stdout); exit != exitNone {
			t.Errorf("exit status %d", exit)
		}
	})
	if !strings.Contains(stdout.String(), "PING Statistics") {
		t.Errorf("%q", stdout.String())
	}
}

// Sequence numbers begin anew after 65,535; a reply to the earlier request of
// the same number is no duplicate.
func TestManyRequests(t *testing.T) {
	const n = 1<<16 + 10
	seen := 0
	sock := newFake(func(seq int, msg []byte) []arrival {
		if binary.BigEndian.Uint16(msg[6:]) != uint16(seq) {
			t.Errorf("request %d has number %d", seq, binary.BigEndian.Uint16(msg[6:]))
		}
		seen++
		return []arrival{{pkt: answer4(msg, nil)}}
	})
	r := play(t, Options{Size: 0, Count: n, Flood: true, Quiet: true}, sock, nil)
	want := fmt.Sprintf("\n%d packets transmitted, %[1]d packets received, 0.0%% packet loss\n", n)
	if !strings.Contains(r.stdout, want) || seen != n {
		t.Errorf("%d requests: %q", seen, r.stdout)
	}
}

func TestMaxWait(t *testing.T) {
	sock := newFake(func(seq int, msg []byte) []arrival {
		return answer6(time.Duration(seq+1)*100*time.Millisecond)(seq, msg)
	})
	o := Options{Size: -1, Count: 4, Addr: netip.MustParseAddr("fd00::2"), MaxWait: 250 * time.Millisecond}
	r := play(t, o, sock, nil)
	r.expect(t, exitReplies, "PING6(56=40+8+8 bytes) fd00::1 --> fd00::2\n"+
		"16 bytes from fd00::2, icmp_seq=0 hlim=63 time=100.000 ms\n"+
		"16 bytes from fd00::2, icmp_seq=1 hlim=63 time=200.000 ms\n"+
		"\n--- fd00::2 ping6 statistics ---\n"+
		"4 packets transmitted, 2 packets received, 50.0% packet loss\n"+
		"round-trip min/avg/max/std-dev = 100.000/150.000/200.000/70.711 ms\n")
}

func TestDamagedReplies6(t *testing.T) {
	sock := newFake(func(seq int, msg []byte) []arrival {
		a := answer6(time.Millisecond)(seq, msg)
		switch seq {
		case 0:
			a[0].pkt.Data[8+9] = 0x42
			return append(a, a[0])
		case 1:
			a[0].pkt.HopLimit = -1
		case 2:
			a[0].pkt.Dst = netip.Addr{}
		case 3:
			a[0].pkt.Data = a[0].pkt.Data[:7]
		case 4:
			a[0].pkt.Data[4] ^= 1 // another program's
		}
		return a
	})
	o := Options{Size: 12, Count: 5, Deadline: 4500 * time.Millisecond, Addr: netip.MustParseAddr("fd00::2")}
	r := play(t, o, sock, nil)
	r.expect(t, exitReplies, "PING6(60=40+8+12 bytes) fd00::1 --> fd00::2\n"+
		"20 bytes from fd00::2, icmp_seq=0 hlim=63 time=1.000 ms\n"+
		"wrong data byte #9 should be 0x9 but was 0x42\n"+
		"20 bytes from fd00::2, icmp_seq=0 hlim=63 time=1.000 ms(DUP!)\n"+
		"wrong data byte #9 should be 0x9 but was 0x42\n"+
		"\n--- fd00::2 ping6 statistics ---\n"+
		"5 packets transmitted, 1 packets received, +1 duplicates, 80.0% packet loss\n"+
		"round-trip min/avg/max/std-dev = 1.000/1.000/1.000/0.000 ms\n")
	r.expectStderr(t, "rping: failed to get receiving hop limit\nrping: failed to get receiving packet information\n")
}

// A slow kernel takes requests late. What is up to 100 ms late is made up for,
// the rest is left out.
func TestLateRequests(t *testing.T) {
	sock := newFake(silence)
	sock.sendErr = func(seq int) error {
		if seq == 2 {
			time.Sleep(2350 * time.Millisecond)
		}
		return nil
	}
	r := play(t, Options{Size: -1, Interval: 100 * time.Millisecond, Deadline: 3 * time.Second}, sock, nil)
	// 0, 100, 200, hung until 2550, late ones for 2500 and before, then 2600 to 2900.
	if sock.n < 8 || sock.n > 10 {
		t.Errorf("%d requests: %q", sock.n, r.stdout)
	}
}
