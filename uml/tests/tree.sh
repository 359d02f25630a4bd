#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# tree.sh [VERSION...]
#
# guard-tree.sh with small trees that have all of arch/um and hostfs: it takes out what it has put in, it refuses trees that it does
# not know, it stops after any patch, and a run that was killed between any two changes of the tree can be repeated. TAP.
set -euo pipefail

# shellcheck source=uml/common.sh
. "$(dirname "$0")/../common.sh"

[ $# -gt 0 ] || set -- "$(default_version)"
scratch tree
guard=$uml_dir/guard-tree.sh

# ok TEXT COMMAND...
ok() {
	local text=$1 status=0
	shift
	"$@" >"$dir/log" 2>&1 || status=$?
	result "$status" "$text"
}

fresh() {
	rm -rf "$dir/tree"
	cp -a "$dir/pristine" "$dir/tree"
}
# same WHICH: the tree is like that one, but for guard-tree.sh's record
same() {
	diff -r -x .stubguard "$dir/$1" "$dir/tree" || return
	[ "$1" != pristine ] || [ ! -e "$dir/tree/.stubguard" ]
}

there_and_back() {
	fresh
	"$guard" "$dir/tree" && same guarded && "$guard" --mend "$dir/tree" && same mended && "$guard" "$dir/tree" &&
		same guarded && "$guard" --revert "$dir/tree" && same pristine
}

without_costs() {
	fresh
	COSTS=0 "$guard" "$dir/tree" && ! same guarded >/dev/null && "$guard" "$dir/tree" && same guarded || return
	! COSTS=no "$guard" "$dir/tree" && same guarded
}

# The numbers of all patches, once each: variants have their patch's number.
numbers() { find "$uml_dir/series" -name '*.patch' -printf '%f\n' | cut -d - -f 1 | sort -u; }

# After each patch: the tree has what the patches name, and no file of a later one. 0099 is the mended tree, the last one
# the guarded tree.
patch_by_patch() {
	local number last=0099
	fresh
	"$guard" --upto 0099 "$dir/tree" && same mended || return
	while read -r number; do
		[ "$number" -ge 100 ] || continue
		"$guard" --upto "$number" "$dir/tree" || return
		last=$number
		while read -r file; do
			[ -f "$dir/tree/$file" ] || return
		done < <(sed -n 's/^Brings: //p' "$uml_dir/series/$number"-*.patch)
		[ "$number" != 0100 ] || ! grep -rqs 'config UML_STUBGUARD' "$dir/tree/arch/um" || return
	done < <(numbers)
	[ "$last" != 0099 ] && same guarded || return
	! "$guard" --upto 100 "$dir/tree" && ! "$guard" --upto "$dir/tree" && same guarded || return
	"$guard" --upto 0099 "$dir/tree" && same mended
}

touches_nothing() {
	fresh
	"$guard" "$dir/tree" && touch "$dir/stamp" && sleep 0.01 && "$guard" "$dir/tree" || return
	[ -z "$(find "$dir/tree" -type f -newer "$dir/stamp" ! -path '*/.stubguard/*')" ]
}

refuses_edits() {
	fresh
	"$guard" "$dir/tree" || return
	echo '/* mine */' >>"$dir/tree/arch/um/kernel/tlb.c"
	cp -a "$dir/tree" "$dir/edited"
	! "$guard" "$dir/tree" && same edited && ! "$guard" --revert "$dir/tree" && same edited
}

# A tree that another clone has guarded, with other files in its glue: guarding or reverting it removes these files.
replaces_older() {
	local how
	# All patches were applied, wherever that clone is
	grep -q 'config UML_STUBGUARD' "$dir/older/arch/um/Kconfig" || return
	for how in guard mend revert; do
		rm -rf "$dir/tree"
		cp -a "$dir/older" "$dir/tree"
		case $how in
		guard) "$guard" "$dir/tree" && same guarded || return ;;
		mend) "$guard" --mend "$dir/tree" && same mended || return ;;
		revert) "$guard" --revert "$dir/tree" && same pristine || return ;;
		esac
	done
}

