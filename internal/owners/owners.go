// Package owners tells which program of this host a kernel's socket belongs to. A
// kernel knows its clients only; a supervisor of rumpctl exec is one client for many
// programs, and says here which of them has which socket.
//
// Each supervisor listens on a local socket in the run-time directory (package
// registry), whose name tells the kernel's URL and the supervisor's process ID. Whoever
// connects gets a list, as JSON, and the end of the connection.
package owners

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"rumptools/pkg/sysproxy"
)

// Socket is one of a kernel's sockets with the program that has it.
type Socket struct {
	// Protocol is tcp, udp, icmp or ip.
	Protocol string `json:"protocol"`
	// Local and Remote are its addresses; Remote's port is 0 when it has none.
	Local  netip.AddrPort `json:"local"`
	Remote netip.AddrPort `json:"remote"`
	// PID is the process that used it last, of those that have it.
	PID int `json:"pid"`
	// Program is that process's name (comm in proc(5)).
	Program string `json:"program"`
	// Inode is the number of the host's socket that the program holds, as in
	// /proc/PID/fd, and UID the program's user.
	Inode uint32 `json:"inode"`
	UID   uint32 `json:"uid"`
	// Backlog is how many connections a listener lets wait.
	Backlog int `json:"backlog,omitempty"`
	// Unread is what waits in that socket for the program, as Linux counts it: bytes of a stream,
	// connections of a listener, and of datagrams what they take of the receive buffer.
	Unread int `json:"unread,omitempty"`
}

// answerTime is how long a supervisor may take.
const answerTime = 2 * time.Second

// maxList bounds what is read of one.
const maxList = 16 << 20

// prefix begins the names of a kernel's supervisors. No kernel's name begins with a dot.
func prefix(url string) string {
	sum := sha256.Sum256([]byte(Resolve(url)))
	return ".owners-" + hex.EncodeToString(sum[:8]) + "-"
}

// Resolve returns the URL that a kernel has by all paths: its path is absolute and has no symbolic
// links. [Tell] and [List] do that themselves; who asks later resolves before, since the links may
// be gone by then.
func Resolve(url string) string {
	u, err := sysproxy.ParseURL(url)
	if err != nil || u.Network != "unix" {
		return url
	}
	path := u.Address
	if !filepath.IsAbs(path) {
		dir, err := os.Getwd()
		if err != nil {
			return url
		}
		// Not Join, for which link/.. is nothing.
		path = dir + "/" + path
	}
	links := maxLinks
	u.Address = realPath(path, &links)
	return u.String()
}

// maxLinks is how many links are followed that lead to nothing, as many as Linux follows of all.
const maxLinks = 40

// realPath is an absolute path without symbolic links. Nothing need be there. So many links are
// followed at most.
func realPath(path string, links *int) string {
	if path, err := filepath.EvalSymlinks(path); err == nil {
		return path
	}
	dir, name := filepath.Split(strings.TrimRight(path, "/"))
	if dir == "" {
		return "/"
	}
	path = filepath.Join(realPath(dir, links), name)
	// A link stays when the kernel has ended and its socket is gone.
	to, err := os.Readlink(path)
	if err != nil || *links == 0 {
		return path
	}
	*links--
	if !filepath.IsAbs(to) {
		to = filepath.Dir(path) + "/" + to
	}
	return realPath(to, links)
}

// A Teller tells of the sockets that this process's programs have.
type Teller struct {
	ln   net.Listener
	done sync.WaitGroup
}

// Tell begins, in a run-time directory, for a kernel by its URL. list is called by any
// goroutine.
func Tell(dir, url string, list func() []Socket) (*Teller, error) {
	path := filepath.Join(dir, prefix(url)+strconv.Itoa(os.Getpid()))
	// Of an earlier process with this number.
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	ln, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	t := &Teller{ln: ln}
	t.done.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			c.SetDeadline(time.Now().Add(answerTime))
			json.NewEncoder(c).Encode(list())
			c.Close()
		}
	})
	return t, nil
}

// Close ends it.
func (t *Teller) Close() error {
	err := t.ln.Close()
	t.done.Wait()
	return err
}

// List asks all supervisors of a kernel. Those that died are removed. What others said
// is returned also when there is an error.
func List(ctx context.Context, dir, url string) ([]Socket, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return nil, err
	}
	var all []Socket
	var errs []error
	prefix := prefix(url)
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), prefix) {
			continue
		}
		path := filepath.Join(dir, e.Name())
		list, err := ask(ctx, path)
		switch {
		case errors.Is(err, syscall.ECONNREFUSED):
			os.Remove(path)
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			errs = append(errs, fmt.Errorf("owners of sockets from %s: %w", path, err))
		}
		all = append(all, list...)
	}
	return all, errors.Join(errs...)
}

func ask(ctx context.Context, path string) ([]Socket, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	c.SetDeadline(time.Now().Add(answerTime))
	var list []Socket
	if err := json.NewDecoder(&limited{c, maxList}).Decode(&list); err != nil {
		return nil, err
	}
	return list, nil
}

// limited is a reader that fails after so many bytes.
type limited struct {
	net.Conn
	left int
}

var errTooLong = errors.New("too long a list")

func (l *limited) Read(p []byte) (int, error) {
	n, err := l.Conn.Read(p)
	if l.left -= n; l.left < 0 {
		return 0, errTooLong
	}
	return n, err
}
