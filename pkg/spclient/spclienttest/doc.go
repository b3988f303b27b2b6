// Package spclienttest has servers of the sysproxy protocol for tests of
// clients: one that a test scripts, of any machine, that may be as wrong as the
// test likes, and one that plays a recorded conversation with a real kernel.
//
// A scripted server runs a function for each connection:
//
//	srv := spclienttest.NewServer(t, "unix", netbsd.POWERPC, func(p *spclienttest.Peer) {
//		p.Handshake()
//		call := p.NextCall()
//		data := p.CopyIn(call.Args.Ptr(), 16)
//		...
//		call.Reply(3, 0)
//	})
//	c, err := spclient.Dial(ctx, srv.URL(), nil)
//
// or has a function for each system call, with [Peer.Serve]. Frames of any kind,
// right or wrong, are sent with [Peer.Send] and [Peer.Write].
//
// [ParseRecording] reads the recordings' format, and [Play] is a server that does
// what the kernel did when the client does what the recorded one did.
package spclienttest
