//go:build amd64 || arm64

package hijack

import (
	"testing"

	"rumptools/pkg/netbsd"
)

// L and the kernel's queue together hold as many connections as Linux's.
func TestShare(t *testing.T) {
	for backlog := range maxBacklog + 1 {
		inL, inKernel := share(backlog)
		if inKernel < 0 || inKernel > netbsd.SOMAXCONN || inL < 1 {
			t.Fatalf("backlog %d: %d in L, the kernel is told %d", backlog, inL, inKernel)
		}
		want := max(backlog+1, 2)
		if all := inL + 3*int(inKernel)/2 + 1; all != want {
			t.Errorf("backlog %d: %d wait, want %d", backlog, all, want)
		}
	}
}
