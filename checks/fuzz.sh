#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# fuzz.sh [TARGET...]: runs the targets of fuzz/ from their corpus (fuzz/corpus/TARGET), at once, for SECONDS_EACH (60).
#
# What they find goes to build/fuzz. MERGE=1: what is new and worth it goes to the corpus then.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${SECONDS_EACH:-60}
[ $# -gt 0 ] || set -- policy report park
out=$PWD/build/fuzz

# What cargo-fuzz would give a compiler, which it needs a nightly one for only by habit.
flags='--cfg fuzzing -C passes=sancov-module -C llvm-args=-sanitizer-coverage-level=4
	-C llvm-args=-sanitizer-coverage-inline-8bit-counters -C llvm-args=-sanitizer-coverage-pc-table
	-C llvm-args=-sanitizer-coverage-trace-compares -C codegen-units=1'
# A target of its own: cargo then compiles no build script with these.
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

# All at once: each has one thread.
pids=() failed=0
for target; do
	fuzz "$target" &
	pids+=("$!")
done
for pid in "${pids[@]}"; do wait "$pid" || failed=1; done
exit "$failed"
