package netbsd

// Flags of open(2), and of F_GETFL (<sys/fcntl.h>). FREAD and FWRITE are what
// the kernel makes of the access mode.
const (
	O_RDONLY    = 0x00000000
	O_WRONLY    = 0x00000001
	O_RDWR      = 0x00000002
	O_ACCMODE   = 0x00000003
	FREAD       = 0x00000001
	FWRITE      = 0x00000002
	O_NONBLOCK  = 0x00000004
	O_APPEND    = 0x00000008
	O_SHLOCK    = 0x00000010
	O_EXLOCK    = 0x00000020
	O_ASYNC     = 0x00000040
	O_SYNC      = 0x00000080
	O_NOFOLLOW  = 0x00000100
	O_CREAT     = 0x00000200
	O_TRUNC     = 0x00000400
	O_EXCL      = 0x00000800
	O_NOCTTY    = 0x00008000
	O_DSYNC     = 0x00010000
	O_RSYNC     = 0x00020000
	O_ALT_IO    = 0x00040000
	O_DIRECT    = 0x00080000
	O_DIRECTORY = 0x00200000
	O_CLOEXEC   = 0x00400000
	O_SEARCH    = 0x00800000
	O_NOSIGPIPE = 0x01000000
	FAPPEND     = O_APPEND
	FASYNC      = O_ASYNC
	O_FSYNC     = O_SYNC
	O_NDELAY    = O_NONBLOCK
	FNONBLOCK   = O_NONBLOCK
)

// Commands of fcntl(2).
const (
	F_DUPFD         = 0
	F_GETFD         = 1
	F_SETFD         = 2
	F_GETFL         = 3
	F_SETFL         = 4
	F_GETOWN        = 5
	F_SETOWN        = 6
	F_GETLK         = 7
	F_SETLK         = 8
	F_SETLKW        = 9
	F_CLOSEM        = 10
	F_MAXFD         = 11
	F_DUPFD_CLOEXEC = 12
	F_GETNOSIGPIPE  = 13
	F_SETNOSIGPIPE  = 14
	F_WAIT          = 0x010
	F_FLOCK         = 0x020
	F_POSIX         = 0x040
)

// The descriptor flag of F_GETFD and F_SETFD.
const (
	FD_CLOEXEC = 1
)

// Kinds of record locks.
const (
	F_RDLCK = 1
	F_UNLCK = 2
	F_WRLCK = 3
)

// Operations of flock(2).
const (
	LOCK_SH = 0x01
	LOCK_EX = 0x02
	LOCK_NB = 0x04
	LOCK_UN = 0x08
)

// Flags of the calls whose names end in "at", and the descriptor that stands for
// the working directory.
const (
	AT_FDCWD            = -100
	AT_EACCESS          = 0x100
	AT_SYMLINK_NOFOLLOW = 0x200
	AT_SYMLINK_FOLLOW   = 0x400
	AT_REMOVEDIR        = 0x800
)

// Where lseek(2) counts from, and what access(2) asks for (<sys/unistd.h>).
const (
	F_OK     = 0
	X_OK     = 0x01
	W_OK     = 0x02
	R_OK     = 0x04
	SEEK_SET = 0
	SEEK_CUR = 1
	SEEK_END = 2
)

// File types and permissions in st_mode (<sys/stat.h>).
const (
	S_ISUID  = 0o004000
	S_ISGID  = 0o002000
	S_ISTXT  = 0o001000
	S_IRWXU  = 0o000700
	S_IRUSR  = 0o000400
	S_IWUSR  = 0o000200
	S_IXUSR  = 0o000100
	S_IREAD  = S_IRUSR
	S_IWRITE = S_IWUSR
	S_IEXEC  = S_IXUSR
	S_IRWXG  = 0o000070
	S_IRGRP  = 0o000040
	S_IWGRP  = 0o000020
	S_IXGRP  = 0o000010
	S_IRWXO  = 0o000007
	S_IROTH  = 0o000004
	S_IWOTH  = 0o000002
	S_IXOTH  = 0o000001
	S_IFMT   = 0o170000
	S_IFIFO  = 0o010000
	S_IFCHR  = 0o020000
	S_IFDIR  = 0o040000
	S_IFBLK  = 0o060000
	S_IFREG  = 0o100000
	S_IFLNK  = 0o120000
	S_ISVTX  = 0o001000
	S_IFSOCK = 0o140000
	S_IFWHT  = 0o160000
)

// File types of directory entries (<sys/dirent.h>).
const (
	DT_UNKNOWN = 0
	DT_FIFO    = 1
	DT_CHR     = 2
	DT_DIR     = 4
	DT_BLK     = 6
	DT_REG     = 8
	DT_LNK     = 10
	DT_SOCK    = 12
	DT_WHT     = 14
)

// Events of poll(2) (<sys/poll.h>).
const (
	POLLIN     = 0x0001
	POLLPRI    = 0x0002
	POLLOUT    = 0x0004
	POLLRDNORM = 0x0040
	POLLWRNORM = POLLOUT
	POLLRDBAND = 0x0080
	POLLWRBAND = 0x0100
	POLLERR    = 0x0008
	POLLHUP    = 0x0010
	POLLNVAL   = 0x0020
	INFTIM     = -1
)

// Filters of kevent(2) (<sys/event.h>).
const (
	EVFILT_READ     = 0
	EVFILT_WRITE    = 1
	EVFILT_AIO      = 2
	EVFILT_VNODE    = 3
	EVFILT_PROC     = 4
	EVFILT_SIGNAL   = 5
	EVFILT_TIMER    = 6
	EVFILT_SYSCOUNT = 7
)

