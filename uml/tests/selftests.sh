#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# selftests.sh FOLDER NAME...: compiles the kernel's own selftests NAME (as futex/functional) in FOLDER/NAME
#
# KVER: the kernel's version (the default of uml/versions).
# They come from the package that uml/fetch.sh has downloaded. Some must be compiled in a kernel tree, and write to it. So
# FOLDER/tree is a tree for them, in which the kernel's files are links. Programs that do not compile are left out.
set -euo pipefail

# shellcheck source=uml/debian.sh
. "$(dirname "$0")/../debian.sh"

[ $# -ge 2 ] || die "usage: selftests.sh FOLDER NAME..."
version=${KVER:-$(default_version)} out=$1
shift
src=$cache_dir/src/linux-$version tree=$out/tree

"$uml_dir/fetch.sh" "$version" >/dev/null
deb=$(newest_deb "linux-source-$version")
[ -n "$deb" ] || die "the package linux-source-$version is not in $(short "$apt_dir")/debs"

unpack() {
	dpkg-deb --fsys-tarfile "$deb" | tar -xO "./usr/src/linux-source-$version.tar.xz" | xz -dc -T0 |
		tar -x -C "$tree" --strip-components=1 "linux-source-$version/tools/testing/selftests"
	cp -rs "$src"/* "$tree"
	rm -rf "${tree:?}/usr"
	make -s -C "$src" ARCH=x86 O="$tree/obj" headers
	ln -s obj/usr "$tree/usr"
}

compile() {
	local name bad=()
	for name; do
		mkdir -p "$out/$name"
		make -k -C "$tree/tools/testing/selftests/$name" OUTPUT="$out/$name" all || bad+=("$name")
	done
	echo "not all of these: ${bad[*]}"
}

# A make above has settings for the library.
unset MAKEFLAGS MFLAGS MAKELEVEL CFLAGS LDFLAGS
if [ "$(cat "$out/built" 2>/dev/null)" != "$deb $*" ]; then
	rm -rf "$out"
	mkdir -p "$tree"
	step "unpack the selftests" unpack
	step "compile the selftests" compile "$@"
	echo "$deb $*" >"$out/built"
fi
