#!/bin/busybox sh
# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=dash
#
# hosts-init.sh: the first process of a host that hosts.sh boots. It runs a guest for each line of /modes, or the programs
# of the C harness that /programs names. All consoles are its own, which hosts.sh reads.
#
# A line of /modes: NUMBER|user|yama|hidepid|CPUs of the guest|UML's arguments|WORK_DIVISOR|workloads|attacks
set -u

export PATH=/bin
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
# TOMOYO of Debian's 5.10 looks up /dev/fd when a program is started by its fd, as a stub is.
ln -s /proc/self/fd /dev/fd
mkdir -p /dev/shm
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /tmp
chmod 1777 /dev/shm

echo "host runs $(uname -r), $(nproc) CPUs, up $(cut -d' ' -f1 /proc/uptime) s"

while IFS='|' read -r number user yama hidepid cpus arguments divisor workloads attacks; do
	echo "mode $number begins"
	[ -z "$yama" ] || echo "$yama" >/proc/sys/kernel/yama/ptrace_scope
	mount -o "remount,hidepid=${hidepid:-0}" /proc
	cat >/tmp/init <<-INIT
		#!/bin/busybox sh
		export PATH=/bin BUSYBOX=/bin/busybox TMPDIR=/guest/tmp VECTOR_SECONDS=1 WORK_DIVISOR=$divisor
		# Before that /proc is the host's, where this shell's exe is the UML kernel.
		\$BUSYBOX mount -t proc proc /proc
		mount -t tmpfs tmpfs /guest/tmp
		sed -n 's/^mode/guest mode/p' /proc/stubguard
		[ -z '$workloads' ] || sh /guest/workload.sh /guest/work /nowhere $workloads
		sed -n 's/^kills/honest kills/p; s/^breaches/honest breaches/p' /proc/stubguard
		for attack in $attacks; do
			echo "attack \$attack"
			HOSTILE_PATIENCE=4 /guest/hostile "\$attack"
		done
		echo all done
		poweroff -f
	INIT
	chmod 755 /tmp/init
	mkdir -p "/tmp/$number"
	chown "$user" "/tmp/$number"
	# The guest's memory is a file in TMPDIR. Each of these processes executes the next one, so the time limit is UML's.
	timeout -s KILL 1000 su -s /bin/sh "$user" -c "TMPDIR=/dev/shm exec /linux mem=128M seccomp=on ncpus=$cpus \
		uml_dir=/tmp/$number/ rootfstype=hostfs rootflags=/ ro init=/tmp/init con=null con0=fd:0,fd:1 $arguments" \
		</dev/null 2>&1 | cat
	echo "mode $number ends, up $(cut -d' ' -f1 /proc/uptime) s"
done </modes

# shellcheck disable=SC2013 # words
[ ! -e /programs ] || for program in $(cat /programs); do
	echo "harness $program begins"
	"/harness/$program" 2>&1
	echo "harness $program ends: $?, up $(cut -d' ' -f1 /proc/uptime) s"
done
echo "host is done"
poweroff -f
