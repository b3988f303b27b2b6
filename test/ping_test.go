package test

import (
	"regexp"
	"strings"
	"testing"
)

// machines are the kernels that the programs are tried with: both byte orders
// and word sizes.
var machines = []string{"amd64", "powerpc", "i386"}

// masked replaces the times in ping's output.
func masked(s string) string {
	s = regexp.MustCompile(`time=\d+\.(\d+) ms`).ReplaceAllString(s, "time=T ms")
	return regexp.MustCompile(`(min/avg/max/std-?dev = )[0-9./]+`).ReplaceAllString(s, "${1}T")
}

func TestPing(t *testing.T) {
	tests := []struct {
		args           string
		code           int
		stdout, stderr string
	}{
		{args: "-n -c 2 -i 0.01 127.0.0.1", stdout: `PING 127.0.0.1 (127.0.0.1): 56 data bytes
64 bytes from 127.0.0.1: icmp_seq=0 ttl=255 time=T ms
64 bytes from 127.0.0.1: icmp_seq=1 ttl=255 time=T ms

----127.0.0.1 PING Statistics----
2 packets transmitted, 2 packets received, 0.0% packet loss
round-trip min/avg/max/stddev = T ms
`},
		{args: "-o -s 1000 127.0.0.1", stdout: `PING 127.0.0.1 (127.0.0.1): 1000 data bytes
1008 bytes from 127.0.0.1: icmp_seq=0 ttl=255 time=T ms

----127.0.0.1 PING Statistics----
1 packets transmitted, 1 packets received, 0.0% packet loss
round-trip min/avg/max/stddev = T ms
`},
		{args: "-q -c 1 -T 5 127.0.0.1", stdout: `PING 127.0.0.1 (127.0.0.1): 56 data bytes

----127.0.0.1 PING Statistics----
1 packets transmitted, 1 packets received, 0.0% packet loss
round-trip min/avg/max/stddev = T ms
`},
		{args: "-c 1 -w 0.2 192.0.2.1", code: 2, stdout: `PING 192.0.2.1 (192.0.2.1): 56 data bytes

----192.0.2.1 PING Statistics----
1 packets transmitted, 0 packets received, 100.0% packet loss
`, stderr: "rping: sendto: No route to host\n"},
		{args: "-c 1 ::1", stdout: `PING6(56=40+8+8 bytes) ::1 --> ::1
16 bytes from ::1, icmp_seq=0 hlim=64 time=T ms

--- ::1 ping6 statistics ---
1 packets transmitted, 1 packets received, 0.0% packet loss
round-trip min/avg/max/std-dev = T ms
`},
		{args: "-c 1 2001:db8::1", code: 1, stderr: "rping: UDP connect: No route to host\n"},
		{args: "-c 0 127.0.0.1", code: 1, stderr: "rping: Bad/invalid number of packets: 0\n"},
	}
	for _, machine := range machines {
		k := startKernel(t, machine)
		for _, tt := range tests {
			t.Run(machine+"/"+tt.args, func(t *testing.T) {
				r := runProgram(t, k.URL, "rping", strings.Fields(tt.args)...)
				if got := masked(r.Stdout); got != tt.stdout {
					t.Errorf("stdout\n%swant\n%s", got, tt.stdout)
				}
				if r.Stderr != tt.stderr {
					t.Errorf("stderr %q, want %q", r.Stderr, tt.stderr)
				}
				if r.Code != tt.code {
					t.Errorf("exit %d, want %d", r.Code, tt.code)
				}
			})
		}
	}
}

func TestPingWithoutKernel(t *testing.T) {
	url := "unix://" + t.TempDir() + "/none"
	r := runProgram(t, url, "rping", "127.0.0.1")
	want := "rping: no rump kernel at " + url + ": start one with \"rumpctl start\" or set RUMP_SERVER\n"
	if r.Code != 1 || r.Stdout != "" || r.Stderr != want {
		t.Errorf("exit %d, %q, %q, want %q", r.Code, r.Stdout, r.Stderr, want)
	}
}
