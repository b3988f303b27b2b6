package bench

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// program is a program that `make build` left in bin.
func program(b *testing.B, name string) string {
	b.Helper()
	path, err := filepath.Abs(filepath.Join("..", "bin", name))
	if err != nil {
		b.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		b.Skipf("%v: make bench builds it", err)
	}
	return path
}

// BenchmarkBinarySize is no time: MB is each program's size in 10^6 bytes.
func BenchmarkBinarySize(b *testing.B) {
	for _, name := range []string{"rping", "rifconfig", "rnetstat", "rumpctl", "rumpd"} {
		b.Run(name, func(b *testing.B) {
			st, err := os.Stat(program(b, name))
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(st.Size())/1e6, "MB")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkPingOnce is the whole of `rping -c 1 127.0.0.1`, from exec to exit,
// beside the same program when it only prints its help.
func BenchmarkPingOnce(b *testing.B) {
	rumpd, rping := program(b, "rumpd"), program(b, "rping")
	url := "unix://" + filepath.Join(b.TempDir(), "s")
	kernel := exec.Command(rumpd, "-s", url)
	if err := kernel.Start(); err != nil {
		b.Fatal(err)
	}
	defer func() {
		kernel.Process.Signal(os.Interrupt)
		kernel.Wait()
	}()
	for range 100 {
		if exec.Command(rping, "--server", url, "-c", "1", "127.0.0.1").Run() == nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	b.Run("rping", func(b *testing.B) {
		for b.Loop() {
			if out, err := exec.Command(rping, "--server", url, "-c", "1", "127.0.0.1").CombinedOutput(); err != nil {
				b.Fatalf("%v: %s", err, out)
			}
		}
	})
	b.Run("help", func(b *testing.B) {
		for b.Loop() {
			if err := exec.Command(rping, "--help").Run(); err != nil {
				b.Fatal(err)
			}
		}
	})
}
