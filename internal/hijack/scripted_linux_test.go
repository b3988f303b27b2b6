//go:build amd64 || arm64

package hijack

import (
	"testing"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
	"rumptools/pkg/spclient/spclienttest"
)

// scripted connects to a kernel whose answers are a test's own.
func scripted(t *testing.T, answer func(*spclienttest.Call)) *spclient.Conn {
	t.Helper()
	srv := spclienttest.NewServer(t, "unix", netbsd.AMD64, func(p *spclienttest.Peer) { p.ServeAll(answer) })
	conn, err := spclient.Dial(t.Context(), srv.URL(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}
