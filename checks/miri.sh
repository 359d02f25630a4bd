#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Runs tests in Miri, which finds undefined behaviour: of code that handles a guest's bytes, of the watchdog's slot, of the
# claim cell and of the pool.
#
# Needs a nightly toolchain with Miri and its sources: rustup toolchain install nightly -c miri,rust-src. Not run: tests
# that call the host or run the stub's code, and tests that would take hours.
set -euo pipefail
# shellcheck source=checks/cargo-tests.sh
. "$(dirname "$0")/cargo-tests.sh"

export PROPTEST_CASES="${PROPTEST_CASES:-8}" CARGO_TARGET_DIR=target/miri
# Addresses of stubs are numbers to the monitor, and tests read the clock.
export MIRIFLAGS='-Zmiri-disable-isolation -Zmiri-permissive-provenance'
parked=window::tests
cargo_tests miri 50 '' "tests, no undefined behaviour" +nightly miri test --locked --lib -- \
	claim:: policy:: memory:: frame:: window::calls notify::report window::pool watchdog:: config:: log:: capi:: \
	$parked::a_batch $parked::a_call $parked::a_failed $parked::a_frame $parked::a_new $parked::a_page $parked::a_park
