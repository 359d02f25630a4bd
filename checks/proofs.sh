#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# proofs.sh filters: the stub's filters do what the tables of src/window/filter.md and src/notify/filter.md say, for every
#                    call (src/filter/tests/proof.rs)
# proofs.sh mutants: each change of an instruction of these filters is refuted, or makes no difference; minutes
# proofs.sh code:    what the stub's code page can do, from each of its bytes and behind each park. docs/code-page.md
#                    says it; BLESS=1 writes that page anew (src/window/code/tests/proof.rs).
#
# They are cargo's tests that need a solver, so `cargo test` leaves them out.
set -euo pipefail
# shellcheck source=checks/cargo-tests.sh
. "$(dirname "$0")/cargo-tests.sh"

name=${1:?filters, mutants or code}
skip=()
case $name in
filters) tests=filter::tests::proof least=2 skip=(--skip proof::mutants) ;;
mutants) tests=filter::tests::proof::mutants least=1 ;;
code) tests=window::code::tests::proof least=3 ;;
*) echo "proofs: filters, mutants or code, not $name" >&2 && exit 2 ;;
esac
if ! command -v z3 >/dev/null; then
	echo "$name: the solver z3 is missing, so nothing is proved: uml/deps.sh --quick installs it (Debian's package z3)" >&2
	echo "$name: FAILED"
	exit 1
fi
export STUBGUARD_BLESS="${BLESS:-}"
SHOW='  proved: ' cargo_tests "$name" "$least" "$tests" "proofs by $(z3 --version | cut -d ' ' -f 1-3)" \
	test --locked --lib -- --show-output --ignored "${skip[@]}" "$tests"
