#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# guard-tree.sh [--mend | --upto NUMBER | --revert] TREE: puts stubguard's kernel part into a Linux source tree, or takes it out.
#
# The patches of uml/series are applied in the order of their names. Those before 0100 mend arch/um itself and need no
# library: --mend stops after them. The others are the guard. The files below uml/glue, at the same places in the tree,
# belong to it: a line "Brings: FILE" of a patch's message names each file that comes with the patch. A patch
# NAME.VERSION.patch replaces NAME.patch on Linux VERSION.
#
# --upto NUMBER stops after the patch of that number, and leaves out files that later patches bring. It is for tests and
# reviews of the series, and for those who export it (uml/tests/series.sh).
#
# COSTS=0 leaves out the patches that make arch/um faster, 0050 to 0069 of the series.
#
# TREE/.stubguard has each file as it was (orig) and as this script has left it (new). Unchanged files are not touched, so a
# second run does not restart a build. A run that was killed can be repeated.
set -euo pipefail

# shellcheck source=uml/common.sh
. "$(dirname "$(readlink -f "$0")")/common.sh"

what=guard last=9999
usage="usage: ${0##*/} [--mend | --upto NUMBER | --revert] TREE"
case ${1:-} in
--mend | --revert)
	what=${1#--}
	[ "$what" = revert ] || last=0099
	shift
	;;
--upto)
	what=upto last=${2:-}
	[[ $last =~ ^[0-9]{4}$ ]] || die "$usage: NUMBER is one of uml/series, as 0100"
	shift 2
	;;
--help)
	printf '%s\n' "$usage" "Puts stubguard's kernel part into the Linux source tree TREE, or takes it out." \
		"It is made for Linux $(versions_as and)."
	exit 0
	;;
--version)
	printf '%s %s\n' "${0##*/}" "$(cat "$uml_dir/release" 2>/dev/null || sed -n 's/^version = "\(.*\)"/\1/p' "$top_dir/Cargo.toml" | head -n 1)"
	exit 0
	;;
