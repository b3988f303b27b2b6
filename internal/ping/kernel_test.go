package ping

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
	"rumptools/pkg/spclient/spclienttest"
)

// echoKernel is a kernel that has raw sockets and answers every request itself.
type echoKernel struct {
	m         *netbsd.Machine
	noTimeout bool // SO_RCVTIMEO is not known
	noRoute   bool

	mu      sync.Mutex
	options map[string]string // level/name of the first socket, value
	sent    [][]byte          // as given to the kernel
	control []byte            // of the latest sendmsg
	polls   int
	queue   chan []byte
}

func dialEcho(t *testing.T, k *echoKernel) *spclient.Conn {
	t.Helper()
	k.options = map[string]string{}
	k.queue = make(chan []byte, 100)
	srv := spclienttest.NewServer(t, "unix", k.m, func(p *spclienttest.Peer) { p.Serve(k.calls()) })
	c, err := spclient.Dial(t.Context(), srv.URL(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func (k *echoKernel) calls() map[uint32]func(*spclienttest.Call) {
	next := uint64(2)
	return map[uint32]func(*spclienttest.Call){
		netbsd.SYS___socket30: func(c *spclienttest.Call) {
			k.mu.Lock()
			defer k.mu.Unlock()
			next++
			c.Reply(next, 0)
		},
		netbsd.SYS_close: func(c *spclienttest.Call) { c.Reply(0, 0) },
		netbsd.SYS_fcntl: func(c *spclienttest.Call) { c.Reply(0, 0) },
		netbsd.SYS_bind:  func(c *spclienttest.Call) { c.Reply(0, 0) },
		netbsd.SYS_connect: func(c *spclienttest.Call) {
			if k.noRoute {
				c.Fail(netbsd.EHOSTUNREACH)
				return
			}
			c.Reply(0, 0)
		},
		netbsd.SYS_getsockname: func(c *spclienttest.Call) {
			c.Args.Int()
			buf, length := c.Args.Ptr(), c.Args.Ptr()
			sa := netbsd.SockaddrIn6(k.m, netip.MustParseAddrPort("[fe80::1]:1"), 2, 0)
			c.CopyOut(uint64(buf), sa)
			c.CopyOut(uint64(length), k.m.Order.AppendUint32(nil, uint32(len(sa))))
			c.Reply(0, 0)
		},
		netbsd.SYS_setsockopt: func(c *spclienttest.Call) {
			fd, level, name := c.Args.Int(), c.Args.Int(), c.Args.Int()
			ptr, n := c.Args.Ptr(), c.Args.Uint()
			val := c.CopyIn(uint64(ptr), int(n))
			if name == netbsd.SO_RCVTIMEO && level == netbsd.SOL_SOCKET {
				if k.noTimeout {
					c.Fail(netbsd.ENOPROTOOPT)
					return
				}
			} else if fd == 3 {
				k.mu.Lock()
				k.options[fmt.Sprintf("%#x/%d", level, name)] = hex.EncodeToString(val)
				k.mu.Unlock()
			}
			c.Reply(0, 0)
		},
		netbsd.SYS_sendto: func(c *spclienttest.Call) {
			c.Args.Int()
			ptr, n := c.Args.Ptr(), c.Args.Word()
			b := c.CopyIn(uint64(ptr), int(n))
			k.mu.Lock()
			k.sent = append(k.sent, bytes.Clone(b))
			k.mu.Unlock()
			// As NetBSD has it: no header in ip_len, the kernel's order.
			b[8], b[20] = 64, netbsd.ICMP_ECHOREPLY
			copy(b[12:16], b[16:20])
			k.m.Order.PutUint16(b[2:], uint16(len(b)-20))
			c.Reply(n, 0)
			k.queue <- b
		},
		netbsd.SYS_recvfrom: func(c *spclienttest.Call) {
			c.Args.Int()
			ptr, _, flags := c.Args.Ptr(), c.Args.Word(), c.Args.Int()
			from, length := c.Args.Ptr(), c.Args.Ptr()
			b, ok := k.next(c.Peer, flags)
			if !ok {
				c.Fail(netbsd.EAGAIN)
				return
			}
			c.CopyOut(uint64(ptr), b)
			c.CopyOut(uint64(from), netbsd.SockaddrIn(netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[12:16])), 0)))
			c.CopyOut(uint64(length), k.m.Order.AppendUint32(nil, netbsd.SizeofSockaddrIn))
			c.Reply(uint64(len(b)), 0)
		},
		netbsd.SYS_poll: func(c *spclienttest.Call) {
			ptr := c.Args.Ptr()
			k.mu.Lock()
			k.polls++
			k.mu.Unlock()
			for range 100 {
				if len(k.queue) > 0 {
					fd := c.CopyIn(uint64(ptr), 8)
					k.m.Order.PutUint16(fd[6:], netbsd.POLLIN)
					c.CopyOut(uint64(ptr), fd)
					c.Reply(1, 0)
					return
				}
				time.Sleep(time.Millisecond)
			}
			c.Reply(0, 0)
		},
		netbsd.SYS_sendmsg: func(c *spclienttest.Call) {
			c.Args.Int()
			h := k.msghdr(c)
			iov := k.iovec(c, h)
			b := c.CopyIn(uint64(iov.Base), int(iov.Len))
			var control []byte
			if h.Control != 0 {
				control = c.CopyIn(uint64(h.Control), int(h.Controllen))
			}
			k.mu.Lock()
			k.sent = append(k.sent, bytes.Clone(b))
			k.control = control
			k.mu.Unlock()
			b[0] = netbsd.ICMP6_ECHO_REPLY
			c.Reply(uint64(len(b)), 0)
			k.queue <- b
		},
		netbsd.SYS_recvmsg: func(c *spclienttest.Call) {
			c.Args.Int()
			hdr := c.Args.Ptr()
			flags := c.Args.Int()
			buf := c.CopyIn(uint64(hdr), netbsd.Sizeof(k.m, netbsd.Msghdr{}))
			var h netbsd.Msghdr
			if err := netbsd.Unmarshal(k.m, buf, &h); err != nil {
				c.TB.Error(err)
			}
			iov := k.iovec(c, h)
			b, ok := k.next(c.Peer, flags)
			if !ok {
				c.Fail(netbsd.EAGAIN)
				return
			}
			c.CopyOut(uint64(iov.Base), b)
			sa := netbsd.SockaddrIn6(k.m, netip.MustParseAddrPort("[fe80::2]:0"), 2, 0)
			c.CopyOut(uint64(h.Name), sa)
			control := netbsd.AppendCmsg(k.m, nil, netbsd.IPPROTO_IPV6, netbsd.IPV6_HOPLIMIT, k.m.Order.AppendUint32(nil, 61))
			dst := netip.MustParseAddr("fd00::1").As16()
			control = netbsd.AppendCmsg(k.m, control, netbsd.IPPROTO_IPV6, netbsd.IPV6_PKTINFO,
				netbsd.Marshal(k.m, &netbsd.In6Pktinfo{Addr: dst, Ifindex: 2}))
			control = netbsd.AppendCmsg(k.m, control, netbsd.IPPROTO_IPV6, netbsd.IPV6_HOPOPTS, []byte{58, 0, 5, 2, 0, 0, 1, 0})
			c.CopyOut(uint64(h.Control), control)
			h.Namelen, h.Controllen = uint32(len(sa)), uint32(len(control))
			c.CopyOut(uint64(hdr), netbsd.Marshal(k.m, &h))
			c.Reply(uint64(len(b)), 0)
		},
		netbsd.SYS___sysctl: func(c *spclienttest.Call) { c.Fail(netbsd.ENOENT) },
	}
}

