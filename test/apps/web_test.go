package apps

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// content makes a file that is not of one byte, and returns its text.
func content(t *testing.T, path string, n int) []byte {
	t.Helper()
	var b bytes.Buffer
	for i := 0; b.Len() < n; i++ {
		sum := sha256.Sum256([]byte(strconv.Itoa(i / 64)))
		b.Write(sum[:])
	}
	b.Truncate(n)
	if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func sameFile(t *testing.T, path string, want []byte) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil {
		t.Error(err)
		return
	}
	if !bytes.Equal(got, want) {
		at := 0
		for at < min(len(got), len(want)) && got[at] == want[at] {
			at++
		}
		t.Errorf("%s: %d bytes, want %d; they differ at %d", filepath.Base(path), len(got), len(want), at)
	}
}

// pythonServer serves dir by python's http.server.
func pythonServer(t *testing.T, dir, addr string) (port_ int) {
	t.Helper()
	python := find(t, "python3")
	port_ = port(t)
	server.serve(t, "tcp", port_, server.command(nil, python, "-m", "http.server", "--bind", addr, "--directory", dir, strconv.Itoa(port_)))
	return port_
}

// TestCurlPython: a client and a server of everyday use, both families.
func TestCurlPython(t *testing.T) {
	curl := find(t, "curl")
	for _, addr := range server.addresses() {
		t.Run(addr.String(), func(t *testing.T) {
			dir := tempDir(t)
			body := content(t, filepath.Join(dir, "file"), 7_000_000)
			p := pythonServer(t, dir, addr.String())
			url := "http://" + hostPort(addr, p) + "/file"
			got := filepath.Join(dir, "got")
			client.want(t, curl, "-sSgf", "-o", got, url)
			sameFile(t, got, body)
			// The names that programs print are the peers'.
			out := client.want(t, curl, "-sSgf", "-o", os.DevNull, "-w", "%{remote_ip} %{remote_port} %{local_ip}", url)
			if want := fmt.Sprintf("%v %d ", addr, p); !strings.HasPrefix(out, want) {
				t.Errorf("curl says %q, want %q", out, want)
			}
			if r := client.run(t, curl, "-sSgf", url+"-not"); r.Code != 22 || !strings.Contains(r.Stderr, "404") {
				t.Errorf("%+v", r)
			}
		})
	}
}

// TestCurlRefused: at once, not after a time-out, by address and by name.
func TestCurlRefused(t *testing.T) {
	curl := find(t, "curl")
	for _, addr := range server.addresses() {
		begin := time.Now()
		r := client.run(t, curl, "-sSgf", "http://"+hostPort(addr, port(t)))
		if r.Code != 7 || !regexp.MustCompile(`(?i)couldn't connect|connection refused`).MatchString(r.Stderr) {
			t.Errorf("%v: %+v", addr, r)
		}
		atOnce(t, "a refusal by "+addr.String(), begin)
	}
	if native {
		return
	}
	// No route: these networks are for documentation (RFC 5737, RFC 3849).
	for _, addr := range []string{"203.0.113.1", "[2001:db8::1]"} {
		begin := time.Now()
		r := client.run(t, curl, "-sSgfv", "http://"+addr+":80/")
		if r.Code != 7 || !regexp.MustCompile(`(?i)unreachable|no route`).MatchString(r.Stderr) {
			t.Errorf("%s: %+v", addr, r)
		}
		atOnce(t, addr+" unreachable", begin)
	}
	begin := time.Now()
	if r := client.run(t, curl, "-sSf", "http://nobody.test/"); r.Code != 6 {
		t.Errorf("a name: %+v", r)
	}
	atOnce(t, "a name that nobody has", begin)
}

// TestCurlNames: names come from the files that exec is given.
func TestCurlNames(t *testing.T) {
	if native {
		t.Skip("is about exec's flags")
	}
	curl := find(t, "curl")
	dir := tempDir(t)
	body := content(t, filepath.Join(dir, "file"), 1000)
	p := pythonServer(t, dir, server.v4.String())
	hosts := write(t, filepath.Join(dir, "hosts"), fmt.Sprintf("%v www.server.test\n", server.v4))
	got := filepath.Join(dir, "got")
	succeeds(t, client.command(flags{"--hosts", hosts}, curl, "-sSf", "-o", got, fmt.Sprintf("http://www.server.test:%d/file", p)), limit)
	sameFile(t, got, body)
	begin := time.Now()
	r := start(t, client.command(flags{"--hosts", hosts}, curl, "-sSf", fmt.Sprintf("http://www.server.test:%d/", port(t)))).finish(limit)
	if r.Code != 7 {
		t.Errorf("refused by name: %+v", r)
	}
	atOnce(t, "refused by name", begin)
}

