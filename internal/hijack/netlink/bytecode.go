//go:build linux

package netlink

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/netview"
)

// bytecode is a program that tells which sockets are wanted (INET_DIAG_BC_* of
// linux/inet_diag.h): operations of four bytes, which say how far to go on when
// they hold and when they do not. Reaching the end accepts, going past it
// refuses.
type bytecode []byte

// Codes of operations.
const (
	bcNop = iota
	bcJump
	bcLocalGE
	bcLocalLE
	bcRemoteGE
	bcRemoteLE
	bcAuto
	bcLocalCond
	bcRemoteCond
	bcDevCond
	bcMarkCond
	bcLocalEQ
	bcRemoteEQ
)

// bcOp is struct inet_diag_bc_op.
type bcOp struct {
	code, yes uint8
	no        uint16
}

const sizeofBcOp = 4

func (c bytecode) op() bcOp {
	return bcOp{c[0], c[1], native.Uint16(c[2:])}
}

// need is how many bytes an operation takes with its operand, 0 when there is
// no such operation.
func (c bytecode) need() int {
	switch c.op().code {
	case bcNop, bcJump, bcAuto:
		return sizeofBcOp
	case bcLocalGE, bcLocalLE, bcRemoteGE, bcRemoteLE, bcLocalEQ, bcRemoteEQ, bcDevCond:
		return 2 * sizeofBcOp
	case bcMarkCond:
		return 3 * sizeofBcOp
	case bcLocalCond, bcRemoteCond:
		// struct inet_diag_hostcond: family, length of prefix, port, address
		const head = sizeofBcOp + 8
		if len(c) < head {
			return head
		}
		switch c[sizeofBcOp] {
		case unix.AF_UNSPEC:
			return head
		case unix.AF_INET:
			return head + 4
		case unix.AF_INET6:
			return head + 16
		}
	}
	return 0
}

// valid tells whether every operation is one, and leads forward to another or
// to the end.
func (c bytecode) valid() bool {
	starts := map[int]bool{len(c): true}
	for i := 0; i < len(c); {
		if len(c)-i < sizeofBcOp {
			return false
		}
		need := c[i:].need()
		op := c[i:].op()
		if need == 0 || need > len(c)-i || int(op.yes) < need || op.yes%4 != 0 {
			return false
		}
		if (op.code == bcLocalCond || op.code == bcRemoteCond) && !validCond(c[i+sizeofBcOp:i+need]) {
			return false
		}
		starts[i] = true
		i += int(op.yes)
		if i > len(c) {
			return false
		}
	}
	for i := range starts {
		if i == len(c) {
			continue
		}
		op := c[i:].op()
		// A refusal goes past the end by one operation's size.
		if next := i + int(op.no); op.code != bcNop && (op.no < sizeofBcOp || op.no%4 != 0 || next > len(c)+sizeofBcOp || next <= len(c) && !starts[next]) {
			return false
		}
	}
	return true
}

func validCond(cond []byte) bool {
	bits := 8 * (len(cond) - 8)
	return int(cond[1]) <= bits
}

// accepts runs a valid program. An empty one accepts all.
func (c bytecode) accepts(so *netview.Socket) bool {
	for len(c) > 0 {
		op := c.op()
		yes := true
		// The number that ports are compared with is in the next operation.
		port := func() uint16 { return native.Uint16(c[sizeofBcOp+2:]) }
		switch op.code {
		case bcJump:
			yes = false
		case bcLocalEQ:
			yes = so.Local.Port() == port()
		case bcLocalGE:
			yes = so.Local.Port() >= port()
		case bcLocalLE:
			yes = so.Local.Port() <= port()
		case bcRemoteEQ:
			yes = so.Remote.Port() == port()
		case bcRemoteGE:
			yes = so.Remote.Port() >= port()
		case bcRemoteLE:
			yes = so.Remote.Port() <= port()
		case bcAuto:
			// Whether the kernel chose the local port.
			yes = so.AutoPort()
		case bcLocalCond:
			yes = holds(c[sizeofBcOp:], so.Family, so.Local.Addr().AsSlice(), so.Local.Port())
		case bcRemoteCond:
			yes = holds(c[sizeofBcOp:], so.Family, so.Remote.Addr().AsSlice(), so.Remote.Port())
		case bcDevCond:
			yes = native.Uint32(c[sizeofBcOp:]) == uint32(so.Index)
		case bcMarkCond:
			// The mark of every socket is 0.
			yes = native.Uint32(c[sizeofBcOp:]) == 0
		}
		step := int(op.yes)
		if !yes {
			step = int(op.no)
		}
		if step > len(c) || step == 0 {
			return false
		}
		c = c[step:]
	}
	return true
}

// holds tells whether an address and port are those of a struct
// inet_diag_hostcond.
func holds(cond []byte, family uint8, addr []byte, port uint16) bool {
	wanted, bits := cond[0], int(cond[1])
	if p := int32(native.Uint32(cond[4:])); p != -1 && p != int32(port) {
		return false
	}
	if wanted != unix.AF_UNSPEC && wanted != family {
		if wanted != unix.AF_INET || binary.BigEndian.Uint64(addr) != 0 || binary.BigEndian.Uint32(addr[8:]) != 0xffff {
			return false
		}
		addr = addr[12:] // an IPv4 address of an IPv6 socket
	}
	if len(addr)*8 < bits {
		return false
	}
	net := cond[8:]
	for i := 0; bits > 0; i, bits = i+1, bits-8 {
		mask := ^byte(0xff >> min(bits, 8))
		if (addr[i]^net[i])&mask != 0 {
			return false
		}
	}
	return true
}
