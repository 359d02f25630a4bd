#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# fetch.sh [VERSION]: puts the sources of Linux VERSION (7.2) into .cache/src/linux-VERSION.
#
# They come as Debian's package linux-source-VERSION from the Debian mirror that this machine
# already uses, with lists and downloads of our own, so nothing of the machine's apt
# changes and root is not needed. apt checks the signatures with Debian's keyring.
set -euo pipefail

# shellcheck source=uml/common.sh
. "$(dirname "$0")/common.sh"

version=${1:-7.2}
[[ $version =~ ^[0-9]+\.[0-9]+$ ]] || die "usage: fetch.sh VERSION, e.g. fetch.sh 7.2"
package=linux-source-$version
tree=$cache_dir/src/linux-$version
apt_dir=$cache_dir/apt
otherwise="or use a kernel tree of your own: make uml KDIR=/path/to/linux-$version"

# Where the package may be, the likeliest first.
suites='trixie-backports forky sid'

have_deb() {
	deb=$(find "$apt_dir/debs" -maxdepth 1 -name "${package}_*.deb" 2>/dev/null | sort -V | tail -n 1)
	[ -n "$deb" ]
}

# The archives of Debian proper that apt is set up with, in whatever format and file.
mirrors() {
	# shellcheck disable=SC2016 # these are apt's variables, not the shell's
	apt-get indextargets --no-release-info --format '$(REPO_URI) $(RELEASE)' \
		'Created-By: Packages' 2>/dev/null |
		awk '$1 !~ /^cdrom:/ && $2 !~ /-security|\/updates/ &&
		     $2 ~ /^(bullseye|bookworm|trixie|forky|duke|sid|oldstable|stable|testing|unstable)(-|\/|$)/ &&
		     !seen[$1]++ { print $1 }'
}

# apt <suite> <mirror> <apt-get arguments>: the machine's own settings (proxies, for one) stay in force.
private_apt() {
	local suite=$1 mirror=$2
	shift 2
	mkdir -p "$apt_dir/$suite/lists/partial" "$apt_dir/cache/archives/partial"
	printf 'deb [signed-by=%s target=Packages] %s %s main\n' "$keyring" "$mirror" "$suite" \
		>"$apt_dir/sources.list"
	: >"$apt_dir/status"
	cat >"$apt_dir/apt.conf" <<-EOF
		Dir::Etc::sourcelist "$apt_dir/sources.list";
		Dir::Etc::sourceparts "/dev/null";
		Dir::Etc::preferences "/dev/null";
		Dir::Etc::preferencesparts "/dev/null";
		Dir::State "$apt_dir/$suite";
		Dir::State::lists "$apt_dir/$suite/lists";
		Dir::State::status "$apt_dir/status";
		Dir::Cache "$apt_dir/cache";
		Acquire::Languages "none";
		Acquire::Retries "3";
		APT::Update::Error-Mode "any";
		// Hooks of the machine would act on the machine's own cache; and the user that apt
		// changes to when it is run by root need not have access to this folder.
		#clear APT::Update;
		#clear DPkg::Post-Invoke;
		APT::Sandbox::User "root";
	EOF
	apt-get -c "$apt_dir/apt.conf" "$@"
}

download() {
	local suite mirror
	mkdir -p "$apt_dir/debs" "$apt_dir/partial"
	for suite in $suites; do
		while read -r mirror; do
			echo "== $suite at $mirror"
			private_apt "$suite" "$mirror" -q update || continue
			(cd "$apt_dir/partial" && private_apt "$suite" "$mirror" -q download "$package") || continue
			# Whole and verified: only now it gets its place.
			mv "$apt_dir/partial/$package"_*.deb "$apt_dir/debs/" || return 1
			return 0
		done <<<"$mirror_list"
	done
	return 1
}

