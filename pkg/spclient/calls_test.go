package spclient_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
	"rumptools/pkg/spclient/spclienttest"
	"rumptools/pkg/sysproxy"
)

// TestBuffers checks what a call's buffers have after it, for every direction and
// extent of what the kernel writes.
func TestBuffers(t *testing.T) {
	const n = 8
	for _, tt := range []struct {
		name       string
		writes     []string // OFFSET:BYTES
		out, inOut string
	}{
		{"nothing", nil, "abcdefgh", "abcdefgh"},
		{"all", []string{"0:12345678"}, "12345678", "12345678"},
		{"start", []string{"0:123"}, "123defgh", "123defgh"},
		{"twice", []string{"0:123", "3:45"}, "12345fgh", "12345fgh"},
		{"again", []string{"0:1234", "1:xy"}, "1xy4efgh", "1xy4efgh"},
		{"end", []string{"6:78"}, "\x00\x00\x00\x00\x00\x0078", "abcdef78"},
		{"hole", []string{"0:1", "3:4"}, "1\x00\x004efgh", "1bc4efgh"},
		{"backwards", []string{"3:4", "0:1"}, "1\x00\x004efgh", "1bc4efgh"},
		{"no bytes", []string{"8:"}, "\x00\x00\x00\x00\x00\x00\x00\x00", "abcdefgh"},
	} {
		eachMachine(t, func(t *testing.T, m *netbsd.Machine) {
			c := serve(t, m, map[uint32]func(*spclienttest.Call){
				netbsd.SYS_read: func(c *spclienttest.Call) {
					addr := c.Args.Ptr()
					for _, w := range tt.writes {
						c.CopyOut(addr+uint64(w[0]-'0'), []byte(w[2:]))
					}
					c.Reply(0, 0)
				},
				// Leaves something in memory that is used again.
				netbsd.SYS_write: func(c *spclienttest.Call) { c.CopyIn(c.Args.Ptr(), n); c.Reply(0, 0) },
			})
			for _, dir := range []string{"out", "in/out"} {
				if _, err := c.NewCall(netbsd.SYS_write).In([]byte("ZZZZZZZZ")).Do(testContext(t)); err != nil {
					t.Fatal(err)
				}
				buf, want := []byte("abcdefgh"), tt.out
				call := c.NewCall(netbsd.SYS_read)
				if dir == "out" {
					call.Out(buf)
				} else {
					call.InOut(buf)
					want = tt.inOut
				}
				if _, err := call.Do(testContext(t)); err != nil || string(buf) != want {
					t.Errorf("%s, %s: %q, %v, want %q", tt.name, dir, buf, err, want)
				}
			}
		})
	}
}

// TestArguments checks the argument block of every kind of argument.
func TestArguments(t *testing.T) {
	eachMachine(t, func(t *testing.T, m *netbsd.Machine) {
		c := serve(t, m, map[uint32]func(*spclienttest.Call){
			netbsd.SYS_pwrite: func(c *spclienttest.Call) {
				a := &c.Args
				got := fmt.Sprint(a.Int(), a.Uint(), a.Word(), a.Off(), a.Quad())
				null := a.Ptr()
				str := string(c.CopyInStr(a.Ptr(), 1024))
				if want := fmt.Sprint(-2, uint32(1<<32-2), 77, -3, int64(1)<<40); got != want || null != 0 || str != "a string\x00" {
					t.Errorf("arguments %s, %#x, %q, want %s", got, null, str, want)
				}
				if a.Err() != nil {
					t.Error(a.Err())
				}
				c.Reply(1<<32-1, 2)
			},
		})
		call := c.NewCall(netbsd.SYS_pwrite).Int(-2).Uint(1<<32 - 2).Word(77).Off(-3)
		ret, err := call.Quad(1 << 40).In(nil).String("a string").Do(testContext(t))
		if err != nil || ret.Retval != [2]uint64{1<<32 - 1, 2} {
			t.Errorf("result %x, %v", ret.Retval, err)
		}
	})
}

