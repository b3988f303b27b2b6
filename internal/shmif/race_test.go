//go:build race

package shmif

// The race detector makes everything many times slower.
func init() { exchangeFrames = 20_000 }
