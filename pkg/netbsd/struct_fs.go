package netbsd

// Stat is struct stat (<sys/stat.h>), of __stat50 and its kin.
type Stat struct {
	Dev      uint64    `abi:"st_dev"`
	Mode     uint32    `abi:"st_mode"`
	Ino      uint64    `abi:"st_ino"`
	Nlink    uint32    `abi:"st_nlink"`
	Uid      uint32    `abi:"st_uid"`
	Gid      uint32    `abi:"st_gid"`
	Rdev     uint64    `abi:"st_rdev"`
	Atim     Timespec  `abi:"st_atim"`
	Mtim     Timespec  `abi:"st_mtim"`
	Ctim     Timespec  `abi:"st_ctim"`
	Birthtim Timespec  `abi:"st_birthtim"`
	Size     int64     `abi:"st_size"`
	Blocks   int64     `abi:"st_blocks"` // of 512 bytes
	Blksize  int32     `abi:"st_blksize"`
	Flags    uint32    `abi:"st_flags"`
	Gen      uint32    `abi:"st_gen"`
	Spare    [2]uint32 `abi:"st_spare"`
}

// Dirent is struct dirent (<sys/dirent.h>). __getdents30 returns records that
// are as long as Reclen says: the name with its NUL, rounded up to 8.
type Dirent struct {
	Fileno uint64    `abi:"d_fileno"`
	Reclen uint16    `abi:"d_reclen"`
	Namlen uint16    `abi:"d_namlen"`
	Type   uint8     `abi:"d_type"` // DT_*
	Name   [512]byte `abi:"d_name"`
}

// AppendDirent appends a directory entry as __getdents30 returns it, cut to
// the length of its name.
func AppendDirent(m *Machine, b []byte, fileno uint64, typ uint8, name string) []byte {
	name = name[:min(len(name), 511)]
	reclen := roundUp(13+len(name)+1, 8)
	n := len(b)
	b = append(b, make([]byte, reclen)...)
	m.Order.PutUint64(b[n:], fileno)
	m.Order.PutUint16(b[n+8:], uint16(reclen))
	m.Order.PutUint16(b[n+10:], uint16(len(name)))
	b[n+12] = typ
	copy(b[n+13:], name)
	return b
}

// Statvfs is struct statvfs (<sys/statvfs.h>).
type Statvfs struct {
	Flag        ULong      `abi:"f_flag"`
	Bsize       ULong      `abi:"f_bsize"`
	Frsize      ULong      `abi:"f_frsize"`
	Iosize      ULong      `abi:"f_iosize"`
	Blocks      uint64     `abi:"f_blocks"` // of Frsize bytes, as the next three
	Bfree       uint64     `abi:"f_bfree"`
	Bavail      uint64     `abi:"f_bavail"`
	Bresvd      uint64     `abi:"f_bresvd"`
	Files       uint64     `abi:"f_files"`
	Ffree       uint64     `abi:"f_ffree"`
	Favail      uint64     `abi:"f_favail"`
	Fresvd      uint64     `abi:"f_fresvd"`
	Syncreads   uint64     `abi:"f_syncreads"`
	Syncwrites  uint64     `abi:"f_syncwrites"`
	Asyncreads  uint64     `abi:"f_asyncreads"`
	Asyncwrites uint64     `abi:"f_asyncwrites"`
	Fsidx       [2]int32   `abi:"f_fsidx"`
	Fsid        ULong      `abi:"f_fsid"`
	Namemax     ULong      `abi:"f_namemax"`
	Owner       uint32     `abi:"f_owner"`
	Spare       [4]uint32  `abi:"f_spare"`
	Fstypename  [32]byte   `abi:"f_fstypename"`
	Mntonname   [1024]byte `abi:"f_mntonname"`
	Mntfromname [1024]byte `abi:"f_mntfromname"`
}

// Winsize is struct winsize (<sys/ttycom.h>), of TIOCGWINSZ.
type Winsize struct {
	Row    uint16 `abi:"ws_row"`
	Col    uint16 `abi:"ws_col"`
	Xpixel uint16 `abi:"ws_xpixel"`
	Ypixel uint16 `abi:"ws_ypixel"`
}

// Termios is struct termios (<sys/termios.h>), of TIOCGETA.
type Termios struct {
	Iflag  uint32   `abi:"c_iflag"`
	Oflag  uint32   `abi:"c_oflag"`
	Cflag  uint32   `abi:"c_cflag"`
	Lflag  uint32   `abi:"c_lflag"`
	Cc     [20]byte `abi:"c_cc"`
	Ispeed int32    `abi:"c_ispeed"`
	Ospeed int32    `abi:"c_ospeed"`
}

// Flock is struct flock (<sys/fcntl.h>), of F_GETLK and F_SETLK.
type Flock struct {
	Start  int64 `abi:"l_start"`
	Len    int64 `abi:"l_len"`
	Pid    int32 `abi:"l_pid"`
	Type   int16 `abi:"l_type"`
	Whence int16 `abi:"l_whence"`
}
