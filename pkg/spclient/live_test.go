package spclient_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
)

// live connects to the kernel that SPCLIENT_TEST_SERVER names, a rump_server or
// rumpd with lo0, and skips the test without it.
func live(t *testing.T) *spclient.Conn {
	t.Helper()
	url := os.Getenv("SPCLIENT_TEST_SERVER")
	if url == "" {
		t.Skip("set SPCLIENT_TEST_SERVER to a kernel's URL")
	}
	c, err := spclient.Dial(testContext(t), url, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// must ends the test on an error.
func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

var loopback = netbsd.SockaddrIn(netip.MustParseAddrPort("127.0.0.1:0"))

func TestLiveProcess(t *testing.T) {
	ctx, c := testContext(t), live(t)
	pid := must[int32](t)(c.Getpid(ctx))
	u := must[spclient.Utsname](t)(c.Uname(ctx))
	t.Logf("pid %d, %+v", pid, u)
	if pid <= 0 || u.Sysname != "NetBSD" || u.Release != c.Banner().OSRelease || u.Machine != c.Banner().Machine {
		t.Errorf("pid %d, %+v, banner %v", pid, u, c.Banner())
	}
	up1 := must[time.Duration](t)(c.Uptime(ctx))
	up2 := must[time.Duration](t)(c.Uptime(ctx))
	if up2 < up1 || up1 <= 0 {
		t.Errorf("up for %v, then for %v", up1, up2)
	}
	now := must[netbsd.Timespec](t)(c.ClockGettime(ctx, netbsd.CLOCK_REALTIME))
	if d := time.Since(now.Time()).Abs(); d > time.Hour {
		t.Errorf("time is %v", now.Time())
	}
	if _, err := c.NewCall(9999).Do(ctx); !errors.Is(err, netbsd.ENOSYS) {
		t.Errorf("call 9999: %v", err)
	}
}

func TestLiveDescriptors(t *testing.T) {
	ctx, c := testContext(t), live(t)
	r, w, err := c.Pipe(ctx)
	if err != nil {
		t.Fatal(err)
	}
	data := bytes.Repeat([]byte("0123456789abcdef"), 300)
	if n, err := c.Write(ctx, w, data); n != len(data) || err != nil {
		t.Fatalf("Write = %d, %v", n, err)
	}
	buf := make([]byte, 10000)
	if n, err := c.Read(ctx, r, buf); err != nil || !bytes.Equal(buf[:n], data) {
		t.Errorf("Read = %d, %v", n, err)
	}
	d := must[spclient.FD](t)(c.Dup(ctx, r))
	d2 := must[spclient.FD](t)(c.Dup2(ctx, r, 20))
	if d2 != c.FD(20) || d == r {
		t.Errorf("duplicates %v, %v of %v", d, d2, r)
	}
	if flags := must[int32](t)(c.Fcntl(ctx, w, netbsd.F_GETFL, 0)); flags != netbsd.O_WRONLY {
		t.Errorf("flags %#x", flags)
	}
	for _, fd := range []spclient.FD{r, d, d2, w} {
		if err := c.CloseFD(ctx, fd); err != nil {
			t.Error(err)
		}
	}
	if err := c.CloseFD(ctx, r); !errors.Is(err, netbsd.EBADF) {
		t.Errorf("close again: %v", err)
	}
	null := must[spclient.FD](t)(c.Open(ctx, "/dev/null", netbsd.O_RDWR, 0))
	if n, err := c.Write(ctx, null, data); n != len(data) || err != nil {
		t.Errorf("Write = %d, %v", n, err)
	}
	if n, err := c.Read(ctx, null, buf); n != 0 || err != nil {
		t.Errorf("Read = %d, %v", n, err)
	}
	if _, err := c.Open(ctx, "/no/such", 0, 0); !errors.Is(err, netbsd.ENOENT) {
		t.Errorf("open: %v", err)
	}
}

func TestLiveUDP(t *testing.T) {
	ctx, c := testContext(t), live(t)
	m := c.Machine()
	r := must[spclient.FD](t)(c.Socket(ctx, netbsd.AF_INET, netbsd.SOCK_DGRAM, 0))
	if err := c.Bind(ctx, r, loopback); err != nil {
		t.Fatal(err)
	}
	addr := must[[]byte](t)(c.Getsockname(ctx, r))
	s := must[spclient.FD](t)(c.Socket(ctx, netbsd.AF_INET, netbsd.SOCK_DGRAM, 0))
	buf := make([]byte, 9000)

	wait, cancel := context.WithTimeout(ctx, 120*time.Millisecond)
	defer cancel()
	if _, _, err := c.RecvfromWait(wait, r, buf, 0); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("nothing there: %v", err)
	}
	if _, _, err := c.Recvfrom(ctx, r, buf, netbsd.MSG_DONTWAIT); !errors.Is(err, netbsd.EAGAIN) {
		t.Errorf("nothing there: %v", err)
	}
	go func() {
		time.Sleep(20 * time.Millisecond)
		c.Sendto(ctx, s, []byte("hello"), 0, addr)
	}()
	n, from, err := c.RecvfromWait(ctx, r, buf, 0)
	if err != nil || string(buf[:n]) != "hello" {
		t.Fatalf("%q, %v", buf[:n], err)
	}
	sa, err := netbsd.ParseSockaddr(m, from)
	if err != nil || sa.Addr() != netip.MustParseAddr("127.0.0.1") || sa.Port() == 0 {
		t.Errorf("from %v, %v", sa, err)
	}
	if n, err := c.Sendto(ctx, r, []byte("back"), 0, from); n != 4 || err != nil {
		t.Errorf("Sendto = %d, %v", n, err)
	}
	if n, _, err := c.RecvfromWait(ctx, s, buf, 0); err != nil || string(buf[:n]) != "back" {
		t.Errorf("%q, %v", buf[:n], err)
	}

	// With control messages, gathered and scattered.
	if err := c.SetsockoptInt(ctx, r, netbsd.IPPROTO_IP, netbsd.IP_RECVDSTADDR, 1); err != nil {
		t.Fatal(err)
	}
	if err := c.SetsockoptInt(ctx, r, netbsd.SOL_SOCKET, netbsd.SO_TIMESTAMP, 1); err != nil {
		t.Fatal(err)
	}
	out := &spclient.Message{Name: addr, Buffers: [][]byte{[]byte("gath"), {}, []byte("ered")}}
	if n, err := c.Sendmsg(ctx, s, out, 0); n != 8 || err != nil {
		t.Fatalf("Sendmsg = %d, %v", n, err)
	}
	in := &spclient.Message{Buffers: [][]byte{make([]byte, 3), make([]byte, 10)}, Control: make([]byte, 200)}
	n, err = c.RecvmsgWait(ctx, r, in, 0)
	if n != 8 || err != nil || string(in.Buffers[0])+string(in.Buffers[1][:5]) != "gathered" || len(in.Name) != 16 {
		t.Errorf("Recvmsg = %d, %v: %+v", n, err, in)
	}
	cmsgs, err := netbsd.ParseCmsgs(m, in.Control)
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for _, cm := range cmsgs {
		kinds = append(kinds, fmt.Sprintf("%#x %d", cm.Level, cm.Type))
		if cm.Type == netbsd.IP_RECVDSTADDR && cm.Level == netbsd.IPPROTO_IP && !bytes.Equal(cm.Data, []byte{127, 0, 0, 1}) {
			t.Errorf("destination %v", cm.Data)
		}
		if cm.Type == netbsd.SCM_TIMESTAMP && cm.Level == netbsd.SOL_SOCKET {
			var tv netbsd.Timeval
			if err := netbsd.Unmarshal(m, cm.Data, &tv); err != nil || time.Since(tv.Time()).Abs() > time.Hour {
				t.Errorf("time %v, %v", tv.Time(), err)
			}
		}
	}
	if slices.Sort(kinds); len(kinds) != 2 {
		t.Errorf("control messages %q", kinds)
	}
	// A large one.
	big := bytes.Repeat([]byte("x"), 8000)
	if n, err := c.Sendto(ctx, s, big, 0, addr); n != len(big) || err != nil {
		t.Errorf("Sendto = %d, %v", n, err)
	}
	if n, _, err := c.RecvfromWait(ctx, r, buf, 0); err != nil || !bytes.Equal(buf[:n], big) {
		t.Errorf("%d bytes, %v", n, err)
	}
	var tv netbsd.Timeval
	if err := c.SetsockoptStruct(ctx, r, netbsd.SOL_SOCKET, netbsd.SO_RCVTIMEO, netbsd.NewTimeval(50*time.Millisecond)); err != nil {
		t.Error(err)
	}
	if err := c.GetsockoptStruct(ctx, r, netbsd.SOL_SOCKET, netbsd.SO_RCVTIMEO, &tv); err != nil || tv.Duration() != 50*time.Millisecond {
		t.Errorf("timeout %v, %v", tv.Duration(), err)
	}
	if _, _, err := c.Recvfrom(ctx, r, buf, 0); !errors.Is(err, netbsd.EAGAIN) {
		t.Errorf("after the timeout: %v", err)
	}
}

func TestLiveTCP(t *testing.T) {
	ctx, c := testContext(t), live(t)
	l := must[spclient.FD](t)(c.Socket(ctx, netbsd.AF_INET, netbsd.SOCK_STREAM, 0))
	if err := c.Bind(ctx, l, loopback); err != nil {
		t.Fatal(err)
	}
	if err := c.ListenFD(ctx, l, 5); err != nil {
		t.Fatal(err)
	}
	addr := must[[]byte](t)(c.Getsockname(ctx, l))

	wait, cancel := context.WithTimeout(ctx, 120*time.Millisecond)
	defer cancel()
	if _, _, err := c.Accept(wait, l); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("nobody there: %v", err)
	}
	s := must[spclient.FD](t)(c.Socket(ctx, netbsd.AF_INET, netbsd.SOCK_STREAM, 0))
	var wg sync.WaitGroup
	wg.Add(1)
	go func() {
		defer wg.Done()
		if err := c.Connect(ctx, s, addr); err != nil {
			t.Error(err)
		}
	}()
	a, peer, err := c.Accept(ctx, l)
	wg.Wait()
	if err != nil {
		t.Fatal(err)
	}
	if name := must[[]byte](t)(c.Getsockname(ctx, s)); !bytes.Equal(name, peer) {
		t.Errorf("peer %x, its name %x", peer, name)
	}
	if name := must[[]byte](t)(c.Getpeername(ctx, s)); !bytes.Equal(name, addr) {
		t.Errorf("peer %x, its name %x", name, addr)
	}
	for _, fd := range []spclient.FD{s, a} {
		if flags := must[int32](t)(c.Fcntl(ctx, fd, netbsd.F_GETFL, 0)); flags&netbsd.O_NONBLOCK != 0 {
			t.Errorf("flags of %v: %#x", fd, flags)
		}
	}
	data := make([]byte, 200_000)
	for i := range data {
		data[i] = byte(i / 3)
	}
	wg.Add(1)
	go func() {
		defer wg.Done()
		for rest := data; len(rest) > 0; {
			n, err := c.SendtoWait(ctx, s, rest, 0, nil)
			if err != nil {
				t.Error(err)
				return
			}
			rest = rest[n:]
		}
		if err := c.Shutdown(ctx, s, netbsd.SHUT_WR); err != nil {
			t.Error(err)
		}
	}()
	var got []byte
	for buf := make([]byte, 30_000); ; {
		n, _, err := c.RecvfromWait(ctx, a, buf, 0)
		if err != nil {
			t.Error(err)
			break
		}
		if n == 0 {
			break
		}
		got = append(got, buf[:n]...)
	}
	wg.Wait()
	if !bytes.Equal(got, data) {
		t.Errorf("%d bytes came, %d were sent", len(got), len(data))
	}
	if err := c.CloseFD(ctx, l); err != nil {
		t.Error(err)
	}
	s2 := must[spclient.FD](t)(c.Socket(ctx, netbsd.AF_INET, netbsd.SOCK_STREAM, 0))
	if err := c.Connect(ctx, s2, addr); !errors.Is(err, netbsd.ECONNREFUSED) {
		t.Errorf("nobody listens: %v", err)
	}
}

