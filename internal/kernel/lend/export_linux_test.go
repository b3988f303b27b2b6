package lend

// Loans is how many loans have not ended.
func (p *Pump) Loans() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.loans)
}

// Over reports whether the pump has ended.
func (p *Pump) Over() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.epoll < 0
}

// Tubes is how many pipes there are, and how many of them wait to be used.
func (p *Pump) Tubes() (all, idle int) {
	p.tubes.mu.Lock()
	defer p.tubes.mu.Unlock()
	return p.tubes.all, len(p.tubes.idle)
}

// Fused reports whether a loan has lanes.
func (l *Loan) Fused() bool { return l.out.Load().lives() && l.in.Load().lives() }

// Senders is how many sockets of the host's stand for senders of datagrams.
func Senders() int { return int(allSenders.Load()) }

// Bounds that tests come close to.
const (
	Keep          = keep
	Gather        = gather
	TurnBytes     = turnBytes
	TubeSize      = tubeSize
	TubeWorth     = tubeWorth
	MostTubes     = mostTubes
	HostBuffer    = hostBuffer
	MaxSenders    = maxSenders
	MaxAllSenders = maxAllSenders
	MaxUp         = maxUp
)
