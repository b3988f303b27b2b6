//go:build race

package spclient_test

const raceEnabled = true
