#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# disturbed.sh GUARDED [HOW...]
#
# A guarded guest works while its host processes are stopped, frozen, traced, signalled and killed (disturb.py).
# Its results must stay the same, and the guard must not take a stub for a hostile one. TAP.
#
# A stub that waits for a guest's call cannot be frozen (docs/design.md). So only with stubguard=calls=trap must the
# freezer freeze all processes at least once.
#
# SECONDS_EACH: for each way (8). NCPUS: the guest's CPUs (1). GUARDED_ARGS: more boot parameters.
set -euo pipefail

# shellcheck source=uml/common.sh
. "$(dirname "$0")/../common.sh"

[ $# -ge 1 ] || die "usage: disturbed.sh GUARDED [HOW...]"
linux=$1
shift
[ $# -gt 0 ] || set -- stop-stub stop-all freeze-stub freeze-all trace-stub trace-all signal-stub race kill-stub
need_busybox
seconds=${SECONDS_EACH:-8}
scratch disturbed
booted=
finish() {
	[ -z "$booted" ] || kill "$booted" 2>/dev/null || true
	[ -z "$booted" ] || wait "$booted" || true
	rm -rf "$dir"
}
trap finish EXIT
mkdir "$dir/tmp"
make -s -C "$uml_dir/guests" OUT="$dir" "$dir/work"

cc -O2 -Wall -Wextra -Werror -static -o "$dir/first" "$uml_dir/tests/first.c"

cat >"$dir/init" <<INIT
#!$busybox sh
export BUSYBOX=$busybox TMPDIR=$dir/tmp PATH=$PATH
exec $dir/first $dir/started $busybox sh $dir/script
INIT
chmod +x "$dir/init"

# The workloads run in turns until the host says that it is enough. The first and the last turn are not disturbed.
cat >"$dir/script" <<SCRIPT
work() { $busybox sh $uml_dir/guests/workload.sh $dir/work $dir "\$@" 2>&1; }
all='pipelines forks maps signals threads floats handlers calls'
# If the init starts again, the guest is still disturbed.
if [ ! -e $dir/tmp/disturbed ]; then
	$busybox mount -t proc proc /proc
	$busybox mount -t tmpfs tmpfs $dir/tmp
	work \$all
	: >$dir/tmp/disturbed
	echo disturb
fi
while [ ! -e $dir/enough ]; do work \$all; done
echo last
work \$all
$busybox cat /proc/stubguard
echo exit-status 0
$busybox poweroff -f
SCRIPT

# await TEXT: waits until the guest has said so, or has ended: boot.sh limits its time
await() {
	while :; do
		! grep -q "^$1" "$dir/log" 2>/dev/null || return 0
		kill -0 "$booted" 2>/dev/null || return 1
		sleep 0.1
	done
}

# results PART: the results in a part of the log (sed's address and command), without times
results() { sed -n "$1" "$dir/log" | grep '^result ' | sort -u; }

# disturbed HOW: a guest whose processes are disturbed; 77: this host cannot do that
disturbed() {
	local how=$1 kernel spared status=0 children=()
	rm -f "$dir/started" "$dir/enough" "$dir/log"
	# shellcheck disable=SC2086 # a list of parameters
	TIMEOUT=300 NCPUS=${NCPUS:-1} "$uml_dir/boot.sh" "$linux" "$dir/init" ${GUARDED_ARGS:-} >"$dir/log" 2>&1 &
	booted=$!
	await ready || return 1
	# The kernel is the process that boot.sh has started and that has stubs.
	read -ra children < <(cat /proc/"$booted"/task/*/children)
	for kernel in "${children[@]}"; do
		[ "$(cat /proc/"$kernel"/comm)" != linux ] || break
	done
	# There is only the first process yet.
	spared=$(cat /proc/"$kernel"/task/*/children)
	touch "$dir/started"
	await disturb || return 1
	case ${GUARDED_ARGS:-} in
	*calls=trap*) export WHOLE=1 ;;
	*notify*) export OWN_START=1 ;;
	esac
	# shellcheck disable=SC2086 # a list of numbers
	python3 -B "$uml_dir/tests/disturb.py" "$how" "$kernel" "$seconds" $spared >"$dir/count" 2>&1 || status=$?
	touch "$dir/enough"
	[ "$status" -eq 0 ] || {
		kill "$booted"
		wait "$booted" || true
		booted=
		return "$status"
	}
	wait "$booted" || return 1
	booted=
	[ "$how" = kill-stub ] || {
		# Each turn has the same results.
		[ "$(results p)" = "$(results '1,/^disturb/p')" ] || return 1
		grep -q '^kills 0$' "$dir/log" && grep -q '^breaches 0$' "$dir/log" || return 1
	}
	[ "$(results '1,/^disturb/p' | wc -l)" -eq 8 ] && [ "$(results "/^last/,\$p")" = "$(results '1,/^disturb/p')" ]
}

for how; do
	status=0
	disturbed "$how" || status=$?
	case $status in
	0) result 0 "$how: $(cat "$dir/count"), $(grep -c '^result ' "$dir/log") results, all the same" ;;
	77) result 0 "$how # SKIP $(cat "$dir/count")" ;;
	*)
		grep -v '^time ' "$dir/log" >"$dir/said" || true
		result 1 "$how: $(cat "$dir/count" 2>/dev/null || true)" "$dir/said" 80
		echo "# what is not as it was before:"
		comm -13 <(results '1,/^disturb/p') <(results p) | sed 's/^/# /'
		[ -z "$booted" ] || kill "$booted" 2>/dev/null || true
		[ -z "$booted" ] || wait "$booted" || true
		booted=
		;;
	esac
done
plan
