package owners

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
)

func TestOwners(t *testing.T) {
	dir, err := os.MkdirTemp("", "ow")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if list, err := List(t.Context(), filepath.Join(dir, "none"), "unix:///k"); list != nil || err != nil {
		t.Errorf("nobody tells: %v, %v", list, err)
	}
	want := []Socket{{
		Protocol: "tcp", Local: netip.MustParseAddrPort("10.0.0.1:22"), Remote: netip.MustParseAddrPort("[fe80::1]:5"),
		PID: 7, Program: "sshd",
	}}
	teller, err := Tell(dir, "unix:///k", func() []Socket { return want })
	if err != nil {
		t.Fatal(err)
	}
	list, err := List(t.Context(), dir, "unix:///k")
	if err != nil || !reflect.DeepEqual(list, want) {
		t.Errorf("%v, %v", list, err)
	}
	if list, err := List(t.Context(), dir, "unix:///other"); list != nil || err != nil {
		t.Errorf("of another kernel: %v, %v", list, err)
	}
	if err := teller.Close(); err != nil {
		t.Error(err)
	}

	// One that died leaves its socket.
	path := filepath.Join(dir, prefix("unix:///k")+"1")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	ln.(*net.UnixListener).SetUnlinkOnClose(false)
	ln.Close()
	if list, err := List(t.Context(), dir, "unix:///k"); list != nil || err != nil {
		t.Errorf("of a dead one: %v, %v", list, err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("the dead one's socket is still there")
	}
}

func TestOwnersBad(t *testing.T) {
	dir, err := os.MkdirTemp("", "ow")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	for _, said := range []string{"", "no JSON", `{"a":1}`, `[{"local":"x"}]`} {
		ln, err := net.Listen("unix", filepath.Join(dir, prefix("u")+"1"))
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			c, err := ln.Accept()
			if err == nil {
				c.Write([]byte(said))
				c.Close()
			}
		}()
		list, err := List(t.Context(), dir, "u")
		if err == nil || list != nil || !strings.Contains(err.Error(), "owners of sockets") {
			t.Errorf("%q: %v, %v", said, list, err)
		}
		ln.Close()
	}
}

// TestResolve: a kernel has one URL by all paths, also when it has ended.
func TestResolve(t *testing.T) {
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"dir/sub", "work"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for from, to := range map[string]string{
		"link":      filepath.Join(root, "dir/kernel"),
		"relative":  "dir/kernel",
		"link2":     "work/../link",
		"dirlink":   "dir",
		"sublink":   "dir/sub",
		"loop":      "loop",
		"nowhere":   "none/none",
		"dir/up":    "../dir/kernel",
		"work/link": "../sublink/../kernel",
	} {
		if err := os.Symlink(to, filepath.Join(root, from)); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(filepath.Join(root, "work"))
	kernel := filepath.Join(root, "dir/kernel")
	if err := os.WriteFile(kernel, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, state := range []string{"there", "gone"} {
		for in, want := range map[string]string{
			kernel:                      kernel,
			root + "/dir//./kernel":     kernel,
			root + "/link":              kernel,
			root + "/relative":          kernel,
			root + "/link2":             kernel,
			root + "/dirlink/kernel":    kernel,
			root + "/dirlink/up":        kernel,
			root + "/sublink/../up":     kernel,
			root + "/sublink/../kernel": kernel,
			"../dir/kernel":             kernel,
			"../link":                   kernel,
			"./link":                    kernel,
			"../sublink/../kernel":      kernel,
			"kernel":                    root + "/work/kernel",
			root + "/loop":              root + "/loop",
			root + "/nowhere":           root + "/none/none",
			root + "/none/../kernel":    root + "/kernel",
			"/":                         "/",
		} {
			got := Resolve("unix://" + in)
			if got != "unix://"+want {
				t.Errorf("%s, which is %s: %s, want %s", in, state, got, want)
			}
			if again := Resolve(got); again != got {
				t.Errorf("%s is %s then", got, again)
			}
		}
		if state == "there" {
			if err := os.Remove(kernel); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, url := range []string{"tcp://10.0.0.1:7/", "no URL", ""} {
		if got := Resolve(url); got != url {
			t.Errorf("%q: %q", url, got)
		}
	}
}

// TestResolveEnds: links that lead on by two ways each do not take for ever.
func TestResolveEnds(t *testing.T) {
	dir := t.TempDir()
	for i := range 60 {
		if err := os.Symlink(fmt.Sprintf("%d/../%d", i+1, i+1), filepath.Join(dir, strconv.Itoa(i))); err != nil {
			t.Fatal(err)
		}
	}
	if got := Resolve("unix://" + dir + "/0"); !strings.HasPrefix(got, "unix:///") {
		t.Error(got)
	}
}

// TestOwnersByLink: who asks may know the kernel by another path than who tells.
func TestOwnersByLink(t *testing.T) {
	dir, err := os.MkdirTemp("", "ow")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Symlink("kernel", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	want := []Socket{{Protocol: "udp", PID: 7}}
	paths := []string{filepath.Join(dir, "kernel"), filepath.Join(dir, "link"), "kernel", "./link"}
	t.Chdir(dir)
	for _, told := range paths {
		teller, err := Tell(dir, "unix://"+told, func() []Socket { return want })
		if err != nil {
			t.Fatal(err)
		}
		for _, asked := range paths {
			list, err := List(t.Context(), dir, "unix://"+asked)
			if err != nil || !reflect.DeepEqual(list, want) {
				t.Errorf("%s, asked for as %s: %v, %v", told, asked, list, err)
			}
		}
		teller.Close()
	}
}
