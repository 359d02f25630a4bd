#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# off.sh [VERSION]
#
# Without CONFIG_UML_STUBGUARD the patch leaves the kernel as it was: all objects of arch/um and
# arch/x86/um are compiled from the tree with and without it, and compared byte for byte. (All
# but the text of the configuration itself, which names the option, and local symbols, since an
# initcall's has its line number.)
set -euo pipefail

# shellcheck source=uml/common.sh
. "$(dirname "$0")/../common.sh"

version=${1:-7.2}
src=$cache_dir/src/linux-$version
obj=$cache_dir/obj/$version-unguarded
[ -e "$obj/linux" ] || die "$(short "$obj") has not been built: make uml KVER=$version"

dir=$(mktemp -d "$cache_dir/off.XXXXXX")
trap 'rm -rf "$dir"' EXIT

# The tree as it was; what is not changed is shared with ours.
cp -al "$src" "$dir/src"
"$uml_dir/guard-tree.sh" --revert "$dir/src" >/dev/null
! grep -rqsi stubguard "$dir/src/arch/um" || die "guard-tree.sh --revert has left something"
cp -a "$obj" "$dir/obj"
env -u MAKEFLAGS -u MAKELEVEL -u CFLAGS -u LDFLAGS make -s -C "$dir/src" ARCH=um O="$dir/obj" -j"$(nproc)" \
	arch/um/ arch/x86/um/ </dev/null

compared=0 different=0
while read -r object; do
	case $object in arch/um/kernel/config.o | *.tmp_* | */built-in.a) continue ;; esac
	compared=$((compared + 1))
	strip --strip-unneeded -o "$dir/with.o" "$obj/$object"
	strip --strip-unneeded -o "$dir/without.o" "$dir/obj/$object"
	cmp -s "$dir/with.o" "$dir/without.o" && continue
	different=$((different + 1))
	echo "different: $object"
done < <(cd "$dir/obj" && find arch/um arch/x86/um -name '*.o' | sort)
[ "$compared" -gt 30 ] || die "only $compared objects were compared"
[ "$different" -eq 0 ] || die "$different of $compared objects differ with the option off"
echo "$compared objects are the same, byte for byte, with the option off and without the patch"