func TestLivePassDescriptor(t *testing.T) {
	ctx, c := testContext(t), live(t)
	m := c.Machine()
	s0, s1, err := c.Socketpair(ctx, netbsd.AF_LOCAL, netbsd.SOCK_STREAM, 0)
	if err != nil {
		t.Skip(err)
	}
	r, w, err := c.Pipe(ctx)
	if err != nil {
		t.Fatal(err)
	}
	rights := netbsd.AppendCmsg(m, nil, netbsd.SOL_SOCKET, netbsd.SCM_RIGHTS, netbsd.Marshal(m, w.Int()))
	if n, err := c.Sendmsg(ctx, s0, &spclient.Message{Buffers: [][]byte{[]byte("f")}, Control: rights}, 0); n != 1 || err != nil {
		t.Fatalf("Sendmsg = %d, %v", n, err)
	}
	msg := &spclient.Message{Buffers: [][]byte{make([]byte, 8)}, Control: make([]byte, 64)}
	if n, err := c.RecvmsgWait(ctx, s1, msg, 0); n != 1 || err != nil {
		t.Fatalf("Recvmsg = %d, %v", n, err)
	}
	cmsgs, err := netbsd.ParseCmsgs(m, msg.Control)
	if err != nil || len(cmsgs) != 1 {
		t.Fatalf("control messages %+v, %v", cmsgs, err)
	}
	got := c.FD(int32(m.Order.Uint32(cmsgs[0].Data)))
	if n, err := c.Write(ctx, got, []byte("via")); n != 3 || err != nil {
		t.Errorf("Write = %d, %v", n, err)
	}
	buf := make([]byte, 8)
	if n, err := c.Read(ctx, r, buf); err != nil || string(buf[:n]) != "via" {
		t.Errorf("Read = %q, %v", buf[:n], err)
	}
}

