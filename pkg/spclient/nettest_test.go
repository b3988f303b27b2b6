package spclient_test

import (
	"net"
	"testing"

	"golang.org/x/net/nettest"

	"rumptools/pkg/spclient"
)

// pipe connects two sockets of the kernel's, each of its own process when two are
// given.
func pipe(t testing.TB, server, client *spclient.Conn, network, address string) (a, b net.Conn, l net.Listener) {
	t.Helper()
	ctx := testContext(t)
	l, err := server.Listen(ctx, network, address)
	if err != nil {
		t.Fatal(err)
	}
	type result struct {
		c   net.Conn
		err error
	}
	accepted := make(chan result, 1)
	go func() {
		c, err := l.Accept()
		accepted <- result{c, err}
	}()
	b, err = client.DialContext(ctx, network, l.Addr().String())
	if err != nil {
		l.Close()
		t.Fatal(err)
	}
	r := <-accepted
	if r.err != nil {
		t.Fatal(r.err)
	}
	return r.c, b, l
}

// TestConnections has the sockets behave as package net's do.
func TestConnections(t *testing.T) {
	netKernels(t, func(t *testing.T, url string) {
		c := dialKernel(t, url)
		for _, tt := range []struct{ network, address string }{
			{"tcp4", "127.0.0.1:0"},
			{"tcp6", "[::1]:0"},
			{"unix", "/tmp/spclient-nettest"},
			{"unixpacket", "/tmp/spclient-nettestp"},
		} {
			t.Run(tt.network, func(t *testing.T) {
				nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
					a, b, l := pipe(t, c, c, tt.network, tt.address)
					return a, b, func() {
						a.Close()
						b.Close()
						l.Close()
					}, nil
				})
			})
		}
	})
}
