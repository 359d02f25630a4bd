#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# denied.sh GUARDED
#
# Denies UML one host system call at a time from its start on, by a seccomp filter around it (host.c). UML must run its
# guest as without the filter, or end before the first guest process and name the call. It must not end or hang later. TAP.
#
# The table below says what must come of each call. docs/kernel-features.md shows it.
#
# MODES: of window and notify (both). ERRNOS: the errors of a denied call, of EPERM, EACCES and ENOSYS (EPERM). CALLS: calls to
# deny (all).
set -euo pipefail

# shellcheck source=uml/common.sh
. "$(dirname "$0")/../common.sh"

[ $# -eq 1 ] || die "usage: denied.sh GUARDED"

# A UML kernel whose getpid() fails may signal process -1, which is every process. So it runs in a PID namespace of its own.
if [ -z "${DENIED_ALONE:-}" ]; then
	export DENIED_ALONE=1
	user=()
	[ "$(id -u)" -eq 0 ] || user=(--user --map-root-user)
	alone=(unshare "${user[@]}" --pid --fork --kill-child --mount-proc)
	if ! "${alone[@]}" true; then
		echo "1..0 # SKIP no PID namespace can be had here"
		exit 0
	fi
	exec "${alone[@]}" "$0" "$@"
fi

linux=$(realpath "$1")
need_busybox
scratch denied
cc -O2 -Wall -Wextra -Werror -o "$dir/host" "$uml_dir/tests/host.c"

# Processes, a pipe, a timer, host files, memory that a fork shares, and a process that must be interrupted.
cat >"$dir/init" <<INIT
#!$busybox sh
echo a guest runs
$busybox mount -t proc proc /proc
i=0
while [ \$i -lt 20 ]; do $busybox true || echo lost; i=\$((i + 1)); done
[ "\$(echo 1 2 3 | $busybox sed s/2/4/ | $busybox tr 1 0)" = "0 4 3" ] && echo the pipe is right
$busybox usleep 20000 && echo the timer is right
$busybox cmp $busybox $busybox && [ "\$($busybox ls $dir/init)" = $dir/init ] && echo the files are right
$busybox sh -c 'while :; do :; done' &
$busybox true
$busybox kill -9 \$!
wait \$!
echo the interruption is right: \$?
$busybox cat /proc/stubguard
echo exit-status 0
$busybox poweroff -f
INIT
chmod +x "$dir/init"


# What must come of it in window and in notify mode:
#   runs	the guest runs as without the filter
#   named	UML names the call, and ends before the first guest process
#   start	it ends sooner: the C library, its loader or arch/um's main() prints the text that follows (a regular expression)
# ENOSYS=..., EACCES=...: where that error makes a difference. cpus=2: UML makes the call for several CPUs only.
table() {
	cat <<-'TABLE'
	access             named  named
	arch_prctl         start  start  cannot.set.%fs.base
	brk                named  named
	clock_nanosleep    runs   runs
	clone              named  named
	clone3             named  named  ENOSYS=runs
	close              start  start  cannot.close.file.descriptor
	close_range        named  named
	dup2               named  named
	dup3               named  runs
	epoll_create       named  named
	epoll_ctl          named  named
	epoll_wait         named  named
	execve             start  start  Operation.not.permitted|Permission.denied|Function.not.implemented
	execveat           named  named
	exit               named  named
	exit_group         named  named
	fcntl              named  named
	fstat              named  named
	fstatfs            named  named
	futex              named  named
	getcwd             runs   runs
	getdents64         runs   runs
	getpid             named  named
	getppid            named  runs
	getrandom          runs   runs
	gettid             named  named
	ioctl              named  named
	kill               named  named
	lseek              named  named
	madvise            runs   runs
	memfd_create       runs   runs
	mkdir              runs   runs
	mmap               start  start  (the.kernel:.139)
	mprotect           start  start  cannot.apply.additional.memory.protection
	munmap             named  named
	newfstatat         start  start  cannot.stat.shared.object
	openat             start  start  cannot.open.shared.object
	personality        runs   runs
	pidfd_getfd        runs   named
	pidfd_open         named  named
	pidfd_send_signal  named  named
	pipe2              named  named
	poll               named  named
	prctl              named  named
	pread64            start  start  cannot.read.file.data
	prlimit64          start  start  ^getrlimit:
	ptrace             runs   runs
	read               start  start  cannot.read.file.data
	readlink           start  start  ^readlink.failure:
	recvmsg            runs   named
	restart_syscall    runs   runs
	rmdir              runs   runs
	rseq               runs   runs
	rt_sigaction       start  start  failed.to.install.handler
	rt_sigprocmask     named  named
	rt_sigreturn       named  named
	rt_tgsigqueueinfo  named  named  cpus=2
	seccomp            named  named
	sendmsg            runs   named
	set_robust_list    runs   runs
	set_tid_address    runs   runs
	setsid             runs   runs
	sigaltstack        named  named
	signalfd4          named  named
	socketpair         runs   named
	statfs             runs   runs
	statx              named  named  ENOSYS=runs
	tgkill             named  named
	timer_create       named  named
	timer_settime      named  named
	timerfd_create     named  named
	timerfd_settime    named  named
	uname              runs   runs
	unlink             runs   runs
	wait4              named  named
	waitid             named  named
	write              start  start  (the.kernel:.1)
	TABLE
}

# outcome NAME NUMBER MODE ERRNO TEXT: boots under such a filter, and sets $outcome
outcome() {
	local status=0 line
	printf '#!/bin/sh\nexec %q errno=%d:%d %q "$@"\n' "$dir/host" "$4" "$2" "$linux" >"$dir/on-host"
	chmod +x "$dir/on-host"
	TIMEOUT=15 MEM=128 "$uml_dir/boot.sh" "$dir/on-host" "$dir/init" "stubguard=$3" >"$dir/log" 2>&1 || status=$?
	if [ "$status" -eq 0 ]; then
		outcome=runs
		for line in 'the pipe is right' 'the timer is right' 'the files are right' 'the interruption is right: 137' 'kills 0' 'breaches 0'; do
			says "^$line\$" || outcome="runs, but not: $line"
		done
		! says '^lost$' || outcome="runs, but a process is lost"
	elif [ "$status" -eq 124 ]; then
		outcome=hangs
	elif says '^a guest runs'; then
		outcome="ends after the first guest process"
	elif says "stubguard: (the host refuses $1( \\(errno $4\\))?, which UML needs for |rehearsal: .*: $1 gives errno $4:)"; then
		outcome=named
	elif [ -n "$5" ] && says "$5"; then
		outcome=start
	else
		outcome="ends without a word"
	fi
}

cc -E -dM -include asm/unistd.h -x c /dev/null | sed -n 's/^#define __NR_\([a-z0-9_]*\) \([0-9]*\)$/\1 \2/p' >"$dir/numbers"
number() { awk -v name="$1" '$1 == name { print $2 }' "$dir/numbers"; }

errno=([1]=EPERM [13]=EACCES [38]=ENOSYS)
for mode in ${MODES:-window notify}; do
	for error in ${ERRNOS:-EPERM}; do
		for i in "${!errno[@]}"; do [ "${errno[i]}" != "$error" ] || answer=$i; done
		while read -r name window notify rest; do
			case " ${CALLS-$name} " in *" $name "*) ;; *) continue ;; esac
			cpus=1 text=
			[ "$mode" = window ] && expected=$window || expected=$notify
			for word in $rest; do
				case $word in
				"$error="*) expected=${word#*=} ;;
				cpus=*) cpus=${word#*=} ;;
				E*=*) ;;
				*) text=$word ;;
				esac
			done
			NCPUS=$cpus outcome "$name" "$(number "$name")" "$mode" "$answer" "$text"
			[ "$outcome" = "$expected" ] && r=0 || r=1
			result "$r" "$mode, $name answers $error: $outcome"
		done < <(table)
	done
done

plan
