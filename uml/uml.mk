# SPDX-License-Identifier: GPL-2.0-only
# The UML part, included by the Makefile at the top.
#
#	make uml [KVER=7.2|7.3]		kernels of our own: unguarded, guarded, guarded-static, unguarded-up, guarded-up
#	make uml VARIANTS="guarded-debug ..."	those alone: fragments of uml/config make a variant
#	make uml KDIR=tree [KBUILD=objects] [FORM=shared|static]	somebody's own kernel, guarded
#	make uml FIXES=1		the same with uml/fixes: patches that mend arch/um itself, in all of them
#	make -s where			where the kernels of our own are
#	make run			all set-up, then attacks and workloads on both kernels
#	make attacks			the attacks alone; PEERS="name=/path/to/linux": on more kernels besides
#	make attacks LINUX=/path/to/linux	on that UML kernel alone
#	make disturb			guests at work while the host disturbs their processes: both modes, without the pool too, 1 and 2 CPUs
#	make audit LINUX=/path/to/linux	the mapping oracle in guests at work on that kernel (7.2, guarded)
#	make hosts			kernels of Debian releases as hosts, in QEMU: which modes run there
#	make hosts HOSTS="5.10 newest" MODES="1 10" HARNESS=all	some of them; the C harness on each too
#	make audit-mutants		breaks what the oracle looks at, and sees whether it notices
#	make debug-guests [FLAVOURS="debug kasan"]	guests at work on kernels that check themselves (lockdep, KASAN ...)
#	make uml-clean			kernel objects and sources away (downloads stay)

KVER ?= 7.2
FORM ?= shared
VARIANTS ?= unguarded guarded guarded-static unguarded-up guarded-up
FLAVOURS ?= debug kasan
UML := $(patsubst %/,%,$(dir $(abspath $(lastword $(MAKEFILE_LIST)))))
UML_CACHE := $(if $(STUBGUARD_CACHE),$(abspath $(STUBGUARD_CACHE)),$(patsubst %/uml,%,$(UML))/.cache)
UML_OBJ = $(UML_CACHE)/obj/$(KVER)$(if $(FIXES),-fixes)

export FIXES
.PHONY: uml uml-deps uml-lib where run attacks disturb hosts debug-guests audit audit-mutants uml-clean

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

where:
	@echo unguarded=$(UML_OBJ)-unguarded/linux
	@echo guarded=$(UML_OBJ)-guarded/linux
	@echo guarded-static=$(UML_OBJ)-guarded-static/linux
	@echo unguarded-up=$(UML_OBJ)-unguarded-up/linux
	@echo guarded-up=$(UML_OBJ)-guarded-up/linux

run: uml-lib
	@$(UML)/build.sh $(KVER) unguarded guarded
	@$(UML)/run.sh unguarded=$(UML_OBJ)-unguarded/linux guarded=$(UML_OBJ)-guarded/linux

ifneq ($(LINUX),)
attacks:
	@WORKLOADS= $(UML)/run.sh linux=$(LINUX)
else
attacks: uml-lib
	@$(UML)/build.sh $(KVER) unguarded guarded
	@WORKLOADS= $(UML)/run.sh unguarded=$(UML_OBJ)-unguarded/linux $(PEERS) guarded=$(UML_OBJ)-guarded/linux
endif

disturb: uml-lib
	@$(UML)/build.sh $(KVER) guarded
	@for cpus in 1 2; do for mode in window window,pool=0 notify; do \
		NCPUS=$$cpus GUARDED_ARGS=stubguard=$$mode $(UML)/tests/disturbed.sh $(UML_OBJ)-guarded/linux || exit 1; \
	done; done

hosts: uml-lib
	@$(UML)/deps.sh --hosts
	@$(UML)/build.sh $(KVER) guarded
	@$(UML)/tests/hosts.sh $(UML_OBJ)-guarded/linux

ifneq ($(LINUX),)
audit:
	@$(UML)/audit.sh $(LINUX)
else
audit: uml-lib
	@$(UML)/build.sh $(KVER) guarded
	@$(UML)/audit.sh $(UML_OBJ)-guarded/linux
endif

audit-mutants: uml-lib
	@$(UML)/build.sh $(KVER) guarded
	@python3 -B $(UML)/tests/audit-mutants.py $(KVER)

# stress-ng is part of it
debug-guests: uml-lib
	@$(UML)/deps.sh --soak
	@$(UML)/build.sh $(KVER) $(foreach f,$(FLAVOURS),unguarded-$(f) guarded-$(f))
	@for f in $(FLAVOURS); do \
		$(UML)/tests/debug-guests.sh $(UML_OBJ)-guarded-$$f/linux $(UML_OBJ)-unguarded-$$f/linux || exit 1; \
	done

uml-clean:
	rm -rf $(UML_CACHE)/obj $(UML_CACHE)/src $(UML_CACHE)/log