// next waits for a message, no longer than a second.
func (k *echoKernel) next(p *spclienttest.Peer, flags int32) ([]byte, bool) {
	timeout := time.Second
	if flags&netbsd.MSG_DONTWAIT != 0 {
		timeout = 0
	}
	select {
	case b := <-k.queue:
		return b, true
	default:
	}
	select {
	case b := <-k.queue:
		return b, true
	case <-time.After(timeout):
	case <-p.Gone():
	}
	return nil, false
}

func (k *echoKernel) msghdr(c *spclienttest.Call) (h netbsd.Msghdr) {
	b := c.CopyIn(uint64(c.Args.Ptr()), netbsd.Sizeof(k.m, h))
	if err := netbsd.Unmarshal(k.m, b, &h); err != nil {
		c.TB.Error(err)
	}
	return h
}

func (k *echoKernel) iovec(c *spclienttest.Call, h netbsd.Msghdr) (iov netbsd.Iovec) {
	b := c.CopyIn(uint64(h.Iov), netbsd.Sizeof(k.m, iov))
	if err := netbsd.Unmarshal(k.m, b, &iov); err != nil {
		c.TB.Error(err)
	}
	return iov
}

func TestSockets(t *testing.T) {
	for _, m := range []*netbsd.Machine{netbsd.AMD64, netbsd.I386, netbsd.POWERPC} {
		for _, noTimeout := range []bool{false, true} {
			t.Run(fmt.Sprint(m.Name, " without SO_RCVTIMEO: ", noTimeout), func(t *testing.T) {
				k := &echoKernel{m: m, noTimeout: noTimeout}
				c := dialEcho(t, k)
				o := &Options{Host: "10.0.0.2", Addr: target4, Size: -1, Count: 3, Interval: time.Millisecond, TTL: 9, DontFrag: true}
				sock, err := Open(t.Context(), c, o)
				if err != nil {
					t.Fatal(err)
				}
				var out bytes.Buffer
				if code := Run(t.Context(), o, sock, nil, &out, &out); code != 0 {
					t.Errorf("exit status %d", code)
				}
				if strings.Count(out.String(), "64 bytes from 10.0.0.2: icmp_seq=") != 3 || strings.Contains(out.String(), "wrong") {
					t.Errorf("%s", out.String())
				}
				k.mu.Lock()
				defer k.mu.Unlock()
				if (k.polls > 0) != noTimeout {
					t.Errorf("%d calls of poll", k.polls)
				}
				b := k.sent[0]
				if m.Order.Uint16(b[2:]) != 84 || m.Order.Uint16(b[6:]) != netbsd.IP_DF || b[8] != 9 {
					t.Errorf("IP header % x", b[:20])
				}
			})
		}
	}
}

