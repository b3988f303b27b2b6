package ping

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"rumptools/pkg/netbsd"
)

// Event is something that the person at the keyboard wants.
type Event int

// The events.
const (
	Stop      Event = iota // SIGINT, SIGTERM: statistics, and the end
	Status                 // SIGINFO, SIGQUIT: statistics so far
	Continued              // SIGCONT: the same, for IPv4 only, as ping(8) does
)

// The exit statuses of ping(8).
const (
	exitReplies = 0
	exitError   = 1
	exitNone    = 2
)

// protocol is what differs between ping(8) and ping6(8).
type protocol interface {
	banner()
	// message composes the request with the number seq.
	message(seq uint16) []byte
	// sent is told that a request is on its way.
	sent()
	// refused reports that the kernel did not take a request.
	refused(err error, msg []byte)
	// receive reports a message that came at a time since the start.
	receive(pkt *Packet, at time.Duration)
	// receiveFailed reports an error of one call.
	receiveFailed(err error)
	// summary prints statistics, the last ones with a headline.
	summary(last bool)
	// bufferSize is how much of a message is of interest.
	bufferSize() int
}

// pinger is the state of one run. It belongs to the goroutine of Run, except
// for what is said to be shared.
type pinger struct {
	*Options
	protocol
	sock  Socket
	out   *bufio.Writer
	errw  io.Writer
	start time.Time
	now   time.Duration // the time since start, as of the event at hand

	ident uint16
	data  payload

	transmitted int // requests handed to the kernel, taken or not
	received    int // replies, without duplicates
	repeats     int
	round       roundTrips
	seen        [1 << 16]bool // which of the latest 65,536 requests have a reply

	firstTx, lastTx, nextTx time.Duration
	firstRx, lastRx         time.Duration
	caughtUp                bool // the latest request has been answered

	// sentAt is the time since start at which each of the latest 65,536
	// requests went to the kernel. The sender stores it.
	sentAt [1 << 16]atomic.Int64
}

// Run pings until it is done, or until an event or the end of ctx stops it.
// It returns the exit status: 0 when a reply came, 2 when none did, 1 when
// there was an error, which it reports on stderr.
//
// Once its first line is written it always ends with the statistics.
func Run(ctx context.Context, o *Options, sock Socket, events <-chan Event, stdout, stderr io.Writer) int {
	p := &pinger{
		Options:  o,
		sock:     sock,
		out:      bufio.NewWriter(stdout),
		errw:     stderr,
		start:    time.Now(),
		ident:    o.Ident,
		caughtUp: true,
	}
	if p.ident == 0 {
		p.ident = uint16(1 + rand.N(1<<16-1))
	}
	if o.ip6() {
		p.protocol = newIPv6(p)
	} else {
		p.protocol = newIPv4(p)
	}
	if o.Flood && o.Audible {
		p.warn("Sorry, no audible output for flood pings")
	}
	p.banner()
	p.out.Flush()

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	err := p.loop(ctx, events)
	cancel()
	if err != nil {
		p.out.Flush()
		p.warn("%v", err)
	}
	p.summary(true)
	p.out.Flush()
	switch {
	case err != nil:
		return exitError
	case p.received > 0:
		return exitReplies
	}
	return exitNone
}

// warn writes a line to standard error.
func (p *pinger) warn(format string, args ...any) {
	fmt.Fprintf(p.errw, p.Program+": "+format+"\n", args...)
}

func (p *pinger) printf(format string, args ...any) { fmt.Fprintf(p.out, format, args...) }

// clock is the time since the start, on the host's monotonic clock.
func (p *pinger) clock() time.Duration { return time.Since(p.start) }

// received is what the receiver passes on.
type received struct {
	pkt *Packet
	at  time.Duration
	err error
}

// loop sends and receives until there is nothing more to wait for. The error is
// one that leaves no kernel to talk to.
//
// Sending and receiving are done by a goroutine each, so that no call to the
// kernel, which may hang there, keeps the loop from hearing of events.
func (p *pinger) loop(ctx context.Context, events <-chan Event) error {
	var (
		requests = make(chan []byte, 1)
		results  = make(chan error, 1)
		packets  = make(chan received, 64)
		inFlight []byte // the request that the sender has not returned from
		timer    = time.NewTimer(0)
	)
	defer timer.Stop()
	go p.sender(ctx, requests, results)
	go p.receiver(ctx, packets)
	defer close(requests)

	p.now = p.clock()
	deadline := never
	if p.Deadline > 0 {
		deadline = p.now + p.Deadline
	}
	limit, interval := p.limit(), p.interval()
	for p.received < limit && (p.received == 0 || !p.Once) {
		left := never
		if deadline != never {
			left = deadline - p.now
		}
		var wait time.Duration
		if p.transmitted < limit && left > 0 {
			if inFlight == nil && p.due(interval) {
				inFlight = p.transmit(interval)
				requests <- inFlight
			}
			wait = max(0, p.nextTx-p.now)
			if inFlight != nil {
				// The next one cannot go before this one is through; that is
				// an event of its own.
				wait = max(wait, interval)
			}
			wait = min(wait, left)
		} else {
			// For the last reply, wait twice as long as the worst one took, or
			// ten intervals.
			wait = max(2*p.round.max, saturate(10, interval)) - (p.now - p.lastTx)
			wait = min(wait, left)
			if wait <= 0 {
				return nil
			}
		}
		timer.Reset(wait)

		select {
		case ev, ok := <-events:
			p.now = p.clock()
			switch {
			case !ok:
				events = nil
			case ev == Stop:
				return nil
			case ev == Status || !p.ip6():
				p.summary(false)
			}
		case err := <-results:
			p.now = p.clock()
			if err != nil {
				if !isErrno(err) {
					return stopped(ctx, err)
				}
				p.refused(err, inFlight)
			}
			inFlight = nil
		case r := <-packets:
			p.now = r.at
			switch {
			case r.err == nil:
				p.receive(r.pkt, r.at)
			case isErrno(r.err):
				p.receiveFailed(r.err)
			default:
				return stopped(ctx, r.err)
			}
			p.now = p.clock()
		case <-timer.C:
			p.now = p.clock()
		case <-ctx.Done():
			return nil
		}
		p.out.Flush()
	}
	return nil
}

