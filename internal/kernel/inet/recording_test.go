package inet

import (
	"fmt"
	"io"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rumptools/internal/kernel"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient/spclienttest"
	"rumptools/pkg/sysproxy"
)

// The MAC addresses of the interfaces of the recorded kernels.
var (
	toolsMAC = []byte{0xb2, 0xa0, 0xfa, 0xce, 0xb3, 0x7e}
	otherMAC = []byte{0xb2, 0xa0, 0xa0, 0x27, 0xb4, 0x77} // of the second pair
	progMAC  = []byte{0xb2, 0xa0, 0x90, 0x2d, 0x55, 0xe0}
	linkMAC  = []byte{0x02, 0, 0, 0, 0, 0x02}
	peerMAC  = []byte{0xb2, 0xa0, 0x16, 0x5f, 0xc5, 0xbe}
)

// recordedConversations says what the C tools said to a real kernel about
// interfaces, addresses, routes and neighbours to one in the same state, and
// expects its answers, byte for byte where they do not tell times, counters and
// numbers of processes.
var recordedConversations = []struct {
	name  string
	state func(t *testing.T, s *Stack)
}{
	{"ifconfig-C", nil},
	{"ifconfig-l", nil},
	{"ifconfig-create", nil},
	{"ifconfig-shmif0-nobus", created},
	{"ifconfig-create-again", created},
	{"ifconfig-create-bad", configured},
	{"ifconfig-get-linkstr", onBus},
	{"ifconfig-inet", onBus},
	{"ifconfig-inet-alias", withInet},
	{"ifconfig-inet-delete", func(t *testing.T, s *Stack) {
		withInet(t, s)
		must(t, s.setAddr4("shmif0", "10.0.0.10/32"))
	}},
	{"ifconfig-inet-delete-nosuch", withInet},
	{"ifconfig-inet6", withInet},
	{"ifconfig-link", configured},
	{"ifconfig-a", linked},
	{"ifconfig-v", linked},
	{"ifconfig-z", func(t *testing.T, s *Stack) {
		must(t, s.setParam("net.inet6.ip6.dad_count", 0))
		linked(t, s)
	}},
	{"ifconfig-s", linked},
	{"ifconfig-lu", linked},
	{"ifconfig-ad", linked},
	{"ifconfig-mtu", linked},
	{"ifconfig-mtu-bad", linked},
	{"ifconfig-mtu-back", linked},
	{"ifconfig-metric", linked},
	{"ifconfig-metric-back", linked},
	{"ifconfig-media", linked},
	{"ifconfig-arp-off", linked},
	{"ifconfig-arp-on", func(t *testing.T, s *Stack) {
		linked(t, s)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.ifByName["shmif0"].flags |= netbsd.IFF_NOARP
	}},
	{"ifconfig-nosuch", linked},
	{"ifconfig-linkstr-again", linked},
	{"ifconfig-linkstr-none", linked},
	{"ifconfig-destroy", linked},
	{"ifconfig-destroy-lo0", linked},
	{"ifconfig-up", func(t *testing.T, s *Stack) {
		linked(t, s)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.ifDown(s.ifByName["shmif0"])
		s.ifStop(s.ifByName["shmif0"])
	}},
	{"ifconfig-up-inet", otherPair},
	{"ifconfig-delete-inet6", otherPair},
	{"ifconfig-promisc-debug", otherPair},
	{"netstat-in", listed},
	{"netstat-bin", listed},
	{"route-n-show", linked},
	{"route-add", linked},
	{"route-add-default", linked},
	{"route-add-dup", routed("default 10.0.0.2")},
	{"route-add-host", linked},
	{"route-add-mtu", linked},
	{"route-add-reject", linked},
	{"route-add-blackhole", linked},
	{"route-add-inet6", linked},
	{"route-get", routed("172.16.0.0/16 10.0.0.2", "default 10.0.0.2", "9.9.9.9 10.0.0.2")},
	{"route-get-6", routed("fd01::/64 fd00::2")},
	{"route-get-mtu", func(t *testing.T, s *Stack) {
		routed("9.9.9.8 10.0.0.2")(t, s)
		s.routes.find(mustAddr("9.9.9.8")).rmx.Mtu = 1000
	}},
	{"route-get-nosuch", linked},
	{"route-delete", routed("172.16.0.0/16 10.0.0.2")},
	{"route-delete-nosuch", linked},
	{"arp-an", func(t *testing.T, s *Stack) {
		linked(t, s)
		s.learn("shmif0", "10.0.0.2", peerMAC)
	}},
	{"arp-an-2", func(t *testing.T, s *Stack) {
		linked(t, s)
		s.learn("shmif0", "10.0.0.2", peerMAC)
		s.mu.Lock()
		defer s.mu.Unlock()
		must(t, s.addNeighbour(s.ifByName["shmif0"], mustAddr("10.0.0.77"), []byte{2, 0, 0, 0, 0, 0x77}, 0, false))
	}},
	{"arp-s", linked},
	{"arp-s-pub", linked},
	{"arp-d-nosuch", linked},
	{"ndp-s", linked},
	{"prog-sysctl-iflist", program},
	{"prog-sysctl-dump", func(t *testing.T, s *Stack) {
		program(t, s)
		s.learn("shmif0", "10.0.0.2", []byte{0xb2, 0xa0, 0x95, 0x51, 0x3e, 0xdc})
	}},
	{"prog-rtsock", program},
}

