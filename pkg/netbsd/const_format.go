package netbsd

import (
	"strconv"
	"strings"
)

// Constant is a constant and its name.
type Constant struct {
	Value int64
	Name  string
}

// Enum is constants of which a value is one.
type Enum []Constant

// Name returns the name of a value; false when it has none.
func (e Enum) Name(v int64) (string, bool) {
	for _, c := range e {
		if c.Value == v {
			return c.Name, true
		}
	}
	return "", false
}

// Format returns the name of a value, or the value in decimal when it has none.
func (e Enum) Format(v int64) string {
	if name, ok := e.Name(v); ok {
		return name
	}
	return strconv.FormatInt(v, 10)
}

// FlagSet is constants of which a value has any number. One with several bits
// comes before those whose bits it has.
type FlagSet []Constant

// Format returns the names of the flags that are set, "O_NONBLOCK|O_CREAT", with
// what has no name in hexadecimal at the end. No flag is "0".
func (s FlagSet) Format(v uint64) string {
	if v == 0 {
		return "0"
	}
	var b strings.Builder
	for _, c := range s {
		bits := uint64(c.Value)
		if v&bits != bits {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('|')
		}
		b.WriteString(c.Name)
		if v &^= bits; v == 0 {
			return b.String()
		}
	}
	if b.Len() > 0 {
		b.WriteByte('|')
	}
	b.WriteString("0x" + strconv.FormatUint(v, 16))
	return b.String()
}