// TestNested checks buffers that are known to the kernel from a structure only.
func TestNested(t *testing.T) {
	eachMachine(t, func(t *testing.T, m *netbsd.Machine) {
		c := serve(t, m, map[uint32]func(*spclienttest.Call){
			netbsd.SYS_ioctl: func(c *spclienttest.Call) {
				fd, cmd, addr := c.Args.Int(), uint32(c.Args.Word()), c.Args.Ptr()
				if fd != 5 || cmd != netbsd.SIOCGIFCONF.Cmd(m) {
					t.Errorf("descriptor %d, command %s", fd, netbsd.IoctlName(m, cmd))
				}
				var ifc netbsd.Ifconf
				b := c.CopyIn(addr, netbsd.Sizeof(m, ifc))
				if err := netbsd.Unmarshal(m, b, &ifc); err != nil || ifc.Len != 300 {
					t.Errorf("%+v, %v", ifc, err)
				}
				if m.WordSize == 4 && ifc.Buf > 1<<32-1 {
					t.Errorf("address %#x", ifc.Buf)
				}
				c.CopyOut(uint64(ifc.Buf), []byte("interfaces"))
				ifc.Len = 10
				c.CopyOut(addr, netbsd.Marshal(m, &ifc))
				c.Reply(0, 0)
			},
		})
		buf := make([]byte, 300)
		ifc := netbsd.Ifconf{Len: int32(len(buf))}
		err := c.IoctlPtr(testContext(t), c.FD(5), netbsd.SIOCGIFCONF, &ifc, buf, func(p netbsd.Ptr) { ifc.Buf = p })
		if err != nil || ifc.Len != 10 || string(buf[:ifc.Len]) != "interfaces" {
			t.Errorf("%v: %+v, %q", err, ifc, buf)
		}
	})
}

func TestIoctlDirections(t *testing.T) {
	m := netbsd.POWERPC
	c := serve(t, m, map[uint32]func(*spclienttest.Call){
		netbsd.SYS_ioctl: func(c *spclienttest.Call) {
			c.Args.Int()
			cmd, addr := uint32(c.Args.Word()), c.Args.Ptr()
			if cmd == netbsd.FIOCLEX.Cmd(m) && addr == 0 {
				c.Reply(0, 0)
				return
			}
			if netbsd.IoctlIn(cmd) {
				if b := c.CopyIn(addr, 4); m.Order.Uint32(b) != 7 {
					t.Errorf("%x", b)
				}
			}
			if netbsd.IoctlOut(cmd) {
				c.CopyOut(addr, []byte{0, 0, 0, 9})
			}
			c.Reply(0, 0)
		},
	})
	ctx := testContext(t)
	v := int32(7)
	if err := c.IoctlStruct(ctx, c.FD(3), netbsd.FIONBIO, &v); err != nil || v != 7 {
		t.Errorf("FIONBIO: %v, %d", err, v)
	}
	if err := c.IoctlStruct(ctx, c.FD(3), netbsd.FIONREAD, &v); err != nil || v != 9 {
		t.Errorf("FIONREAD: %v, %d", err, v)
	}
	if err := c.IoctlStruct(ctx, c.FD(3), netbsd.FIOCLEX, nil); err != nil {
		t.Errorf("FIOCLEX: %v", err)
	}
	if err := c.Ioctl(ctx, c.FD(3), netbsd.FIONBIO.Cmd(m), []byte{1, 2}); err == nil ||
		err.Error() != "FIONBIO: argument of 2 bytes, want 4" {
		t.Errorf("short argument: %v", err)
	}
}

