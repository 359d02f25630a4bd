# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
#
# A function that loom.sh, miri.sh, proofs.sh and sanitizer.sh share. Sourced, never run.

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

# cargo_tests NAME LEAST PATTERN WHAT CARGO-ARGUMENTS...: runs cargo. At least LEAST tests of that name must have passed,
# since cargo also succeeds if no test matches. BAD: text that the output must not have. SHOW: shows its lines that begin so.
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
