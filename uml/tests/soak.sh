#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# soak.sh - a guest's first process for soak.py: stress-ng, honest work and attacks, all at once
#
#	DIR		where the programs are; the guest writes to $TMPDIR only
#	SECONDS_	how long; a sixth of it comes before the first look, as caches fill only once
#	STRESSORS	of stress-ng; ATTACKS, WORKLOADS: names of ours
#
# Says on its console what soak.py reads:
#	idle before|after		nothing runs, after the first sixth and after the rest: look now
#	memory before|after NAME KIB	the guest's memory at that time by kind, with each slab cache
#	sample FREE SLAB COUNTERS	kB, and the counters of /proc/stubguard
#	stress-ng NAME: TEXT		stress-ng's output
#	victim ROUND same|TEXT
#	attack NAME VERDICT
#	audit: VERDICT		what the mapping oracle says, once a minute
set -u

bb=$BUSYBOX
mkdir -p "$TMPDIR/stress"
chmod 1777 "$TMPDIR" "$TMPDIR/stress"

left() {
	[ "$($bb date +%s)" -lt "$end" ]
}

sample() {
	# The pages of the per-CPU lists are free, too. One echo, since other processes write to the console.
	# shellcheck disable=SC2016 # awk's, not the shell's
	free=$($bb awk '/^MemFree/ { free = $2 } /^Slab/ { slab = $2 } $1 == "count:" { kept += $2 }
		END { printf "%d %d", free + 4 * kept, slab }' /proc/meminfo /proc/zoneinfo)
	# shellcheck disable=SC2016
	counters=$($bb awk '$1 != "mode" { printf " %s=%s", $1, $2 }' /proc/stubguard 2>/dev/null)
	echo "sample $free$counters"
}

idle() {
	$bb sleep 3
	echo 3 >/proc/sys/vm/drop_caches
	$bb sleep 1
	sample
	echo "idle $1"
	# shellcheck disable=SC2016
	$bb awk -v when="$1" '$3 == "kB" { sub(":", "", $1); print "memory", when, $1, $2 }' /proc/meminfo
	# shellcheck disable=SC2016
	$bb awk -v when="$1" 'NR > 2 { print "memory", when, "slab:" $1, int($3 * $4 / 1024) }' /proc/slabinfo 2>/dev/null
	$bb sleep 4
}

samples() {
	while left; do
		sample
		$bb sleep 10
	done
}

# One process each, so that each has a status. exec refuses to run as root.
stress() {
	user=
	[ "$1" != exec ] || user='/usr/bin/setpriv --reuid 65534 --regid 65534 --clear-groups'
	more=
	case $1 in
	vm) more='--vm-bytes 48M --verify' ;;
	mmap) more='--mmap-bytes 32M' ;;
	vforkmany) more='--vforkmany-vm' ;;
	esac
	# shellcheck disable=SC2086 # several words
	$user stress-ng --"$1" 1 $more --timeout "$((end - $($bb date +%s)))" --temp-path "$TMPDIR/stress" >"$TMPDIR/$1.log" 2>&1
	echo "stress-ng $1: status $?"
	$bb grep -avE 'info:.*(Working directory|setting to|dispatching|successful)|metrics-check' "$TMPDIR/$1.log" | $bb sed "s/^/stress-ng $1: /"
}

# Compares each round's results with those of the first one.
victim() {
	n=0
	while left; do
		# shellcheck disable=SC2086 # several words
		$bb sh "$DIR/workload.sh" "$DIR/work" "$TMPDIR" $WORKLOADS 2>&1 | $bb grep -a '^result' >"$TMPDIR/now"
		if [ ! -e "$TMPDIR/first" ]; then
			$bb mv "$TMPDIR/now" "$TMPDIR/first"
			$bb sed 's/^/victim first: /' "$TMPDIR/first"
			$bb grep -q failed "$TMPDIR/first" && echo "victim 0 failed"
		else
			$bb cmp -s "$TMPDIR/first" "$TMPDIR/now" && echo "victim $n same" ||
				echo "victim $n $($bb diff "$TMPDIR/first" "$TMPDIR/now" | $bb tr '\n' ' ')"
		fi
		n=$((n + 1))
	done
}

# The attacks in turns; the second load continues where the first one has ended.
attackers() {
	# shellcheck disable=SC2046 # several words
	set -- $($bb cat "$TMPDIR/attacks")
	while left; do
		echo "attack $1 $(HOSTILE_PATIENCE=10 "$DIR/hostile" "$1" 2>&1 | $bb grep -aE '^(BLOCKED|BREACHED|INCONCLUSIVE|SKIPPED)')"
		name=$1
		shift
		set -- "$@" "$name"
		echo "$@" >"$TMPDIR/attacks"
	done
}

# The mapping oracle; soak.py starts its host side. -f uses a freezer, as SIGSTOP would disturb stressors (ptrace).
audits() {
	while left; do
		"$DIR/audit" -f "$LOOKS"
		$bb sleep 60
	done
}

# load SECONDS: all of it at once
load() {
	end=$(($($bb date +%s) + $1))
	samples &
	audits &
	for s in $STRESSORS; do
		stress "$s" &
	done
	[ -z "$WORKLOADS" ] || victim &
	[ -z "$ATTACKS" ] || attackers &
	wait
}

echo "$ATTACKS" >"$TMPDIR/attacks"
load $((SECONDS_ / 6))
idle before
load $((SECONDS_ - SECONDS_ / 6))
idle after
