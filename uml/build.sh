#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# build.sh VERSION VARIANT...        builds UML kernels of our own under .cache/obj/VERSION-VARIANT
# build.sh --kdir DIR [--kbuild DIR] [--form shared|static]
#                                    guards and builds a user's own kernel, with the user's configuration
#
# VERSION is one of uml/versions. VARIANT is unguarded (Linux as it comes), mended (with the patches of uml/series before
# 0100), guarded or guarded-static (with all patches). It may be followed by fragments of uml/config: unguarded-up,
# guarded-debug, guarded-static-up. All variants begin with base.config; with the
# fragment distro arch/um's defconfig is beneath it.
#
# JOBS: how many compilers at a time (all CPUs). KMAKE: more arguments for the kernel's make, e.g. LLVM=1.
# COSTS=0: without the patches of uml/series that make arch/um faster (guard-tree.sh). Mended and guarded kernels of our own
# are in VERSION-nocosts-VARIANT then.
set -euo pipefail

# shellcheck source=uml/common.sh
. "$(dirname "$0")/common.sh"

usage="usage: build.sh VERSION VARIANT..., or build.sh --kdir DIR [--kbuild DIR] [--form shared|static]"
lib_dir=${STUBGUARD_DIR:-$top_dir/build}
jobs=${JOBS:-$(nproc)}

no_spaces() {
	case $1 in *[[:space:]:]*) die "the kernel cannot be built where the path has spaces or colons: $1" ;; esac
}

lib_present() {
	local f=libstubguard.so
	[ "$1" = shared ] || f=libstubguard.a
	for f in "lib/$f" include/stubguard.h; do
		[ -e "$lib_dir/$f" ] || die "$lib_dir/$f is not built yet: run make lib"
	done
}

# kbuild does not know that vmlinux depends on the library. The static form is a part of
# vmlinux, so each change counts; of the shared form only its name and symbols count.
lib_identity() {
	if [ "$1" = static ]; then
		cat "$lib_dir/lib/libstubguard.a"
	else
		readelf -W --dynamic --dyn-syms "$lib_dir/lib/libstubguard.so" |
			awk '/SONAME/ { print $NF } $5 == "GLOBAL" || $5 == "WEAK" { print $7, $8 }' | sort
	fi | sha256sum
}
relink_if_changed() {
	local obj=$1 form=$2 now
	now="$form $lib_dir $(lib_identity "$form")"
	[ "$(cat "$obj/.stubguard-lib" 2>/dev/null)" = "$now" ] ||
		rm -f "$obj/linux" "$obj/vmlinux" "$obj/vmlinux.unstripped" "$obj/.stubguard-lib"
	lib_now=$now
}

# has OBJECTS LINE: is the line in the configuration?
has() { grep -qxF -- "$2" "$1/.config"; }

report() {
	local linux=$1/linux
	say "$(short "$linux"): $(size -B "$linux" | awk 'NR == 2 { printf "%.1f MB text, %.1f MB data", $1 / 1e6, $2 / 1e6 }')"
}

# ---- kernels of our own

# Splits guarded-static-debug: $kind is guarded, $form is static (nothing without the guard), $flavours is (debug).
parse_variant() {
	local words word
	IFS=- read -ra words <<<"$1"
	kind=${words[0]:-} form='' flavours=()
	case $kind in
	unguarded | mended) ;;
	guarded) form=shared ;;
	*) die "unknown variant $1; $usage" ;;
	esac
	for word in "${words[@]:1}"; do
		if [ "$word" = static ] && [ "$form" = shared ]; then
			form=static
		elif [ "$word" != base ] && [ -f "$uml_dir/config/$word.config" ]; then
			flavours+=("$word")
		else
			die "unknown variant $1: $word is not a fragment in $(short "$uml_dir")/config"
		fi
	done
}

# fragments VERSION: the configuration of a variant. NAME-VERSION.config is for that version only, NAME-guarded.config for
# what the series adds. Of two lines for one option the later one counts.
fragments() {
	local name f more=guarded
	[ "$kind" != unguarded ] || more=unguarded
	[ -z "$form" ] || printf 'CONFIG_UML_STUBGUARD=y\nCONFIG_UML_STUBGUARD_AUDIT=y\nCONFIG_UML_STUBGUARD_DIR="%s"\n' "$lib_dir"
	for name in base ${flavours[0]+"${flavours[@]}"}; do
		for f in "$uml_dir/config/$name.config" "$uml_dir/config/$name-$1.config" "$uml_dir/config/$name-$more.config"; do
			[ ! -f "$f" ] || cat "$f"
		done
	done
	[ "$form" != static ] || echo CONFIG_UML_STUBGUARD_STATIC=y
}