esac
[ $# = 1 ] || die "$usage"
[ -d "$1" ] || die "$1 is not a folder: give the top of a Linux source tree"
tree=$(cd -P "$1" && pwd)
nocosts=$(nocosts)
glue=$uml_dir/glue
state=$tree/.stubguard next=$tree/.stubguard.next

version=$(tree_version "$tree")
if [ -z "$version" ] || [ ! -f "$tree/arch/um/kernel/skas/stub.c" ]; then
	die "$tree is not a Linux source tree with arch/um: give the top of one"
fi
[ "$what" = revert ] || made_for "$version" "$tree is Linux $version"
command -v patch >/dev/null || die "patch is missing: run uml/deps.sh"
compgen -G "$uml_dir/series/01??-*.patch" >/dev/null || die "$uml_dir/series has no guard: is this clone of the repository complete?"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/orig" "$work/new"

# The files that a patch names, without their first folder (a/, b/).
patched_files() {
	sed -n '/^\(---\|+++\) \/dev\/null/d; s/^\(---\|+++\) [^/\t]*\/\([^\t]*\).*/\2/p' "$1" | sort -u
}

# The series for this version up to the patch $last, one path a line.
series() {
	local p number
	for p in "$uml_dir"/series/*.patch; do
		number=${p##*/}
		(( 10#${number%%-*} <= 10#$last )) || continue
		# A variant for one version, NAME.VERSION.patch, is taken in its patch's place
		case ${p##*/} in
		*.[0-9]*.[0-9]*.patch) continue ;;
		00[56][0-9]-*) [ -z "$nocosts" ] || continue ;;
		esac
		if [ -f "${p%.patch}.$version.patch" ]; then p=${p%.patch}.$version.patch; fi
		[ ! -f "$p" ] || echo "$p"
	done
}

# ---- the tree before us: each file as it is, or as it was recorded

# A killed run may have left $next, which is complete.
rm -rf "$next.tmp" 2>/dev/null || true
if [ -d "$next" ]; then
	rm -rf "$state"
	mv "$next" "$state"
fi

: >"$work/old"
for d in "$state/new" "$state/prev"; do
	[ ! -d "$d" ] || (cd "$d" && find . -type f -printf '%P\n') >>"$work/old"
done
if [ -f "$state/patch" ]; then
	die "$tree was guarded by an older version of this script: revert it with that one, or take a fresh tree"
fi

# original FILE: copies the file as it was before us to $work/orig, if there was one
original() {
	local f=$1
	mkdir -p "$work/orig/$(dirname "$f")"
	if [ -e "$state/new/$f" ] && cmp -s "$state/new/$f" "$tree/$f"; then
		[ ! -e "$state/orig/$f" ] || cp -p "$state/orig/$f" "$work/orig/$f"
	elif [ -e "$state/prev/$f" ] && cmp -s "$state/prev/$f" "$tree/$f"; then
		[ ! -e "$state/orig/$f" ] || cp -p "$state/orig/$f" "$work/orig/$f"	# a killed run
	elif [ -e "$state/orig/$f" ] && cmp -s "$state/orig/$f" "$tree/$f"; then
		cp -p "$tree/$f" "$work/orig/$f"	# somebody has reset the tree, or a killed run
	elif [ -e "$state/new/$f" ] && [ ! -e "$tree/$f" ] && [ ! -e "$state/orig/$f" ]; then
		:	# likewise
	elif [ -e "$state/new/$f" ]; then
		die "$f in $tree was edited after it was guarded: undo that, or start from a fresh tree"
	elif [ -e "$tree/$f" ]; then
		cp -p "$tree/$f" "$work/orig/$f"
	fi
}

: >"$work/patches"
: >"$work/glue"
[ "$what" = revert ] || series >"$work/patches"
if [ "$what" = guard ]; then
	(cd "$glue" && find . -type f ! -name '*~' ! -name '*.orig' ! -name '*.rej' ! -name '.*' -printf '%P\n' | sort) >"$work/glue"
elif [ "$what" = upto ]; then
	while read -r p; do sed -n '/^---$/q; s/^Brings: //p' "$p"; done <"$work/patches" | sort >"$work/glue"
fi
{
	cat "$work/old" "$work/glue"
	while read -r p; do patched_files "$p"; done <"$work/patches"
} | sort -u >"$work/all"
if [ "$what" = revert ] && [ ! -s "$work/old" ]; then
	say "$tree is not guarded: nothing to take out"
	exit 0
fi
while read -r f; do original "$f"; done <"$work/all"

# ---- the new files; the tree is changed only after all patches have fitted

cp -a "$work/orig/." "$work/new/"
while read -r p; do
	# No fuzz: a hunk that fits only roughly may be applied in the wrong place. --force: fail
	# instead of guessing that the patch is reversed.
	patch -d "$work/new" -p1 -F0 --force --no-backup-if-mismatch <"$p" >"$work/log" && continue
	failed=$(sed -n "s/^patching file //; t keep; /FAILED\|can.t find\|Reversed\|ignored/{x;p;x}; b; :keep; h" \
		"$work/log" | sort -u | tr -d "'" | paste -s -d ' ' -)
	die "$(short "$p") does not fit $tree (Linux $version; ${failed:-see patch -p1 --dry-run}): take an unchanged $(versions_as or)"
done <"$work/patches"
find "$work/new" -name '*.orig' -delete
while read -r f; do
	[ ! -e "$work/orig/$f" ] || cmp -s "$glue/$f" "$work/orig/$f" ||
		die "$tree has a file $f of its own, which the glue would replace: take a fresh tree"
	mkdir -p "$work/new/$(dirname "$f")"
	cp "$glue/$f" "$work/new/$f"
done <"$work/glue"

# The record is complete before the files are changed. prev: the files before the change.
if [ "$what" != revert ]; then
	mkdir "$work/prev"
	while read -r f; do
		[ -e "$tree/$f" ] || continue
		mkdir -p "$work/prev/$(dirname "$f")"
		cp -p "$tree/$f" "$work/prev/$f"
	done <"$work/all"
	{
		mkdir "$next.tmp" && cp -a "$work/orig" "$work/new" "$work/prev" "$next.tmp" &&
			mv "$next.tmp" "$next" && rm -rf "$state" && mv "$next" "$state"
	} 2>/dev/null || die "cannot write $state: make the tree writable for you, or work on a copy"
fi

# Each file is replaced as a whole, so that trees which share hard links do not change each other.
changed=0
while read -r f; do
	rm -f "$tree/$f.stubguard-new" 2>/dev/null || true
	if [ ! -e "$work/new/$f" ]; then
		there=0
		[ ! -e "$tree/$f" ] || there=1
		rm -f "$tree/$f" 2>/dev/null || die "cannot remove $tree/$f: make the tree writable for you, or work on a copy"
		# Our folders are empty then, also one that a killed run has just made; the kernel's are not.
		rmdir -p --ignore-fail-on-non-empty "$(dirname "$tree/$f")" 2>/dev/null || true
		[ "$there" = 1 ] || continue
	elif ! cmp -s "$work/new/$f" "$tree/$f"; then
		{ mkdir -p "$(dirname "$tree/$f")" && cp "$work/new/$f" "$tree/$f.stubguard-new" &&
			mv "$tree/$f.stubguard-new" "$tree/$f"; } 2>/dev/null ||
			die "cannot write $tree/$f: make the tree writable for you, or work on a copy"
	else
		continue
	fi
	changed=$((changed + 1))
done <"$work/all"

if [ "$what" = revert ]; then
	rm -rf "$state"
	say "$(short "$tree"): the guard is taken out, $changed files changed"
	exit 0
fi
rm -rf "$state/prev"
case $what in
guard) word=guarded ;;
mend) word=mended ;;
upto) word="up to $last" ;;
esac
if [ "$changed" = 0 ]; then
	say "$(short "$tree"): $word, nothing to change"
else
	say "$(short "$tree"): $word, $changed files changed"
fi
