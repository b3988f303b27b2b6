package netbsd

import (
	"go/ast"
	"go/build"
	"go/constant"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// Go's own syscall package for NetBSD was generated on a NetBSD machine from
// its headers. Where the Go source is there, it is a second witness.

func goSyscallSource(t *testing.T, name string) string {
	t.Helper()
	file := filepath.Join(build.Default.GOROOT, "src", "syscall", name)
	b, err := os.ReadFile(file)
	if err != nil {
		t.Skipf("no Go source: %v", err)
	}
	return string(b)
}

// constantsOf type-checks files that declare constants and returns the values
// of the integers.
func constantsOf(t *testing.T, files map[string]any) map[string]constant.Value {
	t.Helper()
	fset := token.NewFileSet()
	var asts []*ast.File
	for name, src := range files {
		f, err := parser.ParseFile(fset, name, src, 0)
		if err != nil {
			t.Fatal(err)
		}
		asts = append(asts, f)
	}
	conf := types.Config{Error: func(error) {}} // types of other files are not known
	pkg, _ := conf.Check("p", fset, asts, nil)
	values := make(map[string]constant.Value)
	for _, name := range pkg.Scope().Names() {
		if c, ok := pkg.Scope().Lookup(name).(*types.Const); ok && c.Val().Kind() == constant.Int {
			values[name] = c.Val()
		}
	}
	return values
}

// changed are the constants that Go took from an older NetBSD and that have
// another value in ours.
var changed = map[string]string{
	"SCM_CREDS": "was 4, before struct sockcred got the process's id",
}

func TestConstantsAgreeWithGo(t *testing.T) {
	theirs := constantsOf(t, map[string]any{
		"zerrors.go": goSyscallSource(t, "zerrors_netbsd_amd64.go"),
		"types.go":   "package syscall\ntype Errno uintptr\ntype Signal int",
	})
	files, err := filepath.Glob("const_*.go")
	if err != nil {
		t.Fatal(err)
	}
	sources := make(map[string]any)
	for _, file := range append(files, "errno_table.go", "signal.go", "struct_time.go") {
		sources[file] = nil
	}
	ours := constantsOf(t, sources)
	same := 0
	for name, our := range ours {
		their, ok := theirs[name]
		if !ok {
			continue
		}
		// Go has some as signed and some as unsigned.
		a, _ := constant.Int64Val(our)
		b, _ := constant.Int64Val(their)
		if uint32(a) != uint32(b) {
			if _, ok := changed[name]; !ok {
				t.Errorf("%s = %v, Go has %v", name, our, their)
			}
			continue
		}
		same++
	}
	if same < 500 {
		t.Errorf("only %d constants in common", same)
	}
}

// renamed are the calls whose names Go leaves out: they come after the
// prototype in syscalls.master.
var renamed = map[int]string{
	SYS_break:   "break",
	SYS_getpid:  "getpid",
	SYS_getuid:  "getuid",
	SYS_getgid:  "getgid",
	SYS_vadvise: "vadvise",
}

func TestSyscallNumbersAgreeWithGo(t *testing.T) {
	src := goSyscallSource(t, "zsysnum_netbsd_amd64.go")
	row := regexp.MustCompile(`(?m)^\s*SYS_\w+\s*= (\d+)\s*// \{ (.*?)\|(\w+)\|(\w*)\|(\w+)\((.*)\); \}(?: (\w+))?$`)
	matches := row.FindAllStringSubmatch(src, -1)
	if len(matches) < 200 {
		t.Fatalf("only %d calls", len(matches))
	}
	same := 0
	for _, match := range matches {
		num, err := strconv.Atoi(match[1])
		if err != nil {
			t.Fatal(err)
		}
		version, base, alias := match[4], match[5], match[7]
		want := base
		if version != "" {
			want = "__" + base + version
		}
		got := SyscallName(num)
		if alias != "" {
			want = alias
		}
		if w, ok := renamed[num]; ok {
			want = w
		}
		if got != want && !strings.HasPrefix(got, "compat_") {
			t.Errorf("call %d: %q, Go has %q", num, got, want)
			continue
		}
		same++
		info, ok := LookupSyscall(num)
		if !ok || strings.HasPrefix(got, "compat_") {
			continue
		}
		args := strings.Split(strings.TrimSpace(match[6]), ",")
		if match[6] == "void" {
			args = nil
		}
		if n := len(args); n > 0 && strings.TrimSpace(args[n-1]) == "..." {
			args = args[:n-1]
		}
		switch num {
		case SYS_syscall, SYS___syscall: // any number of arguments
			continue
		case SYS_mknodat: // got its padding after NetBSD 6
			continue
		}
		if len(args) != len(info.Args) {
			t.Errorf("%s: %d arguments, Go has %q", got, len(info.Args), args)
		}
	}
	if same < 200 {
		t.Errorf("only %d calls agree", same)
	}
}

func TestErrnoTextsAgreeWithGo(t *testing.T) {
	src := goSyscallSource(t, "zerrors_netbsd_amd64.go")
	_, table, _ := strings.Cut(src, "var errors = [...]string{")
	table, _, _ = strings.Cut(table, "}")
	row := regexp.MustCompile(`(?m)^\s*(\d+):\s*"(.*)",$`)
	checked := 0
	for _, match := range row.FindAllStringSubmatch(table, -1) {
		n, err := strconv.Atoi(match[1])
		if err != nil {
			t.Fatal(err)
		}
		// Go writes errors without a capital.
		if Errno(n) == ETIMEDOUT {
			continue // <sys/errno.h> and the C locale's message catalog differ
		}
		if got := Errno(n).Error(); !strings.EqualFold(got, match[2]) {
			t.Errorf("error %d (%s): %q, Go has %q", n, Errno(n).Name(), got, match[2])
		}
		checked++
	}
	if checked < 90 {
		t.Errorf("only %d errors", checked)
	}
}
