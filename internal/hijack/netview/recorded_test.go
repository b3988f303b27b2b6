//go:build linux

package netview_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/netview"
	"rumptools/internal/replay"
	"rumptools/pkg/spclient"
	"rumptools/pkg/spclient/spclienttest"
)

// TestRecorded has what a real kernel told netstat(1).
func TestRecorded(t *testing.T) {
	list, err := spclienttest.OpenRecordings("../../rtsock/testdata/recordings.tar.gz")
	must(t, err)
	i := slices.IndexFunc(list, func(r *spclienttest.Recording) bool { return r.Name == "netstat-rn-inet" })
	if i < 0 {
		t.Fatal("no recording")
	}
	k, err := spclient.Dial(t.Context(), replay.Serve(t, list[i]).URL, nil)
	must(t, err)
	defer k.Close()
	var got []string
	links, err := netview.Links(t.Context(), k)
	must(t, err)
	for _, l := range links {
		got = append(got, fmt.Sprintf("%d %s %#x type %d mtu %d oper %d %x", l.Index, l.Name, l.Flags, l.Type, l.MTU, l.Oper, l.Addr))
	}
	addrs, err := netview.Addrs(t.Context(), k, unix.AF_INET)
	must(t, err)
	for _, a := range addrs {
		got = append(got, fmt.Sprintf("%s %s brd %s scope %d", a.Label, a.Prefix, a.Broadcast, a.Scope))
	}
	routes, err := netview.Routes(t.Context(), k, unix.AF_INET)
	must(t, err)
	for i := range routes {
		got = append(got, describe(&routes[i]))
	}
	want := []string{
		"1 lo0 0x11049 type 772 mtu 33624 oper 0 000000000000",
		"2 shmif0 0x11043 type 1 mtu 1500 oper 0 020000000002",
		"lo0 127.0.0.1/8 brd invalid IP scope 254",
		"shmif0 10.0.0.1/24 brd 10.0.0.255 scope 0",
		"10.0.0.0/24 via invalid IP dev 2 type 1 table 254 proto 2 scope 253 metric 0 src 10.0.0.1 mtu 0",
		"10.0.0.1/32 via invalid IP dev 2 type 2 table 255 proto 2 scope 254 metric 0 src 10.0.0.1 mtu 0",
		"127.0.0.1/32 via invalid IP dev 1 type 2 table 255 proto 2 scope 254 metric 0 src 127.0.0.1 mtu 0",
		"172.30.0.0/16 via 99.99.99.99 dev 2 type 1 table 254 proto 4 scope 0 metric 0 src invalid IP mtu 0",
		"10.0.0.255/32 via invalid IP dev 2 type 3 table 255 proto 2 scope 253 metric 0 src 10.0.0.1 mtu 0",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
