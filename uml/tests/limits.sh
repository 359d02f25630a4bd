#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# limits.sh GUARDED
#
# A guarded guest on a host that refuses mappings with ENOMEM: by vm.max_map_count, by a limit on address space, and by the
# boot parameter mappings=. Honest programs must run to their end, and the guard must report the refusal. A guest in a memory
# cgroup that is too small: the host ends UML, and no stub is left. TAP.
#
# vm.max_map_count is not tried if it is more than 140,000: the guest would need too much memory. The memory cgroup is not
# tried where none can be made, or with swap space.
set -euo pipefail

# shellcheck source=uml/common.sh
. "$(dirname "$0")/../common.sh"

[ $# -eq 1 ] || die "usage: limits.sh GUARDED"
linux=$1
need_busybox
scratch limits
cc -O2 -Wall -Wextra -Werror -static -pthread -o "$dir/scattered" "$uml_dir/tests/scattered.c"
programs=$top_dir/build/guests
make -s -C "$uml_dir/guests" OUT="$programs"
serve_audits "$dir/looks" guest
mkdir "$dir/tmp"

# boot MIB COMMANDS [ARGUMENTS...]: one guest that runs the commands, with its console in $dir/log
boot() {
	local mem=$1 commands=$2
	shift 2
	cat >"$dir/init" <<-INIT
		#!$busybox sh
		export BUSYBOX=$busybox TMPDIR=$dir/tmp
		$busybox mount -t proc proc /proc
		$busybox mount -t tmpfs tmpfs $dir/tmp
		status=0
		$commands
		$busybox cat /proc/stubguard
		echo exit-status \$status
		$busybox poweroff -f
	INIT
	chmod +x "$dir/init"
	status=0
	TIMEOUT=120 MEM=$mem "$uml_dir/boot.sh" "$linux" "$dir/init" "$@" >"$dir/log" 2>&1 || status=$?
}

# All programs have succeeded, and no stub was killed
works() { [ "$status" -eq 0 ] && says '^kills 0$' && says '^breaches 0$' && ! says ' is lost: '; }
# The guard has dropped mappings, and has said so
drops() { says '^dropped [1-9]' && says 'the host has refused a mapping after [0-9]+ \(ENOMEM\)'; }
run() { printf '%s %s || status=1\n' "$dir/scattered" "$*"; }

# Sets $group, a memory cgroup of 32 MiB; fails if none can be had.
make_group() {
	local root file
	[ "$(wc -l </proc/swaps)" -eq 1 ] || return 1
	for root in /sys/fs/cgroup /sys/fs/cgroup/memory; do
		group=$root/limits.$$
		mkdir "$group" || continue
		for file in memory.max memory.limit_in_bytes; do
			[ ! -e "$group/$file" ] || ! echo $((32 << 20)) >"$group/$file" || return 0
		done
		rmdir "$group"
	done 2>/dev/null
	return 1
}

# The group has no process any more. Those that are killed need a moment.
leave_group() {
	local tries
	for ((tries = 0; tries < 100; tries++)); do
		! rmdir "$group" 2>/dev/null || return 0
		sleep 0.1
	done
	return 1
}

count=$(cat /proc/sys/vm/max_map_count)
for mode in window notify; do
	if [ "$count" -le 140000 ]; then
		pages=$((count + count / 10))
		boot $((pages / 256 + 96)) "$(run sweep "$pages")" "stubguard=$mode"
		{ works && drops && says "^scattered sweep $pages: 0 wrong"; } && r=0 || r=1
		result "$r" "$mode: a program with $pages single pages, where the host gives it $count mappings"
	else
		result 0 "$mode: more pages than mappings # SKIP the host allows $count mappings"
	fi

	# In a subshell: the limit cannot be raised again.
	(
		ulimit -v 400000
		boot 64 "$(run alias 16 30)" "stubguard=$mode"
		works && drops && says '^scattered alias 16: 0 wrong'
	) && r=0 || r=1
	result "$r" "$mode: a program with 480 MiB of mappings, where the host gives it an address space of 390"

	if make_group; then
		(
			echo "$BASHPID" >"$group/cgroup.procs"
			boot 128 "$busybox dd if=/dev/zero of=$dir/tmp/much bs=1M count=60" "stubguard=$mode"
			[ "$status" -eq 125 ] && says '\(the kernel: 137\)$' && ! says 'refused a mapping| is lost: '
		) && r=0 || r=1
		leave_group || r=1
		result "$r" "$mode: a memory cgroup that is too small: the host ends UML, and no stub is left"
	else
		result 0 "$mode: a memory cgroup that is too small # SKIP none can be made here, or the host has swap space"
	fi

	boot 128 "$(run change 800; run once 100)
		$busybox sh $uml_dir/guests/workload.sh $programs/work $dir signals handlers
		$programs/audit $dir/looks/guest || status=1" "stubguard=$mode,mappings=32"
	{ works && drops && says '^audit: ok,.* missing 0 dropped [1-9]' && says '^scattered change 800: 0 wrong' && says '^scattered once 100: 0 wrong' &&
		! says '^result [a-z]* failed'; } && r=0 || r=1
	result "$r" "$mode: a limit of 32 mappings: all programs work, and no stub has a page too many"
done

plan
