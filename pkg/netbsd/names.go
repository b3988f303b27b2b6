package netbsd

import "bytes"

// IFNAMSIZ is the size of the array that holds an interface's name, its NUL
// included (<net/if.h>).
const IFNAMSIZ = 16

// IfName puts an interface's name into the array that requests carry. A name
// that is too long is cut to 15 bytes, so that its NUL remains.
func IfName(name string) (a [IFNAMSIZ]byte) {
	copy(a[:IFNAMSIZ-1], name)
	return a
}

// CString returns the bytes before the first NUL of b, or all of b when it
// has none.
func CString(b []byte) string {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}
