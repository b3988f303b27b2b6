package spclient_test

import (
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"testing"
	"unicode"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
	"rumptools/pkg/spclient/spclienttest"
	"rumptools/pkg/sysproxy"
)

// checkLine checks that an error is one line that a terminal survives, however the
// server made it up.
func checkLine(t *testing.T, err error) {
	t.Helper()
	if s := err.Error(); len(s) > 600 || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		t.Errorf("the error is no line to be shown: %q", s)
	}
}

// TestHostileBanner dials servers that say what is no banner, or go on for ever.
func TestHostileBanner(t *testing.T) {
	const good = "RUMPSP-0.4-NetBSD-7.99.34/amd64"
	once := func(s string) func(net.Conn) {
		return func(nc net.Conn) {
			io.WriteString(nc, s)
			io.Copy(io.Discard, nc)
		}
	}
	endless := func(s string) func(net.Conn) {
		return func(nc net.Conn) {
			for b := []byte(strings.Repeat(s, 4096)); ; {
				if _, err := nc.Write(b); err != nil {
					return
				}
			}
		}
	}
	for _, tt := range []struct {
		name  string
		serve func(net.Conn)
		want  error
	}{
		{"letters without end", endless("A"), sysproxy.ErrBanner},
		{"prefixes without end", endless("RUMPSP-0.4-"), sysproxy.ErrBanner},
		{"NULs without end", endless("\x00"), sysproxy.ErrBanner},
		{"newlines without end", endless("\n"), sysproxy.ErrBanner},
		{"banners without end", endless(good + "\n"), errProtocol},
		{"noise without end", func(nc net.Conn) {
			// No newline comes early enough to end a line.
			for b := slices.Repeat([]byte{0xff}, sysproxy.MaxBanner); ; {
				if _, err := nc.Write(b); err != nil {
					return
				}
				for i := range b {
					b[i] = byte(rand.Uint32())
				}
			}
		}, sysproxy.ErrBanner},
		{"no end and silence", once(strings.Repeat("A", sysproxy.MaxBanner)), sysproxy.ErrBanner},
		{"good but for its length", once("RUMPSP-0.4-NetBSD-" + strings.Repeat("7", sysproxy.MaxBanner) + "/amd64\n"), sysproxy.ErrBanner},
		{"a byte too long", once(good + strings.Repeat(" ", sysproxy.MaxBanner-len(good)) + "\n"), sysproxy.ErrBanner},
		{"empty", once("\n"), sysproxy.ErrBanner},
		{"carriage return", once(good + "\r\n"), sysproxy.ErrBanner},
		{"binary", once("RUMPSP-0.4-\x00\x01\xfe\xff/amd64\n"), sysproxy.ErrBanner},
		{"escape sequence", once("RUMPSP-0.4-NetBSD-\x1b[2J/amd64\n"), sysproxy.ErrBanner},
		{"other alphabets", once("RUMPSP-0.4-NetBSD-7/αμδ\n"), sysproxy.ErrBanner},
		{"huge version", once("RUMPSP-18446744073709551616.4-NetBSD-7/amd64\n"), sysproxy.ErrBanner},
		{"negative version", once("RUMPSP--1.4-NetBSD-7/amd64\n"), sysproxy.ErrBanner},
		{"later version", once("RUMPSP-1.0-NetBSD-7/amd64\n"), sysproxy.ErrVersion},
		{"no machine", once("RUMPSP-0.4-NetBSD-7/\n"), sysproxy.ErrBanner},
		{"unknown machine", once("RUMPSP-0.4-NetBSD-7/" + strings.Repeat("x", 60) + "\n"), errAny},
		{"banner twice", once(good + "\n" + good + "\n"), errProtocol},
		{"text after the banner", once(good + "\nHTTP/1.1 400 Bad Request\r\n\r\n"), errProtocol},
		{"NULs after the banner", once(good + "\n" + strings.Repeat("\x00", 100)), errProtocol},
	} {
		t.Run(tt.name, func(t *testing.T) {
			checkLeaks(t)
			checkMemory(t, attackMemory)
			srv := spclienttest.NewRawServer(t, "unix", tt.serve)
			c, err := spclient.Dial(testContext(t), srv.URL(), nil)
			if err == nil {
				c.Close()
				t.Fatal("connected")
			}
			var derr *spclient.DialError
			if !errors.As(err, &derr) {
				t.Errorf("%#v is no DialError", err)
			}
			checkError(t, err, tt.want)
			checkLine(t, err)
		})
	}
}

