#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# boot.sh LINUX INIT-SCRIPT [KERNEL ARGUMENTS...]
#
# Boots one guest and waits for its end. Its root file system is the host's, read-only. INIT-SCRIPT, a
# program of the host, is its first process; it mounts /proc and a tmpfs where it needs them. The
# console goes to stdout. The script ends the guest like this:
#
#	echo exit-status 0; poweroff -f
#
# Returns the number of the last exit-status line (0..123), 124 when the time was up, 125 when the guest
# ended otherwise, by a panic for example.
#
# TIMEOUT: seconds (60) that the guest may compute or sleep; waiting for a CPU of the host does not count. MEM: the
# guest's memory in MiB (512). NCPUS: its CPUs (1).
set -euo pipefail

# shellcheck source=uml/common.sh
. "$(dirname "$0")/common.sh"

[ $# -ge 2 ] || die "usage: boot.sh LINUX INIT-SCRIPT [KERNEL ARGUMENTS...]"
linux=$(uml_kernel "$1")
init=$(realpath -e -- "$2" 2>/dev/null || true)
[ -x "${init:-/dev/null}" ] || die "$2 is not a program: the guest needs one to run"
shift 2
limit=${TIMEOUT:-60} mem=${MEM:-512}

dir=$(mktemp -d)
guest='' timer='' reader=''
end_processes() {
	local p
	# Disowned, so that bash does not report that they were killed.
	for p in $guest $timer; do
		disown "$p" || true
	done
	[ -z "$guest" ] || kill -KILL -- "-$guest" || true
	[ -z "$timer" ] || kill -KILL -- "-$timer" || true
	# The console ends when all processes of the guest have ended, and then the reader ends.
	[ -z "$reader" ] || wait "$reader" || true
	guest='' timer='' reader=''
} 2>/dev/null
trap 'trap "" INT TERM HUP; end_processes; rm -rf "$dir"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# A kernel that panics aborts: no core file of it.
ulimit -c 0

# The script's path may have blanks, and a kernel parameter ends at a blank.
ln -s "$init" "$dir/init"

# The guest's memory is a file, best in /dev/shm. In containers that is often too small, and a
# guest for which it has no page left dies of SIGBUS.
if [ "$(df -m --output=avail /dev/shm 2>/dev/null | tail -n 1)" -ge "$mem" ] 2>/dev/null; then
	export TMPDIR=/dev/shm
fi

mkfifo "$dir/console"
sed -u 's/\r*$//' <"$dir/console" | tee "$dir/log" &
reader=$!
# With job control the guest is a process group, with the number of its first process, as after UML's
# own setsid(). So one kill ends all of it. (timeout(1) cannot do that: the guest leaves its group.)
set -m
"$linux" "mem=${mem}M" seccomp=on "ncpus=${NCPUS:-1}" "uml_dir=$dir/" umid=guest \
	rootfstype=hostfs rootflags=/ ro "init=$dir/init" con=null con0=fd:0,fd:1 "$@" \
	</dev/null >"$dir/console" 2>&1 &
guest=$!
# Wait for the guest alone: bash's `wait -n` can miss one of two processes that end at once.
{
	own_time "$guest" "$limit" || {
		: >"$dir/late"
		kill -KILL -- "-$guest"
	}
} &
timer=$!
set +m
status=0
{ wait "$guest" || status=$?; } 2>/dev/null
late=
[ "$status" -ne 137 ] || [ ! -e "$dir/late" ] || late=1
end_processes

said=$(sed -n 's/^exit-status \([0-9]\{1,3\}\)$/\1/p' "$dir/log" | tail -n 1)
if [ -n "$late" ]; then
	printf '%s: the guest was still running after %s s\n' "${0##*/}" "$limit" >&2
	exit 124
fi
if [ -z "$said" ] || [ "$said" -gt 123 ]; then
	printf '%s: the guest ended without an exit status (the kernel: %d)\n' "${0##*/}" "$status" >&2
	exit 125
fi
exit "$said"
