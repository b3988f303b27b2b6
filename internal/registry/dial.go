package registry

import (
	"context"
	"errors"
	"fmt"

	"rumptools/pkg/spclient"
	"rumptools/pkg/sysproxy"
)

// Dial connects, as the program of that name, to the kernel that is meant (see
// [Resolve]). When nobody serves there, the error says what to do.
func Dial(ctx context.Context, said, program string) (*spclient.Conn, error) {
	url, err := Resolve(said)
	if err != nil {
		return nil, err
	}
	c, err := spclient.Dial(ctx, url, &spclient.Options{Name: program})
	if u, perr := sysproxy.ParseURL(url); errors.Is(err, spclient.ErrNoKernel) && perr == nil && u.Network == "unix" && traced(u.Address) {
		if err := repair(u.Address); err != nil {
			return nil, fmt.Errorf("rump kernel at %s: %w", url, err)
		}
		c, err = spclient.Dial(ctx, url, &spclient.Options{Name: program})
	}
	if errors.Is(err, spclient.ErrNoKernel) {
		return nil, fmt.Errorf("%w: start one with \"rumpctl start\" or set %s", err, ServerEnv)
	}
	return c, err
}
