package apps

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// TestRedis: an event loop with epoll, and its own benchmark.
func TestRedis(t *testing.T) {
	all(t)
	redis, benchmark, cli := find(t, "redis-server"), find(t, "redis-benchmark"), find(t, "redis-cli")
	dir := tempDir(t)
	p := port(t)
	s := server.serve(t, "tcp", p, server.command(nil, redis, "--port", fmt.Sprint(p), "--bind", server.v4.String(), "--dir", dir, "--save", "", "--protected-mode", "no"))
	at := []string{"-h", server.v4.String(), "-p", fmt.Sprint(p)}
	out := client.want(t, benchmark, append(at, "-t", "set,get,lpush", "-n", "10000", "-c", "50", "-d", "100", "-q")...)
	for _, test := range []string{"SET", "GET", "LPUSH"} {
		m := regexp.MustCompile(test + `: ([0-9.]+) requests per second`).FindStringSubmatch(out)
		if m == nil {
			t.Fatalf("%s", out)
		}
		t.Logf("%s %s/s", test, m[1])
	}
	client.want(t, benchmark, append(at, "-t", "get", "-n", "20000", "-c", "20", "-P", "16", "-q")...)
	cmd := client.command(nil, cli, append(at, "-x", "set", "big")...)
	cmd.Stdin = strings.NewReader(strings.Repeat("v", 5_000_000))
	if out := succeeds(t, cmd, limit); out != "OK\n" {
		t.Errorf("%q", out)
	}
	if out := client.want(t, cli, append(at, "strlen", "big")...); out != "5000000\n" {
		t.Errorf("%q", out)
	}
	// Its clients' names are the peers'.
	if out := client.want(t, cli, append(at, "client", "list")...); !strings.Contains(out, "addr="+client.v4.String()+":") || !strings.Contains(out, "laddr="+hostPort(server.v4, p)) {
		t.Errorf("client list: %s", out)
	}
	client.run(t, cli, append(at, "shutdown", "nosave")...)
	if r := s.finish(limit); r.Code != 0 {
		t.Errorf("%+v", r)
	}
}

// TestPostgres: a process for each connection, none of them root's.
func TestPostgres(t *testing.T) {
	all(t)
	postgres, initdb, pgbench, psql := find(t, "postgres"), find(t, "initdb"), find(t, "pgbench"), find(t, "psql")
	dir := tempDir(t)
	data := filepath.Join(dir, "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	// It refuses to run as root.
	var as []string
	if os.Geteuid() == 0 {
		nobody, err := user.Lookup("nobody")
		if err != nil {
			t.Fatal(err)
		}
		uid, _ := strconv.Atoi(nobody.Uid)
		gid, _ := strconv.Atoi(nobody.Gid)
		for _, path := range []string{dir, data} {
			if err := os.Chown(path, uid, gid); err != nil {
				t.Fatal(err)
			}
		}
		as = []string{find(t, "setpriv"), "--reuid=" + nobody.Uid, "--regid=" + nobody.Gid, "--clear-groups"}
	}
	command := func(args ...string) []string { return append(append([]string(nil), as...), args...) }
	init := command(initdb, "-D", data, "-A", "trust", "-U", "test", "-N", "--locale=C")
	cmd := exec.Command(init[0], init[1:]...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	hba := write(t, filepath.Join(dir, "hba"), "host all all 0.0.0.0/0 trust\nhost all all ::/0 trust\n")
	if err := os.Chmod(hba, 0o644); err != nil {
		t.Fatal(err)
	}
	p := port(t)
	args := command(postgres, "-D", data, "-p", fmt.Sprint(p), "-c", "listen_addresses="+server.v4.String(), "-c", "unix_socket_directories=", "-c", "hba_file="+hba, "-c", "fsync=off")
	cmd = server.command(nil, args[0], args[1:]...)
	cmd.Dir = dir
	s := server.serve(t, "tcp", p, cmd)
	s.says("ready to accept connections")
	at := []string{"-h", server.v4.String(), "-p", fmt.Sprint(p), "-U", "test"}
	client.want(t, pgbench, append(at, "-i", "-q", "-s", "1", "postgres")...)
	for _, more := range [][]string{nil, {"-S"}, {"-S", "-C", "-T", "2"}} {
		out := client.want(t, pgbench, append(append(at, "-n", "-c", "4", "-j", "2", "-T", "3"), append(more, "postgres")...)...)
		m := regexp.MustCompile(`tps = ([0-9.]+)`).FindStringSubmatch(out)
		if m == nil || !strings.Contains(out, "number of failed transactions: 0 ") {
			t.Fatalf("%s", out)
		}
		t.Logf("pgbench %v: %s tps", more, m[1])
	}
	out := client.want(t, psql, append(at, "-Atc", "select host(inet_client_addr()), host(inet_server_addr()), inet_server_port()", "postgres")...)
	if want := fmt.Sprintf("%v|%v|%d\n", client.v4, server.v4, p); out != want {
		t.Errorf("%q, want %q", out, want)
	}
	// A query that is cancelled, which takes a second connection.
	if r := client.run(t, "timeout", append([]string{"-s", "INT", "1", psql}, append(at, "-c", "select pg_sleep(60)", "postgres")...)...); !strings.Contains(r.Stderr, "canceling statement due to user request") {
		t.Errorf("%+v", r)
	}
	if s.cmd.Process.Signal(syscall.SIGINT) == nil {
		if r := s.finish(limit); r.Code != 0 {
			t.Errorf("%+v", r)
		}
	}
}
