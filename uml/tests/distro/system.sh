#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# system.sh - what systemd and its services say of themselves
# shellcheck disable=SC2154 # lib.sh has them
# shellcheck source=uml/tests/distro/lib.sh
. "${0%/*}/lib.sh"

normal+=('s/[0-9]+(\.[0-9]+)?[KMG]?/N/g')
check "no unit has failed" sh -c 'systemctl --failed --plain --no-legend; systemctl is-system-running'
check "a transient unit in a sandbox" systemd-run --quiet --wait --pipe -p ProtectSystem=strict -p PrivateTmp=yes -p PrivateNetwork=yes \
	-p PrivateDevices=yes -p SystemCallFilter=@system-service -p NoNewPrivileges=yes -p MemoryDenyWriteExecute=yes \
	-p RestrictNamespaces=yes -p DynamicUser=yes -p ProtectHome=yes sh -c 'id -un | cut -c1-3; ls / | wc -l; touch /etc/x'
check "a unit's filter kills it" systemd-run --quiet --wait --pipe -p SystemCallFilter=~mkdir -p SystemCallErrorNumber=EPERM mkdir /tmp/no
check "a unit beyond its memory is killed" systemd-run --quiet --wait -p MemoryMax=64M -p MemorySwapMax=0 \
	python3 -c 'x = bytearray(200 << 20)'
check "a unit beyond its tasks fails" systemd-run --quiet --wait --pipe -p TasksMax=8 sh -c 'for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 1 & done; wait'
check "a unit that is frozen and thawed" sh -c 'systemd-run --quiet --unit=frozen sleep 1000; systemctl freeze frozen; cat /sys/fs/cgroup/system.slice/frozen.service/cgroup.freeze;
	systemctl thaw frozen; systemctl is-active frozen; systemctl stop frozen'
check "a unit that restarts" sh -c 'systemd-run --quiet --unit=again -p Restart=on-failure -p RestartSec=0 -p StartLimitBurst=5 sh -c "kill -SEGV \$\$"; sleep 3; systemctl is-failed again; systemctl reset-failed again'
check "a login session" busctl --no-pager call org.freedesktop.login1 /org/freedesktop/login1 org.freedesktop.login1.Manager ListSessions
check "devices" sh -c 'udevadm settle; ls /dev | grep -v "^tty\|^pty" | sort'
if [ -e "$here/dummy.ko" ]; then
	check "a module is loaded and removed" sh -c "insmod '$here/dummy.ko' numdummies=0 && ip link add d0 type dummy && ip -br link show d0 | wc -l && ip link del d0 && rmmod dummy"
fi
check "sizes of file systems" sh -c 'dd if=/dev/zero of=img bs=1M count=0 seek=64 2>/dev/null; mkfs.ext4 -q -U 5b0c3d0e-0000-4000-8000-000000000002 img && mkdir m && mount -o loop img m && cp -r /etc m/ && sync && umount m && fsck.ext4 -fn img | tail -1'
check "swap" sh -c 'dd if=/dev/zero of=swap bs=1M count=128 2>/dev/null; chmod 600 swap; mkswap -q swap; swapon swap && python3 -c "
import hashlib
x = [bytes([i % 256]) * (1 << 20) for i in range(100)]
print(hashlib.md5(b\"\".join(x[:50])).hexdigest())"; swapoff swap'
check "journal" sh -c 'logger -t me hello; sleep 1; journalctl -q -t me -o cat; journalctl --verify 2>&1 | grep -c PASS | sed "s/[1-9].*/some/"'
