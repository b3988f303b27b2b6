package inet

import (
	"slices"
	"testing"

	"rumptools/internal/kernel"
	"rumptools/pkg/netbsd"
)

// fuzzStack makes a stack for a fuzz target.
func fuzzStack(f *testing.F) *Stack {
	s, err := New(Config{Kernel: kernel.New(kernel.Config{})})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(s.Close)
	return s
}

// settle gives the stack an interface with addresses, if that has gone, takes
// all others away, and has the lists of everything be well-formed.
func (s *Stack) settle(t *testing.T) {
	s.mu.Lock()
	for name := range s.ifByName {
		if name != "lo0" && name != "shmif0" {
			s.cloneDestroy(name)
		}
	}
	for len(s.ifByName["lo0"].addrs) > 40 {
		addrs := s.ifByName["lo0"].addrs
		if ifa := addrs[len(addrs)-1]; ifa.family == netbsd.AF_INET {
			s.purgeAddr4(ifa)
		} else if ifa.family == netbsd.AF_INET6 {
			s.deleteAddr6(ifa)
		} else {
			break
		}
	}
	there := s.ifByName["shmif0"] != nil
	s.mu.Unlock()
	if !there {
		s.plug(t, "shmif0", newSegment().join())
	}
	for _, params := range [][]int32{
		{0, netbsd.NET_RT_IFLIST, 0}, {0, netbsd.NET_RT_DUMP, 0},
		{netbsd.AF_INET, netbsd.NET_RT_FLAGS, netbsd.RTF_LLDATA}, {netbsd.AF_INET6, netbsd.NET_RT_FLAGS, netbsd.RTF_LLDATA},
	} {
		s.wellFormed(t, s.list(t, params...))
	}
}

// wellFormed has routing messages be whole and fit their lengths.
func (s *Stack) wellFormed(t *testing.T, b []byte) {
	t.Helper()
	for len(b) > 0 {
		var err error
		if _, b, err = netbsd.NextRtMessage(s.machine, b); err != nil {
			t.Fatal(err)
		}
	}
}

// taken takes what was sent to a routing socket out of its queue.
func (so *routeSocket) taken() []byte {
	so.mu.Lock()
	defer so.mu.Unlock()
	b := slices.Concat(so.queue...)
	so.queue, so.queued = nil, 0
	return b
}

// FuzzRouteMessage has a routing socket get messages.
func FuzzRouteMessage(f *testing.F) {
	s := fuzzStack(f)
	so, err := routeDomain{s}.Socket(nil, netbsd.SOCK_RAW, 0)
	if err != nil {
		f.Fatal(err)
	}
	for typ := range uint8(netbsd.RTM_CHGADDR + 2) {
		var sas sockaddrs
		sas[netbsd.RTAX_DST], sas[netbsd.RTAX_GATEWAY] = sockaddrInet(mustAddr("172.16.0.0")), sockaddrInet(mustAddr("127.0.0.1"))
		sas[netbsd.RTAX_NETMASK] = netbsd.Netmask(netbsd.AF_INET, 12)
		f.Add(netbsd.AppendRtMessage(s.machine, nil, &netbsd.RtMsghdr{Type: typ, Flags: netbsd.RTF_GATEWAY}, sas))
		sas[netbsd.RTAX_DST] = sockaddrInet(mustAddr("fd02::1"))
		sas[netbsd.RTAX_GATEWAY] = []byte{14, netbsd.AF_LINK, 2, 0, netbsd.IFT_ETHER, 0, 6, 0, 2, 0, 0, 0, 0, 2}
		sas[netbsd.RTAX_NETMASK], sas[netbsd.RTAX_IFP] = nil, []byte{0}
		f.Add(netbsd.AppendRtMessage(s.machine, nil, &netbsd.RtMsghdr{Type: typ, Flags: netbsd.RTF_HOST | netbsd.RTF_LLDATA}, sas))
	}
	f.Fuzz(func(t *testing.T, msg []byte) {
		s.settle(t)
		so.Write(msg)
		if len(msg) >= 4 {
			// The length is the first that is looked at.
			s.machine.Order.PutUint16(msg, uint16(len(msg)))
			msg[2] = netbsd.RTM_VERSION
			so.Write(msg)
		}
		// Not looked at: a message that is refused comes back as it was.
		so.(*routeSocket).taken()
		s.settle(t)
	})
}

// FuzzInterfaceIoctl has ioctls come with all kinds of arguments.
func FuzzInterfaceIoctl(f *testing.F) {
	s := fuzzStack(f)
	// Changes are told to routing sockets.
	rt, err := routeDomain{s}.Socket(nil, netbsd.SOCK_RAW, 0)
	if err != nil {
		f.Fatal(err)
	}
	var ops []*netbsd.Ioctl
	for _, op := range netbsd.Ioctls() {
		switch {
		case op.Group != 'i':
		case op == netbsd.SIOCGIFCONF, op == netbsd.SIOCIFGCLONERS, op == netbsd.SIOCGLINKSTR, op == netbsd.SIOCSLINKSTR:
			// They ask the client for more of its memory.
		default:
			ops = append(ops, op)
		}
	}
	for i := range ops {
		f.Add(byte(i), byte(0), true, append(sockaddrInet(mustAddr("10.0.0.1")), netbsd.Netmask(netbsd.AF_INET, 8)...))
		// An alias's second address, the broadcast address, says that it is longer than it is.
		f.Add(byte(i), byte(0), true, slices.Concat(sockaddrInet(mustAddr("10.0.0.1")), []byte{48, netbsd.AF_INET, 0, 0, 10, 0, 0, 9}))
		f.Add(byte(i), byte(1), false, sockaddrInet(mustAddr("fd00::1")))
		f.Add(byte(i), byte(2), true, []byte{14, netbsd.AF_LINK, 0, 0, netbsd.IFT_ETHER, 0, 6, 0, 2, 0, 0, 0, 0, 2})
	}
	families := []int32{netbsd.AF_INET, netbsd.AF_INET6, netbsd.AF_LINK, netbsd.AF_ROUTE}
	f.Fuzz(func(t *testing.T, op, family byte, ether bool, arg []byte) {
		s.settle(t)
		o := ops[int(op)%len(ops)]
		data := make([]byte, o.Size(s.machine))
		copy(data, "lo0")
		if ether {
			copy(data, "shmif0")
		}
		if len(data) > netbsd.IFNAMSIZ {
			copy(data[netbsd.IFNAMSIZ:], arg)
		}
		c := &kernel.Call{Proc: &kernel.Proc{PID: 1}}
		s.ioctlInterface(c, families[int(family)%len(families)], o.Cmd(s.machine), data)
		s.wellFormed(t, rt.(*routeSocket).taken())
		s.settle(t)
	})
}
