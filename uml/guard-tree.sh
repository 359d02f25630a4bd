#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# guard-tree.sh [--revert] TREE: puts stubguard's kernel glue into a Linux source tree, or takes it out.
#
# The files below uml/glue/ go to the same places in the tree, then uml/stubguard.patch is applied.
# What went in is remembered in TREE/.stubguard. A file whose content would not change is not
# touched, so that a second run does not make a build start again.
set -euo pipefail

# shellcheck source=uml/common.sh
. "$(dirname "$0")/common.sh"

revert=
if [ "${1:-}" = --revert ]; then
	revert=1
	shift
fi
[ $# = 1 ] || die "usage: guard-tree.sh [--revert] TREE"
[ -d "$1" ] || die "$1 is not a folder: give the top of a Linux source tree"
tree=$(cd -P "$1" && pwd)
glue=$uml_dir/glue
patch=$uml_dir/stubguard.patch
state=$tree/.stubguard

version=$(tree_version "$tree")
if [ -z "$version" ] || [ ! -f "$tree/arch/um/kernel/skas/stub.c" ]; then
	die "$tree is not a Linux source tree with arch/um: give the top of one"
fi
case $version in
7.2 | 7.3) ;;
*)
	[ -n "${FORCE:-}" ] || [ -n "$revert" ] ||
		die "$tree is Linux $version, stubguard is made for 7.2 and 7.3: take one of these, or try with FORCE=1"
	;;
esac
command -v patch >/dev/null || die "patch is missing: run uml/deps.sh"
[ -f "$patch" ] || die "$patch is missing: is this clone of the repository complete?"

# The files that a patch names, without their first folder (a/, b/).
patched_files() {
	sed -n '/^\(---\|+++\) \/dev\/null/d; s/^\(---\|+++\) [^/\t]*\/\([^\t]*\).*/\2/p' "$1" | sort -u
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/new"

# All is done on copies first; the tree is changed only when everything went well.
if [ -f "$state/patch" ]; then
	old=$state/patch
else
	old=/dev/null
fi
{
	patched_files "$old"
	patched_files "$patch"
} | sort -u >"$work/files"
while read -r f; do
	[ -e "$tree/$f" ] || continue
	mkdir -p "$work/new/$(dirname "$f")"
	cp -p "$tree/$f" "$work/new/$f"
done <"$work/files"

# No fuzz: a hunk that fits only roughly may well end up in the wrong place. And --force,
# which here means: fail instead of guessing that the patch is meant the other way round.
try_patch() {
	patch -d "$work/new" -p1 -F0 --force --no-backup-if-mismatch "$@" >"$work/log"
}
failed_files() {
	sed -n 's/^\(checking\|patching\) file //; t keep; /FAILED\|can.t find\|Reversed\|ignored/{x;p;x}; b; :keep; h' \
		"$work/log" | sort -u | tr -d "'" | paste -s -d ' ' -
}

if [ -f "$state/patch" ] && try_patch --dry-run <"$patch"; then
	: # What is remembered is of the past: the tree was reset by other means.
elif [ -f "$state/patch" ]; then
	try_patch -R --dry-run <"$old" ||
		die "files in $tree were edited after it was guarded ($(failed_files)): undo that, or start from a fresh tree"
	try_patch -R <"$old"
elif try_patch -R --dry-run <"$patch"; then
	# Somebody applied the patch by hand: take the tree over.
	try_patch -R <"$patch"
elif [ -n "$revert" ]; then
	say "$tree is not guarded: nothing to take out"
	exit 0
fi
if [ -z "$revert" ]; then
	try_patch --dry-run <"$patch" ||
		die "uml/stubguard.patch does not fit $tree (Linux $version; $(failed_files)): take an unchanged 7.2 or 7.3"
	try_patch <"$patch"
fi

# The glue files that are to be there, and those that were.
if [ -z "$revert" ] && [ -d "$glue" ]; then
	(cd "$glue" && find . -type f ! -name '*~' ! -name '*.orig' ! -name '*.rej' ! -name '.*' -printf '%P\n' | sort) >"$work/glue"
else
	: >"$work/glue"
fi
if [ -f "$state/glue" ]; then cp "$state/glue" "$work/glue.old"; else : >"$work/glue.old"; fi
while read -r f; do
	if [ -e "$tree/$f" ] && ! grep -qxF -- "$f" "$work/glue.old" && ! cmp -s "$glue/$f" "$tree/$f"; then
		die "$tree has a file $f of its own, which the glue would replace: take a fresh tree"
	fi
	mkdir -p "$work/new/$(dirname "$f")"
	cp "$glue/$f" "$work/new/$f"
done <"$work/glue"

# Now the tree itself. Each file is replaced as a whole: trees that are made of hard links
# do not change each other.
sort -u "$work/files" "$work/glue" "$work/glue.old" >"$work/all"
changed=0
while read -r f; do
	if [ ! -e "$work/new/$f" ]; then
		[ -e "$tree/$f" ] || continue
		rm -f "$tree/$f" 2>/dev/null || die "cannot remove $tree/$f: make the tree writable for you, or work on a copy"
		# Folders of ours go too, those of the kernel are not empty.
		rmdir -p --ignore-fail-on-non-empty "$(dirname "$tree/$f")" 2>/dev/null || true
	elif ! cmp -s "$work/new/$f" "$tree/$f"; then
		{ mkdir -p "$(dirname "$tree/$f")" && cp "$work/new/$f" "$tree/$f.stubguard-new" &&
			mv "$tree/$f.stubguard-new" "$tree/$f"; } 2>/dev/null ||
			die "cannot write $tree/$f: make the tree writable for you, or work on a copy"
	else
		continue
	fi
	changed=$((changed + 1))
done <"$work/all"

if [ -n "$revert" ]; then
	rm -rf "$state"
	say "$(short "$tree"): the guard is taken out, $changed files changed"
	exit 0
fi
mkdir -p "$state" 2>/dev/null || die "cannot write $state: make the tree writable for you, or work on a copy"
cp "$patch" "$state/patch"
cp "$work/glue" "$state/glue"
if [ "$changed" = 0 ]; then
	say "$(short "$tree"): guarded, nothing to change"
else
	say "$(short "$tree"): guarded, $changed files changed"
fi
