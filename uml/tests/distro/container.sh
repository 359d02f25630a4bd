#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# container.sh - sandboxes and containers
# shellcheck source=uml/tests/distro/lib.sh
. "${0%/*}/lib.sh"

normal+=('s/[0-9a-f]{12,64}/ID/g' '/level=(warning|info)/d')
bw=(bwrap --ro-bind / / --dev /dev --proc /proc --tmpfs /tmp)
check "bubblewrap" "${bw[@]}" --unshare-all --hostname x --uid 1000 --gid 1000 sh -c 'id; hostname; ls /proc | grep -c "^[0-9]"; touch /etc/x; ip -o link | wc -l'
check "bubblewrap of a user" setpriv --reuid 12345 --regid 12345 --clear-groups "${bw[@]}" --unshare-all --uid 0 --gid 0 sh -c 'id -u; cat /proc/self/uid_map; mount -t tmpfs x /mnt && echo mounted'
check "bubblewrap, one in another" "${bw[@]}" --unshare-user --cap-add ALL bwrap --ro-bind / / --dev /dev --unshare-pid --proc /proc echo inner
rounds() { local i; for ((i = 0; i < 50; i++)); do "${bw[@]}" --unshare-all true && echo ok; done | sort | uniq -c; }
check "bubblewrap, again and again" rounds

mkdir -p b/rootfs/bin b/rootfs/proc b/rootfs/dev b/rootfs/sys b/rootfs/tmp b/rootfs/etc
cp "$(command -v busybox)" b/rootfs/bin/
for name in sh ls id ps mount cat echo sleep true kill hostname dd wc grep; do ln -s busybox "b/rootfs/bin/$name"; done
(cd b && runc spec)
spec() { sed -i -e 's/"terminal": true/"terminal": false/' -e "s|^\t\t\t\"sh\"|\t\t\t$1|" b/config.json; }
spec '"sh", "-c", "id; ps; hostname; cat /proc/self/cgroup | wc -l; mount | wc -l; echo x >/x; kill -9 0"'
check "runc" runc --root "$PWD/r" run -b b one
life() {
	rm b/config.json
	(cd b && runc spec) && spec '"sleep", "1000"'
	runc --root "$PWD/r" run -d -b b two >/dev/null 2>&1 </dev/null
	runc --root "$PWD/r" exec two sh -c 'echo inside; ps | wc -l'
	runc --root "$PWD/r" pause two && runc --root "$PWD/r" list -q && runc --root "$PWD/r" state two | grep status
	runc --root "$PWD/r" resume two
	runc --root "$PWD/r" update --memory 33554432 two
	runc --root "$PWD/r" exec two sh -c 'dd if=/dev/zero of=/dev/null bs=200M count=1'
	echo "memory $?"
	runc --root "$PWD/r" kill two KILL
	waits sh -c "runc --root '$PWD/r' state two | grep stopped"
	runc --root "$PWD/r" delete two
}
check "runc: exec, pause, resume, update, kill" life
pod=(podman --root "$PWD/pod" --runroot "$PWD/podrun" --cgroup-manager cgroupfs --events-backend file)
imported() { tar -C b/rootfs -c . | "${pod[@]}" import - box; }
passes "podman import" imported
run=("${pod[@]}" run --rm --network none --log-driver none)
check "podman run" "${run[@]}" box /bin/sh -c 'id; hostname | wc -c; ps | wc -l; echo hello >/x; cat /x'
check "podman run --read-only, a limit" "${run[@]}" --read-only --memory 64m --pids-limit 20 box /bin/sh -c 'echo >/x; for i in 1 2 3 4 5; do sleep 1 & done; wait; echo done'
check "podman, a volume" "${run[@]}" -v "$PWD/b:/b:ro" box /bin/ls /b
many() { local i; for ((i = 0; i < 5; i++)); do "${run[@]}" box /bin/true & done; wait; echo "$?"; }
check "podman, several at once" many
"${pod[@]}" rmi -f box >/dev/null 2>&1
umount -R "$PWD/pod/overlay" 2>/dev/null