// TestCutDial ends the connection at every byte of what a server says until the
// client is a process.
func TestCutDial(t *testing.T) {
	for _, m := range []*netbsd.Machine{netbsd.AMD64, netbsd.POWERPC} {
		t.Run(m.Name, func(t *testing.T) {
			checkLeaks(t)
			l := sysproxy.Layout{Order: m.Order, WordSize: m.WordSize}
			banner := spclienttest.BannerOf(m)
			all := append([]byte(banner), sysproxy.HandshakeReply{}.Append(nil, l, 1)...)
			for n := range len(all) + 1 {
				srv := spclienttest.NewRawServer(t, "unix", func(nc net.Conn) {
					nc.Write(all[:min(n, len(banner))])
					if n < len(banner) {
						return
					}
					// With something unread the connection would be reset.
					h, err := l.ReadHeader(nc)
					if err != nil {
						t.Error(err)
						return
					}
					if _, err := sysproxy.ReadPayload(nc, h, nil, 1000); err != nil {
						t.Error(err)
						return
					}
					nc.Write(all[len(banner):n])
				})
				c, err := spclient.Dial(testContext(t), srv.URL(), nil)
				if err == nil {
					c.Close()
				}
				srv.Close()
				var derr *spclient.DialError
				if n == len(all) {
					if err != nil {
						t.Errorf("nothing cut: %v", err)
					}
					continue
				}
				if !errors.As(err, &derr) {
					t.Errorf("cut after %d bytes: %#v", n, err)
					continue
				}
				switch {
				case n == 0:
					checkError(t, err, spclient.ErrFull)
				case n < len(banner):
					checkError(t, err, io.ErrUnexpectedEOF)
				default:
					checkError(t, err, spclient.ErrLost)
				}
			}
		})
	}
}

