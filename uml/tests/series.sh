#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# series.sh [VERSION]
#
# Applies the patches of uml/series one after the other to one tree. After each patch
#
# - arch/um compiles with W=1, without a warning that it did not have at the start;
# - before CONFIG_UML_STUBGUARD exists, a patch of the guard changes no object of arch/um;
# - the kernel builds and boots, with the guard on as soon as it exists;
# - if docs/page-tables.md names an attack or a test for the patch, that fails before and passes after.
#
# TAP. The compiler only does what a patch has changed. Sources and objects stay in the cache (VERSION-series*).
#
# FROM, TO: the first and the last patch, as 0100. KINDS: smp, up (both): the kernels. JOBS: how many compilers at a time (all
# CPUs). BUILD=0: no kernels, so only arch/um compiles; that takes minutes. SHOW=0: no attacks and tests. TRIES (5): how often
# an attack may try to succeed before its patch. KMAKE, COSTS=0: as in build.sh.
set -euo pipefail

# shellcheck source=uml/common.sh
. "$(dirname "$0")/../common.sh"

[ $# -le 1 ] || die "usage: series.sh [VERSION]"
version=${1:-$(default_version)}
made_for "$version"
from=${FROM:-0001} to=${TO:-9999}
[[ $from =~ ^[0-9]{4}$ && $to =~ ^[0-9]{4}$ ]] || die "FROM=$from, TO=$to: give numbers of patches, as 0100"
read -ra kinds <<<"${KINDS:-smp up}"
lib_dir=${STUBGUARD_DIR:-$top_dir/build}
jobs=${JOBS:-$(nproc)}
name=$version$(nocosts)-series
src=$cache_dir/src/linux-$name
programs=$top_dir/build/guests
need_busybox
lock "$name"
mkdir -p "$log_dir"
"$uml_dir/fetch.sh" "$version"
if [ ! -d "$src" ]; then
	rm -rf "$src.new"
	cp -al "$cache_dir/src/linux-$version" "$src.new"
	mv "$src.new" "$src"
fi
scratch series

# ---- the patches

# The numbers of all patches that are applied to this version
numbers() {
	find "$uml_dir/series" -name '*.patch' -printf '%f\n' | cut -d - -f 1 | sort -u |
		if [ -n "$(nocosts)" ]; then grep -v '^00[56]'; else cat; fi
}

# patch_of NUMBER: its file
patch_of() {
	local p
	p=$(find "$uml_dir/series" -name "$1-*.patch" ! -name '*.[0-9]*.[0-9]*.patch')
	[ ! -f "${p%.patch}.$version.patch" ] || p=${p%.patch}.$version.patch
	printf '%s' "$p"
}

has_guard() { grep -qx 'config UML_STUBGUARD' "$src/arch/um/Kconfig"; }

# ---- builds

# configure KIND OBJECTS: replaces .config only if it differs, as a new one restarts the build
configure() {
	local obj=$2 f
	mkdir -p "$obj"
	{
		if has_guard; then printf 'CONFIG_UML_STUBGUARD=y\nCONFIG_UML_STUBGUARD_DIR="%s"\n' "$lib_dir"; fi
		if grep -q '^config UML_STUBGUARD_AUDIT' "$src/arch/um/Kconfig"; then echo CONFIG_UML_STUBGUARD_AUDIT=y; fi
		for f in base "base-$version" series "$1"; do
			[ ! -f "$uml_dir/config/$f.config" ] || cat "$uml_dir/config/$f.config"
		done
	} >"$obj/.stubguard-fragment"
	kmake "$src" "$obj" KCONFIG_ALLCONFIG="$obj/.stubguard-fragment" KCONFIG_CONFIG=.config.stubguard -s allnoconfig || return
	cmp -s "$obj/.config.stubguard" "$obj/.config" || mv "$obj/.config.stubguard" "$obj/.config"
	! has_guard || grep -qx CONFIG_UML_STUBGUARD=y "$obj/.config"
}

# compiles KIND: arch/um alone with W=1, in objects of its own
compiles() {
	local obj=$cache_dir/obj/$name-$1-warn
	configure "$1" "$obj" >"$dir/config" 2>&1 || { cat "$dir/config"; return 1; }
	kmake "$src" "$obj" -s -k -j"$jobs" W=1 arch/um/ arch/x86/um/
}
# What the compiler has warned of, without line numbers, as a patch moves lines
warnings() {
	sed -nE '/[Ww]arning:/ { s/:[0-9]+//g; p }' "$dir/log" | sort -u
}

builds() {
	local obj=$cache_dir/obj/$name-$1
	configure "$1" "$obj" || return
	# kbuild does not know that vmlinux depends on the library
	! has_guard || [ ! "$lib_dir/lib/libstubguard.so" -nt "$obj/linux" ] || rm -f "$obj/linux" "$obj/vmlinux" "$obj/vmlinux.unstripped"
	kmake "$src" "$obj" -s -j"$jobs" linux
}

# stripped KIND TO: the objects of arch/um. Local symbols differ, as an initcall's has its line number.
stripped() {
	local object
	rm -rf "$2"
	while read -r object; do
		case $object in arch/um/kernel/config.o | *.tmp_* | */built-in.a) continue ;; esac
		mkdir -p "$2/$(dirname "$object")"
		strip --strip-unneeded -o "$2/$object" "$cache_dir/obj/$name-$1-warn/$object" || return
	done < <(cd "$cache_dir/obj/$name-$1-warn" && find arch/um arch/x86/um -name '*.o')
	[ "$(find "$2" -type f | wc -l)" -gt 30 ]
}

