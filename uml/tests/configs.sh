#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# configs.sh [VERSION]
#
# Compiles arch/um of a guarded tree, with warnings as errors, in configurations that no test kernel has: the smallest one
# with the guard (no /proc, no SMP, no futex), the smallest one with the mapping oracle, and arch/um's defconfig. TAP.
set -euo pipefail

# shellcheck source=uml/common.sh
. "$(dirname "$0")/../common.sh"

version=${1:-$(default_version)}
src=$cache_dir/src/linux-$version-guarded
[ -e "$src/.stubguard" ] || die "$(short "$src") is not there: make uml KVER=$version"

scratch configs
make_it() { kmake "$src" "$dir/$name" -s "$@"; }

# compiles BASE LINE...: the configuration BASE with these lines and the guard
compiles() {
	local base=$1 line
	shift
	mkdir -p "$dir/$name"
	printf '%s\n' CONFIG_64BIT=y CONFIG_UML_STUBGUARD=y "CONFIG_UML_STUBGUARD_DIR=\"$top_dir/build\"" "$@" >"$dir/$name.config"
	if [ "$base" = allnoconfig ]; then
		make_it KCONFIG_ALLCONFIG="$dir/$name.config" allnoconfig || return
	else
		make_it "$base" || return
		cat "$dir/$name.config" >>"$dir/$name/.config"
		make_it olddefconfig || return
	fi
	while read -r line; do
		case $line in
		'# '*) ! grep -q "^${line:2:-11}=" "$dir/$name/.config" ;;
		*) grep -qxF -- "$line" "$dir/$name/.config" ;;
		esac || { echo "lost: $line"; return 1; }
	done <"$dir/$name.config"
	make_it -j"$(nproc)" KCFLAGS=-Werror arch/um/ arch/x86/um/ || return
	[ -e "$dir/$name/arch/um/kernel/skas/stubguard/flush.o" ]
}

# config NAME BASE LINE...
config() {
	local status=0
	name=$1
	shift
	(compiles "$@") >"$dir/log" 2>&1 || status=$?
	result "$status" "$name"
}

config least allnoconfig CONFIG_EXPERT=y '# CONFIG_PROC_FS is not set' '# CONFIG_SMP is not set' '# CONFIG_FUTEX is not set'
config audit allnoconfig CONFIG_SMP=y CONFIG_PROC_FS=y CONFIG_UML_STUBGUARD_AUDIT=y
config defconfig defconfig CONFIG_MODULES=y
plan
