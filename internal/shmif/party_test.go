package shmif

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Other parties are this test binary again, told by the environment what to do.
// They say a line on standard output when they have come somewhere, and wait for
// a line on standard input before they go on. They end with their input.
const roleVariable = "SHMIF_TEST_ROLE"

var roles = map[string]func(b *Bus, in *bufio.Reader, args []string) error{
	"exchange": exchange,
	"hold":     hold,
	"echo":     echo,
}

func TestMain(m *testing.M) {
	role := strings.Fields(os.Getenv(roleVariable))
	if len(role) == 0 {
		os.Exit(m.Run())
	}
	err := func() error {
		b, err := Open(role[1])
		if err != nil {
			return err
		}
		defer b.Close()
		fmt.Println("ready")
		return roles[role[0]](b, bufio.NewReader(os.Stdin), role[2:])
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, role, err)
		os.Exit(1)
	}
}

type process struct {
	*exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func startParty(t testing.TB, role ...string) *process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{Cmd: exec.Command(self)}
	p.Env = append(os.Environ(), roleVariable+"="+strings.Join(role, " "))
	p.Stderr = os.Stderr
	p.in, _ = p.StdinPipe()
	out, _ := p.StdoutPipe()
	p.out = bufio.NewReader(out)
	if err := p.Start(); errors.Is(err, syscall.ENOEXEC) {
		t.Skip("run by an emulator that cannot start other processes of its kind")
	} else if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.in.Close()
		p.Process.Signal(syscall.SIGCONT)
		p.Process.Kill()
		p.Wait()
	})
	p.expect(t, "ready")
	return p
}

// line gets what the party says next.
func (p *process) line(t testing.TB) string {
	t.Helper()
	var s string
	var err error
	within(t, "party", func() { s, err = p.out.ReadString('\n') })
	if err != nil {
		t.Fatalf("party ended: %v", err)
	}
	return strings.TrimSuffix(s, "\n")
}

func (p *process) expect(t testing.TB, want string) {
	t.Helper()
	if got := p.line(t); got != want {
		t.Fatalf("party says %q, want %q", got, want)
	}
}

func (p *process) say(t testing.TB, s string) {
	t.Helper()
	if _, err := fmt.Fprintln(p.in, s); err != nil {
		t.Fatal(err)
	}
}

// exchangeFrame makes a frame that carries its sender, its number and, from the
// two, its length and contents.
func exchangeFrame(party, number uint64, buf []byte) []byte {
	rnd := rand.NewPCG(party, number)
	n := 40 + rnd.Uint64()%(MaxFrame-40+1)
	if rnd.Uint64()%2 == 0 {
		n = 40 + n%80
	}
	f := buf[:n]
	for i := 14; i < len(f); i += 8 {
		var word [8]byte
		binary.LittleEndian.PutUint64(word[:], rnd.Uint64())
		copy(f[i:], word[:])
	}
	clear(f[:14])
	binary.LittleEndian.PutUint64(f[14:], party)
	binary.LittleEndian.PutUint64(f[22:], number)
	return f
}

// endParty marks the frames that end an exchange.
const endParty = 1 << 40

type exchangeResult struct {
	Received, Lost, Torn, Disorder, Own int
	Stats                               Stats
}

// exchange sends frames and at once checks those of others, until an end frame
// comes. Arguments: number of this party, frames to send, frames in a batch.
func exchange(b *Bus, in *bufio.Reader, args []string) error {
	self, _ := strconv.ParseUint(args[0], 10, 64)
	count, _ := strconv.ParseUint(args[1], 10, 64)
	batch, _ := strconv.ParseUint(args[2], 10, 64)
	if _, err := in.ReadString('\n'); err != nil {
		return err
	}
	sent := make(chan error, 1)
	go func() {
		var frames [][]byte
		for i := range count {
			frames = append(frames, exchangeFrame(self, i, make([]byte, MaxFrame)))
			if uint64(len(frames)) < batch && i+1 < count {
				continue
			}
			var err error
			if len(frames) == 1 {
				err = b.Send(frames[0])
			} else {
				_, err = b.SendBatch(frames)
			}
			if err != nil {
				sent <- err
				return
			}
			frames = frames[:0]
		}
		fmt.Println("sent")
		sent <- nil
	}()

	var r exchangeResult
	next := make(map[uint64]uint64)
	buf, want := make([]byte, MaxFrame), make([]byte, MaxFrame)
	for {
		n, err := b.Recv(buf)
		if err != nil {
			return err
		}
		party := binary.LittleEndian.Uint64(buf[14:])
		number := binary.LittleEndian.Uint64(buf[22:])
		if party == endParty {
			break
		}
		r.Received++
		if !bytes.Equal(buf[:n], exchangeFrame(party, number, want)) {
			r.Torn++
			continue
		}
		switch {
		case party == self:
			r.Own++
		case number < next[party]:
			r.Disorder++
		default:
			r.Lost += int(number - next[party])
			next[party] = number + 1
		}
	}
	r.Stats = b.Stats()
	if err := json.NewEncoder(os.Stdout).Encode(r); err != nil {
		return err
	}
	return <-sent
}

