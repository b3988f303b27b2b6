package spclient_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
)

// A nameServer is a DNS server in the kernel, by UDP and TCP, with a zone of lines "NAME
// TYPE VALUE". Names below these have habits of their own:
//
//	big.test     by UDP it is truncated
//	forged.test  answers of others come first: another number, another question
//	fail.test    server failure
//	silent.test  no answer
//	old.test     EDNS is not understood
type nameServer struct {
	addr    netip.AddrPort
	zone    map[string][]dnsmessage.Resource
	queries journal[string] // "udp NAME TYPE"
}

func startNameServer(t *testing.T, c *spclient.Conn, address string, zone ...string) *nameServer {
	t.Helper()
	ns := &nameServer{zone: make(map[string][]dnsmessage.Resource)}
	for _, line := range zone {
		f := strings.Fields(line)
		var body dnsmessage.ResourceBody
		switch f[1] {
		case "A":
			body = &dnsmessage.AResource{A: netip.MustParseAddr(f[2]).As4()}
		case "AAAA":
			body = &dnsmessage.AAAAResource{AAAA: netip.MustParseAddr(f[2]).As16()}
		case "CNAME":
			body = &dnsmessage.CNAMEResource{CNAME: dnsmessage.MustNewName(f[2])}
		case "PTR":
			body = &dnsmessage.PTRResource{PTR: dnsmessage.MustNewName(f[2])}
		}
		ns.zone[f[0]] = append(ns.zone[f[0]], dnsmessage.Resource{
			Header: dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName(f[0]), Class: dnsmessage.ClassINET, TTL: 60},
			Body:   body,
		})
	}
	ctx := testContext(t)
	u, err := c.ListenPacket(ctx, "udp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { u.Close() })
	ns.addr = netip.MustParseAddrPort(u.LocalAddr().String())
	l, err := c.Listen(ctx, "tcp", ns.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		buf := make([]byte, 2000)
		for {
			n, from, err := u.ReadFrom(buf)
			if err != nil {
				return
			}
			for _, answer := range ns.answers(t, "udp", buf[:n]) {
				u.WriteTo(answer, from)
			}
		}
	}()
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer nc.Close()
				head := make([]byte, 2)
				if _, err := io.ReadFull(nc, head); err != nil {
					return
				}
				msg := make([]byte, binary.BigEndian.Uint16(head))
				if _, err := io.ReadFull(nc, msg); err != nil {
					return
				}
				for _, answer := range ns.answers(t, "tcp", msg) {
					nc.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...))
				}
			}()
		}
	}()
	return ns
}

// answers returns what the server says to a query, in turn.
func (ns *nameServer) answers(t *testing.T, network string, msg []byte) [][]byte {
	var q dnsmessage.Message
	if err := q.Unpack(msg); err != nil || len(q.Questions) != 1 || !q.RecursionDesired {
		t.Errorf("query %+v, %v", q, err)
		return nil
	}
	question := q.Questions[0]
	name := strings.ToLower(question.Name.String())
	typ := strings.TrimPrefix(question.Type.String(), "Type")
	ns.queries.add(network + " " + name + " " + typ)
	r := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: q.ID, Response: true, RecursionDesired: true, RecursionAvailable: true},
		Questions: q.Questions,
	}
	pack := func(m dnsmessage.Message) []byte {
		b, err := m.Pack()
		if err != nil {
			t.Error(err)
		}
		return b
	}
	switch name {
	case "silent.test.":
		return nil
	case "fail.test.":
		r.RCode = dnsmessage.RCodeServerFailure
		return [][]byte{pack(r)}
	case "old.test.":
		if len(q.Additionals) > 0 {
			r.RCode = dnsmessage.RCodeFormatError
			return [][]byte{pack(r)}
		}
	case "big.test.":
		if network == "udp" {
			r.Truncated = true
			return [][]byte{pack(r)}
		}
	}
	// An alias and all that it stands for.
	records, known := ns.zone[name]
	for next := name; ; {
		alias := ""
		for _, rr := range ns.zone[next] {
			if cname, ok := rr.Body.(*dnsmessage.CNAMEResource); ok {
				r.Answers = append(r.Answers, rr)
				alias = strings.ToLower(cname.CNAME.String())
			} else if resourceType(rr) == question.Type {
				r.Answers = append(r.Answers, rr)
			}
		}
		if alias == "" || len(r.Answers) > 20 {
			break
		}
		next = alias
	}
	if !known && records == nil {
		r.RCode = dnsmessage.RCodeNameError
	}
	out := [][]byte{pack(r)}
	if name == "forged.test." {
		// Two that are not for this query, with other addresses.
		forged := r
		forged.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: question.Name, Class: dnsmessage.ClassINET, TTL: 60},
			Body:   &dnsmessage.AResource{A: [4]byte{6, 6, 6, 6}},
		}}
		forged.ID++
		other := forged
		other.ID = q.ID
		other.Questions = []dnsmessage.Question{{
			Name: dnsmessage.MustNewName("other.test."), Type: question.Type, Class: question.Class,
		}}
		query := q
		out = [][]byte{{1, 2, 3}, pack(query), pack(forged), pack(other), out[0]}
	}
	return out
}

