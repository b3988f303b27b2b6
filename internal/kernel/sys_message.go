package kernel

import (
	"time"

	"rumptools/pkg/netbsd"
)

// msgIovecs reads the array that a message header points to.
func (c *Call) msgIovecs(hdr *netbsd.Msghdr) (vec []iovec, total uint64, err error) {
	if hdr.Iovlen == 0 {
		return
	}
	if uint32(hdr.Iovlen) > iovMax {
		err = netbsd.EMSGSIZE
		return
	}
	vec, total, err = c.iovecs(uint64(hdr.Iov), uint64(hdr.Iovlen))
	return
}

// msgUserFlags are the flags that a caller may give (MSG_USERFLAGS).
const msgUserFlags = 0xffffff

// maxControl is the most bytes of control messages of one message.
const maxControl = 64 << 10

func sysSendmsg(c *Call, h held, s Socket) (uint64, error) {
	addr, flags := c.args.Ptr(), c.args.Int()
	var hdr netbsd.Msghdr
	if err := c.copyInStruct(addr, &hdr); err != nil {
		return 0, err
	}
	return c.sendmsg(h, s, &hdr, flags)
}

// sendmsg sends the message of a header that was copied in.
func (c *Call) sendmsg(h held, s Socket, hdr *netbsd.Msghdr, flags int32) (uint64, error) {
	m := Message{Flags: flags}
	vec, total, err := c.msgIovecs(hdr)
	if err != nil {
		return 0, err
	}
	if hdr.Name != 0 {
		if m.Name, err = c.sockaddr(uint64(hdr.Name), hdr.Namelen); err != nil {
			return 0, err
		}
	}
	if hdr.Control != 0 {
		if hdr.Controllen < uint32(netbsd.CmsgLen(c.k.machine, 0)) || hdr.Controllen > maxControl {
			return 0, netbsd.EINVAL
		}
		b, err := c.buffer(int(hdr.Controllen))
		if err != nil {
			return 0, err
		}
		if err := c.CopyIn(uint64(hdr.Control), b); err != nil {
			return 0, err
		}
		if m.Control, err = netbsd.ParseCmsgs(c.k.machine, b); err != nil {
			return 0, netbsd.EINVAL
		}
		// Of other domains it is a message that they don't know.
		if s.Domain() == netbsd.AF_LOCAL {
			if err := c.takeRights(&m); err != nil {
				return 0, err
			}
		}
	}
	n, err := c.transmit(h, s, vec, total, &m)
	if err != nil {
		m.dropFiles()
	}
	return n, err
}

// takeRights moves the descriptors of SCM_RIGHTS messages to m.Files.
func (c *Call) takeRights(m *Message) error {
	rest := m.Control[:0]
	for _, cm := range m.Control {
		if cm.Level != netbsd.SOL_SOCKET || cm.Type != netbsd.SCM_RIGHTS {
			rest = append(rest, cm)
			continue
		}
		for b := cm.Data; len(b) >= 4; b = b[4:] {
			h, err := c.Proc.fds.get(int32(c.k.machine.Order.Uint32(b)))
			if err == nil {
				m.Files = append(m.Files, h.take())
				if h.Type() == dtypeKqueue {
					err = netbsd.EBADF
				}
			}
			if err != nil {
				m.dropFiles()
				return err
			}
		}
	}
	m.Control = rest
	return nil
}

func sysRecvmsg(c *Call, h held, s Socket) (uint64, error) {
	addr, flags := c.args.Ptr(), c.args.Int()
	var hdr netbsd.Msghdr
	if err := c.copyInStruct(addr, &hdr); err != nil {
		return 0, err
	}
	n, err := c.recvmsg(h, s, &hdr, flags)
	if err != nil {
		return 0, err
	}
	return n, c.copyOutStruct(addr, &hdr)
}

