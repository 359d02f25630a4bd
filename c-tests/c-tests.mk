# SPDX-License-Identifier: GPL-2.0-only
# The C harness: each t_*.c is built in both forms. common/ has the harness itself and the tests of both modes.
# CC, BUILD; C_TEST_JOBS: how many programs run at a time.

C_TEST_SRC := $(patsubst %/,%,$(dir $(lastword $(MAKEFILE_LIST))))
C_TEST_FOLDERS := $(addprefix $(C_TEST_SRC)/,common notify window)
C_TEST_OUT := $(BUILD)/c-tests
C_TEST_NAMES := $(sort $(basename $(notdir $(wildcard $(C_TEST_FOLDERS:=/t_*.c)))))
C_TEST_PROGRAMS := $(foreach form,so static,$(addprefix $(C_TEST_OUT)/$(form)/,$(C_TEST_NAMES)))
C_TEST_OBJECTS := $(addprefix $(C_TEST_OUT)/,harness.o host.o layout.o model.o stub_code.o window.o)
C_TEST_JOBS ?= 2
# Sanitizers, for compiling and linking; see the target sanitize.
C_TEST_SANITIZE ?=

# Hidden visibility, as in the kernel. Without fortified functions, which would bypass those of host.c.
C_TEST_CFLAGS := -std=c11 -D_GNU_SOURCE -U_FORTIFY_SOURCE -O2 -g -Wall -Wextra -Werror \
	-Wmissing-prototypes -Wstrict-prototypes -Wvla -fvisibility=hidden $(C_TEST_SANITIZE) -I$(BUILD)/include $(addprefix -I,$(C_TEST_FOLDERS))
# This code is copied to another address, so it must not need anything outside.
C_TEST_STUB_CFLAGS := -ffreestanding -fno-stack-protector -fcf-protection=none -fno-asynchronous-unwind-tables

.PHONY: c-test c-test-programs

c-test: c-test-programs
	prove --jobs $(C_TEST_JOBS) --exec '' $(C_TEST_PROGRAMS)

c-test-programs: $(C_TEST_PROGRAMS)

vpath %.c $(C_TEST_FOLDERS)

$(C_TEST_OUT)/%.o: %.c $(wildcard $(C_TEST_FOLDERS:=/*.h)) $(BUILD)/include/stubguard.h $(C_TEST_SRC)/c-tests.mk
	$(call say,CC,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(C_TEST_CFLAGS) $(if $(filter stub_code,$*),$(C_TEST_STUB_CFLAGS)) -c -o $@ $<

$(C_TEST_OUT)/so/%: $(C_TEST_OUT)/%.o $(C_TEST_OBJECTS) $(BUILD)/lib/libstubguard.so $(BUILD)/lib/libstubguard.so.0
	$(call say,LD,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(C_TEST_SANITIZE) -o $@ $< $(C_TEST_OBJECTS) -L$(BUILD)/lib -lstubguard -Wl,-rpath,'$$ORIGIN/../../lib' -ldl -lpthread

# With UML's own link flags.
$(C_TEST_OUT)/static/%: $(C_TEST_OUT)/%.o $(C_TEST_OBJECTS) $(BUILD)/lib/libstubguard.a
	$(call say,LD,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(C_TEST_SANITIZE) -o $@ $< $(C_TEST_OBJECTS) $(BUILD)/lib/libstubguard.a \
		-Wl,--wrap,malloc -Wl,--wrap,free -Wl,--wrap,calloc -ldl -lpthread

.PRECIOUS: $(C_TEST_OUT)/%.o