func resourceType(rr dnsmessage.Resource) dnsmessage.Type {
	switch rr.Body.(type) {
	case *dnsmessage.AResource:
		return dnsmessage.TypeA
	case *dnsmessage.AAAAResource:
		return dnsmessage.TypeAAAA
	case *dnsmessage.PTRResource:
		return dnsmessage.TypePTR
	}
	return 0
}

const testHosts = `# a table
127.0.0.1	localhost
10.0.0.9	nine Nine.example.org # an alias
10.0.0.10	nine
fd00::9		nine
`

func TestResolver(t *testing.T) {
	netKernels(t, func(t *testing.T, url string) {
		ctx, c := testContext(t), dialKernel(t, url)
		ns := startNameServer(t, c, "127.0.0.1:0",
			"www.test. A 10.1.1.1", "www.test. A 10.1.1.2", "www.test. AAAA fd00::1",
			"v4.test. A 10.1.1.3",
			"alias.test. CNAME second.test.", "second.test. CNAME www.test.",
			"loop.test. CNAME loop.test.",
			"big.test. A 10.1.1.4", "forged.test. A 10.1.1.5", "old.test. A 10.1.1.6",
			"short.corp.test. A 10.1.1.7", "a.b.corp.test. A 10.1.1.8", "a.b. A 10.1.1.9",
			"9.1.1.10.in-addr.arpa. PTR ptr.test.",
			"1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa. PTR six.test.",
		)
		hosts, err := spclient.ParseHosts(strings.NewReader(testHosts))
		if err != nil {
			t.Fatal(err)
		}
		conf, err := spclient.ParseResolvConf(strings.NewReader(fmt.Sprintf(
			"; comment\nnameserver %s\nsearch corp.test other.test\noptions ndots:1 timeout:1 attempts:2\n", ns.addr)))
		if err != nil {
			t.Fatal(err)
		}
		conf.Timeout = 300 * time.Millisecond
		r := &spclient.Resolver{Conn: c, Hosts: hosts, Config: conf}
		for _, tt := range []struct {
			network, name string
			want          string // addresses, or the error
		}{
			{"ip", "www.test", "fd00::1 10.1.1.1 10.1.1.2"},
			{"ip", "WWW.Test.", "fd00::1 10.1.1.1 10.1.1.2"},
			{"ip4", "www.test", "10.1.1.1 10.1.1.2"},
			{"ip6", "www.test", "fd00::1"},
			{"ip", "v4.test", "10.1.1.3"},
			{"ip6", "v4.test", "lookup v4.test: no such host"},
			{"ip", "alias.test", "fd00::1 10.1.1.1 10.1.1.2"},
			{"ip", "loop.test", "lookup loop.test: no such host"},
			{"ip", "big.test", "10.1.1.4"},
			{"ip4", "forged.test", "10.1.1.5"},
			{"ip", "old.test", "10.1.1.6"},
			{"ip", "short", "10.1.1.7"},
			{"ip", "a.b", "10.1.1.9"},
			{"ip", "a.b.corp.test.", "10.1.1.8"},
			{"ip", "nosuch.test", "lookup nosuch.test: no such host"},
			{"ip4", "fail.test", "lookup fail.test on " + ns.addr.String() + ": server failure"},
			{"ip4", "silent.test.", "lookup silent.test. on " + ns.addr.String() + ": i/o timeout"},
			{"ip", "nine", "10.0.0.9 10.0.0.10 fd00::9"},
			{"ip", "NINE.example.org.", "10.0.0.9"},
			{"ip", "localhost", "127.0.0.1"},
			{"ip", "x.localhost", "127.0.0.1 ::1"},
			{"ip", "10.9.9.9", "10.9.9.9"},
			{"ip6", "10.9.9.9", "lookup 10.9.9.9: no such host"},
			{"ip", "a b", "lookup a b: not a domain name"},
			{"ip", "", "lookup : not a domain name"},
			{"ip", "x.onion", "lookup x.onion: no such host"},
			{"tcp", "www.test", "lookup www.test: unknown network tcp"},
		} {
			addrs, err := r.LookupNetIP(ctx, tt.network, tt.name)
			var words []string
			for _, a := range addrs {
				words = append(words, a.String())
			}
			got := strings.Join(words, " ")
			if err != nil {
				got = err.Error()
				var de *net.DNSError
				if !errors.As(err, &de) || de.IsNotFound != strings.Contains(got, "no such host") && !strings.Contains(got, "not a domain") ||
					de.IsTimeout != strings.Contains(got, "timeout") {
					t.Errorf("%s %q: %+v", tt.network, tt.name, err)
				}
			}
			if got != tt.want {
				t.Errorf("%s %q: %s, want %s", tt.network, tt.name, got, tt.want)
			}
		}
		for addr, want := range map[string]string{
			"10.1.1.9": "ptr.test.", "fd00::1": "six.test.", "10.0.0.9": "nine Nine.example.org",
			"10.1.1.1": "lookup 10.1.1.1: no such host", "x": "lookup x: unrecognized address",
		} {
			names, err := r.LookupAddr(ctx, addr)
			got := strings.Join(names, " ")
			if err != nil {
				got = err.Error()
			}
			if got != want {
				t.Errorf("%s: %s, want %s", addr, got, want)
			}
		}
		// What was asked, and how.
		ns.queries.take()
		r.LookupHost(ctx, "short")
		r.LookupNetIP(ctx, "ip4", "big.test")
		queries := ns.queries.take()
		slices.Sort(queries)
		if got, want := strings.Join(queries, ", "),
			"tcp big.test. A, udp big.test. A, udp short.corp.test. A, udp short.corp.test. AAAA"; got != want {
			t.Errorf("asked %s, want %s", got, want)
		}
		// No server is asked for what is in the table.
		r.LookupHost(ctx, "nine")
		if queries := ns.queries.take(); len(queries) != 0 {
			t.Errorf("asked %q", queries)
		}
		// One that is called off.
		short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
		defer cancel()
		if _, err := r.LookupHost(short, "silent.test."); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("called off: %v", err)
		}

		// Dial and listen by name.
		hosts, _ = spclient.ParseHosts(strings.NewReader("127.0.0.1 me\n::1 me\n192.0.2.1 far\n127.0.0.1 far\n"))
		r = &spclient.Resolver{Conn: c, Hosts: hosts}
		l, err := (&spclient.ListenConfig{Conn: c, Resolver: r}).Listen(ctx, "tcp", "me:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		_, port, _ := net.SplitHostPort(l.Addr().String())
		for _, host := range []string{"me", "far"} {
			d := &spclient.Dialer{Conn: c, Resolver: r}
			nc, err := d.DialContext(ctx, "tcp", net.JoinHostPort(host, port))
			if err != nil {
				t.Error(err)
				continue
			}
			if nc.RemoteAddr().String() != l.Addr().String() {
				t.Errorf("connected to %v", nc.RemoteAddr())
			}
			nc.Close()
		}
		if _, err := r.LookupHost(ctx, "elsewhere"); err == nil || err.Error() != "lookup elsewhere: no such host in the table, and no name servers are given" {
			t.Errorf("without servers: %v", err)
		}
	})
}

