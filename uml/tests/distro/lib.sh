# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
#
# Functions that the tests of this folder share. Sourced, in the guest. A test is PROGRAM.sh: it works in an empty folder, and says what it finds as
# cases. The same cases must have the same results on all kernels, so the output of a case is without times, addresses
# and process numbers.
#
# guest.sh sets here (this folder), out (a folder for the cases' output; $out/cases has the results) and size.

set -u
: "${size:?}" "${out:?}" "${here:?}"
export LC_ALL=C.UTF-8 TZ=UTC

# long: is this more than the short form? full: is it all that there is?
long() { [ "$size" != short ]; }
full() { [ "$size" = full ]; }

# normal: sed expressions that a test adds to
normal=('s/\x1b\[[0-9;]*m//g' 's/\b0x[0-9a-f]{3,}\b/ADDRESS/g' 's/\b[0-9]+(\.[0-9]+)? ?(ms|us|ns|s|sec|secs|seconds|msec)\b/TIME/g')
normalize() {
	local one args=()
	for one in "${normal[@]}"; do args+=(-e "$one"); done
	sed -E "${args[@]}"
}

# result CASE TEXT: a case and its result
result() { printf '%s\t%s\n' "${1//[[:cntrl:]]/ }" "$2" >>"$out/cases"; }

# check CASE COMMAND...: a case whose result is the status and the output of a command
check() {
	local name=$1 status=0 log
	shift
	log=$out/${name//[^A-Za-z0-9._+-]/_}
	("$@") >"$log.raw" 2>&1 </dev/null || status=$?
	normalize <"$log.raw" >"$log.log"
	if cmp -s "$log.raw" "$log.log"; then rm "$log.raw"; fi
	result "$name" "$([ "$status" -eq 0 ] && echo ok || echo "status $status"), $(wc -l <"$log.log") lines, $(cksum <"$log.log" | cut -d' ' -f1)"
}

# passes CASE COMMAND...: a case whose result is only whether a command succeeds, as its output is not the same twice
passes() {
	local name=$1 status=0
	shift
	("$@") >"$out/${name//[^A-Za-z0-9._+-]/_}.raw" 2>&1 </dev/null || status=$?
	result "$name" "$([ "$status" -eq 0 ] && echo ok || echo "status $status")"
}

# waits COMMAND...: waits for a command to succeed, for a minute
waits() {
	local n
	for ((n = 0; n < 300; n++)); do
		"$@" >/dev/null 2>&1 && return
		sleep 0.2
	done
	return 1
}
