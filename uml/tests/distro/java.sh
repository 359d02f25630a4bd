#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# java.sh - a virtual machine: each collector, the interpreter, the compilers
# shellcheck disable=SC2016 # what other programs expand
# shellcheck source=uml/tests/distro/lib.sh
. "${0%/*}/lib.sh"

cp "$here/Main.java" .
passes "compile" javac Main.java
check "classes" java -Xshare:off -Xmx256m Main
for gc in Serial Parallel G1 Z Shenandoah; do
	check "collector: $gc" java -XX:+Use${gc}GC -Xmx256m Main
done
check "collector: Epsilon" java -XX:+UnlockExperimentalVMOptions -XX:+UseEpsilonGC -Xmx900m Main 1
! long || for mode in -Xint -Xcomp -XX:TieredStopAtLevel=1 -XX:-UseCompressedOops "-XX:+UseG1GC -XX:+AlwaysPreTouch" "-XX:+UseSerialGC -Xmx40m" -XX:+StressLCM; do
	# shellcheck disable=SC2086 # options
	check "mode: $mode" java -Xmx256m -XX:+UnlockDiagnosticVMOptions $mode Main 1
done
check "out of memory" java -Xmx32m Main memory
check "out of stack" java -Xmx64m Main stack
passes "jshell" sh -c 'echo "System.out.println(6 * 7)" | jshell -s -'
passes "jcmd" sh -c 'java -Xmx64m Main sleep & sleep 3; jcmd $! Thread.print && jcmd $! GC.heap_info; s=$?; kill $!; exit $s'
