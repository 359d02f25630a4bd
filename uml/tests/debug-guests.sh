#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# debug-guests.sh GUARDED [UNGUARDED]
#
# Runs guests on a kernel that checks itself (variants debug and kasan): workloads, stress-ng, failing allocations, the
# torturer and the attacks, for each number of CPUs and in each mode. TAP: a guest fails if it does not end well, if the
# mapping oracle (docs/audit.md) finds a wrong page, or if its console has a splat, which is a line by which the kernel
# reports a fault of its own. If the unguarded kernel of that configuration prints the same splat in the same work, it is
# arch/um's: it is shown, and the guest does not fail. The unguarded kernel runs only if there is a splat to compare.
#
# CPUS ("1 2"), MODES ("window notify"): what to try. SECONDS_EACH: of each stressor and of the torturer (20).
# STRESSORS: of stress-ng, if it is installed. ATTACKS: names ("no": none). LIMIT: seconds for a guest (1200).
set -euo pipefail

# shellcheck source=uml/common.sh
. "$(dirname "$0")/../common.sh"

[ $# -ge 1 ] || die "usage: debug-guests.sh GUARDED [UNGUARDED]"
guarded=$(uml_kernel "$1") unguarded=
[ -z "${2:-}" ] || unguarded=$(uml_kernel "$2")
need_busybox
seconds=${SECONDS_EACH:-20}
stressors=${STRESSORS-fork vforkmany clone pthread mmap vm mremap madvise mprotect futex signal sigsegv ptrace exec}
workloads="pipelines files compile forks maps signals threads floats vectors steps handlers bases calls everycall"

if [ -n "$stressors" ] && ! command -v stress-ng >/dev/null; then
	echo "# stress-ng is not installed, so it is left out: uml/deps.sh --soak"
	stressors=
fi

programs=$top_dir/build/guests
mkdir -p "$log_dir" "$programs"
make -s -C "$uml_dir/guests" OUT="$programs"
scratch debug
chmod 755 "$dir"
serve_audits "$dir/looks" guest
mkdir "$dir/tmp" "$dir/sys" "$dir/go"
cp "$uml_dir/guests/workload.sh" "$dir/"

# The guest's first process. Allocations fail for one shell and its children.
cat >"$dir/init" <<INIT
#!$busybox sh
export PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin BUSYBOX='$busybox' TMPDIR='$dir/tmp' VECTOR_SECONDS=2
bb=\$BUSYBOX
\$bb mount -t proc proc /proc
\$bb mount -t tmpfs tmpfs '$dir/tmp'
\$bb mount -t sysfs sysfs '$dir/sys'
\$bb chmod 1777 '$dir/tmp'
\$bb sed -n 's/^mode/guest mode/p' /proc/stubguard 2>/dev/null
status=0

echo "debug: workloads"
\$bb sh '$dir/workload.sh' '$programs/work' '$dir/go' $workloads >'$dir/tmp/log' 2>&1
\$bb sed -n 's/^result forks //p' '$dir/tmp/log' >'$dir/tmp/forks'
\$bb grep -a '^result [a-z]* failed' '$dir/tmp/log' && status=1
[ "\$(\$bb grep -ac '^result ' '$dir/tmp/log')" = $(wc -w <<<"$workloads") ] || { echo "debug: workloads are missing"; status=1; }

for s in $stressors; do
	echo "debug: stress-ng \$s"
	user=
	[ "\$s" != exec ] || user='/usr/bin/setpriv --reuid 65534 --regid 65534 --clear-groups'
	more=
	case \$s in vm) more='--vm-bytes 32M --verify' ;; mmap) more='--mmap-bytes 32M' ;; esac
	\$user stress-ng --\$s 1 \$more --timeout $seconds --temp-path '$dir/tmp' >'$dir/tmp/log' 2>&1 || {
		echo "debug: stress-ng \$s: status \$?"
		\$bb grep -a 'fail:' '$dir/tmp/log' && status=1
	}
done

inject=/proc/self/make-it-fail
if [ -e "\$inject" ] && \$bb mount -t debugfs debugfs '$dir/sys/kernel/debug'; then
	echo "debug: failing allocations"
	for f in '$dir'/sys/kernel/debug/failslab '$dir'/sys/kernel/debug/fail_page_alloc; do
		echo Y >\$f/task-filter
		echo 2 >\$f/probability
		echo -1 >\$f/times
		echo 0 >\$f/verbose
		echo N >\$f/ignore-gfp-wait
	done
	echo 0 >'$dir/sys/kernel/debug/fail_page_alloc/min-order'
	(
		end=\$((\$(\$bb date +%s) + $seconds))
		echo 1 >\$inject
		while [ "\$(\$bb date +%s 2>/dev/null || echo 0)" -lt \$end ]; do
			\$bb true; '$programs/work' forks; '$programs/work' maps; '$programs/work' threads
		done
	) >/dev/null 2>&1 &
	# It may end early, as its own allocations fail, too
	wait \$!
	# No other process may be concerned
	[ "\$('$programs/work' forks 2>&1)" = "\$(\$bb cat '$dir/tmp/forks')" ] || { echo "debug: forks differ"; status=1; }
