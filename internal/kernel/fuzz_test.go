package kernel_test

import (
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"rumptools/internal/kernel"
	"rumptools/internal/kernel/local"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient/spclienttest"
	"rumptools/pkg/sysproxy"
)

// FuzzServer lets a client say anything to a kernel: whatever it is, the kernel
// lives, and the connection ends when the client goes.
func FuzzServer(f *testing.F) {
	recs, err := spclienttest.OpenRecordings("../../pkg/sysproxy/testdata/recordings.tar.gz")
	if err != nil {
		f.Fatal(err)
	}
	for _, rec := range recs {
		if !strings.HasPrefix(rec.Name, "raw-") && !strings.HasPrefix(rec.Name, "prog-") {
			continue
		}
		var said []byte
		for _, e := range rec.Events {
			if e.Kind == spclienttest.Sent && e.FromClient && e.Conn == 1 {
				said = append(said, e.Data...)
			}
		}
		if len(said) < 16<<10 {
			f.Add(said, uint8(0))
		}
	}
	h := &hostile{}
	said := h.frames(1, sysproxy.Guest{Name: "extensions"})
	said = append(said, h.frames(1, carryOf(netbsd.SYS_open, []sysproxy.Segment{{Addr: 0x1000, Data: []byte("/dev/null\x00")}}, 0x1000, 1, 0))...)
	said = append(said, h.frames(1, carryOf(netbsd.SYS_write, []sysproxy.Segment{{Addr: 0x1000, Data: make([]byte, 100)}}, 3, 0x1000, 200))...)
	said = append(said, h.frames(1, dialOf(netbsd.SOCK_STREAM, []byte("\x02\x01x"), make([]byte, 12)))...)
	said = append(said, h.frames(1, sysproxy.Lend{FD: 3})...)
	f.Add(said, uint8(0))
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { null.Close() })
	all := netbsd.Machines()
	f.Fuzz(func(t *testing.T, said []byte, machine uint8) {
		k := kernel.New(kernel.Config{Console: null, Machine: all[int(machine)%len(all)]})
		local.Register(k)
		ours, theirs := net.Pipe()
		k.Attach(theirs)
		heard := make(chan struct{})
		go func() {
			io.Copy(io.Discard, ours)
			close(heard)
		}()
		// A kernel that reads no more has closed.
		ours.SetWriteDeadline(time.Now().Add(5 * time.Second))
		if _, err := ours.Write(said); err != nil && os.IsTimeout(err) {
			t.Error("the kernel neither reads nor closes")
		}
		ours.Close()
		<-heard
		ended := make(chan struct{})
		go func() {
			k.Wait()
			close(ended)
		}()
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			t.Fatal("the connection does not end")
		}
		k.Halt(true)
		if conns, procs, files := k.Sizes(); conns+procs+files > 0 {
			t.Errorf("%d connections, %d processes and %d open files are left", conns, procs, files)
		}
	})
}