var exchangeFrames = 100_000

// TestExchange lets four processes send frames of all sizes as fast as they can. What arrives is whole and in order; what does not was overrun.
func TestExchange(t *testing.T) {
	const parties = 4
	total := exchangeFrames
	path := newPath(t)
	b := openBus(t, path)
	var procs []*process
	for i := range parties {
		batch := 1 + 9*(i%2)
		procs = append(procs, startParty(t, "exchange", path, fmt.Sprint(i), fmt.Sprint(total/parties), fmt.Sprint(batch)))
	}
	for _, p := range procs {
		p.say(t, "go")
	}
	for _, p := range procs {
		p.expect(t, "sent")
	}
	end := exchangeFrame(endParty, 0, make([]byte, MaxFrame))
	mustSend(t, b, end)
	for i, p := range procs {
		var r exchangeResult
		if err := json.Unmarshal([]byte(p.line(t)), &r); err != nil {
			t.Fatal(err)
		}
		t.Logf("party %d: %+v", i, r)
		if r.Torn != 0 || r.Disorder != 0 || r.Own != 0 {
			t.Errorf("party %d: %d torn, %d out of order, %d own frames", i, r.Torn, r.Disorder, r.Own)
		}
		if r.Lost != 0 && r.Stats.Overruns == 0 {
			t.Errorf("party %d: %d frames lost without an overrun", i, r.Lost)
		}
		if r.Received == 0 {
			t.Errorf("party %d received nothing", i)
		}
		if s := r.Stats; s.Resyncs != 0 || s.Resets != 0 || s.Oversized != 0 || s.LockRecoveries != 0 || s.LockLosses != 0 || s.Sent != uint64(total/parties) {
			t.Errorf("party %d: %+v", i, s)
		}
		if err := p.Wait(); err != nil {
			t.Errorf("party %d: %v", i, err)
		}
	}
}

// hold takes the bus's lock on one line and gives it back on the next.
func hold(b *Bus, in *bufio.Reader, args []string) error {
	if _, err := in.ReadString('\n'); err != nil {
		return err
	}
	gen, err := b.acquire(time.Second)
	if err != nil {
		return err
	}
	if len(args) > 0 && args[0] == "writing" {
		// The state in which the real kernel is while it writes a packet.
		p := b.ring.peek()
		p.last, _ = b.ring.next(p.last)
		b.ring.setPosition(p)
		binary.NativeEndian.PutUint32(b.ring.data()[p.last:], 0xffffffff)
	}
	fmt.Println("held")
	if _, err := in.ReadString('\n'); err != nil {
		return err
	}
	b.release(gen)
	fmt.Println("lost", b.Stats().LockLosses)
	return nil
}

// echo returns every frame.
func echo(b *Bus, _ *bufio.Reader, _ []string) error {
	buf := make([]byte, MaxFrame)
	for {
		n, err := b.Recv(buf)
		if err != nil {
			return err
		}
		if err := b.Send(buf[:n]); err != nil {
			return err
		}
	}
}

// TestPingPong exchanges frames one by one. A wake-up that got lost would cost a
// second each time.
func TestPingPong(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	b := openBus(t, path)
	startParty(t, "echo", path)
	within(t, "ping-pong", func() {
		buf := make([]byte, MaxFrame)
		for i := range uint64(2000) {
			f := numbered(i, 60)
			if err := b.Send(f); err != nil {
				t.Error(err)
				return
			}
			if n, err := b.Recv(buf); err != nil || !bytes.Equal(buf[:n], f) {
				t.Errorf("round %d: %v", i, err)
				return
			}
		}
	})
}

