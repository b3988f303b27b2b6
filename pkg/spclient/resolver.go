package spclient

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"
)

// Resolver looks names up for programs in the kernel's network: in a table of hosts
// and, over the kernel's own sockets, with name servers (RFC 1035). It knows nothing
// of the host's files and servers: what it is to use is given to it.
//
// Its fields must not be changed while it is used.
type Resolver struct {
	// Conn is the kernel whose sockets are used.
	Conn *Conn
	// Hosts is looked at first; nil is none.
	Hosts *Hosts
	// Config says which servers to ask, and how. Without servers names are found in
	// Hosts only.
	Config ResolvConf

	next atomic.Uint32 // server to begin with, for Rotate
}

// What a DNSError says.
const (
	errNoSuchHost = "no such host"
	errBadName    = "not a domain name"
	errNoServers  = "no such host in the table, and no name servers are given"
)

// LookupNetIP returns the addresses of a host. Network is "ip", "ip4" or "ip6". An
// address is its own. For "ip" those of IPv6 come first, but localhost's last. The
// error is a [*net.DNSError].
func (r *Resolver) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	want := func(netip.Addr) bool { return true }
	switch network {
	case "ip":
	case "ip4":
		want = netip.Addr.Is4
	case "ip6":
		want = netip.Addr.Is6
	default:
		return nil, &net.DNSError{Err: net.UnknownNetworkError(network).Error(), Name: host}
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		return wanted(want, []netip.Addr{addr.Unmap()}, host)
	}
	if !isDomainName(host) {
		return nil, &net.DNSError{Err: errBadName, Name: host, IsNotFound: true}
	}
	if addrs := r.Hosts.Addrs(host); addrs != nil {
		return wanted(want, addrs, host)
	}
	if addrs := localhost(host); addrs != nil {
		return wanted(want, addrs, host)
	}
	// The names below onion are not for name servers (RFC 7686).
	if strings.HasSuffix(strings.ToLower(strings.TrimSuffix(host, ".")), ".onion") {
		return nil, &net.DNSError{Err: errNoSuchHost, Name: host, IsNotFound: true}
	}
	if len(r.Config.Servers) == 0 {
		return nil, &net.DNSError{Err: errNoServers, Name: host, IsNotFound: true}
	}
	types := []queryType{typeAAAA, typeA}
	switch network {
	case "ip4":
		types = types[1:]
	case "ip6":
		types = types[:1]
	}
	var failed error
	for _, name := range r.Config.names(host) {
		answers, err := r.queryAll(ctx, name, types)
		if len(answers) > 0 {
			// What is there is good enough, also when one of the two failed.
			addrs := make([]netip.Addr, len(answers))
			for i, a := range answers {
				addrs[i] = a.addr
			}
			return addrs, nil
		}
		if err != nil && failed == nil {
			failed = err
		}
		if ctx.Err() != nil {
			break
		}
	}
	return nil, dnsError(ctx, host, failed)
}

// wanted returns those of a host's addresses that are wanted, if there are any.
func wanted(want func(netip.Addr) bool, addrs []netip.Addr, host string) ([]netip.Addr, error) {
	var out []netip.Addr
	for _, a := range addrs {
		if want(a) {
			out = append(out, a)
		}
	}
	if out == nil {
		return nil, &net.DNSError{Err: errNoSuchHost, Name: host, IsNotFound: true}
	}
	return out, nil
}

// dnsError is the error of a look-up: that there is no such name when err is nil.
func dnsError(ctx context.Context, name string, err error) error {
	if err == nil {
		return &net.DNSError{Err: errNoSuchHost, Name: name, IsNotFound: true}
	}
	if cerr := ctx.Err(); cerr != nil {
		err = contextError(ctx, cerr)
	}
	e := &net.DNSError{UnwrapErr: err, Err: err.Error(), Name: name, IsTemporary: true}
	var se *serverError
	if errors.As(err, &se) {
		e.Server, e.Err = se.server.String(), se.err.Error()
	}
	var te interface{ Timeout() bool }
	e.IsTimeout = errors.As(err, &te) && te.Timeout()
	return e
}

// LookupHost returns the addresses of a host as text; see [Resolver.LookupNetIP].
func (r *Resolver) LookupHost(ctx context.Context, host string) ([]string, error) {
	addrs, err := r.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	out := make([]string, len(addrs))
	for i, a := range addrs {
		out[i] = a.String()
	}
	return out, nil
}

