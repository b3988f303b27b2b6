// Package procnet writes the files of /proc/net (proc_net(5)) for a network
// that is a rump kernel's, to the column as Linux does: programs read them by
// position.
package procnet
