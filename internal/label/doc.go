// Package label says of each datagram that a program receives by a UDP socket of Linux's where it comes from in a rump
// kernel, without the program's seeing it in the datagram.
//
// Both sockets, who sends and the program's, are in one network namespace. A datagram's label is a number that is in
// the time to live and the type of service of its packet, which recvmsg(2) tells whoever asks for it. It is the
// number of an entry in a table, a file in memory that who sends and who asks share: the sender's address and the
// control messages.
package label
