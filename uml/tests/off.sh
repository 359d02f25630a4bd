#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# off.sh [VERSION]
#
# Without CONFIG_UML_STUBGUARD the guard's patches do not change the kernel. Compiles all objects of arch/um and
# arch/x86/um without the option, from a guarded tree and from one that is only mended, and compares them byte for
# byte. Not compared: config.o, whose text names the option, and local symbols, as an initcall's has its line number.
set -euo pipefail

# shellcheck source=uml/common.sh
. "$(dirname "$0")/../common.sh"

version=${1:-$(default_version)}
src=$cache_dir/src/linux-$version
obj=$cache_dir/obj/$version-unguarded
[ -e "$obj/linux" ] || die "$(short "$obj") has not been built: make uml KVER=$version"

scratch off

# Two trees that share their unchanged files. Each build starts with the unguarded kernel's objects.
for tree in with without; do
	cp -al "$src" "$dir/$tree-src"
	cp -a "$obj" "$dir/$tree"
done
"$uml_dir/guard-tree.sh" "$dir/with-src" >/dev/null
"$uml_dir/guard-tree.sh" --revert "$dir/with-src" >/dev/null
! grep -rqsi stubguard "$dir/with-src/arch/um" || die "guard-tree.sh --revert has left something"
"$uml_dir/guard-tree.sh" "$dir/with-src" >/dev/null
"$uml_dir/guard-tree.sh" --mend "$dir/without-src" >/dev/null
for tree in with without; do
	# Both at the same path, since objects name their sources
	mv "$dir/$tree-src" "$dir/src"
	kmake "$dir/src" "$dir/$tree" -s olddefconfig
	kmake "$dir/src" "$dir/$tree" -s -j"$(nproc)" arch/um/ arch/x86/um/
	mv "$dir/src" "$dir/$tree-src"
done

compared=0 different=0
while read -r object; do
	case $object in arch/um/kernel/config.o | *.tmp_* | */built-in.a) continue ;; esac
	compared=$((compared + 1))
	strip --strip-unneeded -o "$dir/with.o" "$dir/with/$object"
	strip --strip-unneeded -o "$dir/without.o" "$dir/without/$object"
	cmp -s "$dir/with.o" "$dir/without.o" && continue
	different=$((different + 1))
	echo "different: $object"
done < <(cd "$dir/without" && find arch/um arch/x86/um -name '*.o' | sort)
[ "$compared" -gt 30 ] || die "only $compared objects were compared"
[ "$different" -eq 0 ] || die "$different of $compared objects differ with the option off"
echo "$compared objects are the same, byte for byte, with the option off and without the guard's patches"
