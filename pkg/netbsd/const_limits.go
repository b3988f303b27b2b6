package netbsd

// Limits of the kernel (<sys/syslimits.h>, <sys/param.h>, <sys/uio.h>).
const (
	MAXPATHLEN     = 1024 // bytes of a path name, its NUL included
	NAME_MAX       = 511  // bytes of a file name
	MAXHOSTNAMELEN = 256  // bytes of a host name, its NUL included
	UIO_MAXIOV     = 1024 // buffers of readv(2) and sendmsg(2)
	NGROUPS_MAX    = 16   // supplementary groups
	LOGIN_NAME_MAX = 17   // bytes of a login name, its NUL included
	FD_SETSIZE     = 256  // descriptors in an fd_set of programs
)
