package shmif

// The i386 ABI aligns a u64 in a structure to four bytes, so there is no hole.
const (
	packetSender = 12
	packetHeader = 20
)