# What a UML kernel cannot use is not unpacked: three quarters of the bytes. Kconfig and
# Makefiles stay, since they are read whatever the configuration is.
excluded() {
	local d
	printf '%s\n' "$package/Documentation/*.*" "$package/tools/testing/*" "$package/tools/perf/*" \
		"$package/arch/[a-tvwyz]*/*.*" "$package/arch/xtensa/*.*" "$package/arch/[a-tvwyz]*/*_defconfig"
	for d in sound drivers/accel drivers/clk drivers/crypto drivers/gpu drivers/hwmon drivers/iio \
		drivers/infiniband drivers/media drivers/mtd 'drivers/net/*' drivers/phy drivers/pinctrl \
		drivers/platform drivers/scsi drivers/soc drivers/staging drivers/usb; do
		printf '%s\n' "$package/$d/*.[chS]" "$package/$d/*.dts*"
	done
}

unpack() {
	local tmp
	tmp=$(mktemp -d "$cache_dir/src/.unpack.XXXXXX") || return 1
	# shellcheck disable=SC2064 # the name is meant to be expanded now
	trap "rm -rf '$tmp'" EXIT
	excluded >"$tmp.exclude" || return 1
	dpkg-deb --fsys-tarfile "$deb" | tar -xO "./usr/src/$package.tar.xz" | xz -dc -T0 |
		LC_ALL=C tar -x -C "$tmp" --strip-components=1 --wildcards -X "$tmp.exclude" || return 1
	rm -f "$tmp.exclude"
	[ -f "$tmp/Makefile" ] && [ -f "$tmp/arch/um/Makefile" ] || return 1
	excluded >"$tmp/.excluded" && chmod 755 "$tmp" || return 1
	# With the trees that were made from an older one
	rm -rf "$tree" "$tree"-*
	mv -T "$tmp" "$tree"
}

# A tree that an older version of this script has made lacks what it left out then.
there() {
	[ -f "$tree/Makefile" ] || return 0
	[ "$(cat "$tree/.excluded" 2>/dev/null)" = "$(excluded)" ] || ! have_deb || return 0
	say "sources of Linux $version: in $(short "$tree")"
	exit 0
}
there
lock "$version"
there	# another run has fetched them meanwhile

for tool in dpkg-deb xz tar; do
	command -v "$tool" >/dev/null || die "$tool is missing: run uml/deps.sh, $otherwise"
done

if ! have_deb; then
	command -v apt-get >/dev/null ||
		die "no apt-get here to fetch $package with: put ${package}_*.deb into $apt_dir/debs, $otherwise"
	keyring=
	for k in /usr/share/keyrings/debian-archive-keyring.{pgp,gpg}; do
		[ ! -r "$k" ] || keyring=$k
	done
	[ -n "$keyring" ] || die "Debian's archive key is missing: install debian-archive-keyring, $otherwise"
	mirror_list=$(mirrors)
	[ -n "$mirror_list" ] ||
		die "apt is not set up with a Debian mirror: put ${package}_*.deb into $apt_dir/debs, $otherwise"
	fetched() { find "$apt_dir/partial" -type f -printf '%s\n' | awk '{ n += $1 } END { printf "%d MB", n / 1e6 }'; }
	if ! probe=fetched step "fetch $package" download 2>/dev/null || ! have_deb; then
		log=$log_dir/fetch-$package.log
		# The network's words rather than what follows from them.
		why=$({ grep -m 1 -E '^[WE]: Failed to fetch' "$log" || grep -m 1 '^E: ' "$log" || true; } | sed 's/^.: *//')
		die "cannot fetch $package${why:+: $why} (log: $(short "$log")); look at the network and apt's proxy, $otherwise"
	fi
fi

mkdir -p "$cache_dir/src"
# What an interrupted run may have left.
rm -rf "$cache_dir"/src/.unpack.*
unpacked() { du -sm "$cache_dir"/src/.unpack.*/ 2>/dev/null | awk '{ printf "%s MB", $1 }'; }
probe=unpacked step "unpack $package" unpack ||
	die "cannot unpack $(short "$deb"): is the disk full? Remove the file to fetch it again, $otherwise"
say "sources of Linux $version: in $(short "$tree"), $(du -sh "$tree" | cut -f1)"
