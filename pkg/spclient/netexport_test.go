package spclient

import "context"

// Pending returns how many calls are under way.
func Pending(c *Conn) int {
	s := c.session()
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.pending)
}

// Polling tells whether sockets are waited for, and somebody wants that.
func Polling(c *Conn) bool {
	p := &c.session().net
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.running && p.waiting > 0
}

// PausePoll and ResumePoll are what an exec does.
func PausePoll(ctx context.Context, c *Conn) error { return c.session().pausePoll(ctx) }
func ResumePoll(c *Conn)                           { c.session().resumePoll() }

// PollQueue returns the kqueue that sockets are waited for with.
func PollQueue(c *Conn) FD {
	p := &c.session().net
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.kq
}