func TestLiveSysctl(t *testing.T) {
	ctx, c := testContext(t), live(t)
	m := c.Machine()
	mib, node, err := c.SysctlNode(ctx, "net.inet.ip.ttl")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(mib, []int32{4, 2, 0, 3}) || node.Type() != netbsd.CTLTYPE_INT {
		t.Errorf("MIB %v, type %d", mib, node.Type())
	}
	ttl := must[int32](t)(c.SysctlInt(ctx, mib))
	if err := c.SysctlSetInt(ctx, mib, 33); err != nil {
		t.Error(err)
	}
	if v := must[int32](t)(c.SysctlInt(ctx, mib)); v != 33 {
		t.Errorf("ttl = %d after setting it to 33", v)
	}
	if err := c.SysctlSetInt(ctx, mib, ttl); err != nil {
		t.Error(err)
	}
	b, node, err := c.SysctlByName(ctx, "kern.ostype")
	if err != nil || string(b) != "NetBSD\x00" || node.Type() != netbsd.CTLTYPE_STRING {
		t.Errorf("kern.ostype = %q, %v", b, err)
	}
	if _, _, err := c.SysctlByName(ctx, "kern.nosuch"); !errors.Is(err, netbsd.ENOENT) {
		t.Errorf("kern.nosuch: %v", err)
	}
	if _, _, err := c.SysctlByName(ctx, "kern.ostype.more"); !errors.Is(err, netbsd.ENOENT) {
		t.Errorf("kern.ostype.more: %v", err)
	}
	if err := c.SysctlSetString(ctx, []int32{netbsd.CTL_KERN, netbsd.KERN_OSTYPE}, "x"); !errors.Is(err, netbsd.EPERM) {
		t.Errorf("setting kern.ostype: %v", err)
	}
	var ci netbsd.Clockinfo
	if err := c.SysctlStruct(ctx, []int32{netbsd.CTL_KERN, netbsd.KERN_CLOCKRATE}, &ci); err != nil || ci.Hz != 100 || ci.Tick != 10000 {
		t.Errorf("kern.clockrate = %+v, %v", ci, err)
	}
	// The interfaces, by numbers below a node.
	list, _, err := c.SysctlByName(ctx, fmt.Sprintf("net.route.0.0.%d.0", netbsd.NET_RT_IFLIST))
	if err != nil {
		t.Fatal(err)
	}
	var ifm netbsd.IfMsghdr
	if err := netbsd.Unmarshal(m, list, &ifm); err != nil || ifm.Type != netbsd.RTM_IFINFO || int(ifm.Msglen) > len(list) {
		t.Errorf("list begins with %+v, %v", ifm, err)
	}
	// The whole tree can be walked.
	n := 0
	var walk func(mib []int32)
	walk = func(mib []int32) {
		nodes, err := c.SysctlQuery(ctx, mib)
		if err != nil {
			if len(mib) < 2 {
				t.Errorf("%v: %v", mib, err)
			}
			return
		}
		for _, node := range nodes {
			n++
			if node.Type() == netbsd.CTLTYPE_NODE {
				walk(append(slices.Clone(mib), node.Num))
			}
		}
	}
	walk(nil)
	t.Logf("%d nodes", n)
	if n < 50 {
		t.Errorf("%d nodes", n)
	}
}

