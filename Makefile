# make          build ./tacacs_plus
# make test     run the tests; needs only Go
#
# make demo     run a server and send it requests of all kinds
# make race     the tests under the race detector; needs a C compiler
# make emulate  the tests on EMULATE_TARGETS, other processors, in qemu; installs it
# make cover    the tests and their coverage
# make check    formatting, vet and staticcheck for every platform of dist, dependencies (none), scripts, man pages
# make fuzz     each fuzz function for FUZZTIME
# make interop  test against other TACACS+ programs; installs them
# make bench    Go benchmarks; a login, a load test, relay and decode beside other programs, with limits
# make dist     dist/tacacs_plus-OS-ARCH for every platform, SHA256SUMS and an SBOM
# make packages .deb and .rpm of PACKAGE_TARGETS in dist; the first time it needs the network
# make release  dist and packages of a tagged commit, with man pages and changes; DRY_RUN=yes for any commit
# make verify   build a commit twice, in two folders, and compare
# make install  copy ./tacacs_plus to $(DESTDIR)$(PREFIX)/bin; man pages, completions and documents to share there
# make clean

PREFIX ?= /usr/local
FUZZTIME ?= 10s
DIST_TARGETS ?= \
	linux/amd64 linux/arm64 linux/arm linux/386 linux/mipsle linux/ppc64le linux/riscv64 linux/s390x \
	darwin/amd64 darwin/arm64 windows/amd64 windows/arm64 freebsd/amd64 freebsd/arm64
