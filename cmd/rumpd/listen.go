package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"syscall"

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
	c, err := net.Dial("unix", path)
	if err == nil {
		c.Close()
		return syscall.EADDRINUSE
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return syscall.EADDRINUSE
	}
	return os.Remove(path)
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
