package spclient_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"testing"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
	"rumptools/pkg/spclient/spclienttest"
	"rumptools/pkg/sysproxy"
)

// FuzzServer lets a client that has a call under way listen to anything. It must
// get an answer or a typed error.
func FuzzServer(f *testing.F) {
	recs, err := recordings()
	if err != nil {
		f.Fatal(err)
	}
	l := sysproxy.Layout{Order: binary.LittleEndian, WordSize: 8}
	for _, name := range []string{"prog-udp", "prog-sigpipe", "raw-unknown-type", "ifconfig-mtu"} {
		var all []byte
		for _, e := range recs[name].Events {
			if !e.FromClient && e.IsFrame() {
				all = append(all, e.Data...)
			}
		}
		f.Add(all)
	}
	const addr = 0x10000000 // the first buffer's
	f.Add(sysproxy.SyscallReply{}.Append(sysproxy.CopyOut{Addr: addr + 64, Data: []byte("data")}.Append(
		sysproxy.CopyIn{Len: victimIn, Addr: addr}.Append(nil, l, 0), l, 1), l, 2))
	f.Add(sysproxy.CopyInStr{Len: 10, Addr: addr}.Append(sysproxy.AnonMmap{Len: 1}.Append(
		sysproxy.Raise{Signo: 1}.Append(sysproxy.Refusal{Code: 7}.Append(nil, l, 2), l, 0), l, 0), l, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		client, server := net.Pipe()
		served := make(chan struct{})
		go func() {
			defer close(served)
			defer server.Close()
			io.WriteString(server, spclienttest.BannerOf(netbsd.AMD64))
			for i := range 2 {
				h, err := l.ReadHeader(server)
				if err != nil {
					return
				}
				if _, err := sysproxy.ReadPayload(server, h, nil, 1<<10); err != nil {
					return
				}
				if i == 0 {
					server.Write(sysproxy.HandshakeReply{}.Append(nil, l, h.ReqNo))
				}
			}
			go io.Copy(io.Discard, server) // what the client answers
			server.Write(b)
		}()
		c, err := spclient.Dial(context.Background(), "unix:///fuzz", &spclient.Options{
			Dial: func(context.Context, string, string) (net.Conn, error) { return client, nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		err = victim(context.Background(), c)
		var code sysproxy.ErrorCode
		var errno netbsd.Errno
		var perr *spclient.ProtocolError
		if err != nil && !errors.As(err, &code) && !errors.As(err, &errno) && !errors.As(err, &perr) && !errors.Is(err, spclient.ErrLost) {
			t.Errorf("%#v", err)
		}
		c.Close()
		<-served
	})
}
