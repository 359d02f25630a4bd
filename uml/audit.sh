#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# audit.sh LINUX...
#
# Boots each of these UML kernels with honest work in many processes, and runs the mapping oracle again and again: does
# each stub have exactly the pages that its page table grants (docs/audit.md)? The kernel needs
# CONFIG_UML_STUBGUARD_AUDIT. TAP.
#
# ROUNDS: runs of the oracle in each guest (10). NCPUS: the guest's CPUs (1 and 2, one after the other). GUARDED_ARGS: boot
# parameters (stubguard=window and stubguard=notify, one after the other). MEM: as for boot.sh.
set -euo pipefail

# shellcheck source=uml/common.sh
. "$(dirname "$0")/common.sh"

[ $# -gt 0 ] || die "usage: audit.sh LINUX..."
need_busybox
scratch audit
mkdir "$dir/tmp"
programs=$top_dir/build/guests
make -s -C "$uml_dir/guests" OUT="$programs"
serve_audits "$dir/looks" guest

# The load never ends by itself: the oracle looks at whatever it does at that moment.
cat >"$dir/init" <<INIT
#!$busybox sh
export BUSYBOX=$busybox TMPDIR=$dir/tmp PATH=$PATH
$busybox mount -t proc proc /proc
$busybox mount -t tmpfs tmpfs $dir/tmp
load() {
	$busybox mkdir \$TMPDIR/\$1
	while :; do TMPDIR=\$TMPDIR/\$1 $busybox sh $uml_dir/guests/workload.sh $programs/work $dir \$1 >/dev/null 2>&1; done
}
for name in pipelines files forks maps threads calls; do load \$name & done
status=0
for round in \$($busybox seq ${ROUNDS:-10}); do
	$busybox usleep 400000
	$programs/audit $dir/looks/guest || status=1
done
echo exit-status \$status
$busybox poweroff -f
INIT
chmod +x "$dir/init"

for linux; do
	for cpus in ${NCPUS:-1 2}; do
		for args in ${GUARDED_ARGS:-stubguard=window stubguard=notify}; do
			status=0
			NCPUS=$cpus TIMEOUT=600 "$uml_dir/boot.sh" "$linux" "$dir/init" "$args" >"$dir/log" 2>&1 || status=$?
			audited "$dir/log" || status=1
			result "$status" "$(short "$linux"), $cpus CPU, $args: $(grep -ac '^audit: ok' "$dir/log") looks"
			sed -n 's/^audit/# &/p' "$dir/log"
		done
	done
done
plan
