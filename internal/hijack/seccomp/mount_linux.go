//go:build amd64 || arm64

package seccomp

import "rumptools/internal/hijack/seccomp/stage"

// Mount has a file or directory seen at another place, by the program alone.
type Mount struct {
	From, To string
	// Links has symbolic links mounted: From itself, over To itself, and not what
	// they lead to. Only a link can be mounted over one.
	Links bool
	// ReadOnly has it seen so that nobody can write to it.
	ReadOnly bool
	// Tree has what is mounted below From seen, too. The program is started also where this
	// mount is not possible.
	Tree bool
}

// message is what the stage is told of mounts.
func message(mounts []Mount) []byte {
	if len(mounts) == 0 {
		return []byte{0}
	}
	var b []byte
	for _, m := range mounts {
		kind := byte(stage.File)
		switch {
		case m.Links:
			kind = stage.Link
		case m.ReadOnly:
			kind = stage.ReadOnly
		case m.Tree:
			kind = stage.Tree
		}
		b = append(append(b, kind), m.From+"\x00"+m.To+"\x00"...)
	}
	return b
}
