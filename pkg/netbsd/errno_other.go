//go:build !linux && !netbsd && !freebsd && !openbsd && !darwin

package netbsd

var moreHostErrnos = [...]hostErrno{}
