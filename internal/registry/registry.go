// Package registry knows which rump kernels run here by name, and turns what a
// user says of a kernel into a connection.
//
// A named kernel is one whose socket has that name in the run-time directory.
// There is no other record of it: what is not served does not run.
package registry

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"rumptools/pkg/sysproxy"
)

// DefaultName is the kernel that is meant when nobody says which.
const DefaultName = "default"

// ServerEnv is the environment variable that chooses a kernel, by URL as
// rumpclient(3) has it, or by name.
const ServerEnv = "RUMP_SERVER"

// dirPath is the run-time directory's path: rump in $XDG_RUNTIME_DIR, else
// rump-UID in the temporary directory.
func dirPath() string {
	if d := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(d) {
		return filepath.Join(d, "rump")
	}
	return filepath.Join(os.TempDir(), fmt.Sprintf("rump-%d", os.Getuid()))
}

// Dir is the run-time directory, made if it is not there. It is refused unless
// it is a directory of ours that nobody else may enter: whoever can connect to
// a kernel is its root.
func Dir() (string, error) {
	path := dirPath()
	if err := os.MkdirAll(path, 0o700); err != nil {
		return "", fmt.Errorf("run-time directory: %w", err)
	}
	return path, checkDir(path)
}

// checkDir checks an existing run-time directory.
func checkDir(path string) error {
	st, err := os.Lstat(path)
	switch {
	case err != nil:
		return fmt.Errorf("run-time directory: %w", err)
	case !st.IsDir():
		return fmt.Errorf("run-time directory %s: not a directory", path)
	case !ownedByUs(st):
		return fmt.Errorf("run-time directory %s: belongs to another user", path)
	case st.Mode().Perm()&0o077 != 0:
		return fmt.Errorf("run-time directory %s: open to other users (mode %04o, want 0700)", path, st.Mode().Perm())
	}
	return nil
}

// printable is a name as a line can show it: quoted if it would break the line, or
// tell the terminal something.
func printable(name string) string {
	if strings.ContainsFunc(name, func(r rune) bool { return !strconv.IsPrint(r) }) {
		return strconv.Quote(name)
	}
	return name
}

// CheckName says why name can't be a kernel's.
func CheckName(name string) error {
	switch {
	case name == "":
		return errors.New("empty name")
	case name[0] == '.' || name[0] == '-':
		return fmt.Errorf("name %s: begins with %q", printable(name), name[0])
	case len(name) > 64:
		return fmt.Errorf("name %s...: longer than 64 bytes", printable(name[:16]))
	}
	for _, r := range name {
		if !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-", r)) {
			return fmt.Errorf("name %s: has a %q; letters, digits, '.', '_' and '-' are good", printable(name), r)
		}
	}
	return nil
}

// URL is where the kernel of that name serves, or would.
func URL(name string) (string, error) {
	if err := CheckName(name); err != nil {
		return "", err
	}
	u := sysproxy.URL{Network: "unix", Address: filepath.Join(dirPath(), name)}
	if err := u.CheckDial(); err != nil {
		return "", err
	}
	if err := checkDir(dirPath()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	return u.String(), nil
}

// Resolve finds the URL of the kernel that is meant: what the user said, a URL
// or a name; else $RUMP_SERVER, likewise; else the kernel named default.
func Resolve(said string) (string, error) {
	if said == "" {
		said = os.Getenv(ServerEnv)
	}
	if said == "" {
		said = DefaultName
	}
	if !strings.Contains(said, "://") {
		return URL(said)
	}
	u, err := sysproxy.ParseURL(said)
	if err != nil {
		return "", err
	}
	return u.String(), u.CheckDial()
}

// Names are the kernels whose sockets are in the run-time directory, sorted;
// whether they serve is another question.
func Names() ([]string, error) {
	path := dirPath()
	entries, err := os.ReadDir(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("run-time directory: %w", err)
	}
	if err := checkDir(path); err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		name := e.Name()
		// One that a tracer has set aside is a kernel's too, whatever has
		// become of its place.
		if rest, ok := strings.CutSuffix(name, ".kernel"); ok && strings.HasPrefix(rest, ".") {
			name = rest[1:]
		}
		if e.Type() == fs.ModeSocket && CheckName(name) == nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}