# ---- boots

cat >"$dir/init" <<-INIT
	#!$busybox sh
	$busybox mount -t proc proc /proc
	i=0
	while [ \$i -lt 20 ]; do $busybox true && i=\$((i + 1)); done
	echo "made \$i processes"
	mode=\$($busybox sed -n 's/^mode //p' /proc/stubguard)
	echo "mode \${mode:-none}"
	echo exit-status 0
	$busybox poweroff -f
INIT
chmod +x "$dir/init"

# boots LINUX CPUS MODE [ARGUMENT...]
boots() {
	local linux=$1 cpus=$2 mode=$3
	shift 3
	NCPUS=$cpus MEM=128 "$uml_dir/boot.sh" "$linux" "$dir/init" "$@" || return
	says '^made 20 processes$' && says "^mode $mode\$" && ! says 'BUG: |WARNING: |Call Trace|is lost|failed to wait'
}

# ---- what shows that a patch is needed

# shown_by NUMBER: the words in backquotes of the last column of its row in docs/page-tables.md
shown_by() {
	awk -F ' *[|] *' -v n="$1" '$2 == n { print $(NF - 1) }' "$top_dir/docs/page-tables.md" | grep -o "\`[^\`]*\`" | tr -d "\`" || true
}
# needed_cpus NUMBER
needed_cpus() {
	awk -F ' *[|] *' -v n="$1" '$2 == n { print $4 }' "$top_dir/docs/page-tables.md" | grep -q 'several CPUs' && echo 2 || echo 1
}

# attack NAME LINUX CPUS: passes if the attack is blocked; 2 if it has not told
attack() {
	WORKLOADS='' ATTACKS=$1 NCPUS=$3 JOBS=1 STUBGUARD_LOGS=$dir/logs "$uml_dir/run.sh" it="$2" || true
	! says "^\[uml\] $1, it: BREACHED" || return 1
	says "^\[uml\] $1, it: BLOCKED" || return 2
}

exceptions() {
	local status=0
	cc -O2 -static -o "$dir/exceptions" "$uml_dir/tests/exceptions.c" || return 2
	printf '#!%s sh\n%s/exceptions\necho exit-status $?\n%s poweroff -f\n' "$busybox" "$dir" "$busybox" >"$dir/run"
	chmod +x "$dir/run"
	MEM=128 "$uml_dir/boot.sh" "$1" "$dir/run" || status=1
	return "$status"
}

torturer() { SECONDS_EACH=${SECONDS_EACH:-30} NCPUS=$3 "$uml_dir/tests/torture.sh" "$2" "$1"; }

# try WHAT LINUX CPUS: 0 if it passes, 1 if it fails, 2 if it has not told, 3 if this script cannot run it
try() {
	case $1 in
	exceptions.c) exceptions "$2" ;;
	futex) torturer futex "$2" "$3" ;;
	*) if grep -qxF -- "$1" "$dir/attacks"; then attack "$@"; else return 3; fi ;;
	esac >"$dir/log" 2>&1
}

# later NUMBER WHAT: does a later patch name the same? Then both are needed.
later() {
	local n
	for n in $(numbers); do
		[ "$((10#$n))" -le "$((10#$1))" ] || ! shown_by "$n" | grep -qxF -- "$2" || return 0
	done
	return 1
}

