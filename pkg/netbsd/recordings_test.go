package netbsd

import (
	"bytes"
	"encoding/hex"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A recordedCall is a system call of a recording of real clients and a real
// kernel: its argument block, and the memory that the kernel read and wrote
// while it ran.
type recordedCall struct {
	m    *Machine
	num  int
	name string // as the recording's comment tells
	args []byte
	in   []recordedCopy
	out  []recordedCopy
	err  Errno
	ret  []byte // both words of the result
}

type recordedCopy struct {
	addr uint64
	str  bool // a string that ends with NUL
	data []byte
}

// read returns what the kernel read or wrote at an address.
func read(copies []recordedCopy, addr uint64) []byte {
	for _, c := range copies {
		if c.addr == addr {
			return c.data
		}
	}
	return nil
}

var (
	recordedServer = regexp.MustCompile(`^# server: RUMPSP-\S+/(\w+)`)
	recordedFrame  = regexp.MustCompile(`^[0-9.]+ (\d+) ([<>]) ([0-9a-f]+)  # (.*)$`)
	recordedName   = regexp.MustCompile(`^REQ SYSCALL \d+ (\w+) reqno`)
)

// readRecording returns the calls of a recording in the order in which they
// ended. The kernel's copy requests do not tell which call they are for:
// recordings with several calls at once need care.
func readRecording(t *testing.T, file string) []*recordedCall {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	const (
		request, response                           = 0, 1
		syscall, copyin, copyinstr, copyout, skipIt = 1, 2, 3, 4, 255
	)
	type key struct {
		conn  string
		reqno uint64
	}
	var (
		m       *Machine
		calls   []*recordedCall
		pending = make(map[key]*recordedCall)
		current = make(map[string]*recordedCall)
		copies  = make(map[key]recordedCopy)
	)
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(line, "\n")
		if match := recordedServer.FindStringSubmatch(line); match != nil {
			if m, _ = MachineByName(match[1]); m == nil {
				t.Fatalf("%s: no machine %q", file, match[1])
			}
		}
		match := recordedFrame.FindStringSubmatch(line)
		if match == nil || match[4] == "BANNER" || match[4] == "RAW" {
			continue
		}
		conn, toServer, comment := match[1], match[2] == ">", match[4]
		b, err := hex.DecodeString(match[3])
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if len(b) < 24 {
			continue
		}
		reqno, class, typ := m.Order.Uint64(b[8:]), m.Order.Uint16(b[16:]), m.Order.Uint16(b[18:])
		k, payload := key{conn, reqno}, b[24:]
		switch {
		case class == request && typ == syscall && toServer:
			c := &recordedCall{m: m, num: int(int32(m.Order.Uint32(b[20:]))), args: payload}
			if match := recordedName.FindStringSubmatch(comment); match != nil {
				c.name = match[1]
			}
			pending[k], current[conn] = c, c
		case class == response && typ == syscall && !toServer:
			c := pending[k]
			if c == nil {
				t.Fatalf("%s: response to no call: %s", file, comment)
			}
			delete(pending, k)
			if len(payload) >= 3*m.WordSize {
				c.err = Errno(m.Order.Uint32(payload))
				c.ret = payload[m.WordSize:]
			}
			calls = append(calls, c)
		case class == request && (typ == copyin || typ == copyinstr) && !toServer:
			copies[k] = recordedCopy{addr: m.Word(payload[m.WordSize:]), str: typ == copyinstr}
		case class == response && typ == copyin && toServer:
			copied, c := copies[k], current[conn]
			if c == nil {
				continue
			}
			copied.data = payload
			c.in = append(c.in, copied)
		case class == request && typ == copyout && !toServer:
			if c := current[conn]; c != nil {
				c.out = append(c.out, recordedCopy{addr: m.Word(payload[m.WordSize:]), data: payload[2*m.WordSize:]})
			}
		}
	}
	return calls
}

