//go:build unix && !linux && !netbsd && !freebsd && !openbsd && !darwin

package netbsd

var moreHostSignals = [...]hostSignal{}
