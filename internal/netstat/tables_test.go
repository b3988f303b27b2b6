package netstat

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"rumptools/pkg/netbsd"
)

// output is what a function prints.
func output(t *testing.T, f func(b *bytes.Buffer) error) string {
	t.Helper()
	var b bytes.Buffer
	if err := f(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestRoutes(t *testing.T) {
	want := `Routing tables

Internet:
Destination        Gateway            Flags    Refs      Use    Mtu Interface
default            10.0.0.2           UGS         -        -      -  shmif0
10.0.0/24          link#2             UC          -        -      -  shmif0
10.0.0.2           02:00:00:00:00:09  UH          -        -      -  shmif0
127.0.0.1          lo0                UHl         -        -  33624L lo0
172.16/12          127.0.0.1          UGRD        -        -      -  lo0

Internet6:
Destination                             Gateway                        Flags    Refs      Use    Mtu Interface
default                                 fe80::2                        UG          -        -      -  shmif0
fe80::%shmif0/64                        link#2                         UC          -        -      -  shmif0
fe80::2                                 link#2                         UH          -        -      -  shmif0
2001:db8:1:2:3:4:5:0/121                fd00::2                        U           -        -      -  shmif0

MPLS:
Destination        Gateway            Flags    Refs      Use    Mtu Interface
(33) Qab.cd        10.0.0.2           U           -        -      -  
`
	for _, m := range machines {
		r, err := ListRoutes(t.Context(), newKernel(m), RouteOptions{})
		if err != nil {
			t.Fatal(err)
		}
		got := output(t, func(b *bytes.Buffer) error { return r.Write(b, numeric) })
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", m, diff)
		}
	}
}

func TestRoutesByName(t *testing.T) {
	r, err := ListRoutes(t.Context(), newKernel(netbsd.AMD64), RouteOptions{Family: netbsd.AF_INET, NoLink: true})
	if err != nil {
		t.Fatal(err)
	}
	got := output(t, func(b *bytes.Buffer) error { return r.Write(b, Names{DB: testNames(t), Verbose: true}) })
	lines := strings.Split(got, "\n")
	zero := "\texpire            0   recvpipe          0   sendpipe          0 \n" +
		"\tssthresh          0   rtt               0   rttvar            0 \n\thopcount          0 "
	want := strings.Split("Routing tables\n\nInternet:\n"+
		"Destination        Gateway            Flags    Refs      Use    Mtu Interface\n"+
		"default            a-host-with-a-long UGS         -        -      -  shmif0\n"+zero+"\n"+
		"10.0.0/24          link#2             UC          -        -      -  shmif0\n"+zero+"\n"+
		"localhost          lo0                UHl         -        -  33624L lo0\n"+
		"\texpire           77L  recvpipe       8192   sendpipe          0 \n"+
		"\tssthresh          0   rtt               0   rttvar            0 \n\thopcount          3 \n"+
		"172.16/12          localhost          UGRD        -        -      -  lo0\n"+zero+"\n", "\n")
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Error(diff)
	}
}

