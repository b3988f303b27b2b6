package spclient

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/sysproxy"
)

// Environment variables in which a connection passes over execve(2). NetBSD's
// client knows the first two (rumpclient.c), so that its programs can be
// executed and can execute others.
const (
	// ExecEnv has the numbers of two descriptors, separated by a comma: the
	// connection, and what NetBSD's client waits for signals with: a
	// signalfd with all signals on Linux, else a kqueue.
	ExecEnv = "RUMPCLIENT__EXECFD"
	// ServerEnv has the server's URL with an absolute path; it goes before
	// RUMP_SERVER.
	ServerEnv = "RUMP__PARSEDSERVER"
	// BannerEnv has the server's URL, a space, and what the server said first,
	// which tells its machine. NetBSD's client neither needs nor sets it.
	BannerEnv = "RUMPTOOLS__BANNER"

	rumpServerEnv = "RUMP_SERVER"
)

// ErrNotInherited is returned by [DialInherited] when the environment has nothing
// to inherit.
var ErrNotInherited = errors.New("no connection to a rump kernel in the environment")

// ErrExec is returned by [Conn.Exec] while another one is under way.
var ErrExec = errors.New("exec is under way")

// Inherited tells whether the environment has a connection, or the right to one,
// for [DialInherited].
func Inherited() bool { return os.Getenv(ExecEnv) != "" || os.Getenv(ForkEnv) != "" }

// DialInherited goes on with the connection of the program that executed this
// one, with [Conn.Exec] or NetBSD's rumpclient_exec(3), or becomes the child that
// a program made it with [Conn.StartChild]. After an exec the process has a new
// name in the kernel, and those descriptors that were not close-on-exec. The
// variables are removed from the environment: what they stand for can be used
// once. Without them the error is [ErrNotInherited], else it is a [*DialError].
func DialInherited(ctx context.Context, opts *Options) (*Conn, error) {
	if v := os.Getenv(ExecEnv); v != "" {
		url := os.Getenv(ServerEnv)
		if url == "" {
			url = os.Getenv(rumpServerEnv)
		}
		banner := os.Getenv(BannerEnv)
		for _, name := range []string{ExecEnv, BannerEnv} {
			os.Unsetenv(name)
		}
		c, err := inherit(ctx, v, url, banner, opts)
		if err != nil {
			var dial *DialError
			if !errors.As(err, &dial) {
				err = &DialError{URL: url, Err: err}
			}
			return nil, err
		}
		return c, nil
	}
	if v := os.Getenv(ForkEnv); v != "" {
		os.Unsetenv(ForkEnv)
		text, url, _ := strings.Cut(v, " ")
		cookie, err := ParseForkCookie(text)
		if err != nil {
			return nil, &DialError{URL: url, Err: fmt.Errorf("%s: %w", ForkEnv, err)}
		}
		return DialFork(ctx, url, cookie, opts)
	}
	return nil, ErrNotInherited
}

// inherit makes a connection of descriptors.
func inherit(ctx context.Context, fds, url, banner string, opts *Options) (*Conn, error) {
	u, err := parseURL(url)
	if err != nil {
		return nil, err
	}
	a, b, _ := strings.Cut(fds, ",")
	fd, err := strconv.Atoi(a)
	holy, err2 := strconv.Atoi(b)
	if err != nil || err2 != nil {
		return nil, fmt.Errorf("%s: %q is not two numbers of descriptors", ExecEnv, fds)
	}
	said, err := inheritedBanner(u, banner)
	if err != nil {
		return nil, err
	}
	tr, err := inheritTransport(fd, holy)
	if err != nil {
		return nil, fmt.Errorf("%s: %s: %w", ExecEnv, fds, err)
	}
	c := newConn(u, opts)
	s := newSession(u.String(), tr, c.opts.OnRaise)
	if err = s.setBanner(said); err == nil {
		s.start()
		name := programName(c.opts.Name)
		err = s.handshake(ctx, func(call *Call) {
			call.frame = sysproxy.Exec{Name: name}.Append(call.frame[:0], s.layout, 0)
		})
		if err != nil {
			s.end(err)
			<-s.done
		}
	} else {
		tr.close()
	}
	if err != nil {
		c.cancel()
		return nil, err
	}
	c.install(s)
	return c, nil
}

