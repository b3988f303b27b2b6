//go:build linux

package linuxsock_test

import (
	"context"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/linuxsock"
	"rumptools/internal/kernel"
	"rumptools/internal/kernel/inet"
	"rumptools/internal/kernel/local"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
)

// machines are those that tests of the network run on: of either byte order and
// word size.
var machines = []*netbsd.Machine{netbsd.AMD64, netbsd.POWERPC}

// dial connects to an embedded kernel of a machine, or to the one that
// LINUXSOCK_TEST_SERVER names; both end with the test.
func dial(t *testing.T, m *netbsd.Machine) *spclient.Conn {
	t.Helper()
	url := os.Getenv("LINUXSOCK_TEST_SERVER")
	if url == "" {
		url = serve(t, m)
	}
	c, err := spclient.Dial(t.Context(), url, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if c.Machine() != m {
		t.Skipf("the kernel is of %s", c.Machine())
	}
	return c
}

// serve runs an embedded kernel until the test ends.
func serve(t *testing.T, m *netbsd.Machine) (url string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "rump-") // the test's own may have too long a path
	if err != nil {
		t.Fatal(err)
	}
	sock := filepath.Join(dir, "k")
	l, err := net.Listen("unix", sock)
	if err != nil {
		t.Fatal(err)
	}
	k := kernel.New(kernel.Config{Machine: m})
	local.Register(k)
	stack, err := inet.New(inet.Config{Kernel: k, OpenBus: func(string) (inet.Bus, error) {
		return &answering{make(chan []byte, 16), make(chan struct{})}, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		k.Serve(l)
		close(served)
	}()
	t.Cleanup(func() {
		k.Halt(true)
		<-served
		k.Wait()
		stack.Close()
		os.RemoveAll(dir)
	})
	return "unix://" + sock
}

// answering is a network whose only other host has all addresses that end in .2,
// and answers but ARP.
type answering struct {
	frames chan []byte
	closed chan struct{}
}

// neighbourMAC is the address of the other host.
var neighbourMAC = []byte{2, 0, 0, 0, 0, 0x22}

func (b *answering) Send(frame []byte) error {
	const etherLen, arpLen = 14, 28
	if len(frame) < etherLen+arpLen || frame[12] != 8 || frame[13] != 6 || frame[etherLen+7] != 1 || frame[etherLen+27] != 2 {
		return nil
	}
	reply := append([]byte(nil), frame...)
	arp := reply[etherLen:]
	copy(reply, frame[6:12])
	copy(reply[6:], neighbourMAC)
	arp[7] = 2
	copy(arp[8:], neighbourMAC)
	copy(arp[14:], frame[etherLen+24:etherLen+28])
	copy(arp[18:], frame[etherLen+8:etherLen+18])
	select {
	case b.frames <- reply:
	default:
	}
	return nil
}

func (b *answering) Recv(buf []byte) (int, error) {
	select {
	case f := <-b.frames:
		return copy(buf, f), nil
	case <-b.closed:
		return 0, io.EOF
	}
}

func (*answering) Restart() {}

func (b *answering) Close() error {
	close(b.closed)
	return nil
}

// configure gives the kernel an interface, shmif7, with two addresses, 10.7.0.1/24
// and 10.7.1.1/24.
func configure(t *testing.T, k *spclient.Conn) {
	t.Helper()
	m := k.Machine()
	mib, _, err := k.SysctlNode(t.Context(), "net.inet.ip.dad_count")
	if err == nil {
		err = k.SysctlSetInt(t.Context(), mib, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	s, err := k.Socket(t.Context(), netbsd.AF_INET, netbsd.SOCK_DGRAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer k.CloseFD(t.Context(), s)
	request := func(req *netbsd.Ioctl, v any) {
		t.Helper()
		if err := k.IoctlStruct(t.Context(), s, req, v); err != nil {
			t.Fatal(req, err)
		}
	}
	name := netbsd.IfName("shmif7")
	request(netbsd.SIOCIFCREATE, &netbsd.Ifreq{Name: name})
	t.Cleanup(func() {
		ctx := context.Background()
		if s, err := k.Socket(ctx, netbsd.AF_INET, netbsd.SOCK_DGRAM, 0); err == nil {
			k.IoctlStruct(ctx, s, netbsd.SIOCIFDESTROY, &netbsd.Ifreq{Name: name})
		}
	})
	bus := append([]byte(filepath.Join(t.TempDir(), "bus")), 0)
	drv := netbsd.Ifdrv{Name: name, Len: netbsd.SizeT(len(bus))}
	if err := k.IoctlPtr(t.Context(), s, netbsd.SIOCSLINKSTR, &drv, bus, func(p netbsd.Ptr) { drv.Data = p }); err != nil {
		t.Fatal("SIOCSLINKSTR:", err)
	}
	addr := func(s string) [16]byte {
		return [16]byte(netbsd.SockaddrIn(netip.AddrPortFrom(netip.MustParseAddr(s), 0)))
	}
	var mask [16]byte
	copy(mask[:], netbsd.Netmask(netbsd.AF_INET, 24))
	for _, a := range []string{"10.7.0.1", "10.7.1.1"} {
		request(netbsd.SIOCAIFADDR, &netbsd.Ifaliasreq{Name: name, Addr: addr(a),
			Dstaddr: addr(a[:strings.LastIndex(a, ".")] + ".255"), Mask: mask})
	}
	var mtu netbsd.Ifreq
	mtu.Name = name
	mtu.SetMTU(m, 1400)
	request(netbsd.SIOCSIFMTU, &mtu)
}

// each runs a test on a kernel of each machine.
func each(t *testing.T, f func(t *testing.T, k *spclient.Conn)) {
	for _, m := range machines {
		t.Run(m.Name, func(t *testing.T) { f(t, dial(t, m)) })
	}
}

// kind is a kind of socket, in Linux's numbers.
type kind struct {
	name                  string
	domain, typ, protocol int
}

var kinds = []kind{
	{"tcp4", unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_TCP},
	{"tcp6", unix.AF_INET6, unix.SOCK_STREAM, unix.IPPROTO_TCP},
	{"udp4", unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_UDP},
	{"udp6", unix.AF_INET6, unix.SOCK_DGRAM, unix.IPPROTO_UDP},
	{"icmp4", unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP},
	{"icmp6", unix.AF_INET6, unix.SOCK_RAW, unix.IPPROTO_ICMPV6},
	{"raw4", unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_RAW},
	{"raw6", unix.AF_INET6, unix.SOCK_RAW, 253},
}

// kindNamed finds a kind by its name.
func kindNamed(name string) kind {
	for _, k := range kinds {
		if k.name == name {
			return k
		}
	}
	panic("no kind of socket " + name)
}

// pair is a program's socket: its three parts.
type pair struct {
	*linuxsock.Socket
	k    *spclient.Conn
	fd   spclient.FD
	host int
	once sync.Once
}

// close closes the socket; the test's end does so, too.
func (p *pair) close() {
	p.once.Do(func() {
		unix.Close(p.host)
		p.k.CloseFD(context.Background(), p.fd)
	})
}

// open makes a socket of a kind.
func (k kind) open(t *testing.T, c *spclient.Conn) *pair {
	t.Helper()
	domain, typ, hostType := int32(netbsd.AF_INET), int32(netbsd.SOCK_STREAM), unix.SOCK_STREAM
	if k.domain == unix.AF_INET6 {
		domain = netbsd.AF_INET6
	}
	switch k.typ {
	case unix.SOCK_DGRAM:
		typ, hostType = netbsd.SOCK_DGRAM, unix.SOCK_DGRAM
	case unix.SOCK_RAW:
		typ, hostType = netbsd.SOCK_RAW, unix.SOCK_DGRAM
	}
	fd, err := c.Socket(t.Context(), domain, typ, int32(k.protocol))
	if err != nil {
		t.Fatal(err)
	}
	hostDomain := unix.AF_UNIX
	if k.typ == unix.SOCK_DGRAM && k.protocol == unix.IPPROTO_UDP {
		hostDomain = unix.AF_INET // as where there is a network namespace
	}
	host, err := unix.Socket(hostDomain, hostType|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	p := &pair{Socket: &linuxsock.Socket{Domain: k.domain, Type: k.typ, Protocol: k.protocol}, k: c, fd: fd, host: host}
	t.Cleanup(p.close)
	if errno := p.Prepare(t.Context(), c, fd); errno != 0 {
		t.Fatal("Prepare:", errno)
	}
	return p
}

func (p *pair) set(t *testing.T, level, name int, value []byte) unix.Errno {
	t.Helper()
	return p.Set(t.Context(), p.k, p.fd, p.host, level, name, value)
}

func (p *pair) get(t *testing.T, level, name, size int) ([]byte, unix.Errno) {
	t.Helper()
	return p.Get(t.Context(), p.k, p.fd, p.host, level, name, size)
}

// kernelInt reads an option of NetBSD's, from the kernel.
func (p *pair) kernelInt(t *testing.T, level, name int32) int32 {
	t.Helper()
	v, err := p.k.GetsockoptInt(t.Context(), p.fd, level, name)
	if err != nil {
		t.Fatal(err)
	}
	return v
}
