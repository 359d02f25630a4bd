# SPDX-License-Identifier: GPL-2.0-only
# Each check prints one line, and before it what is wrong.

CHECKS := symbols panics stack header abi versions unsafe circles licences install docs lint loom filters

.PHONY: check $(addprefix check-,$(CHECKS))

check: $(addprefix check-,$(CHECKS))

# VMLINUX: kernels to compare names with; default: those that were built here.
check-symbols: lib
	@python3 -B checks/symbols.py $(VMLINUX)

check-panics: lib
	@python3 -B checks/panics.py

check-stack: lib
	@python3 -B checks/stack.py

check-header:
	@checks/header.sh

# include/stubguard.abi has symbols, functions, constants and layouts; a change is against the policy, or is kept there.
check-abi: lib
	@CC='$(CC)' python3 -B checks/abi.py

.PHONY: abi
abi: lib
	@CC='$(CC)' python3 -B checks/abi.py --bless

check-versions:
	@checks/versions.sh

check-unsafe:
	@python3 -B checks/unsafe.py

check-circles:
	@python3 -B checks/circles.py

check-licences:
	@python3 -B checks/licences.py

# It calls make, but not for itself: `make check -j` must not build the library twice.
check-install: lib
	@+CC='$(CC)' MAKE='$(MAKE)' checks/install.sh

# docs/troubleshooting.md has each line and counter; no link is broken.
check-docs:
	@python3 -B checks/docs.py

check-lint:
	@checks/lint.sh

check-loom:
	@checks/loom.sh

# For every input: what the filters answer, what the stub's code page does.
check-filters:
	@checks/proofs.sh filters

check-code:
	@checks/proofs.sh code

check-filter-mutants:
	@checks/proofs.sh mutants

# All orders of events, within larger bounds than those of `cargo test`.
check-protocol:
	@STUBGUARD_MORE=1 $(CARGO) test --locked --quiet --test protocol -- --nocapture

check-protocol-mutants:
	@python3 -B checks/protocol_mutants.py

.PHONY: code-page check-code check-filter-mutants check-protocol check-protocol-mutants
code-page:
	@BLESS=1 checks/proofs.sh code

# These take minutes, so they are not a part of `make check`.
.PHONY: mutants sanitize fuzz miri tsan asan

# SECONDS: for each target; `make test` uses 180. The corpus is fuzz/corpus; MERGE=1 adds new inputs to it.
fuzz:
	@SECONDS_EACH='$(SECONDS)' checks/fuzz.sh

miri:
	@checks/miri.sh

tsan:
	@checks/sanitizer.sh thread

asan:
	@checks/sanitizer.sh address

mutants:
	@python3 -B checks/mutants.py

# Not AddressSanitizer, which needs the fixed addresses at which the harness has its memory.
sanitize: lib
	@$(MAKE) --no-print-directory c-test BUILD=$(BUILD)/sanitize \
		C_TEST_SANITIZE='-fsanitize=undefined -fno-sanitize-recover=all'
