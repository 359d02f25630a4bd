#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# crosscalls.sh LINUX
#
# Has the guest's CPUs send each other all kinds of interrupts (guests/crosscalls): as they come, and with delays where
# an idle CPU could miss one, or a SIGIO of the host (linger.c). TAP. If an interrupt is lost, the guest sleeps on and is
# late: seconds count that the guest computes or sleeps, not those that it waits for a CPU of the host.
#
# NCPUS (4); ROUNDS (200) of each kind on each CPU; LIMIT (300): seconds for a guest. GUARDED_ARGS: more boot parameters.
set -euo pipefail

# shellcheck source=uml/common.sh
. "$(dirname "$0")/../common.sh"

[ $# = 1 ] || die "usage: crosscalls.sh LINUX"
linux=$(uml_kernel "$1")
need_busybox
cpus=${NCPUS:-4} rounds=${ROUNDS:-200}
scratch crosscalls
make -s -C "$uml_dir/guests" OUT="$dir" "$dir/crosscalls"
${CC:-cc} -shared -fPIC -O2 -Wall -Wextra -Werror -o "$dir/linger.so" "$uml_dir/tests/linger.c"

cat >"$dir/init" <<-INIT
	#!$busybox sh
	$busybox mount -t proc proc /proc
	$dir/crosscalls $rounds
	status=\$?
	$busybox cat /proc/interrupts
	[ ! -e /proc/stubguard ] || $busybox cat /proc/stubguard
	echo exit-status \$status
	$busybox poweroff -f
INIT
cat >"$dir/lingers" <<-SH
	#!$busybox sh
	LD_PRELOAD=$dir/linger.so exec $linux "\$@"
SH
chmod +x "$dir/init" "$dir/lingers"

# run NAME LINUX: one guest with its console in $dir/log
run() {
	local status=0 counted few
	# shellcheck disable=SC2086 # a list of parameters
	TIMEOUT=${LIMIT:-300} MEM=256 NCPUS=$cpus "$uml_dir/boot.sh" "$2" "$dir/init" ${GUARDED_ARGS:-} >"$dir/log" 2>&1 || status=$?
	says '^crosscalls: passed' || status=1
	# Of each kind of interrupt each CPU has had some
	few=$(awk -v cpus="$cpus" -v rounds="$rounds" '$1 == "RES:" || $1 == "CAL:" { seen++; for (i = 2; i < 2 + cpus; i++) if ($i + 0 < ($1 == "RES:" ? 1 : rounds)) print $1 $i }
		END { if (seen < 2) print "no counts" }' "$dir/log" | paste -s -d ' ')
	[ -z "$few" ] || { echo "few interrupts: $few" >>"$dir/log"; status=1; }
	! says 'BUG: |WARNING: |Kernel panic|INFO: ' || status=1
	counted=$(grep -E '^(kills|breaches)[_a-z-]* [1-9]' "$dir/log" | paste -s -d ,) || true
	[ -z "$counted" ] || { echo "the guard has counted: $counted" >>"$dir/log"; status=1; }
	result "$status" "$cpus CPUs, $1: $(awk -v cpus="$cpus" '$1 == "RES:" || $1 == "CAL:" { for (i = 2; i < 2 + cpus; i++) n[$1] += $i }
		END { print n["RES:"] + 0, "reschedules,", n["CAL:"] + 0, "calls" }' "$dir/log")"
}

run "as they come" "$linux"
run "with delays in idle" "$dir/lingers"
missed=$(tr -d '\r' <"$dir/log" | sed -n 's/^linger: [0-9]* times SIGIO, missed //p')
status=0
[ "$missed" = 0 ] || status=1
result "$status" "$cpus CPUs, SIGIO before the sleep: missed ${missed:-nobody knows how often}"
plan
