//go:build unix

package test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// pinging is an rping that runs.
type pinging struct {
	t      *testing.T
	cmd    *exec.Cmd
	lines  *bufio.Reader
	stderr bytes.Buffer
	said   strings.Builder // standard output so far
}

// startPing runs rping and returns when its first line is there.
func startPing(t *testing.T, k *kernel, args ...string) *pinging {
	t.Helper()
	return startPingBy(t, k, append([]string{program("rping")}, args...)...)
}

// startPingBy runs rping by way of another program.
func startPingBy(t *testing.T, k *kernel, argv ...string) *pinging {
	t.Helper()
	p, err := launchPing(t, k, argv...)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// launchPing is startPingBy for any goroutine.
func launchPing(t *testing.T, k *kernel, argv ...string) (*pinging, error) {
	p := &pinging{t: t, cmd: exec.Command(argv[0], argv[1:]...)}
	p.cmd.Env = append(os.Environ(), "RUMP_SERVER="+k.URL)
	p.cmd.Stderr = &p.stderr
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	// Whatever hangs ends after a while, and is found to have been killed.
	watchdog := time.AfterFunc(limit, func() { p.cmd.Process.Kill() })
	t.Cleanup(func() {
		p.cmd.Process.Kill()
		watchdog.Stop()
	})
	p.lines = bufio.NewReader(out)
	if line := p.line(); !strings.HasPrefix(line, "PING") {
		p.end()
		return nil, fmt.Errorf("%q: first line %q\n%s", argv, line, &p.stderr)
	}
	return p, nil
}

// line reads one more line.
func (p *pinging) line() string {
	line, _ := p.lines.ReadString('\n')
	p.said.WriteString(line)
	return line
}

func (p *pinging) signal(sig os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil && err != os.ErrProcessDone {
		p.t.Error(err)
	}
}

// end waits for the end and returns everything that was said.
func (p *pinging) end() result {
	p.t.Helper()
	rest, _ := io.ReadAll(p.lines)
	p.said.Write(rest)
	p.cmd.Wait()
	if st := p.cmd.ProcessState.Sys().(syscall.WaitStatus); st.Signaled() {
		p.t.Errorf("rping died of %v\n%s%s", st.Signal(), p.said.String(), &p.stderr)
	}
	return result{p.said.String(), p.stderr.String(), p.cmd.ProcessState.ExitCode()}
}

// checkStatistics looks for complete statistics at the end of the output, and
// for the exit status that belongs to them.
func checkStatistics(t *testing.T, r result) (transmitted, received int) {
	t.Helper()
	_, stats, found := strings.Cut(r.Stdout, "Statistics----\n")
	if !found {
		_, stats, found = strings.Cut(r.Stdout, "ping6 statistics ---\n")
	}
	n, _ := fmt.Sscanf(stats, "%d packets transmitted, %d packets received", &transmitted, &received)
	lines := strings.SplitAfter(stats, "\n")
	whole := len(lines) == 2 && received == 0 || len(lines) >= 3 && received > 0 && strings.HasPrefix(lines[1], "round-trip")
	if !found || n != 2 || !whole || lines[len(lines)-1] != "" {
		t.Errorf("no complete statistics:\n%s%s", r.Stdout, r.Stderr)
	}
	want := 2
	if received > 0 {
		want = 0
	}
	if r.Code != want {
		t.Errorf("exit %d with %d replies, want %d\n%s", r.Code, received, want, r.Stderr)
	}
	return transmitted, received
}

// soon is how quickly an interrupt has to be heeded on a machine that has the
// time: of some tries, the best one counts.
const (
	soon  = 100 * time.Millisecond
	tries = 5
)

// quickest calls f until it takes no longer than soon, a few times at most.
func quickest(t *testing.T, f func() time.Duration) {
	t.Helper()
	var took []time.Duration
	for range tries {
		d := f()
		if d <= soon {
			return
		}
		took = append(took, d)
	}
	t.Errorf("interrupts took %v, want %v", took, soon)
}

func TestPingInterrupted(t *testing.T) {
	for _, machine := range machines {
		k := startKernel(t, machine)
		for _, target := range []string{"127.0.0.1", "::1"} {
			for _, sig := range []os.Signal{syscall.SIGINT, syscall.SIGTERM} {
				t.Run(fmt.Sprint(machine, " ", target, " ", sig), func(t *testing.T) {
					quickest(t, func() time.Duration {
						p := startPing(t, k, "-i", "50", target)
						p.line()
						start := time.Now()
						p.signal(sig)
						r := p.end()
						took := time.Since(start)
						if sent, _ := checkStatistics(t, r); sent != 1 || r.Stderr != "" {
							t.Errorf("%d requests:\n%s%s", sent, r.Stdout, r.Stderr)
						}
						return took
					})
				})
			}
		}
	}
}

// The kernel's process is stopped, so that the calls of rping hang.
func TestPingStoppedKernel(t *testing.T) {
	for _, machine := range machines {
		t.Run(machine, func(t *testing.T) {
			k := startKernel(t, machine)
			for _, interval := range []string{"0.01", "50"} {
				quickest(t, func() time.Duration {
					p := startPing(t, k, "-i", interval, "127.0.0.1")
					p.line()
					k.Cmd.Process.Signal(syscall.SIGSTOP)
					defer k.Cmd.Process.Signal(syscall.SIGCONT)
					time.Sleep(100 * time.Millisecond) // for more requests to hang
					start := time.Now()
					p.signal(syscall.SIGINT)
					r := p.end()
					took := time.Since(start)
					checkStatistics(t, r)
					return took
				})
			}

			// One that has not even said anything yet has nothing to tell.
			stop(t, k.Cmd.Process.Pid)
			defer k.Cmd.Process.Signal(syscall.SIGCONT)
			r := runProgram(t, k.URL, "rping", "-w", "0.2", "127.0.0.1")
			if want := "rping: rump kernel at " + k.URL + ": no answer in time\n"; r.Code != 1 || r.Stdout != "" || r.Stderr != want {
				t.Errorf("exit %d, %q, %q, want %q", r.Code, r.Stdout, r.Stderr, want)
			}
		})
	}
}

func TestPingKilledKernel(t *testing.T) {
	for _, target := range []string{"127.0.0.1", "::1"} {
		t.Run(target, func(t *testing.T) {
			k := startKernel(t, "amd64")
			p := startPing(t, k, "-i", "50", target)
			p.line()
			k.Cmd.Process.Kill()
			r := p.end()
			if !strings.Contains(r.Stdout, "1 packets transmitted, 1 packets received, 0.0% packet loss\nround-trip") {
				t.Errorf("no statistics:\n%s", r.Stdout)
			}
			want := "rping: lost the rump kernel at " + k.URL + ": "
			if r.Code != 1 || !strings.HasPrefix(r.Stderr, want) || strings.Count(r.Stderr, "\n") != 1 {
				t.Errorf("exit %d, stderr %q, want %q and a reason", r.Code, r.Stderr, want)
			}
		})
	}
}

func TestPingStatus(t *testing.T) {
	k := startKernel(t, "amd64")
	p := startPing(t, k, "-i", "50", "127.0.0.1")
	p.line()
	for range 20 {
		p.signal(infoSignal)
		if line := p.line(); line != "1 packets transmitted, 1 packets received, 0.0% packet loss\n" {
			t.Fatalf("status %q", line)
		}
		if line := p.line(); !strings.HasPrefix(line, "round-trip min/avg/max/stddev = ") {
			t.Fatalf("status %q", line)
		}
	}
	p.signal(syscall.SIGINT)
	checkStatistics(t, p.end())
}

// A background job of a shell has SIGINT ignored. rping is ended by it nonetheless.
func TestPingIgnoredInterrupt(t *testing.T) {
	k := startKernel(t, "amd64")
	p := startPingBy(t, k, "/bin/sh", "-c", `trap "" INT; exec "$0" -i 50 127.0.0.1`, program("rping"))
	p.line()
	p.signal(syscall.SIGINT)
	checkStatistics(t, p.end())
}

// At any moment after the first line, an interrupt yields statistics: never a
// hang, never death by a signal.
func TestPingInterruptedAtAnyMoment(t *testing.T) {
	n := 1000
	if testing.Short() {
		n = 100
	}
	kernels := make([]*kernel, len(machines))
	for i, machine := range machines {
		kernels[i] = startKernel(t, machine)
	}
	modes := [][]string{
		{"-i", "0.001"}, {"-i", "0.01"}, {"-i", "5"}, {"-f"}, {"-q", "-i", "0.002"}, {"-v", "-l", "5"}, {"-c", "1000000", "-i", "0.003"},
	}
	var wg sync.WaitGroup
	work := make(chan int)
	for range 4 {
		wg.Go(func() {
			for i := range work {
				target := []string{"127.0.0.1", "127.0.0.1", "::1"}[i%3]
				args := append(append([]string{}, modes[rand.N(len(modes))]...), target)
				p, err := launchPing(t, kernels[i/3%len(kernels)], append([]string{program("rping")}, args...)...)
				if err != nil {
					t.Error(err)
					continue
				}
				drained := make(chan struct{})
				go func() { // a full pipe would stop it
					defer close(drained)
					rest, _ := io.ReadAll(p.lines)
					p.said.Write(rest)
				}()
				if i%10 != 0 { // every tenth at once
					time.Sleep(rand.N(30 * time.Millisecond))
				}
				sig := []os.Signal{syscall.SIGINT, syscall.SIGINT, syscall.SIGTERM}[rand.N(3)]
				for range 1 + rand.N(3) { // the impatient press more than once
					p.signal(sig)
				}
				<-drained
				checkStatistics(t, p.end())
			}
		})
	}
	for i := range n {
		if t.Failed() {
			break
		}
		work <- i
	}
	close(work)
	wg.Wait()
}
