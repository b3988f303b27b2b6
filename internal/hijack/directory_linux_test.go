//go:build amd64 || arm64

package hijack

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// The directories of those who were killed are removed, and no others.
func TestRemoveDead(t *testing.T) {
	parent := t.TempDir()
	mk := func(name string, age time.Duration, locked bool) string {
		t.Helper()
		dir := filepath.Join(parent, name)
		if err := os.MkdirAll(filepath.Join(dir, "s"), 0o700); err != nil {
			t.Fatal(err)
		}
		then := time.Now().Add(-age)
		if err := os.Chtimes(dir, then, then); err != nil {
			t.Fatal(err)
		}
		if locked {
			if _, err := lockDir(dir); err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}
	dead := mk(dirPrefix+"1", time.Hour, false)
	kept := []string{mk(dirPrefix+"2", time.Hour, true), mk(dirPrefix+"3", 0, false), mk("other-4", time.Hour, false)}
	link := filepath.Join(parent, dirPrefix+"5")
	if err := os.Symlink(kept[2], link); err != nil {
		t.Fatal(err)
	}
	removeDead(parent)
	if _, err := os.Stat(dead); !os.IsNotExist(err) {
		t.Errorf("%s: %v", dead, err)
	}
	for _, dir := range append(kept, link) {
		if _, err := os.Lstat(dir); err != nil {
			t.Error(err)
		}
	}
}
