package owners

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
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
