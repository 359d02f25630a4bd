# SPDX-License-Identifier: GPL-2.0-only
# Measurements, included by the Makefile at the top. bench.py, scale.py, build.py and pauses.py describe their variables
# (ROUNDS, MODES, PEERS, ROWS, ATTACKS, SECONDS, BENCH_CPUS, BENCH_OUT, N, MEM) at their tops. KVER, COSTS and BASE: see uml/uml.mk.
#
# FRAGMENT: `make bench` with a fragment of uml/config, such as up (without SMP)

.PHONY: bench bench-scale bench-build bench-pauses

with_fragment = $(1)$(addprefix -,$(FRAGMENT))
bench_kernel = $(call kernel,$(call with_fragment,$(1)))

# mended: the guarded kernel's patches of arch/um without the guard, for what the guard alone costs
bench: uml-lib
	@$(UML)/build.sh $(KVER) $(foreach v,$(sort $(BASE) mended) guarded,$(call with_fragment,$(v)))
	@python3 -B bench/bench.py $(call bench_kernel,$(BASE)) $(call bench_kernel,guarded) \
		$(if $(filter mended,$(BASE)),,$(call bench_kernel,mended))

bench-scale: uml-both
	@python3 -B bench/scale.py $(call kernel,$(BASE)) $(call kernel,guarded)

bench-build: uml-both
	@python3 -B bench/build.py $(call kernel,$(BASE)) $(call kernel,guarded) $(UML_CACHE)/src/linux-$(KVER)

bench-pauses: uml-both
	@python3 -B bench/pauses.py $(call kernel,$(BASE)) $(call kernel,guarded)
