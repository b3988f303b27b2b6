//go:build amd64 || arm64

package hijack

import (
	"testing"

	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/linuxsock"
	"rumptools/pkg/spclient"
)

// TestOnlyPeer: a kernel is not asked from whom datagrams are once nobody else's can be there.
func TestOnlyPeer(t *testing.T) {
	x := &socket{opts: &linuxsock.Socket{Domain: unix.AF_INET, Type: unix.SOCK_DGRAM, Protocol: unix.IPPROTO_UDP}}
	connect := func(peer string) {
		x.k, x.kKey = &kept{}, peer
		x.association++
	}
	only := onlyPeer{x: x}
	asks := func() spclient.Wanted {
		w, over := only.wanted()
		over()
		return w
	}
	want := func(what, peer string) {
		t.Helper()
		wanted := spclient.WantSender
		if peer != "" {
			wanted = spclient.WantData
		}
		if got := asks(); got != wanted || string(only.peer) != peer {
			t.Errorf("%s: %v, %q; want %q", what, got, only.peer, peer)
		}
	}
	want("not connected", "")
	want("not connected, and nothing is there", "")
	connect("one")
	want("connected, and nothing was there before", "")
	want("nothing is there", "one")
	only.received(100)
	only = onlyPeer{x: x}
	want("the next", "one")
	want("and when it was not there at once", "one")

	// What another one has sent before may be there.
	connect("two")
	want("connected to another", "")
	for range mostWaiting/1000 + 1 {
		only.received(1000)
		only = onlyPeer{x: x}
		if asks() == spclient.WantData {
			break
		}
	}
	want("all that can have waited is read", "two")
	connect("three")
	want("connected to a third", "")
	only.received(mostWaiting - 1)
	only = onlyPeer{x: x}
	want("almost", "")
	// That was not of this one.
	connect("four")
	only.received(mostWaiting)
	only = onlyPeer{x: x}
	want("connected to a fourth", "")
	want("nothing is there", "four")

	x.k, x.kKey = nil, ""
	x.association++
	want("connected to nobody", "")
	want("nothing is there", "")
}