# show NUMBER BEFORE AFTER: for each attack or test of the row
show() {
	local what cpus status tries
	cpus=$(needed_cpus "$1")
	while read -r what; do
		status=0 tries=0
		while [ "$tries" -lt "${TRIES:-5}" ]; do
			tries=$((tries + 1)) status=0
			try "$what" "$2" "$cpus" || status=$?
			[ "$status" != 0 ] || continue
			break
		done
		if [ "$status" = 3 ]; then
			result 0 "$1: $what # SKIP not for this script"
			continue
		fi
		result $((status != 1)) "$1: $what fails before ($cpus CPU, try $tries)"
		if later "$1" "$what"; then continue; fi
		status=0
		try "$what" "$3" "$cpus" || status=$?
		result "$status" "$1: $what passes after ($cpus CPU)"
	done < <(shown_by "$1" | grep -v '^guarded')
}

# ---- the series

if [ "${BUILD:-1}${SHOW:-1}" = 11 ]; then
	make -s -C "$uml_dir/guests" OUT="$programs"
	"$programs/hostile" --list | cut -d ' ' -f 1 >"$dir/attacks"
fi
before=0000 todo=''
for number in $(numbers); do
	if [ "$((10#$number))" -lt "$((10#$from))" ]; then
		before=$number
	elif [ "$((10#$number))" -le "$((10#$to))" ]; then
		todo+=" $number"
	fi
done
[ -n "$todo" ] || die "FROM=$from, TO=$to: uml/series has no such patch"

# step_kind NUMBER|start KIND: all that is looked at after a patch, but for attacks and tests. The start only has to build.
step_kind() {
	local number=$1 kind=$2 cpus=1 obj=$cache_dir/obj/$name-$2 status=0 mode
	[ "$kind" = up ] || cpus=2
	compiles "$kind" >"$dir/log" 2>&1 || status=1
	warnings >"$dir/$kind.new"
	if [ "$number" = start ]; then
		[ "$status" = 0 ] || { tail -n 25 "$dir/log" >&2; die "arch/um does not compile before the first patch"; }
		cp "$dir/$kind.new" "$dir/$kind.warnings"
	else
		comm -13 "$dir/$kind.warnings" "$dir/$kind.new" | sed 's/^/new: /' >>"$dir/log"
		! says '^new: ' || status=1
		result "$status" "$number $kind: arch/um compiles with W=1, no new warnings"
	fi
	if [ "$status" = 0 ] && ! has_guard; then
		stripped "$kind" "$dir/$kind.objects.new" >"$dir/log" 2>&1 || status=1
		if [ "$number" != start ] && [ "$((10#$number))" -ge 100 ]; then
			diff -r "$dir/$kind.objects" "$dir/$kind.objects.new" >>"$dir/log" 2>&1 || status=1
			result "$status" "$number $kind: no object of arch/um changes"
		fi
		rm -rf "$dir/$kind.objects"
		mv "$dir/$kind.objects.new" "$dir/$kind.objects"
	fi

	[ "${BUILD:-1}" = 1 ] || return 0
	rm -f "$dir/$kind.before"
	[ "$number" = start ] || cp "$obj/linux" "$dir/$kind.before"
	status=0
	builds "$kind" >"$dir/log" 2>&1 || status=1
	if [ "$number" = start ]; then
		[ "$status" = 0 ] || { tail -n 25 "$dir/log" >&2; die "the kernel does not build before the first patch"; }
		return
	fi
	result "$status" "$number $kind: the kernel builds"
	[ "$status" = 0 ] || return 0

	if has_guard; then
		for mode in window notify off; do
			status=0
			boots "$obj/linux" "$cpus" "$mode" "stubguard=$mode" >"$dir/log" 2>&1 || status=1
			result "$status" "$number $kind: boots, $mode, $cpus CPU"
		done
	else
		status=0
		boots "$obj/linux" "$cpus" none >"$dir/log" 2>&1 || status=1
		result "$status" "$number $kind: boots, $cpus CPU"
	fi
}

for kind in "${kinds[@]}"; do
	case $kind in smp | up) ;; *) die "KINDS=$KINDS: the kinds are smp and up" ;; esac
	rm -rf "$cache_dir/obj/$name-$kind-warn/arch"
done
for number in start $todo; do
	upto=$number
	[ "$number" != start ] || upto=$before
	"$uml_dir/guard-tree.sh" --upto "$upto" "$src" >"$dir/log" 2>&1 || {
		result 1 "$number: fits"
		break
	}
	[ "$number" = start ] || printf '# %s\n' "$(sed -n 's/^Subject: \[PATCH\] //p;/^---$/q' "$(patch_of "$number")")"
	for kind in "${kinds[@]}"; do
		step_kind "$number" "$kind"
		if [ "$number" != start ] && [ "${BUILD:-1}${SHOW:-1}" = 11 ] && [ "$kind" = "${kinds[0]}" ]; then
			show "$number" "$dir/$kind.before" "$cache_dir/obj/$name-$kind/linux"
		fi
	done
done
plan