// TestHostileHandshake has servers answer a handshake with what is no answer.
func TestHostileHandshake(t *testing.T) {
	type frame = sysproxy.Header
	header := func(h frame) func(*spclienttest.Peer, uint64) {
		return func(p *spclienttest.Peer, reqno uint64) {
			if h.Class != sysproxy.Req && h.ReqNo == 0 {
				h.ReqNo = reqno
			}
			p.Write(p.Layout.AppendHeader(nil, h))
		}
	}
	send := func(m sysproxy.Message) func(*spclienttest.Peer, uint64) {
		return func(p *spclienttest.Peer, reqno uint64) { p.Send(m, reqno) }
	}
	type answer struct {
		name string
		do   func(p *spclienttest.Peer, reqno uint64)
		want error
	}
	answers := []answer{
		{"system call's answer", send(sysproxy.SyscallReply{}), errProtocol},
		{"prefork's answer", send(sysproxy.PreforkReply{}), errProtocol},
		{"answer to a request of its own", send(sysproxy.CopyInReply{Data: make([]byte, 4)}), errProtocol},
		{"unknown request", func(p *spclienttest.Peer, reqno uint64) { p.Send(sysproxy.HandshakeReply{}, reqno+1) }, errProtocol},
		{"request 0", func(p *spclienttest.Peer, _ uint64) { p.Send(sysproxy.HandshakeReply{}, 0) }, errProtocol},
		{"refusal of an unknown request", func(p *spclienttest.Peer, reqno uint64) {
			p.Send(sysproxy.Refusal{Code: sysproxy.ErrAuth}, reqno+1)
		}, errProtocol},
		{"COPYIN", send(sysproxy.CopyIn{Len: 1, Addr: 0x10000000}), errProtocol},
		{"COPYOUT", send(sysproxy.CopyOut{Addr: 0x10000000, Data: make([]byte, 1000)}), errProtocol},
		{"handshake", send(sysproxy.Guest{Name: "kernel"}), errProtocol},
		{"system call", send(sysproxy.Syscall{Num: netbsd.SYS_getpid}), errProtocol},
		{"prefork", send(sysproxy.Prefork{}), errProtocol},
		{"unknown class", header(frame{Len: 24, Class: 3}), errProtocol},
		{"unknown type", header(frame{Len: 24, Type: 9}), errProtocol},
		{"answer without payload", header(frame{Len: 24, Class: sysproxy.Resp}), errProtocol},
		{"refusal", send(sysproxy.Refusal{Code: sysproxy.ErrAuth}), sysproxy.ErrAuth},
		{"refusal for no known reason", send(sysproxy.Refusal{Code: 1<<32 - 1}), sysproxy.ErrorCode(1<<32 - 1)},
		{"failure", send(sysproxy.HandshakeReply{Errno: int32(netbsd.EAGAIN)}), netbsd.EAGAIN},
		{"failure with an unknown errno", send(sysproxy.HandshakeReply{Errno: 1 << 30}), netbsd.Errno(1 << 30)},
		{"failure with a negative errno", send(sysproxy.HandshakeReply{Errno: -1}), netbsd.Errno(1<<32 - 1)},
		{"signals and anonymous memory first", func(p *spclienttest.Peer, reqno uint64) {
			p.Raise(-1)
			p.Raise(int32(netbsd.SIGIO))
			if addr := p.AnonMmap(p.Layout.MaxWord()); addr != 0 {
				p.TB.Errorf("all memory there is is at %#x", addr)
			}
			p.Send(sysproxy.HandshakeReply{}, reqno)
		}, nil},
	}
	for _, length := range lengths {
		answers = append(answers, answer{"answer of length " + length.name,
			header(frame{Len: length.n, Class: sysproxy.Resp}), errProtocol})
	}
	for _, m := range []*netbsd.Machine{netbsd.AMD64, netbsd.POWERPC} {
		for _, tt := range answers {
			t.Run(m.Name+"/"+tt.name, func(t *testing.T) {
				checkLeaks(t)
				checkMemory(t, attackMemory)
				srv := spclienttest.NewServer(t, "unix", m, func(p *spclienttest.Peer) {
					f := p.Greet()
					tt.do(p, f.Header.ReqNo)
					p.WaitGone()
				})
				c, err := spclient.Dial(testContext(t), srv.URL(), nil)
				if err == nil {
					c.Close()
				}
				if tt.want == nil {
					if err != nil {
						t.Error(err)
					}
					return
				}
				var derr *spclient.DialError
				if !errors.As(err, &derr) {
					t.Fatalf("%#v is no DialError", err)
				}
				checkError(t, err, tt.want)
				checkLine(t, err)
			})
		}
	}
}

// TestHandshakeTwice answers a handshake twice. Dial may have seen it or not; a
// call has.
func TestHandshakeTwice(t *testing.T) {
	checkLeaks(t)
	srv := spclienttest.NewServer(t, "unix", netbsd.AMD64, func(p *spclienttest.Peer) {
		f := p.Greet()
		twice := p.Encode(sysproxy.HandshakeReply{}, f.Header.ReqNo)
		p.Write(append(twice, twice...))
		p.WaitGone()
	})
	c, err := spclient.Dial(testContext(t), srv.URL(), nil)
	if err == nil {
		defer c.Close()
		_, err = c.Getpid(testContext(t))
	}
	checkError(t, err, errProtocol)
}
