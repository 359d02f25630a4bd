#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# installed.sh [FOLDER]: installs the packages that are in FOLDER (build/deb) into a root of their own, uses them there as
# people who have nothing else, and removes them. TAP. Needs root.
#
# The root is this machine's own, in an overlay, so nothing is changed here; this repository is not in it.
set -euo pipefail

# shellcheck source=uml/common.sh
. "$(dirname "$0")/../uml/common.sh"

debs=$(realpath -e -- "${1:-$top_dir/build/deb}") || die "there are no packages: make deb"
[ "$(id -u)" = 0 ] || die "it mounts file systems: run it as root"
kver=$(default_version)

if [ "${STUBGUARD_INSIDE:-}" != 1 ]; then
	compgen -G "$debs/*.deb" >/dev/null || die "there are no packages in $debs: make deb"
	[ -f "$cache_dir/src/linux-$kver/Makefile" ] || "$uml_dir/fetch.sh" "$kver"
	dir=$(mktemp -d)
	trap 'rm -rf "$dir"' EXIT
	exec unshare --mount --propagation private env STUBGUARD_INSIDE=1 TEST_DIR="$dir" "$0" "$debs"
fi

# ---- the root: what is written goes to memory, with the namespace
dir=$TEST_DIR
mount -t tmpfs tmpfs "$dir"
mkdir "$dir/upper" "$dir/work" "$dir/root" "$dir/tree"
# Of the kernel's tree, what the patches change
(
	cd "$cache_dir/src/linux-$kver"
	sed -n 's/^\(---\|+++\) [^/]*\/\([^\t]*\).*/\2/p' "$uml_dir"/series/*.patch | sort -u |
		while IFS= read -r file; do [ ! -f "$file" ] || cp --parents "$file" "$dir/tree"; done
	cp --parents Makefile arch/um/kernel/skas/stub.c "$dir/tree"
)
mount -t overlay overlay -o "lowerdir=/,upperdir=$dir/upper,workdir=$dir/work" "$dir/root"
for place in proc sys dev; do mount --rbind "/$place" "$dir/root/$place"; done
mount -t tmpfs -o mode=1777 tmpfs "$dir/root/tmp"
mkdir "$dir/root/tmp/debs" "$dir/root/tmp/uml"
cp "$debs"/*.deb "$dir/root/tmp/debs/"
cp -r "$uml_dir/tests" "$uml_dir/common.sh" "$uml_dir/versions" "$dir/root/tmp/uml/"
cp "$top_dir/Cargo.toml" "$dir/root/tmp/"
cp -r "$dir/tree" "$dir/root/tmp/tree"
chmod -R a+rX "$dir/root/tmp"
# Whatever there is of this project on the machine is not there.
mount -t tmpfs tmpfs "$dir/root$top_dir"
cd "$dir/root"
mkdir -p tmp/old
pivot_root . tmp/old
cd /
umount -l /tmp/old

# ---- what users do
export HOME=/tmp PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export TMPDIR=/tmp LC_ALL=C.UTF-8
uml_dir=/tmp/uml dir=/tmp
version=$(sed -n 's/^version = "\(.*\)"/\1/p' /tmp/Cargo.toml | head -n 1)

check() {
	local name=$1 ok=0
	shift
	"$@" >"$dir/log" 2>&1 </dev/null || ok=1
	result "$ok" "$name"
}
user() { setpriv --reuid 12345 --regid 12345 --clear-groups "$@"; }

nothing_there() { ! command -v stubguard-run stubguard-guard-tree && [ ! -e /usr/include/stubguard.h ]; }
check "nothing of it is there before" nothing_there
check "the packages can be installed" dpkg --install /tmp/debs/*.deb
cat >/tmp/program.c <<'END'
#include <stdio.h>
#include <stubguard.h>
int stub_mmap_allowed(struct mm_id *mm_id, unsigned long addr, unsigned long prot, unsigned long offset)
{
	return mm_id && addr && prot && offset;
}
int main(void)
{
	puts(stubguard_version());
	return stubguard_features() != 0;
}
END
compiles() {
	local forms
	read -ra forms < <(pkg-config "$@" --cflags --libs stubguard)
	shift $#
	cc -Wall -Werror "${static[@]}" -o /tmp/program /tmp/program.c "${forms[@]}" && [ "$(/tmp/program)" = "$version" ]
}
static=()
check "a program builds with the shared form, and runs" compiles
check "it is linked with the library" sh -c 'ldd /tmp/program | grep -q "libstubguard.so.0 => /"'
static=(-static)
check "a program builds with the static form, and runs" compiles --static
check "stubguard-guard-tree says what it does" sh -c "stubguard-guard-tree --help | grep -q '^usage: stubguard-guard-tree'"
check "and of which version it is" sh -c "stubguard-guard-tree --version | grep -qF 'stubguard-guard-tree $version'"
cp -r /tmp/tree /tmp/before
check "it guards a tree" stubguard-guard-tree /tmp/tree
check "the guard is there" grep -q 'config UML_STUBGUARD' /tmp/tree/arch/um/Kconfig
check "it takes it out again" stubguard-guard-tree --revert /tmp/tree
check "the tree is as it was" diff -r /tmp/before /tmp/tree
check "stubguard-run runs a command" user stubguard-run -- /bin/true
check "and passes its status" user sh -c 'stubguard-run false; [ $? -eq 1 ]'
check "and says which version it is" sh -c "stubguard-run --version | grep -qF ' $version'"
check "the kernel can be started by hand" sh -c 'linux.stubguard --version | grep -q "^[0-9]"'
check "tests of stubguard-run" env SECTIONS="status files" STUBGUARD_RUN_USER=1 \
	STUBGUARD_CACHE=/tmp/cache setpriv --reuid 12345 --regid 12345 --clear-groups bash /tmp/uml/tests/run-command.sh /usr/bin/stubguard-run
for page in stubguard-run stubguard-guard-tree linux.stubguard; do
	check "the manual of $page" sh -c "zcat /usr/share/man/man1/$page.1.gz | grep -q '^.SH NAME'"
done
mapfile -t names < <(for deb in /tmp/debs/*.deb; do dpkg-deb --field "$deb" Package; done)
check "the packages can be removed" dpkg --purge "${names[@]}"
nothing_left() { [ -z "$(find /usr -newer /tmp/program.c -iname '*stubguard*' ! -path '*/tmp/*')" ] && [ ! -e /usr/lib/stubguard ] && [ ! -e /usr/share/stubguard ]; }
check "and nothing is left of them" nothing_left
plan
