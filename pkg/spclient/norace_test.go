//go:build !race

package spclient_test

const raceEnabled = false