// TestResolverServers asks servers of which only the last answers.
func TestResolverServers(t *testing.T) {
	ctx, c := testContext(t), dialKernel(t, kernelURL(t, netbsd.AMD64))
	silent, err := c.ListenPacket(ctx, "udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	six := startNameServer(t, c, "[::1]:0", "www.test. A 10.1.1.1")
	r := &spclient.Resolver{Conn: c, Config: spclient.ResolvConf{
		Servers: []netip.AddrPort{
			netip.MustParseAddrPort("192.0.2.1:53"), // no route
			netip.MustParseAddrPort("127.0.0.1:1"),  // nobody there
			netip.MustParseAddrPort(silent.LocalAddr().String()),
			six.addr,
		},
		Timeout: 300 * time.Millisecond, Attempts: 1,
	}}
	addrs, err := r.LookupNetIP(ctx, "ip4", "www.test")
	if err != nil || len(addrs) != 1 || addrs[0].String() != "10.1.1.1" {
		t.Errorf("%v, %v", addrs, err)
	}
	r.Config.UseTCP = true
	r.Config.Servers = r.Config.Servers[3:]
	six.queries.take()
	if _, err := r.LookupNetIP(ctx, "ip4", "www.test"); err != nil {
		t.Error(err)
	}
	if queries := six.queries.take(); !slices.Equal(queries, []string{"tcp www.test. A"}) {
		t.Errorf("asked %q", queries)
	}
}

func TestParseResolvConf(t *testing.T) {
	conf, err := spclient.ParseResolvConf(strings.NewReader(`
# comment
nameserver 10.0.0.1
nameserver [fe80::1%shmif0]:5353 ; with a port
nameserver ::1
domain old.test
search a.test b.test
options ndots:3 timeout:7 attempts:4 rotate use-vc trust-ad edns0
sortlist 10.0.0.0
`))
	if err != nil {
		t.Fatal(err)
	}
	want := "[10.0.0.1:53 [fe80::1%shmif0]:5353 [::1]:53] [a.test b.test] 3 7s 4 true true"
	if got := fmt.Sprint(conf.Servers, conf.Search, conf.Ndots, conf.Timeout, conf.Attempts, conf.Rotate, conf.UseTCP); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	for text, want := range map[string]string{
		"nameserver x":        "line 1: nameserver x: not an address",
		"\noptions ndots:x":   "line 2: option ndots:x: not a number",
		"search a..b":         "search a..b: not a domain name",
		"options timeout:-1s": "line 1: option timeout:-1s: not a number",
	} {
		if _, err := spclient.ParseResolvConf(strings.NewReader(text)); err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
	for text, want := range map[string]string{
		"x y":         "line 1: x: not an address",
		"\n::1 a_b .": "line 2: .: not a domain name",
	} {
		if _, err := spclient.ParseHosts(strings.NewReader(text)); err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}
