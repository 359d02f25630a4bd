#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# Does what a packager does: installs into a folder, builds a program by pkg-config in both forms, runs
# it, uninstalls.
set -eu
cd "$(dirname "$0")/.."
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
root=$tmp/root
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)

fail() {
	printf 'install: %s\n' "$*" >&2
	echo "install: FAILED"
	exit 1
}

run() {
	"$@" >"$tmp/log" 2>&1 || {
		cat "$tmp/log" >&2
		fail "this fails: $*"
	}
}

make=${MAKE:-make}
command -v pkg-config >/dev/null || fail "pkg-config is not installed"
run "$make" install DESTDIR="$root" PREFIX=/usr
for file in include/stubguard.h lib/libstubguard.a lib/libstubguard.so lib/libstubguard.so.0 lib/pkgconfig/stubguard.pc; do
	[ -f "$root/usr/$file" ] || fail "make install has left out $file"
done

# Every exported name is linked, so that a form that lacks one does not pass.
{
	cat <<'EOF'
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <stubguard.h>

int stub_mmap_allowed(struct mm_id *mm_id, unsigned long addr, unsigned long prot, unsigned long offset)
{
	return mm_id && addr && prot && offset;
}

typedef void (*any_fn)(void);
static any_fn volatile all[] = {
EOF
	sed -n 's/^\t\([a-z_]*\);$/\t(any_fn)\1,/p' stubguard.map
	cat <<'EOF'
};

int main(int argc, char **argv)
{
	struct stubguard_stats stats;

	for (unsigned int i = 0; i < sizeof(all) / sizeof(*all); i++)
		if (!all[i])
			return 1;
	if (argc != 2 || strcmp(stubguard_version(), argv[1]))
		return 2;
	if (stubguard_init(NULL) != -EINVAL || stubguard_features() != 0)
		return 3;
	if (seccomp_wd_enter(0, 1, 1) != -ENODEV || start_seccomp_watchdog() != -ENODEV)
		return 4;
	if (stubguard_stats_get(&stats, sizeof(stats)) != 0 || stats.served != 0)
		return 5;
	printf("%s\n", stubguard_version());
	return 0;
}
EOF
} >"$tmp/program.c"

# The .pc file has the paths of the installed package.
pc() {
	PKG_CONFIG_LIBDIR=$root/usr/lib/pkgconfig PKG_CONFIG_PATH='' PKG_CONFIG_SYSROOT_DIR=$root \
		PKG_CONFIG_ALLOW_SYSTEM_CFLAGS=1 PKG_CONFIG_ALLOW_SYSTEM_LIBS=1 pkg-config "$@" stubguard
}
[ "$(pc --modversion)" = "$version" ] || fail "stubguard.pc says version $(pc --modversion), Cargo.toml $version"
cc=${CC:-cc}
# shellcheck disable=SC2046 # several words
run "$cc" -Wall -Wextra -Werror -Wno-cast-function-type -o "$tmp/shared" "$tmp/program.c" $(pc --cflags --libs)
# shellcheck disable=SC2046
run "$cc" -Wall -Wextra -Werror -Wno-cast-function-type -static -o "$tmp/static" "$tmp/program.c" $(pc --static --cflags --libs)
readelf -d "$tmp/shared" | grep -q 'NEEDED.*\[libstubguard\.so\.0\]' || fail "a program does not ask for libstubguard.so.0"
! readelf -d "$tmp/static" | grep -q NEEDED || fail "a static program asks for a shared library"
run env LD_LIBRARY_PATH="$root/usr/lib" timeout 20 "$tmp/shared" "$version"
run timeout 20 "$tmp/static" "$version"

run "$make" uninstall DESTDIR="$root" PREFIX=/usr
left=$(find "$root" ! -type d)
[ -z "$left" ] || fail "make uninstall leaves $left"
echo "install: ok, a program builds and runs with both forms through pkg-config; make uninstall leaves no file"
