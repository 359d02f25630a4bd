#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# deb.sh: Debian packages of what is committed, in build/deb. They are built from the tarball (dist.sh) in a folder of its
# own, without a network but for the kernel's sources (uml/fetch.sh), and looked at by lintian.
#
# OUT: where the packages are put (build/deb). WHERE: the folder that they are built in (OUT/work); they do not depend on it.
set -euo pipefail
cd "$(dirname "$0")/.."

# shellcheck source=uml/common.sh
. uml/common.sh

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
tarball=$top_dir/build/dist/stubguard-$version.tar.xz
out=${OUT:-$top_dir/build/deb}
where=${WHERE:-$out/work}
kver=$(default_version)

for tool in dpkg-buildpackage dh lintian; do
	command -v "$tool" >/dev/null || die "$tool is missing: apt-get install dpkg-dev debhelper lintian"
done
uml/deps.sh
debian/dist.sh
uml/fetch.sh "$kver"

rm -rf "$where"
mkdir -p "$where" "$out"
tar -xf "$tarball" -C "$where"
tree=$where/stubguard-$version
[ "$(dpkg-parsechangelog -l "$tree/debian/changelog" -S Version)" = "$version" ] ||
	die "debian/changelog is not of version $version, which Cargo.toml has"

# The kernel's sources are those that are here: as a package, and unpacked.
mkdir -p "$tree/.cache/src"
[ ! -d "$cache_dir/apt/debs" ] || { mkdir -p "$tree/.cache/apt" && cp -al "$cache_dir/apt/debs" "$tree/.cache/apt/"; }
[ ! -d "$cache_dir/src/linux-$kver" ] || cp -al "$cache_dir/src/linux-$kver" "$tree/.cache/src/"

# cargo may be one of rustup's, which is no package; uml/deps.sh has looked for all that is needed.
build() {
	cd "$tree"
	env -u MAKEFLAGS -u MFLAGS -u MAKEOVERRIDES -u MAKELEVEL -u STUBGUARD_CACHE -u STUBGUARD_LOGS -u STUBGUARD_LOCK CARGO_NET_OFFLINE=true \
		dpkg-buildpackage --build=binary --no-sign --no-check-builddeps
}
step "packages" build || exit 1
rm -f "$out"/*.deb "$out"/*.changes "$out"/*.buildinfo
mv "$where"/*.deb "$where"/*.changes "$where"/*.buildinfo "$out/"
# As root it says that it should not be; that the version is unreleased, is so until a release.
step "lintian" lintian --allow-root --fail-on error,warning --suppress-tags unreleased-changes "$out"/*.changes
for deb in "$out"/*.deb; do
	say "$(short "$deb"): $(sha256sum <"$deb" | cut -c 1-64)"
done