// inheritedBanner returns the banner that v has, if it is the server's. NetBSD's
// client does not tell the machine: it can't talk to any but the host's.
func inheritedBanner(u sysproxy.URL, v string) (sysproxy.Banner, error) {
	if url, line, ok := strings.Cut(v, " "); ok && url == u.String() {
		return sysproxy.ParseBanner(line)
	}
	machine := map[string]*netbsd.Machine{
		"amd64": netbsd.AMD64, "386": netbsd.I386, "arm64": netbsd.AARCH64, "arm": netbsd.ARM,
	}[runtime.GOARCH]
	if machine == nil {
		return sysproxy.Banner{}, fmt.Errorf("%s is not set: the kernel's machine is not known", BannerEnv)
	}
	return sysproxy.Banner{Major: sysproxy.ProtocolMajor, Minor: sysproxy.ProtocolMinor, Machine: machine.Name}, nil
}

// Exec executes a program in place of this one, as execve(2) does, and hands the
// connection over to it: the program goes on as the same process in the kernel,
// if it is one that calls [DialInherited] or uses NetBSD's rumpclient(3). Its
// environment is env with the variables that this takes.
//
// Calls that are under way end first; new ones wait. The context is for that
// alone: while an abandoned call is out there can be no exec, for what the
// kernel writes for it would reach the new program. When Exec returns it has
// failed, and the connection goes on as before.
//
// Every goroutine of this program ends with the exec, in the middle of whatever
// it does.
func (c *Conn) Exec(ctx context.Context, path string, argv, env []string) error {
	s := c.session()
	if err := s.hold(ctx); err != nil {
		return fmt.Errorf("exec %s: %w", path, err)
	}
	defer s.unhold()
	url := c.URL()
	env = unsetenv(unsetenv(env, ExecEnv), ForkEnv)
	if lookup(env, ServerEnv) != "" || lookup(env, rumpServerEnv) != url {
		env = setenv(env, ServerEnv, url)
	}
	env = unsetenv(env, BannerEnv)
	if s.banner.OSType != "" { // else it is not known but that the machine is the host's
		env = append(env, BannerEnv+"="+url+" "+s.banner.String())
	}
	tr, ok := s.tr.(interface {
		exec(path string, argv, env []string) error
	})
	if !ok {
		return fmt.Errorf("exec %s: %w", path, errors.New("the connection has no descriptor to hand over"))
	}
	return fmt.Errorf("exec %s: %w", path, tr.exec(path, argv, env))
}

// lookup returns the value of a variable in env.
func lookup(env []string, name string) string {
	for _, e := range env {
		if v, ok := strings.CutPrefix(e, name+"="); ok {
			return v
		}
	}
	return ""
}

// boundaryPoll is how often it is looked whether the connection is between two
// frames.
const boundaryPoll = time.Millisecond

// hold keeps new calls back, and waits until no call is under way and the
// connection is between two frames in both directions.
func (s *session) hold(ctx context.Context) (err error) {
	if err := s.pausePoll(ctx); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			s.resumePoll()
		}
	}()
	s.mu.Lock()
	switch {
	case s.err != nil:
		err = s.err
	case s.held != nil:
		err = ErrExec
	case s.loans > 0:
		err = errLent
	}
	if err != nil {
		s.mu.Unlock()
		return err
	}
	s.held = make(chan struct{})
	drained := make(chan struct{})
	if len(s.pending) > 0 {
		s.drained = drained
	} else {
		close(drained)
	}
	s.mu.Unlock()
	defer func() {
		if err != nil {
			s.release()
		}
	}()
	select {
	case <-drained:
	case <-ctx.Done():
		return ctx.Err()
	}
	for {
		done, err := s.betweenFrames()
		if done || err != nil {
			return err
		}
		if err := sleep(ctx, boundaryPoll); err != nil {
			return err
		}
	}
}

// betweenFrames takes the turn when the connection is between two frames.
func (s *session) betweenFrames() (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return false, s.err
	}
	if s.direct == nil {
		return s.parked && s.out.idle(), nil
	}
	switch s.turn {
	case turnWatched:
		if s.direct.unwatch() != nil {
			return false, nil // the session ends
		}
	case turnNobody:
	default:
		return false, nil
	}
	if s.in.inFrame() || !s.out.idle() {
		s.giveTurn()
		return false, nil
	}
	s.turn = turnCaller
	return true, nil
}

// unhold ends a hold.
func (s *session) unhold() {
	s.mu.Lock()
	if s.err == nil && s.direct != nil {
		s.giveTurn()
	}
	s.mu.Unlock()
	s.release()
	s.resumePoll()
}

// release lets calls go on.
func (s *session) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held != nil {
		close(s.held)
		s.held = nil
	}
	s.drained = nil
}
