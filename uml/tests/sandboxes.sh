#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# sandboxes.sh UNGUARDED GUARDED
#
# Workloads and attacks on a guarded kernel beneath imitations of the default filters of Docker, podman and systemd
# (host.c). The results must be those of an unguarded kernel without a filter, and every attack must be blocked.
#
# PROFILES: some of the filters. WORKLOADS, ATTACKS, NCPUS, BASELINE: see run.sh.
set -euo pipefail

# shellcheck source=uml/common.sh
. "$(dirname "$0")/../common.sh"

[ $# -eq 2 ] || die "usage: sandboxes.sh UNGUARDED GUARDED"
unguarded=$1 guarded=$(realpath "$2")
scratch sandboxes
cc -O2 -Wall -Wextra -Werror -o "$dir/host" "$uml_dir/tests/host.c"

# everycall makes all system calls, with and without signals. The attacks are on memory, on the code page's calls, on the
# park, on the scheduler, and on pooled stubs.
export WORKLOADS=${WORKLOADS-everycall calls signals threads forks files steps}
export ATTACKS=${ATTACKS-foreign-frame page-calls forged-park block-signal left-behind}
export BASELINE=${BASELINE:-$dir/baseline}

for profile in ${PROFILES:-docker podman systemd}; do
	printf '#!/bin/sh\nexec %q %q %q "$@"\n' "$dir/host" "$profile" "$guarded" >"$dir/$profile"
	chmod +x "$dir/$profile"
	say "beneath what $profile refuses by default"
	GUARDED_ARGS=${GUARDED_ARGS:-stubguard=window} ATTACKED=guarded \
		"$uml_dir/run.sh" unguarded="$unguarded" guarded="$dir/$profile"
	# Otherwise nothing was tested.
	grep -q 'calls trap, not notify (an outer seccomp filter' "$log_dir/run-workloads-guarded.log" ||
		die "the guarded kernel has not seen the filter around it"
done
