package spclienttest

import (
	"strings"
	"testing"
)

// FuzzPlayer takes recordings apart that may be anything. The corpus is the
// recordings of system calls with copies.
func FuzzPlayer(f *testing.F) {
	f.Add(sample)
	for _, text := range recordedTexts(f) {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, s string) {
		rec, err := ParseRecording("x", strings.NewReader(s))
		if err != nil {
			return
		}
		for conn := range 3 {
			(&Player{Recording: rec, Conn: conn}).calls()
		}
	})
}