func TestRouteJSON(t *testing.T) {
	r, err := ListRoutes(t.Context(), newKernel(netbsd.POWERPC), RouteOptions{Family: netbsd.AF_INET6})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, route := range r.List {
		got = append(got, strings.Join([]string{route.Family, route.Destination, route.Gateway, route.Flags, route.Interface}, " "))
	}
	want := []string{
		"inet6 ::/0 fe80::2%shmif0 UG shmif0",
		"inet6 fe80::%shmif0/64 link#2 UC shmif0",
		"inet6 fe80::2%shmif0 link#2 UH shmif0",
		"inet6 2001:db8:1:2:3:4:5:6/121 fd00::2 U shmif0",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestNetwork4(t *testing.T) {
	for _, c := range []struct {
		addr string
		bits int
		want string
	}{
		{"0.0.0.0", 0, "default"},
		{"10.0.0.0", 0, "10/0"},
		{"127.0.0.0", 8, "127/8"},
		{"10.1.0.0", 9, "10.1/9"},
		{"10.1.0.0", 16, "10.1/16"},
		{"10.1.2.0", 17, "10.1.2/17"},
		{"10.1.2.3", 32, "10.1.2.3/32"},
	} {
		if got := network4(addr(c.addr).Addr(), netbsd.RouteNetmask(netbsd.AF_INET, c.bits)); got != c.want {
			t.Errorf("%s/%d: got %s, want %s", c.addr, c.bits, got, c.want)
		}
	}
	// A mask with a hole counts as if it had none.
	if got := network4(addr("10.0.0.0").Addr(), []byte{7, 0, 0, 0, 0xff, 0, 0xff}); got != "10.0.0/24" {
		t.Errorf("got %s", got)
	}
}

func TestLinkText(t *testing.T) {
	for _, c := range []struct {
		dl   netbsd.SockaddrDL
		want string
	}{
		{netbsd.SockaddrDL{Index: 3}, "link#3"},
		{netbsd.SockaddrDL{Index: 3, Type: netbsd.IFT_ETHER, Addr: []byte{1, 2, 3}}, "01:02:03:00:00:00"},
		{netbsd.SockaddrDL{Type: netbsd.IFT_LOOP, Name: "lo0"}, "lo0"},
		{netbsd.SockaddrDL{Type: netbsd.IFT_OTHER, Name: "gre0", Addr: []byte{10, 0, 0, 0xff}}, "gre0:a.0.0.ff"},
		{netbsd.SockaddrDL{Type: netbsd.IFT_OTHER, Addr: []byte{1, 2}}, "1.2"},
	} {
		if got := linkText(c.dl); got != c.want {
			t.Errorf("%+v: got %s, want %s", c.dl, got, c.want)
		}
	}
}

func TestInterfaces(t *testing.T) {
	for _, c := range []struct {
		names Names
		o     InterfaceOptions
		want  string
	}{
		{numeric, InterfaceOptions{}, `Name  Mtu   Network       Address              Ipkts Ierrs    Opkts Oerrs Colls
lo0   33624<Link>                                 5     0        5     0     0
lo0   33624127/8         127.0.0.1                5     0        5     0     0
shmif0 1500 <Link>        02:00:00:00:00:01       10     1       20     2     3
shmif0 1500 10.0.0/24     10.0.0.1                10     1       20     2     3
shmif0 1500 fe80::/64     fe80::a:bcff:fede       10     1       20     2     3
shmif1* 1500 <Link>        02:00:00:00:00:02        0     0        0     0     0
shmif1* 1500 (99)01.02                              0     0        0     0     0
`},
		{Names{DB: testNames(t), Verbose: true}, InterfaceOptions{Bytes: true, Human: true, Drops: true},
			`Name  Mtu   Network       Address               Ibytes     Obytes Drops
lo0   33624<Link>                                500B       500B     0
lo0   33624127/8         localhost               500B       500B     0
shmif0 1500 <Link>        02:00:00:00:00:01       118M      1024G     0
shmif0 1500 10.0.0/24     10.0.0.1                118M      1024G     0
shmif0 1500 fe80::%shmif0/64 fe80::a:bcff:fede:f001%shmif0       118M      1024G     0
shmif1* 1500 <Link>        02:00:00:00:00:02         0B         0B     0
shmif1* 1500 (99)01.02                               0B         0B     0
`},
	} {
		for _, m := range machines {
			l, err := ListInterfaces(t.Context(), newKernel(m), "")
			if err != nil {
				t.Fatal(err)
			}
			got := output(t, func(b *bytes.Buffer) error { return l.Write(b, c.names, c.o) })
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("%s: %s", m, diff)
			}
		}
	}
}

func TestWatch(t *testing.T) {
	for _, c := range []struct {
		o    WatchOptions
		want string
	}{
		{WatchOptions{Name: "shmif0", Lines: 3}, `shmif in      shmif out              total in      total out            
 packets  errs  packets  errs colls   packets  errs  packets  errs colls
      10     1       20     2     3        15     1       25     2     3
       1     0        2     0     0         1     0        2     0     0
       1     0        2     0     0         1     0        2     0     0
shmif in      shmif out              total in      total out            
 packets  errs  packets  errs colls   packets  errs  packets  errs colls
      13     1       26     2     3        18     1       31     2     3
`},
		{WatchOptions{InterfaceOptions: InterfaceOptions{Bytes: true, Drops: true}, Name: "lo0", Lines: 30},
			"    lo0 in             lo0 out                total in           total out            \n" +
				"     bytes               bytes       drops       bytes               bytes       drops\n" +
				"       500                 500           0   123457289          1099511628276           0\n" +
				strings.Repeat("         0                   0           0           0                   0           0\n", 3)},
	} {
		synctest.Test(t, func(t *testing.T) {
			k := newKernel(netbsd.I386)
			var more uint64
			k.interfaces = func() []byte {
				more++
				return interfaceList(k.machine, more-1)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second+time.Second/2)
			defer cancel()
			c.o.Interval = time.Second
			got := output(t, func(b *bytes.Buffer) error { return Watch(ctx, k, b, c.o) })
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}
