package netbsd

import (
	"reflect"
	"testing"
)

func TestSyscalls(t *testing.T) {
	info, ok := LookupSyscall(SYS_sendto)
	if !ok {
		t.Fatal("no sendto")
	}
	want := &SyscallInfo{Num: 133, Name: "sendto", Ret: "ssize_t", Rump: true, Args: []Arg{
		{Name: "s", Kind: ArgFd, LenArg: -1},
		{Name: "buf", Kind: ArgIn, LenArg: 2},
		{Name: "len", Kind: ArgSize, LenArg: -1},
		{Name: "flags", Kind: ArgInt, LenArg: -1},
		{Name: "to", Kind: ArgIn, Type: "sockaddr", LenArg: 5},
		{Name: "tolen", Kind: ArgSocklen, LenArg: -1},
	}}
	if !reflect.DeepEqual(info, want) {
		t.Errorf("%+v", info)
	}
	info, _ = LookupSyscall(SYS___sysctl)
	if a := info.Args[0]; a.LenArg != 1 || !a.LenElements || a.LenIndirect || a.Type != "int" {
		t.Errorf("%+v", a)
	}
	if a := info.Args[2]; a.LenArg != 3 || a.LenElements || !a.LenIndirect || a.Kind != ArgOut {
		t.Errorf("%+v", a)
	}
	info, _ = LookupSyscall(SYS_pipe2)
	if a := info.Args[0]; a.Count != 2 || a.LenArg != -1 || a.Type != "int" {
		t.Errorf("%+v", a)
	}
	for num, want := range map[int]string{0: "syscall", 394: "__socket30", 14: "compat_50_mknod", 482: "clock_getcpuclockid2", 67: "", 483: "", 10000: "", -1: ""} {
		if got := SyscallName(num); got != want {
			t.Errorf("%d: %q, want %q", num, got, want)
		}
	}
	for _, name := range []string{"__kevent50", "SYS___kevent50"} {
		if info, ok := SyscallByName(name); !ok || info.Num != SYS___kevent50 {
			t.Errorf("%s: %+v", name, info)
		}
	}
	if _, ok := SyscallByName("nosuch"); ok {
		t.Error("nosuch")
	}
	names := make(map[string]bool)
	for num := range 500 {
		info, ok := LookupSyscall(num)
		if !ok {
			continue
		}
		if names[info.Name] {
			t.Errorf("%s is there twice", info.Name)
		}
		names[info.Name] = true
		if len(info.Args) > MaxArgs {
			t.Errorf("%s: %d arguments", info.Name, len(info.Args))
		}
		// What a call needs fits the builder, on every machine.
		for _, m := range Machines() {
			if n := info.ArgSize(m); n > len(Args{}.buf) {
				t.Errorf("%s: %d bytes", info.Name, n)
			}
		}
	}
	if len(names) != 430 {
		t.Errorf("%d calls", len(names))
	}
}

func TestArgKinds(t *testing.T) {
	for kind := ArgInt; kind <= ArgFcntl; kind++ {
		if argKindNames[kind.String()] != kind {
			t.Errorf("kind %d is %q", kind, kind)
		}
	}
	if got := ArgKind(99).String(); got != "ArgKind(99)" {
		t.Errorf("%q", got)
	}
	for kind, want := range map[ArgKind]bool{ArgFd: true, ArgOff: true, ArgSize: false, ArgIn: false, ArgMode: false} {
		if kind.Signed() != want {
			t.Errorf("%s: signed %t", kind, kind.Signed())
		}
	}
}
