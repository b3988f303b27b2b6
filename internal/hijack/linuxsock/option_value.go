//go:build linux

package linuxsock

import (
	"golang.org/x/sys/unix"
)

func boolInt(b bool) int32 {
	if b {
		return 1
	}
	return 0
}

// intValue is the value of an option that is an int.
func intValue(v int32) []byte { return native.AppendUint32(nil, uint32(v)) }

// number reads a value that is an int and hands it on. SOL_IP takes octets, and
// no value at all for 0.
func number(set func(r *request, v int32) unix.Errno) func(*request, []byte) unix.Errno {
	return func(r *request, value []byte) unix.Errno {
		switch {
		case len(value) >= 4:
			return set(r, int32(native.Uint32(value)))
		case r.key.level != unix.SOL_IP:
			return unix.EINVAL
		case len(value) > 0:
			return set(r, int32(value[0]))
		}
		return set(r, 0)
	}
}

// some is number for those options of SOL_IP that take no empty value.
func some(set func(*request, []byte) unix.Errno) func(*request, []byte) unix.Errno {
	return func(r *request, value []byte) unix.Errno {
		if len(value) == 0 {
			return unix.EINVAL
		}
		return set(r, value)
	}
}

// loose is for those options of SOL_IPV6 that take what is no int for 0.
func loose(set func(*request, []byte) unix.Errno) func(*request, []byte) unix.Errno {
	return func(r *request, value []byte) unix.Errno {
		if len(value) < 4 {
			value = make([]byte, 4)
		}
		return set(r, value)
	}
}

// store remembers the option's value for getsockopt(2).
func (r *request) store(v int32) unix.Errno {
	if r.s.values == nil {
		r.s.values = make(map[optionKey]int32)
	}
	r.s.values[r.key] = v
	return 0
}

// stored is the value that was set, or else a default.
func (r *request) stored(def int32) int32 {
	if v, ok := r.s.values[r.key]; ok {
		return v
	}
	return def
}

// get returns the value that was set, or else a default.
func get(def int32) func(*request) ([]byte, unix.Errno) {
	return func(r *request) ([]byte, unix.Errno) { return intValue(r.stored(def)), 0 }
}

// fact answers with what follows from the socket's kind.
func fact(f func(s *Socket) int32) func(*request) ([]byte, unix.Errno) {
	return func(r *request) ([]byte, unix.Errno) { return intValue(f(r.s)), 0 }
}

// empty answers with a value of no bytes.
func empty(*request) ([]byte, unix.Errno) { return nil, 0 }

// fails answers with an error.
func fails(errno unix.Errno) func(*request) ([]byte, unix.Errno) {
	return func(*request) ([]byte, unix.Errno) { return nil, errno }
}

// deny refuses a value, whatever it is.
func deny(errno unix.Errno) func(*request, []byte) unix.Errno {
	return func(*request, []byte) unix.Errno { return errno }
}

// onlyDefault takes the value that the socket has anyway, and refuses others.
func onlyDefault(def int32, errno unix.Errno) func(*request, []byte) unix.Errno {
	return number(func(_ *request, v int32) unix.Errno {
		if v != def {
			return errno
		}
		return 0
	})
}

// onlyOff takes false, and refuses what is true.
func onlyOff(errno unix.Errno) func(*request, []byte) unix.Errno { return onlyDefault(0, errno) }

// storeBool remembers a boolean.
var storeBool = number(func(r *request, v int32) unix.Errno { return r.store(boolInt(v != 0)) })

// remembered is a boolean option that changes nothing, and why that is right.
func remembered(name, why string) *option {
	return &option{name: name, why: why, set: storeBool, get: get(0)}
}

// kernelBool is a boolean option that the kernel has as well.
func kernelBool(name string, level, kernelName int32) *option {
	return &option{name: name, at: inKernel, get: get(0), set: number(func(r *request, v int32) unix.Errno {
		v = boolInt(v != 0)
		if errno := r.kernelInt(level, kernelName, v); errno != 0 {
			return errno
		}
		return r.store(v)
	})}
}

// only restricts an option to sockets of some kinds; others get an error for it.
func (o *option) only(is func(*Socket) bool, errno unix.Errno) *option {
	set, get := o.set, o.get
	if set != nil {
		o.set = func(r *request, value []byte) unix.Errno {
			if !is(r.s) {
				return errno
			}
			return set(r, value)
		}
	}
	if get != nil {
		o.get = func(r *request) ([]byte, unix.Errno) {
			if !is(r.s) {
				return nil, errno
			}
			return get(r)
		}
	}
	return o
}

// hostSet sets the option on the program's own socket of the host.
func (r *request) hostSet(value []byte) unix.Errno {
	if r.host < 0 {
		return 0
	}
	err := unix.SetsockoptString(r.host, r.key.level, r.key.name, string(value))
	errno, _ := err.(unix.Errno)
	return errno
}