func recordings(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/*.rsp")
	if err != nil || len(files) == 0 {
		t.Fatalf("no recordings: %v", err)
	}
	return files
}

// TestRecordedCalls checks the table of system calls against what real
// clients sent and what the real kernel then read and wrote: every address
// that it touched must be an argument of the right kind.
func TestRecordedCalls(t *testing.T) {
	for _, file := range recordings(t) {
		t.Run(filepath.Base(file), func(t *testing.T) {
			for _, c := range readRecording(t, file) {
				checkRecordedCall(t, c)
			}
		})
	}
}

func checkRecordedCall(t *testing.T, c *recordedCall) {
	t.Helper()
	info, ok := LookupSyscall(c.num)
	if !ok {
		if c.err != ENOSYS {
			t.Errorf("call %d (%s) is not known, and gave %v", c.num, c.name, c.err)
		}
		return
	}
	if c.name != "" && c.name != info.Name {
		t.Errorf("call %d: %s, want %s", c.num, info.Name, c.name)
	}
	values, err := info.Values(c.m, c.args)
	if err != nil {
		t.Errorf("%s: %v", info.Name, err)
		return
	}
	// The C client sends whole structures, whose end may be padded to the
	// alignment of their 64-bit members.
	if n := info.ArgSize(c.m); len(c.args) < n || len(c.args) > roundUp(n, 8) {
		t.Errorf("%s: argument block of %d bytes, want %d", info.Name, len(c.args), n)
	}
	hasPointers := false // whether what arguments point to holds addresses
	isIoctl := false
	for i, a := range info.Args {
		switch a.Type {
		case "msghdr", "iovec", "mmsghdr":
			hasPointers = true
		}
		switch a.Kind {
		case ArgCmd:
			isIoctl = true
			cmd := uint32(values[i])
			ioc, ok := LookupIoctl(c.m, cmd)
			if !ok {
				t.Errorf("ioctl %#x is not known", cmd)
				continue
			}
			data := values[i+1]
			if in := read(c.in, data); in != nil && (!IoctlIn(cmd) || len(in) != ioc.Size(c.m)) {
				t.Errorf("%s: the kernel read %d bytes, want %d (in: %t)", ioc, len(in), ioc.Size(c.m), IoctlIn(cmd))
			}
			if out := read(c.out, data); out != nil && (!IoctlOut(cmd) || len(out) != ioc.Size(c.m)) {
				t.Errorf("%s: the kernel wrote %d bytes, want %d (out: %t)", ioc, len(out), ioc.Size(c.m), IoctlOut(cmd))
			}
		case ArgPad:
		case ArgFcntl, ArgPtr:
			hasPointers = true
		}
	}
	if hasPointers || isIoctl {
		return
	}
	within := func(addr uint64, kinds ...ArgKind) bool {
		for i, a := range info.Args {
			for _, kind := range kinds {
				if a.Kind == kind && addr >= values[i] && addr < values[i]+1<<20 {
					return true
				}
			}
		}
		return false
	}
	for _, in := range c.in {
		ok := within(in.addr, ArgIn, ArgInOut)
		if in.str {
			ok = within(in.addr, ArgPath, ArgStr)
		}
		if !ok {
			t.Errorf("%s(%#x): the kernel read %#x (string: %t)", info.Name, values, in.addr, in.str)
		}
	}
	for _, out := range c.out {
		if !within(out.addr, ArgOut, ArgInOut) {
			t.Errorf("%s(%#x): the kernel wrote %#x", info.Name, values, out.addr)
		}
	}
}

// TestRecordedRoutingMessages reads every routing message that was written to
// or read from a routing socket or a sysctl list, and writes it again. What
// the kernel writes comes back byte by byte, except for bytes that it did not
// set (padding that is not zero), which the header's structure hides.
func TestRecordedRoutingMessages(t *testing.T) {
	types := make(map[uint8]int)
	for _, file := range recordings(t) {
		for _, c := range readRecording(t, file) {
			for _, b := range routingMessages(c) {
				for len(b) > 0 {
					msg, rest, err := NextRtMessage(c.m, b)
					if err != nil {
						t.Fatalf("%s: %v\n%x", file, err, b)
					}
					types[msg.Type]++
					checkRoutingMessage(t, c.m, msg)
					b = rest
				}
			}
		}
	}
	for _, typ := range []uint8{RTM_ADD, RTM_DELETE, RTM_GET, RTM_IFINFO, RTM_NEWADDR} {
		if types[typ] == 0 {
			t.Errorf("no message of type %d; there are %v", typ, types)
		}
	}
}

// routingMessages returns the buffers of routing messages that a call read or
// wrote.
func routingMessages(c *recordedCall) [][]byte {
	info, ok := LookupSyscall(c.num)
	if !ok || c.err != 0 && c.num != SYS_write {
		return nil
	}
	values, err := info.Values(c.m, c.args)
	if err != nil {
		return nil
	}
	var buffers [][]byte
	switch c.num {
	case SYS___sysctl:
		name := read(c.in, values[0])
		if len(name) != 6*4 || c.m.Order.Uint32(name) != CTL_NET || c.m.Order.Uint32(name[4:]) != PF_ROUTE {
			return nil
		}
		// Lists are written one message at a time, one after the other.
		var list []byte
		for _, out := range c.out {
			if out.addr == values[2]+uint64(len(list)) {
				list = append(list, out.data...)
			}
		}
		buffers = append(buffers, list)
	case SYS_read:
		buffers = append(buffers, read(c.out, values[1]))
	case SYS_write:
		buffers = append(buffers, read(c.in, values[1]))
	default:
		return nil
	}
	var messages [][]byte
	for _, b := range buffers {
		// Other files' data are no routing messages.
		if len(b) >= 24 && b[2] == RTM_VERSION && int(c.m.Order.Uint16(b)) <= len(b) && b[3] <= RTM_CHGADDR {
			messages = append(messages, b)
		}
	}
	return messages
}

func checkRoutingMessage(t *testing.T, m *Machine, msg RtMessage) {
	t.Helper()
	var header any
	switch {
	case msg.Rtm != nil:
		header = msg.Rtm
	case msg.Ifm != nil:
		header = msg.Ifm
	case msg.Ifam != nil:
		header = msg.Ifam
	case msg.Ifan != nil:
		header = msg.Ifan
	default:
		return
	}
	var addrs int32
	if msg.Rtm != nil {
		addrs = msg.Rtm.Addrs
	}
	again := AppendRtMessage(m, nil, header, msg.Addrs)
	if msg.Rtm != nil && msg.Rtm.Addrs != addrs {
		// A program asked for the interface's addresses.
		if missing := addrs &^ msg.Rtm.Addrs; missing&^(RTA_IFP|RTA_IFA) != 0 {
			t.Errorf("type %d: addresses %#x are missing", msg.Type, missing)
		}
		again = Append(m, again[:0], func() *RtMsghdr { h := *msg.Rtm; h.Addrs = addrs; return &h }())
		again, _ = AppendAddrs(again, msg.Addrs)
	}
	if len(again) != len(msg.Raw) {
		t.Errorf("type %d: %d bytes again, were %d\n% x\n% x", msg.Type, len(again), len(msg.Raw), again, msg.Raw)
		return
	}
	n := Sizeof(m, header)
	// Padding is what bytes of the structure do not come back.
	fields := bytes.Repeat([]byte{0xff}, n)
	if err := Unmarshal(m, fields, header); err != nil {
		t.Fatal(err)
	}
	for i, mask := range Marshal(m, header) {
		if again[i] != msg.Raw[i]&mask {
			t.Errorf("type %d: header again\n% x, was\n% x", msg.Type, again[:n], msg.Raw[:n])
			break
		}
	}
	for i, raw := range msg.Addrs {
		if len(raw) == 0 {
			continue
		}
		if i == RTAX_NETMASK {
			checkNetmask(t, msg.Addrs[RTAX_DST], raw)
			continue
		}
		sa, err := ParseSockaddr(m, raw)
		if err != nil {
			t.Errorf("address %d: %v: % x", i, err, raw)
			continue
		}
		again, err := sa.Append(m, nil)
		if err != nil {
			t.Errorf("address %d: %v: % x", i, err, raw)
			continue
		}
		again = again[:min(len(again), len(raw))]
		again[0] = raw[0]
		switch sa.Family {
		case AF_INET:
			// The kernel leaves rubbish in sin_zero.
			raw, again = raw[:8], again[:8]
		case AF_LINK:
			n := 8 + len(sa.DL.Name) + len(sa.DL.Addr) + len(sa.DL.Sel)
			raw, again = raw[:n], again[:n]
		}
		if !bytes.Equal(again, raw) {
			t.Errorf("address %d: % x again, was % x", i, again, raw)
		}
	}
}

// checkNetmask checks a netmask that goes with a destination. Those that the
// kernel made have all bits set before the mask.
func checkNetmask(t *testing.T, dst, raw []byte) {
	t.Helper()
	if len(dst) < 2 {
		return
	}
	mask, err := ParseNetmask(dst[1], raw)
	if err != nil {
		t.Errorf("netmask of % x: %v", dst, err)
		return
	}
	n, ok := PrefixLen(mask)
	if !ok {
		t.Errorf("netmask % x of % x is not of leading bits", raw, dst)
		return
	}
	again := RouteNetmask(dst[1], n)
	switch raw[1] {
	case AF_UNSPEC:
		return // a program's, of a kind of its own
	case dst[1]:
		again = Netmask(dst[1], n)[:len(raw)]
		again[0] = raw[0]
	}
	if !bytes.Equal(again, raw) {
		t.Errorf("netmask of %d bits: % x again, was % x", n, again, raw)
	}
}
