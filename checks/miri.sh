#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# What handles a guest's bytes, the watchdog's slot, the claim cell and the pool, in Miri: no undefined behaviour, whichever way is taken.
#
# Needs a nightly toolchain with Miri and its sources: rustup toolchain install nightly -c miri,rust-src. Left out is what
# asks the host, or runs the stub's code, and what would take hours.
set -euo pipefail
# shellcheck source=checks/cargo-tests.sh
. "$(dirname "$0")/cargo-tests.sh"

export PROPTEST_CASES="${PROPTEST_CASES:-8}" CARGO_TARGET_DIR=target/miri
# The host's addresses are numbers to the monitor, and the tests ask for the time.
export MIRIFLAGS='-Zmiri-disable-isolation -Zmiri-permissive-provenance'
parked=window::tests
cargo_tests miri 50 '' "tests, no undefined behaviour" +nightly miri test --locked --lib -- \
	claim:: policy:: memory:: frame:: window::calls notify::report window::pool watchdog:: config:: log:: capi:: \
	$parked::a_batch $parked::a_call $parked::a_failed $parked::a_frame $parked::a_new $parked::a_page $parked::a_park
