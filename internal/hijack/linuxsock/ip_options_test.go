//go:build linux

package linuxsock_test

import (
	"bytes"
	"encoding/hex"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/linuxsock"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
)

// packetWith is a packet of IPv4 from 10.0.0.9 with options.
func packetWith(options []byte) []byte {
	packet := make([]byte, 20, 128)
	packet[0] = 4<<4 | byte(5+len(options)/4)
	copy(packet[12:], []byte{10, 0, 0, 9, 10, 0, 0, 1})
	return append(append(packet, options...), "data"...)
}

// bytesOf reads bytes in hexadecimal.
func bytesOf(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A packet's options are told as they are, and as those of an answer.
func TestIPOptions(t *testing.T) {
	const (
		rr   = "07 0b 08 0a000001 00000000"
		ts   = "44 0c 09 01 0a000001 00000102"
		lsrr = "83 0b 0c 0a000002 0a000003" // both hops are behind it
	)
	for _, test := range []struct{ name, options, returned string }{
		{"a recorded route", "01" + rr, rr + "00"},
		{"end", rr + "00", rr + "00"},
		{"times", ts, ts},
		{"times before a route", ts + rr + "00", rr + ts + "00"},
		{"a source route", lsrr + "00", "83 0b 04 0a000003 0a000002 00"},
		{"a source route by half", "83 0b 08 0a000002 0a000003 00", "83 07 04 0a000002 00"},
		{"a source route that names its source", "89 0b 0c 0a000009 0a000003 00", "89 07 04 0a000003 00"},
		{"a source route that is not begun", "83 0b 04 0a000002 0a000003 00", ""},
		{"of its source only", "83 07 08 0a000009 00", ""},
		{"a label", "86 06 00000001 0101", "86 06 00000001 0000"},
		{"what is not known", "94 04 0000", ""},
		{"one that is too long", rr + "44 44 05 01 00", rr + "00"},
		{"one of no length", "07 00 00 00", ""},
		{"one that is cut", "01 01 01 07", ""},
		{"a pointer to nowhere", "83 07 ff 0a000002 00", "83 07 04 0a000002 00"},
	} {
		t.Run(test.name, func(t *testing.T) {
			options := bytesOf(t, test.options)
			s := &linuxsock.Socket{Domain: unix.AF_INET, Type: unix.SOCK_RAW, Protocol: unix.IPPROTO_ICMP}
			told := func() []byte {
				b, cut := s.FromControl(netbsd.AMD64, s.WithIPOptions(netbsd.AMD64, nil, packetWith(options)), linuxsock.Incoming{}, 256)
				if cut {
					t.Error("something is cut")
				}
				return b
			}
			if b := told(); len(b) != 0 {
				t.Errorf("unasked: % x", b)
			}
			setOption(t, s, unix.IP_RECVOPTS, 1)
			check(t, told(), unix.IP_RECVOPTS, options)
			setOption(t, s, unix.IP_RECVOPTS, 0)
			setOption(t, s, unix.IP_RETOPTS, 1)
			check(t, told(), unix.IP_RETOPTS, bytesOf(t, test.returned))
			options = nil
			if b := told(); len(b) != 0 {
				t.Errorf("of none: % x", b)
			}
		})
	}
}

func setOption(t *testing.T, s *linuxsock.Socket, name int, v uint32) {
	t.Helper()
	if errno := s.Set(t.Context(), nil, spclient.FD{}, -1, unix.SOL_IP, name, u32(int32(v))); errno != 0 {
		t.Fatalf("option %d: %v", name, errno)
	}
}

// check compares control messages with one of the level SOL_IP.
func check(t *testing.T, control []byte, typ int, want []byte) {
	t.Helper()
	list, err := unix.ParseSocketControlMessage(control)
	if err != nil || len(list) != 1 || list[0].Header.Level != unix.SOL_IP || list[0].Header.Type != int32(typ) || !bytes.Equal(list[0].Data, want) {
		t.Errorf("control messages %+v, %v, want type %d, % x", list, err, typ, want)
	}
}

// FuzzIPOptions: whatever the options are, what is returned of them fits into a header, and is made of whole options.
func FuzzIPOptions(f *testing.F) {
	f.Add([]byte{7, 11, 8, 10, 0, 0, 1, 0, 0, 0, 0, 0})
	f.Add([]byte{131, 11, 12, 10, 0, 0, 2, 10, 0, 0, 3, 0})
	f.Add([]byte{1, 68, 8, 9, 1, 10, 0, 0, 1, 134, 3, 0})
	f.Fuzz(func(t *testing.T, options []byte) {
		options = slices.Clone(options[:min(len(options)&^3, 40)])
		s := &linuxsock.Socket{Domain: unix.AF_INET, Type: unix.SOCK_RAW, Protocol: unix.IPPROTO_ICMP}
		setOption(t, s, unix.IP_RETOPTS, 1)
		control := s.WithIPOptions(netbsd.AMD64, nil, packetWith(options))
		b, cut := s.FromControl(netbsd.AMD64, control, linuxsock.Incoming{}, 256)
		list, err := unix.ParseSocketControlMessage(b)
		if len(options) == 0 && len(b) == 0 {
			return
		}
		if err != nil || cut || len(list) != 1 {
			t.Fatalf("% x: %v, %v", b, err, cut)
		}
		back := list[0].Data
		if len(back) > 40 || len(back)%4 != 0 {
			t.Fatalf("% x: % x", options, back)
		}
		for len(back) > 0 && back[0] != 0 {
			if len(back) < 3 || int(back[1]) < 3 || int(back[1]) > len(back) {
				t.Fatalf("% x: no option: % x", options, back)
			}
			back = back[back[1]:]
		}
	})
}
