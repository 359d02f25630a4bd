#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# ahead.sh KERNEL
#
# Page faults that map several pages (uml/series/0051): what is mapped with which /proc/sys/vm/fault_ahead, how many faults
# that saves, and how much memory it takes of real programs and within the limit of a cgroup (ahead.c). TAP.
#
# MODE: of the guard (window). NCPUS: CPUs of the guest (1).
set -euo pipefail

# shellcheck source=uml/common.sh
. "$(dirname "$0")/../common.sh"

[ $# -eq 1 ] || die "usage: ahead.sh KERNEL"
linux=$(uml_kernel "$1")
mode=${MODE:-window}
need_busybox
scratch ahead
path=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin
programs=$top_dir/build/guests
make -s -C "$uml_dir/guests" OUT="$programs"
cc -O2 -Wall -Wextra -Werror -static -pthread -D_GNU_SOURCE -o "$dir/ahead" "$uml_dir/tests/ahead.c"
serve_audits "$dir/looks" guest
mkdir "$dir/tmp" "$dir/cgroup"

# boot COMMANDS [ARGUMENTS...]: one guest that runs the commands, with its console in $dir/log
boot() {
	local commands=$1
	shift
	cat >"$dir/init" <<-INIT
		#!$busybox sh
		export PATH=$path TMPDIR=$dir/tmp
		$busybox mount -t proc proc /proc
		$busybox mount -t tmpfs tmpfs $dir/tmp
		ahead=/proc/sys/vm/fault_ahead
		status=0
		$commands
		$programs/audit $dir/looks/guest || status=1
		[ ! -e /proc/stubguard ] || $busybox cat /proc/stubguard
		echo exit-status \$status
		$busybox poweroff -f
	INIT
	chmod +x "$dir/init"
	status=0
	TIMEOUT=300 MEM=256 "$uml_dir/boot.sh" "$linux" "$dir/init" "stubguard=$mode" "$@" >"$dir/log" 2>&1 || status=$?
}

# sound: the guest has ended well, and neither its kernel nor the guard has complained
sound() {
	[ "$status" -eq 0 ] && audited "$dir/log" && ! says '^(kills|breaches|stalls|denied)[_a-z-]* [1-9]' &&
		! says 'BUG: |WARNING: |Bad page|bad p[mu]d|Bad rss'
}
# said NAME: the number behind this word, of its last line
said() { sed -n "s/^$1 \([0-9]*\)$/\1/p" "$dir/log" | tail -n 1; }

sizes="16 0 1 2 5 64"
boot "for n in $sizes; do echo \$n >\$ahead && $dir/ahead cases || status=1; done"
sound && r=0 || r=1
for n in $sizes; do [ "$(grep -c "^case $n .*: right$" "$dir/log")" -eq 13 ] || r=1; done
result "$r" "what is mapped, with $sizes pages"

boot "echo default \$($busybox cat \$ahead)
	for n in 65 -1 x; do ! echo \$n >\$ahead || status=1; done
	echo 64 >\$ahead || status=1
	echo last \$($busybox cat \$ahead)" 2>/dev/null
sound && [ "$(said default)" = 16 ] && [ "$(said last)" = 64 ] && r=0 || r=1
result "$r" "the sysctl takes 0 to 64"

boot "echo default \$($busybox cat \$ahead)" fault_ahead=0
sound && [ "$(said default)" = 0 ] && r=0 || r=1
result "$r" "a parameter turns it off"

boot "echo default \$($busybox cat \$ahead)" fault_ahead=65
sound && [ "$(said default)" = 16 ] && says '^fault_ahead= needs a number' && r=0 || r=1
result "$r" "a parameter that is too large is refused"

# The limit ends the process at the same page, but for those ahead of it at the end.
boot "$busybox mount -t cgroup2 cgroup $dir/cgroup
	echo +memory >$dir/cgroup/cgroup.subtree_control
	for n in 0 16 0 16; do
		echo \$n >\$ahead
		$busybox mkdir $dir/cgroup/small && echo 8M >$dir/cgroup/small/memory.max || status=1
		echo \"with \$n: \$($dir/ahead fill $dir/cgroup/small)\" || status=1
		$busybox sed \"s/^/with \$n: /\" $dir/cgroup/small/memory.events
		$busybox rmdir $dir/cgroup/small
	done"
least() { sed -n "s/^with $1: filled //p" "$dir/log" | sort -n | head -n 1; }
sound && [ "$(least 16)" -ge $(($(least 0) - 16)) ] && [ "$(grep -c '^with [0-9]*: oom_kill 1$' "$dir/log")" -eq 4 ] && r=0 || r=1
result "$r" "a cgroup's limit of 2048 pages: $(least 0) pages with 0, $(least 16) with 16"

# What programs have at most, and their faults
cat >"$dir/program.c" <<'C'
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
struct node { struct node *next; int key; char text[32]; };
static struct node *table[1024];
int main(void)
{
	for (int i = 0; i < 100000; i++) {
		struct node *n = malloc(sizeof(*n));
		n->key = i;
		snprintf(n->text, sizeof(n->text), "%d", i);
		n->next = table[i % 1024];
		table[i % 1024] = n;
	}
	printf("%s\n", table[7]->text);
	return 0;
}
C
declare -A program=(
	[write]="$dir/ahead write 64"
	[true]="/bin/true"
	[gcc]="gcc -O1 -c -o $dir/tmp/program.o $dir/program.c"
	[perl]="perl -e 'my %h; \$h{\$_} = \$_ x 3 for 1..20000; print scalar(keys %h), qq(\n)'"
	[python]="python3 -c 'import json, re; d = {str(i): [i] * 3 for i in range(20000)}; print(len(json.dumps(d)))'"
)
# The second run of each has the files in memory, as hostfs keeps what is open
{
	echo "served() { while read -r name value; do [ \"\$name\" != served ] || echo \"\$value\"; done <\$counters; }"
	echo "counters=/dev/null; [ ! -e /proc/stubguard ] || counters=/proc/stubguard"
	for name in write true gcc perl python; do
		PATH=$path command -v "${program[$name]%% *}" >/dev/null || continue
		for n in 0 16 0 16; do
			echo "echo $n >\$ahead; before=\$(served)"
			echo "$dir/ahead rss ${program[$name]} >$dir/tmp/said || status=1"
			echo "after=\$(served)"
			echo "echo \"program $name $n \$($busybox tail -n 1 $dir/tmp/said) served \$((after - before))\""
		done
	done
} >"$dir/commands"
boot ". $dir/commands"
sound && r=0 || r=1
result "$r" "programs run"
# least PROGRAM PAGES FIELD
of() { awk -v name="$1" -v pages="$2" -v field="$3" '$1 == "program" && $2 == name && $3 == pages { if (!(name in m) || $field < m[name]) m[name] = $field } END { print m[name] + 0 }' "$dir/log"; }
for name in write true gcc perl python; do
	grep -q "^program $name " "$dir/log" || continue
	r=0
	rss=$(of "$name" 0 5) more=$(of "$name" 16 5) faults=$(of "$name" 0 7) less=$(of "$name" 16 7)
	[ "$more" -le $((rss + rss / 10 + 64)) ] && [ "$less" -le "$faults" ] || r=1
	[ "$name" != write ] || [ $((less * 8)) -le "$faults" ] || r=1
	result "$r" "$name: with 0 and 16 pages $rss and $more KiB, $faults and $less faults, $(of "$name" 0 9) and $(of "$name" 16 9) parks"
done

plan
