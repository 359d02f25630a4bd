#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# boots.sh GUARDED [HOSTILE]
#
# Boots a guarded kernel in each way that its boot parameters and its host can make it: what it says,
# and whether it then works. TAP. HOSTILE: the program of uml/guests, if it has been built.
set -euo pipefail

# shellcheck source=uml/common.sh
. "$(dirname "$0")/../common.sh"

[ $# -ge 1 ] || die "usage: boots.sh GUARDED"
linux=$1
busybox=$(command -v busybox) || die "busybox is missing: apt-get install busybox-static"
mkdir -p "$cache_dir"
dir=$(mktemp -d "$cache_dir/boots.XXXXXX")
trap 'rm -rf "$dir"' EXIT
make -s -C "$uml_dir/guests" OUT="$dir"
cc -O2 -Wall -Wextra -Werror -o "$dir/host" "$uml_dir/tests/host.c"
cc -O2 -Wall -Wextra -Werror -static -o "$dir/forks" "$uml_dir/tests/forks.c"

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

boot real
if works && says '^mode notify$' && says 'lacks nothing' && says '^served [1-9]' && says '^kills 0$' && says '^breaches 0$'; then
	ok "guarded: says what the host offers, serves, kills nobody"
else
	not_ok "guarded: says what the host offers, serves, kills nobody"
fi

boot real stubguard=off
if works && says 'stubguard: off: by stubguard=off' && says '^mode off$' && says '^served 0$'; then
	ok "stubguard=off: UML as it was, and it says so"
else
	not_ok "stubguard=off: UML as it was, and it says so"
fi

boot real seccomp=off
if works && says '^mode off$'; then
	ok "ptrace mode works in a guarded kernel"
else
	not_ok "ptrace mode works in a guarded kernel"
fi

boot no-getfd
if [ "$status" -ne 0 ] && says 'no listener: pidfd_getfd gives errno 1' && says 'cannot guard userspace' && ! says '^made'; then
	ok "a host that lets nobody get the listener: refuses to start, and says why"
else
	not_ok "a host that lets nobody get the listener: refuses to start, and says why"
fi

boot no-getfd stubguard=notify,besteffort
if works && says 'userspace is NOT confined' && says '^mode off$'; then
	ok "the same with besteffort: starts, and warns"
else
	not_ok "the same with besteffort: starts, and warns"
fi

boot busy
if [ "$status" -ne 0 ] && says 'a sandbox around this process has one already' && ! says '^made'; then
	ok "a sandbox with a listener: refuses to start, and says why"
else
	not_ok "a sandbox with a listener: refuses to start, and says why"
fi

boot old
if works && says 'lacks wait-killable, sync-wake-up' && says '^mode notify$' && says '^served [1-9]'; then
	ok "an older host: guarded all the same"
else
	not_ok "an older host: guarded all the same"
fi

# Each address space needs two: some dozens of processes fit, the next one cannot be made.
cat >"$dir/init" <<INIT
#!$busybox sh
$busybox mount -t proc proc /proc
$dir/forks
echo exit-status 0
$busybox poweroff -f
INIT
result=not_ok
# In a subshell: the limit cannot be raised again.
(ulimit -n 120 && boot real && [ "$status" -eq 0 ] && says '^[1-9][0-9]* processes, then: Cannot allocate memory, then: a process$') &&
	result=ok
"$result" "no fds left on the host: fork fails with ENOMEM, the guest lives on"

printf '1..%d\n' "$number"
[ "$failed" -eq 0 ]
