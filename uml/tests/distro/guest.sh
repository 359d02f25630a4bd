#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# guest.sh PLACE - runs in a guest, as a service of its systemd, for distro.py: the tests of this folder, one after the other
#
# The folder is the host's, where it is called PLACE. The file `run` sets what is to be run: programs, size, limit (seconds for a test).
# Says on the console what distro.py reads:
#	idle before|after		nothing runs
#	begin PROGRAM, end PROGRAM STATUS
# and what audit says. The results are in results/PROGRAM.
set -u
here=/run/tests place=$1 programs='' size='' limit=''
# shellcheck source=/dev/null
. "$here/run"

# Kernel messages would be in between; the log has them all.
dmesg -n 1
[ ! -r /proc/stubguard ] || sed -n 's/^mode /stubguard /p' /proc/stubguard
mkdir -p "$here/results"

counters() { [ ! -r /proc/stubguard ] || cat /proc/stubguard >"$here/results/stubguard"; }
idle() {
	sync
	echo 3 >/proc/sys/vm/drop_caches
	sleep 2
	echo "idle $1 $(awk '/^(MemFree|Slab):/ { print $2 }' /proc/meminfo | paste -s -d ' ')"
	sleep 1
}
# The mapping oracle looks now and then while a program of these runs, and behind each. It stops all tasks for that.
looked_at=" postgres redis nginx sqlite openssl perl go java node rust git "
look() { [ ! -e /proc/stubguard_audit ] || TMPDIR=/tmp "$here/audit" -s "$place/looks/guest"; }
looks() {
	while :; do
		sleep 15
		look
	done
}

state=$(systemctl is-system-running --wait)
mkdir -p "$here/results/boot"
dmesg >"$here/results/dmesg"
systemctl list-units --failed --plain --no-legend >"$here/results/boot/failed.log"
systemctl list-units --state=active --plain --no-legend | awk '{ print $1, $3, $4 }' | sort >"$here/results/boot/units.log"
{
	printf 'is-system-running\t%s\n' "$([ "$state" = running ] && echo ok || echo "$state")"
	printf 'failed units\t%s\n' "$([ -s "$here/results/boot/failed.log" ] && awk '{ print $1 }' "$here/results/boot/failed.log" | paste -s -d ' ' || echo ok)"
	printf 'active units\tok, %s\n' "$(grep -v '\.device' "$here/results/boot/units.log" | cksum)"
	printf 'CPUs\tok, %s\n' "$(nproc)"
} >"$here/results/boot/cases"

idle before
for program in $programs; do
	echo "begin $program"
	out=$here/results/$program work=/var/tmp/work
	rm -rf "$out" "$work"
	mkdir -p "$out" "$work"
	chmod 777 "$work"
	dmesg -C
	looker=
	case $looked_at in *" $program "*) looks & looker=$! ;; esac
	# Whatever it leaves behind ends with its unit.
	systemd-run --quiet --wait --unit="test-$program" --collect -p "RuntimeMaxSec=$limit" -p KillMode=control-group \
		-p LimitCORE=0 -p WorkingDirectory="$work" -p "StandardOutput=truncate:$out/output" -p "StandardError=append:$out/output" \
		-p Delegate=yes -E here="$here" -E out="$out" -E size="$size" -E HOME=/root /bin/bash "$here/$program.sh"
	status=$?
	# A look that has begun goes on.
	[ -z "$looker" ] || { kill "$looker" && wait "$looker"; } 2>/dev/null
	dmesg | grep -aE '(WARNING|BUG|INFO|rcu|stubguard): ' >"$out/kernel"
	dmesg >"$out/dmesg"
	echo "end $program $status"
	counters
	look
	cd / && rm -rf "$work"
done
idle after
counters
journalctl -b -p warning -o cat --no-pager >"$here/results/journal"
echo exit-status 0
systemctl poweroff
