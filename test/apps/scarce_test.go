package apps

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// absent is the end of the last address that was asked for and that nobody has.
var absent = 100

// TestScarce: a call for which the supervisor has no descriptors fails, and its program learns that; what it has left behind is
// nobody else's.
func TestScarce(t *testing.T) {
	twoKernels(t)
	if os.Geteuid() != 0 {
		t.Skip("a program in a user namespace does not see what descriptors its supervisor has")
	}
	goesOn := func(send string) []string {
		return []string{
			"connect EINPROGRESS, 1 edge",
			"SO_ERROR EMFILE",
			"send " + send + ", getpeername ENOTCONN",
			"again ECONNABORTED EINPROGRESS",
			"it is connected True 5 b'again'",
		}
	}
	want := append(append(goesOn("EPIPE"), goesOn("ENOTCONN")...),
		"waits EMFILE",
		"another 7 b'another'",
		"another 7 b'another'",
		"the first ECONNRESET None 5",
		"it is connected b'first'",
		"none: EMFILE EMFILE EMFILE",
		"accepted True 5 b'whole' 5 b'whole'",
		"waits: EAGAIN",
		"")
	args := []string{"scarce.py", server.v4.String()}
	for range 2 {
		// The network is the two kernels'; who has asked for one of these knows for a while that nobody has it.
		absent++
		args = append(args, fmt.Sprintf("10.0.0.%d", absent))
	}
	got := server.want(t, find(t, "python3"), args...)
	if diff := cmp.Diff(want, strings.Split(got, "\n")); diff != "" {
		t.Error(diff)
	}
}
