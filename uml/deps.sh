#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# deps.sh [--quick | --test | --soak | --suite | --distro | --hosts | --traces]: looks for tools. Run by root on Debian and its like, it installs
# what is missing; otherwise it says what to install.
#
# Without an option: what the library and the kernels are built with. --test: also what the tests and checks need. --soak, --suite,
# --distro, --hosts, --traces: also what `make soak` and so on need. --quick: what `make check c-test rust-test` needs.
set -euo pipefail

# shellcheck source=uml/common.sh
. "$(dirname "$0")/common.sh"

rust_minimum=$(sed -n 's/^rust-version *= *"\(.*\)".*/\1/p' "$top_dir/Cargo.toml" 2>/dev/null || true)
rust_minimum=${rust_minimum:-1.85}

[ "$(uname -m)" = x86_64 ] || die "this machine is $(uname -m): stubguard guards UML on x86_64 only"

# Each line: a program, a <header> or a Python @module, then Debian's package that has it.
library='
gcc gcc
<stdio.h> libc6-dev
make make
ld binutils
find findutils
'
kernel='
flex flex
bison bison
bc bc
perl perl
patch patch
xz xz-utils
tar tar
flock util-linux
<gelf.h> libelf-dev
<openssl/opensslv.h> libssl-dev
busybox busybox-static
'
tests='
prove perl
clang clang
shellcheck shellcheck
g++ g++
pkg-config pkg-config
python3 python3
z3 z3
'
case ${1:-} in
'') needs=$library$kernel ;;
--quick) needs=$library$tests ;;
--test) needs=$library$kernel$tests ;;
--soak) needs="$library$kernel
stress-ng stress-ng
" ;;
--suite) needs="$library$kernel
@test.test_signal $(/usr/bin/python3 -c 'import sys; print("libpython%d.%d-testsuite" % sys.version_info[:2])' || echo python3)
<sys/capability.h> libcap-dev
<popt.h> libpopt-dev
" ;;
--distro) needs="$library$kernel
mmdebstrap mmdebstrap
/sbin/mke2fs e2fsprogs
fakeroot fakeroot
" ;;
--hosts) needs="$library$kernel
qemu-system-x86_64 qemu-system-x86
" ;;
--traces) needs="$library$kernel
strace strace
python3 python3
" ;;
*) die "usage: deps.sh [--quick | --test | --soak | --suite | --distro | --hosts | --traces]" ;;
esac

missing() {
	local what package
	while read -r what package; do
		case $what in
		'') continue ;;
		'@'*) /usr/bin/python3 -c "import ${what#@}" 2>/dev/null && continue ;;
		'<'*) echo "#include $what" | gcc -E -x c - >/dev/null 2>&1 && continue ;;
		*) command -v "$what" >/dev/null && continue ;;
		esac
		echo "$package"
	done <<<"$needs" | sort -u | paste -s -d ' ' -
}

install() {
	local apt=(apt-get -q -y --no-install-recommends)
	export DEBIAN_FRONTEND=noninteractive
	# shellcheck disable=SC2086 # a list of packages
	"${apt[@]}" install $packages || { "${apt[@]}" update && "${apt[@]}" install $packages; }
}

# Debian's own cargo may be too old, so this script does not install it.
get_rust="install Rust $rust_minimum or newer, by rustup (https://rustup.rs) or, from Debian 13 on, apt-get install cargo"
cargo=${CARGO:-cargo}
if ! command -v "$cargo" >/dev/null; then
	bin=${CARGO_HOME:-${HOME:-/root}/.cargo}/bin
	[ ! -x "$bin/cargo" ] || die "cargo is in $bin, which is not in PATH: export PATH=$bin:\$PATH"
	die "cargo is missing: $get_rust"
fi
rust=$("$cargo" --version 2>/dev/null | awk '{ print $2 }' || true)
[ "$(printf '%s\n' "$rust_minimum" "${rust:-0}" | sort -V | head -n 1)" = "$rust_minimum" ] ||
	die "cargo ${rust:-does not run, or} is too old: $get_rust"

packages=$(missing)
if [ -n "$packages" ]; then
	command -v apt-get >/dev/null ||
		die "missing here, by the names of Debian's packages: $packages. Install them and run this again"
	[ "$(id -u)" = 0 ] ||
		die "missing packages: run as root: apt-get install $packages"
	say "missing packages: $packages"
	step "install packages" install || die "apt-get could not install them: apt-get install $packages"
	packages=$(missing)
	[ -z "$packages" ] || die "still missing after apt-get install: $packages"
fi
