//go:build linux

package linuxsock

import (
	"cmp"
	"slices"
)

// OptionInfo is an option that is allowed or refused in a way of its own.
type OptionInfo struct {
	Level, Option  int
	Name, Why      string
	CanSet, CanGet bool
	Acts           bool // in the kernel
	Refused        bool
}

// Options lists the options.
func Options() []OptionInfo {
	var list []OptionInfo
	for key, o := range options {
		list = append(list, OptionInfo{key.level, key.name, o.name, o.why, o.set != nil, o.get != nil, o.at == inKernel, o.at == refused})
	}
	slices.SortFunc(list, func(a, b OptionInfo) int {
		return cmp.Or(cmp.Compare(a.Level, b.Level), cmp.Compare(a.Option, b.Option))
	})
	return list
}
