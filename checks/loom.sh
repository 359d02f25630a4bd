#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# All interleavings of monitor and watchdog on a slot (src/watchdog/slot/tests.rs), of those who put into a claim
# cell and take from it (src/claim/tests.rs), and of those who use the pool of stubs (src/window/pool/tests.rs), by
# loom's model checker. Bounded to a number of preemptions, which finds what can be found in seconds.
set -euo pipefail
# shellcheck source=checks/cargo-tests.sh
. "$(dirname "$0")/cargo-tests.sh"

export LOOM_MAX_PREEMPTIONS="${LOOM_MAX_PREEMPTIONS:-3}" RUSTFLAGS='--cfg loom' CARGO_TARGET_DIR=target/loom
# Optimising the test program across crates takes longer than the models.
export CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16
cargo_tests loom 12 interleaved:: "models, at most $LOOM_MAX_PREEMPTIONS preemptions" \
	test --locked --lib --release interleaved
