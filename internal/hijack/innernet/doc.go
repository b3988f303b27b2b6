// Package innernet is a network namespace that is a supervisor's own: nothing is in it but lo and the UDP sockets that
// stand for those of programs, so that these are UDP sockets in all that the host does with them.
//
// Two sockets belong together: the program's, S, and the one that is kept, K. K is connected to S, and S to K when the program
// has connected it. What is between them goes by lo, and so nothing of it leaves the host.
//
// A TCP socket whose connect was refused is made by refusing it here.
//
// An error of S's is shown by a message of ICMP (RFC 792) that tells of it, and which comes from nowhere but here. That the
// last descriptor of S has been closed is told by sock_diag(7).
package innernet
