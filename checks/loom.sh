#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Runs loom's model checker over all interleavings, up to a number of preemptions, of monitor and watchdog on a slot
# (src/watchdog/slot/tests.rs), of threads that put into a claim cell and take from it (src/claim/tests.rs), and of
# users of the pool (src/window/pool/tests.rs). Takes seconds.
set -euo pipefail
# shellcheck source=checks/cargo-tests.sh
. "$(dirname "$0")/cargo-tests.sh"

export LOOM_MAX_PREEMPTIONS="${LOOM_MAX_PREEMPTIONS:-3}" RUSTFLAGS='--cfg loom' CARGO_TARGET_DIR=target/loom
# Without LTO: it takes longer than the models.
export CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16
cargo_tests loom 12 interleaved:: "models, at most $LOOM_MAX_PREEMPTIONS preemptions" \
	test --locked --lib --release interleaved