// TestWget: another client, that keeps the connection.
func TestWget(t *testing.T) {
	all(t)
	wget := find(t, "wget")
	dir := tempDir(t)
	body := content(t, filepath.Join(dir, "file"), 1_000_000)
	p := pythonServer(t, dir, server.v4.String())
	got := filepath.Join(dir, "got")
	client.want(t, wget, "-nv", "-O", got, "http://"+hostPort(server.v4, p)+"/file")
	sameFile(t, got, body)
	begin := time.Now()
	if r := client.run(t, wget, "-t", "1", "-O", got, "http://"+hostPort(server.v4, port(t))+"/"); r.Code != 4 || !strings.Contains(r.Stderr, "Connection refused") {
		t.Errorf("%+v", r)
	}
	atOnce(t, "wget's refusal", begin)
}

// TestGo: programs without a C library. They log the peer's address.
func TestGo(t *testing.T) {
	goweb := filepath.Join(bin, "goweb")
	p := port(t)
	var addrs []string
	for _, addr := range server.addresses() {
		addrs = append(addrs, hostPort(addr, p))
	}
	s := server.serve(t, "tcp", p, server.command(nil, goweb, append([]string{"serve"}, addrs...)...))
	for i, addr := range server.addresses() {
		base := "http://" + hostPort(addr, p)
		if out := client.want(t, goweb, "get", base+"/a", base+"/b"); out != "hello /a\nhello /b\n" {
			t.Errorf("%v: %q", addr, out)
		}
		// Both requests came over one connection, from the client's address.
		m := s.says(regexp.QuoteMeta(client.addresses()[i].String()) + `\]?:(\d+) GET /a\n.*:(\d+) GET /b\n`)
		if m[1] != m[2] {
			t.Errorf("%v: ports %s and %s", addr, m[1], m[2])
		}
		for _, n := range []string{"1000", "1000000"} {
			t.Logf("%v: %s", addr, client.want(t, goweb, "load", "2", "8", base+"/bytes/"+n))
		}
	}
}

// TestGoAny: a Go program that listens on all addresses asks for both families at once,
// and for MPTCP first.
func TestGoAny(t *testing.T) {
	goweb := filepath.Join(bin, "goweb")
	p := port(t)
	server.serve(t, "tcp", p, server.command(nil, goweb, "serve", fmt.Sprintf(":%d", p)))
	for _, addr := range server.addresses() {
		if out := client.want(t, goweb, "get", "http://"+hostPort(addr, p)+"/x"); out != "hello /x\n" {
			t.Errorf("%v: %q", addr, out)
		}
	}
	// Itself, by the address that means any.
	if out := server.want(t, goweb, "get", "http://"+hostPort(server.v4, p)+"/self"); out != "hello /self\n" {
		t.Errorf("itself: %q", out)
	}
}

const nginxConfig = `daemon off;
worker_processes 2;
error_log stderr notice;
pid DIR/pid;
events { worker_connections 512; }
http {
	access_log off;
	client_body_temp_path DIR/1;
	proxy_temp_path DIR/2;
	fastcgi_temp_path DIR/3;
	uwsgi_temp_path DIR/4;
	scgi_temp_path DIR/5;
	sendfile on;
	tcp_nopush on;
	keepalive_requests 100000;
	server {
		listen ADDR4;
		listen ADDR6;
		root DIR/www;
		location /generation { return 200 "GENERATION\n"; }
	}
}
`

