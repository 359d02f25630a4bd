#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# fuzz.sh [TARGET...]: runs the targets of fuzz/ from their corpus (fuzz/corpus/TARGET), at once, for SECONDS_EACH (60).
#
# Findings go to build/fuzz. MERGE=1: new inputs that reach new code go to the corpus.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${SECONDS_EACH:-60}
[ $# -gt 0 ] || set -- policy report park
out=$PWD/build/fuzz

# The flags of cargo-fuzz, which needs a nightly compiler only for other options.
flags='--cfg fuzzing -C passes=sancov-module -C llvm-args=-sanitizer-coverage-level=4
	-C llvm-args=-sanitizer-coverage-inline-8bit-counters -C llvm-args=-sanitizer-coverage-pc-table
	-C llvm-args=-sanitizer-coverage-trace-compares -C codegen-units=1'
# With --target cargo compiles no build script with these flags.
RUSTFLAGS=$(tr -s '\t\n' '  ' <<<"$flags") cargo build --release --locked --quiet --manifest-path fuzz/Cargo.toml \
	--target-dir build/fuzz/target --target x86_64-unknown-linux-gnu

fuzz() {
	local target=$1 program=$out/target/x86_64-unknown-linux-gnu/release/$1 log=$out/$1.log
	mkdir -p "$out/$target" "fuzz/corpus/$target"
	"$program" -max_total_time="$seconds" -timeout=10 -max_len=600 -print_final_stats=1 -artifact_prefix="$out/$target-" \
		"$out/$target" "fuzz/corpus/$target" >"$log" 2>&1 </dev/null || {
		grep -aE 'panicked|assertion|SUMMARY|left:|right:|Test unit' -A1 "$log" | head -n 20 >&2 || true
		echo "fuzz: FAILED, $target; all it said: build/fuzz/$target.log" >&2
		return 1
	}
	[ -z "${MERGE:-}" ] ||
		"$program" -merge=1 -max_len=600 "fuzz/corpus/$target" "$out/$target" >>"$log" 2>&1 </dev/null || return 1
	echo "fuzz: ok, $target: $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") inputs, none breaks the rule"
}

# All at once, since each has one thread.
pids=() failed=0
for target; do
	fuzz "$target" &
	pids+=("$!")
done
for pid in "${pids[@]}"; do wait "$pid" || failed=1; done
exit "$failed"