func created(t *testing.T, s *Stack) { must(t, s.clone("shmif0")) }

func onBus(t *testing.T, s *Stack) {
	created(t, s)
	s.connect("shmif0", "bus0", newSegment().join())
}

func withInet(t *testing.T, s *Stack) {
	onBus(t, s)
	must(t, s.setAddr4("shmif0", "10.0.0.1/24"))
}

func configured(t *testing.T, s *Stack) {
	withInet(t, s)
	must(t, s.setAddr6("shmif0", "fd00::1/64"))
}

// linked is the state of most recordings: the interface has a second
// link-level address.
func linked(t *testing.T, s *Stack) {
	configured(t, s)
	s.mu.Lock()
	defer s.mu.Unlock()
	ifp := s.ifByName["shmif0"]
	ifa := s.newLinkAddr(ifp, linkMAC)
	ifp.addrs = append(ifp.addrs, ifa)
	must(t, s.activateLinkAddr(ifp, ifa))
}

func listed(t *testing.T, s *Stack) {
	must(t, s.setParam("net.inet6.ip6.dad_count", 0))
	linked(t, s)
}

func otherPair(t *testing.T, s *Stack) {
	s.newMAC = func() []byte { return otherMAC }
	configured(t, s)
}

func program(t *testing.T, s *Stack) {
	s.newMAC = func() []byte { return progMAC }
	must(t, s.setParam("net.inet6.ip6.dad_count", 0))
	configured(t, s)
	s.mu.Lock()
	defer s.mu.Unlock()
	must(t, s.addNeighbour(s.ifByName["shmif0"], mustAddr("10.0.0.77"), []byte{2, 0, 0, 0, 0, 0x77}, 0, false))
}

