#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# image.sh    makes a root file system of Debian for guests, .cache/distro/SUITE.ext4, and prints its path
#
# It has the packages of the file "packages" beside this script, from the mirror that this machine uses (debian.sh), and
# systemd as its first process. It is made anew if the packages or this script change. No root is needed: without it
# mmdebstrap works in a user namespace (that needs newuidmap and a line in /etc/subuid), and fakeroot says whose the files are.
#
# SUITE: the release of Debian (that of this machine).
set -euo pipefail

# shellcheck source=uml/debian.sh
. "$(dirname "$0")/../../debian.sh"

here=$uml_dir/tests/distro
otherwise="put an image there yourself"
suite=${SUITE:-$(. /etc/os-release && echo "${VERSION_CODENAME:-}")}
[ -n "$suite" ] || die "this is no release of Debian: choose one by SUITE="
image=$cache_dir/distro/$suite.ext4
size=8G	# of the file system; the file has holes

# A pattern needs an option of its own.
mapfile -t include < <(awk '!/^#/ { for (i = 2; i <= NF; i++) print "--include=" $i }' "$here/packages" | sort -u)

# In the root: what a guest without a network and a console does not start, and the service that runs the tests.
hook() {
	cat <<-'HOOK'
		#!/bin/sh
		set -e
		cd "$1"
		echo guest >etc/hostname
		echo '127.0.0.1 localhost guest' >etc/hosts
		: >etc/fstab
		rm -f etc/machine-id etc/apt/apt.conf.d/99mmdebstrap
		echo 0123456789abcdef0123456789abcdef >etc/machine-id
		# The same set of units on each boot: no timers, no terminals, and servers when a test starts them.
		for unit in postgresql redis-server nginx podman podman.socket podman-auto-update podman-restart \
			apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap fstrim.timer \
			logrotate.timer man-db.timer podman-auto-update.timer systemd-timesyncd getty@tty1 remote-fs.target; do
			systemctl --root "$1" disable "$unit" 2>/dev/null || true
		done
		systemctl --root "$1" mask getty-static console-getty systemd-timesyncd systemd-tmpfiles-clean.timer
		cat >usr/local/sbin/tests <<-'TESTS'
			#!/bin/sh
			place=$(sed -n 's/.* distro=\([^ ]*\).*/\1/p' /proc/cmdline)
			mkdir -p /run/tests
			# With the old mount call, and with the new one
			mount -t hostfs -o "$place" none /run/tests || mount -t hostfs -o "hostfs=$place" none /run/tests
			exec /bin/bash /run/tests/guest.sh "$place"
		TESTS
		chmod 755 usr/local/sbin/tests
		cat >etc/systemd/system/tests.service <<-'UNIT'
			[Unit]
			Description=tests
			After=multi-user.target
			[Service]
			Type=exec
			ExecStart=/usr/local/sbin/tests
			StandardOutput=tty
			StandardError=tty
			TTYPath=/dev/console
			TimeoutStopSec=10
			[Install]
			WantedBy=multi-user.target
		UNIT
		systemctl --root "$1" enable tests
	HOOK
}

# make_image MIRROR: the tree passes through a folder, as mke2fs reads no archive everywhere
make_image() {
	local mode=root apart=(unshare --mount --propagation private) fake=() tree=$work/tree
	# Root's mmdebstrap mounts file systems, which stay if it fails: their namespace ends with it.
	if [ "$(id -u)" != 0 ]; then
		mode=unshare apart=() fake=(fakeroot -s "$work/owners" -i "$work/owners")
		: >"$work/owners"
	fi
	rm -rf --one-file-system "$tree" "$work/ext4"
	mkdir "$tree"
	apt-config dump Acquire | grep -E '^Acquire::(http|https)(::|.*Proxy)' >"$work/apt.conf" || true
	TMPDIR=$work "${apart[@]}" mmdebstrap --mode="$mode" --format=tar --variant=important --components=main --keyring="$keyring" \
		--aptopt="$work/apt.conf" --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
		"${include[@]}" --customize-hook="$work/hook" "$suite" "$work/tar" "$1" &&
		"${fake[@]}" tar -x -f "$work/tar" -C "$tree" --numeric-owner --xattrs --xattrs-include='*' --exclude='./dev/*' &&
		rm "$work/tar" &&
		truncate -s "$size" "$work/ext4" &&
		"${fake[@]}" /sbin/mke2fs -q -t ext4 -L root -U 5b0c3d0e-0000-4000-8000-000000000001 -d "$tree" "$work/ext4"
}

try_mirrors() {
	local mirror
	while read -r mirror; do
		echo "== $suite at $mirror"
		make_image "$mirror" && return 0
	done <<<"$mirror_list"
	return 1
}

key=$(cat "$here/packages" "$0" | sha256sum | cut -d' ' -f1)
if [ "$(cat "$image.key" 2>/dev/null)" != "$key" ] || [ ! -f "$image" ]; then
	lock distro
	need_mirrors "$otherwise"
	mkdir -p "$cache_dir/distro"
	work=$(mktemp -d "$cache_dir/distro/.make.XXXXXX")
	trap 'rm -rf --one-file-system "$work"' EXIT
	hook >"$work/hook"
	chmod 755 "$work" "$work/hook"
	made() { du -sm "$work" 2>/dev/null | awk '{ printf "%s MB", $1 }'; }
	probe=made step "make a root file system of $suite" try_mirrors >&2
	mv "$work/ext4" "$image"
	echo "$key" >"$image.key"
fi
printf '%s\n' "$image"
