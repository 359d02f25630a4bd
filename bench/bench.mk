# SPDX-License-Identifier: GPL-2.0-only
# Measurements, included by the Makefile at the top. bench.py, scale.py and build.py describe their variables (ROUNDS, MODES,
# PEERS, ROWS, BENCH_CPUS, BENCH_OUT, N, MEM) at their tops. KVER and FIXES: see uml/uml.mk.

.PHONY: bench bench-scale bench-build

bench: uml-both
	@python3 -B bench/bench.py $(UML_OBJ)-unguarded/linux $(UML_OBJ)-guarded/linux

bench-scale: uml-both
	@python3 -B bench/scale.py $(UML_OBJ)-unguarded/linux $(UML_OBJ)-guarded/linux

bench-build: uml-both
	@python3 -B bench/build.py $(UML_OBJ)-unguarded/linux $(UML_OBJ)-guarded/linux $(UML_CACHE)/src/linux-$(KVER)$(if $(FIXES),-fixes)
