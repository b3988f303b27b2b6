package spclient_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
)

// startExample runs a kernel for an example and returns its URL.
func startExample() (url string, end func()) {
	url, end, err := serveKernel(netbsd.AMD64)
	if err != nil {
		log.Fatal(err)
	}
	return url, end
}

// An echo server and its client, in a kernel's network.
func ExampleConn_Listen() {
	url, end := startExample()
	defer end()

	ctx := context.Background()
	c, err := spclient.Dial(ctx, url, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	l, err := c.Listen(ctx, "tcp", "127.0.0.1:7")
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return // closed
			}
			go func() {
				defer nc.Close()
				io.Copy(nc, nc)
			}()
		}
	}()

	nc, err := c.DialContext(ctx, "tcp", "127.0.0.1:7")
	if err != nil {
		log.Fatal(err)
	}
	defer nc.Close()
	fmt.Fprintln(nc, "hello, kernel")
	line, err := bufio.NewReader(nc).ReadString('\n')
	if err != nil {
		log.Fatal(err)
	}
	fmt.Print(line)
	// Output: hello, kernel
}

// An HTTP client over a kernel's network.
func ExampleConn_DialContext() {
	url, end := startExample()
	defer end()
	serveExample(url)

	c, err := spclient.Dial(context.Background(), url, nil)
	if err != nil {
		log.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DialContext: c.DialContext}}
	resp, err := client.Get("http://localhost/")
	if err != nil {
		log.Fatal(err)
	}
	io.Copy(os.Stdout, resp.Body)
	// Output: served in the kernel
}

// serveExample runs a web server in a kernel, with net/http.
func serveExample(url string) {
	ctx := context.Background()
	c, err := spclient.Dial(ctx, url, nil)
	if err != nil {
		log.Fatal(err)
	}
	l, err := c.Listen(ctx, "tcp", ":http")
	if err != nil {
		log.Fatal(err)
	}
	go http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, "served in the kernel")
	}))
}

// Ping a host: messages of ICMP are built with golang.org/x/net/icmp.
func ExampleConn_ListenPacket() {
	url, end := startExample()
	defer end()

	ctx := context.Background()
	c, err := spclient.Dial(ctx, url, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	p, err := c.ListenPacket(ctx, "ip4:icmp", "0.0.0.0")
	if err != nil {
		log.Fatal(err)
	}
	defer p.Close()

	m := icmp.Message{Type: ipv4.ICMPTypeEcho, Body: &icmp.Echo{ID: 17, Seq: 1, Data: []byte("ping")}}
	b, err := m.Marshal(nil)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := p.WriteTo(b, &net.IPAddr{IP: net.IPv4(127, 0, 0, 1)}); err != nil {
		log.Fatal(err)
	}
	buf := make([]byte, 1500)
	for {
		n, from, err := p.ReadFrom(buf)
		if err != nil {
			log.Fatal(err)
		}
		m, err := icmp.ParseMessage(netbsd.IPPROTO_ICMP, buf[:n])
		if err != nil {
			log.Fatal(err)
		}
		if echo, ok := m.Body.(*icmp.Echo); ok && m.Type == ipv4.ICMPTypeEchoReply && echo.ID == 17 {
			fmt.Printf("%s from %v: seq=%d %s\n", m.Type, from, echo.Seq, echo.Data)
			break
		}
	}
	// Output: echo reply from 127.0.0.1: seq=1 ping
}

// List a kernel's interfaces.
func ExampleConn_Interfaces() {
	url, end := startExample()
	defer end()

	ctx := context.Background()
	c, err := spclient.Dial(ctx, url, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	list, err := c.Interfaces(ctx)
	if err != nil {
		log.Fatal(err)
	}
	for _, i := range list {
		fmt.Println(i.Name, i.Flags, i.MTU, i.Addrs)
	}
	// Output: lo0 up|loopback|multicast|running 33624 [::1/128 fe80::1/64 127.0.0.1/8]
}

// Look names up with name servers in the kernel's network, and connect by name.
func ExampleResolver() {
	url, end := startExample()
	defer end()
	serveExample(url)

	ctx := context.Background()
	c, err := spclient.Dial(ctx, url, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	hosts, err := spclient.ParseHosts(strings.NewReader("127.0.0.1 www.example.org\n"))
	if err != nil {
		log.Fatal(err)
	}
	conf, err := spclient.ParseResolvConf(strings.NewReader("nameserver 10.0.0.1\nsearch example.org\n"))
	if err != nil {
		log.Fatal(err)
	}
	d := &spclient.Dialer{Conn: c, Resolver: &spclient.Resolver{Conn: c, Hosts: hosts, Config: conf}}
	nc, err := d.DialContext(ctx, "tcp", "www.example.org:http")
	if err != nil {
		log.Fatal(err)
	}
	defer nc.Close()
	fmt.Println(nc.RemoteAddr())
	// Output: 127.0.0.1:80
}
