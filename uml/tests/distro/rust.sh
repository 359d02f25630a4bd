#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# rust.sh - a compiler, and what it compiles
# shellcheck source=uml/tests/distro/lib.sh
. "${0%/*}/lib.sh"

cp "$here/main.rs" .
for flags in "-O" "-C debuginfo=2" "-O -C target-feature=+crt-static"; do
	# shellcheck disable=SC2086 # options
	passes "compile $flags" rustc $flags -o main main.rs
	check "run $flags" ./main
done
check "an error" sh -c 'echo "fn main() { let x: u8 = \"\"; }" >bad.rs; rustc --error-format=short bad.rs'
echo '#[test] fn good() {} #[test] #[should_panic] fn bad() { panic!() } #[test] fn index() { assert!(std::panic::catch_unwind(|| { let v = vec![1]; v[std::hint::black_box(3)] }).is_err()) }' >t.rs
check "tests" sh -c 'rustc --test -o t t.rs && ./t --test-threads 1 2>/dev/null | grep ^test'