# beneath SOURCE: the configuration that the fragments change. Nothing: the smallest one
beneath() {
	[[ " ${flavours[*]-} " != *" distro "* ]] || cat "$1/arch/um/configs/x86_64_defconfig"
}

# lost OBJECTS: options of the fragments that .config lacks. Kconfig itself does not report them.
lost() {
	awk '
	match($0, /CONFIG_[A-Za-z0-9_]+/) && /^(# )?CONFIG_[A-Za-z0-9_]+(=| is not set$)/ {
		name = substr($0, RSTART, RLENGTH)
		if (FILENAME == ARGV[1]) want[name] = $0
		else have[name] = $0
	}
	END {
		for (name in want) {
			if (!(name in have) ? want[name] !~ /not set$/ : have[name] != want[name])
				print want[name]
		}
	}' "$1/.stubguard-fragment" "$1/.config" | sort | paste -s -d , -
}

# config_key SOURCE OBJECTS: a hash of a configuration and of its sources
config_key() {
	{ cat "$2/.stubguard-fragment" "$1/arch/um/Kconfig" "$2/.config" 2>/dev/null || true; } | sha256sum
}

# build_variant VERSION VARIANT SOURCE
build_variant() {
	local version=$1 variant=$2 src=$3 obj=$cache_dir/obj/$1-$2 other tmp
	local kind form flavours missing start=allnoconfig targets=(linux)
	parse_variant "$variant"
	[ -z "$form" ] || lib_present "$form"

	if [ ! -d "$obj" ]; then
		tmp=$obj.new
		rm -rf "$tmp"
		mkdir -p "$cache_dir/obj" "$tmp"
		# The two forms differ only in the last step, so one starts as a copy of the other
		for other in "${variant/#guarded-static/guarded}" "${variant/#guarded/guarded-static}"; do
			[ "$other" != "$variant" ] || continue
			[ -e "$cache_dir/obj/$version-$other/linux" ] || continue
			say "$version-$variant starts as a copy of $version-$other"
			cp -a --reflink=auto "$cache_dir/obj/$version-$other/." "$tmp/"
			rm -f "$tmp/linux" "$tmp/vmlinux" "$tmp/vmlinux.unstripped" "$tmp/.stubguard-lib"
			break
		done
		mv "$tmp" "$obj"
	fi

	# The configuration is made anew if its sources have changed or it was edited. It replaces the old
	# one only if it differs, since a new .config restarts the build.
	fragments "${version%-nocosts}" >"$obj/.stubguard-fragment"
	if [ "$(cat "$obj/.stubguard-config" 2>/dev/null)" != "$(config_key "$src" "$obj")" ]; then
		beneath "$src" >"$obj/.stubguard-all"
		[ ! -s "$obj/.stubguard-all" ] || start=alldefconfig
		cat "$obj/.stubguard-fragment" >>"$obj/.stubguard-all"
		kmake "$src" "$obj" KCONFIG_ALLCONFIG="$obj/.stubguard-all" KCONFIG_CONFIG=.config.stubguard -s "$start" \
			>"$log_dir/config-$version-$variant.log" 2>&1 ||
			die "cannot make the configuration of $version-$variant (log: $(short "$log_dir")/config-$version-$variant.log)"
		cmp -s "$obj/.config.stubguard" "$obj/.config" || mv "$obj/.config.stubguard" "$obj/.config"
		config_key "$src" "$obj" >"$obj/.stubguard-config"
	fi
	missing=$(lost "$obj")
	[ -z "$missing" ] ||
		die "$version-$variant has lost options, see what they depend on in $(short "$src"): $missing"

	! has "$obj" CONFIG_MODULES=y || targets+=(modules)
	lib_now=
	[ -z "$form" ] || relink_if_changed "$obj" "$form"
	# The binary does not depend on user, time and host.
	step "build $version-$variant" kmake "$src" "$obj" -j"$jobs" \
		KBUILD_BUILD_TIMESTAMP="$(date -u -R -r "$src/Makefile")" KBUILD_BUILD_VERSION=1 \
		KBUILD_BUILD_USER=uml KBUILD_BUILD_HOST=stubguard "${targets[@]}"
	[ -z "$lib_now" ] || printf '%s\n' "$lib_now" >"$obj/.stubguard-lib"
	report "$obj"
}

# copy_tree FROM TO: a second tree, which shares its unchanged files with the first one
copy_tree() {
	[ ! -d "$2" ] || return 0
	rm -rf "$2.new"
	cp -al "$1" "$2.new"
	mv "$2.new" "$2"
}

