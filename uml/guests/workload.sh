#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# workload.sh - honest work in a guest
#
#	workload.sh PROGRAM DIR NAME...
#
# PROGRAM is `work`. In DIR the host makes files `go` and `stop` for `fdcount`.
# Prints `result NAME TEXT` and `time NAME MILLISECONDS` for each. The results
# must be the same on every kernel. Needs /proc and a writable $TMPDIR.
set -u

bb=${BUSYBOX:-/bin/busybox}
work=$1
dir=$2
tmp=${TMPDIR:-/tmp}
shift 2

now() {
	"$work" clock
}

# Pipelines and loops of the shell itself.
# shellcheck disable=SC2016 # awk's, not the shell's
pipelines() {
	for n in $($bb seq 1 40); do
		$bb seq 1 500 | $bb sed "s/\$/ $n/" | $bb sort -rn |
			$bb awk '{ sum += $1 * $2 } END { print sum, NR }'
	done | $bb md5sum | $bb cut -d' ' -f1
}

files() {
	$bb mkdir -p "$tmp/files"
	for n in $($bb seq 1 200); do
		$bb seq 1 "$n" >"$tmp/files/$n"
	done
	$bb tar -C "$tmp" -cf "$tmp/files.tar" files
	$bb mkdir "$tmp/again"
	$bb tar -C "$tmp/again" -xf "$tmp/files.tar"
	$bb find "$tmp/again" -type f | $bb sort | $bb xargs "$bb" cat | $bb md5sum |
		$bb cut -d' ' -f1
	$bb rm -rf "$tmp/files" "$tmp/files.tar" "$tmp/again"
}

# The host's compiler, read through hostfs; it makes about ten processes.
compile() {
	gcc=$(command -v gcc) || {
		echo "no compiler on the host"
		return
	}
	$bb cat >"$tmp/sieve.c" <<-'C'
		#include <stdio.h>
		static char composite[200000];
		int main(void)
		{
			long n, m, count = 0, sum = 0;
			for (n = 2; n < 200000; n++) {
				if (composite[n])
					continue;
				count++;
				sum += n;
				for (m = n * n; m < 200000; m += n)
					composite[m] = 1;
			}
			printf("%ld primes, sum %ld\n", count, sum);
			return 0;
		}
	C
	"$gcc" -O2 -o "$tmp/sieve" "$tmp/sieve.c" && "$tmp/sieve"
}

# Waits for the host's file, without a process, which the host would count.
wait_for() {
	while [ ! -e "$1" ]; do :; done
}

fdcount() {
	echo "fdcount before"
	wait_for "$dir/go"
	"$work" children
	echo "fdcount after"
	wait_for "$dir/stop"
}

for name; do
	start=$(now)
	case $name in
	pipelines | files | compile) result=$($name 2>&1) ;;
	fdcount)
		fdcount
		continue
		;;
	*) result=$("$work" "$name" 2>&1) ;;
	esac || result="failed: $result"
	echo "result $name $result"
	echo "time $name $(($(now) - start))"
done
