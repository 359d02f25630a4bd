#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# sanitizer.sh thread|address: cargo's tests under ThreadSanitizer or AddressSanitizer. The tests run in parallel on the
# library's statics.
#
# Needs a nightly toolchain with its sources: rustup toolchain install nightly -c rust-src.
set -euo pipefail
# shellcheck source=checks/cargo-tests.sh
. "$(dirname "$0")/cargo-tests.sh"

case ${1:-} in
thread) name=tsan what="tests, no data race" BAD='WARNING: ThreadSanitizer' ;;
address) name=asan what="tests, no access out of bounds" BAD='ERROR: .*Sanitizer' ;;
*)
	echo "usage: sanitizer.sh thread|address" >&2
	exit 1
	;;
esac
export RUSTFLAGS="-Zsanitizer=$1" CARGO_TARGET_DIR=target/$name PROPTEST_CASES="${PROPTEST_CASES:-32}"
# Not the filters' tests, which are long and have one thread. No leak detection: the tests' disassembler never frees its
# tables.
export ASAN_OPTIONS=detect_leaks=0
BAD=$BAD cargo_tests $name 80 '' "$what" \
	+nightly test --locked --lib -Zbuild-std --target x86_64-unknown-linux-gnu -- --skip filter
