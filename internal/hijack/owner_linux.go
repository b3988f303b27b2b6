//go:build amd64 || arm64

package hijack

import "rumptools/internal/hijack/netview"

// ownerOf tells programs whose socket of the kernel's is theirs.
func (s *supervisor) ownerOf(*netview.Socket) netview.Owner { return netview.Owner{} }
