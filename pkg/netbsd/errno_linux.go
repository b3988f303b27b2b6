package netbsd

import "syscall"

// moreHostErrnos are the error numbers that this host has under the same name
// and not every host has.
var moreHostErrnos = [...]hostErrno{
	{ENODATA, syscall.ENODATA},
	{ENOSR, syscall.ENOSR},
	{ENOSTR, syscall.ENOSTR},
	{ETIME, syscall.ETIME},
	{EMULTIHOP, syscall.EMULTIHOP},
	{ENOLINK, syscall.ENOLINK},
	{ENOATTR, syscall.ENODATA}, // Linux has the name for the number of ENODATA
}