// nginxServer runs nginx, and returns a function that has it read its configuration
// again, as another generation.
func nginxServer(t *testing.T, dir string, p int) (s *process, reload func(generation int)) {
	t.Helper()
	nginx := find(t, "nginx")
	// Workers of a server that root starts are other users.
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	conf := filepath.Join(dir, "conf")
	configure := func(generation int) {
		text := strings.NewReplacer("DIR", dir, "ADDR4", hostPort(server.v4, p), "ADDR6", hostPort(server.v6, p), "GENERATION", strconv.Itoa(generation)).Replace(nginxConfig)
		if !server.v6.IsValid() {
			text = regexp.MustCompile(`\n.*invalid.*;`).ReplaceAllString(text, "")
		}
		write(t, conf, text)
	}
	configure(0)
	s = server.serve(t, "tcp", p, server.command(nil, nginx, "-p", dir, "-e", "stderr", "-c", conf))
	return s, func(generation int) {
		configure(generation)
		pid, err := os.ReadFile(filepath.Join(dir, "pid"))
		if err != nil {
			t.Fatal(err)
		}
		n, _ := strconv.Atoi(strings.TrimSpace(string(pid)))
		if err := syscall.Kill(n, syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
}

// TestNginx: bodies, keep-alive, and 200 requests at once.
func TestNginx(t *testing.T) {
	all(t)
	curl := find(t, "curl")
	dir := tempDir(t)
	if err := os.Mkdir(filepath.Join(dir, "www"), 0o755); err != nil {
		t.Fatal(err)
	}
	body := content(t, filepath.Join(dir, "www", "file"), 3_000_000)
	p := port(t)
	nginxServer(t, dir, p)
	for _, addr := range server.addresses() {
		url := "http://" + hostPort(addr, p) + "/file"
		got := []string{filepath.Join(dir, "got1"), filepath.Join(dir, "got2")}
		r := client.run(t, curl, "-sSgfv", "-o", got[0], url, "-o", got[1], url)
		if r.Code != 0 {
			t.Fatalf("%+v", r)
		}
		if !regexp.MustCompile(`(?i)re-using existing connection`).MatchString(r.Stderr) {
			t.Errorf("the connection was not kept:\n%s", r.Stderr)
		}
		for _, path := range got {
			sameFile(t, path, body)
		}
	}
	var urls strings.Builder
	for i := range 200 {
		fmt.Fprintf(&urls, "url = http://%s/file\noutput = %s\n", hostPort(server.v4, p), filepath.Join(dir, fmt.Sprintf("p%d", i)))
	}
	config := write(t, filepath.Join(dir, "curlrc"), urls.String())
	succeeds(t, client.command(nil, curl, "-sSf", "-Z", "--parallel-immediate", "--parallel-max", "200", "-K", config), 5*limit)
	for i := range 200 {
		path := filepath.Join(dir, fmt.Sprintf("p%d", i))
		sameFile(t, path, body)
		os.Remove(path)
	}
}

// TestNginxReload: workers come and go with their listeners, and no request fails.
func TestNginxReload(t *testing.T) {
	all(t)
	curl := find(t, "curl")
	dir := tempDir(t)
	if err := os.Mkdir(filepath.Join(dir, "www"), 0o755); err != nil {
		t.Fatal(err)
	}
	content(t, filepath.Join(dir, "www", "file"), 10_000)
	p := port(t)
	_, reload := nginxServer(t, dir, p)
	url := "http://" + hostPort(server.v4, p)
	load := start(t, client.command(nil, filepath.Join(bin, "goweb"), "load", "8", "8", url+"/file"))
	for generation := 1; generation <= 4; generation++ {
		time.Sleep(1500 * time.Millisecond)
		reload(generation)
		for deadline := time.Now().Add(limit); ; time.Sleep(100 * time.Millisecond) {
			out := client.want(t, curl, "-sSgf", url+"/generation")
			if out == fmt.Sprintf("%d\n", generation) {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("generation %d never serves: %q", generation, out)
			}
		}
	}
	r := load.finish(limit)
	t.Log(r.Stdout)
	if r.Code != 0 {
		t.Errorf("%+v", r)
	}
}

const nodeServer = `
const http = require('http');
http.createServer((q, r) => { let n = 0; q.on('data', d => n += d.length); q.on('end', () => r.end(q.method + ' ' + q.url + ' ' + n + ' ' + q.socket.remoteAddress)); })
	.listen(+process.argv[2], process.argv[3], () => console.log('listening'));
process.on('SIGTERM', () => process.exit(0));
`

const nodeClient = `
const http = require('http');
const agent = new http.Agent({keepAlive: true, maxSockets: 4});
let left = 50;
for (let i = 0; i < 50; i++) {
	const q = http.request({port: +process.argv[2], host: process.argv[3], method: 'POST', path: '/' + i, agent}, r => {
		let text = '';
		r.on('data', d => text += d);
		r.on('end', () => {
			if (!text.startsWith('POST /' + i + ' 100000 ')) { console.error(text); process.exit(1); }
			if (i == 0) console.log(text);
			if (--left == 0) { agent.destroy(); console.log('all'); }
		});
	});
	q.on('error', e => { console.error(e); process.exit(2); });
	q.end(Buffer.alloc(100000));
}
`

// TestNode: libuv's way to use sockets, with many connections and its own look-ups.
func TestNode(t *testing.T) {
	all(t)
	node := find(t, "node")
	dir := tempDir(t)
	s, c := write(t, filepath.Join(dir, "s.js"), nodeServer), write(t, filepath.Join(dir, "c.js"), nodeClient)
	for i, addr := range server.addresses() {
		p := port(t)
		server.serve(t, "tcp", p, server.command(nil, node, s, strconv.Itoa(p), addr.String()))
		out := client.want(t, node, c, strconv.Itoa(p), addr.String())
		if want := fmt.Sprintf("POST /0 100000 %v\nall\n", client.addresses()[i]); out != want {
			t.Errorf("%v: %q, want %q", addr, out, want)
		}
	}
}

const javaProgram = `
import java.io.*;
import java.net.*;
public class Main {
	public static void main(String[] args) throws Exception {
		int port = Integer.parseInt(args[1]);
		if (args[0].equals("serve")) {
			ServerSocket l = new ServerSocket(port, 50, InetAddress.getByName(args[2]));
			for (;;) {
				Socket s = l.accept();
				new Thread(() -> {
					try (s) { s.getInputStream().transferTo(s.getOutputStream()); } catch (IOException e) { e.printStackTrace(); }
				}).start();
			}
		}
		for (int i = 0; i < 20; i++)
			try (Socket s = new Socket(args[2], port)) {
				byte[] b = new byte[10000];
				s.getOutputStream().write(b);
				s.shutdownOutput();
				int n = s.getInputStream().readAllBytes().length;
				if (n != b.length) throw new Exception(n + " bytes");
			}
		try { new Socket(args[2], 1).close(); } catch (ConnectException e) { System.out.println(e.getMessage()); }
		for (NetworkInterface i : java.util.Collections.list(NetworkInterface.getNetworkInterfaces()))
			for (InterfaceAddress a : i.getInterfaceAddresses()) System.out.println(a.getAddress().getHostAddress());
	}
}
`

// TestJava: which asks by ioctl(2) and /proc/net what its interfaces are.
func TestJava(t *testing.T) {
	all(t)
	java := find(t, "java")
	source := write(t, filepath.Join(tempDir(t), "Main.java"), javaProgram)
	p := port(t)
	server.serve(t, "tcp", p, server.command(nil, java, source, "serve", strconv.Itoa(p), server.v4.String()))
	out := client.want(t, java, source, "use", strconv.Itoa(p), server.v4.String())
	if !strings.HasPrefix(out, "Connection refused\n") || !strings.Contains(out, client.v4.String()+"\n") {
		t.Errorf("%s", out)
	}
}

// TestKernelRestart: a server goes on after its kernel is another, where the user wants
// that (rumphijack(3)); established connections are reset.
func TestKernelRestart(t *testing.T) {
	all(t)
	twoKernels(t)
	goweb := filepath.Join(bin, "goweb")
	p := port(t)
	cmd := server.command(nil, goweb, "serve", hostPort(server.v4, p))
	cmd.Env = append(os.Environ(), "RUMPHIJACK_RETRYCONNECT=inftime")
	server.serve(t, "tcp", p, cmd)
	url := "http://" + hostPort(server.v4, p) + "/x"
	client.want(t, goweb, "get", url)
	server.restart(t)
	waitBound(t, server, p)
	if out := client.want(t, goweb, "get", url); out != "hello /x\n" {
		t.Errorf("%q", out)
	}
}

func waitBound(t *testing.T, h *host, port int) {
	t.Helper()
	for deadline := time.Now().Add(limit); !h.bound(t, "tcp", port); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("nobody listens on port %d", port)
		}
	}
}

// restart ends h's kernel and starts it anew, under the same name.
func (h *host) restart(t *testing.T) {
	t.Helper()
	if out, err := exec.Command(filepath.Join(bin, "rumpctl"), "halt", h.name).CombinedOutput(); err != nil {
		t.Fatalf("halt: %v\n%s", err, out)
	}
	if err := h.start(); err != nil {
		t.Fatal(err)
	}
}
