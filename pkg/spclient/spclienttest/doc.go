// Package spclienttest has servers of the sysproxy protocol for tests of
// clients: one that a test scripts, of any machine, that may be as wrong as the
// test likes, and one that plays a recorded conversation with a real kernel. The
// client need not be package spclient, nor in Go, nor in this process: it gets a
// URL.
//
// # Scripted servers
//
// [NewServer] runs a function, the script, for each client:
//
//	srv := spclienttest.NewServer(t, "unix", netbsd.POWERPC, func(p *spclienttest.Peer) {
//		p.Handshake()
//		call := p.NextCall()
//		data := p.CopyIn(call.Args.Ptr(), 16)
//		...
//		call.Reply(3, 0)
//	})
//	cmd := exec.Command("client")
//	cmd.Env = append(os.Environ(), "RUMP_SERVER="+srv.URL())
//
// A [Peer] is the kernel's side of the connection. It takes requests in turn
// ([Peer.NextCall], [Peer.NextRequest]), or has a function for each system call
// ([Peer.Serve]) or for all of them ([Peer.ServeAll]), each call in a goroutine of
// its own, as a kernel has them. Arguments are read with [Call.Args] in the order in
// which the kernel has them, memory with [Peer.CopyIn] and [Peer.CopyInStr], and
// written with [Peer.CopyOut] and [Peer.CopyOutStr]. A call ends with [Call.Reply],
// [Call.Fail] or [Call.Refuse].
//
// A script complains to the test when the client does what no client does: it
// sends what is no frame, answers what was not asked, or answers with too little.
// It ends, without a complaint, where it needs a client that has gone.
//
// # Servers that are wrong, slow or silent
//
//	refusing    Greet and Send(sysproxy.Refusal{...}, ...); Call.Refuse
//	delaying    sleep, or wait for a channel of the test's, before the answer
//	dribbling   Trickle(Encode(...), pause)
//	cutting     Write(Encode(...)[:n]) and Hangup
//	lying       Send of any sysproxy.Message under any number, Write of any bytes
//	signals     Raise
//	memory      AnonMmap
//	flooding    Flood, with StopReading so that answers are not read
//	silence     WaitGone; before it StopReading, so that requests are not read either
//	dying       Server.Close, and NewServer at the same URL to live again
//
// [NewRawServer] gives the connection before anything has been said, for banners
// that are none.
//
// # Recordings
//
// [ParseRecording], [OpenRecording] and [OpenRecordings] read conversations between
// clients and kernels. [Play] is a server that does what the kernel did when the
// client does what the recorded one did, with the addresses that the client has
// now; [Player] can play any connection of a recording, and be told what it should
// not compare.
package spclienttest