// TestMistakes makes calls that can't be made. They must not reach the kernel.
func TestMistakes(t *testing.T) {
	c := serve(t, netbsd.POWERPC, nil)
	other := serve(t, netbsd.POWERPC, nil)
	ctx := testContext(t)
	do := func(call *spclient.Call) error {
		_, err := call.Do(ctx)
		return err
	}
	for name, tt := range map[string]struct{ err, want error }{
		"descriptor of another connection": {do(c.NewCall(1).FD(other.FD(3))), spclient.ErrStale},
		"no descriptor":                    {do(c.NewCall(1).FD(spclient.FD{})), spclient.ErrStale},
		"typed call":                       {c.CloseFD(ctx, other.FD(3)), spclient.ErrStale},
		"wait":                             {c.WaitReadable(ctx, other.FD(3)), spclient.ErrStale},
		"word too large":                   {do(c.NewCall(1).Word(1 << 32)), errAny},
		"too many arguments":               {do(c.NewCall(1).Off(1).Off(1).Off(1).Off(1)), errAny},
		"buffer too large":                 {do(c.NewCall(1).Out(make([]byte, 1<<27+1))), errAny},
	} {
		if tt.err == nil || tt.want != errAny && !errors.Is(tt.err, tt.want) || errors.Is(tt.err, netbsd.ENOSYS) {
			t.Errorf("%s: %v, want %v", name, tt.err, tt.want)
		}
	}
	if (spclient.FD{}).Valid() || (spclient.FD{}).Int() != -1 || !c.FD(0).Valid() || c.FD(7) == c.FD(8) || c.FD(7) == other.FD(7) {
		t.Error("descriptors don't compare")
	}
	if c.FD(7).String() != "7" {
		t.Errorf("descriptor 7 is %v", c.FD(7))
	}
}

func TestRefused(t *testing.T) {
	c := serve(t, netbsd.AMD64, map[uint32]func(*spclienttest.Call){
		netbsd.SYS_getpid: func(c *spclienttest.Call) {
			c.Send(sysproxy.Refusal{Code: sysproxy.ErrTryAgain}, c.ReqNo)
		},
	})
	_, err := c.Getpid(testContext(t))
	if !errors.Is(err, sysproxy.ErrTryAgain) || err.Error() != "getpid: try again" {
		t.Errorf("error %v", err)
	}
	if c.Err() != nil {
		t.Errorf("connection: %v", c.Err())
	}
}

func TestRaise(t *testing.T) {
	raised := make(chan int32, 10)
	srv := spclienttest.NewServer(t, "unix", netbsd.SPARC64, func(p *spclienttest.Peer) {
		p.Handshake()
		call := p.NextCall()
		p.Send(sysproxy.Raise{Signo: 13}, 1<<63)
		call.Fail(netbsd.EPIPE)
		p.WaitGone()
	})
	c := dial(t, srv, &spclient.Options{OnRaise: func(signo int32) { raised <- signo }})
	if _, err := c.Write(testContext(t), c.FD(3), []byte("x")); !errors.Is(err, netbsd.EPIPE) {
		t.Errorf("Write: %v", err)
	}
	// The signal comes before the answer.
	select {
	case signo := <-raised:
		if signo != 13 {
			t.Errorf("signal %d", signo)
		}
	default:
		t.Error("no signal")
	}
}

// pollServer answers polls: as many as ready says as if their time were over, then
// that there is something. It notes the timeouts.
type pollServer struct {
	journal[int32]
	ready, revents atomic.Int32
}

func (s *pollServer) poll(c *spclienttest.Call) {
	addr, n, timeout := c.Args.Ptr(), c.Args.Uint(), c.Args.Int()
	s.add(timeout)
	b := c.CopyIn(addr, int(n)*8)
	if s.ready.Add(-1) >= 0 {
		c.CopyOut(addr, b)
		c.Reply(0, 0)
		return
	}
	c.Machine.Order.PutUint16(b[6:], uint16(s.revents.Load()))
	c.CopyOut(addr, b)
	c.Reply(1, 0)
}

// expect sets what the next polls find.
func (s *pollServer) expect(ready, revents int32) {
	s.ready.Store(ready)
	s.revents.Store(revents)
}

