# SPDX-License-Identifier: GPL-2.0-only
# Quality that is checked, not promised: `make check` runs all, `make check-NAME` one.
# Each prints one line, and what is wrong before it.

CHECKS := symbols panics stack header unsafe licences install lint loom

.PHONY: check $(addprefix check-,$(CHECKS))

check: $(addprefix check-,$(CHECKS))

# VMLINUX: kernels to compare names with; default: those that have been built here.
check-symbols: lib
	@python3 -B checks/symbols.py $(VMLINUX)

check-panics: lib
	@python3 -B checks/panics.py

check-stack: lib
	@python3 -B checks/stack.py

check-header:
	@checks/header.sh

check-unsafe:
	@python3 -B checks/unsafe.py

check-licences:
	@python3 -B checks/licences.py

# It calls make, but not for itself: `make check -j` must not build the library twice.
check-install: lib
	@+CC='$(CC)' MAKE='$(MAKE)' checks/install.sh

check-lint:
	@checks/lint.sh

check-loom:
	@checks/loom.sh
