# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
#
# Functions that get packages of another release of Debian, from the mirror that this machine already uses. The lists and
# downloads are our own, so nothing of the machine's apt changes, and root is not needed. apt checks the signatures with
# Debian's keyring. Sourced, never run.

# shellcheck source=uml/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

apt_dir=$cache_dir/apt

# The archives of Debian proper that apt is set up with.
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
		// The machine's hooks would act on the machine's own cache. Run by root, apt changes to
		// another user, who may have no access to this folder.
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
	# Only a whole and verified package gets its place.
	mv "$partial/$3"_*.deb "$apt_dir/debs/"
}

# newest_deb PACKAGE: its newest file in $apt_dir/debs, or nothing
newest_deb() { find "$apt_dir/debs" -maxdepth 1 -name "$1_*.deb" 2>/dev/null | sort -V | tail -n 1; }

# need_mirrors ELSE: sets $keyring and $mirror_list, or dies; ELSE is what the user can do without a mirror
need_mirrors() {
	find_keyring || die "Debian's archive key is missing: install debian-archive-keyring, or $1"
	mirror_list=$(mirrors)
	[ -n "$mirror_list" ] || die "apt is not set up with a Debian mirror: $1"
}

# fetch WHAT ELSE COMMAND...: a step whose command gets WHAT by the functions above; dies with ELSE
fetch() {
	local what=$1 otherwise=$2 log why
	shift 2
	probe=fetched step "fetch $what" "$@" 2>/dev/null && return
	log=$(log_of "fetch $what")
	why=$(apt_says "$log")
	die "cannot fetch $what${why:+: $why} (log: $(short "$log")); look at the network and apt's proxy, or $otherwise"
}

# A probe for step(): how much has come
fetched() { find "$apt_dir/partial" -type f -printf '%s\n' | awk '{ n += $1 } END { printf "%d MB", n / 1e6 }'; }

# apt_says LOG: why apt has failed: the first network error, rather than what follows from it
apt_says() {
	{ grep -m 1 -E '^[WE]: Failed to fetch' "$1" || grep -m 1 '^E: ' "$1" || true; } | sed 's/^.: *//'
}
