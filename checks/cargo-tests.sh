# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
#
# What loom.sh, miri.sh, proofs.sh and sanitizer.sh share. Sourced, never run.

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

# cargo_tests NAME LEAST PATTERN WHAT CARGO-ARGUMENTS...: runs cargo, and wants LEAST tests of that name at least to have
# run and passed, as a filter that matches nothing passes, too. BAD: what the output must not have. SHOW: lines of it that
# begin so are shown.
cargo_tests() {
	local name=$1 least=$2 pattern=$3 what=$4 log tests status=0
	shift 4
	log=$(mktemp)
	# shellcheck disable=SC2064 # that file
	trap "rm -f '$log'" EXIT
	timeout 1200 cargo "$@" >"$log" 2>&1 || status=$?
	[ "$status" -ne 124 ] || echo "$name: not done in 20 minutes; the last line: $(tail -n 1 "$log")" >&2
	if [ "$status" -ne 0 ] || { [ -n "${BAD:-}" ] && grep -q "$BAD" "$log"; }; then
		grep -aE -A 12 "^error|panicked at|FAILED|${BAD:-FAILED}" "$log" | head -n 40 >&2 || true
		echo "$name: FAILED"
		return 1
	fi
	tests=$(grep -cE "^test .*$pattern.* \.\.\. ok\$" "$log") || true
	if [ "$tests" -lt "$least" ]; then
		echo "$name: FAILED, $tests tests ran" >&2
		return 1
	fi
	[ -z "${SHOW:-}" ] || sed -n "s/^$SHOW/$name: /p" "$log"
	echo "$name: ok, $tests $what"
}
