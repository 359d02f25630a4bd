# SPDX-License-Identifier: GPL-2.0-only
# Measurements, included by the Makefile at the top.
#
#	make bench		time for each operation, by kernel and mode; host calls
#	make bench-scale	descriptors, memory and time with many processes
#
# What is chosen by variables (ROUNDS, MODES, PEERS, ROWS, BENCH_CPUS, BENCH_OUT; N and MEM) stands in
# bench/bench.py and bench/scale.py; KVER as for make run.

.PHONY: bench bench-scale bench-kernels

bench-kernels: uml-lib
	@$(UML)/build.sh $(KVER) unguarded guarded

bench: bench-kernels
	@python3 -B bench/bench.py $(UML_OBJ)-unguarded/linux $(UML_OBJ)-guarded/linux

bench-scale: bench-kernels
	@python3 -B bench/scale.py $(UML_OBJ)-unguarded/linux $(UML_OBJ)-guarded/linux
