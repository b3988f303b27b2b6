package trace

import "strings"

// quote shows memory as a string in C's way, of which n bytes there were. What
// goes beyond the length that the user wants, or has not been kept, is "...".
func (t *Tracer) quote(b []byte, n uint64) string {
	limit := max(t.o.Strings, 0)
	cut := uint64(len(b)) < n
	if len(b) > limit {
		b, cut = b[:limit], true
	}
	s := quoteBytes(b)
	if cut {
		s += "..."
	}
	return s
}

func quoteBytes(b []byte) string {
	var s strings.Builder
	s.WriteByte('"')
	for i, c := range b {
		switch {
		case c == '"' || c == '\\':
			s.WriteByte('\\')
			s.WriteByte(c)
		case c >= ' ' && c < 0x7f:
			s.WriteByte(c)
		case c == '\n':
			s.WriteString(`\n`)
		case c == '\t':
			s.WriteString(`\t`)
		case c == '\r':
			s.WriteString(`\r`)
		case c == '\v':
			s.WriteString(`\v`)
		case c == '\f':
			s.WriteString(`\f`)
		default:
			octal := []byte{'0' + c>>6, '0' + c>>3&7, '0' + c&7}
			// Short where no digit follows.
			if i+1 == len(b) || b[i+1] < '0' || b[i+1] > '9' {
				for len(octal) > 1 && octal[0] == '0' {
					octal = octal[1:]
				}
			}
			s.WriteByte('\\')
			s.Write(octal)
		}
	}
	s.WriteByte('"')
	return s.String()
}
