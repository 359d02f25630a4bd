#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# suite.sh - runs in a guest, for suite.py: programs of test suites, one after the other
#
# The file "tests" beside it has a line for each: SECONDS NAME COMMAND. The guest writes to $TMPDIR only.
# Says on its console what suite.py reads:
#	begin NAME
#	| LINE		a line of its output
#	! LINE		a complaint of the guest's kernel or of the guard
#	end NAME STATUS
set -u

bb=$BUSYBOX here=${0%/*}
export HOME="$TMPDIR" LC_ALL=C.UTF-8 PYTHONDONTWRITEBYTECODE=1
$bb mount -t sysfs sysfs /sys
$bb mount -t devpts devpts /dev/pts
$bb mount -t tmpfs tmpfs /dev/shm
# Keep the kernel's messages out of our lines.
$bb dmesg -n 1
$bb dmesg -c >/dev/null
# shellcheck disable=SC3045 # busybox has it
ulimit -c 0

while read -r limit name command; do
	echo "begin $name"
	$bb mkdir "$TMPDIR/work"
	cd "$TMPDIR/work" || exit 1
	# Its mounts end with it
	"$bb" unshare -m "$bb" setsid "$bb" timeout -s KILL "$limit" sh -c "$command" >"$TMPDIR/log" 2>&1 </dev/null
	status=$?
	# Ends all processes that it has left behind: all but this shell and the first process
	kill -KILL -1
	# awk ends the last line if the program has not
	# shellcheck disable=SC2016 # awk's, not the shell's
	$bb awk '{ print "| " $0 }' "$TMPDIR/log"
	$bb dmesg -c | $bb grep -aE "(WARNING|BUG|INFO|rcu|stubguard): " | $bb sed "s/^/! /"
	echo "end $name $status"
	cd / && $bb rm -rf "$TMPDIR"/*
done <"$here/tests"
exit 0