fi

if [ -x '$programs/torture' ]; then
	echo "debug: torture"
	'$programs/torture' --seconds $seconds --processes 2 --threads 2 || status=1
fi

'$programs/audit' -f '$dir/looks/guest'
\$bb cat /proc/stubguard 2>/dev/null
echo exit-status \$status
\$bb poweroff -f
INIT
chmod +x "$dir/init"

# The lines by which a kernel reports its own faults.
splat='BUG: |WARNING: |INFO: (possible|rcu|task|trying|Freed|Allocated|Object|Slab)|suspicious RCU|[Bb]ad (page|p[mu]d|pgd|rss|swap)'
splat+='|KASAN|UBSAN|(list_add|list_del|memory) corruption|Kernel panic|Oops|Poison overwritten|[Rr]edzone|DEBUG_LOCKS_WARN'
splat+='|scheduling while atomic|held lock freed|page_table_check|debug_vm_pgtable.*(fail|WARN)'

# splats LOG...: prints each splat once, without the parts that differ from run to run. A report about locks is identified by
# its title and its first lock.
splats() {
	local log
	for log; do
		[ ! -f "$log" ] || tr -d '\r' <"$log" | sed 's/^\[ *[0-9.]*\] //' | awk -v splat="$splat" '
		title ~ /RCU/ { print title " " $0; title = "" }
		title != "" && match($0, /\(\(?[^ )]+\)/) { print title " " substr($0, RSTART, RLENGTH); title = "" }
		$0 ~ splat {
			if (title != "") print title
			if ($0 ~ /^WARNING: possible|inconsistent lock|suspicious RCU|held lock/) { title = $0; next }
			title = ""
			print
		}
		END { if (title != "") print title }'
	done | sed -E 's/0x[0-9a-f]+|[0-9a-f]{12,}/ADDR/g; s/(pid|PID|CPU)[:#]? ?[0-9]+/\1/g; s/\[#[0-9]+\]//; s/pfn:[0-9a-f]+/pfn/
		s/\b(comm|by task|task) .*//; s#/[0-9]+$##; s/: [^ ]*\/[0-9]+$//' | sort -u
}

# boot LINUX CPUS LOG ARGUMENTS...
boot() {
	local linux=$1 cpus=$2 log=$3
	shift 3
	TIMEOUT=${LIMIT:-1200} MEM=512 NCPUS=$cpus "$uml_dir/boot.sh" "$linux" "$dir/init" page_poison=1 "$@" >"$log" 2>&1
}

attack() {
	local cpus=$1 mode=$2
	WORKLOADS='' NCPUS=$cpus GUARDED_ARGS="stubguard=$mode page_poison=1" MEM=256 "$uml_dir/run.sh" guarded="$guarded"
}

# compare NAME CPUS LOG...: 0 if there are only splats of the unguarded kernel
compare() {
	local name=$1 cpus=$2 line known new=0
	shift 2
	splats "$@" >"$dir/found"
	[ -s "$dir/found" ] || return 0
	known=$log_dir/debug-unguarded-$cpus.log
	if [ -n "$unguarded" ] && [ ! -e "$dir/known-$cpus" ]; then
		echo "# splats: comparing with $(short "$unguarded"), $cpus CPU"
		boot "$unguarded" "$cpus" "$known" || echo "# the unguarded guest ended with $?"
		splats "$known" >"$dir/known-$cpus"
	fi
	while read -r line; do
		if [ -e "$dir/known-$cpus" ] && grep -qxF -- "$line" "$dir/known-$cpus"; then
			echo "# unguarded too: $line"
		else
			echo "# $name: $line"
			new=1
		fi
	done <"$dir/found"
	return "$new"
}

name=$(basename "$(dirname "$guarded")")
for cpus in ${CPUS:-1 2}; do
	for mode in ${MODES:-window notify}; do
		log=$log_dir/debug-$name-$cpus-$mode.log
		status=0
		boot "$guarded" "$cpus" "$log" "stubguard=$mode" || status=$?
		compare "$name $cpus CPU $mode" "$cpus" "$log" || status=1
		audited "$log" || status=1
		! grep -qE '^(kills|breaches)[_a-z-]* [1-9]' "$log" || status=1
		grep -q "^mode ${mode%%,*}" "$log" || { echo "# $guarded does not run in $mode mode"; status=1; }
		result "$status" "$name, $cpus CPU, $mode: workloads, stress-ng, failing allocations, torture" "$log"

		[ "${ATTACKS:-}" != no ] || continue
		log=$log_dir/debug-$name-$cpus-$mode-attacks.log
		status=0
		attack "$cpus" "$mode" >"$log" 2>&1 || status=$?
		compare "$name $cpus CPU $mode" "$cpus" "$log_dir"/run-*-guarded.log || status=1
		result "$status" "$name, $cpus CPU, $mode: attacks" "$log"
	done
done
plan
