package spclient

import (
	"encoding/binary"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// FuzzDNSAnswer reads answers of anybody's. Only those to the query count, and they
// tell nothing but what was asked for.
func FuzzDNSAnswer(f *testing.F) {
	name := dnsmessage.MustNewName("www.test.")
	question := dnsmessage.Question{Name: name, Type: typeA, Class: dnsmessage.ClassINET}
	h := dnsmessage.ResourceHeader{Name: name, Class: dnsmessage.ClassINET}
	for _, m := range []dnsmessage.Message{
		{Header: dnsmessage.Header{Response: true}, Questions: []dnsmessage.Question{question}, Answers: []dnsmessage.Resource{
			{Header: h, Body: &dnsmessage.AResource{A: [4]byte{1, 2, 3, 4}}},
			{Header: h, Body: &dnsmessage.AAAAResource{}},
			{Header: h, Body: &dnsmessage.CNAMEResource{CNAME: dnsmessage.MustNewName("a.test.")}},
		}},
		{Header: dnsmessage.Header{Response: true, RCode: dnsmessage.RCodeFormatError}},
		{Header: dnsmessage.Header{Response: true, Truncated: true}, Questions: []dnsmessage.Question{question}},
		{Questions: []dnsmessage.Question{question}},
	} {
		b, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, msg []byte) {
		q, err := newQuery("www.test", typeA, true)
		if err != nil {
			t.Fatal(err)
		}
		if len(msg) >= 2 {
			// The number is known to who guesses well.
			q.id = binary.BigEndian.Uint16(msg)
		}
		resp, ok := q.parse(msg)
		if !ok && (resp.answers != nil || resp.truncated) {
			t.Errorf("%+v of what is no answer", resp)
		}
		for _, a := range resp.answers {
			if !a.addr.Is4() || a.name != "" {
				t.Errorf("%+v is no address of IPv4", a)
			}
		}
	})
}
