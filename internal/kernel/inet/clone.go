package inet

import (
	"math"
	"strings"

	"rumptools/internal/kernel"
	"rumptools/pkg/netbsd"
)

// cloner makes interfaces of a kind (struct if_clone).
type cloner struct {
	name   string
	create func(s *Stack, unit int) (*Interface, error)
}

// cloners are the kinds of interfaces, in the order that the kernel lists
// them.
var cloners = []cloner{
	{"lo", (*Stack).createLoop},
	{"shmif", (*Stack).createShmif},
}

// findCloner takes an interface's name apart (if_clone_lookup): letters that
// are a cloner's name, then a number. Leading zeros are allowed, so that
// several names mean the same number.
func findCloner(name string) (c cloner, unit int, ok bool) {
	i := strings.IndexAny(name, "0123456789")
	if i <= 0 {
		return cloner{}, 0, false
	}
	for _, d := range name[i:] {
		if d < '0' || d > '9' || unit >= math.MaxInt32/10 {
			return cloner{}, 0, false
		}
		unit = unit*10 + int(d-'0')
	}
	for _, c := range cloners {
		if c.name == name[:i] {
			return c, unit, true
		}
	}
	return cloner{}, 0, false
}

// cloneCreate is SIOCIFCREATE. s.mu is held.
func (s *Stack) cloneCreate(name string) error {
	c, unit, ok := findCloner(name)
	if !ok {
		return netbsd.EINVAL
	}
	if s.ifByName[name] != nil || s.ifByName[unitName(c.name, unit)] != nil {
		return netbsd.EEXIST
	}
	if len(unitName(c.name, unit)) >= netbsd.IFNAMSIZ {
		return netbsd.EINVAL
	}
	_, err := c.create(s, unit)
	return err
}

// cloneDestroy is SIOCIFDESTROY. s.mu is held.
func (s *Stack) cloneDestroy(name string) error {
	if _, _, ok := findCloner(name); !ok {
		return netbsd.EINVAL
	}
	ifp := s.ifByName[name]
	switch ifp {
	case nil:
		return netbsd.ENXIO
	case s.lo0:
		return netbsd.EPERM
	}
	s.detach(ifp)
	return nil
}

// listCloners is SIOCIFGCLONERS: the names of the cloners, as many as there is
// room for.
func (s *Stack) listCloners(c *kernel.Call, data []byte) error {
	var req netbsd.IfClonereq
	write, err := s.request(data, &req)
	if err != nil {
		return err
	}
	req.Total = int32(len(cloners))
	if req.Buffer != 0 {
		if req.Count < 0 {
			return netbsd.EINVAL
		}
		var names []byte
		for _, c := range cloners[:min(len(cloners), int(req.Count))] {
			name := netbsd.IfName(c.name)
			names = append(names, name[:]...)
		}
		if err := c.CopyOut(uint64(req.Buffer), names); err != nil {
			return err
		}
	}
	write()
	return nil
}
