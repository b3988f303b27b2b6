package registry

import (
	"context"
	"errors"
	"fmt"

	"rumptools/pkg/spclient"
	"rumptools/pkg/sysproxy"
)

// Dial connects, as the program of that name, to the kernel that is meant (see
// [Resolve]). When none is said, and a program that has a connection executed or
// started this one as rumpclient(3) knows it, the connection is that one. A lost
// connection is made again as RUMPHIJACK_RETRYCONNECT says. When nobody serves, the
// error says what to do.
func Dial(ctx context.Context, said, program string) (*spclient.Conn, error) {
	retry, err := spclient.RetryFromEnv()
	if err != nil {
		return nil, err
	}
	opts := &spclient.Options{Name: program, Retry: retry}
	if said == "" && spclient.Inherited() {
		return spclient.DialInherited(ctx, opts)
	}
	url, err := Resolve(said)
	if err != nil {
		return nil, err
	}
	c, err := spclient.Dial(ctx, url, opts)
	if u, perr := sysproxy.ParseURL(url); errors.Is(err, spclient.ErrNoKernel) && perr == nil && u.Network == "unix" && traced(u.Address) {
		if err := repair(u.Address); err != nil {
			return nil, fmt.Errorf("rump kernel at %s: %w", url, err)
		}
		c, err = spclient.Dial(ctx, url, opts)
	}
	if errors.Is(err, spclient.ErrNoKernel) {
		return nil, fmt.Errorf("%w: start one with \"rumpctl start\" or set %s", err, ServerEnv)
	}
	return c, Late(url, err)
}

// Late says of an error that is a context's deadline whose answer it was that did
// not come in time. Other errors it returns as they are.
func Late(url string, err error) error {
	if !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return &lateError{url}
}

type lateError struct {
	url string
}

func (e *lateError) Error() string { return fmt.Sprintf("rump kernel at %s: no answer in time", e.url) }
func (e *lateError) Unwrap() error { return context.DeadlineExceeded }
