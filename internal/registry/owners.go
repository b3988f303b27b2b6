package registry

import (
	"context"

	"rumptools/internal/owners"
)

// Owners returns which programs of this host have which sockets of a kernel, as those
// tell who supervise them. What some said is returned also when there is an error.
func Owners(ctx context.Context, url string) ([]owners.Socket, error) {
	return owners.List(ctx, dirPath(), url)
}

// TellOwners begins to tell that of a kernel.
func TellOwners(url string, list func() []owners.Socket) (*owners.Teller, error) {
	dir, err := Dir()
	if err != nil {
		return nil, err
	}
	return owners.Tell(dir, url, list)
}
