#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# build.sh TREE JOBS: builds a part of a kernel from its sources, in a guest
#
# Prints `time build MILLISECONDS`, and `objects NUMBER HASH`, which must be the same in each guest.
set -eu

tree=$1 jobs=$2 obj=$TMPDIR/obj
now() { awk '{ printf "%d", $1 * 1000 }' /proc/uptime; }
kernel() { make -s -C "$tree" O="$obj" ARCH=um KBUILD_BUILD_TIMESTAMP=@0 "$@" </dev/null; }

# hostfs forgets a file that nobody has open, and would read the compiler again for each file. So one compiler waits for
# its input all the time.
mkfifo "$TMPDIR/input"
gcc -pipe -c -o "$TMPDIR/nothing.o" -x c - <"$TMPDIR/input" &
exec 3>"$TMPDIR/input"

mkdir -p "$obj"
start=$(now)
echo CONFIG_64BIT=y >"$obj/least"
kernel KCONFIG_ALLCONFIG="$obj/least" allnoconfig
kernel "-j$jobs" lib/ kernel/time/
echo "time build $(($(now) - start))"
cd "$obj"
echo "objects $(find lib kernel -name '*.o' | wc -l) $(find lib kernel -name '*.o' | LC_ALL=C sort | xargs cat | md5sum | cut -d' ' -f1)"
