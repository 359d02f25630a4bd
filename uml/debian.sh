# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
#
# How the scripts in this folder get packages of another release of Debian: from the mirror that this machine already
# uses, with lists and downloads of our own. So nothing of the machine's apt changes, and root is not needed.
# apt checks the signatures with Debian's keyring. Sourced, never run.

# shellcheck source=uml/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

apt_dir=$cache_dir/apt

# The archives of Debian proper that apt is set up with, in whatever format and file.
mirrors() {
	# shellcheck disable=SC2016 # these are apt's variables, not the shell's
	apt-get indextargets --no-release-info --format '$(REPO_URI) $(RELEASE)' \
		'Created-By: Packages' 2>/dev/null |
		awk '$1 !~ /^cdrom:/ && $2 !~ /-security|\/updates/ &&
		     $2 ~ /^(bullseye|bookworm|trixie|forky|duke|sid|oldstable|stable|testing|unstable)(-|\/|$)/ &&
		     !seen[$1]++ { print $1 }'
}

# private_apt SUITE MIRROR TOOL ARGUMENTS...: runs apt-get or apt-cache. The machine's own settings (proxies, for one)
# stay in force.
private_apt() {
	local suite=$1 mirror=$2 tool=$3
	shift 3
	mkdir -p "$apt_dir/$suite/lists/partial" "$apt_dir/cache/archives/partial"
	printf 'deb [signed-by=%s target=Packages] %s %s main\n' "$keyring" "$mirror" "$suite" \
		>"$apt_dir/sources.list"
	: >"$apt_dir/status"
	cat >"$apt_dir/apt.conf" <<-EOF
		Dir::Etc::sourcelist "$apt_dir/sources.list";
		Dir::Etc::sourceparts "/dev/null";
		Dir::Etc::preferences "/dev/null";
		Dir::Etc::preferencesparts "/dev/null";
		Dir::State "$apt_dir/$suite";
		Dir::State::lists "$apt_dir/$suite/lists";
		Dir::State::status "$apt_dir/status";
		Dir::Cache "$apt_dir/cache";
		Acquire::Languages "none";
		Acquire::Retries "3";
		APT::Update::Error-Mode "any";
		// Hooks of the machine would act on the machine's own cache; and the user that apt
		// changes to when it is run by root need not have access to this folder.
		#clear APT::Update;
		#clear DPkg::Post-Invoke;
		APT::Sandbox::User "root";
	EOF
	"$tool" -c "$apt_dir/apt.conf" "$@"
}

# Sets $keyring; fails without Debian's archive key.
find_keyring() {
	local k
	keyring=
	for k in /usr/share/keyrings/debian-archive-keyring.{pgp,gpg}; do
		[ ! -r "$k" ] || keyring=$k
	done
	[ -n "$keyring" ]
}

# download_deb SUITE MIRROR PACKAGE: puts the package into $apt_dir/debs.
download_deb() {
	local partial=$apt_dir/partial
	mkdir -p "$apt_dir/debs" "$partial"
	(cd "$partial" && private_apt "$1" "$2" apt-get -q download "$3") || return 1
	# Whole and verified: only now it gets its place.
	mv "$partial/$3"_*.deb "$apt_dir/debs/"
}

# newest_deb PACKAGE: the file of it there, or nothing
newest_deb() { find "$apt_dir/debs" -maxdepth 1 -name "$1_*.deb" 2>/dev/null | sort -V | tail -n 1; }

# need_mirrors ELSE: sets $keyring and $mirror_list, or dies; ELSE is what somebody can do who has none
need_mirrors() {
	find_keyring || die "Debian's archive key is missing: install debian-archive-keyring, or $1"
	mirror_list=$(mirrors)
	[ -n "$mirror_list" ] || die "apt is not set up with a Debian mirror: $1"
}

# fetch WHAT ELSE COMMAND...: a step that gets WHAT by the functions above; likewise
fetch() {
	local what=$1 otherwise=$2 log why
	shift 2
	probe=fetched step "fetch $what" "$@" 2>/dev/null && return
	log=$(log_of "fetch $what")
	why=$(apt_says "$log")
	die "cannot fetch $what${why:+: $why} (log: $(short "$log")); look at the network and apt's proxy, or $otherwise"
}

# For step(): how much has come
fetched() { find "$apt_dir/partial" -type f -printf '%s\n' | awk '{ n += $1 } END { printf "%d MB", n / 1e6 }'; }

# apt_says LOG: why apt has failed, in the network's words rather than what follows from them
apt_says() {
	{ grep -m 1 -E '^[WE]: Failed to fetch' "$1" || grep -m 1 '^E: ' "$1" || true; } | sed 's/^.: *//'
}
