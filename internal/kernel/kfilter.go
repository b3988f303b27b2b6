package kernel

import (
	"slices"

	"rumptools/pkg/netbsd"
)

// filterNames are the names of the filters that NetBSD has, by their numbers.
var filterNames = []string{
	netbsd.EVFILT_READ:   "EVFILT_READ",
	netbsd.EVFILT_WRITE:  "EVFILT_WRITE",
	netbsd.EVFILT_AIO:    "EVFILT_AIO",
	netbsd.EVFILT_VNODE:  "EVFILT_VNODE",
	netbsd.EVFILT_PROC:   "EVFILT_PROC",
	netbsd.EVFILT_SIGNAL: "EVFILT_SIGNAL",
	netbsd.EVFILT_TIMER:  "EVFILT_TIMER",
}

// maxFilterName is KFILTER_MAXNAME.
const maxFilterName = 32

// Ioctl knows the commands that tell a filter's name and number (kqueue(2)).
func (kq *kqueue) Ioctl(c *Call, cmd uint32, data []byte) error {
	m := c.Machine()
	var km netbsd.KfilterMapping
	if cmd != netbsd.KFILTER_BYFILTER.Cmd(m) && cmd != netbsd.KFILTER_BYNAME.Cmd(m) {
		return netbsd.ENOTTY
	}
	if err := netbsd.Unmarshal(m, data, &km); err != nil {
		return netbsd.EINVAL
	}
	if cmd == netbsd.KFILTER_BYFILTER.Cmd(m) {
		if int64(km.Filter) >= int64(len(filterNames)) {
			return netbsd.ENOENT
		}
		name := filterNames[km.Filter] + "\x00"
		if uint64(km.Len) < uint64(len(name)) {
			return netbsd.ENAMETOOLONG
		}
		return c.CopyOut(uint64(km.Name), []byte(name))
	}
	name, err := c.CopyInStr(uint64(km.Name), maxFilterName)
	if err != nil {
		return err
	}
	i := slices.Index(filterNames, name)
	if i < 0 {
		return netbsd.ENOENT
	}
	km.Filter = uint32(i)
	copy(data, netbsd.Marshal(m, &km))
	return nil
}
