package spclient

import "strconv"

// FD is a descriptor in the kernel. It belongs to the connection that it came
// from: a call on another one fails with [ErrStale], so that a descriptor of a
// kernel that is gone never stands for a file of its successor. FDs can be
// compared. The zero FD is none.
type FD struct {
	num int32
	gen uint32
}

// Int returns the descriptor's number in the kernel, -1 for the zero FD.
func (fd FD) Int() int32 {
	if fd.gen == 0 {
		return -1
	}
	return fd.num
}

// Valid tells whether fd is any connection's descriptor.
func (fd FD) Valid() bool { return fd.gen != 0 }

// String returns the descriptor's number.
func (fd FD) String() string { return strconv.Itoa(int(fd.Int())) }

// FD makes a descriptor of the kernel that the connection has now from its
// number: one that came in a control message or from the process before an exec,
// or the console (0 to 2). What a call returns is made with [Call.DoFD].
func (c *Conn) FD(num int32) FD { return FD{num, c.session().gen} }
