package sysproxy_test

import (
	"errors"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"

	"rumptools/pkg/sysproxy"
)

// TestHostileCarry has payloads whose lengths lie.
func TestHostileCarry(t *testing.T) {
	for _, l := range layouts {
		layoutName := name(l)
		h := sysproxy.Header{Class: sysproxy.Req, Type: sysproxy.TypeCarry}
		u32 := func(v ...uint32) (b []byte) {
			for _, v := range v {
				b = l.Order.AppendUint32(b, v)
			}
			return b
		}
		words := func(b []byte, v ...uint64) []byte {
			for _, v := range v {
				b = l.AppendWord(b, v)
			}
			return b
		}
		for name, payload := range map[string][]byte{
			"nothing":                   nil,
			"half a head":               make([]byte, 7),
			"arguments that don't come": u32(1, 0),
			"endless arguments":         append(u32(math.MaxUint32, 0), make([]byte, 100)...),
			"pieces that don't come":    u32(0, 1),
			"more pieces than may be":   append(u32(0, sysproxy.MaxSegments+1), make([]byte, (sysproxy.MaxSegments+1)*2*l.WordSize)...),
			"endless pieces":            append(u32(0, math.MaxUint32), make([]byte, 100)...),
			"arguments over pieces":     append(u32(8, 1), make([]byte, 2*l.WordSize+7)...),
			"a piece that's short":      append(words(u32(0, 1), 1, 5), 1, 2, 3, 4),
			"a piece that's endless":    append(words(u32(0, 1), 1, l.MaxWord()), 1, 2, 3, 4),
			"two that overflow":         append(words(u32(0, 2), 1, l.MaxWord(), 2, 5), 1, 2, 3, 4),
			"more than announced":       append(words(u32(0, 1), 1, 3), 1, 2, 3, 4),
			"more than nothing":         u32(0, 0, 1),
		} {
			var perr *sysproxy.PayloadError
			if m, err := l.ParseCarry(h, payload, nil); !errors.As(err, &perr) {
				t.Errorf("%s, %s: %+v, %v", layoutName, name, m, err)
			}
		}
	}
}

// TestSocketOption reads what it has written, and nothing that is too short.
func TestSocketOption(t *testing.T) {
	for _, l := range layouts {
		for _, value := range [][]byte{{}, []byte("value")} {
			want := sysproxy.SocketOption{Level: 0xffff, Name: -2, Value: value}
			b := want.Append(nil, l)
			if got, ok := l.ParseSocketOption(b); !ok || !cmp.Equal(got, want) {
				t.Errorf("%s: %+v, %v, want %+v", name(l), got, ok, want)
			}
			if got, ok := l.ParseSocketOption(b[:7]); ok {
				t.Errorf("%s: %+v of 7 bytes", name(l), got)
			}
		}
	}
}
