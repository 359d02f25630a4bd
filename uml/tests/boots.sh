#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# boots.sh GUARDED
#
# Boots a guarded kernel in each way that its boot parameters and its host can make it: what it says,
# and whether it then works. TAP.
set -euo pipefail

# shellcheck source=uml/common.sh
. "$(dirname "$0")/../common.sh"

[ $# -ge 1 ] || die "usage: boots.sh GUARDED"
linux=$1
busybox=$(command -v busybox) || die "busybox is missing: apt-get install busybox-static"
mkdir -p "$cache_dir"
dir=$(mktemp -d "$cache_dir/boots.XXXXXX")
trap 'rm -rf "$dir"' EXIT
cc -O2 -Wall -Wextra -Werror -o "$dir/host" "$uml_dir/tests/host.c"
for program in forks exceptions blocked; do
	cc -O2 -Wall -Wextra -Werror -static -o "$dir/$program" "$uml_dir/tests/$program.c"
done

# A guest that shows the guard's file and makes a few hundred processes.
cat >"$dir/init" <<INIT
#!$busybox sh
$busybox mount -t proc proc /proc
$busybox cat /proc/stubguard
i=0
while [ \$i -lt 200 ]; do $busybox true || echo lost; i=\$((i + 1)); done
echo "made \$i processes"
$busybox cat /proc/stubguard
echo exit-status 0
$busybox poweroff -f
INIT
chmod +x "$dir/init"

number=0 failed=0
ok() {
	number=$((number + 1))
	printf 'ok %d - %s\n' "$number" "$1"
}
not_ok() {
	number=$((number + 1))
	failed=$((failed + 1))
	printf 'not ok %d - %s\n' "$number" "$1"
	sed 's/^/# /' "$dir/log" | tail -n 25
}

# boot HOST ARGUMENTS...: one boot with its console in $dir/log; HOST is a kind of host.c, or "real".
boot() {
	local host=$1 run=$linux
	shift
	if [ "$host" != real ]; then
		printf '#!/bin/sh\nexec %q %q %q "$@"\n' "$dir/host" "$host" "$(realpath "$linux")" >"$dir/on-$host"
		chmod +x "$dir/on-$host"
		run=$dir/on-$host
	fi
	status=0
	TIMEOUT=60 "$uml_dir/boot.sh" "$run" "$dir/init" "$@" >"$dir/log" 2>&1 || status=$?
}

says() { grep -qE -- "$1" "$dir/log"; }
works() { [ "$status" -eq 0 ] && says '^made 200 processes$' && ! says '^lost$'; }

# result STATUS TEXT
result() {
	if [ "$1" -eq 0 ]; then ok "$2"; else not_ok "$2"; fi
}

# guards MODE: works in that mode, and kills nobody.
guards() { works && says "^mode $1\$" && says '^served [1-9]' && says '^kills 0$' && says '^breaches 0$'; }
# refuses TEXT: does not start, and says why.
refuses() { [ "$status" -ne 0 ] && says "$1" && says 'cannot guard userspace' && ! says '^made'; }
off() { works && says '^mode off$' && says '^served 0$'; }

boot real
{ guards window && says 'mode window, calls notify: .* lacks nothing'; } && r=0 || r=1
result "$r" "guarded: window mode, says what the host offers, serves, kills nobody"

boot real stubguard=calls=trap,pool=0,memory=pass
{ guards window && says 'mode window: .* lacks nothing' && says '^recycled 0$'; } && r=0 || r=1
result "$r" "stubguard=calls=trap,pool=0,memory=pass: without what makes it fast, and it says so"

# In a subshell: the limit cannot be taken back.
(ulimit -v 100000000 && boot real && guards window && says 'lacks limit') && r=0 || r=1
result "$r" "window, with an address-space limit of UML's own: guarded all the same"

boot real stubguard=notify
{ guards notify && says 'lacks nothing'; } && r=0 || r=1
result "$r" "stubguard=notify: that mode, and the same"

boot real stubguard=off
{ off && says 'stubguard: off: by stubguard=off'; } && r=0 || r=1
result "$r" "stubguard=off: UML as it was, and it says so"

boot real seccomp=off
off && r=0 || r=1
result "$r" "ptrace mode works in a guarded kernel"

for mode in window notify; do
	boot no-getfd stubguard=$mode
	refuses 'no listener: pidfd_getfd gives errno 1' && r=0 || r=1
	result "$r" "$mode, a host that lets nobody get the listener: refuses to start, and says why"

	boot no-getfd stubguard=$mode,besteffort
	{ works && says 'userspace is NOT confined' && says '^mode off$'; } && r=0 || r=1
	result "$r" "$mode, the same with besteffort: starts, and warns"

	boot busy stubguard=$mode
	{ [ "$status" -ne 0 ] && says 'a sandbox around this process has one already' && ! says '^made'; } && r=0 || r=1
	result "$r" "$mode, a sandbox with a listener: refuses to start, and says why"

	boot old stubguard=$mode
	{ guards $mode && says "mode $mode: .*lacks wait-killable, sync-wake-up"; } && r=0 || r=1
	result "$r" "$mode, an older host: guarded all the same"

	# UML itself needs it to make a stub.
	boot no-close-range stubguard=$mode
	{ [ "$status" -ne 0 ] && says 'SECCOMP userspace requested but not functional' && ! says '^made'; } && r=0 || r=1
	result "$r" "$mode, a host without close_range: UML has no seccomp mode there, and says so"
done

# Each address space needs two: some dozens of processes fit, the next one cannot be made.
cat >"$dir/init" <<INIT
#!$busybox sh
$busybox mount -t proc proc /proc
$dir/forks
echo exit-status 0
$busybox poweroff -f
INIT
for mode in window notify; do
	# In a subshell: the limit cannot be raised again.
	(ulimit -n 120 && boot real stubguard=$mode && [ "$status" -eq 0 ] &&
		says '^[1-9][0-9]* processes, then: Cannot allocate memory, then: a process$') && r=0 || r=1
	result "$r" "$mode, no fds left on the host: fork fails with ENOMEM, the guest lives on"

	# Before UML knows its pid: another CPU may take SIGCHLD, which is nobody's then. Without a guard UML hangs.
	NCPUS=2 boot mortal stubguard=$mode
	{ [ "$status" -eq 0 ] && says '^[1-9][0-9]* processes, then: Cannot allocate memory, then: a process$'; } && r=0 || r=1
	result "$r" "$mode, a stub dies as it starts: fork fails with ENOMEM, the guest lives on"
done

# What is kept for later is given back first; then somebody has to go, and nobody else does.
cat >"$dir/init" <<INIT
#!$busybox sh
$busybox mount -t proc proc /proc
echo 1 >/proc/sys/vm/overcommit_memory
i=0
while [ \$i -lt 200 ]; do
	[ \$((i % 50)) -ne 0 ] || { $busybox dd if=/dev/zero of=/dev/null bs=60M count=1; echo "hog \$?"; }
	$busybox true || echo lost
	i=\$((i + 1))
done
echo "made \$i processes"
$busybox cat /proc/stubguard
echo exit-status 0
$busybox poweroff -f
INIT
for mode in window notify; do
	MEM=64 boot real stubguard=$mode
	{ guards $mode && [ "$(grep -c '^hog 137$' "$dir/log")" = 4 ]; } && r=0 || r=1
	result "$r" "$mode, no memory left in the guest: who wants too much is killed, nobody else"
done

# What a process is told of its exceptions, and what others are told of its calls. All in one boot.
cat >"$dir/init" <<INIT
#!$busybox sh
$busybox mount -t proc proc /proc
$dir/exceptions && $dir/blocked && echo all as on the host
$busybox cat /proc/stubguard
echo exit-status 0
$busybox poweroff -f
INIT
for arguments in stubguard=window stubguard=window,calls=trap stubguard=notify stubguard=off seccomp=off; do
	boot real "$arguments"
	{ [ "$status" -eq 0 ] && says '^all as on the host$' && says '^kills 0$'; } && r=0 || r=1
	result "$r" "$arguments: each exception is the process's own signal, and a blocked call can be looked at"
done

# zombies PID: how many stubs of that process have ended and were not reaped
zombies() {
	local stat n=0 pid comm state parent
	for stat in /proc/[0-9]*/stat; do
		read -r pid comm state parent _ 2>/dev/null <"$stat" || continue
		[ "$comm $state $parent" != "(uml-userspace) Z $1" ] || n=$((n + 1))
	done
	printf '%d' "$n"
}

# A reboot runs another kernel in the same process: what the first one kept for later has ended.
mkdir "$dir/host-dir"
cat >"$dir/init" <<INIT
#!$busybox sh
$busybox mount -t proc proc /proc
$busybox mount -t hostfs -o $dir/host-dir none /mnt
if [ ! -e /mnt/booted ]; then
	i=0
	while [ \$i -lt 12 ]; do $busybox sleep 0.2 & i=\$((i + 1)); done
	wait
	echo >/mnt/booted
	$busybox reboot -f
fi
echo >/mnt/again
while [ ! -e /mnt/counted ]; do $busybox usleep 10000; done
echo exit-status 0
$busybox poweroff -f
INIT
for mode in window notify; do
	rm -f "$dir"/host-dir/*
	boot real "stubguard=$mode" "boots_dir=$dir" &
	while [ ! -e "$dir/host-dir/again" ] && kill -0 $! 2>/dev/null; do sleep 0.05; done
	left=0
	for pid in $(pgrep -f "boots_dir=$dir"); do left=$((left + $(zombies "$pid"))); done
	: >"$dir/host-dir/counted"
	wait $! || true
	{ says '^exit-status 0$' && [ -e "$dir/host-dir/again" ] && [ "$left" -eq 0 ]; } && r=0 || r=1
	result "$r" "$mode, after a reboot of the guest: $left stubs of the kernel before are zombies"
done

printf '1..%d\n' "$number"
[ "$failed" -eq 0 ]
