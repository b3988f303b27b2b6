//go:build !unix

package spclient_test

var errNotDir = errAny
