#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# All interleavings of monitor and watchdog on a slot (src/watchdog/slot/tests.rs), and of those who use
# the pool of stubs (src/monitor/pool/tests.rs), by loom's model checker. Bounded to a number of
# preemptions, which finds what can be found in seconds.
set -eu
cd "$(dirname "$0")/.."
export LOOM_MAX_PREEMPTIONS="${LOOM_MAX_PREEMPTIONS:-3}"
# Optimising the test program across crates takes longer than the models.
export CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! RUSTFLAGS='--cfg loom' CARGO_TARGET_DIR=target/loom timeout 600 \
	cargo test --locked --lib --release interleaved >"$log" 2>&1; then
	grep -E -A 5 '^error|panicked at|^test .*FAILED' "$log" | head -n 40 >&2
	echo "loom: FAILED"
	exit 1
fi
# A filter that matches nothing passes too: count what has run.
models=$(grep -cE '^test .*interleaved::.* \.\.\. ok$' "$log") || true
if [ "$models" -lt 7 ]; then
	echo "loom: FAILED, $models models ran" >&2
	exit 1
fi
echo "loom: ok, $models models, at most $LOOM_MAX_PREEMPTIONS preemptions"
