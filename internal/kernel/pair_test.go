package kernel

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// answers counts what two clients are answered.
type answers struct {
	joined, refused, told, none atomic.Int32
}

func (a *answers) offered(joined bool) {
	if joined {
		a.joined.Add(1)
	} else {
		a.refused.Add(1)
	}
}

func (a *answers) asked(path string) {
	if path != "" {
		a.told.Add(1)
	} else {
		a.none.Add(1)
	}
}

// want checks how often each has been answered.
func (a *answers) want(t *testing.T, joined, refused, told, none int32) {
	t.Helper()
	got := [...]int32{a.joined.Load(), a.refused.Load(), a.told.Load(), a.none.Load()}
	if want := [...]int32{joined, refused, told, none}; got != want {
		t.Errorf("joined, refused, told, none: %v, want %v", got, want)
	}
}

// Who has offered is answered, and lets its program accept, only when it is decided, whoever comes first.
func TestPairing(t *testing.T) {
	both := func() (connected, accepted *Pairing, a *answers) {
		var listener Pairing
		listener.Expect()
		connected, accepted, a = new(Pairing), new(Pairing), new(answers)
		connected.Expect()
		accepted.Inherit(&listener)
		return connected, accepted, a
	}
	t.Run("the offer comes first", func(t *testing.T) {
		c, s, a := both()
		c.offer(s, "/x", a.offered)
		a.want(t, 0, 0, 0, 0)
		c.ask(true, a.asked)
		a.want(t, 0, 0, 1, 0)
		if !c.join() || !c.Joined() || !s.Joined() {
			t.Error("not joined")
		}
		a.want(t, 1, 0, 1, 0)
		// That stays, whatever is said.
		c.Refuse()
		s.Refuse()
		if c.join() || !c.Joined() || !s.Joined() {
			t.Error("joined twice, or not any more")
		}
		c.offer(s, "/y", a.offered)
		a.want(t, 1, 1, 1, 0)
	})
	t.Run("the question comes first", func(t *testing.T) {
		c, s, a := both()
		c.ask(true, a.asked)
		if a.none.Load() == 0 && c.mayAsk() {
			c.offer(s, "/x", a.offered)
			if a.refused.Load() == 0 { // else the moment was over
				a.want(t, 0, 0, 1, 0)
				c.Refuse()
				a.want(t, 0, 1, 1, 0)
			}
		}
		if c.join() || c.Joined() || s.Joined() {
			t.Error("joined what was refused")
		}
	})
	t.Run("nobody offers", func(t *testing.T) {
		c, s, a := both()
		answered := make(chan string, 1)
		c.ask(true, func(path string) { answered <- path })
		select {
		case path := <-answered:
			if path != "" {
				t.Errorf("path %q", path)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("who asks waits for ever")
		}
		c.offer(s, "/x", a.offered)
		a.want(t, 0, 1, 0, 0)
	})
	t.Run("there can be no offer", func(t *testing.T) {
		c, _, a := both()
		c.ask(false, a.asked)
		a.want(t, 0, 0, 0, 1)
	})
	t.Run("asked twice", func(t *testing.T) {
		c, _, a := both()
		c.ask(true, a.asked)
		c.ask(true, a.asked)
		a.want(t, 0, 0, 0, 2)
	})
	t.Run("nobody knows of pairs", func(t *testing.T) {
		var c, s, listener Pairing
		s.Inherit(&listener)
		var a answers
		if s.expects() || c.mayAsk() {
			t.Error("something is expected")
		}
		c.offer(&s, "/x", a.offered)
		c.ask(true, a.asked)
		a.want(t, 0, 1, 0, 1)
		c.Expect() // too late
		if c.expects() {
			t.Error("what is refused is expected")
		}
	})
}

// Whatever happens at once, both are answered once, and both ends know the same.
func TestPairingAtOnce(t *testing.T) {
	for i := range 2000 {
		var c, s Pairing
		c.Expect()
		s.Expect()
		var a answers
		var joined atomic.Bool
		start := make(chan struct{})
		var all sync.WaitGroup
		told := make(chan bool, 1)
		for j, do := range []func(){
			func() { c.offer(&s, "/x", a.offered) },
			func() {
				c.ask(true, func(path string) {
					a.asked(path)
					told <- path != ""
				})
			},
			func() {
				if <-told {
					joined.Store(c.join())
				}
			},
			func() { c.Refuse() },
		} {
			if j == 3 && i%3 == 0 {
				continue
			}
			all.Go(func() {
				<-start
				do()
			})
		}
		close(start)
		all.Wait()
		if n := a.told.Load() + a.none.Load(); n != 1 {
			t.Fatalf("who asks has been answered %d times", n)
		}
		c.Refuse() // for an offer that nobody has asked for
		if n := a.joined.Load() + a.refused.Load(); n != 1 {
			t.Fatalf("who offers has been answered %d times", n)
		}
		if yes := joined.Load(); c.Joined() != yes || s.Joined() != yes || (a.joined.Load() == 1) != yes {
			t.Fatalf("joined %v: the ends say %v and %v, who offers has been told %d times", yes, c.Joined(), s.Joined(), a.joined.Load())
		}
	}
}