# Unguarded kernels are of the sources as they come. Mended and guarded ones have a tree each, which variants share.
build_own() {
	local version=$1 src=$cache_dir/src/linux-$1 nocosts variant from kind form flavours
	nocosts=$(nocosts)
	shift
	for variant; do
		parse_variant "$variant"
	done
	lock "$version"
	mkdir -p "$log_dir"
	"$uml_dir/fetch.sh" "$version"
	for variant; do
		parse_variant "$variant"
		if [ "$kind" = unguarded ]; then
			build_variant "$version" "$variant" "$src"
			continue
		fi
		from=$src$nocosts-$kind
		copy_tree "$src" "$from"
		if [ "$kind" = mended ]; then
			"$uml_dir/guard-tree.sh" --mend "$from"
		else
			"$uml_dir/guard-tree.sh" "$from"
		fi
		build_variant "$version$nocosts" "$variant" "$from"
	done
}

# ---- somebody's own kernel

build_kdir() {
	local src=$1 obj=${2:-$1} form=${3:-shared} f static
	case $form in shared | static) ;; *) die "FORM=$form: the forms are shared and static" ;; esac
	[ -f "$src/Makefile" ] || die "KDIR=$src is not a kernel source tree: give the top of a Linux $(versions_as or)"
	src=$(cd -P "$src" && pwd)
	[ -d "$obj" ] || die "KBUILD=$obj is not a folder: give the one with your kernel's .config, or leave KBUILD out"
	obj=$(cd -P "$obj" && pwd)
	no_spaces "$src"
	no_spaces "$obj"
	[ -f "$obj/.config" ] ||
		die "no .config in $obj: configure your kernel first (make ARCH=um defconfig), or give its build folder as KBUILD="
	has "$obj" CONFIG_UML=y || die "$obj/.config is not one of UML: configure with ARCH=um"
	has "$obj" CONFIG_64BIT=y || die "$obj/.config is of a 32-bit UML: stubguard guards 64-bit ones"
	if [ "$src" != "$obj" ] && [ -e "$src/.config" ]; then
		die "$src was also built in place, so it cannot be built in $obj: leave KBUILD out, or run make ARCH=um mrproper in $src"
	fi
	for f in "$obj" "$obj/.config"; do
		[ -w "$f" ] || die "$f is not writable for you: run as its owner, or work on a copy"
	done
	lib_present "$form"
	lock kdir
	mkdir -p "$log_dir"
	"$uml_dir/guard-tree.sh" "$src"
	say "own kernel: sources $src, objects $obj"

	cp -p "$obj/.config" "$obj/.config.before-stubguard"
	static=--disable
	[ "$form" = shared ] || static=--enable
	"$src/scripts/config" --file "$obj/.config" --enable UML_STUBGUARD --set-str UML_STUBGUARD_DIR "$lib_dir" \
		"$static" UML_STUBGUARD_STATIC
	kmake "$src" "$obj" -s olddefconfig >"$log_dir/config-kdir.log" 2>&1 ||
		die "make olddefconfig failed in $obj (log: $(short "$log_dir")/config-kdir.log)"
	has "$obj" CONFIG_UML_STUBGUARD=y ||
		die "CONFIG_UML_STUBGUARD could not be switched on in $obj/.config: see what it depends on in $src/arch/um/Kconfig"
	[ "$form" = shared ] || has "$obj" CONFIG_UML_STUBGUARD_STATIC=y ||
		die "CONFIG_UML_STUBGUARD_STATIC could not be switched on in $obj/.config: see what it depends on in $src/arch/um/Kconfig"
	! cmp -s "$obj/.config.before-stubguard" "$obj/.config" ||
		touch -r "$obj/.config.before-stubguard" "$obj/.config"
	if diff "$obj/.config.before-stubguard" "$obj/.config" | grep -E '^[<>] (# )?CONFIG_' | grep -qv CONFIG_UML_STUBGUARD; then
		say "note: other options changed as well, as the .config was not of this tree and compiler: compare with $obj/.config.before-stubguard"
	fi
	relink_if_changed "$obj" "$form"
	step "build own kernel, $form form" kmake "$src" "$obj" -j"$jobs" linux
	printf '%s\n' "$lib_now" >"$obj/.stubguard-lib"
	report "$obj"
	say "guarded=$obj/linux"
}

no_spaces "$top_dir"
no_spaces "$cache_dir"
no_spaces "$lib_dir"
if [ "${1:-}" = --kdir ]; then
	kdir='' kbuild='' form=''
	while [ $# -gt 0 ]; do
		[ $# -ge 2 ] || die "$usage"
		case $1 in
		--kdir) kdir=$2 ;;
		--kbuild) kbuild=$2 ;;
		--form) form=$2 ;;
		*) die "$usage" ;;
		esac
		shift 2
	done
	build_kdir "$kdir" "$kbuild" "$form"
else
	[ $# -ge 2 ] || die "$usage"
	made_for "$1"
	build_own "$@"
fi
