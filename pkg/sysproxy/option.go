package sysproxy

// Socket options of the level IPPROTO_TCP that rumpd has and NetBSD has not, for programs of
// other systems that set them: an int each, with the meaning that tcp(7) of Linux gives it. A kernel
// without them answers ENOPROTOOPT. They can be read as they were set.
const (
	TCPLinger2     = 0x4c08 // TCP_LINGER2: seconds that FIN_WAIT_2 lasts without a program; negative is none
	TCPUserTimeout = 0x4c12 // TCP_USER_TIMEOUT: milliseconds without an answer until a connection is given up; 0 is TCP's own time
)