PACKAGE_TARGETS ?= linux/amd64 linux/arm64
EMULATE_TARGETS ?= linux/386 linux/arm linux/arm64 linux/mipsle linux/ppc64le linux/riscv64 linux/s390x
STATICCHECK_VERSION = v0.7.0
TOOLS ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/tacacs_plus
# Staticcheck must be built by the Go version that it checks for, so its name has both versions.
STATICCHECK = $(TOOLS)/staticcheck-$(STATICCHECK_VERSION)-$(shell go env GOVERSION)
NFPM_VERSION = v2.45.2
NFPM = $(TOOLS)/nfpm-$(NFPM_VERSION)
# The files that are installed with the binary. The program prints man pages and completions.
MAN_COMMANDS = $(patsubst docs/man/tacacs_plus-%.1.in,%,$(wildcard docs/man/tacacs_plus-*.1.in))
DOCS = $(wildcard README.md LICENSE CHANGELOG.md docs/*.md docs/*.svg)
SHARE = man/man1/tacacs_plus.1 $(MAN_COMMANDS:%=man/man1/tacacs_plus-%.1) bash-completion/completions/tacacs_plus zsh/site-functions/_tacacs_plus \
	fish/vendor_completions.d/tacacs_plus.fish $(DOCS:%=doc/tacacs_plus/%)
SCRIPTS = .ci/run docs/demo-svg $(filter-out %.yaml %.c,$(wildcard ci/*)) $(wildcard systemd/*install systemd/*remove) completion/tacacs_plus.bash

# A tag, or a tag and the commits since. Without a tag, and outside git, the version is what Go makes of the commit.
VERSION := $(if $(wildcard .git),$(shell git describe --tags --match='v[0-9]*' --abbrev=12 --dirty 2>/dev/null))
export VERSION
GO_FLAGS = -trimpath -ldflags='-s -w$(VERSION:%= -X main.described=%)'
GO_BUILD = go build $(GO_FLAGS)

# A static binary runs on any host, with any C library or none.
export CGO_ENABLED = 0
# Every ARM with an FPU, such as the first Raspberry Pi; Go's default is 7.
export GOARM = 6
# Most routers with a MIPS have no FPU, and not every kernel emulates one.
export GOMIPS = softfloat

.PHONY: build
build:
	$(GO_BUILD) -buildvcs=auto -o tacacs_plus .

# The tests use little memory: with Go's default a fifth of their time goes to the garbage collector.
.PHONY: test
test:
	GOGC=400 go test ./...

.PHONY: demo
demo: build
	ci/demo

# Without atexit_sleep_ms each program that the tests start sleeps for a second at its end. Few tests at a time, since the
# detector makes all of them several times slower and some have deadlines.
.PHONY: race
race: export CGO_ENABLED = 1
race: export GORACE = atexit_sleep_ms=10
race:
	go test -race -parallel 3 ./...

.PHONY: emulate
emulate:
	ci/emulate $(notdir $(EMULATE_TARGETS))

.PHONY: cover
cover:
	tmp=$$(mktemp -d) && trap 'rm -rf "$$tmp"' EXIT && GOCOVERDIR=$$tmp go test -coverprofile=cover.out ./...
	go tool cover -func=cover.out

.PHONY: check
check: check/format check/modules check/scripts check/docs check/man check/bench $(DIST_TARGETS:%=check/%)

.PHONY: check/format
check/format:
	@files=$$(gofmt -l .) && { test -z "$$files" || { echo "gofmt -w these files:" $$files >&2; exit 1; }; }

.PHONY: check/modules
check/modules:
	@modules=$$(go list -m all) && { test "$$modules" = tacacs_plus || { echo "the module must have no dependencies:" $$modules >&2; exit 1; }; }

.PHONY: check/scripts
check/scripts:
	@if command -v shellcheck >/dev/null; then set -x; shellcheck $(SCRIPTS); \
	else echo "NOT CHECKED: scripts, since shellcheck is not installed" >&2; fi

# Also of a program that was built outside git, which has no date of its own.
.PHONY: check/man
check/man: build
	@if command -v mandoc >/dev/null; then set -e; for command in '' $(MAN_COMMANDS); do \
		echo "mandoc -T lint, the page of tacacs_plus $$command"; \
		./tacacs_plus help --man $$command | mandoc -T lint; \
		go run -buildvcs=false . help --man $$command | mandoc -T lint; \
	done; else echo "NOT CHECKED: man pages, since mandoc is not installed" >&2; fi

.PHONY: check/docs
check/docs:
	go test -run '^TestDocs' .

.PHONY: check/bench
check/bench: $(STATICCHECK)
	cd bench && GOOS=linux go vet ./... && GOOS=linux $(STATICCHECK) ./...
	cd bench/peer && GOOS=linux go vet ./... && GOOS=linux $(STATICCHECK) ./...

.PHONY: $(DIST_TARGETS:%=check/%)
$(DIST_TARGETS:%=check/%): check/%: $(STATICCHECK)
	GOOS=$(*D) GOARCH=$(*F) go vet ./...
	GOOS=$(*D) GOARCH=$(*F) $(STATICCHECK) ./...

# Installed once, from the network. After that checks and packages need no network.
$(STATICCHECK): TOOL = honnef.co/go/tools/cmd/staticcheck@$(STATICCHECK_VERSION)
$(NFPM): TOOL = github.com/goreleaser/nfpm/v2/cmd/nfpm@$(NFPM_VERSION)
$(STATICCHECK) $(NFPM):
	@echo "installing $(TOOL): this once it needs the network" >&2
	GOBIN=$@.d go install $(TOOL)
	mv $@.d/* $@
	rmdir $@.d

.PHONY: fuzz
fuzz:
	@functions=$$(go test -list '^Fuzz' . | grep '^Fuzz') || { echo "no fuzz functions found" >&2; exit 1; }; \
	for f in $$functions; do echo "== $$f"; go test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) . || exit 1; done

.PHONY: interop
interop:
	ci/interop

.PHONY: bench
bench:
	go test -run '^$$' -bench . -benchmem ./...
	cd bench && go run ./startup -- $(GO_FLAGS)
	cd bench && go run ./relay
	cd bench/peer && go run .
	cd bench && go run ./decode

# The SBOM and the checksums of what is in dist.
DESCRIBE_DIST = ci/sbom dist/tacacs_plus-* >dist/tacacs_plus.cdx.json && cd dist && sha256sum tacacs?plus* >SHA256SUMS

.PHONY: dist
dist: $(DIST_TARGETS:%=dist/%)
	$(DESCRIBE_DIST)

# -buildvcs=true writes the commit into the binary, even if GOFLAGS has false.
ALL_TARGETS = $(sort $(DIST_TARGETS) $(PACKAGE_TARGETS))
.PHONY: $(ALL_TARGETS:%=dist/%)
$(ALL_TARGETS:%=dist/%): dist/%: empty-dist
	GOOS=$(*D) GOARCH=$(*F) $(GO_BUILD) -buildvcs=true -o dist/tacacs_plus-$(*D)-$(*F)$(if $(filter windows,$(*D)),.exe) .

.PHONY: empty-dist
empty-dist:
	rm -rf dist
	mkdir dist

.PHONY: packages
packages: $(PACKAGE_TARGETS:%=dist/%) build $(NFPM)
	$(MAKE) share
	ci/package $(NFPM) $(PACKAGE_TARGETS:linux/%=dist/tacacs_plus-linux-%)
	$(DESCRIBE_DIST)

.PHONY: release
release:
	ci/release $(if $(DRY_RUN),--dry-run)

# The second folder has a longer name and its own build cache, so that it shares nothing with the first.
.PHONY: verify
verify:
	@tmp=$$(mktemp -d) && trap 'rm -rf "$$tmp"' EXIT && trap 'exit 130' INT TERM && \
	a=$$tmp/a b=$$tmp/a-much-longer-name/b && \
	git clone -q . "$$a" && git clone -q . "$$b" && \
	$(MAKE) -C "$$a" dist && \
	GOCACHE=$$tmp/cache $(MAKE) -C "$$b" dist && \
	diff "$$a/dist/SHA256SUMS" "$$b/dist/SHA256SUMS" && \
	cat "$$a/dist/SHA256SUMS" && echo "verify: both builds are identical"

# It installs what make has built, since sudo often has no Go.
.PHONY: install
install: share
	install -d $(DESTDIR)$(PREFIX)/bin
	install -m 755 tacacs_plus $(DESTDIR)$(PREFIX)/bin/tacacs_plus
	set -e; cd share && for file in $(SHARE); do \
		install -d "$(DESTDIR)$(PREFIX)/share/$${file%/*}"; \
		install -m 644 $$file $(DESTDIR)$(PREFIX)/share/$$file; \
	done

.PHONY: share
share: | tacacs_plus
	rm -rf share
	mkdir -p $(dir $(SHARE:%=share/%))
	set -e; for command in '' $(MAN_COMMANDS); do \
		./tacacs_plus help --man $$command >share/man/man1/tacacs_plus$${command:+-$$command}.1; \
	done
	./tacacs_plus completion bash >share/bash-completion/completions/tacacs_plus
	./tacacs_plus completion zsh >share/zsh/site-functions/_tacacs_plus
	./tacacs_plus completion fish >share/fish/vendor_completions.d/tacacs_plus.fish
	set -e; for file in $(DOCS); do cp $$file share/doc/tacacs_plus/$$file; done

tacacs_plus:
	$(MAKE) build

.PHONY: clean
clean:
	rm -rf tacacs_plus tacacs_plus.exe dist share cover.out
