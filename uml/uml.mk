# SPDX-License-Identifier: GPL-2.0-only
# The UML part, included by the Makefile at the top.
#
# KVER		the kernel's version, one of uml/versions
# VARIANTS	what `make uml` builds: unguarded, mended or guarded, with fragments of uml/config (build.sh)
# COSTS=0	without the patches of uml/series that make arch/um faster (0050 to 0069)
# BASE		`make run`, `make attacks`, `make bench`: what the guarded kernel is compared with: unguarded (Linux as it comes), or
#		mended (with the same patches before 0100 of uml/series)
# KDIR, KBUILD, FORM	`make uml`: a tree of your own, its objects, and the library's form (shared, static)
# LINUX		`make attacks`, `make audit`: that kernel instead of our own ones
# FROM, TO	`make series`: the first and the last patch
# KERNEL	`make soak`: that kernel instead of our own one
# PEERS		`make attacks`: more kernels besides
# FLAVOURS	`make debug-guests`: fragments of uml/config
# A script's other variables are described at its top.

# The first word that is no comment is the default version.
KVER ?= $(firstword $(shell sed 's/\#.*//' $(UML)/versions))
FORM ?= shared
VARIANTS ?= unguarded guarded guarded-static unguarded-up guarded-up
FLAVOURS ?= debug kasan
UML := $(patsubst %/,%,$(dir $(abspath $(lastword $(MAKEFILE_LIST)))))
UML_CACHE := $(if $(STUBGUARD_CACHE),$(abspath $(STUBGUARD_CACHE)),$(patsubst %/uml,%,$(UML))/.cache)
BASE ?= unguarded
# A kernel of our own. Unguarded ones have no series.
kernel = $(UML_CACHE)/obj/$(KVER)$(if $(filter 0,$(COSTS)),$(if $(filter-out unguarded%,$(1)),-nocosts))-$(1)/linux

export COSTS
.PHONY: uml uml-deps uml-lib uml-both uml-guarded where run attacks series disturb hosts debug-guests audit audit-mutants ipis traces soak suite distro uml-clean

uml-deps:
	@$(UML)/deps.sh

# A make of its own, since on a bare machine the compilers arrive with uml-deps.
uml-lib: uml-deps
	@$(MAKE) --no-print-directory lib

uml: uml-lib
ifneq ($(KDIR),)
	@$(UML)/build.sh --kdir "$(KDIR)" --kbuild "$(KBUILD)" --form "$(FORM)"
else
	@$(UML)/build.sh $(KVER) $(VARIANTS)
endif

# The kernels that most targets need
uml-both: uml-lib
	@$(UML)/build.sh $(KVER) $(BASE) guarded

uml-guarded: uml-lib
	@$(UML)/build.sh $(KVER) guarded

where:
	@$(foreach v,$(VARIANTS),echo $(v)=$(call kernel,$(v));)

run: uml-both
	@$(UML)/run.sh unguarded=$(call kernel,$(BASE)) guarded=$(call kernel,guarded)

ifneq ($(LINUX),)
attacks:
	@WORKLOADS= $(UML)/run.sh linux=$(LINUX)
else
attacks: uml-both
	@WORKLOADS= $(UML)/run.sh unguarded=$(call kernel,$(BASE)) $(PEERS) guarded=$(call kernel,guarded)
endif

series: uml-lib
	@$(UML)/tests/series.sh $(KVER)

# tests/protocol writes graphs of its model
traces: uml-guarded
	@$(UML)/deps.sh --traces
	@mkdir -p $(BUILD)/graphs
	@STUBGUARD_GRAPHS='$(abspath $(BUILD)/graphs)' $(CARGO) test --release --locked --quiet --test protocol graphs
	@python3 -B $(UML)/tests/traces.py $(call kernel,guarded) $(BUILD)/graphs

disturb: uml-guarded
	@for cpus in 1 2; do for mode in window window,pool=0 notify; do \
		NCPUS=$$cpus GUARDED_ARGS=stubguard=$$mode $(UML)/tests/disturbed.sh $(call kernel,guarded) || exit 1; \
	done; done

hosts: uml-lib
	@$(UML)/deps.sh --hosts
	@$(UML)/build.sh $(KVER) guarded
	@$(UML)/tests/hosts.sh $(call kernel,guarded)

ifneq ($(LINUX),)
audit:
	@$(UML)/audit.sh $(LINUX)
else
audit: uml-guarded
	@$(UML)/audit.sh $(call kernel,guarded)
endif

audit-mutants: uml-guarded
	@python3 -B $(UML)/tests/audit-mutants.py $(KVER)

ipis: uml-guarded
	@python3 -B $(UML)/tests/ipis.py $(KVER)

# stress-ng is part of it
debug-guests: uml-lib
	@$(UML)/deps.sh --soak
	@$(UML)/build.sh $(KVER) $(foreach f,$(FLAVOURS),unguarded-$(f) guarded-$(f))
	@for f in $(FLAVOURS); do \
		$(UML)/tests/debug-guests.sh $(call kernel,guarded-$$f) $(call kernel,unguarded-$$f) || exit 1; \
	done

soak: $(if $(KERNEL),,uml-guarded)
	@$(UML)/deps.sh --soak
	@python3 -B $(UML)/tests/soak.py $(or $(KERNEL),$(call kernel,guarded))

suite: uml-both
	@$(UML)/deps.sh --suite
	@KVER=$(KVER) python3 -B $(UML)/tests/suite.py $(call kernel,unguarded) $(call kernel,guarded)

distro: uml-lib
	@$(UML)/deps.sh --distro
	@$(UML)/build.sh $(KVER) $(BASE)-distro guarded-distro
	@python3 -B $(UML)/tests/distro.py $(call kernel,$(BASE)-distro) $(call kernel,guarded-distro)

uml-clean:
	rm -rf $(UML_CACHE)/obj $(UML_CACHE)/src $(UML_CACHE)/log
