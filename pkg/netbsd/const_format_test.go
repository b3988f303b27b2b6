package netbsd

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"testing"
)

// TestConstantNames checks that every constant is named as it is spelled.
func TestConstantNames(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "const_names.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	ast.Inspect(file, func(node ast.Node) bool {
		lit, ok := node.(*ast.CompositeLit)
		if !ok || lit.Type != nil {
			return true
		}
		ident, ok := lit.Elts[0].(*ast.Ident)
		if !ok {
			t.Errorf("element %d is no constant", n)
			return true
		}
		name, err := strconv.Unquote(lit.Elts[1].(*ast.BasicLit).Value)
		if err != nil || name != ident.Name {
			t.Errorf("%s is named %q", ident.Name, name)
		}
		n++
		return true
	})
	if n < 500 {
		t.Errorf("only %d constants", n)
	}
}

// TestConstantsAreDistinct checks that no name hides another.
func TestConstantsAreDistinct(t *testing.T) {
	for what, set := range map[string][]Constant{
		"families": AddressFamilies, "types": SocketTypes, "socket flags": SocketFlags, "protocols": IPProtocols,
		"SOL_SOCKET": SocketOptions, "local": LocalOptions, "IPPROTO_IP": IPOptions, "IPPROTO_IPV6": IPv6Options,
		"IPPROTO_TCP": TCPOptions, "SCM": ControlMessages, "MSG": MessageFlags, "SHUT": ShutdownWays,
		"O": OpenFlags, "F": FcntlCommands, "LOCK": LockOperations, "AT": AtFlags, "SEEK": SeekOrigins,
		"S_IF": FileTypes, "DT": DirentTypes, "POLL": PollEvents, "EVFILT": KeventFilters, "EV": KeventFlags,
		"vnode notes": VnodeNotes, "proc notes": ProcNotes, "clocks": Clocks, "timers": IntervalTimers,
		"limits": Resources, "RB": RebootFlags, "ST": MountFlags, "IFF": InterfaceFlags, "IFT": InterfaceTypes,
		"RTM": RouteMessages, "RTF": RouteFlags, "RTA": RouteAddresses, "RTV": RouteMetrics, "DLT": DataLinkTypes,
		"CTL": SysctlTop, "meta": SysctlMeta, "KERN": SysctlKern, "HW": SysctlHW, "VM": SysctlVM, "TCPS": TCPStates,
	} {
		seen := make(map[int64]string)
		for _, c := range set {
			if other, ok := seen[c.Value]; ok {
				t.Errorf("%s: %s and %s are both %#x", what, other, c.Name, c.Value)
			}
			seen[c.Value] = c.Name
		}
	}
}

func TestFormatConstants(t *testing.T) {
	for _, tt := range []struct{ got, want string }{
		{AddressFamilies.Format(AF_INET6), "AF_INET6"},
		{AddressFamilies.Format(77), "77"},
		{SysctlMeta.Format(CTL_QUERY), "CTL_QUERY"},
		{OpenFlags.Format(0), "0"},
		{OpenFlags.Format(O_NONBLOCK | O_CREAT), "O_NONBLOCK|O_CREAT"},
		{OpenFlags.Format(O_APPEND | 1<<40), "O_APPEND|0x10000000000"},
		{SysctlFlags.Format(CTLFLAG_READWRITE | CTLFLAG_HEX), "CTLFLAG_READWRITE|CTLFLAG_HEX"},
		{SysctlFlags.Format(0x10), "0x10"},
	} {
		if tt.got != tt.want {
			t.Errorf("%s, want %s", tt.got, tt.want)
		}
	}
}
