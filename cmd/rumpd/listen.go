package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"syscall"
	"time"

	"rumptools/pkg/sysproxy"
)

// listen opens the place that a URL names. The file of a local socket goes
// with the listener. One that is left over from a kernel that died is taken
// over; one that somebody serves is not.
func listen(url string) (net.Listener, error) {
	u, err := sysproxy.ParseURL(url)
	if err != nil {
		return nil, err
	}
	if u.Network == "unix" {
		if err := removeStale(u.Address); err != nil {
			return nil, fmt.Errorf("listen %s: %w", url, err)
		}
	}
	l, err := net.Listen(u.Network, u.Address)
	if err != nil {
		return nil, fmt.Errorf("listen %s: %w", url, cause(err))
	}
	return l, nil
}

// staleDelay is how long a socket must refuse clients to be a dead kernel's: one
// that is being made refuses them for a moment.
const staleDelay = 50 * time.Millisecond

// removeStale removes a socket at which nobody listens.
func removeStale(path string) error {
	st, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return cause(err)
	}
	if st.Mode().Type() != fs.ModeSocket {
		return syscall.EADDRINUSE
	}
	for range 2 {
		c, err := net.Dial("unix", path)
		if err == nil {
			c.Close()
		}
		if !errors.Is(err, syscall.ECONNREFUSED) {
			return syscall.EADDRINUSE
		}
		time.Sleep(staleDelay)
	}
	// Another kernel may take it over at the same time: only what was found
	// dead is removed, not the other's new socket.
	same := func(now fs.FileInfo) bool { return os.SameFile(st, now) && st.ModTime().Equal(now.ModTime()) }
	if now, err := os.Lstat(path); err == nil && !same(now) {
		return syscall.EADDRINUSE
	}
	aside := fmt.Sprintf("%s.%d", path, os.Getpid())
	if err := os.Rename(path, aside); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return cause(err)
	}
	if now, err := os.Lstat(aside); err == nil && !same(now) {
		if err := os.Rename(aside, path); err != nil {
			return cause(err)
		}
		return syscall.EADDRINUSE
	}
	if err := os.Remove(aside); err != nil {
		return cause(err)
	}
	return nil
}

// cause is the innermost error: package net's chain names operation and
// address again.
func cause(err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}
