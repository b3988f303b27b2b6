// Package sysproxy is the wire format of NetBSD's sysproxy protocol, by which a
// process makes system calls in a rump kernel that runs as another process
// (rump_sp(7); lib/librumpuser/sp_common.c and rumpuser_sp.c are the server).
//
// A connection begins with the server's [Banner], one line of text. It names
// the server's machine, and everything after it is in that machine's byte
// order and word size: a [Layout]. Then frames go both ways, each a [Header]
// of [HeaderLen] bytes and a payload. Requests of the client and requests of
// the server (to copy memory in and out of the client) are numbered
// independently.
//
// Every message is a type with an Append method, which writes the whole frame
// to a buffer without other allocation, and either a Parse method of [Layout]
// for its payload or the common [Layout.Decode]. Nothing in this package does
// input or output but [ReadBanner], [Layout.ReadHeader] and [ReadPayload],
// and these take no more memory than the caller's limit, whatever the peer
// announces.
package sysproxy
