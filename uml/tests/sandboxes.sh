#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# sandboxes.sh UNGUARDED GUARDED
#
# Workloads and attacks on a guarded kernel beneath what Docker, podman and systemd refuse by default (imitations, see
# host.c): the same results as an unguarded kernel gives without them, and every attack is blocked.
#
# PROFILES: some of them. WORKLOADS, ATTACKS, NCPUS, BASELINE: see run.sh.
set -euo pipefail

# shellcheck source=uml/common.sh
. "$(dirname "$0")/../common.sh"

[ $# -eq 2 ] || die "usage: sandboxes.sh UNGUARDED GUARDED"
unguarded=$1 guarded=$(realpath "$2")
scratch sandboxes
cc -O2 -Wall -Wextra -Werror -o "$dir/host" "$uml_dir/tests/host.c"

# everycall makes all calls there are, with and without signals. The attacks: on memory, on what the stub's page lets
# through, on the hand-over, on the scheduler, on stubs that are used again.
export WORKLOADS=${WORKLOADS-everycall calls signals threads forks files steps}
export ATTACKS=${ATTACKS-foreign-frame page-calls forged-park block-signal left-behind}
export BASELINE=${BASELINE:-$dir/baseline}

for profile in ${PROFILES:-docker podman systemd}; do
	printf '#!/bin/sh\nexec %q %q %q "$@"\n' "$dir/host" "$profile" "$guarded" >"$dir/$profile"
	chmod +x "$dir/$profile"
	say "beneath what $profile refuses by default"
	GUARDED_ARGS=${GUARDED_ARGS:-stubguard=window} ATTACKED=guarded \
		"$uml_dir/run.sh" unguarded="$unguarded" guarded="$dir/$profile"
	# Else nothing was tried.
	grep -q 'calls trap, not notify (an outer seccomp filter' "$log_dir/run-workloads-guarded.log" ||
		die "the guarded kernel has not seen the filter around it"
done