// TestWait checks that a wait that can be cancelled blocks in the kernel for a
// second at most, and one that can't for as long as it takes.
func TestWait(t *testing.T) {
	var s pollServer
	c := serve(t, netbsd.I386, map[uint32]func(*spclienttest.Call){netbsd.SYS_poll: s.poll})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	s.expect(6, netbsd.POLLIN)
	if err := c.WaitReadable(ctx, c.FD(3)); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]int32{100, 200, 400, 800, 1000, 1000, 1000}, s.take()); diff != "" {
		t.Errorf("timeouts (-want +got):\n%s", diff)
	}
	s.expect(0, netbsd.POLLIN)
	if err := c.WaitReadable(context.Background(), c.FD(3)); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]int32{-1}, s.take()); diff != "" {
		t.Errorf("timeouts (-want +got):\n%s", diff)
	}
	// One that has a deadline ends in the kernel by itself.
	ctx, cancel = context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	err := c.WaitWritable(ctx, c.FD(3))
	if got := s.take(); err != nil || len(got) != 1 || got[0] > 50 {
		t.Errorf("%v, timeouts %v", err, got)
	}
	s.expect(0, netbsd.POLLNVAL)
	if err := c.WaitReadable(context.Background(), c.FD(3)); !errors.Is(err, netbsd.EBADF) {
		t.Errorf("no such descriptor: %v", err)
	}
	s.take()
	// Poll's own timeout.
	s.expect(1000, 0)
	fds := []spclient.PollFD{{FD: c.FD(3), Events: netbsd.POLLIN}}
	n, err := c.Poll(context.Background(), fds, 1500*time.Microsecond)
	if got := s.take(); n != 0 || err != nil || !slices.Equal(got, []int32{2}) {
		t.Errorf("Poll = %d, %v, timeouts %v", n, err, got)
	}
	n, err = c.Poll(testContext(t), fds, 0)
	if got := s.take(); n != 0 || err != nil || !slices.Equal(got, []int32{0}) {
		t.Errorf("Poll = %d, %v, timeouts %v", n, err, got)
	}
}

func TestRecvfromWait(t *testing.T) {
	var s pollServer
	s.expect(1, netbsd.POLLIN)
	var tries atomic.Int32
	c := serve(t, netbsd.AMD64, map[uint32]func(*spclienttest.Call){
		netbsd.SYS_poll: s.poll,
		netbsd.SYS_recvfrom: func(c *spclienttest.Call) {
			c.Args.Int()
			addr, _, flags := c.Args.Ptr(), c.Args.Word(), c.Args.Int()
			if flags != netbsd.MSG_DONTWAIT|netbsd.MSG_PEEK {
				t.Errorf("flags %#x", flags)
			}
			if tries.Add(1) < 3 {
				c.Fail(netbsd.EAGAIN)
				return
			}
			c.CopyOut(addr, []byte("data"))
			from, length := c.Args.Ptr(), c.Args.Ptr()
			c.CopyOut(from, []byte{4, 1, 2, 3})
			c.CopyOut(length, []byte{4, 0, 0, 0})
			c.Reply(4, 0)
		},
	})
	buf := make([]byte, 10)
	n, from, err := c.RecvfromWait(testContext(t), c.FD(3), buf, netbsd.MSG_PEEK)
	if err != nil || string(buf[:n]) != "data" || string(from) != "\x04\x01\x02\x03" {
		t.Errorf("%q from %x, %v", buf[:n], from, err)
	}
	if got := s.take(); tries.Load() != 3 || len(got) != 3 {
		t.Errorf("%d tries, timeouts %v", tries.Load(), got)
	}
}

