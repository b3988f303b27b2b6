//go:build linux

package linuxsock_test

import (
	"encoding/binary"
	"testing"
	"time"
)

// native is the byte order of the programs.
var native = binary.NativeEndian

// eventually waits for a condition that others bring about.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !cond(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}
