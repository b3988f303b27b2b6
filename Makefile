# Everything is built by Go alone, without cgo, into bin/.

PREFIX ?= /usr/local
DESTDIR ?=
GO ?= go

PROGRAMS = rumpctl rping rifconfig rnetstat rumpd
GOBUILD = CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w'
FUZZTIME ?= 50000x
PACKAGES ?= ./...

.PHONY: build test test-apps demo bench fuzz man install uninstall clean

build:
	@mkdir -p bin
	$(GOBUILD) -o bin/ $(PROGRAMS:%=./cmd/%)

# The race detector needs cgo, that is a C compiler; without one the tests run
# without it and say so. -count=1: the go command does not know that ./test
# depends on the programs.
test: build
	@if CGO_ENABLED=1 $(GO) build -race -o /dev/null ./cmd/rping 2>/dev/null; then \
		set -x; CGO_ENABLED=1 $(GO) test -count=1 -race $(PACKAGES); \
	else \
		echo 'no C compiler: testing without the race detector'; \
		set -x; CGO_ENABLED=0 $(GO) test -count=1 $(PACKAGES); \
	fi

# Programs of Debian under rumpctl exec, the slow ones too. They must be installed:
# apt-get install `cat test/apps/packages`. On one kernel that runs already:
# make test-apps APPS_SERVER=unix:///path
test-apps: build
	APPS=all APPS_REQUIRED=1 $(GO) test -count=1 -timeout 60m -v ./test/apps

demo: build
	@sh examples/demo.sh bin

# Also beside NetBSD's C client and on its kernel, where BENCH_CCLIENT is the
# program that bench/cclient makes and BENCH_SERVER the kernel's URL.
bench: build
	$(GO) test -run '^$$' -bench . -benchmem ./bench/...

# Each fuzz target FUZZTIME times; one that is a time, as 20s, fails by itself now and then
# before Go 1.27 (go.dev/issue/75804). What is fuzzed is built once for all targets of a package.
fuzz:
	@dir=$$(mktemp -d) && trap 'rm -rf "$$dir"' EXIT && cache=$$($(GO) env GOCACHE)/fuzz && \
	for pkg in $$(grep -rl --include='*_test.go' '^func Fuzz' . | xargs -n1 dirname | sort -u); do \
		$(GO) test -c -fuzz . -o "$$dir/fuzz" $$pkg && \
		for target in $$(cd $$pkg && "$$dir/fuzz" -test.list '^Fuzz'); do \
			echo "$$pkg $$target"; \
			(cd $$pkg && "$$dir/fuzz" -test.run '^$$' -test.fuzz "^$$target\$$" -test.fuzztime $(FUZZTIME) \
				-test.fuzzminimizetime 10x -test.fuzzcachedir "$$cache/$$pkg") || exit 1; \
		done || exit 1; \
	done

# Checks the manual pages where there is a program for it.
man:
	@if command -v mandoc >/dev/null; then mandoc -T lint -W warning man/*.1; \
	else echo 'no mandoc: manual pages not checked'; fi

install: build
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/man/man1
	install -m 755 $(PROGRAMS:%=bin/%) $(DESTDIR)$(PREFIX)/bin
	install -m 644 $(PROGRAMS:%=man/%.1) $(DESTDIR)$(PREFIX)/share/man/man1

uninstall:
	rm -f $(PROGRAMS:%=$(DESTDIR)$(PREFIX)/bin/%) $(PROGRAMS:%=$(DESTDIR)$(PREFIX)/share/man/man1/%.1)

clean:
	rm -rf bin
