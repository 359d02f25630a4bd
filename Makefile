# SPDX-License-Identifier: GPL-2.0-only
# `make help` lists what there is.

VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
SOVERSION := 0

PREFIX ?= /usr/local
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
CARGO ?= cargo
CC ?= cc
LD ?= ld
AR ?= ar
OBJCOPY ?= objcopy
INSTALL ?= install

# V=1 shows the commands.
Q := $(if $(V),,@)
say = @printf '  %-7s %s\n' $(1) $(2)

BUILD := build
CACHE := .cache
SO := libstubguard.so.$(VERSION)
LIBS := $(addprefix $(BUILD)/lib/,$(SO) libstubguard.so.$(SOVERSION) libstubguard.so libstubguard.a) \
	$(BUILD)/include/stubguard.h

#: Build
#:   make                         the library: build/lib, build/include
#:   make install, uninstall      into PREFIX, below DESTDIR; removes it again
#:   make install-tree            likewise the command stubguard-guard-tree; install-run: stubguard-run with its kernel
#:   make run-kernel              stubguard-run and its kernel, for use from here: build/bin/stubguard-run
#:   make dist, deb               a tarball that builds without a network; Debian packages of it: build/dist, build/deb
#:   make deb-test, deb-twice     installs the packages into a root of their own, and uses them; builds them twice, and compares
#:   make uml                     UML kernels without and with the guard; VARIANTS=, KVER=; KDIR=: guards your own tree;
#:                                COSTS=0: without the patches that make arch/um faster (0050 to 0069 of uml/series)
#:   make -s where                where these kernels are
#: Try
#:   make run                     builds all that is needed; attacks and workloads on both kernels, as tables
#:   make attacks                 the attacks alone; LINUX=linux: on that kernel; PEERS="name=linux": on more kernels
#: Quick checks, before each commit: minutes, no kernel, no root (uml/deps.sh --quick: what they need)
#:   make check c-test rust-test  all of them
#:   make check                   what is linked, header, unsafe code, circles, licences, docs, lints, models, proofs; check-NAME: one of these
#:   make c-test                  the C harness, with both forms of the library
#:   make rust-test               cargo's tests
#: Long tests
#:   make test                    all of the above, then guests on the kernels of uml/versions
#:   make test-more               kernels and modes that make test leaves out
#:   make disturb                 a guest works while the host stops, freezes, traces, signals, kills its processes
#:   make audit                   does each stub have what its page table grants? LINUX=linux: on that kernel
#:   make audit-mutants           breaks the kernel and the library; make audit must notice
#:   make series                  patch by patch: builds, boots, and has what the patch mends fail before and pass after; FROM=0100 TO=0103
#:   make ipis                    makes the moments longer in which an IPI could be lost; breaks the patch, which must be noticed
#:   make debug-guests            guests on kernels that check themselves: lockdep, KASAN, failing allocations
#:   make soak                    stress-ng, honest work and attacks at once in a guest, for MINUTES=10
#:   make suite                   test suites of others in guests, with and without the guard, case by case
#:   make distro                  Debian with systemd in guests, with and without the guard: its programs, case by case; SIZE=short, PROGRAMS="go git"
#:   make hosts                   Debian's kernels from 5.10 on as hosts, in QEMU; HOSTS="5.10 newest", MODES="1 10"
#:   make fuzz                    fuzzes the code that takes a guest's bytes, for SECONDS=60 each
#:   make mutants                 breaks lines that the guard needs, one by one; a test must notice
#:   make sanitize                the C harness with UBSan
#:   make check-protocol          all orders of events between monitor, stub and host, within larger bounds than rust-test's
#:   make traces                  compares what real guests do with the model of check-protocol
#:   make check-code              what the stub's code page does from each of its bytes; check-...-mutants: the proofs' own tests
#:   make miri, tsan, asan        cargo's tests under Miri and sanitizers (need a nightly toolchain)
#: Measurements
#:   make bench                   what the guard costs: many operations, in each mode
#:   make bench-scale             fds of the host, memory and time with many processes
#:   make bench-build             a real build in a guest
#:   make bench-pauses            how long an honest program is held up beside two of each attack
#: Maintenance
#:   make header                  include/stubguard.h, from the sources
#:   make abi                     include/stubguard.abi, after a change of the ABI that is meant
#:   make code-page               docs/code-page.md, from the proof
#:   make clean                   removes what was built here, except kernels
#:   make uml-clean               removes kernels and their sources; downloads stay
#:   make distclean               removes all of it

.DELETE_ON_ERROR:
.PHONY: all lib help header install uninstall clean distclean

all: lib

lib: $(LIBS)

## ---- the library

RUST_SOURCES := Cargo.toml Cargo.lock build.rs $(shell find src -name '*.rs' -o -name '*.s' -o -name '*.md')
ARCHIVE := target/release/libstubguard.a
EXPORTS := $(shell sed -n 's/^\t\([a-z_]*\);$$/\1/p' stubguard.map)

$(ARCHIVE): $(RUST_SOURCES)
	$(call say,CARGO,$@)
	$(Q)$(CARGO) rustc --release --locked --quiet --lib --crate-type staticlib
	@touch $@

