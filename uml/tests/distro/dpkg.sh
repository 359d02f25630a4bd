#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# dpkg.sh - packages are built, installed and removed; the data base is whole
# shellcheck source=uml/tests/distro/lib.sh
. "${0%/*}/lib.sh"

export DEBIAN_FRONTEND=noninteractive
normal+=('s/\(.*database \.\.\..*//' '/^(Get|Fetched|Hit|Ign|Reading|Building)/d')
# image.sh leaves out manuals and translations.
check "verify" sh -c 'dpkg --verify | grep -vE "/usr/share/(man|locale)(/|$)"; true'
check "audit" dpkg --audit
check "list" dpkg-query -W
check "apt-get check" apt-get -q check
check "apt-cache" sh -c 'apt-cache --no-all-versions show bash | grep ^Version; apt-cache depends git | head'
mkdir -p repo
for n in 1 2 3 4 5; do
	mkdir -p "p$n/DEBIAN" "p$n/opt/p"
	printf 'Package: p%s\nVersion: 1.%s\nArchitecture: all\nMaintainer: a <a@b>\nDescription: test\n%s' "$n" "$n" "$([ "$n" = 1 ] || printf 'Depends: p%s\n ' $((n - 1)))" |
		sed '/^ *$/d' >"p$n/DEBIAN/control"
	echo >>"p$n/DEBIAN/control"
	printf '#!/bin/sh\necho configured %s\n' "$n" >"p$n/DEBIAN/postinst"
	printf '#!/bin/sh\necho removed %s\n' "$n" >"p$n/DEBIAN/prerm"
	chmod 755 "p$n/DEBIAN/postinst" "p$n/DEBIAN/prerm"
	seq "$n" 20000 >"p$n/opt/p/$n"
	check "build $n" env SOURCE_DATE_EPOCH=1000000000 dpkg-deb --root-owner-group -Zxz -b "p$n" repo
done
check "a repository" sh -c 'cd repo && dpkg-scanpackages . 2>/dev/null >Packages && grep -v "^MD5\|^SHA\|^Size" Packages'
echo "deb [trusted=yes] file:$PWD/repo ./" >list
apt=(apt-get -q -y -o "Dir::Etc::sourcelist=$PWD/list" -o Dir::Etc::sourceparts=/dev/null -o APT::Sandbox::User=root -o Dpkg::Use-Pty=0)
passes "update" "${apt[@]}" update
check "install" "${apt[@]}" install p5
check "installed" sh -c 'dpkg -l "p[1-5]" | tail -n 5; sha256sum /opt/p/*; dpkg --verify p5'
check "remove" "${apt[@]}" purge p1
check "removed" sh -c '[ ! -e /opt/p ] && echo gone'
check "reinstall a package of Debian" sh -c 'dpkg-deb --version | head -1; dpkg-reconfigure -f noninteractive debconf; dpkg --triggers-only -a'
