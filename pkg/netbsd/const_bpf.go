package netbsd

// Limits and the version of bpf(4) (<net/bpf.h>).
const (
	BPF_RELEASE       = 199606
	BPF_MAXINSNS      = 512
	BPF_DFLTBUFSIZE   = 1048576
	BPF_MAXBUFSIZE    = 16777216
	BPF_MINBUFSIZE    = 32
	BPF_MAJOR_VERSION = 1
	BPF_MINOR_VERSION = 1
	BPF_MEMWORDS      = 16
)

// Instruction codes of filters.
const (
	BPF_LD   = 0x00
	BPF_LDX  = 0x01
	BPF_ST   = 0x02
	BPF_STX  = 0x03
	BPF_ALU  = 0x04
	BPF_JMP  = 0x05
	BPF_RET  = 0x06
	BPF_MISC = 0x07
	BPF_W    = 0x00
	BPF_H    = 0x08
	BPF_B    = 0x10
	BPF_IMM  = 0x00
	BPF_ABS  = 0x20
	BPF_IND  = 0x40
	BPF_MEM  = 0x60
	BPF_LEN  = 0x80
	BPF_MSH  = 0xa0
	BPF_ADD  = 0x00
	BPF_SUB  = 0x10
	BPF_MUL  = 0x20
	BPF_DIV  = 0x30
	BPF_OR   = 0x40
	BPF_AND  = 0x50
	BPF_LSH  = 0x60
	BPF_RSH  = 0x70
	BPF_NEG  = 0x80
	BPF_MOD  = 0x90
	BPF_XOR  = 0xa0
	BPF_JA   = 0x00
	BPF_JEQ  = 0x10
	BPF_JGT  = 0x20
	BPF_JGE  = 0x30
	BPF_JSET = 0x40
	BPF_K    = 0x00
	BPF_X    = 0x08
	BPF_A    = 0x10
	BPF_TAX  = 0x00
	BPF_COP  = 0x20
	BPF_COPX = 0x40
	BPF_TXA  = 0x80
)

// Data link types that interfaces here can have (<net/dlt.h>).
const (
	DLT_NULL                 = 0
	DLT_EN10MB               = 1
	DLT_IEEE802              = 6
	DLT_ARCNET               = 7
	DLT_SLIP                 = 8
	DLT_PPP                  = 9
	DLT_FDDI                 = 10
	DLT_RAW                  = 12
	DLT_SLIP_BSDOS           = 13
	DLT_PPP_BSDOS            = 14
	DLT_PPP_SERIAL           = 50
	DLT_PPP_ETHER            = 51
	DLT_IEEE802_11           = 105
	DLT_LOOP                 = 108
	DLT_LINUX_SLL            = 113
	DLT_PFLOG                = 117
	DLT_IEEE802_11_RADIO     = 127
	DLT_IEEE802_11_RADIO_AVS = 163
	DLT_PPI                  = 192
	DLT_IPV4                 = 228
	DLT_IPV6                 = 229
)
