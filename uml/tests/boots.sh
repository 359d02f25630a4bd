#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# boots.sh GUARDED
#
# Boots a guarded kernel with its boot parameters and on hosts that lack something, and checks what it
# says and whether it works. TAP.
set -euo pipefail

# shellcheck source=uml/common.sh
. "$(dirname "$0")/../common.sh"

[ $# -ge 1 ] || die "usage: boots.sh GUARDED"
linux=$1
need_busybox
scratch boots
cc -O2 -Wall -Wextra -Werror -o "$dir/host" "$uml_dir/tests/host.c"
for program in forks exceptions blocked answers; do
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

# boot HOST ARGUMENTS...: one boot with its console in $dir/log. HOST is kinds of host.c, separated by blanks, or "real".
boot() {
	local host=$1 run=$linux kind
	shift
	if [ "$host" != real ]; then
		run=$dir/on-host
		{
			printf '#!/bin/sh\nexec'
			for kind in $host; do printf ' %q %q' "$dir/host" "$kind"; done
			printf ' %q "$@"\n' "$(realpath "$linux")"
		} >"$run"
		chmod +x "$run"
	fi
	status=0
	TIMEOUT=60 "$uml_dir/boot.sh" "$run" "$dir/init" "$@" >"$dir/log" 2>&1 || status=$?
}

works() { [ "$status" -eq 0 ] && says '^made 200 processes$' && ! says '^lost$'; }

# guards MODE: works in that mode, and kills no stub
guards() { works && says "^mode $1\$" && says '^served [1-9]' && says '^kills 0$' && says '^breaches 0$'; }
# ends NUMBER: the guest has given no exit status, and the kernel's is NUMBER
ends() { [ "$status" -eq 125 ] && says "\\(the kernel: $1\\)\$"; }
# refuses TEXT: does not start, and says why, without a panic
refuses() { ends 1 && says "$1" && says 'cannot guard userspace' && ! says 'Kernel panic' && ! says '^made'; }
# refuses_call NAME ERRNO: ends before anything else, since the host refuses that call
refuses_call() { ends 1 && says "^stubguard: the host refuses $1 \\(errno $2\\), which UML needs for " && ! says 'Linux version' && ! says '^made'; }
off() { works && says '^mode off$' && says '^served 0$'; }

boot real
{ guards window && says 'mode window, calls notify: .* lacks nothing'; } && r=0 || r=1
result "$r" "guarded: window mode, says what the host offers, serves, kills nobody"

boot real stubguard=calls=trap,pool=0
{ guards window && says 'mode window: .* lacks nothing' && says '^recycled 0$'; } && r=0 || r=1
result "$r" "stubguard=calls=trap,pool=0: without what makes it fast, and it says so"

# In a subshell: the limit cannot be raised again.
(ulimit -v 100000000 && boot real && guards window && says 'lacks nothing') && r=0 || r=1
result "$r" "window, with an address-space limit of UML's own: guarded all the same"

boot real stubguard=notify
{ guards notify && says 'lacks nothing'; } && r=0 || r=1
result "$r" "stubguard=notify: that mode, and the same"

boot real stubguard=off
{ off && says 'stubguard: off: by stubguard=off'; } && r=0 || r=1
result "$r" "stubguard=off: UML as it was, and it says so"

# Such a kernel has no SMP: here the library alone is told of it.
if ldd "$linux" 2>/dev/null | grep libstubguard >/dev/null; then
	cc -O2 -Wall -Wextra -Werror -shared -fPIC -o "$dir/travel.so" "$uml_dir/tests/travel.c" -ldl
	printf '#!/bin/sh\nLD_PRELOAD=%q exec %q "$@"\n' "$dir/travel.so" "$(realpath "$linux")" >"$dir/travelling"
	chmod +x "$dir/travelling"
	as_built=$linux
	for mode in window notify; do
		linux=$dir/travelling
		boot real "stubguard=$mode"
		{ guards "$mode" && says '^stubguard: no watchdog in time-travel mode$'; } && r=0 || r=1
		result "$r" "$mode, time-travel mode: guarded without a watchdog, and it says so"
	done
	linux=$as_built
else
	result 0 "time-travel mode # SKIP the library is a part of this kernel"
fi

boot real seccomp=off
off && r=0 || r=1
result "$r" "ptrace mode works in a guarded kernel"

boot no-getfd stubguard=window
guards window && r=0 || r=1
result "$r" "window, a host that lets nobody get another's fd: guarded, as no listener has to be fetched"

boot no-getfd stubguard=notify
{ refuses_call pidfd_getfd 1 && says 'stubguard=window does without'; } && r=0 || r=1
result "$r" "notify, a host that lets nobody get the listener: refuses to start, and says why"

boot no-getfd stubguard=notify,besteffort
{ works && says 'userspace is NOT confined' && says '^mode off$'; } && r=0 || r=1
result "$r" "notify, the same with besteffort: starts, and warns"

for mode in window notify; do
	boot ignoring stubguard=$mode
	{ guards $mode && says 'lacks nothing'; } && r=0 || r=1
	result "$r" "$mode, started by who ignores all signals: guarded all the same"

	boot busy stubguard=$mode
	{ [ "$status" -ne 0 ] && says 'a sandbox around this process has one already' && ! says '^made'; } && r=0 || r=1
	result "$r" "$mode, a sandbox with a listener: refuses to start, and says why"

	boot old stubguard=$mode
	{ guards $mode && says "mode $mode.*: the host .*lacks wait-killable, sync-wake-up"; } && r=0 || r=1
	result "$r" "$mode, an older host: guarded all the same"

	boot 5.10 stubguard=$mode
	{ guards $mode && says "mode $mode.*: the host .*lacks wait-killable, sync-wake-up, dispatch, unfiltered\$"; } && r=0 || r=1
	result "$r" "$mode, a host of 2020, whose close_range knows no CLOEXEC: guarded all the same"

	# UML itself needs it to make a stub.
	boot no-close-range stubguard=$mode
	refuses_call close_range 38 && r=0 || r=1
	result "$r" "$mode, a host without close_range: refuses to start, and says why"

	# The rehearsal finds a call that is refused for its arguments only, or in a stub only.
	boot errno=1:62@1=14 "stubguard=$mode"
	refuses 'stubguard: rehearsal: interrupt a guest: kill gives errno 1' && r=0 || r=1
	result "$r" "$mode, no SIGALRM may be sent: refuses to start, and says why"

	boot errno=1:424@1=9 "stubguard=$mode"
	refuses 'stubguard: rehearsal: look at a stub and kill it, as the watchdog does: errno 1' && r=0 || r=1
	result "$r" "$mode, no SIGKILL may be sent through a pidfd: refuses to start, and says why"

	boot errno=13:322@4=4096 "stubguard=$mode"
	refuses 'stubguard: rehearsal: .*(start a stub|run a guest)' && r=0 || r=1
	result "$r" "$mode, no program may be run by its fd: refuses to start, and says why"
done

boot errno=13:322@4=4096
refuses 'stubguard: no new stub: execveat gives errno 13' && r=0 || r=1
result "$r" "window, the same: it names the call"

# 1 is the number of the memory's fd in a stub.
boot errno=1:9@4=1
refuses 'stubguard: rehearsal: map memory, and run a guest up to a system call: mmap gives errno 1' && r=0 || r=1
result "$r" "window, a stub may not map: refuses to start, and says why"

boot errno=1:10@2=5
refuses 'stubguard: rehearsal: make memory read-only: mprotect gives errno 1' && r=0 || r=1
result "$r" "window, a stub may not protect: refuses to start, and says why"

# What is refused in the second stub alone, a tracer refuses: it counts. 9 is mmap, of the memory's fd; 11 is munmap of all
# that a stub has: in its first batch, in its wash, and in its next life.
if "$dir/host" once=1:1:9@4=1 true; then
	boot once=2:1:11@0=0
	refuses 'stubguard: rehearsal: use a stub again: errno 10: stubguard=pool=0 does without' && r=0 || r=1
	result "$r" "window, a stub cannot be washed: refuses to start, and says why"

	boot once=2:1:9@4=1
	refuses 'stubguard: rehearsal: run a guest in the next stub: mmap gives errno 1' && r=0 || r=1
	result "$r" "window, the next stub may not map: refuses to start, and says why"
else
	result 0 "window, what the second stub may not do # SKIP no tracer can be had here"
fi

boot errno=38:231,62,202 stubguard=besteffort
{ [ "$status" -ne 0 ] && says '^stubguard: the host refuses futex \(errno 38\)' && says 'refuses kill \(errno 38\)' && says 'refuses exit_group, ' && ! says '^made'; } && r=0 || r=1
result "$r" "besteffort, what UML itself needs is refused: refuses to start, and names all of it"

boot errno=1:317 seccomp=auto
{ off && says '^stubguard: the host refuses seccomp \(errno 1\)' && says 'stubguard: off: seccomp mode is not used'; } && r=0 || r=1
result "$r" "seccomp=auto, the host refuses seccomp(): ptrace mode, and it says why"

boot errno=1:283,286 stubguard=besteffort
{ works && says 'stubguard: the host refuses timerfd_create' && says 'userspace is NOT confined' && says '^mode off$'; } && r=0 || r=1
result "$r" "besteffort, what the guard alone needs is refused: starts without it, and warns"

# Each option that takes a number: the line names a bad value and the bounds.
for option in "tick=abc 1 1800000" "tick=0 1 1800000" "tick= 1 1800000" "tick=1800001 1 1800000" "tick=1e3 1 1800000" \
	"budget=1 2 3600000" "budget=-5 2 3600000" "budget=3600001 2 3600000" "budget=4294967296800 2 3600000" \
	"pool=65 0 64" "pool=100 0 64" "pool=+1 0 64" "pool=18446744073709551617 0 64" "mappings=31 32 2147483647" "delay=1000001 0 1000000" "mappings=abc 32 2147483647"; do
	read -r word from to <<<"$option"
	boot real "stubguard=notify,$word,window"
	{ [ "$status" -ne 0 ] && says "^stubguard: '${word//+/\\+}': must be a number from $from to $to\$" && ! says '^made'; } && r=0 || r=1
	result "$r" "stubguard=$word: refuses to start, and says what it takes"
done

boot real stubguard=budget=399,tick=200
{ refuses "stubguard: 'budget=399': must be two ticks at least, with 'tick=200' a number from 400 to 3600000"; } && r=0 || r=1
result "$r" "stubguard=budget=399,tick=200: refuses to start, and says what it takes"

for word in windwo calls=tarp pools=3 tick; do
	boot real "stubguard=$word"
	{ [ "$status" -ne 0 ] && says "^stubguard: '$word' is not known" && ! says '^made'; } && r=0 || r=1
	result "$r" "stubguard=$word: refuses to start, and says why"
done

# In two parameters, and the other way round
boot real stubguard=budget=4000 stubguard=tick=2000,pool=64
guards window && r=0 || r=1
result "$r" "a budget of just two ticks, and the largest pool: guarded"

# The folder of boot.sh's umid exists already. It may be another UML's: UML checks that only after it has read its options.
mkdir -p "$dir/uml_dir/guest"
: >"$dir/uml_dir/guest/pid"
boot real stubguard=budget=399,tick=200 "uml_dir=$dir/uml_dir"
{ refuses "must be two ticks at least" && [ -e "$dir/uml_dir/guest/pid" ]; } && r=0 || r=1
result "$r" "a refusal before UML has its folder: that of another UML stays"

boot real uml_dir=/proc/none
{ guards window && says "Failed to mkdir '/proc/none/'"; } && r=0 || r=1
result "$r" "no folder can be made in uml_dir: UML says so, and works without"

# UML is process 1 of a PID namespace, as in a container without an init: the host drops signals that it sends to itself.
alone=(unshare --pid --fork --kill-child --mount-proc)
[ "$(id -u)" -eq 0 ] || alone+=(--user --map-root-user)
printf '#!/bin/sh\nexec %s %q "$@"\n' "${alone[*]}" "$(realpath "$linux")" >"$dir/process-1"
printf '#!/bin/sh\necho the first process of the guest ends\n' >"$dir/init"
chmod +x "$dir/process-1"
as=("$linux")
"${alone[@]}" true && as+=("$dir/process-1") || echo "# no PID namespace can be had here"
for run in "${as[@]}"; do
	linux=$run boot real
	{ ends 134 && says '^the first process of the guest ends$' && says 'Kernel panic - not syncing: Attempted to kill init!'; } && r=0 || r=1
	result "$r" "as ${run##*/}, a panic: says why, and ends as by SIGABRT"

	linux=$run boot errno=1:62@1=14
	refuses 'stubguard: rehearsal: interrupt a guest: kill gives errno 1' && r=0 || r=1
	result "$r" "as ${run##*/}, no SIGALRM may be sent: refuses to start, and ends with status 1"
done

mkdir "$dir/many"
(cd "$dir/many" && seq 250 | xargs touch)
# Each mm needs one host fd, in notify mode two: some dozens of processes fit, then fork fails.
cat >"$dir/init" <<INIT
#!$busybox sh
$busybox mount -t proc proc /proc
$dir/forks \$($busybox cat $dir/files)
echo exit-status 0
$busybox poweroff -f
INIT
for mode in window notify; do
	: >"$dir/files"
	# In a subshell: the limit cannot be raised again.
	(ulimit -n 120 && boot real stubguard=$mode && [ "$status" -eq 0 ] &&
		says '^stubguard: RLIMIT_NOFILE is 120, and each process needs [12]$' &&
		says '^[1-9][0-9]* processes, then: Cannot allocate memory, then: a process$') && r=0 || r=1
	result "$r" "$mode, no fds left on the host: fork fails with ENOMEM, the guest lives on"

	# It dies before UML knows its pid: if another CPU handles the SIGCHLD, it finds no mm with that pid. Unguarded UML
	# hangs. The host kills a process that writes to an fd above 200. A new stub does if the guest has that many host
	# files open.
	echo "$dir/many 250" >"$dir/files"
	NCPUS=2 boot mortal stubguard=$mode
	{ [ "$status" -eq 0 ] && says '^[1-9][0-9]* processes, then: Cannot allocate memory, then: a process$'; } && r=0 || r=1
	result "$r" "$mode, a stub dies as it starts: fork fails with ENOMEM, the guest lives on"
done

# The pool is emptied first. Then the process that wants too much memory is killed, and no other.
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

# What a process sees of its exceptions, and what others see of its calls. All in one boot.
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

# Beneath an outer filter: only the guest's kernel decides what the guest's calls return.
cat >"$dir/init" <<INIT
#!$busybox sh
$busybox mount -t proc proc /proc
$dir/answers /mnt
$busybox cat /proc/stubguard
echo exit-status 0
$busybox poweroff -f
INIT
boot real
{ [ "$status" -eq 0 ] && says '^mount: 0, errno 0$' && says '^setuid: -1, errno 1$'; } && r=0 || r=1
result "$r" "no filter around: guest root can mount, and give up being root"
answers() { grep -E '^(call [0-9]+|mount|setuid): ' "$dir/log"; }
answers >"$dir/expected" || true

# Each action of a filter gets calls of its own. errno=0 fakes success, as a fakeroot does.
declare -A answered=()
harmless=(errno=1 errno=0 trap trace log) deadly=(kill-thread kill)
actions=("${harmless[@]}" "${deadly[@]}")
i=0
for nr in $("$dir/answers" --list | tr , ' '); do
	action=${actions[i % ${#actions[@]}]}
	case $nr in
	165) action=errno=1 ;;		 # mount
	105 | 106 | 116) action=errno=0 ;; # setuid, setgid, setgroups
	*) i=$((i + 1)) ;;
	esac
	answered[$action]+=,$nr
done
around() {
	local action
	for action; do printf '%s:%s ' "$action" "${answered[$action]#,}"; done
}
for action in "${deadly[@]}"; do
	for nr in ${answered[$action]//,/ }; do printf 's/^call %d: .*/call %d: killed by signal 11/\n' "$nr" "$nr"; done
done >"$dir/die"
sed -f "$dir/die" "$dir/expected" >"$dir/expected-dying"

# as_outside: the same results as without the filter, and the guard has killed and suspected no stub
as_outside() { [ "$status" -eq 0 ] && answers | cmp -s - "$dir/expected" && says '^kills 0$' && says '^breaches 0$'; }
# they_die: a process that makes a deadly call dies; all other results are as without the filter
they_die() { [ "$status" -eq 0 ] && answers | cmp -s - "$dir/expected-dying" && says '^breaches 0$'; }
why='calls trap, not notify \(an outer seccomp filter would answer them\): the host .* lacks .*unfiltered'

boot "$(around "${actions[@]}")"
{ as_outside && says "mode window, $why"; } && r=0 || r=1
result "$r" "window, filters around with ${actions[*]}: results as without, calls trap, and it says why"

boot "no-dispatch $(around "${harmless[@]}")"
{ as_outside && says "mode window, $why" && says 'lacks .*dispatch'; } && r=0 || r=1
result "$r" "window, no syscall user dispatch, filters around with ${harmless[*]}: results as without"

boot "no-dispatch $(around "${deadly[@]}")"
{ they_die && says "mode window, $why" && says 'lacks .*dispatch'; } && r=0 || r=1
result "$r" "window, no syscall user dispatch, filters around with ${deadly[*]}: who makes these calls dies, nobody else"

boot "$(around "${harmless[@]}")" stubguard=notify
as_outside && r=0 || r=1
result "$r" "notify, filters around with ${harmless[*]}: results as without"

boot "$(around "${deadly[@]}")" stubguard=notify
they_die && r=0 || r=1
result "$r" "notify, filters around with ${deadly[*]}: who makes these calls dies, nobody else"

boot "$(around errno=1 errno=0)" stubguard=calls=notify
{ as_outside && says "mode window, $why"; } && r=0 || r=1
result "$r" "calls=notify beneath a filter: calls trap all the same, and it says why"

boot "$(around "${actions[@]}")" stubguard=calls=trap,pool=0
{ as_outside && says 'mode window: the host .* lacks unfiltered$'; } && r=0 || r=1
result "$r" "calls=trap,pool=0 beneath filters: results as without"

# A stub parks by getppid: our filter's notification outranks TRACE.
boot trace:110
{ as_outside && says "mode window, $why"; } && r=0 || r=1
result "$r" "window, a filter around says trace to the stub's own call: it parks as without"

# Without a pool each stub ends with its mm. systemd's filter kills a process that makes a call which it does not know.
for profile in docker podman systemd; do
	boot $profile stubguard=pool=0
	{ as_outside && says "mode window, $why"; } && r=0 || r=1
	result "$r" "window, beneath what $profile refuses by default: results as without"
done

boot podman stubguard=notify
as_outside && r=0 || r=1
result "$r" "notify, beneath what podman refuses by default: results as without"

boot docker stubguard=notify
refuses_call pidfd_getfd 1 && r=0 || r=1
result "$r" "notify, beneath what Docker refuses by default: refuses to start, and says why"

# stubs PID STATES: the stubs of that kernel that are in one of these states
stubs() {
	local stat pid comm state parent
	for stat in /proc/[0-9]*/stat; do
		read -r pid comm state parent _ 2>/dev/null <"$stat" || continue
		[ "$comm $parent" != "(uml-userspace) $1" ] || case $state in [$2]) printf '%d\n' "$pid" ;; esac
	done
}

# The fds of a stub. The guest starts no process while the test looks.
mkdir "$dir/fds-dir"
cat >"$dir/init" <<INIT
#!$busybox sh
$busybox mount -t proc proc /proc
$busybox mount -t hostfs -o $dir/fds-dir none /mnt
$busybox sleep 1000 &
$busybox true
echo >/mnt/ready
while [ ! -e /mnt/seen ]; do :; done
echo exit-status 0
$busybox poweroff -f
INIT
for row in "real window 0 1" "5.10 window 0 1"; do
	read -r host mode expected <<<"$row"
	rm -f "$dir"/fds-dir/*
	boot "$host" "stubguard=$mode" "boots_fds=$dir" &
	while [ ! -e "$dir/fds-dir/ready" ] && kill -0 $! 2>/dev/null; do sleep 0.05; done
	seen=0 fds=
	for pid in $(pgrep -f "boots_fds=$dir"); do
		for stub in $(stubs "$pid" '!Z'); do
			fds=$(find "/proc/$stub/fd" -mindepth 1 -printf '%f\n' | sort -n | paste -s -d ' ')
			seen=$((seen + 1))
			[ "$fds" = "$expected" ] || break 2
		done
	done
	: >"$dir/fds-dir/seen"
	wait $! || true
	{ [ "$seen" -ge 2 ] && [ "$fds" = "$expected" ] && says '^exit-status 0$'; } && r=0 || r=1
	result "$r" "$mode, host $host: each of $seen stubs has the fds $expected, the last one: $fds"
done

# A reboot runs another kernel in the same process: the first one's pool must have ended.
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
	for pid in $(pgrep -f "boots_dir=$dir"); do left=$((left + $(stubs "$pid" Z | wc -l))); done
	: >"$dir/host-dir/counted"
	wait $! || true
	{ says '^exit-status 0$' && [ -e "$dir/host-dir/again" ] && [ "$left" -eq 0 ]; } && r=0 || r=1
	result "$r" "$mode, after a reboot of the guest: $left stubs of the kernel before are zombies"
done

plan
