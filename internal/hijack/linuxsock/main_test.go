//go:build linux

package linuxsock_test

import "encoding/binary"

// native is the byte order of the programs.
var native = binary.NativeEndian