// TestHolderKilled kills a party that has the lock. The others go on, even those
// that would not recover a lock themselves, as real kernels do not.
func TestHolderKilled(t *testing.T) {
	t.Parallel()
	for _, state := range []string{"reading", "writing"} {
		t.Run(state, func(t *testing.T) {
			t.Parallel()
			path := newPath(t)
			recovery := WithRecovery(300 * time.Millisecond)
			patient := WithLockTimeout(limit)
			a, b := openBus(t, path, recovery, patient), openBus(t, path, recovery, patient)
			simple := openBus(t, path, WithRecovery(0), patient)
			for i := range 10 {
				mustSend(t, a, numbered(uint64(i), 100))
			}
			p := startParty(t, "hold", path, state)
			p.say(t, "take it")
			p.expect(t, "held")

			quick := openLocked(t, path, WithRecovery(0), WithLockTimeout(30*time.Millisecond))
			err := quick.Send(numbered(1, 60))
			if !errors.Is(err, ErrLocked) || !errors.Is(err, syscall.EAGAIN) || quick.Stats().LockTimeouts != 1 {
				t.Errorf("Send on a locked bus: %v, %+v", err, quick.Stats())
			}

			p.Process.Kill()
			p.Wait()
			var senders sync.WaitGroup
			for i, party := range []*Bus{simple, a, b} {
				senders.Go(func() {
					if err := party.Send(numbered(uint64(100+i), 60)); err != nil {
						t.Error(err)
					}
				})
			}
			within(t, "Send after the holder's death", senders.Wait)
			if n := a.Stats().LockRecoveries + b.Stats().LockRecoveries; n != 1 {
				t.Errorf("lock recovered %d times", n)
			}
			if s := a.Stats(); s.Resets != 0 {
				t.Errorf("sender found the ring in disorder: %+v", s)
			}
			// Everybody gets what was sent afterwards.
			for i, party := range []*Bus{simple, a, b} {
				got := make(map[uint64]bool)
				for len(got) < 2 {
					f := recv(t, party)
					k := binary.NativeEndian.Uint64(f)
					if k < 100 && (k != 9 || !bytes.Equal(f, numbered(k, 100))) {
						t.Fatalf("party %d got frame %d", i, k)
					}
					if got[k] = k >= 100; !got[k] {
						delete(got, k)
					}
				}
				if got[uint64(100+i)] {
					t.Errorf("party %d got its own frame", i)
				}
			}
			if gen := a.ring.generation(); gen != 2 {
				t.Errorf("generation %d after recovery", gen)
			}
		})
	}
}

// TestReceiverRecovers: a party that only waits for frames frees the bus for
// those who cannot, such as real kernels; whether it needs the lock itself, or
// sleeps when the lock gets stuck.
func TestReceiverRecovers(t *testing.T) {
	t.Parallel()
	for _, state := range []string{"locked out", "asleep"} {
		t.Run(state, func(t *testing.T) {
			t.Parallel()
			path := newPath(t)
			a := openBus(t, path, WithRecovery(100*time.Millisecond))
			sender := openBus(t, path, WithRecovery(0), WithLockTimeout(limit))
			p := startParty(t, "hold", path)
			got := make(chan []byte, 1)
			receive := func() {
				buf := make([]byte, MaxFrame)
				n, _ := a.Recv(buf)
				got <- buf[:n]
			}
			if state == "asleep" {
				if _, idle, err := a.take(nil); !idle || err != nil {
					t.Fatalf("take: %v, %v", idle, err)
				}
				go receive()
			}
			p.say(t, "take it")
			p.expect(t, "held")
			if state == "locked out" {
				go receive()
			}
			p.Process.Kill()
			p.Wait()
			f := numbered(1, 60)
			within(t, "Send", func() {
				if err := sender.Send(f); err != nil {
					t.Error(err)
				}
			})
			select {
			case g := <-got:
				if !bytes.Equal(g, f) {
					t.Errorf("got %x", g)
				}
			case <-time.After(limit):
				t.Fatal("no frame")
			}
			// It is counted when the lock is free already, perhaps by another goroutine.
			for end := time.Now().Add(limit); a.Stats().LockRecoveries == 0 && time.Now().Before(end); {
				time.Sleep(time.Millisecond)
			}
			if n := a.Stats().LockRecoveries; n != 1 {
				t.Errorf("lock recovered %d times", n)
			}
		})
	}
}