func TestLiveInterfaces(t *testing.T) {
	ctx, c := testContext(t), live(t)
	m := c.Machine()
	fd := must[spclient.FD](t)(c.Socket(ctx, netbsd.AF_INET, netbsd.SOCK_DGRAM, 0))
	r := netbsd.Ifreq{Name: netbsd.IfName("lo0")}
	if err := c.IoctlStruct(ctx, fd, netbsd.SIOCGIFFLAGS, &r); err != nil || r.Flags(m)&netbsd.IFF_LOOPBACK == 0 {
		t.Errorf("flags %#x, %v", r.Flags(m), err)
	}
	r = netbsd.Ifreq{Name: netbsd.IfName("nosuch0")}
	if err := c.IoctlStruct(ctx, fd, netbsd.SIOCGIFFLAGS, &r); !errors.Is(err, netbsd.ENXIO) {
		t.Errorf("nosuch0: %v", err)
	}
	// Names of what can be created: through a pointer in the structure.
	buf := make([]byte, 32*netbsd.IFNAMSIZ)
	ifcr := netbsd.IfClonereq{Count: 32}
	err := c.IoctlPtr(ctx, fd, netbsd.SIOCIFGCLONERS, &ifcr, buf, func(p netbsd.Ptr) { ifcr.Buffer = p })
	if err != nil || ifcr.Total <= 0 {
		t.Fatalf("%+v, %v", ifcr, err)
	}
	var names []string
	for i := range min(ifcr.Total, 32) {
		names = append(names, netbsd.CString(buf[i*netbsd.IFNAMSIZ:][:netbsd.IFNAMSIZ]))
	}
	t.Log(names)
	if !slices.Contains(names, "lo") {
		t.Errorf("%q can be created", names)
	}
	ifc := netbsd.Ifconf{Len: int32(10 * netbsd.Sizeof(m, r))}
	buf = make([]byte, ifc.Len)
	err = c.IoctlPtr(ctx, fd, netbsd.SIOCGIFCONF, &ifc, buf, func(p netbsd.Ptr) { ifc.Buf = p })
	if err != nil || ifc.Len < 0 || int(ifc.Len) > len(buf) || !bytes.Contains(buf, []byte("lo0\x00")) {
		t.Errorf("%+v, %v", ifc, err)
	}
}