// TestConnectWait connects with a context that can end: without blocking in the
// kernel, and with the socket's flag as it was.
func TestConnectWait(t *testing.T) {
	for _, tt := range []struct {
		name  string
		flags int32
		errno netbsd.Errno // of connect
		later netbsd.Errno // of the socket
		want  error
		did   string
	}{
		{"at once", netbsd.O_RDWR, 0, 0, nil, "getfl setfl+ connect getfl setfl-"},
		{"later", netbsd.O_RDWR, netbsd.EINPROGRESS, 0, nil, "getfl setfl+ connect poll error getfl setfl-"},
		{"refused", netbsd.O_RDWR, netbsd.EINPROGRESS, netbsd.ECONNREFUSED, netbsd.ECONNREFUSED, "getfl setfl+ connect poll error getfl setfl-"},
		{"fails", netbsd.O_RDWR, netbsd.EHOSTUNREACH, 0, netbsd.EHOSTUNREACH, "getfl setfl+ connect getfl setfl-"},
		{"non-blocking", netbsd.O_RDWR | netbsd.O_NONBLOCK, netbsd.EINPROGRESS, 0, nil, "getfl connect poll error"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var did journal[string]
			var flags atomic.Int32
			flags.Store(tt.flags)
			c := serve(t, netbsd.POWERPC, map[uint32]func(*spclienttest.Call){
				netbsd.SYS_fcntl: func(c *spclienttest.Call) {
					c.Args.Int()
					switch cmd, arg := c.Args.Int(), c.Args.Int(); {
					case cmd == netbsd.F_GETFL:
						did.add("getfl")
					case cmd == netbsd.F_SETFL && arg == flags.Load()|netbsd.O_NONBLOCK:
						did.add("setfl+")
						flags.Store(arg)
					case cmd == netbsd.F_SETFL && arg == flags.Load()&^netbsd.O_NONBLOCK:
						did.add("setfl-")
						flags.Store(arg)
					default:
						t.Errorf("fcntl %d, %#x", cmd, arg)
					}
					c.Reply(uint64(flags.Load()), 0)
				},
				netbsd.SYS_connect: func(c *spclienttest.Call) {
					did.add("connect")
					c.Args.Int()
					if sa := c.CopyIn(c.Args.Ptr(), 3); string(sa) != "\x03\x01x" {
						t.Errorf("address %x", sa)
					}
					c.Fail(tt.errno)
				},
				netbsd.SYS_poll: func(c *spclienttest.Call) {
					did.add("poll")
					c.CopyOut(c.Args.Ptr(), []byte{0, 0, 0, 3, 0, 4, 0, 4})
					c.Reply(1, 0)
				},
				netbsd.SYS_getsockopt: func(c *spclienttest.Call) {
					did.add("error")
					c.Args.Int()
					if level, name := c.Args.Int(), c.Args.Int(); level != netbsd.SOL_SOCKET || name != netbsd.SO_ERROR {
						t.Errorf("getsockopt %#x, %#x", level, name)
					}
					c.CopyOut(c.Args.Ptr(), []byte{0, 0, 0, byte(tt.later)})
					c.CopyOut(c.Args.Ptr(), []byte{0, 0, 0, 4})
					c.Reply(0, 0)
				},
			})
			err := c.Connect(testContext(t), c.FD(3), []byte{3, 1, 'x'})
			if tt.want == nil && err != nil || !errors.Is(err, tt.want) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
			if tt.want != nil && !strings.HasPrefix(err.Error(), "connect: ") {
				t.Errorf("error %q", err)
			}
			if got := strings.Join(did.take(), " "); got != tt.did {
				t.Errorf("did %s, want %s", got, tt.did)
			}
		})
	}
}

// TestAcceptWait accepts with a context that can end.
func TestAcceptWait(t *testing.T) {
	var s pollServer
	s.expect(1, netbsd.POLLIN)
	var did journal[string]
	c := serve(t, netbsd.AMD64, map[uint32]func(*spclienttest.Call){
		netbsd.SYS_poll: s.poll,
		netbsd.SYS_fcntl: func(c *spclienttest.Call) {
			c.Args.Int()
			did.add(fmt.Sprintf("fcntl %d %#x", c.Args.Int(), c.Args.Int()))
			c.Reply(netbsd.O_RDWR, 0)
		},
		netbsd.SYS_paccept: func(c *spclienttest.Call) {
			if did.add("accept") < 4 {
				c.Fail(netbsd.EAGAIN)
				return
			}
			c.Args.Int()
			addr, length := c.Args.Ptr(), c.Args.Ptr()
			if mask, flags := c.Args.Ptr(), c.Args.Int(); mask != 0 || flags != 0 {
				t.Errorf("mask %#x, flags %#x", mask, flags)
			}
			c.CopyOut(addr, []byte("\x02\x01"))
			c.CopyOut(length, []byte{2, 0, 0, 0})
			c.Reply(9, 0)
		},
	})
	fd, sa, err := c.Accept(testContext(t), c.FD(3))
	if fd != c.FD(9) || string(sa) != "\x02\x01" || err != nil {
		t.Errorf("Accept = %v, %x, %v", fd, sa, err)
	}
	if diff := cmp.Diff([]string{"fcntl 3 0x0", "fcntl 4 0x6", "accept", "accept"}, did.take()); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
}

