// Package netdb looks names up in the host's files of hosts, networks,
// services and protocols (hosts(5), networks(5), services(5), protocols(5)).
// It asks no server: what a tool prints of a kernel does not depend on a
// resolver, and nobody waits for one.
package netdb

import (
	"bufio"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
)

// DB is a set of such files. The zero DB knows no names; [Host] gives the
// host's. A DB reads each file when it is first needed, and a file that is
// not there has no entries. It may be used by several goroutines.
type DB struct {
	dir string

	hosts     lazy[hostTable]
	networks  lazy[map[string]netip.Addr]
	services  lazy[serviceTable]
	protocols lazy[protocolTable]
}

// Host returns the host's own files, those in /etc.
func Host() *DB { return New("/etc") }

// New returns the files hosts, networks, services and protocols in a
// directory.
func New(dir string) *DB { return &DB{dir: dir} }

type lazy[T any] struct {
	once  sync.Once
	value T
}

func (l *lazy[T]) get(read func() T) T {
	l.once.Do(func() { l.value = read() })
	return l.value
}

type (
	hostTable struct {
		byAddr map[netip.Addr]string
		byName map[string][]netip.Addr
	}
	serviceTable  map[string]string // "80/tcp"
	protocolTable struct {
		byNumber map[int]string
		byName   map[string]string // a name or an alias to the name
	}
)

// HostName returns the first name of an address, without a zone.
func (db *DB) HostName(addr netip.Addr) (string, bool) {
	name, ok := db.hosts.get(db.readHosts).byAddr[addr.Unmap().WithZone("")]
	return name, ok
}

// HostAddrs returns the addresses of a name, in the file's order.
func (db *DB) HostAddrs(name string) []netip.Addr {
	return db.hosts.get(db.readHosts).byName[strings.ToLower(name)]
}

// NetworkAddr returns the IPv4 network of a name. Bytes that the file leaves
// out are zero: 10 is 10.0.0.0.
func (db *DB) NetworkAddr(name string) (netip.Addr, bool) {
	n, ok := db.networks.get(db.readNetworks)[name]
	return n, ok
}

// ServiceName returns the name of a port, in host order, of a protocol: "tcp"
// or "udp".
func (db *DB) ServiceName(port uint16, protocol string) (string, bool) {
	name, ok := db.services.get(db.readServices)[strconv.Itoa(int(port))+"/"+protocol]
	return name, ok
}

// ProtocolName returns the name of an IP protocol.
func (db *DB) ProtocolName(number int) (string, bool) {
	name, ok := db.protocols.get(db.readProtocols).byNumber[number]
	return name, ok
}

// ProtocolAlias returns the name of the protocol that an alias stands for, or
// the name itself.
func (db *DB) ProtocolAlias(alias string) (string, bool) {
	name, ok := db.protocols.get(db.readProtocols).byName[alias]
	return name, ok
}

// lines calls f with the words of every line that has some.
func (db *DB) lines(file string, f func(words []string)) {
	if db.dir == "" {
		return
	}
	r, err := os.Open(filepath.Join(db.dir, file))
	if err != nil {
		return
	}
	defer r.Close()
	readLines(r, f)
}

func readLines(r io.Reader, f func(words []string)) {
	s := bufio.NewScanner(r)
	for s.Scan() {
		line, _, _ := strings.Cut(s.Text(), "#")
		if words := strings.Fields(line); len(words) > 0 {
			f(words)
		}
	}
}

// setFirst keeps the first value of a key: files are searched from the top.
func setFirst[K comparable, V any](m map[K]V, k K, v V) {
	if _, ok := m[k]; !ok {
		m[k] = v
	}
}

func (db *DB) readHosts() hostTable {
	t := hostTable{map[netip.Addr]string{}, map[string][]netip.Addr{}}
	db.lines("hosts", func(w []string) {
		addr, err := netip.ParseAddr(w[0])
		if err != nil || len(w) < 2 {
			return
		}
		addr = addr.Unmap()
		setFirst(t.byAddr, addr.WithZone(""), w[1])
		for _, name := range w[1:] {
			name = strings.ToLower(name)
			t.byName[name] = append(t.byName[name], addr)
		}
	})
	return t
}

func (db *DB) readNetworks() map[string]netip.Addr {
	t := map[string]netip.Addr{}
	db.lines("networks", func(w []string) {
		if len(w) < 2 {
			return
		}
		n, ok := parseNetwork(w[1])
		if !ok {
			return
		}
		for i, name := range w {
			if i != 1 {
				setFirst(t, name, n)
			}
		}
	})
	return t
}

// parseNetwork reads one to four decimal bytes, the first the most
// significant.
func parseNetwork(s string) (netip.Addr, bool) {
	var b [4]byte
	parts := strings.Split(s, ".")
	if len(parts) > len(b) {
		return netip.Addr{}, false
	}
	for i, part := range parts {
		v, err := strconv.ParseUint(part, 10, 8)
		if err != nil {
			return netip.Addr{}, false
		}
		b[i] = byte(v)
	}
	return netip.AddrFrom4(b), true
}

func (db *DB) readServices() serviceTable {
	t := serviceTable{}
	db.lines("services", func(w []string) {
		if len(w) >= 2 {
			setFirst(t, w[1], w[0])
		}
	})
	return t
}

func (db *DB) readProtocols() protocolTable {
	t := protocolTable{map[int]string{}, map[string]string{}}
	db.lines("protocols", func(w []string) {
		if len(w) < 2 {
			return
		}
		n, err := strconv.Atoi(w[1])
		if err != nil {
			return
		}
		setFirst(t.byNumber, n, w[0])
		setFirst(t.byName, w[0], w[0])
		for _, alias := range w[2:] {
			setFirst(t.byName, alias, w[0])
		}
	})
	return t
}
