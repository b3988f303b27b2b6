package apps

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestOwners: rnetstat tells whose a socket is, by whichever path each of the two was given the
// kernel; and rumpctl list tells of kernels, whoever else is in their directory.
func TestOwners(t *testing.T) {
	twoKernels(t)
	dir := tempDir(t)
	socket := strings.TrimPrefix(server.kernel, "unix://")
	if err := os.Symlink(socket, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Dir(socket), filepath.Join(dir, "run")); err != nil {
		t.Fatal(err)
	}
	listed := regexp.MustCompile(`(?m)^` + server.name + ` +running `)
	urls := []string{server.kernel, server.name, "unix://link", "unix://" + dir + "/run/" + server.name}
	for _, told := range urls {
		p := port(t)
		cmd := (&host{kernel: told}).command(nil, filepath.Join(bin, "goweb"), "serve", hostPort(server.v4, p))
		cmd.Dir = dir
		server.serve(t, "tcp", p, cmd)
		// Supervisors are no kernels.
		if out := succeeds(t, exec.Command(filepath.Join(bin, "rumpctl"), "list"), limit); !listed.MatchString(out) {
			t.Errorf("rumpctl list:\n%s", out)
		}
		for _, asked := range urls {
			cmd := exec.Command(filepath.Join(bin, "rnetstat"), "--server", asked, "-an", "--owners")
			cmd.Dir = dir
			out := succeeds(t, cmd, limit)
			if !regexp.MustCompile(fmt.Sprintf(`(?m)^tcp .*\.%d .* LISTEN +\d+/goweb`, p)).MatchString(out) {
				t.Errorf("exec --server %s, rnetstat --server %s:\n%s", told, asked, out)
			}
		}
	}
}
