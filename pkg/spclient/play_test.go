package spclient_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
	"rumptools/pkg/spclient/spclienttest"
)

var recordings = sync.OnceValues(func() (map[string]*spclienttest.Recording, error) {
	recs, err := spclienttest.OpenRecordings("../sysproxy/testdata/recordings.tar.gz")
	byName := make(map[string]*spclienttest.Recording)
	for _, rec := range recs {
		byName[rec.Name] = rec
	}
	return byName, err
})

// play connects to a player of a recording. Same may be nil.
func play(t *testing.T, name string, same func(num uint32, recorded, got []byte) bool) *spclient.Conn {
	t.Helper()
	recs, err := recordings()
	if err != nil {
		t.Fatal(err)
	}
	pl := &spclienttest.Player{Recording: recs[name], Same: same}
	if pl.Recording == nil {
		t.Fatalf("no recording %s", name)
	}
	return dial(t, pl.Start(t), nil)
}

// TestPlayBasic makes the calls of the hand-made recordings of 32-bit kernels.
func TestPlayBasic(t *testing.T) {
	for _, machine := range []string{"i386", "powerpc"} {
		t.Run(machine, func(t *testing.T) {
			ctx, c := testContext(t), play(t, machine+"-basic", nil)
			if _, err := c.Getpid(ctx); err != nil {
				t.Error(err)
			}
			fd, err := c.Open(ctx, "/tmp/y", netbsd.O_RDWR|netbsd.O_CREAT, 0o644)
			if err != nil {
				t.Fatal(err)
			}
			if n, err := c.Write(ctx, fd, []byte("hello")); n != 5 || err != nil {
				t.Errorf("Write = %d, %v", n, err)
			}
			if off, err := c.Lseek(ctx, fd, 0x100000002, netbsd.SEEK_SET); off != 0x100000002 && machine == "powerpc" || err != nil {
				t.Errorf("Lseek = %#x, %v", off, err)
			}
			if _, err := c.Lseek(ctx, fd, -1, netbsd.SEEK_SET); !errors.Is(err, netbsd.EINVAL) {
				t.Errorf("Lseek to -1: %v", err)
			}
			if off, err := c.Lseek(ctx, fd, 0, netbsd.SEEK_SET); off != 0 || err != nil {
				t.Errorf("Lseek = %#x, %v", off, err)
			}
			buf := []byte("................")
			if n, err := c.Read(ctx, fd, buf); n != 5 || err != nil || string(buf) != "hello..........." {
				t.Errorf("Read = %d, %v: %q", n, err, buf)
			}
			r, w, err := c.Pipe(ctx)
			if r.Int() != 4 || w.Int() != 5 || err != nil {
				t.Errorf("Pipe = %v, %v, %v", r, w, err)
			}
			if err := c.CloseFD(ctx, c.FD(77)); !errors.Is(err, netbsd.EBADF) || err.Error() != "close: Bad file descriptor" {
				t.Errorf("Close of 77: %v", err)
			}
			fd, err = c.Socket(ctx, netbsd.AF_INET, netbsd.SOCK_DGRAM, 0)
			if fd.Int() != 6 || err != nil {
				t.Errorf("Socket = %v, %v", fd, err)
			}
			if _, err := c.NewCall(10000).Do(ctx); !errors.Is(err, netbsd.ENOSYS) || err.Error() != "system call 10000: Function not implemented" {
				t.Errorf("call 10000: %v", err)
			}
		})
	}
}

// sameButMsghdr takes any msghdr of recvmsg for the recorded one: C gives less
// room for names.
func sameButMsghdr(num uint32, recorded, got []byte) bool {
	return num == netbsd.SYS_recvmsg && len(got) == 48 || bytes.Equal(recorded, got)
}

