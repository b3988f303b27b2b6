package netbsd

import (
	"bytes"
	"reflect"
	"testing"
)

// TestRecordedCmsg reads the descriptor that a message carried.
func TestRecordedCmsg(t *testing.T) {
	found := 0
	for _, c := range readRecording(t, "testdata/prog-passfd.rsp") {
		var copies []recordedCopy
		switch c.num {
		case SYS_sendmsg:
			copies = c.in
		case SYS_recvmsg:
			copies = c.out
		default:
			continue
		}
		r := NewArgReader(c.m, c.args)
		r.Int()
		var msg Msghdr
		if err := Unmarshal(c.m, read(copies, r.Ptr()), &msg); err != nil {
			t.Fatal(err)
		}
		control := read(copies, uint64(msg.Control))
		if len(control) != int(msg.Controllen) {
			t.Fatalf("%d bytes of control messages, %d were there", len(control), msg.Controllen)
		}
		cmsgs, err := ParseCmsgs(c.m, control)
		if err != nil || len(cmsgs) != 1 {
			t.Fatalf("%+v, %v", cmsgs, err)
		}
		cm := cmsgs[0]
		if cm.Level != SOL_SOCKET || cm.Type != SCM_RIGHTS || len(cm.Data) != 4 {
			t.Errorf("%+v", cm)
		}
		again := AppendCmsg(c.m, nil, cm.Level, cm.Type, cm.Data)
		// The padding after the data is rubbish in what programs send.
		if n := CmsgLen(c.m, 4); !bytes.Equal(again[:12], control[:12]) || !bytes.Equal(again[16:n], control[16:n]) || len(again) != len(control) {
			t.Errorf("% x again, was % x", again, control)
		}
		found++
	}
	if found != 2 {
		t.Errorf("%d messages", found)
	}
}

func TestCmsgs(t *testing.T) {
	for _, tt := range []struct {
		m    *Machine
		want string
	}{
		{AMD64, "14000000 ffff0000 01000000 00000000 05000000 00000000" + "11000000 00000000 07000000 00000000 ff000000 00000000"},
		{I386, "10000000 ffff0000 01000000 05000000" + "0d000000 00000000 07000000 ff000000"},
		{POWERPC, "00000014 0000ffff 00000001 00000000 05000000 00000000" + "00000011 00000000 00000007 00000000 ff000000 00000000"},
		{SPARC64, "00000014 0000ffff 00000001 00000000 05000000 00000000 00000000 00000000" +
			"00000011 00000000 00000007 00000000 ff000000 00000000 00000000 00000000"},
	} {
		b := AppendCmsg(tt.m, nil, SOL_SOCKET, SCM_RIGHTS, []byte{5, 0, 0, 0})
		b = AppendCmsg(tt.m, b, IPPROTO_IP, IP_RECVDSTADDR, []byte{0xff})
		if !bytes.Equal(b, unhex(t, tt.want)) {
			t.Errorf("%s: % x, want %s", tt.m, b, tt.want)
		}
		got, err := ParseCmsgs(tt.m, b)
		want := []Cmsg{{SOL_SOCKET, SCM_RIGHTS, []byte{5, 0, 0, 0}}, {IPPROTO_IP, IP_RECVDSTADDR, []byte{0xff}}}
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v", tt.m, got, err)
		}
		// Without the padding at the end, and cut.
		n := CmsgSpace(tt.m, 4) + CmsgLen(tt.m, 1)
		if got, err := ParseCmsgs(tt.m, b[:n]); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v", tt.m, got, err)
		}
		if got, err := ParseCmsgs(tt.m, b[:n-1]); err == nil || !reflect.DeepEqual(got, want[:1]) {
			t.Errorf("%s: %+v, %v", tt.m, got, err)
		}
	}
}

func FuzzParseCmsgs(f *testing.F) {
	f.Add(AppendCmsg(AMD64, nil, SOL_SOCKET, SCM_RIGHTS, []byte{1, 0, 0, 0}), uint8(0))
	f.Add(AppendCmsg(SPARC64, nil, 0, 1, []byte{1, 0, 0}), uint8(6))
	f.Fuzz(func(t *testing.T, b []byte, machine uint8) {
		m := machines[int(machine)%len(machines)]
		cmsgs, _ := ParseCmsgs(m, b)
		var again []byte
		for _, c := range cmsgs {
			again = AppendCmsg(m, again, c.Level, c.Type, c.Data)
		}
		cmsgs2, err := ParseCmsgs(m, again)
		if err != nil || len(cmsgs) != len(cmsgs2) {
			t.Fatalf("%+v, again %+v, %v", cmsgs, cmsgs2, err)
		}
		for i := range cmsgs {
			if c, c2 := cmsgs[i], cmsgs2[i]; c.Level != c2.Level || c.Type != c2.Type || !bytes.Equal(c.Data, c2.Data) {
				t.Fatalf("%+v, again %+v", c, c2)
			}
		}
	})
}
