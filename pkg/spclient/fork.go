package spclient

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os/exec"

	"rumptools/pkg/sysproxy"
)

// ForkCookie is the right to become, once, a copy of a process in the kernel, with
// the descriptors that it had when [Conn.Prefork] was called. Whoever knows its 16
// bytes has that right.
type ForkCookie [16]byte

// String returns the cookie in hexadecimal digits.
func (k ForkCookie) String() string { return hex.EncodeToString(k[:]) }

// ParseForkCookie reads what String returns.
func ParseForkCookie(s string) (ForkCookie, error) {
	var k ForkCookie
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(k) {
		return k, fmt.Errorf("no fork cookie: %q", s)
	}
	return ForkCookie(b), nil
}

// auth returns the cookie as the kernel's words.
func (k ForkCookie) auth(l sysproxy.Layout) (a sysproxy.Auth) {
	for i := range a {
		a[i] = l.Order.Uint32(k[4*i:])
	}
	return a
}

// Prefork prepares a fork(2) of this process in the kernel: the child has all
// descriptors that are open now, except kqueues. It takes up its life with
// [DialFork], in this program or in another one that is given the cookie, also
// after this connection has ended; or [Conn.CancelFork] gives it up. Until then
// the kernel keeps the descriptors open.
func (c *Conn) Prefork(ctx context.Context) (ForkCookie, error) {
	var k ForkCookie
	call := c.session().newCall(0, sysproxy.TypePrefork)
	call.conn = c
	call.fds = true // it is about those that are open
	call.frame = sysproxy.Prefork{}.Append(call.frame[:0], call.s.layout, 0)
	if err := call.exchange(ctx); err != nil {
		return k, callError("prefork", err)
	}
	l := call.s.layout
	for i, word := range call.auth {
		l.Order.PutUint32(k[4*i:], word)
	}
	call.free()
	return k, nil
}

// CancelFork gives a fork up: the child's descriptors are closed and the cookie
// is void. A cookie that is void already, or that the kernel does not know, is
// sysproxy.ErrInvalidPrefork.
func (c *Conn) CancelFork(ctx context.Context, cookie ForkCookie) error {
	// The kernel does not answer but ends the connection.
	child := newConn(c.url, &Options{Dial: c.opts.Dial})
	defer child.cancel()
	s, err := child.dialSession(ctx, func(ctx context.Context, s *session, _ string) error {
		return s.fork(ctx, cookie, true)
	})
	switch {
	case err == nil:
		s.end(ErrClosed)
		<-s.done
		return nil
	case errors.Is(err, ErrLost) && errors.Is(err, io.EOF):
		return nil
	}
	return err
}

// DialFork connects to the kernel as the child that the cookie stands for. Its
// descriptors have the numbers that they have in the parent; [Conn.FD] makes
// them the connection's. Options may be nil; the process has its parent's name.
//
// The error is a [*DialError]: sysproxy.ErrInvalidPrefork when the cookie was used,
// cancelled or never given out.
func DialFork(ctx context.Context, url string, cookie ForkCookie, opts *Options) (*Conn, error) {
	return dial(ctx, url, opts, func(ctx context.Context, s *session, _ string) error {
		return s.fork(ctx, cookie, false)
	})
}

func (s *session) fork(ctx context.Context, cookie ForkCookie, cancel bool) error {
	return s.handshake(ctx, func(call *Call) {
		m := sysproxy.Fork{Auth: cookie.auth(s.layout)}
		if cancel {
			m.Cancel = 1
		}
		call.frame = m.Append(call.frame[:0], s.layout, 0)
	})
}

// ForkEnv is the environment variable with which [Conn.StartChild] hands a cookie
// to a child, and [DialInherited] takes it: the cookie, a space, and the server's
// URL.
const ForkEnv = "RUMPTOOLS__FORK"

// StartChild starts a command as a child of this process in the kernel, too: it
// gets a cookie of [Conn.Prefork] in its environment, with which
// [DialInherited] connects. If the command does not start, the fork is cancelled.
// For a child that never connects the kernel keeps the copies of the descriptors
// open.
func (c *Conn) StartChild(ctx context.Context, cmd *exec.Cmd) error {
	cookie, err := c.Prefork(ctx)
	if err != nil {
		return err
	}
	cmd.Env = setenv(cmd.Environ(), ForkEnv, cookie.String()+" "+c.URL())
	cmd.Env = unsetenv(cmd.Env, ExecEnv)
	if err := cmd.Start(); err != nil {
		return errors.Join(err, c.CancelFork(ctx, cookie))
	}
	return nil
}

// setenv returns env with a variable set.
func setenv(env []string, name, value string) []string {
	return append(unsetenv(env, name), name+"="+value)
}

// unsetenv returns env without a variable.
func unsetenv(env []string, name string) []string {
	kept := make([]string, 0, len(env)+1)
	for _, e := range env {
		if len(e) <= len(name) || e[:len(name)] != name || e[len(name)] != '=' {
			kept = append(kept, e)
		}
	}
	return kept
}
