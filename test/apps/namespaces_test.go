package apps

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestNamespaces: containers begin within exec as they do without, which mount a proc(5) of their own. The kernel
// permits that only where one is to be seen that nothing hides.
func TestNamespaces(t *testing.T) {
	twoKernels(t)
	unshare, bwrap := find(t, "unshare"), find(t, "bwrap")
	u := newOrdinary(t)
	rumpctl := filepath.Join(bin, "rumpctl")
	succeeds(t, u.command(rumpctl, "start", "own"), limit)
	t.Cleanup(func() { succeeds(t, u.command(rumpctl, "halt", "own"), limit) })
	container := []string{bwrap, "--unshare-user", "--unshare-pid"}
	for _, who := range []struct {
		name          string
		native, under func(name string, args ...string) *exec.Cmd
	}{
		{"ordinary", u.command, func(name string, args ...string) *exec.Cmd {
			return u.command(rumpctl, append([]string{"exec", "--server", "own", "--", name}, args...)...)
		}},
		{"this user", exec.Command, func(name string, args ...string) *exec.Cmd { return client.command(nil, name, args...) }},
	} {
		for _, tt := range []struct {
			name string
			args []string
			want string
		}{
			{"unshare", []string{unshare, "-rpf", "--mount-proc", "sh", "-c", "echo $$ /proc/[0-9]*"}, "1 /proc/1\n"},
			{"bwrap", append(container, "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "sh", "-c", "echo $$ /proc/[0-9]*"), "2 /proc/1 /proc/2\n"},
			{"bwrap, all as it is", append(container, "--bind", "/", "/", "sh", "-c", "grep -c lo0: /proc/net/dev || :"), "1\n"},
		} {
			t.Run(who.name+"/"+tt.name, func(t *testing.T) {
				if r := start(t, who.native(tt.args[0], tt.args[1:]...)).finish(limit); r.Code != 0 {
					t.Skipf("not on this host either: %s", r.Stderr)
				}
				if out := succeeds(t, who.under(tt.args[0], tt.args[1:]...), limit); out != tt.want {
					t.Errorf("%q, want %q", out, tt.want)
				}
			})
		}
	}
	t.Run("masked before", func(t *testing.T) {
		if os.Geteuid() != 0 {
			t.Skip("only root mounts over /proc without more ado")
		}
		// As a container's engine does, so that there is no other proc(5) to be had; exec does without.
		const script = `mount --bind /dev/null /proc/version && exec "$@"`
		for _, under := range []*exec.Cmd{client.command(nil, "cat", "/proc/net/dev"), client.command(nil, unshare, "-r", "cat", "/proc/net/dev")} {
			out := succeeds(t, exec.Command(unshare, append([]string{"-m", "sh", "-c", script, "sh"}, under.Args...)...), limit)
			if !strings.Contains(out, "lo0:") {
				t.Errorf("%q", out)
			}
		}
	})
}