# killed FROM ARGUMENTS...: runs on a copy of the tree FROM, each killed before a later change, with growing steps, until
# one completes. After each, the next run must give the result of a first run.
killed() {
	local from=$1 n=0 runs=0 status
	shift
	while :; do
		n=$((n < 7 ? n + 1 : n * 2)) runs=$((runs + 1))
		rm -rf "$dir/tree"
		cp -a "$dir/$from" "$dir/tree"
		status=0
		KILL_AT=$n KILL_COUNT="$dir/count" KILL_TREE="$dir/tree" PATH="$dir/bin:$PATH" "$guard" "$@" "$dir/tree" || status=$?
		rm -f "$dir/count"
		[ "$status" -ne 0 ] || break
		if [ $((runs % 2)) = 0 ]; then
			"$guard" "$dir/tree" && same guarded || return
		else
			"$guard" --revert "$dir/tree" && same pristine || return
		fi
	done
	[ "$runs" -gt 8 ]
}

# Wrappers of the programs that change the tree: the one at KILL_AT kills guard-tree.sh instead.
mkdir "$dir/bin"
for program in mv rm cp mkdir; do
	cat >"$dir/bin/$program" <<-SH
		#!/bin/bash
		case \${*: -1} in
		"\$KILL_TREE"*)
			echo >>"\$KILL_COUNT"
			[ "\$(wc -l <"\$KILL_COUNT")" -lt "\$KILL_AT" ] || { kill -KILL "\$PPID"; exit 1; }
			;;
		esac
		exec $(command -v "$program") "\$@"
	SH
	chmod +x "$dir/bin/$program"
done

# Another clone, whose glue has a file in place of each of our folders. It is where a release's tarball would be unpacked.
mkdir -p "$dir/clone-0.1.0/uml"
cp -a "$uml_dir"/{common.sh,guard-tree.sh,versions,series,glue} "$dir/clone-0.1.0/uml/"
while read -r folder; do
	rm -r "$folder"
	echo "/* $folder */" >"$folder.c"
done < <(find "$dir/clone-0.1.0/uml/glue" -type d -name stubguard)

for version; do
	src=$cache_dir/src/linux-$version
	[ -f "$src/Makefile" ] || die "$(short "$src") is not there: make uml KVER=$version"
	rm -rf "$dir/pristine" "$dir/guarded" "$dir/mended" "$dir/edited" "$dir/older"
	mkdir -p "$dir/pristine/arch/x86" "$dir/pristine/fs"
	cp -a "$src/Makefile" "$dir/pristine/"
	cp -a "$src/arch/um" "$dir/pristine/arch/"
	cp -a "$src/arch/x86/um" "$dir/pristine/arch/x86/"
	cp -a "$src/fs/hostfs" "$dir/pristine/fs/"
	cp -a "$dir/pristine" "$dir/guarded"
	cp -a "$dir/pristine" "$dir/mended"
	cp -a "$dir/pristine" "$dir/older"
	"$guard" "$dir/guarded" >/dev/null
	"$guard" --mend "$dir/mended" >/dev/null
	"$dir/clone-0.1.0/uml/guard-tree.sh" "$dir/older" >/dev/null

	ok "$version: in and out again" there_and_back
	ok "$version: patch by patch" patch_by_patch
	ok "$version: the patches for speed out and in again" without_costs
	ok "$version: a second run touches nothing" touches_nothing
	ok "$version: a file that was edited is left alone" refuses_edits
	ok "$version: another clone's files are replaced" replaces_older
	ok "$version: a killed run on a fresh tree" killed pristine
	ok "$version: a killed run on a mended tree" killed mended
	ok "$version: a killed run on a guarded tree" killed guarded --revert
	ok "$version: a killed run on another clone's tree" killed older
done
plan