// Actions and flags of kevents.
const (
	EV_ADD      = 0x0001
	EV_DELETE   = 0x0002
	EV_ENABLE   = 0x0004
	EV_DISABLE  = 0x0008
	EV_ONESHOT  = 0x0010
	EV_CLEAR    = 0x0020
	EV_RECEIPT  = 0x0040
	EV_DISPATCH = 0x0080
	EV_EOF      = 0x8000
	EV_ERROR    = 0x4000
)

// Filters' flags of kevents.
const (
	NOTE_LOWAT     = 0x0001
	NOTE_DELETE    = 0x0001
	NOTE_WRITE     = 0x0002
	NOTE_EXTEND    = 0x0004
	NOTE_ATTRIB    = 0x0008
	NOTE_LINK      = 0x0010
	NOTE_RENAME    = 0x0020
	NOTE_REVOKE    = 0x0040
	NOTE_EXIT      = 0x80000000
	NOTE_FORK      = 0x40000000
	NOTE_EXEC      = 0x20000000
	NOTE_PCTRLMASK = 0xf0000000
	NOTE_PDATAMASK = 0x000fffff
	NOTE_TRACK     = 0x00000001
	NOTE_TRACKERR  = 0x00000002
	NOTE_CHILD     = 0x00000004
	NOTE_SIGNAL    = 0x08000000
)

// Types of open files in kinfo_file.ki_ftype (<sys/file.h>).
const (
	DTYPE_VNODE  = 1
	DTYPE_SOCKET = 2
	DTYPE_PIPE   = 3
	DTYPE_KQUEUE = 4
	DTYPE_MISC   = 5
	DTYPE_CRYPTO = 6
	DTYPE_MQUEUE = 7
	DTYPE_SEM    = 8
)

// How reboot(2) is to go about it (<sys/reboot.h>).
const (
	RB_AUTOBOOT  = 0
	RB_ASKNAME   = 0x00000001
	RB_SINGLE    = 0x00000002
	RB_NOSYNC    = 0x00000004
	RB_HALT      = 0x00000008
	RB_INITNAME  = 0x00000010
	RB_KDB       = 0x00000040
	RB_RDONLY    = 0x00000080
	RB_DUMP      = 0x00000100
	RB_MINIROOT  = 0x00000200
	RB_STRING    = 0x00000400
	RB_POWERDOWN = RB_HALT | 0x800
	RB_USERCONF  = 0x00001000
)

// Access modes and modes of mounting in statvfs.f_flag (<sys/statvfs.h>).
const (
	ST_RDONLY      = 1
	ST_SYNCHRONOUS = 2
	ST_NOEXEC      = 4
	ST_NOSUID      = 8
	ST_NODEV       = 16
	ST_UNION       = 32
	ST_ASYNC       = 64
	ST_NOCOREDUMP  = 32768
	ST_RELATIME    = 131072
	ST_IGNORE      = 1048576
	ST_NOATIME     = 67108864
	ST_SYMPERM     = 536870912
	ST_NODEVMTIME  = 1073741824
	ST_SOFTDEP     = 2147483648
	ST_LOG         = 33554432
	ST_EXTATTR     = 16777216
	ST_EXRDONLY    = 128
	ST_EXPORTED    = 256
	ST_DEFEXPORTED = 512
	ST_EXPORTANON  = 1024
	ST_EXKERB      = 2048
	ST_EXNORESPORT = 134217728
	ST_EXPUBLIC    = 268435456
	ST_LOCAL       = 4096
	ST_QUOTA       = 8192
	ST_ROOTFS      = 16384
	ST_WAIT        = 1
	ST_NOWAIT      = 2
)

// Clocks of clock_gettime(2) (<sys/time.h>).
const (
	ITIMER_REAL              = 0
	ITIMER_VIRTUAL           = 1
	ITIMER_PROF              = 2
	ITIMER_MONOTONIC         = 3
	CLOCK_REALTIME           = 0
	CLOCK_VIRTUAL            = 1
	CLOCK_PROF               = 2
	CLOCK_MONOTONIC          = 3
	CLOCK_THREAD_CPUTIME_ID  = 0x80000000
	CLOCK_PROCESS_CPUTIME_ID = 0x40000000
	TIMER_ABSTIME            = 0x1
)

// Whose resources getrusage(2) tells, and the resources that getrlimit(2)
// limits (<sys/resource.h>).
const (
	PRIO_MIN        = -20
	PRIO_MAX        = 20
	PRIO_PROCESS    = 0
	PRIO_PGRP       = 1
	PRIO_USER       = 2
	RUSAGE_SELF     = 0
	RUSAGE_CHILDREN = -1
	RLIMIT_CPU      = 0
	RLIMIT_FSIZE    = 1
	RLIMIT_DATA     = 2
	RLIMIT_STACK    = 3
	RLIMIT_CORE     = 4
	RLIMIT_RSS      = 5
	RLIMIT_MEMLOCK  = 6
	RLIMIT_NPROC    = 7
	RLIMIT_NOFILE   = 8
	RLIMIT_SBSIZE   = 9
	RLIMIT_AS       = 10
	RLIMIT_VMEM     = RLIMIT_AS
	RLIMIT_NTHR     = 11
)

// Options of wait4(2) (<sys/wait.h>).
const (
	WNOHANG   = 0x00000001
	WUNTRACED = 0x00000002
)