func TestSockets6(t *testing.T) {
	for _, m := range []*netbsd.Machine{netbsd.AMD64, netbsd.I386, netbsd.POWERPC} {
		t.Run(m.Name, func(t *testing.T) {
			k := &echoKernel{m: m}
			c := dialEcho(t, k)
			o := &Options{Host: "fd00::2", Addr: netip.MustParseAddr("fd00::2"), Size: -1, Count: 1, Verbose: true, TTL: 7}
			sock, err := Open(t.Context(), c, o)
			if err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			code := Run(t.Context(), o, sock, nil, &out, &out)
			// The kernel does not list its interfaces: their numbers do.
			got, _, _ := strings.Cut(out.String(), " time=")
			_, tail, _ := strings.Cut(out.String(), " ms\n")
			want := "PING6(56=40+8+8 bytes) fe80::1%2 --> fd00::2\n16 bytes from fe80::2%2, icmp_seq=0 hlim=61 dst=fd00::1%2"
			wantTail := "  HbH Options: nxt 58, len 0 (8 bytes)\n    Router Alert Opt: Type 0\n"
			if got != want || code != 0 || !strings.HasPrefix(tail, wantTail) {
				t.Errorf("exit status %d:\n%s", code, out.String())
			}
			k.mu.Lock()
			defer k.mu.Unlock()
			cmsgs, err := netbsd.ParseCmsgs(m, k.control)
			if err != nil || len(cmsgs) != 1 || cmsgs[0].Type != netbsd.IPV6_HOPLIMIT || m.Order.Uint32(cmsgs[0].Data) != 7 {
				t.Errorf("control messages % x: %v, %v", k.control, cmsgs, err)
			}
		})
	}
}

func TestOpen6NoRoute(t *testing.T) {
	rec := loadRecording(t, "testdata/recordings/ping6-noroute.rsp.gz")
	k := &echoKernel{m: netbsd.AMD64, noRoute: true}
	c := dialEcho(t, k)
	o := &Options{Addr: netip.MustParseAddr("2001:db8::1"), Size: -1}
	_, err := Open(t.Context(), c, o)
	if err == nil || "ping6: "+err.Error()+"\n" != rec.stderr {
		t.Errorf("%v, want %s", err, rec.stderr)
	}
	o.Interface = "shmif0"
	if _, err := Open(t.Context(), c, o); err == nil || err.Error() != "interface list: No such file or directory" {
		t.Errorf("%v", err)
	}
}

// The socket options are those that NetBSD's programs set.
func TestSocketOptions(t *testing.T) {
	files, _ := filepath.Glob("testdata/recordings/*.gz")
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".rsp.gz")
		rec := loadRecording(t, file)
		if len(rec.sends) == 0 {
			continue
		}
		o := recordedOptions(t, rec)
		if o.Interface != "" || o.Addr.Zone() != "" {
			continue // this kernel has no interfaces
		}
		k := &echoKernel{m: netbsd.AMD64}
		c := dialEcho(t, k)
		if _, err := Open(t.Context(), c, o); err != nil {
			t.Fatal(err)
		}
		k.mu.Lock()
		delete(rec.options, fmt.Sprintf("0x0/%d", netbsd.IP_IPSEC_POLICY))
		if o.ip6() {
			delete(k.options, fmt.Sprintf("0xffff/%d", netbsd.SO_SNDBUF)) // ping6 leaves it alone
		}
		if len(rec.options) < 3 {
			t.Errorf("%s: options %v", name, rec.options)
		}
		if diff := cmp.Diff(rec.options, k.options); diff != "" {
			t.Errorf("%s, recorded -, ours +:\n%s", name, diff)
		}
		k.mu.Unlock()
	}
}

func TestInterfaces(t *testing.T) {
	names := map[int]string{1: "lo0", 2: "shmif0"}
	asked := 0
	l := &interfaces{machine: netbsd.AMD64, list: func(context.Context) (map[int]string, error) {
		asked++
		return names, nil
	}}
	for in, want := range map[string]string{"lo0": "1 <nil>", "shmif0": "2 <nil>", "2": "2 <nil>",
		"3": "0 3: invalid interface name", "": "0 : invalid interface name", "nosuch0": "0 nosuch0: invalid interface name"} {
		index, err := l.index(t.Context(), in)
		if got := fmt.Sprint(index, " ", err); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
	asked = 0
	if l.name(t.Context(), 2) != "shmif0" || asked != 0 {
		t.Errorf("asked %d times for a name that is known", asked)
	}
	if l.name(t.Context(), 3) != "3" {
		t.Error("unknown interface")
	}
	names = map[int]string{3: "shmif1"}
	if l.name(t.Context(), 3) != "shmif1" || asked != 2 {
		t.Errorf("new interface, asked %d times", asked)
	}
}
