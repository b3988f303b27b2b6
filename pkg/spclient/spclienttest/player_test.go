package spclienttest_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
	"rumptools/pkg/spclient/spclienttest"
	"rumptools/pkg/sysproxy"
)

// record makes a recording of write(1, "data", 4) and getpid on a machine.
func record(m *netbsd.Machine) *spclienttest.Recording {
	l := sysproxy.Layout{Order: m.Order, WordSize: m.WordSize}
	var a netbsd.Args
	rec := &spclienttest.Recording{Name: "made", Server: strings.TrimSuffix(spclienttest.BannerOf(m), "\n")}
	add := func(fromClient bool, msg sysproxy.Message, reqno uint64) {
		rec.Events = append(rec.Events, spclienttest.Event{
			Line: len(rec.Events) + 1, Conn: 1, Kind: spclienttest.Sent, FromClient: fromClient, Data: msg.Append(nil, l, reqno),
		})
	}
	add(true, sysproxy.Guest{Name: "x"}, 1)
	add(false, sysproxy.HandshakeReply{}, 1)
	add(true, sysproxy.Syscall{Num: netbsd.SYS_write, Args: a.Reset(m).Int(1).Ptr(0x7000).Word(4).Bytes()}, 2)
	add(false, sysproxy.CopyIn{Len: 4, Addr: 0x7000}, 0)
	add(true, sysproxy.CopyInReply{Data: []byte("data")}, 0)
	add(false, sysproxy.SyscallReply{Retval: [2]uint64{4}}, 2)
	add(true, sysproxy.Syscall{Num: netbsd.SYS_getpid}, 3)
	add(false, sysproxy.SyscallReply{Retval: [2]uint64{12, 1}}, 3)
	return rec
}

// failures is a testing.TB that notes errors instead of failing.
type failures struct {
	testing.TB
	mu   sync.Mutex
	errs []string
}

func (f *failures) Error(args ...any)                 { f.add(fmt.Sprint(args...)) }
func (f *failures) Errorf(format string, args ...any) { f.add(fmt.Sprintf(format, args...)) }

func (f *failures) add(s string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.errs = append(f.errs, s)
}

func TestPlayer(t *testing.T) {
	for _, m := range []*netbsd.Machine{netbsd.AMD64, netbsd.POWERPC} {
		write := func(c *spclient.Conn, s string) error {
			_, err := c.Write(context.Background(), c.FD(1), []byte(s))
			return err
		}
		getpid := func(c *spclient.Conn) error {
			pid, err := c.Getpid(context.Background())
			if err == nil && pid != 12 {
				err = fmt.Errorf("pid %d", pid)
			}
			return err
		}
		for name, tt := range map[string]struct {
			do   func(c *spclient.Conn) error
			want string // in the player's complaint
		}{
			"all":         {func(c *spclient.Conn) error { return errors.Join(write(c, "data"), getpid(c)) }, ""},
			"part":        {func(c *spclient.Conn) error { return getpid(c) }, ""},
			"nothing":     {func(c *spclient.Conn) error { return nil }, ""},
			"other data":  {func(c *spclient.Conn) error { return write(c, "DATA") }, "kernel read 44415441, recorded is 64617461"},
			"other args":  {func(c *spclient.Conn) error { return write(c, "longer") }, "client made write with arguments"},
			"other call":  {func(c *spclient.Conn) error { return c.CloseFD(context.Background(), c.FD(1)) }, "client made close with arguments"},
			"other order": {func(c *spclient.Conn) error { return errors.Join(getpid(c), write(c, "data")) }, "not in the rest of made"},
		} {
			t.Run(m.Name+"/"+name, func(t *testing.T) {
				tb := &failures{TB: t}
				srv := spclienttest.Play(tb, record(m))
				c, err := spclient.Dial(context.Background(), srv.URL(), nil)
				if err != nil {
					t.Fatal(err)
				}
				err = tt.do(c)
				c.Close()
				srv.Close()
				if (err != nil) != (tt.want != "") || err != nil && !errors.Is(err, netbsd.ENOSYS) {
					t.Errorf("client got %v", err)
				}
				got := strings.Join(tb.errs, "\n")
				if (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
					t.Errorf("player says %q, want %q", got, tt.want)
				}
			})
		}
	}
}
