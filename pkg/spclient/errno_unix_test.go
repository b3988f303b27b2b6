//go:build unix

package spclient_test

import "golang.org/x/sys/unix"

var errNotDir error = unix.ENOTDIR
