//go:build amd64 || arm64

package hijack

import (
	"time"

	"golang.org/x/sys/unix"
)

// afterMoment is how long a call that does not wait may take nevertheless, for
// something that mostly takes less.
func afterMoment() <-chan time.Time { return time.After(2 * time.Millisecond) }

func duration(tv *unix.Timeval) time.Duration {
	if tv == nil {
		return 0
	}
	return time.Duration(tv.Nano())
}