// TestSysctlBytes reads lists that grow while they are read, and what no kernel
// says of its lists.
func TestSysctlBytes(t *testing.T) {
	for _, tt := range []struct {
		name  string
		sizes []uint64 // what is needed, call by call
		want  int      // bytes, -1 for an error
		calls int
	}{
		{"fits", []uint64{100, 90}, 90, 2},
		{"nothing", []uint64{0}, 0, 1},
		{"grows", []uint64{100, 120, 130, 130}, 130, 3},
		{"grows for ever", []uint64{10, 100, 1000, 10000, 100000, 200000, 300000, 400000, 500000, 600000, 700000}, -1, 9},
		{"huge", []uint64{1 << 31}, -1, 1},
		{"huge later", []uint64{10, 1 << 31}, -1, 2},
	} {
		eachMachine(t, func(t *testing.T, m *netbsd.Machine) {
			var calls atomic.Int32
			c := serve(t, m, map[uint32]func(*spclienttest.Call){
				netbsd.SYS___sysctl: func(c *spclienttest.Call) {
					name, n, old, oldlen := c.Args.Ptr(), c.Args.Uint(), c.Args.Ptr(), c.Args.Ptr()
					if mib := c.CopyIn(name, int(4*n)); m.Order.Uint32(mib[4:]) != 0xfffffffe {
						t.Errorf("MIB %x", mib)
					}
					room := m.Word(c.CopyIn(oldlen, m.WordSize))
					need := tt.sizes[min(int(calls.Add(1)), len(tt.sizes))-1]
					c.CopyOut(oldlen, m.AppendWord(nil, need))
					switch {
					case old == 0:
						c.Reply(0, 0)
					case room < need:
						c.Fail(netbsd.ENOMEM)
					default:
						c.CopyOut(old, make([]byte, need))
						c.Reply(0, 0)
					}
				},
			})
			b, err := c.SysctlBytes(testContext(t), []int32{4, -2})
			if err != nil && tt.want >= 0 || err == nil && len(b) != tt.want {
				t.Errorf("%s: %d bytes, %v, want %d", tt.name, len(b), err, tt.want)
			}
			if got := int(calls.Load()); got != tt.calls {
				t.Errorf("%s: %d calls, want %d", tt.name, got, tt.calls)
			}
			if c.Err() != nil {
				t.Errorf("%s: connection: %v", tt.name, c.Err())
			}
		})
	}
}

func TestSysctlNames(t *testing.T) {
	c := serve(t, netbsd.AMD64, nil)
	ctx := testContext(t)
	if _, err := c.Sysctl(ctx, nil, nil, nil); !errors.Is(err, netbsd.EINVAL) {
		t.Errorf("empty MIB: %v", err)
	}
	if _, err := c.Sysctl(ctx, make([]int32, 13), nil, nil); !errors.Is(err, netbsd.EINVAL) {
		t.Errorf("MIB of 13: %v", err)
	}
	for _, name := range []string{"", ".", "x", "1.2"} {
		if _, _, err := c.SysctlNode(ctx, name); err == nil {
			t.Errorf("%q: no error", name)
		}
	}
}

// TestReboot takes the end of the connection for success.
func TestReboot(t *testing.T) {
	for _, answer := range []bool{true, false} {
		srv := spclienttest.NewServer(t, "unix", netbsd.AMD64, func(p *spclienttest.Peer) {
			p.Handshake()
			call := p.NextCall()
			if howto := call.Args.Int(); call.Num != netbsd.SYS_reboot || howto != netbsd.RB_HALT {
				t.Errorf("call %d, how %#x", call.Num, howto)
			}
			if answer {
				call.Reply(0, 0)
			}
		})
		c := dial(t, srv, nil)
		if err := c.Reboot(testContext(t), netbsd.RB_HALT); err != nil {
			t.Error(err)
		}
	}
	c := serve(t, netbsd.AMD64, map[uint32]func(*spclienttest.Call){
		netbsd.SYS_reboot: func(c *spclienttest.Call) { c.Fail(netbsd.EPERM) },
	})
	if err := c.Reboot(testContext(t), 0); !errors.Is(err, netbsd.EPERM) {
		t.Errorf("not permitted: %v", err)
	}
}