func TestLiveKqueue(t *testing.T) {
	ctx, c := testContext(t), live(t)
	kq := must[spclient.FD](t)(c.Kqueue(ctx))
	r, w, err := c.Pipe(ctx)
	if err != nil {
		t.Fatal(err)
	}
	add := netbsd.Kevent{Ident: netbsd.Ptr(r.Int()), Filter: netbsd.EVFILT_READ, Flags: netbsd.EV_ADD, Udata: 0x1234}
	events := make([]netbsd.Kevent, 8)
	if n, err := c.Kevent(ctx, kq, []netbsd.Kevent{add}, events, 150*time.Millisecond); n != 0 || err != nil {
		t.Errorf("nothing there: %d, %v", n, err)
	}
	go func() {
		time.Sleep(150 * time.Millisecond)
		c.Write(ctx, w, []byte("abc"))
	}()
	n, err := c.Kevent(ctx, kq, nil, events, -1)
	if n != 1 || err != nil || events[0].Ident != add.Ident || events[0].Data != 3 || events[0].Udata != 0x1234 {
		t.Errorf("Kevent = %d, %v: %+v", n, err, events[0])
	}
}

// TestLiveCallers has many callers, as far as the real kernel lets a process have
// descriptors: 128.
func TestLiveCallers(t *testing.T) {
	ctx, c := testContext(t), live(t)
	pid := must[int32](t)(c.Getpid(ctx))
	var wg sync.WaitGroup
	for range 60 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			r, w, err := c.Pipe(ctx)
			if err != nil {
				t.Error(err)
				return
			}
			buf := make([]byte, 100)
			for i := range 20 {
				want := fmt.Sprintf("message %d of %v", i, r)
				if n, err := c.Write(ctx, w, []byte(want)); n != len(want) || err != nil {
					t.Errorf("Write = %d, %v", n, err)
				}
				if n, err := c.Read(ctx, r, buf); err != nil || string(buf[:n]) != want {
					t.Errorf("Read = %q, %v, want %q", buf[:n], err, want)
				}
				if p, err := c.Getpid(ctx); p != pid || err != nil {
					t.Errorf("Getpid = %d, %v", p, err)
				}
			}
			c.CloseFD(ctx, r)
			c.CloseFD(ctx, w)
		}()
	}
	wg.Wait()
}

