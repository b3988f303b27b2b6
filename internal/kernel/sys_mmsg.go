package kernel

import (
	"time"

	"rumptools/pkg/netbsd"
)

// maxMessages is the most messages of one sendmmsg(2) or recvmmsg(2); of more
// only as many are looked at.
const maxMessages = 1024

// eachMessage carries out do for each element of an array of n struct mmsghdr
// until do says that it is the last or fails. The result is how many were done; an
// error is one only when none was.
func (c *Call) eachMessage(addr uint64, n uint32, do func(hdr *netbsd.Mmsghdr) (last bool, err error)) (uint64, error) {
	m := c.k.machine
	size := uint64(netbsd.Sizeof(m, netbsd.Mmsghdr{}))
	for i := range uint64(min(n, maxMessages)) {
		var hdr netbsd.Mmsghdr
		err := c.copyInStruct(addr+i*size, &hdr)
		last := false
		if err == nil {
			last, err = do(&hdr)
		}
		if err == nil {
			err = c.copyOutStruct(addr+i*size, &hdr)
		}
		switch {
		case err != nil && i == 0:
			return 0, err
		case err != nil:
			return i, nil
		case last:
			return i + 1, nil
		}
	}
	return uint64(min(n, maxMessages)), nil
}

func sysSendmmsg(c *Call) (uint64, error) {
	h, s, err := c.sock()
	if err != nil {
		return 0, err
	}
	defer h.release()
	addr, n, flags := c.args.Ptr(), c.args.Uint(), c.args.Int()
	return c.eachMessage(addr, n, func(hdr *netbsd.Mmsghdr) (bool, error) {
		n, err := c.sendmsg(h, s, &hdr.Hdr, flags)
		hdr.Len = uint32(n)
		return false, err
	})
}

// sysRecvmmsg: the time limit is looked at after each message only, as in
// NetBSD.
func sysRecvmmsg(c *Call) (uint64, error) {
	h, s, err := c.sock()
	if err != nil {
		return 0, err
	}
	defer h.release()
	addr, n, flags, ts := c.args.Ptr(), c.args.Uint(), c.args.Int(), c.args.Ptr()
	var end time.Time
	if ts != 0 {
		d, err := c.duration(ts)
		if err != nil {
			return 0, err
		}
		end = time.Now().Add(d)
	}
	forOne := flags&netbsd.MSG_WAITFORONE != 0
	flags &^= netbsd.MSG_WAITFORONE
	return c.eachMessage(addr, n, func(hdr *netbsd.Mmsghdr) (bool, error) {
		n, err := c.recvmsg(h, s, &hdr.Hdr, flags)
		hdr.Len = uint32(n)
		if forOne {
			flags |= netbsd.MSG_DONTWAIT
		}
		return hdr.Hdr.Flags&netbsd.MSG_OOB != 0 || ts != 0 && time.Now().After(end), err
	})
}
