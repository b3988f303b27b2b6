// Package sidefile sends something along with a datagram on a local socket of Linux's that those do not see who
// receive with read(2) or recv(2): in a file in memory whose descriptor comes as SCM_RIGHTS.
package sidefile
