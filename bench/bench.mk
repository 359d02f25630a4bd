# SPDX-License-Identifier: GPL-2.0-only
# Measurements, included by the Makefile at the top.
#
#	make bench		time for each operation, by kernel and mode; host calls
#	make bench-scale	descriptors, memory and time with many processes
#	make bench-build	a part of a kernel, built in a guest, with and without the guard
#	make soak		stress-ng, honest work and attacks at once, for MINUTES (10)
#	make suite		CPython's tests and the kernel's selftests, with and without the guard, case by case
#
# What is chosen by variables (ROUNDS, MODES, PEERS, ROWS, BENCH_CPUS, BENCH_OUT; N and MEM) stands in
# bench/bench.py, bench/scale.py, bench/build.py, bench/soak.py and bench/suite.py; KVER as for make run.

.PHONY: bench bench-scale bench-build bench-kernels soak suite

bench-kernels: uml-lib
	@$(UML)/build.sh $(KVER) unguarded guarded

bench: bench-kernels
	@python3 -B bench/bench.py $(UML_OBJ)-unguarded/linux $(UML_OBJ)-guarded/linux

bench-scale: bench-kernels
	@python3 -B bench/scale.py $(UML_OBJ)-unguarded/linux $(UML_OBJ)-guarded/linux

bench-build: bench-kernels
	@python3 -B bench/build.py $(UML_OBJ)-unguarded/linux $(UML_OBJ)-guarded/linux $(UML_CACHE)/src/linux-$(KVER)$(if $(FIXES),-fixes)

# KERNEL=/path/to/linux: another one
soak: $(if $(KERNEL),,bench-kernels)
	@$(UML)/deps.sh --soak
	@python3 -B bench/soak.py $(or $(KERNEL),$(UML_OBJ)-guarded/linux)

suite: bench-kernels
	@$(UML)/deps.sh --suite
	@python3 -B bench/suite.py $(UML_OBJ)-unguarded/linux $(UML_OBJ)-guarded/linux
