//go:build !386

package shmif

// A u64 in a structure of C is aligned to eight bytes on every 64-bit machine,
// and on 32-bit arm, mips and powerpc as well (where Go aligns to four, which is
// why these are not computed by unsafe.Offsetof).
const (
	packetSender = 16
	packetHeader = 24
)
