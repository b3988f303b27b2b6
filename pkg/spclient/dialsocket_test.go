package spclient_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
	"rumptools/pkg/sysproxy"
)

// withoutExtensions is the kernel at url as one that has none of the protocol's extensions.
func withoutExtensions(t *testing.T, url string) string {
	t.Helper()
	return between(t, url, func(banner string) string {
		words, _, _ := strings.Cut(strings.TrimSuffix(banner, "\n"), " ")
		return words + "\n"
	}, func(kernel io.Writer, client io.Reader) { io.Copy(kernel, client) })
}

// between is the kernel at url with somebody in between, who changes its banner, and carries what
// clients send.
func between(t *testing.T, url string, greet func(banner string) string, carry func(kernel io.Writer, client io.Reader)) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "plain")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	u, err := sysproxy.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			kernel, err := net.Dial(u.Network, u.Address)
			if err != nil {
				client.Close()
				continue
			}
			go func() {
				defer client.Close()
				defer kernel.Close()
				r := bufio.NewReader(kernel)
				banner, _ := r.ReadString('\n')
				io.WriteString(client, greet(banner))
				go carry(kernel, client)
				r.WriteTo(client)
			}()
		}
	}()
	return "unix://" + path
}

// A socket that is dialled is as one that is made, given options, and connected, in kernels that do
// it in one call and in others.
func TestDialSocket(t *testing.T) {
	netKernels(t, func(t *testing.T, url string) {
		for name, url := range map[string]string{"in one": url, "in many": withoutExtensions(t, url)} {
			t.Run(name, func(t *testing.T) {
				ctx, c := testContext(t), dialKernel(t, url)
				l, other, sa := connector(t, c)
				other.Close()
				order := c.Machine().Order
				number := func(level, name int32, v uint32) spclient.SocketOption {
					return spclient.SocketOption{Level: level, Name: name, Value: order.AppendUint32(nil, v)}
				}
				options := []spclient.SocketOption{
					number(netbsd.IPPROTO_TCP, netbsd.TCP_NODELAY, 1),
					number(netbsd.SOL_SOCKET, 0x7654, 1), // there is none
					number(netbsd.SOL_SOCKET, netbsd.SO_RCVBUF, 30000),
				}
				dial := func(options []spclient.SocketOption) (*spclient.NetSocket, error) {
					t.Helper()
					s, over, err := c.DialSocket(ctx, netbsd.AF_INET, netbsd.SOCK_STREAM, 0, options, sa)
					if s == nil {
						t.Fatalf("no socket: %v", err)
					}
					if !over && err == nil {
						err = s.Settled(ctx)
					}
					return s, err
				}
				// More than one call can bring.
				many := options
				for range sysproxy.MaxSegments {
					many = append(many, options[0])
				}
				for _, options := range [][]spclient.SocketOption{options, many} {
					s, err := dial(options)
					if err != nil {
						t.Fatal(err)
					}
					a, err := l.Accept()
					if err != nil {
						t.Fatal(err)
					}
					if v, err := c.GetsockoptInt(ctx, s.FD(), netbsd.SOL_SOCKET, netbsd.SO_RCVBUF); v != 30000 || err != nil {
						t.Errorf("SO_RCVBUF is %d, %v", v, err)
					}
					if v, err := c.GetsockoptInt(ctx, s.FD(), netbsd.IPPROTO_TCP, netbsd.TCP_NODELAY); v == 0 || err != nil {
						t.Errorf("TCP_NODELAY is %d, %v", v, err)
					}
					if _, err := s.Write([]byte("x")); err != nil {
						t.Error(err)
					}
					if n, err := a.Read(make([]byte, 2)); n != 1 || err != nil {
						t.Errorf("read %d, %v", n, err)
					}
					a.Close()
					s.Close()
				}
				l.Close()
				s, err := dial(nil)
				if !errors.Is(err, netbsd.ECONNREFUSED) {
					t.Errorf("to a closed port: %v", err)
				}
				s.Close()
				if s, _, err := c.DialSocket(ctx, 99, netbsd.SOCK_STREAM, 0, nil, sa); s != nil || !errors.Is(err, netbsd.EAFNOSUPPORT) {
					t.Errorf("of no family: %v, %v", s, err)
				}
			})
		}
	})
}

// A connection of a Dialer's is two calls where the kernel makes it in one, and has its options.
func TestDialerCalls(t *testing.T) {
	netKernels(t, func(t *testing.T, url string) {
		m := dialKernel(t, url).Machine()
		layout := sysproxy.Layout{Order: m.Order, WordSize: m.WordSize}
		var calls atomic.Int32
		dials := false
		counted := between(t, url, func(banner string) string {
			dials = strings.Contains(banner, sysproxy.ExtDial)
			return banner
		}, func(kernel io.Writer, client io.Reader) {
			for {
				h, err := layout.ReadHeader(client)
				if err != nil {
					return
				}
				if h.Class == sysproxy.Req && (h.Type == sysproxy.TypeSyscall || h.Type == sysproxy.TypeCarry) {
					calls.Add(1)
				}
				kernel.Write(layout.AppendHeader(nil, h))
				if _, err := io.CopyN(kernel, client, int64(h.Len)-sysproxy.HeaderLen); err != nil {
					return
				}
			}
		})
		for name, url := range map[string]string{"counted": counted, "without extensions": withoutExtensions(t, url)} {
			for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
				t.Run(name+" "+address, func(t *testing.T) {
					ctx, c := testContext(t), dialKernel(t, url)
					l, err := c.Listen(ctx, "tcp", address)
					if err != nil {
						t.Fatal(err)
					}
					defer l.Close()
					// What a connection asks for first only is not counted.
					for i := range 2 {
						before := calls.Load()
						conn, err := c.DialContext(ctx, "tcp", l.Addr().String())
						if err != nil {
							t.Fatal(err)
						}
						defer conn.Close()
						if n := calls.Load() - before; i > 0 && name == "counted" && dials && n != 2 {
							t.Errorf("%d calls", n)
						}
						fd := conn.(*spclient.TCPConn).FD()
						for _, o := range [][2]int32{{netbsd.IPPROTO_TCP, netbsd.TCP_NODELAY}, {netbsd.SOL_SOCKET, netbsd.SO_KEEPALIVE}} {
							if v, err := c.GetsockoptInt(ctx, fd, o[0], o[1]); v == 0 || err != nil {
								t.Errorf("option %#x is %d, %v", o[1], v, err)
							}
						}
						if conn.LocalAddr().String() == l.Addr().String() || conn.RemoteAddr().String() != l.Addr().String() {
							t.Errorf("from %v to %v", conn.LocalAddr(), conn.RemoteAddr())
						}
					}
					address := l.Addr().String()
					l.Close()
					if _, err := c.DialContext(ctx, "tcp", address); !errors.Is(err, netbsd.ECONNREFUSED) {
						t.Errorf("to a closed port: %v", err)
					}
				})
			}
		}
	})
}
