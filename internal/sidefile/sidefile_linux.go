package sidefile

import (
	"golang.org/x/sys/unix"
)

// Most is the most that comes along, in bytes.
const Most = 4096

// Room is how long a buffer for the control messages of recvmsg(2) must be.
var Room = unix.CmsgSpace(4)

// Send sends a datagram with something along. It does not wait: without room it fails with EAGAIN.
func Send(fd int, datagram, along []byte) error {
	file, err := unix.MemfdCreate("sidefile", unix.MFD_CLOEXEC)
	if err != nil {
		return err
	}
	defer unix.Close(file)
	if _, err := unix.Write(file, along[:min(len(along), Most)]); err != nil {
		return err
	}
	return unix.Sendmsg(fd, datagram, unix.UnixRights(file), nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
}

// Read returns what came along with a datagram, nil for nothing. oob has the control messages that recvmsg(2) has given,
// whose descriptors Read closes.
func Read(oob []byte) (along []byte) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil
	}
	for i := range messages {
		files, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			continue
		}
		for _, file := range files {
			b := make([]byte, Most)
			if n, err := unix.Pread(file, b, 0); err == nil && along == nil {
				along = b[:n]
			}
			unix.Close(file)
		}
	}
	return along
}
