#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# twice.sh: builds the packages at two places, and compares all bytes. Between both it waits for another minute, so that a
# time of the build would show.
set -euo pipefail
cd "$(dirname "$0")/.."

# shellcheck source=uml/common.sh
. uml/common.sh

one=$top_dir/build/deb two=$top_dir/build/deb-again
debian/deb.sh
minute=$(date +%M)
while [ "$(date +%M)" = "$minute" ]; do sleep 1; done
OUT=$two WHERE=$two/at/another/place debian/deb.sh
different=0
for deb in "$one"/*.deb; do
	cmp "$deb" "$two/${deb##*/}" || different=$((different + 1))
done
[ "$different" -eq 0 ] || die "$different packages are different"
say "the packages are the same, byte for byte"