// recvmsg receives a message as a header that was copied in says, and changes
// the header to what the caller gets back.
func (c *Call) recvmsg(h held, s Socket, hdr *netbsd.Msghdr, flags int32) (uint64, error) {
	m := Message{Flags: flags}
	vec, total, err := c.msgIovecs(hdr)
	if err != nil {
		return 0, err
	}
	n, err := c.receive(h, s, vec, total, &m)
	if err != nil {
		m.dropFiles()
		return 0, err
	}
	cloexec := flags&netbsd.MSG_CMSG_CLOEXEC != 0
	control, err := c.giveControl(&m, hdr.Control != 0, hdr.Controllen, cloexec)
	if err != nil {
		return 0, err
	}
	// The caller's own flags come back, too.
	hdr.Flags = flags&msgUserFlags |
		m.Flags&(netbsd.MSG_TRUNC|netbsd.MSG_CTRUNC|netbsd.MSG_EOR|netbsd.MSG_OOB|netbsd.MSG_BCAST|netbsd.MSG_MCAST)
	n32 := min(uint32(len(control)), hdr.Controllen)
	if err := c.CopyOut(uint64(hdr.Control), control[:n32]); err != nil {
		return 0, err
	}
	hdr.Controllen = uint32(len(control))
	if hdr.Name != 0 {
		name := m.Name[:min(uint32(len(m.Name)), hdr.Namelen)]
		if err := c.CopyOut(uint64(hdr.Name), name); err != nil {
			return 0, err
		}
		hdr.Namelen = uint32(len(name))
	}
	return n, nil
}

// giveControl lays out the control messages for which there is room, the last
// maybe in part, and gives the caller descriptors for the files that came along,
// all of them or none.
func (c *Call) giveControl(m *Message, wanted bool, room uint32, cloexec bool) ([]byte, error) {
	mach := c.k.machine
	if !wanted {
		room = 0
	}
	if len(m.Files) > 0 {
		fds, err := c.addAll(m.Files, cloexec, uint64(room) >= uint64(netbsd.CmsgSpace(mach, 4*len(m.Files))))
		m.Files = nil
		if err != nil {
			return nil, err
		}
		if fds == nil {
			m.Flags |= netbsd.MSG_CTRUNC
		} else {
			m.Control = append(m.Control, netbsd.Cmsg{Level: netbsd.SOL_SOCKET, Type: netbsd.SCM_RIGHTS, Data: fds})
		}
	}
	var out []byte
	for i, cm := range m.Control {
		if uint64(len(out)) >= uint64(room) {
			if i > 0 || wanted {
				m.Flags |= netbsd.MSG_CTRUNC
			}
			break
		}
		out = netbsd.AppendCmsg(mach, out, cm.Level, cm.Type, cm.Data)
		if uint64(len(out)) > uint64(room) {
			// One that is cut is the last. If more would follow, its
			// padding counts although it is not copied.
			m.Flags |= netbsd.MSG_CTRUNC
			if i == len(m.Control)-1 {
				out = out[:room]
			}
			break
		}
	}
	return out, nil
}

// addAll gives the caller descriptors for files, which it takes over; the
// result is the data of an SCM_RIGHTS message. With fits false it only drops
// the files.
func (c *Call) addAll(files []*OpenFile, cloexec, fits bool) ([]byte, error) {
	var fds []int32
	var err error
	for _, of := range files {
		if !fits || err != nil {
			of.Release()
			continue
		}
		var fd int32
		if fd, err = c.Proc.fds.add(of, 0, cloexec); err == nil {
			fds = append(fds, fd)
		}
	}
	if err != nil {
		for _, fd := range fds {
			c.Proc.fds.close(fd)
		}
		return nil, err
	}
	var data []byte
	for _, fd := range fds {
		data = c.k.machine.Order.AppendUint32(data, uint32(fd))
	}
	return data, nil
}

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

func sysSendmmsg(c *Call, h held, s Socket) (uint64, error) {
	addr, n, flags := c.args.Ptr(), c.args.Uint(), c.args.Int()
	return c.eachMessage(addr, n, func(hdr *netbsd.Mmsghdr) (bool, error) {
		n, err := c.sendmsg(h, s, &hdr.Hdr, flags)
		hdr.Len = uint32(n)
		return false, err
	})
}

// sysRecvmmsg: the time limit is looked at after each message only, as in
// NetBSD.
func sysRecvmmsg(c *Call, h held, s Socket) (uint64, error) {
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
