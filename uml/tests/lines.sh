#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# lines.sh GUARDED
#
# Provokes the lines by which the guard says who ended a guest process. Each must be on the console with the right pids and
# program, exactly the counters of that way must have moved, and docs/troubleshooting.md must have each line. TAP.
#
# Other tests provoke:
#	options, and what the host refuses at boot	boots.sh, denied.sh
#	a mapping that the host refuses			limits.sh
#	no new stub, RLIMIT_NOFILE			boots.sh
# Not provoked in a guest:
#	it ended by itself (status N)			the host refuses execveat() of a stub that has its listener
#	no listener, err = N				a stub dies while it starts; boots.sh kills one, which may say so
#	cannot kill stub, the watchdog's filter, its timer	c-tests: t_watchdog
#	sleeps and does not report back, in window mode	no guest can block a signal there: t_window_watchdog
set -euo pipefail

# shellcheck source=uml/common.sh
. "$(dirname "$0")/../common.sh"

[ $# -eq 1 ] || die "usage: lines.sh GUARDED"
linux=$(uml_kernel "$1")
page=$top_dir/docs/troubleshooting.md
need_busybox
scratch lines
for program in lines host; do
	cc -O2 -Wall -Wextra -Werror -static -o "$dir/$program" "$uml_dir/tests/$program.c"
done
programs=$top_dir/build/guests
make -s -C "$uml_dir/guests" OUT="$programs" "$programs/hostile"

cat >"$dir/init" <<INIT
#!$busybox sh
export HOSTILE_PIDS=1
$busybox mount -t proc proc /proc
$busybox sh $dir/script
$busybox cat /proc/stubguard
echo exit-status 0
$busybox poweroff -f
INIT
chmod +x "$dir/init"

# boot HOST COMMAND ARGUMENTS...: a guest that runs the command, with its console in $dir/log. HOST is a kind of host.c, or "real".
boot() {
	local host=$1 run=$linux
	echo "$2" >"$dir/script"
	shift 2
	if [ "$host" != real ]; then
		run=$dir/on-host
		printf '#!/bin/sh\nexec %q %q %q "$@"\n' "$dir/host" "$host" "$linux" >"$run"
		chmod +x "$run"
	fi
	status=0
	TIMEOUT=60 MEM=64 "$uml_dir/boot.sh" "$run" "$dir/init" "$@" "lines_of=$dir" >"$dir/log" 2>&1 || status=$?
}

# moved NAME...: of the counters that say who ended a stub, exactly these are not 0
moved() {
	local found
	found=$(sed -nE 's/^(killed_[a-z]+|exited|breaches|kills) [1-9][0-9]*$/\1/p' "$dir/log" | sort | paste -s -d ' ')
	[ "$found" = "$(printf '%s\n' "$@" | sort | paste -s -d ' ')" ] || { echo "# counters: $found"; return 1; }
}

# lost PROGRAM WHO: there is a line of a lost stub, and each has this program and WHO, and the pid of a guest process that
# has said its pid
lost() {
	local line pid
	says "^stubguard: stub [1-9][0-9]* of $1 \\([0-9]+\\) is lost: $2\$" || return 1
	while read -r line; do
		[[ $line =~ ^stubguard:\ stub\ [1-9][0-9]*\ of\ $1\ \(([0-9]+)\)\ is\ lost:\ $2$ ]] || { echo "# $line"; return 1; }
		pid=${BASH_REMATCH[1]}
		says "^pid $pid\$" || { echo "# no pid $pid"; return 1; }
	done < <(grep ' is lost: ' "$dir/log")
}

# once: one stub was lost, and each line that names a stub names that one
once() {
	[ "$(grep -c ' is lost: ' "$dir/log")" -eq 1 ] &&
		[ "$(sed -nE 's/^stubguard: .*\bstub ([0-9]+).*/\1/p' "$dir/log" | sort -u | wc -l)" -eq 1 ]
}

# documented: a table of the page has each line of the guard, with names in place of its values, and has its WHAT and VALUE
documented() {
	local line what value missing=0
	while read -r line; do
		if [[ $line =~ ^stub\ [0-9]+\ broke\ the\ protocol\ \(([a-z -]+)\):\ ([a-z ]+)\ -?[0-9] ]]; then
			what=${BASH_REMATCH[1]} value=${BASH_REMATCH[2]}
			if ! grep -qF "| \`$what\` |" "$page" || ! grep -qE "^\| [^|]*\`$value\`" "$page"; then
				echo "# not in the page: $what, $value"
				missing=1
			fi
			line="${line%% broke*} broke the protocol (WHAT): VALUE"
		fi
		line=$(sed -E "s/ of [^ ]+ \\([0-9]+\\)/ of COMM (PID)/; s/stub [0-9]+/stub PID/; s/(status|signal|charged|budget|errno) [0-9]+/\\1 N/g; s/err = -?[0-9]+/err = N/; s/after [0-9]+ \\(/after N (/
			s/^'[a-z]+=.*': must be a number .*/'pool=100': must be a number from 0 to 64/; s/^'[a-z=]*' is/'WORD' is/
			s/^([0-9.]+), mode [a-z]+.*/\\1, mode window/; s/^RLIMIT_NOFILE is [0-9]+, and each process needs [0-9]+/RLIMIT_NOFILE is N, and each process needs M/" <<<"$line")
		grep -qF -- "\`$line" "$page" || { echo "# not in the page: $line"; missing=1; }
	done < <(sed -n 's/^stubguard: //p' "$dir/log" | sort -u)
	return "$missing"
}

# check TEXT CONDITION...: all conditions hold, and the page has each line. A condition is a command in one word.
check() {
	local text=$1 condition r=0
	shift
	[ "$status" -eq 0 ] || r=1
	for condition; do eval "$condition" || r=1; done
	documented || r=1
	result "$r" "$text"
}

hostile=$programs/hostile
for mode in window notify; do
	boot real "$dir/lines protect 3" "stubguard=$mode"
	check "$mode, an honest program: nothing is lost" moved "! says ' is lost: '"

	boot real "$hostile munmap-stub" "stubguard=$mode"
	check "$mode, a call that no rule allows: the filter" "moved killed_filter" "lost hostile 'killed by the filter \\(SIGSYS\\)'"
done

# In notify mode each of these attacks ends one stub
boot real "$hostile forged-length" stubguard=notify
check "notify, a forged report: the protocol" "moved breaches kills killed_protocol" "lost hostile 'it broke the protocol'" once \
	"says 'stub [0-9]+ broke the protocol \\(error or batch length\\): calls done [0-9-]+\$'"

boot real "$hostile alarm-spin" stubguard=notify,tick=100,budget=200
check "notify, a stub that spins: the watchdog" "moved kills killed_watchdog" "lost hostile 'killed by the watchdog'" once \
	"says 'killed stub [0-9]+, which spins and .*: charged [0-9]+ ms, budget 200 ms\$'"

# Before it sleeps it tries calls, for which the filter kills stubs
boot real "$hostile alarm-sleep" stubguard=notify,tick=100,budget=200
check "notify, a stub that sleeps: the watchdog" "says '^kills 1\$'" "says '^killed_watchdog 1\$'" "says '^killed_(protocol|host|kernel) 0\$'" \
	"! says '^killed_(protocol|host|kernel) [1-9]'" "says 'of hostile \\([0-9]+\\) is lost: killed by the watchdog\$'" \
	"says 'killed stub [0-9]+, which sleeps and .*: charged [0-9]+ ms, budget 200 ms\$'"

# newest_stub: the youngest process of this guest's kernel. Stubs have no command line.
newest_stub() {
	local stat newest='' started=0 line field
	for stat in /proc/[0-9]*/stat; do
		read -r line <"$stat" || continue
		# The second field may have blanks
		read -ra field <<<"${line##*) }"
		[ "$(readlink "/proc/${field[1]}/exe")" = "$linux" ] || continue
		[ -z "$(tr -d '\0' <"${stat%stat}cmdline")" ] || continue
		grep -aqF "lines_of=$dir" "/proc/${field[1]}/cmdline" || continue
		[ "${field[19]}" -lt "$started" ] || started=${field[19]} newest=${stat//[!0-9]/}
	done 2>/dev/null
	printf '%s' "$newest"
}

for mode in window notify; do
	: >"$dir/log"
	# Without a pool the youngest stub is the program's
	(boot real "$dir/lines spin; true" "stubguard=$mode,pool=0" && exit "$status") &
	booted=$!
	while kill -0 "$booted" 2>/dev/null && ! says '^pid [0-9]+$'; do sleep 0.05; done
	stub=$(newest_stub)
	[ -z "$stub" ] || kill -KILL "$stub"
	status=0
	wait "$booted" || status=$?
	check "$mode, a stub that is killed on the host: the host" "moved killed_host" "lost lines 'killed by the host \\(signal 9\\)'" once \
		"says '^stubguard: stub $stub of lines '"
done

# The host refuses an mprotect of 77 pages, which only this program makes. In notify mode stubs make no mprotect.
boot "errno=1:10@1=$((77 * 4096))" "$dir/lines protect 77; true" stubguard=window
check "window, a call of a batch that the host refuses: the kernel" "moved kills killed_kernel" \
	"lost lines 'killed by the kernel \\(err = -1\\)'" once

# pairs: both lines of a stub are there, the library's and the kernel's
pairs() {
	local lost
	lost=$(sed -nE 's/^stubguard: stub ([0-9]+) of hostile .* is lost: it broke the protocol$/\1/p' "$dir/log")
	sed -nE 's/^stubguard: stub ([0-9]+) broke the protocol .*/\1/p' "$dir/log" | grep -qxF -- "$lost"
}

# Many stubs. The protocol does not end all of them: a guest can forge a failed batch, too
boot real "$hostile forged-park" stubguard=window
check "window, forged parks: the protocol, stub by stub" "says '^killed_protocol [1-9]'" "says '^killed_filter 0\$'" "says '^killed_host 0\$'" \
	"says '^killed_watchdog 0\$'" "says '^exited 0\$'" \
pairs

plan
