package trace

import "testing"

func TestPlainBanner(t *testing.T) {
	const plain = "RUMPSP-0.4-NetBSD-7.99.34/amd64"
	for _, tt := range []struct{ in, want string }{
		{plain + "\nrest \n", plain + "\nrest \n"},
		{plain + " lend carry\nrest lend\n", plain + "\nrest lend\n"},
		{plain + " \n", plain + "\n"},
		{"SSH-2.0-OpenSSH_9.6 Debian\n", "SSH-2.0-OpenSSH_9.6 Debian\n"},
		{"RUMPSP", "RUMPSP"},
		{"RUMPSX 1 2\n", "RUMPSX 1 2\n"},
		{"\x00\x01 \n", "\x00\x01 \n"},
		{"", ""},
	} {
		for cut := range len(tt.in) + 1 {
			var p plainBanner
			got := string(p.pass([]byte(tt.in[:cut])))
			got += string(p.pass([]byte(tt.in[cut:])))
			if got != tt.want {
				t.Errorf("%q cut at %d: %q, want %q", tt.in, cut, got, tt.want)
			}
		}
	}
}
