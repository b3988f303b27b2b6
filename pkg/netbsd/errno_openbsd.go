package netbsd

import "syscall"

// moreHostErrnos are the error numbers that this host has under the same name
// and not every host has.
var moreHostErrnos = [...]hostErrno{
	{EPROCLIM, syscall.EPROCLIM},
	{EBADRPC, syscall.EBADRPC},
	{ERPCMISMATCH, syscall.ERPCMISMATCH},
	{EPROGUNAVAIL, syscall.EPROGUNAVAIL},
	{EPROGMISMATCH, syscall.EPROGMISMATCH},
	{EPROCUNAVAIL, syscall.EPROCUNAVAIL},
	{EFTYPE, syscall.EFTYPE},
	{EAUTH, syscall.EAUTH},
	{ENEEDAUTH, syscall.ENEEDAUTH},
	{ENOATTR, syscall.ENOATTR},
}
