package kernel

import (
	"slices"
	"strings"
)

// RemoveSysctl takes out the node with a name below path, and all below it. It
// does nothing when there is none.
func (k *Kernel) RemoveSysctl(path, name string) {
	t := k.sysctls
	t.mu.Lock()
	defer t.mu.Unlock()
	parent := t.root
	for _, step := range strings.Split(path, ".") {
		i := slices.IndexFunc(parent.children, func(c *Node) bool { return c.Name == step })
		if i < 0 {
			return
		}
		parent = parent.children[i]
	}
	parent.children = slices.DeleteFunc(parent.children, func(c *Node) bool { return c.Name == name })
	t.vers++
	for p := parent; p != nil; p = p.parent {
		p.version = t.vers
	}
}
