#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# uml/versions has the kernel's versions. No script names a version by itself, files for a single version are for one of these,
# and a document that names two versions names all of them.
set -euo pipefail
cd "$(dirname "$0")/.."
bad=0

# shellcheck source=uml/common.sh
. uml/common.sh

fail() {
	printf 'versions: %s\n' "$*" >&2
	bad=$((bad + 1))
}

mapfile -t versions < <(versions)
[ "${#versions[@]}" -gt 0 ] || fail "uml/versions names none"
one=$(versions_as '|')
one=${one// /}
one=${one//./\\.}

# The tree without what was built in it
sources() {
	find . \( -path ./target -o -path ./build -o -path ./.cache -o -path ./.git -o -path ./fuzz/target \) -prune -o -type f "$@" -printf '%P\n'
}

while IFS= read -r line; do
	fail "a script names a version by itself, instead of reading uml/versions: $line"
done < <(sources \( -name '*.sh' -o -name '*.py' -o -name '*.mk' -o -name Makefile -o -path './.ci/*' \) |
	xargs -d '\n' grep -nE "(^|[^0-9.])($one)([^0-9]|\$)" /dev/null)

for file in uml/series/*.[0-9]*.[0-9]*.patch uml/config/*-[0-9]*.config; do
	[ -e "$file" ] || continue
	[[ $file =~ [.-]($one)\.(patch|config)$ ]] || fail "$file is for a version that uml/versions does not name"
done

for version in "${versions[@]}"; do
	for fact in suites test more; do
		[ -n "$(of_version "$version" "$fact")" ] || fail "uml/versions does not say \"$version $fact\""
	done
	grep -qwF -- "$version" README.md || fail "README.md does not name $version"
done
# CHANGELOG.md and docs/history may name versions of another time.
while IFS= read -r line; do
	case $line in *":$(versions_as and)" | *":$(versions_as or)") ;; *) fail "not all of uml/versions: $line" ;; esac
done < <(sources -name '*.md' ! -name CHANGELOG.md ! -path './docs/history/*' |
	xargs -d '\n' grep -noE "($one)( (and|or) ([0-9]+\.[0-9]+))+" /dev/null)

# The packages: their kernel is of the default version, and their version is the library's.
grep -qF " linux-source-$(default_version)," debian/control || fail "debian/control does not build with linux-source-$(default_version)"
release=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
head -n 1 debian/changelog | grep -qF "($release)" || fail "debian/changelog is not of version $release, which Cargo.toml has"

if [ "$bad" -ne 0 ]; then
	echo "versions: FAILED, $bad problem(s)"
	exit 1
fi
echo "versions: ok, $(versions_as and) stand in uml/versions, and no script names one by itself"
