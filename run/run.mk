# SPDX-License-Identifier: GPL-2.0-only
# stubguard-run, and the guest's first process. The kernel that it starts by default is the packages' one.
#
# RUN_CFLAGS, RUN_LDFLAGS: flags of the compiler and the linker. RUN_KERNEL: the kernel that is installed with it.

RUN_SRC := $(patsubst %/,%,$(dir $(lastword $(MAKEFILE_LIST))))
RUN_PARTS := stubguard-run options sandbox session
RUN_CFLAGS ?= -O2 -g -D_FORTIFY_SOURCE=2 -fstack-protector-strong
RUN_LDFLAGS ?=
RUN_ALL_CFLAGS := -std=gnu11 -D_GNU_SOURCE -Wall -Wextra -Werror \
	-Wmissing-prototypes -Wstrict-prototypes -Wvla -Wno-unused-result
RUN_PROGRAMS := $(BUILD)/bin/stubguard-run $(BUILD)/lib/stubguard/init
RUN_KERNEL ?= $(BUILD)/lib/stubguard/linux
BINDIR ?= $(PREFIX)/bin
MANDIR ?= $(PREFIX)/share/man

.PHONY: run-programs run-kernel install-run uninstall-run

run-programs: $(RUN_PROGRAMS)

$(BUILD)/run/%.o: $(RUN_SRC)/%.c $(RUN_SRC)/run.h $(RUN_SRC)/wire.h $(RUN_SRC)/run.mk Cargo.toml
	$(call say,CC,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(RUN_ALL_CFLAGS) $(RUN_CFLAGS) -fPIE -DVERSION='"$(VERSION)"' -c -o $@ $<

$(BUILD)/bin/stubguard-run: $(RUN_PARTS:%=$(BUILD)/run/%.o)
	$(call say,LD,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) -pie $(RUN_LDFLAGS) -Wl,-z,relro,-z,now,-z,noexecstack -o $@ $^

# Static: in the guest no library of the host can be relied on.
$(BUILD)/lib/stubguard/init: $(RUN_SRC)/init.c $(RUN_SRC)/wire.h $(RUN_SRC)/run.mk
	$(call say,CC,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(RUN_ALL_CFLAGS) -O2 -static -Wl,-z,noexecstack -s -o $@ $<

# For use from here, without installation.
run-kernel: run-programs uml-lib
	@$(UML)/build.sh $(KVER) guarded-static-package
	@ln -sf $(call kernel,guarded-static-package) $(BUILD)/lib/stubguard/linux

# The program finds the other two in ../lib/stubguard.
install-run: run-programs
	$(INSTALL) -d $(DESTDIR)$(BINDIR) $(DESTDIR)$(PREFIX)/lib/stubguard $(DESTDIR)$(MANDIR)/man1
	$(INSTALL) -m 755 $(BUILD)/bin/stubguard-run $(DESTDIR)$(BINDIR)/
	$(INSTALL) -m 755 $(BUILD)/lib/stubguard/init $(RUN_KERNEL) $(DESTDIR)$(PREFIX)/lib/stubguard/
	ln -sf ../lib/stubguard/linux $(DESTDIR)$(BINDIR)/linux.stubguard
	$(INSTALL) -m 644 $(RUN_SRC)/stubguard-run.1 $(RUN_SRC)/linux.stubguard.1 $(DESTDIR)$(MANDIR)/man1/

uninstall-run:
	rm -f $(addprefix $(DESTDIR)$(BINDIR)/,stubguard-run linux.stubguard) \
		$(addprefix $(DESTDIR)$(MANDIR)/man1/,stubguard-run.1 linux.stubguard.1)
	rm -rf $(DESTDIR)$(PREFIX)/lib/stubguard