func TestPlayUDP(t *testing.T) {
	ctx, c := testContext(t), play(t, "prog-udp", func(num uint32, recorded, got []byte) bool {
		// The length of the room for a name.
		return sameButMsghdr(num, recorded, got) || num == netbsd.SYS_recvfrom && len(got) == 4
	})
	r, err := c.Socket(ctx, netbsd.AF_INET, netbsd.SOCK_DGRAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	addr := recordedBytes(t, "prog-udp", "bind")
	if err := c.Bind(ctx, r, addr); err != nil {
		t.Error(err)
	}
	s, err := c.Socket(ctx, netbsd.AF_INET, netbsd.SOCK_DGRAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := c.Sendto(ctx, s, []byte("hello"), 0, addr); n != 5 || err != nil {
		t.Errorf("Sendto = %d, %v", n, err)
	}
	buf := make([]byte, 64)
	n, from, err := c.Recvfrom(ctx, r, buf, 0)
	if err != nil || string(buf[:n]) != "hello" || len(from) != 16 {
		t.Fatalf("Recvfrom = %q from %x, %v", buf[:n], from, err)
	}
	if n, err := c.Sendto(ctx, r, []byte("back"), 0, from); n != 4 || err != nil {
		t.Errorf("Sendto = %d, %v", n, err)
	}
	if n, err := c.Sendto(ctx, s, []byte{}, 0, addr); n != 0 || err != nil {
		t.Errorf("Sendto of nothing = %d, %v", n, err)
	}
	if _, err := c.Sendto(ctx, s, []byte("nodest"), 0, nil); !errors.Is(err, netbsd.EDESTADDRREQ) {
		t.Errorf("Sendto without address: %v", err)
	}
	if err := c.SetsockoptInt(ctx, r, netbsd.IPPROTO_IP, netbsd.IP_RECVDSTADDR, 1); err != nil {
		t.Error(err)
	}
	if err := c.SetsockoptInt(ctx, r, netbsd.IPPROTO_IP, netbsd.IP_RECVIF, 1); err != nil {
		t.Error(err)
	}
	n, err = c.Sendmsg(ctx, s, &spclient.Message{Name: addr, Buffers: [][]byte{[]byte("abc"), []byte("defgh")}}, 0)
	if n != 8 || err != nil {
		t.Errorf("Sendmsg = %d, %v", n, err)
	}
}

// recordedBytes returns what the kernel read in the first call of a name that
// reads memory.
func recordedBytes(t *testing.T, name, call string) (data []byte) {
	t.Helper()
	recs, err := recordings()
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, e := range recs[name].Events {
		switch {
		case e.FromClient && strings.Contains(e.Comment, " "+call+" "):
			found = true
		case found && e.FromClient && e.IsFrame():
			data = append(data, e.Data[24:]...)
		case found && strings.HasPrefix(e.Comment, "RESP SYSCALL"):
			return data
		}
	}
	t.Fatalf("%s: no %s", name, call)
	return nil
}

func TestPlayPassFD(t *testing.T) {
	ctx, c := testContext(t), play(t, "prog-passfd", sameButMsghdr)
	m := c.Machine()
	s0, s1, err := c.Socketpair(ctx, netbsd.AF_LOCAL, netbsd.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	r, w, err := c.Pipe(ctx)
	if err != nil {
		t.Fatal(err)
	}
	rights := netbsd.AppendCmsg(m, nil, netbsd.SOL_SOCKET, netbsd.SCM_RIGHTS, netbsd.Marshal(m, w.Int()))
	n, err := c.Sendmsg(ctx, s0, &spclient.Message{Buffers: [][]byte{[]byte("f")}, Control: rights}, 0)
	if n != 1 || err != nil {
		t.Fatalf("Sendmsg = %d, %v", n, err)
	}
	msg := &spclient.Message{Buffers: [][]byte{make([]byte, 8)}, Control: make([]byte, 64)}
	n, err = c.Recvmsg(ctx, s1, msg, 0)
	if n != 1 || err != nil || msg.Buffers[0][0] != 'f' || msg.Name != nil || msg.Flags != 0 {
		t.Fatalf("Recvmsg = %d, %v: %+v", n, err, msg)
	}
	cmsgs, err := netbsd.ParseCmsgs(m, msg.Control)
	if err != nil || len(cmsgs) != 1 || cmsgs[0].Type != netbsd.SCM_RIGHTS {
		t.Fatalf("control messages %+v, %v", cmsgs, err)
	}
	got := c.FD(int32(m.Order.Uint32(cmsgs[0].Data)))
	if got.Int() != 7 {
		t.Errorf("received descriptor %v, want 7", got)
	}
	if n, err := c.Write(ctx, got, []byte("via")); n != 3 || err != nil {
		t.Errorf("Write = %d, %v", n, err)
	}
	buf := make([]byte, 8)
	if n, err := c.Read(ctx, r, buf); err != nil || string(buf[:n]) != "via" {
		t.Errorf("Read = %q, %v", buf[:n], err)
	}
}

func TestPlaySysctl(t *testing.T) {
	ctx, c := testContext(t), play(t, "prog-sysctl-lookup", func(num uint32, recorded, got []byte) bool {
		// The room for the result.
		return len(got) == 8 && got[7] == 0 && recorded[4] == 0 || bytes.Equal(recorded, got)
	})
	mib, node, err := c.SysctlNode(ctx, "net.inet.ip.ttl")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]int32{4, 2, 0, 3}, mib); diff != "" {
		t.Errorf("MIB (-want +got):\n%s", diff)
	}
	if netbsd.CString(node.Name[:]) != "ttl" || node.Type() != netbsd.CTLTYPE_INT {
		t.Errorf("node %+v", node)
	}
	if v, err := c.SysctlInt(ctx, mib); v != 64 || err != nil {
		t.Errorf("ttl = %d, %v", v, err)
	}
	n, err := c.Sysctl(ctx, mib, make([]byte, 2), nil)
	if n != 4 || !errors.Is(err, netbsd.ENOMEM) || err.Error() != "sysctl: Cannot allocate memory" {
		t.Errorf("too small: %d, %v", n, err)
	}
}

func TestPlayInterfaceList(t *testing.T) {
	ctx, c := testContext(t), play(t, "prog-sysctl-iflist", func(num uint32, recorded, got []byte) bool {
		return len(got) == 8 || bytes.Equal(recorded, got)
	})
	b, err := c.SysctlBytes(ctx, []int32{netbsd.CTL_NET, netbsd.AF_ROUTE, 0, 0, netbsd.NET_RT_IFLIST, 0})
	if err != nil || len(b) != 984 {
		t.Fatalf("%d bytes, %v, want 984", len(b), err)
	}
	if n := binary16(b); int(n) > len(b) || b[2] != netbsd.RTM_VERSION {
		t.Errorf("list begins with %x", b[:16])
	}
}

func binary16(b []byte) uint16 { return netbsd.AMD64.Order.Uint16(b) }

// sameIfreq compares an ifreq's name and the number in its union. C programs leave
// rubbish behind both.
func sameIfreq(recorded, got []byte) bool {
	return netbsd.CString(recorded[:16]) == netbsd.CString(got[:16]) && bytes.Equal(recorded[16:20], got[16:20])
}

// TestPlayIfconfig sets an interface's MTU as ifconfig does.
func TestPlayIfconfig(t *testing.T) {
	ctx, c := testContext(t), play(t, "ifconfig-mtu", func(num uint32, recorded, got []byte) bool {
		return sameIfreq(recorded, got)
	})
	fd, err := c.Socket(ctx, netbsd.AF_INET, netbsd.SOCK_DGRAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	r := netbsd.Ifreq{Name: netbsd.IfName("shmif0")}
	r.SetMTU(c.Machine(), 1400)
	if err := c.IoctlStruct(ctx, fd, netbsd.SIOCSIFMTU, &r); err != nil {
		t.Error(err)
	}
}

func TestPlayIfconfigErrors(t *testing.T) {
	ctx, c := testContext(t), play(t, "ifconfig-nosuch", func(num uint32, recorded, got []byte) bool {
		return sameIfreq(recorded, got)
	})
	fd, err := c.Socket(ctx, netbsd.AF_INET, netbsd.SOCK_DGRAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	r := netbsd.Ifreq{Name: netbsd.IfName("nosuch0")}
	err = c.IoctlStruct(ctx, fd, netbsd.SIOCGIFFLAGS, &r)
	if !errors.Is(err, netbsd.ENXIO) || err.Error() != "SIOCGIFFLAGS: Device not configured" {
		t.Errorf("SIOCGIFFLAGS: %v", err)
	}
}

// TestPlayConnect makes a non-blocking connect as a C program does by hand.
func TestPlayConnect(t *testing.T) {
	ctx, c := testContext(t), play(t, "prog-nbconn", nil)
	l, err := c.Socket(ctx, netbsd.AF_INET, netbsd.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	addr := recordedBytes(t, "prog-nbconn", "bind")
	if err := c.Bind(ctx, l, addr); err != nil {
		t.Error(err)
	}
	if err := c.ListenFD(ctx, l, 5); err != nil {
		t.Error(err)
	}
	s, err := c.Socket(ctx, netbsd.AF_INET, netbsd.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	flags, err := c.Fcntl(ctx, s, netbsd.F_GETFL, 0)
	if flags != netbsd.O_RDWR || err != nil {
		t.Errorf("F_GETFL = %#x, %v", flags, err)
	}
	if _, err := c.Fcntl(ctx, s, netbsd.F_SETFL, flags|netbsd.O_NONBLOCK); err != nil {
		t.Error(err)
	}
	if err := c.Connect(context.Background(), s, addr); !errors.Is(err, netbsd.EINPROGRESS) {
		t.Errorf("Connect: %v", err)
	}
	errno, err := c.GetsockoptInt(ctx, s, netbsd.SOL_SOCKET, netbsd.SO_ERROR)
	if errno != 0 || err != nil {
		t.Errorf("SO_ERROR = %d, %v", errno, err)
	}
	if err := c.Connect(context.Background(), s, addr); !errors.Is(err, netbsd.EISCONN) {
		t.Errorf("Connect again: %v", err)
	}
}

func TestPlayKqueue(t *testing.T) {
	ctx, c := testContext(t), play(t, "prog-kq", nil)
	kq, err := c.Kqueue(ctx)
	if err != nil {
		t.Fatal(err)
	}
	r, w, err := c.Pipe(ctx)
	if err != nil {
		t.Fatal(err)
	}
	add := netbsd.Kevent{Ident: netbsd.Ptr(r.Int()), Filter: netbsd.EVFILT_READ, Flags: netbsd.EV_ADD, Udata: 0x1000}
	if _, err := c.Kevent(context.Background(), kq, []netbsd.Kevent{add}, nil, -1); err != nil {
		t.Error(err)
	}
	if n, err := c.Write(ctx, w, []byte("abc")); n != 3 || err != nil {
		t.Errorf("Write = %d, %v", n, err)
	}
	events := make([]netbsd.Kevent, 8)
	n, err := c.Kevent(ctx, kq, nil, events, 0)
	if n != 1 || err != nil {
		t.Fatalf("Kevent = %d, %v", n, err)
	}
	want := netbsd.Kevent{Ident: 4, Filter: netbsd.EVFILT_READ, Flags: netbsd.EV_ADD, Data: 3, Udata: 0x1000}
	if diff := cmp.Diff(want, events[0]); diff != "" {
		t.Errorf("event (-want +got):\n%s", diff)
	}
}

// TestPlayBulk writes and reads more than the kernel copies at once.
func TestPlayBulk(t *testing.T) {
	ctx, c := testContext(t), play(t, "prog-bulk", nil)
	data := recordedBytes(t, "prog-bulk", "write")
	if len(data) != 6000 {
		t.Fatalf("recorded %d bytes, want 6000", len(data))
	}
	l, err := c.Socket(ctx, netbsd.AF_INET, netbsd.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Bind(ctx, l, recordedBytes(t, "prog-bulk", "bind")); err != nil {
		t.Error(err)
	}
	if n, err := c.Write(ctx, c.FD(4), data); n != 6000 || err != nil {
		t.Errorf("Write = %d, %v", n, err)
	}
	r, w, err := c.Pipe(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := c.Write(ctx, w, data[:5000]); n != 5000 || err != nil {
		t.Errorf("Write = %d, %v", n, err)
	}
	buf := make([]byte, 16384)
	if n, err := c.Read(ctx, r, buf); !bytes.Equal(buf[:n], data[:5000]) || err != nil {
		t.Errorf("Read = %d, %v", n, err)
	}
	file, err := c.Open(ctx, "/big", netbsd.O_CREAT|netbsd.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := c.Write(ctx, file, data); n != 6000 || err != nil {
		t.Errorf("Write = %d, %v", n, err)
	}
	if n, err := c.Read(ctx, file, buf); !bytes.Equal(buf[:n], data) || err != nil {
		t.Errorf("Read = %d, %v", n, err)
	}
	if err := c.CloseFD(ctx, file); err != nil {
		t.Error(err)
	}
}
