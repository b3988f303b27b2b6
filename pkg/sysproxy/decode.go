package sysproxy

import "strconv"

// Decode reads a frame's payload. The message's byte slices point into
// payload. It fails with a [*PayloadError] when the payload has not the size
// that its message has, or when class and type are none of the protocol's.
func (l Layout) Decode(h Header, payload []byte) (Message, error) {
	switch h.Class {
	case Req:
		return l.decodeRequest(h, payload)
	case Resp:
		return l.decodeResponse(h, payload)
	case Error:
		if len(payload) != 0 {
			return nil, wrongLen(h, payload, 0)
		}
		return Refusal{Code: ErrorCode(h.U)}, nil
	}
	return nil, &PayloadError{h.Class, h.Type, h.U, len(payload), "class 0, 1 or 2"}
}

func (l Layout) decodeRequest(h Header, payload []byte) (Message, error) {
	switch h.Type {
	case TypeHandshake:
		switch Handshake(h.U) {
		case HandshakeGuest:
			return parseName(payload), nil
		case HandshakeExec:
			return Exec(parseName(payload)), nil
		case HandshakeFork:
			return l.ParseFork(h, payload)
		}
		return nil, &PayloadError{h.Class, h.Type, h.U, len(payload), "handshake GUEST, FORK or EXEC"}
	case TypeSyscall:
		return Syscall{Num: h.U, Args: payload}, nil
	case TypeCopyIn:
		size, addr, err := l.ParseCopyIn(h, payload)
		return CopyIn{size, addr}, err
	case TypeCopyInStr:
		size, addr, err := l.ParseCopyIn(h, payload)
		return CopyInStr{size, addr}, err
	case TypeCopyOut:
		return l.ParseCopyOut(h, payload)
	case TypeCopyOutStr:
		m, err := l.ParseCopyOut(h, payload)
		return CopyOutStr(m), err
	case TypeAnonMmap:
		if len(payload) != l.WordSize {
			return nil, wrongLen(h, payload, l.WordSize)
		}
		return AnonMmap{l.Word(payload)}, nil
	case TypePrefork:
		if len(payload) != 0 {
			return nil, wrongLen(h, payload, 0)
		}
		return Prefork{}, nil
	case TypeRaise:
		if len(payload) != 0 {
			return nil, wrongLen(h, payload, 0)
		}
		return Raise{h.U}, nil
	case TypeLend:
		return l.ParseLend(h, payload)
	case TypeLendDatagrams:
		return l.ParseLendDatagrams(h, payload)
	case TypePair:
		return l.ParsePair(h, payload)
	case TypeCarry:
		return l.ParseCarry(h, payload, nil)
	case TypePost:
		return Post{Num: h.U, Args: payload}, nil
	}
	return nil, &PayloadError{h.Class, h.Type, h.U, len(payload), "type 0 to 8"}
}

func (l Layout) decodeResponse(h Header, payload []byte) (Message, error) {
	switch h.Type {
	case TypeHandshake:
		return l.ParseHandshakeReply(h, payload)
	case TypeSyscall:
		return l.ParseSyscallReply(h, payload)
	case TypeCopyIn:
		return CopyInReply{payload}, nil
	case TypeAnonMmap:
		if len(payload) != l.WordSize {
			return nil, wrongLen(h, payload, l.WordSize)
		}
		return AnonMmapReply{l.Word(payload)}, nil
	case TypePrefork:
		return l.ParsePreforkReply(h, payload)
	case TypeLend:
		return l.ParseLendReply(h, payload)
	case TypeLendDatagrams:
		return l.ParseLendDatagramsReply(h, payload)
	case TypePair:
		return l.ParsePairReply(h, payload)
	}
	return nil, &PayloadError{h.Class, h.Type, h.U, len(payload), "a type that is answered"}
}

// parseName splits the NUL off a program's name.
func parseName(payload []byte) Guest {
	n := len(payload)
	if n == 0 || payload[n-1] != 0 {
		return Guest{Name: string(payload), NoNUL: true}
	}
	return Guest{Name: string(payload[:n-1])}
}

// ParseHandshakeReply reads the payload of a RESP HANDSHAKE.
func (l Layout) ParseHandshakeReply(h Header, payload []byte) (HandshakeReply, error) {
	if len(payload) != errnoLen {
		return HandshakeReply{}, wrongLen(h, payload, errnoLen)
	}
	return HandshakeReply{int32(l.Order.Uint32(payload))}, nil
}

// ParseFork reads the payload of a FORK handshake.
func (l Layout) ParseFork(h Header, payload []byte) (Fork, error) {
	if len(payload) != forkLen {
		return Fork{}, wrongLen(h, payload, forkLen)
	}
	return Fork{l.parseAuth(payload), int32(l.Order.Uint32(payload[authLen:]))}, nil
}

// ParseSyscallReply reads the payload of a RESP SYSCALL.
func (l Layout) ParseSyscallReply(h Header, payload []byte) (SyscallReply, error) {
	if len(payload) != l.syscallReplyLen() {
		return SyscallReply{}, wrongLen(h, payload, l.syscallReplyLen())
	}
	m := SyscallReply{Errno: int32(l.Order.Uint32(payload))}
	regs := payload[errnoLen:]
	if l.WordSize == 8 {
		m.Pad = l.Order.Uint32(regs)
		regs = regs[4:]
	}
	m.Retval = [2]uint64{l.Word(regs), l.Word(regs[l.WordSize:])}
	return m, nil
}

// ParseCopyIn reads the payload of a COPYIN or COPYINSTR request: how many
// bytes, and from which address.
func (l Layout) ParseCopyIn(h Header, payload []byte) (size, addr uint64, err error) {
	if len(payload) != 2*l.WordSize {
		return 0, 0, wrongLen(h, payload, 2*l.WordSize)
	}
	return l.Word(payload), l.Word(payload[l.WordSize:]), nil
}

// ParseCopyOut reads the payload of a COPYOUT or COPYOUTSTR request. Data
// points into payload. The length that the request names must be that of the
// data.
func (l Layout) ParseCopyOut(h Header, payload []byte) (CopyOut, error) {
	head := 2 * l.WordSize
	if len(payload) < head {
		return CopyOut{}, wrongLen(h, payload, head)
	}
	data := payload[head:]
	if size := l.Word(payload); size != uint64(len(data)) {
		return CopyOut{}, &PayloadError{h.Class, h.Type, h.U, len(payload),
			strconv.Itoa(head) + " and the " + strconv.FormatUint(size, 10) + " announced"}
	}
	return CopyOut{Addr: l.Word(payload[l.WordSize:]), Data: data}, nil
}

// ParsePreforkReply reads the payload of a RESP PREFORK.
func (l Layout) ParsePreforkReply(h Header, payload []byte) (PreforkReply, error) {
	if len(payload) != authLen {
		return PreforkReply{}, wrongLen(h, payload, authLen)
	}
	return PreforkReply{l.parseAuth(payload)}, nil
}

// parseAuth reads a cookie from the start of b, which must hold it.
func (l Layout) parseAuth(b []byte) (a Auth) {
	for i := range a {
		a[i] = l.Order.Uint32(b[4*i:])
	}
	return a
}

func wrongLen(h Header, payload []byte, want int) error {
	return &PayloadError{h.Class, h.Type, h.U, len(payload), strconv.Itoa(want) + " bytes"}
}
