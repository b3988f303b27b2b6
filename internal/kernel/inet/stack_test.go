package inet

import (
	"testing"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/waiter"

	"bytes"
	"time"

	"rumptools/internal/kernel"
)

// newStack makes a stack of a kernel that nobody is connected to.
func newStack(t *testing.T) *Stack {
	t.Helper()
	s, err := New(Config{Kernel: kernel.New(kernel.Config{})})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// ping sends an echo request over a raw socket of the engine's and waits for
// the reply.
func ping(t *testing.T, s *Stack, dst tcpip.Address) error {
	t.Helper()
	var wq waiter.Queue
	ep, terr := s.net.NewRawEndpoint(header.ICMPv4ProtocolNumber, ipv4.ProtocolNumber, &wq, true)
	if terr != nil {
		t.Fatal(terr)
	}
	defer ep.Close()
	we, ch := waiter.NewChannelEntry(waiter.EventIn)
	wq.EventRegister(&we)
	defer wq.EventUnregister(&we)
	msg := header.ICMPv4(make([]byte, header.ICMPv4MinimumSize+56))
	msg.SetType(header.ICMPv4Echo)
	msg.SetIdent(4711)
	msg.SetChecksum(^checksum.Checksum(msg, 0))
	if _, err := ep.Write(bytes.NewReader(msg), tcpip.WriteOptions{To: &tcpip.FullAddress{Addr: dst}}); err != nil {
		t.Fatal(err)
	}
	for deadline := time.After(5 * time.Second); ; {
		var buf bytes.Buffer
		_, err := ep.Read(&buf, tcpip.ReadOptions{})
		if err == nil {
			ip := header.IPv4(buf.Bytes())
			if header.ICMPv4(ip.Payload()).Type() == header.ICMPv4EchoReply {
				return nil
			}
			continue
		}
		select {
		case <-ch:
		case <-deadline:
			t.Fatalf("no reply from %v", dst)
		}
	}
}

func TestPingLoopback(t *testing.T) {
	s := newStack(t)
	ping(t, s, tcpip.AddrFrom4([4]byte{127, 0, 0, 1}))
	if n := s.lo0.counters.ipackets.Load(); n != 2 {
		t.Errorf("lo0 has received %d packets, want 2", n)
	}
}