# Both forms come from one object. It has only code that the exported functions reach, and only their
# names are global, so that it can be linked into a kernel. Of Rust's std only a constructor for the
# command line is left, which is removed.
$(BUILD)/stubguard.o: $(ARCHIVE) stubguard.map Makefile
	$(call say,LD,$@)
	@mkdir -p $(@D)
	$(Q)$(LD) -r --gc-sections -o $@.tmp $(addprefix -u ,$(EXPORTS)) $(ARCHIVE)
	$(Q)$(OBJCOPY) $(addprefix --keep-global-symbol=,$(EXPORTS)) $@.tmp
	$(Q)$(OBJCOPY) -w --strip-debug $(EXPORTS:%=--strip-unneeded-symbol='!%') --strip-unneeded-symbol='!*stubguard*' \
		--strip-unneeded-symbol='*' \
		--remove-section='.init_array*' --remove-section='.rela.init_array*' $@.tmp $@
	@rm -f $@.tmp

$(BUILD)/lib/libstubguard.a: $(BUILD)/stubguard.o
	$(call say,AR,$@)
	@mkdir -p $(@D)
	$(Q)rm -f $@
	$(Q)$(AR) rcsD $@ $<

$(BUILD)/lib/$(SO): $(BUILD)/stubguard.o stubguard.map
	$(call say,LD,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) -shared -o $@ $< -Wl,-soname,libstubguard.so.$(SOVERSION) \
		-Wl,--version-script=stubguard.map -Wl,--gc-sections -Wl,-z,relro,-z,now,-z,noexecstack

$(BUILD)/lib/libstubguard.so.$(SOVERSION) $(BUILD)/lib/libstubguard.so: $(BUILD)/lib/$(SO)
	$(Q)ln -sf $(SO) $@

$(BUILD)/include/stubguard.h: include/stubguard.h
	@mkdir -p $(@D)
	$(Q)cp $< $@

header:
	STUBGUARD_BLESS=1 $(CARGO) test --locked --quiet --test header

## ---- installation

define PKGCONFIG
prefix=$(PREFIX)
libdir=$(LIBDIR)
includedir=$(INCLUDEDIR)

Name: stubguard
Description: Hardens the seccomp userspace stub of User Mode Linux
Version: $(VERSION)
Cflags: -I$${includedir}
Libs: -L$${libdir} -lstubguard
Libs.private: -lpthread
endef
export PKGCONFIG

install: lib
	$(INSTALL) -d $(DESTDIR)$(LIBDIR)/pkgconfig $(DESTDIR)$(INCLUDEDIR)
	$(INSTALL) -m 644 include/stubguard.h $(DESTDIR)$(INCLUDEDIR)/
	$(INSTALL) -m 644 $(BUILD)/lib/libstubguard.a $(DESTDIR)$(LIBDIR)/
	$(INSTALL) -m 755 $(BUILD)/lib/$(SO) $(DESTDIR)$(LIBDIR)/
	ln -sf $(SO) $(DESTDIR)$(LIBDIR)/libstubguard.so.$(SOVERSION)
	ln -sf $(SO) $(DESTDIR)$(LIBDIR)/libstubguard.so
	printf '%s\n' "$$PKGCONFIG" > $(DESTDIR)$(LIBDIR)/pkgconfig/stubguard.pc

uninstall:
	rm -f $(DESTDIR)$(INCLUDEDIR)/stubguard.h $(DESTDIR)$(LIBDIR)/pkgconfig/stubguard.pc \
		$(addprefix $(DESTDIR)$(LIBDIR)/,libstubguard.a $(SO) libstubguard.so.$(SOVERSION) libstubguard.so)

# What guards a kernel tree, as the command stubguard-guard-tree
SHARE := $(PREFIX)/share/stubguard/uml

.PHONY: install-tree uninstall-tree
install-tree:
	$(INSTALL) -d $(DESTDIR)$(SHARE) $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/man/man1
	cp -R uml/series uml/glue $(DESTDIR)$(SHARE)/
	$(INSTALL) -m 644 uml/versions uml/common.sh $(DESTDIR)$(SHARE)/
	$(INSTALL) -m 755 uml/guard-tree.sh $(DESTDIR)$(SHARE)/stubguard-guard-tree
	echo $(VERSION) > $(DESTDIR)$(SHARE)/release
	ln -sf ../share/stubguard/uml/stubguard-guard-tree $(DESTDIR)$(PREFIX)/bin/stubguard-guard-tree
	$(INSTALL) -m 644 uml/stubguard-guard-tree.1 $(DESTDIR)$(PREFIX)/share/man/man1/

uninstall-tree:
	rm -f $(DESTDIR)$(PREFIX)/bin/stubguard-guard-tree $(DESTDIR)$(PREFIX)/share/man/man1/stubguard-guard-tree.1
	rm -rf $(DESTDIR)$(PREFIX)/share/stubguard

## ---- packages

.PHONY: dist deb deb-test deb-twice
dist:
	@debian/dist.sh

deb-twice:
	@debian/twice.sh

deb-test:
	@debian/installed.sh

deb:
	@debian/deb.sh

## ---- the rest

include c-tests/c-tests.mk
include checks/checks.mk
include uml/uml.mk
include run/run.mk
include bench/bench.mk

.PHONY: test test-more rust-test
rust-test:
	$(CARGO) test --locked

test:
	@uml/tests/all.sh

test-more: uml-lib
	@uml/tests/all.sh more

help:
	@sed -n 's/^#: //p' $(firstword $(MAKEFILE_LIST))

clean:
	rm -rf $(BUILD) target

distclean: clean
	rm -rf $(CACHE)
