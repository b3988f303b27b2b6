//go:build amd64 || arm64

package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// benchIperf compares iperf3's throughput, in Gbit/s. Its streams share one thread, or have one
// each from version 3.16 on.
func benchIperf(b *testing.B, server, client func(args ...string) []string, address string) {
	iperf3 := debian(b, "iperf3")
	own := func(args ...string) []string { return args }
	onHost := startIperf(b, own, own, iperf3, "127.0.0.1")
	onKernel := startIperf(b, server, client, iperf3, address)
	for _, m := range []struct{ name, streams string }{{"1 stream", "1"}, {"4 streams", "4"}} {
		b.Run(m.name, func(b *testing.B) {
			compareExec(b,
				func() (float64, error) { return measureIperf(own(onHost.client("1", m.streams)...)) },
				func() (float64, error) { return measureIperf(client(onKernel.client("1", m.streams)...)) })
		})
	}
}

// iperf is a server that runs.
type iperf struct{ iperf3, host, port string }

// client is the command of a client that sends so many seconds.
func (s iperf) client(seconds, streams string) []string {
	return []string{s.iperf3, "-c", s.host, "-p", s.port, "-t", seconds, "-P", streams, "-J"}
}

// startIperf starts a server until the benchmark's end, and waits until it answers.
func startIperf(b *testing.B, server, client func(args ...string) []string, iperf3, host string) iperf {
	s := iperf{iperf3, host, freePort(b)}
	startAnswering(b, server(iperf3, "-s", "-B", host, "-p", s.port), func() error {
		_, err := measureIperf(client(s.client("1", "1")...))
		return err
	})
	return s
}

// measureIperf runs a client and returns the Gbit/s that have arrived.
func measureIperf(args []string) (float64, error) {
	ctx, cancel := context.WithTimeout(context.Background(), loadTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	if err != nil {
		return 0, fmt.Errorf("%s: %w: %s", strings.Join(args, " "), errors.Join(err, ctx.Err()), out)
	}
	var report struct {
		End struct {
			Received struct {
				BitsPerSecond float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		} `json:"end"`
	}
	if err := json.Unmarshal(out, &report); err != nil {
		return 0, fmt.Errorf("%s: %w", strings.Join(args, " "), err)
	}
	return report.End.Received.BitsPerSecond / 1e9, nil
}