// LookupAddr returns the names of an address. Those of name servers end in a dot.
func (r *Resolver) LookupAddr(ctx context.Context, addr string) ([]string, error) {
	a, err := netip.ParseAddr(addr)
	if err != nil {
		return nil, &net.DNSError{Err: "unrecognized address", Name: addr}
	}
	if names := r.Hosts.Names(a); names != nil {
		return names, nil
	}
	if len(r.Config.Servers) == 0 {
		return nil, &net.DNSError{Err: errNoServers, Name: addr, IsNotFound: true}
	}
	answers, err := r.queryAll(ctx, reverseName(a), []queryType{typePTR})
	if len(answers) == 0 {
		return nil, dnsError(ctx, addr, err)
	}
	names := make([]string, len(answers))
	for i, a := range answers {
		names[i] = a.name
	}
	return names, nil
}

// reverseName is the name that has an address's names.
func reverseName(a netip.Addr) string {
	const digits = "0123456789abcdef"
	var b strings.Builder
	if a = a.Unmap(); a.Is4() {
		q := a.As4()
		return fmt.Sprintf("%d.%d.%d.%d.in-addr.arpa.", q[3], q[2], q[1], q[0])
	}
	q := a.As16()
	for i := len(q) - 1; i >= 0; i-- {
		b.Write([]byte{digits[q[i]&0xf], '.', digits[q[i]>>4], '.'})
	}
	return b.String() + "ip6.arpa."
}

// isDomainName tells whether a name can be looked up: labels of 1 to 63 bytes, 253
// together, of letters, digits, hyphens and underscores, as is the custom.
func isDomainName(s string) bool {
	s = strings.TrimSuffix(s, ".")
	if len(s) == 0 || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if len(label) == 0 || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, c := range []byte(label) {
			switch {
			case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c >= 0x80:
			default:
				return false
			}
		}
	}
	return true
}

// queryAll asks for records of several types at a time and returns the answers in
// the order of types. The error is the first of any, nil when all that failed
// is that there are none.
func (r *Resolver) queryAll(ctx context.Context, name string, types []queryType) ([]answer, error) {
	type result struct {
		answers []answer
		err     error
	}
	results := make([]chan result, len(types))
	for i, t := range types {
		c := make(chan result, 1)
		results[i] = c
		go func() {
			answers, err := r.query(ctx, name, t)
			c <- result{answers, err}
		}()
	}
	var all []answer
	var failed error
	for _, c := range results {
		res := <-c
		all = append(all, res.answers...)
		if failed == nil {
			failed = res.err
		}
	}
	return all, failed
}

// A serverError says which server it was that failed.
type serverError struct {
	server netip.AddrPort
	err    error
}

func (e *serverError) Error() string { return e.server.String() + ": " + e.err.Error() }
func (e *serverError) Unwrap() error { return e.err }

// query asks the servers one after the other, each several times if need be. No
// answers without an error is that there are none.
func (r *Resolver) query(ctx context.Context, name string, t queryType) ([]answer, error) {
	servers := r.Config.Servers
	first := 0
	if r.Config.Rotate {
		first = int(r.next.Add(1)-1) % len(servers)
	}
	var failed error
	for range r.Config.attempts() {
		for i := range servers {
			server := servers[(first+i)%len(servers)]
			answers, err := r.ask(ctx, server, name, t)
			if err == nil {
				return answers, nil
			}
			if failed == nil || ctx.Err() != nil {
				failed = &serverError{server, err}
			}
			if ctx.Err() != nil {
				return nil, failed
			}
		}
	}
	return nil, failed
}

// ask asks one server once: by UDP, and by TCP when the answer does not fit.
func (r *Resolver) ask(ctx context.Context, server netip.AddrPort, name string, t queryType) ([]answer, error) {
	edns := true
	network := "udp"
	if r.Config.UseTCP {
		network = "tcp"
	}
	for {
		resp, err := r.exchange(ctx, server, network, name, t, edns)
		switch {
		case err != nil:
			return nil, err
		case resp.truncated && network == "udp":
			network = "tcp"
			continue
		case resp.formatError && edns:
			edns = false // the server is older than RFC 6891
			continue
		}
		return resp.answers, resp.err
	}
}

// exchange sends a query and waits for its answer.
func (r *Resolver) exchange(ctx context.Context, server netip.AddrPort, network, name string, t queryType, edns bool) (response, error) {
	q, err := newQuery(name, t, edns)
	if err != nil {
		return response{}, err
	}
	timeout := r.Config.timeout()
	// It isn't the caller's time that has run out when this one's has.
	d := &Dialer{Conn: r.Conn, Timeout: timeout}
	end := time.Now().Add(timeout)
	c, err := d.DialContext(ctx, network, server.String())
	if err != nil {
		return response{}, causeOf(err)
	}
	defer c.Close()
	c.SetDeadline(end)
	stop := context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	resp, err := q.exchange(c, network == "tcp")
	if err != nil {
		return response{}, causeOf(err)
	}
	return resp, nil
}

// causeOf leaves out of a socket's error what the server's address tells already.
func causeOf(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		if errors.Is(err, errTimeout{}) || op.Timeout() {
			return errTimeout{}
		}
		return op.Err
	}
	return err
}