// never is a time that does not come.
const never = time.Duration(1<<63 - 1)

// saturate is n times d, or never.
func saturate(n, d time.Duration) time.Duration {
	if d > never/n {
		return never
	}
	return n * d
}

// due tells whether it is time for another request: within 100 µs of it, or
// late; at once for those that are preloaded, and when flooding after each reply.
//
// A request that is ahead by more than an interval does not move the next one's
// time (see transmit). It must not count as due, or a rhythm of less than 100 µs
// would be none: requests would go out as fast as the kernel takes them.
func (p *pinger) due(interval time.Duration) bool {
	return p.transmitted == 0 || p.transmitted < p.Preload ||
		p.nextTx-p.now <= min(interval, 100*time.Microsecond) || p.Flood && p.caughtUp
}

// transmit composes the next request and notes that it goes out now.
func (p *pinger) transmit(interval time.Duration) []byte {
	seq := uint16(p.transmitted)
	msg := p.message(seq)
	p.seen[seq] = false
	p.caughtUp = false
	p.lastTx = p.now
	if p.transmitted == 0 {
		p.firstTx, p.nextTx = p.now, p.now
	}
	p.transmitted++
	// Go on in the same rhythm. When it is up to 100 ms late, make up for it
	// with extra requests; what could not be sent for longer is left out.
	if late := p.now - p.nextTx; late >= -interval {
		p.nextTx += interval
		if behind := p.now - p.nextTx - 100*time.Millisecond; behind > 0 {
			p.nextTx += (behind + interval - 1) / interval * interval
		}
	}
	p.sent()
	return msg
}

// sender hands requests to the kernel, one at a time.
func (p *pinger) sender(ctx context.Context, requests <-chan []byte, results chan<- error) {
	for seq := uint16(0); ; seq++ {
		msg, ok := <-requests
		if !ok {
			return
		}
		p.sentAt[seq].Store(int64(p.clock()))
		results <- p.sock.Send(ctx, msg)
	}
}

// receiver passes on what the kernel delivers.
func (p *pinger) receiver(ctx context.Context, packets chan<- received) {
	size := p.bufferSize()
	for {
		r := received{pkt: &Packet{Data: make([]byte, size), HopLimit: -1}}
		r.err = p.sock.Recv(ctx, r.pkt)
		r.at = p.clock()
		if errors.Is(r.err, netbsd.EINTR) || errors.Is(r.err, netbsd.EAGAIN) {
			continue
		}
		select {
		case packets <- r:
		case <-ctx.Done():
			return
		}
		if r.err == nil {
			continue
		}
		if !isErrno(r.err) {
			return
		}
		// An error that stays must not keep everyone busy.
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return
		}
	}
}

// ours tells whether a reply's sequence number is one that was sent.
func (p *pinger) ours(seq uint16) bool {
	return int(seq) < p.transmitted || p.transmitted > len(p.sentAt)
}

// roundTrip is how long the reply to a request took that came at a time since
// the start.
func (p *pinger) roundTrip(seq uint16, at time.Duration) time.Duration {
	return at - time.Duration(p.sentAt[seq].Load())
}

// answered counts the reply to a request. It returns whether it is not the
// first one to it.
func (p *pinger) answered(seq uint16, at, trip time.Duration) (duplicate bool) {
	if p.received+p.repeats == 0 {
		p.firstRx = at
	}
	p.lastRx = at
	p.round.add(trip)
	duplicate = p.seen[seq]
	p.seen[seq] = true
	if duplicate {
		p.repeats++
	} else {
		p.received++
	}
	return duplicate
}

// isErrno tells whether err is the answer of a kernel that is there.
func isErrno(err error) bool {
	_, ok := errors.AsType[netbsd.Errno](err)
	return ok
}

// stopped returns err, unless it is our own doing.
func stopped(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}
