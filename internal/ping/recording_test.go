package ping

import (
	"bufio"
	"compress/gzip"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/sysproxy"
)

// recording is what NetBSD's ping or ping6 did with a real kernel, and printed.
type recording struct {
	args           []string
	stdout, stderr string
	exit           int

	sends   []recordedSend
	recvs   []recordedRecv
	options map[string]string // level/name of the raw socket's options, values
}

// recordedSend is a request that the program made.
type recordedSend struct {
	packet []byte // ping: with its IP header
	errno  netbsd.Errno
}

// recordedRecv is a message that the program received.
type recordedRecv struct {
	after   int           // the number of the request before it
	delay   time.Duration // since that request, by the clock that the program read
	data    []byte
	from    []byte // sockaddr
	control []byte // control messages
}

// recordedCall is a system call with the memory that it read and wrote.
type recordedCall struct {
	num     uint32
	args    []uint64
	in, out map[uint64][]byte // by address, chunks that follow each other joined
	errno   netbsd.Errno
	retval  uint64
}

func loadRecording(t *testing.T, name string) *recording {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	rec := &recording{options: map[string]string{}}
	layout := sysproxy.Layout{Order: netbsd.AMD64.Order, WordSize: netbsd.AMD64.WordSize}
	var calls []*recordedCall
	var call *recordedCall
	var asked sysproxy.CopyIn
	lines := bufio.NewScanner(z)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		switch {
		case strings.HasPrefix(line, "# command: "):
			rec.args = strings.Fields(line)[2:]
		case strings.HasPrefix(line, "# exit: "):
			rec.exit, _ = strconv.Atoi(line[len("# exit: "):])
		case strings.HasPrefix(line, "#|"):
			rec.stdout += strings.TrimPrefix(line[2:], " ") + "\n"
		case strings.HasPrefix(line, "#!"):
			rec.stderr += strings.TrimPrefix(line[2:], " ") + "\n"
		}
		field := strings.Fields(line)
		if len(field) < 4 || field[2] != ">" && field[2] != "<" || strings.Contains(line, "# BANNER") {
			continue
		}
		frame, err := hex.DecodeString(field[3])
		if err != nil {
			t.Fatal(err)
		}
		h, err := layout.ParseHeader(frame)
		if err != nil {
			t.Fatal(err)
		}
		message, err := layout.Decode(h, frame[sysproxy.HeaderLen:])
		if err != nil {
			t.Fatal(err)
		}
		switch m := message.(type) {
		case sysproxy.Syscall:
			call = &recordedCall{num: m.Num, in: map[uint64][]byte{}, out: map[uint64][]byte{}}
			for b := m.Args; len(b) >= 8; b = b[8:] {
				call.args = append(call.args, binary.LittleEndian.Uint64(b))
			}
			calls = append(calls, call)
		case sysproxy.CopyIn:
			asked = m
		case sysproxy.CopyInReply:
			join(call.in, asked.Addr, m.Data)
		case sysproxy.CopyOut:
			join(call.out, m.Addr, m.Data)
		case sysproxy.SyscallReply:
			call.errno, call.retval = netbsd.Errno(m.Errno), m.Retval[0]
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	rec.interpret(calls)
	return rec
}

// join notes a chunk of memory, behind the one that ends where it begins.
func join(memory map[uint64][]byte, addr uint64, data []byte) {
	for start, chunk := range memory {
		if start+uint64(len(chunk)) == addr {
			memory[start] = append(chunk, data...)
			return
		}
	}
	memory[addr] = append([]byte(nil), data...)
}

// interpret finds requests, messages and times among the calls.
func (rec *recording) interpret(calls []*recordedCall) {
	clockCall := uint32(netbsd.SYS___clock_gettime50)
	if rec.args[0] == "ping6" {
		clockCall = netbsd.SYS___gettimeofday50
	}
	unit := map[uint32]time.Duration{clockCall: time.Nanosecond}[clockCall]
	if clockCall == netbsd.SYS___gettimeofday50 {
		unit = time.Microsecond
	}
	// The program reads the clock before each request and after each message.
	var clock, sentAt time.Duration
	var waiting []int // messages whose time is not known yet
	const none = ^uint64(0)
	socket := none
	for _, call := range calls {
		switch call.num {
		case clockCall:
			for _, b := range call.out {
				clock = time.Duration(binary.LittleEndian.Uint64(b))*time.Second +
					time.Duration(binary.LittleEndian.Uint64(b[8:]))*unit
			}
			for _, i := range waiting {
				rec.recvs[i].delay = clock - sentAt
			}
			waiting = nil
		case netbsd.SYS___socket30:
			if socket == none && uint32(call.args[1]) == netbsd.SOCK_RAW {
				socket = call.retval
			}
		case netbsd.SYS_setsockopt:
			if call.args[0] == socket && call.errno == 0 {
				rec.options[fmt.Sprintf("%#x/%d", call.args[1], call.args[2])] = hex.EncodeToString(call.in[call.args[3]])
			}
		case netbsd.SYS_sendto, netbsd.SYS_sendmsg:
			if call.args[0] != socket {
				continue // ping's other socket, which clears a route cache, or a resolver's
			}
			base := call.args[1]
			if call.num == netbsd.SYS_sendmsg {
				base = iovBase(call)
			}
			sentAt = clock
			if call.num == netbsd.SYS_sendto { // ping reads the clock in between; the packet tells the truth
				data := icmpPart(call.in[base], false)[echoHeaderLen:]
				sentAt = time.Duration(binary.LittleEndian.Uint64(data))*time.Second +
					time.Duration(binary.LittleEndian.Uint64(data[8:]))
			}
			rec.sends = append(rec.sends, recordedSend{call.in[base], call.errno})
		case netbsd.SYS_recvfrom, netbsd.SYS_recvmsg:
			if call.errno != 0 || call.args[0] != socket {
				continue
			}
			r := recordedRecv{after: len(rec.sends) - 1}
			if call.num == netbsd.SYS_recvmsg {
				hdr := msghdr(call)
				r.data = call.out[iovBase(call)]
				r.from = call.out[binary.LittleEndian.Uint64(hdr)]
				r.control = call.out[binary.LittleEndian.Uint64(hdr[32:])]
			} else {
				r.data = call.out[call.args[1]]
				r.from = call.out[call.args[4]]
			}
			waiting = append(waiting, len(rec.recvs))
			rec.recvs = append(rec.recvs, r)
		}
	}
}

// msghdr is the struct msghdr of a call: name, namelen, iov at 16, iovlen,
// control at 32.
func msghdr(call *recordedCall) []byte { return call.in[call.args[1]] }

// iovBase is the address of the data of a call with a msghdr.
func iovBase(call *recordedCall) uint64 {
	iov := call.in[binary.LittleEndian.Uint64(msghdr(call)[16:])]
	return binary.LittleEndian.Uint64(iov)
}
