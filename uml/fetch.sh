#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# fetch.sh [VERSION]: puts the sources of Linux VERSION (the default of uml/versions) into .cache/src/linux-VERSION.
# fetch.sh --which VERSION: prints which Debian source package these sources are of, as a package's Built-Using has it
#
# They come as Debian's package linux-source-VERSION: the one that is installed, or else one that is fetched (debian.sh)
# from a suite that uml/versions names.
set -euo pipefail

# shellcheck source=uml/debian.sh
. "$(dirname "$0")/debian.sh"

which=
[ "${1:-}" != --which ] || { which=1 && shift; }
version=${1:-$(default_version)}
[[ $version =~ ^[0-9]+\.[0-9]+$ ]] || die "usage: fetch.sh [VERSION], e.g. fetch.sh $(default_version)"
package=linux-source-$version
tree=$cache_dir/src/linux-$version
otherwise="use a kernel tree of your own: make uml KDIR=/path/to/linux-$version"
by_hand="put ${package}_*.deb into $apt_dir/debs, or $otherwise"

suites=$(of_version "$version" suites)
# With FORCE=1 the file may not know the version
[ -n "$suites" ] || suites=$(of_version "$(default_version)" suites)

installed=/usr/src/$package.tar.xz

# Sets $deb; empty if the package is installed.
have_deb() {
	deb=$(newest_deb "$package")
	[ -n "$deb" ] || [ -f "$installed" ]
}

# The archive of the sources
archive() {
	if [ -n "$deb" ]; then
		dpkg-deb --fsys-tarfile "$deb" | tar -xO "./usr/src/$package.tar.xz"
	else
		cat "$installed"
	fi
}

if [ -n "$which" ]; then
	have_deb || exit 0
	# shellcheck disable=SC2016 # these are dpkg's variables
	form='${source:Package} (= ${source:Version})\n'
	if [ -n "$deb" ]; then
		dpkg-deb --show --showformat "$form" "$deb"
	else
		dpkg-query --show --showformat "$form" "$package"
	fi
	exit 0
fi

download() {
	local suite mirror
	for suite in $suites; do
		while read -r mirror; do
			echo "== $suite at $mirror"
			private_apt "$suite" "$mirror" apt-get -q update || continue
			download_deb "$suite" "$mirror" "$package" && have_deb && return 0
		done <<<"$mirror_list"
	done
	return 1
}

# Files that a UML kernel cannot use are not unpacked: three quarters of the bytes. Kconfig files and
# Makefiles stay, since every configuration reads them.
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
	archive | xz -dc -T0 |
		LC_ALL=C tar -x -C "$tmp" --strip-components=1 --wildcards -X "$tmp.exclude" || return 1
	rm -f "$tmp.exclude"
	[ -f "$tmp/Makefile" ] && [ -f "$tmp/arch/um/Makefile" ] || return 1
	excluded >"$tmp/.excluded" && chmod 755 "$tmp" || return 1
	# Trees that were made from an older one go, too
	rm -rf "$tree" "$tree"-*
	mv -T "$tmp" "$tree"
}

# A tree of an older version of this script may lack files that this one unpacks.
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
	command -v "$tool" >/dev/null || die "$tool is missing: run uml/deps.sh, or $otherwise"
done

if ! have_deb; then
	command -v apt-get >/dev/null || die "no apt-get here to fetch $package with: $by_hand"
	need_mirrors "$by_hand"
	fetch "$package" "$otherwise" download
	have_deb
fi

mkdir -p "$cache_dir/src"
# An interrupted run may have left these.
rm -rf "$cache_dir"/src/.unpack.*
unpacked() { du -sm "$cache_dir"/src/.unpack.*/ 2>/dev/null | awk '{ printf "%s MB", $1 }'; }
probe=unpacked step "unpack $package" unpack ||
	die "cannot unpack $(short "${deb:-$installed}"): is the disk full? Remove the file to fetch it again, or $otherwise"
say "sources of Linux $version: in $(short "$tree"), $(du -sh "$tree" | cut -f1)"
