#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# dist.sh: puts what is committed, with the crates that it is built and tested with, into build/dist/stubguard-VERSION.tar.xz. It
# builds without a network. The same commit gives the same bytes.
set -euo pipefail
cd "$(dirname "$0")/.."

# shellcheck source=uml/common.sh
. uml/common.sh

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
name=stubguard-$version
out=build/dist
git rev-parse --verify --quiet HEAD >/dev/null || die "this is not a clone of the repository: a tarball is made of what is committed"
[ -z "$(git status --porcelain)" ] || say "note: what is not committed is left out"
date=$(git log -1 --format=%ct)

rm -rf "${out:?}/$name"
mkdir -p "$out/$name"
git archive HEAD | tar -x -C "$out/$name"
cd "$out"
(
	cd "$name"
	mkdir -p .cargo
	cargo vendor --locked --quiet --versioned-dirs vendor >.cargo/config.toml
)
# The versions of the archive's tools decide on the bytes, too.
tar --create --format=gnu --sort=name --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX --mtime="@$date" "$name" |
	xz -T1 -6 >"$name.tar.xz.new"
mv "$name.tar.xz.new" "$name.tar.xz"
rm -rf "$name"
say "$out/$name.tar.xz: $(sha256sum <"$name.tar.xz" | cut -c 1-64), $(du -h "$name.tar.xz" | cut -f 1)"
