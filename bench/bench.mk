# SPDX-License-Identifier: GPL-2.0-only
# Measurements, included by the Makefile at the top. bench.py, scale.py and build.py describe their variables (ROUNDS, MODES,
# PEERS, ROWS, BENCH_CPUS, BENCH_OUT, N, MEM) at their tops. KVER, COSTS and BASE: see uml/uml.mk.

.PHONY: bench bench-scale bench-build

bench: uml-both
	@python3 -B bench/bench.py $(call kernel,$(BASE)) $(call kernel,guarded)

bench-scale: uml-both
	@python3 -B bench/scale.py $(call kernel,$(BASE)) $(call kernel,guarded)

bench-build: uml-both
	@python3 -B bench/build.py $(call kernel,$(BASE)) $(call kernel,guarded) $(UML_CACHE)/src/linux-$(KVER)
