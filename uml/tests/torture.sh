#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# torture.sh LINUX [MODULE...]
#
# Tortures a guest's memory management (guests/torture), with all modules at once, or with each of the named ones by
# itself. TAP: a run fails if the guest finds a wrong page, panics, warns or does not end, or if the guard has counted a
# kill, a breach, a stall or a denial.
#
# MINUTES, or SECONDS_EACH: the length of each run (30 s). SEED: repeats a run (default: a new one each time).
# NCPUS (1), MEM: the guest's CPUs and memory (256 MiB). PROCESSES (2), THREADS (2): of the torturer.
# GUARDED_ARGS: more boot parameters.
#
# The mapping oracle (docs/audit.md) looks every five seconds and at the end, if the kernel has it and a freezer. Swap (on a
# disk of its own), KSM and compaction are on if the kernel has them.
set -euo pipefail

# shellcheck source=uml/common.sh
. "$(dirname "$0")/../common.sh"

[ $# -ge 1 ] || die "usage: torture.sh LINUX [MODULE...]"
linux=$1
shift
[ $# -gt 0 ] || set -- all
need_busybox
seconds=${SECONDS_EACH:-30}
[ -z "${MINUTES:-}" ] || seconds=$((MINUTES * 60))
scratch torture
make -s -C "$uml_dir/guests" OUT="$dir" "$dir/torture" "$dir/audit"
mkdir "$dir/dev" "$dir/sys" "$dir/tmp"
serve_audits "$dir/looks" guest

# run MODULE: one guest with its console in $dir/log
run() {
	local only='' status=0
	[ "$1" = all ] || only="--only $1"
	cat >"$dir/init" <<-INIT
		#!$busybox sh
		$busybox mount -t proc proc /proc
		$busybox mount -t devtmpfs devtmpfs $dir/dev
		$busybox mount -t sysfs sysfs $dir/sys
		$busybox mount -t tmpfs tmpfs $dir/tmp
		export TMPDIR=$dir/tmp
		if [ -e /proc/swaps ]; then $busybox swapon $dir/dev/ubda && echo "torture: with swap"; fi
		if [ -e $dir/sys/kernel/mm/ksm/run ]; then
			echo 2000 >$dir/sys/kernel/mm/ksm/pages_to_scan
			echo 20 >$dir/sys/kernel/mm/ksm/sleep_millisecs
			echo 1 >$dir/sys/kernel/mm/ksm/run && echo "torture: with KSM"
		fi
		while $busybox sleep 1; do
			[ ! -e /proc/sys/vm/compact_memory ] || echo 1 >/proc/sys/vm/compact_memory
			[ ! -e /proc/sys/vm/drop_caches ] || echo 7 >/proc/sys/vm/drop_caches
		done &
		while $busybox sleep 5; do $dir/audit -f $dir/looks/guest; done &
		$dir/torture --seconds $seconds --processes ${PROCESSES:-2} --threads ${THREADS:-2} $only ${SEED:+--seed $SEED}
		status=\$?
		$busybox kill \$! && wait \$!
		$dir/audit -f $dir/looks/guest
		if [ -e /proc/stubguard ]; then $busybox cat /proc/stubguard; fi
		echo exit-status \$status
		$busybox poweroff -f
	INIT
	chmod +x "$dir/init"
	# A new empty disk each time
	rm -f "$dir/swap"
	truncate -s 128M "$dir/swap"
	"$busybox" mkswap "$dir/swap" >/dev/null
	# A run ends later than its last second: it finishes each operation, and checks all pages.
	# shellcheck disable=SC2086 # a list of parameters
	TIMEOUT=$((seconds * 2 + 180)) MEM=${MEM:-256} NCPUS=${NCPUS:-1} "$uml_dir/boot.sh" "$linux" "$dir/init" \
		"ubd0=$dir/swap" ${GUARDED_ARGS:-} >"$dir/log" 2>&1 || status=$?
	why=
	[ "$status" -eq 0 ] || why="exit status $status"
	grep -q '^torture: passed' "$dir/log" || why=${why:-no verdict}
	! grep -qE 'BUG: |WARNING: |Bad page|Kernel panic|Out of memory|bad p[mu]d|Bad rss' "$dir/log" ||
		why=$(grep -m 1 -E 'BUG: |WARNING: |Bad page|Kernel panic|Out of memory|bad p[mu]d|Bad rss' "$dir/log")
	counted=$(grep -E '^(kills|breaches|stalls|denied)[_a-z-]* [1-9]' "$dir/log" | grep -vE "$expected" | paste -s -d ,) || true
	[ -z "$counted" ] || why="the guard has counted: $counted"
	! grep -qE '^torture: FAIL' "$dir/log" || why=$(grep -m 1 '^torture: FAIL' "$dir/log")
	audited "$dir/log" || why="the mapping oracle: $(grep -m 2 '^audit.*wrong\|^audit: FAILED' "$dir/log" | paste -s -d ' ')"
	[ -z "$why" ]
}

# With several CPUs a page table may change after a call was queued, in both modes (src/notify/serve.rs, write_batch()
# of src/window/batch.rs). The monitor then leaves the page out and counts it; no stub has done anything wrong.
expected='^$'
[ "${NCPUS:-1}" = 1 ] || expected='^denied_page_table '

for module; do
	if run "$module"; then
		result 0 "$module: $(grep '^torture: passed' "$dir/log")"
		printf '# %d looks of the mapping oracle\n' "$(grep -c '^audit: ok' "$dir/log")"
		sed -n 's/^torture: note: /# not there: /p; s/^torture: with /# with /p; s/^  \([a-z-]* [0-9].*\)/# \1/p' "$dir/log"
	else
		result 1 "$module: $why" "$dir/log" 150
	fi
done
plan
