package shmif

// The bus file begins with a header of eight words; the ring follows. All
// numbers are in the byte order of the host.
//
//	 0  u32  magic
//	 4  u32  version     0 until somebody has sent; written again to wake
//	 8  u64  generation  how often a write has reached the ring's end
//	16  u32  first       where the oldest packet's header begins in the ring
//	20  u32  last        where the newest packet's header begins in the ring
//	24  u32  lock        0 free, 1 taken
//	28  u32  spare
//	32  ...  ring
const (
	// Magic is the first word of a bus file (SHMIF_MAGIC).
	Magic = 0xca11d054
	// Version is the format's version (SHMIF_VERSION).
	Version = 3
	// FileSize is the length in bytes of a bus file (BUSMEM_SIZE).
	FileSize = 1 << 20
	// RingSize is the length in bytes of the ring in a bus file
	// (BUSMEM_DATASIZE).
	RingSize = FileSize - headerSize

	// MaxFrame is the length in bytes of the longest frame that a bus may
	// carry: an Ethernet header and 1,500 bytes (ETHER_HDR_LEN + ETHERMTU),
	// without the check sequence.
	MaxFrame = 1514
	// minFrame is the length of an Ethernet header. Shorter packets are no
	// frames; the fresh bus begins with an empty one.
	minFrame = 14
)

const (
	headerSize = 32

	offMagic      = 0
	offVersion    = 4
	offGeneration = 8
	offFirst      = 16
	offLast       = 20
	offLock       = 24
)

const (
	lockFree  = 0
	lockTaken = 1
)

// A packet in the ring is a header and a frame, without any alignment:
//
//	0  u32  len     of the frame
//	4  u32  sec     the sender's uptime
//	8  u32  usec
//	.  u64  sender  chosen at random by each party
//
// sender is at packetSender and the header's size is packetHeader; they depend
// on how the host's C compilers align a u64.
const (
	packetLen  = 0
	packetSec  = 4
	packetUsec = 8
)