// TestLiveAbandon gives up calls that block in the kernel. Others must go on.
func TestLiveAbandon(t *testing.T) {
	ctx, c := testContext(t), live(t)
	r, w, err := c.Pipe(ctx)
	if err != nil {
		t.Fatal(err)
	}
	// Long enough that the call is in the kernel by then.
	short, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancel()
	buf := make([]byte, 10)
	if _, err := c.Read(short, r, buf); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Read: %v", err)
	}
	// What it reads is lost, and does not come to anybody's buffer.
	if _, err := c.Write(ctx, w, []byte("lost")); err != nil {
		t.Error(err)
	}
	if _, err := c.Getpid(ctx); err != nil {
		t.Error(err)
	}
	if !bytes.Equal(buf, make([]byte, 10)) {
		t.Errorf("buffer is %q", buf)
	}
	fds := []spclient.PollFD{{FD: r, Events: netbsd.POLLIN}}
	if n, err := c.Poll(ctx, fds, 0); n != 0 || err != nil {
		t.Errorf("Poll = %d, %v", n, err)
	}
	short, cancel = context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	start := time.Now()
	if err := c.WaitReadable(short, r); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("WaitReadable: %v", err)
	}
	if d := time.Since(start); d < 250*time.Millisecond || d > prompt {
		t.Errorf("waited for %v", d)
	}
}
