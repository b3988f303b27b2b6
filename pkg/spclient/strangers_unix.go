//go:build unix

package spclient

import (
	"os"
	"sync"
)

// fileSet keeps files from being closed by the garbage collector.
type fileSet struct {
	mu    sync.Mutex
	files []*os.File
}

func (s *fileSet) add(f *os.File) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files = append(s.files, f)
}

// strangers are files whose descriptors' numbers have become those of files that
// are none of ours.
var strangers fileSet
