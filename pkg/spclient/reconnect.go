package spclient

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"time"

	"rumptools/pkg/sysproxy"
)

// Retry says what a connection does when the kernel is lost: the policies of
// rumpclient(3)'s rumpclient_setconnretry. A connection is made again, as a new
// process of the kernel's without any descriptors, when the next call needs it.
// That call is made in the new kernel if it has no descriptors among its
// arguments; calls that were under way when the connection was lost fail with a
// [*LostError], for they may have happened.
//
// A positive Retry is how long it is tried, in seconds.
type Retry int

const (
	// RetryNone does not make lost connections again.
	RetryNone Retry = 0
	// RetryInfinite tries for ever (RUMPCLIENT_RETRYCONN_INFTIME).
	RetryInfinite Retry = -1
	// RetryOnce tries once (RUMPCLIENT_RETRYCONN_ONCE).
	RetryOnce Retry = -2
	// RetryDie ends this program with exit code 1
	// (RUMPCLIENT_RETRYCONN_DIE).
	RetryDie Retry = -3
)

// RetryEnv is the environment variable that [RetryFromEnv] reads.
const RetryEnv = "RUMPHIJACK_RETRYCONNECT"

// ParseRetry returns the policy that rumphijack(3) knows by a word: "once",
// "inftime", "die", or a number of seconds. "0" and "" are RetryNone.
func ParseRetry(s string) (Retry, error) {
	switch s {
	case "", "0":
		return RetryNone, nil
	case "once":
		return RetryOnce, nil
	case "inftime":
		return RetryInfinite, nil
	case "die":
		return RetryDie, nil
	}
	n, err := strconv.ParseUint(s, 10, 31)
	if err != nil {
		return RetryNone, fmt.Errorf("%q is not once, inftime, die or a number of seconds", s)
	}
	return Retry(n), nil
}

// RetryFromEnv returns the policy that RUMPHIJACK_RETRYCONNECT names.
func RetryFromEnv() (Retry, error) {
	r, err := ParseRetry(os.Getenv(RetryEnv))
	if err != nil {
		err = fmt.Errorf("%s: %w", RetryEnv, err)
	}
	return r, err
}

// String returns the policy as ParseRetry reads it.
func (r Retry) String() string {
	switch r {
	case RetryInfinite:
		return "inftime"
	case RetryOnce:
		return "once"
	case RetryDie:
		return "die"
	}
	return strconv.Itoa(int(r))
}

// How long to wait before an attempt: longer each time, as NetBSD's client does.
const (
	retryStep     = 100 * time.Millisecond
	retrySteps    = 10
	retryMax      = 10 * time.Second
	retryReminder = 120 * time.Second
)

// retryDelay returns how long to wait before the n-th attempt, counted from 0.
func retryDelay(n int) time.Duration {
	if n < retrySteps {
		return time.Duration(n) * retryStep
	}
	return min(time.Duration(n-retrySteps+1)*time.Second, retryMax)
}

// An attempt to connect again, by one goroutine for all who wait for it.
type attempt struct {
	done chan struct{}
	err  error // set before done is closed
}

// renew moves a call to the session after the one that ended with err before
// the call was made. It returns the error of the call if that can't be.
func (c *Conn) renew(ctx context.Context, call *Call, err error) error {
	if call.fds {
		return err // its descriptors are gone
	}
	s, err := c.after(ctx, call.s, err)
	if err != nil {
		return err
	}
	lost := call.s
	call.s = s
	if call.kind == sysproxy.TypeSyscall && (lost.carries != s.carries || lost.settles != s.settles || lost.dials != s.dials) {
		call.build()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sp := range call.spans {
		// Addresses that are not to be given out.
		if sp.end > s.space.next {
			s.space.next = sp.end
		}
	}
	return nil
}

// after returns the session after one that ended with err, if the policy has one.
func (c *Conn) after(ctx context.Context, s *session, err error) (*session, error) {
	switch {
	case !c.mayRenew(err):
		return nil, err
	case c.opts.Retry == RetryDie:
		c.say(err.Error())
		os.Exit(1)
	}
	return c.reconnect(ctx, s, err)
}

// reconnect returns the session after one that was lost.
func (c *Conn) reconnect(ctx context.Context, lost *session, cause error) (*session, error) {
	for {
		c.mu.Lock()
		if c.err != nil {
			c.mu.Unlock()
			return nil, c.err
		}
		s := c.session()
		if s != lost && s.Err() == nil {
			c.mu.Unlock()
			return s, nil
		}
		a := c.attempt
		if a == nil {
			a = &attempt{done: make(chan struct{})}
			c.attempt = a
			go c.tryAgain(a, s, cause)
		}
		c.mu.Unlock()
		select {
		case <-a.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if a.err != nil {
			return nil, a.err
		}
	}
}

// tryAgain tries to connect until that works or the policy ends it.
func (c *Conn) tryAgain(a *attempt, lost *session, cause error) {
	err := c.redial(lost)
	switch {
	case err == nil:
	case c.ctx.Err() != nil:
		err = c.Err()
	default:
		err = &ReconnectError{Lost: cause, Err: err}
	}
	c.mu.Lock()
	a.err = err
	c.attempt = nil
	c.mu.Unlock()
	close(a.done)
}

func (c *Conn) redial(lost *session) error {
	<-lost.done
	start := time.Now()
	ctx, cancel := c.ctx, context.CancelFunc(func() {})
	if c.opts.Retry > 0 {
		ctx, cancel = context.WithTimeout(ctx, time.Duration(c.opts.Retry)*time.Second)
	}
	defer cancel()
	c.say("rump_sp: connection to kernel lost, trying to reconnect ...")
	said := start
	for n := 0; ; n++ {
		err := sleep(ctx, retryDelay(n))
		if err == nil {
			var s *session
			if s, err = c.dialSession(ctx, guest); err == nil {
				if s.machine != lost.machine {
					s.end(ErrClosed)
					<-s.done
					return fmt.Errorf("the kernel is %s now and was %s", s.machine, lost.machine)
				}
				s.renewed = true
				c.install(s)
				c.say("rump_sp: reconnected!")
				return nil
			}
		}
		switch {
		case c.ctx.Err() != nil:
			return err
		case ctx.Err() != nil:
			c.say(fmt.Sprintf("rump_sp: reconnect failed, %d second timeout", int(c.opts.Retry)))
			return fmt.Errorf("no connection within %d seconds", int(c.opts.Retry))
		case c.opts.Retry == RetryOnce:
			return err
		}
		if time.Since(said) > retryReminder {
			said = time.Now()
			c.say("rump_sp: still trying to reconnect ...")
		}
	}
}

func (c *Conn) say(text string) {
	if c.opts.Message != nil {
		c.opts.Message(text)
	} else {
		fmt.Fprintln(os.Stderr, text)
	}
}
