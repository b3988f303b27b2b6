package registry

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"rumptools/internal/owners"
)

func TestResolve(t *testing.T) {
	run := t.TempDir()
	if err := os.Mkdir(filepath.Join(run, "rump"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, said, env, want, err string
	}{
		{name: "nothing said", want: "unix://" + run + "/rump/default"},
		{name: "name said", said: "a", env: "b", want: "unix://" + run + "/rump/a"},
		{name: "name in the environment", env: "b", want: "unix://" + run + "/rump/b"},
		{name: "URL in the environment", env: "unix:///x/y", want: "unix:///x/y"},
		{name: "URL said", said: "tcp://127.0.0.1:99/", env: "b", want: "tcp://127.0.0.1:99/"},
		{name: "relative", said: "unix://sock", want: "unix://sock"},
		{name: "wildcard", said: "tcp://0.0.0.0:99/", err: "host's address"},
		{name: "bad scheme", said: "udp://1.2.3.4:5", err: "unknown kind"},
		{name: "path as name", said: "../x", err: "begins with"},
		{name: "slash", said: "a/b", err: "has a '/'"},
		{name: "empty path", said: "unix://", err: "no path"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("XDG_RUNTIME_DIR", run)
			t.Setenv(ServerEnv, tt.env)
			got, err := Resolve(tt.said)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("error %v, want one with %q", err, tt.err)
				}
				return
			}
			if got != tt.want || err != nil {
				t.Errorf("got %q, %v; want %q", got, err, tt.want)
			}
		})
	}
}

func TestDirIsPrivate(t *testing.T) {
	run := t.TempDir()
	t.Setenv("XDG_RUNTIME_DIR", run)
	dir, err := Dir()
	if err != nil || dir != filepath.Join(run, "rump") {
		t.Fatalf("Dir() = %q, %v", dir, err)
	}
	if st, err := os.Stat(dir); err != nil || st.Mode().Perm() != 0o700 {
		t.Fatalf("mode %v, %v", st.Mode(), err)
	}
	if err := os.Chmod(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	if _, err := Dir(); err == nil || !strings.Contains(err.Error(), "open to other users") {
		t.Errorf("a directory of mode 0750 gave %v", err)
	}
	if _, err := Resolve("a"); err == nil {
		t.Error("a name was looked up in a directory of mode 0750")
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(t.TempDir(), dir); err != nil {
		t.Fatal(err)
	}
	if _, err := Dir(); err == nil || !strings.Contains(err.Error(), "not a directory") {
		t.Errorf("a symbolic link gave %v", err)
	}
}

func TestWithoutXDG(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", "")
	t.Setenv("TMPDIR", t.TempDir())
	dir, err := Dir()
	if err != nil || !strings.HasPrefix(filepath.Base(dir), "rump-") {
		t.Errorf("Dir() = %q, %v", dir, err)
	}
}

// The error of a bad name is a line, whatever the name.
func TestBadNames(t *testing.T) {
	const good = "; letters, digits, '.', '_' and '-' are good"
	for name, want := range map[string]string{
		"":                               "empty name",
		".a":                             "name .a: begins with '.'",
		"-\n":                            `name "-\n": begins with '-'`,
		"a/b":                            "name a/b: has a '/'" + good,
		"é":                              "name é: has a 'é'" + good,
		"a\nb":                           `name "a\nb": has a '\n'` + good,
		"\x1b[31m":                       `name "\x1b[31m": has a '\x1b'` + good,
		strings.Repeat("z", 65):          "name zzzzzzzzzzzzzzzz...: longer than 64 bytes",
		"\x1b" + strings.Repeat("z", 65): `name "\x1bzzzzzzzzzzzzzzz"...: longer than 64 bytes`,
	} {
		if err := CheckName(name); err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", name, err, want)
		}
	}
}

func TestNames(t *testing.T) {
	run := t.TempDir()
	t.Setenv("XDG_RUNTIME_DIR", run)
	if names, err := Names(); len(names) != 0 || err != nil {
		t.Errorf("with no directory: %q, %v", names, err)
	}
	dir, err := Dir()
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []string{"b", "a"} {
		l, err := net.Listen("unix", filepath.Join(dir, n))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
	}
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	names, err := Names()
	if err != nil || strings.Join(names, " ") != "a b" {
		t.Errorf("Names() = %q, %v; want a and b", names, err)
	}
}

// TestList: what else listens in the directory is in nobody's way.
func TestList(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	dir, err := Dir()
	if err != nil {
		t.Fatal(err)
	}
	serve := func(name, greeting string) string {
		l, err := net.Listen("unix", filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				io.WriteString(c, greeting)
				c.Close()
			}
		}()
		return "unix://" + l.Addr().String()
	}
	kernel := serve("kernel", "RUMPSP-0.5-NetBSD-7.99.34/amd64\n")
	supervisor, err := TellOwners(kernel, func() []owners.Socket { return nil })
	if err != nil {
		t.Fatal(err)
	}
	defer supervisor.Close()
	kernels, err := List(t.Context())
	if err != nil || len(kernels) != 1 || kernels[0].Name != "kernel" || kernels[0].State != Running {
		t.Errorf("beside a supervisor: %+v, %v", kernels, err)
	}
	if _, err := Owners(t.Context(), kernel); err != nil {
		t.Error(err)
	}
	serve("another", "220 mail ready\n")
	kernels, err = List(t.Context())
	if len(kernels) != 1 || kernels[0].Name != "kernel" || err == nil || !strings.Contains(err.Error(), "another") {
		t.Errorf("beside what is no kernel: %+v, %v", kernels, err)
	}
}
