package spclient_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
	"rumptools/pkg/sysproxy"
)

// withoutExtensions is the kernel at url as one that has none of the protocol's extensions.
func withoutExtensions(t *testing.T, url string) string {
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
				words, _, _ := strings.Cut(strings.TrimSuffix(banner, "\n"), " ")
				io.WriteString(client, words+"\n")
				go io.Copy(kernel, client)
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
