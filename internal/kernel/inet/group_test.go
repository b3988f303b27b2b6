package inet

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"rumptools/internal/kernel"
	"rumptools/pkg/netbsd"
)

// An MTU that has no room for one group's record must not make the engine
// report groups without end.
func TestSmallMTUIsQuiet(t *testing.T) {
	seg := newSegment()
	listener := seg.join()
	s := host(t, seg.join(), "10.0.0.1/24", "fd00::1/64")
	s.mu.Lock()
	s.setMTU(s.ifByName["shmif0"], 72)
	s.mu.Unlock()
	// Another address is another group: the solicited-node one.
	must(t, s.setAddr6("shmif0", "fd00::2:3/64"))
	frames := make(chan struct{}, 1<<20)
	go func() {
		buf := make([]byte, maxFrame)
		for {
			if _, err := listener.Recv(buf); err != nil {
				return
			}
			frames <- struct{}{}
		}
	}()
	time.Sleep(300 * time.Millisecond)
	listener.Close()
	if n := len(frames); n > 100 {
		t.Errorf("%d frames in 300 ms from a host with nothing to say", n)
	}
}

// TestGroupSysctl: the lists of an interface's groups have those that sockets have joined, and how often, until the sockets
// are closed.
func TestGroupSysctl(t *testing.T) {
	onMachines(t, func(t *testing.T, s *Stack) {
		ask := func(family int32, size int, params ...int32) (list []string, err error) {
			b, err := s.groups(&kernel.SysctlRequest{Params: params}, family)
			for ; len(b) >= 2*size+4; b = b[2*size+4:] {
				of, _ := netip.AddrFromSlice(b[:size])
				group, _ := netip.AddrFromSlice(b[size : 2*size])
				list = append(list, fmt.Sprint(of, " ", group, " ", s.machine.Order.Uint32(b[2*size:])))
			}
			return list, err
		}
		want := func(family int32, size int, want ...string) {
			t.Helper()
			got, err := ask(family, size, 1)
			must(t, err)
			if !slices.Equal(got, want) {
				t.Errorf("%q, want %q", got, want)
			}
		}
		own6 := []string{"::1 ff02:1::1:ff00:1 2", "::1 ff02:1::1 2", "::1 ff01:1::1 2"}
		want(inet, 4, "127.0.0.1 224.0.0.1 1")
		want(inet6, 16, own6...)
		mreq := netbsd.Marshal(s.machine, &netbsd.IpMreq{Multiaddr: [4]byte{224, 9, 9, 9}, Interface: [4]byte{127, 0, 0, 1}})
		mreq6 := netbsd.Marshal(s.machine, &netbsd.Ipv6Mreq{Multiaddr: netip.MustParseAddr("ff02::99").As16(), Interface: 1})
		var members []kernel.Socket
		for range 2 {
			m, m6 := open(t, s, inet, dgram, 0), open(t, s, inet6, dgram, 0)
			must(t, m.SetOption(nil, netbsd.IPPROTO_IP, netbsd.IP_ADD_MEMBERSHIP, mreq))
			must(t, m6.SetOption(nil, netbsd.IPPROTO_IPV6, netbsd.IPV6_JOIN_GROUP, mreq6))
			members = append(members, m, m6)
		}
		want(inet, 4, "127.0.0.1 224.0.0.1 1", "127.0.0.1 224.9.9.9 2")
		want(inet6, 16, append(own6, "::1 ff02:1::99 2")...)
		must(t, members[0].SetOption(nil, netbsd.IPPROTO_IP, netbsd.IP_DROP_MEMBERSHIP, mreq))
		want(inet, 4, "127.0.0.1 224.0.0.1 1", "127.0.0.1 224.9.9.9 1")
		for _, m := range members {
			m.Close()
		}
		want(inet, 4, "127.0.0.1 224.0.0.1 1")
		want(inet6, 16, own6...)
		_, err := ask(inet, 4, 1<<16+1)
		check(t, "no interface", err, netbsd.ENODEV)
		_, err = ask(inet, 4)
		check(t, "no number", err, netbsd.EINVAL)
	})
}