// routed adds static routes, each "DESTINATION GATEWAY".
func routed(routes ...string) func(t *testing.T, s *Stack) {
	return func(t *testing.T, s *Stack) {
		linked(t, s)
		for _, r := range routes {
			must(t, s.addStatic(r))
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestRecordedConversations(t *testing.T) {
	recs, err := spclienttest.OpenRecordings("../../../pkg/sysproxy/testdata/recordings.tar.gz")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range recordedConversations {
		t.Run(tt.name, func(t *testing.T) {
			i := slices.IndexFunc(recs, func(r *spclienttest.Recording) bool { return r.Name == tt.name })
			if i < 0 {
				t.Fatal("no such recording")
			}
			k := kernel.New(kernel.Config{})
			s, err := New(Config{Kernel: k, OpenBus: func(string) (Bus, error) { return newSegment().join(), nil }})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			s.newMAC = func() []byte { return toolsMAC }
			// Addresses stay tentative for the time of a test, unless none
			// is to be.
			must(t, s.setParam("net.inet6.ip6.dad_count", 100))
			if tt.state != nil {
				tt.state(t, s)
			}
			replay(t, k, recs[i])
		})
	}
}

// replayer is a client that says what was recorded.
type replayer struct {
	t     *testing.T
	l     sysproxy.Layout
	c     net.Conn
	reqno uint64
}

// replay makes the recorded calls that are about networking.
func replay(t *testing.T, k *kernel.Kernel, rec *spclienttest.Recording) {
	path := filepath.Join(t.TempDir(), "s")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- k.Serve(ln) }()
	defer func() {
		k.Halt(true)
		<-served
		k.Wait()
	}()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	r := &replayer{t: t, l: sysproxy.Layout{Order: netbsd.AMD64.Order, WordSize: 8}, c: c}
	r.readLine()
	r.handshake()
	made := 0
	for _, call := range recordedCalls(t, r.l, rec) {
		if call.matters() {
			r.play(call)
			made++
		}
	}
	if made == 0 {
		t.Error("nothing of the recording is about networking")
	}
}

// recordedCall is a system call of a recording.
type recordedCall struct {
	line int
	num  uint32
	args []byte
	in   []spclienttest.Event // COPYIN requests, their answers
	out  memory
	err  netbsd.Errno
}

// memory is what was written to a client's memory.
type memory map[uint64]byte

func (m memory) put(addr uint64, data []byte) {
	for i, b := range data {
		m[addr+uint64(i)] = b
	}
}

// take gives what was written from an address on.
func (m memory) take(addr uint64) (data []byte) {
	for {
		b, ok := m[addr+uint64(len(data))]
		if !ok {
			return data
		}
		data = append(data, b)
	}
}

func recordedCalls(t *testing.T, l sysproxy.Layout, rec *spclienttest.Recording) (calls []*recordedCall) {
	var call *recordedCall
	for _, e := range rec.Events {
		if !e.IsFrame() {
			continue
		}
		h, err := l.ParseHeader(e.Data)
		if err != nil {
			t.Fatal(err)
		}
		msg, err := l.Decode(h, e.Data[sysproxy.HeaderLen:])
		if err != nil {
			t.Fatal(err)
		}
		switch m := msg.(type) {
		case sysproxy.Syscall:
			call = &recordedCall{line: e.Line, num: m.Num, args: m.Args, out: make(memory)}
			calls = append(calls, call)
		case sysproxy.CopyIn, sysproxy.CopyInStr, sysproxy.CopyInReply:
			call.in = append(call.in, e)
		case sysproxy.CopyOut:
			call.out.put(m.Addr, m.Data)
		case sysproxy.SyscallReply:
			call.err = netbsd.Errno(m.Errno)
		}
	}
	return calls
}

func (c *recordedCall) word(i int) uint64 {
	if len(c.args) < 8*(i+1) {
		return 0
	}
	return netbsd.AMD64.Order.Uint64(c.args[8*i:])
}

// copied gives what the kernel read from an address.
func (c *recordedCall) copied(l sysproxy.Layout, addr uint64) []byte {
	for i := 0; i+1 < len(c.in); i += 2 {
		h, _ := l.ParseHeader(c.in[i].Data)
		_, a, err := l.ParseCopyIn(h, c.in[i].Data[sysproxy.HeaderLen:])
		if err == nil && a == addr {
			return c.in[i+1].Data[sysproxy.HeaderLen:]
		}
	}
	return nil
}

// mib is the name of a sysctl.
func (c *recordedCall) mib() (name []int32) {
	b := c.copied(sysproxy.Layout{Order: netbsd.AMD64.Order, WordSize: 8}, c.word(0))
	for ; len(b) >= 4; b = b[4:] {
		name = append(name, int32(netbsd.AMD64.Order.Uint32(b)))
	}
	return name
}

// matters tells whether the call is about networking. Sockets are made in any
// case, so that descriptors have the recorded numbers.
func (c *recordedCall) matters() bool {
	switch c.num {
	case netbsd.SYS___socket30, netbsd.SYS_shutdown:
		return true
	case netbsd.SYS_close:
		return c.err == 0
	case netbsd.SYS_ioctl:
		return c.word(1)>>8&0xff == 'i'
	case netbsd.SYS_read, netbsd.SYS_write:
		return c.word(0) > 2
	case netbsd.SYS___sysctl:
		name := c.mib()
		return len(name) > 1 && name[0] == netbsd.CTL_NET && name[1] == netbsd.PF_ROUTE && !slices.Contains(name, netbsd.CTL_QUERY)
	}
	return false
}

func (r *replayer) readLine() {
	var b [1]byte
	for b[0] != '\n' {
		if _, err := io.ReadFull(r.c, b[:]); err != nil {
			r.t.Fatal(err)
		}
	}
}

func (r *replayer) handshake() {
	r.send(sysproxy.Guest{Name: "replay"})
	r.read()
}

func (r *replayer) send(m sysproxy.Message) {
	r.reqno++
	if _, err := r.c.Write(m.Append(nil, r.l, r.reqno)); err != nil {
		r.t.Fatal(err)
	}
}

func (r *replayer) read() (sysproxy.Header, sysproxy.Message) {
	h, err := r.l.ReadHeader(r.c)
	if err != nil {
		r.t.Fatal(err)
	}
	payload := make([]byte, h.Len-sysproxy.HeaderLen)
	if _, err := io.ReadFull(r.c, payload); err != nil {
		r.t.Fatal(err)
	}
	m, err := r.l.Decode(h, payload)
	if err != nil {
		r.t.Fatal(err)
	}
	return h, m
}

// play makes a call and compares what comes of it.
func (r *replayer) play(call *recordedCall) {
	t := r.t
	t.Helper()
	r.send(sysproxy.Syscall{Num: call.num, Args: call.args})
	got := make(memory)
	answer := func(h sysproxy.Header, addr, size uint64) {
		data := call.copied(r.l, addr)
		if data == nil && addr >= call.word(1) {
			// Parts of what was copied at once.
			if whole := call.copied(r.l, call.word(1)); uint64(len(whole)) > addr-call.word(1) {
				data = whole[addr-call.word(1):]
			}
		}
		if uint64(len(data)) < size && h.Type == sysproxy.TypeCopyIn {
			t.Fatalf("line %d: kernel reads %d bytes at %#x, where %d are recorded", call.line, size, addr, len(data))
		}
		b := sysproxy.CopyInReply{Data: data[:min(uint64(len(data)), size)]}.Append(nil, r.l, h.ReqNo)
		if _, err := r.c.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	for {
		h, msg := r.read()
		switch m := msg.(type) {
		case sysproxy.CopyIn:
			answer(h, m.Addr, m.Len)
		case sysproxy.CopyInStr:
			answer(h, m.Addr, m.Len)
		case sysproxy.CopyOut:
			got.put(m.Addr, m.Data)
		case sysproxy.SyscallReply:
			r.compare(call, netbsd.Errno(m.Errno), got)
			return
		}
	}
}

func (r *replayer) compare(call *recordedCall, errno netbsd.Errno, got memory) {
	t := r.t
	t.Helper()
	what := fmt.Sprintf("line %d: %s", call.line, netbsd.SyscallName(int(call.num)))
	if call.num == netbsd.SYS_ioctl {
		what += " " + netbsd.IoctlName(netbsd.AMD64, uint32(call.word(1)))
	}
	if errno != call.err {
		t.Errorf("%s: errno %d, want %d", what, errno, call.err)
		return
	}
	for _, addr := range starts(call.out) {
		g, w := mask(call, addr, got.take(addr)), mask(call, addr, call.out.take(addr))
		if diff := cmp.Diff(w, g); diff != "" {
			t.Errorf("%s: at %#x (-want +got):\n%s", what, addr, diff)
		}
	}
	for _, addr := range starts(got) {
		if _, ok := call.out[addr]; !ok {
			t.Errorf("%s: writes to %#x: %x", what, addr, got.take(addr))
		}
	}
}

// starts gives the addresses at which runs of bytes begin.
func starts(m memory) (addrs []uint64) {
	for a := range m {
		if _, ok := m[a-1]; !ok {
			addrs = append(addrs, a)
		}
	}
	slices.Sort(addrs)
	return addrs
}

// mask gives what must be the same each time of what the kernel wrote: routing
// messages field by field.
func mask(call *recordedCall, addr uint64, data []byte) any {
	switch {
	case call.num == netbsd.SYS___sysctl && addr == call.word(2), call.num == netbsd.SYS_read && addr == call.word(1):
		return maskMessages(data, call.num == netbsd.SYS___sysctl && slices.Contains(call.mib(), netbsd.NET_RT_FLAGS))
	case call.num == netbsd.SYS_ioctl:
		switch op, _ := netbsd.LookupIoctl(netbsd.AMD64, uint32(call.word(1))); op {
		case netbsd.SIOCGIFDATA, netbsd.SIOCZIFDATA:
			var req netbsd.Ifdatareq
			if netbsd.Unmarshal(netbsd.AMD64, data, &req) == nil {
				maskIfData(&req.Data)
				return req
			}
		case netbsd.SIOCIFGCLONERS:
			return nil // there are no carp interfaces here
		}
	case call.num == netbsd.SYS_read && addr != call.word(1):
		return nil
	}
	return fmt.Sprintf("%x", data)
}

func maskIfData(d *netbsd.IfData) {
	*d = netbsd.IfData{
		Type: d.Type, Addrlen: d.Addrlen, Hdrlen: d.Hdrlen, LinkState: d.LinkState,
		Mtu: d.Mtu, Metric: d.Metric, Baudrate: d.Baudrate,
	}
}

// maskMessages takes routing messages apart. Of those about neighbours the
// kernel does not fill in the header.
func maskMessages(data []byte, neighbours bool) any {
	var list []any
	for len(data) > 0 {
		msg, rest, err := netbsd.NextRtMessage(netbsd.AMD64, data)
		if err != nil {
			return fmt.Sprintf("%v: %x", err, data)
		}
		switch {
		case msg.Ifm != nil:
			maskIfData(&msg.Ifm.Data)
			list = append(list, *msg.Ifm)
		case msg.Ifam != nil:
			list = append(list, *msg.Ifam)
		case msg.Ifan != nil:
			list = append(list, *msg.Ifan)
		case msg.Rtm != nil && neighbours:
			list = append(list, "neighbour")
		case msg.Rtm != nil:
			m := *msg.Rtm
			m.Pid, m.Use = min(m.Pid, 1), 0
			if m.Rmx.Expire != 0 {
				m.Rmx.Expire = 1
			}
			m.Rmx.Locks, m.Rmx.Pksent = 0, 0
			list = append(list, m)
		default:
			list = append(list, fmt.Sprintf("%x", msg.Raw))
		}
		var sas []string
		for _, sa := range msg.Addrs {
			sas = append(sas, fmt.Sprintf("%x", sa))
		}
		list = append(list, strings.Join(sas, " "))
		data = rest
	}
	return list
}