// TestLockLost is a holder that was robbed, as by mistake, and comes back. It
// must neither free the lock, which is somebody else's, nor write.
func TestLockLost(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	b := openBus(t, path, WithRecovery(200*time.Millisecond), WithLockTimeout(limit))
	p := startParty(t, "hold", path)
	p.say(t, "take it")
	p.expect(t, "held")
	mustSend(t, b, numbered(1, 60)) // recovers, since the holder sleeps
	gen, err := b.acquire(limit)
	if err != nil {
		t.Fatal(err)
	}
	p.say(t, "release")
	p.expect(t, "lost 1")
	if s := b.look(); s.lock != lockTaken {
		t.Error("the robbed party has freed the lock")
	}
	head := stamp(60, 0, 0, otherSender)
	before := b.ring.peek()
	if _, _, ok := b.ring.write(gen-2, &head, make([]byte, 60)); ok || b.ring.peek() != before {
		t.Error("a robbed party has sent")
	}
	b.release(gen)
}

// TestOpenRecovers joins a bus whose lock is stuck.
func TestOpenRecovers(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	p := startParty(t, "hold", path)
	p.say(t, "take it")
	p.expect(t, "held")
	_, err := Open(path, WithRecovery(0), WithLockTimeout(20*time.Millisecond))
	if want := "open " + path + ": bus is locked by another party"; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
	p.Process.Kill()
	p.Wait()
	var b *Bus
	within(t, "Open", func() { b, err = Open(path, WithRecovery(200*time.Millisecond)) })
	if err != nil {
		t.Fatal(err)
	}
	if n := b.Stats().LockRecoveries; n != 1 {
		t.Errorf("lock recovered %d times", n)
	}
	b.Close()
}

// TestCloseWhileLocked closes a bus whose lock is not to be had.
func TestCloseWhileLocked(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	b := openBus(t, path, WithLockTimeout(limit))
	if _, err := b.acquire(time.Second); err != nil { // never given back
		t.Fatal(err)
	}
	a := openLocked(t, path, WithLockTimeout(limit))
	done := make(chan error, 2)
	go func() { done <- a.Send(numbered(1, 60)) }()
	go func() {
		a.Restart()
		_, err := a.Recv(make([]byte, MaxFrame))
		done <- err
	}()
	for a.Stats().LockWaits < 2 {
		time.Sleep(time.Millisecond)
	}
	within(t, "Close", func() { a.Close() })
	for range 2 {
		select {
		case err := <-done:
			if !errors.Is(err, errClosed) {
				t.Errorf("%v", err)
			}
		case <-time.After(limit):
			t.Fatal("still waiting after Close")
		}
	}
}

// openLocked attaches to a bus that is locked, which Open itself would not do.
func openLocked(t testing.TB, path string, options ...Option) *Bus {
	t.Helper()
	other := newPath(t)
	b := openBus(t, other, options...)
	f, err := openFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b.mapMu.Lock()
	defer b.mapMu.Unlock()
	unmap(b.ring.mem)
	b.file.Close()
	b.path = path
	if err := b.mapFile(f); err != nil {
		t.Fatal(err)
	}
	return b
}

// BenchmarkSend puts frames on the bus that nobody receives.
func BenchmarkSend(b *testing.B) {
	bus := openBus(b, newPath(b))
	frame := make([]byte, MaxFrame)
	b.SetBytes(MaxFrame)
	b.ReportAllocs()
	for b.Loop() {
		if err := bus.Send(frame); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkSendBatch is BenchmarkSend, 32 frames at a time.
func BenchmarkSendBatch(b *testing.B) {
	bus := openBus(b, newPath(b))
	frames := make([][]byte, batchFrames)
	for i := range frames {
		frames[i] = make([]byte, MaxFrame)
	}
	b.SetBytes(MaxFrame * batchFrames)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := bus.SendBatch(frames); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRoundTrip sends a frame to another process, which sends it back: two
// wake-ups.
func BenchmarkRoundTrip(b *testing.B) {
	path := newPath(b)
	bus := openBus(b, path)
	startParty(b, "echo", path)
	frame, buf := make([]byte, 98), make([]byte, MaxFrame)
	b.ReportAllocs()
	for b.Loop() {
		if err := bus.Send(frame); err != nil {
			b.Fatal(err)
		}
		if _, err := bus.Recv(buf); err != nil {
			b.Fatal(err)
		}
	}
}
