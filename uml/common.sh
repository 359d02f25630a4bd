# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
#
# Functions that the scripts of this folder share. Sourced, never run.

uml_dir=$(cd -P "$(dirname "${BASH_SOURCE[0]}")" && pwd)
top_dir=${uml_dir%/*}
cache_dir=${STUBGUARD_CACHE:-$top_dir/.cache}
log_dir=${STUBGUARD_LOGS:-$cache_dir/log}

say() { printf '[uml] %s\n' "$*"; }

# die TEXT: ends the script with a line that says what is wrong and what to do about it
die() {
	printf '%s: %s\n' "${0##*/}" "$*" >&2
	exit 1
}

# versions: the kernels that stubguard is made for (the file of that name), the default one first
versions() { awk '!/^#/ && NF && !seen[$1]++ { print $1 }' "$uml_dir/versions"; }
default_version() { versions | sed -n 1p; }
# versions_as WORD: all of them, with that word between them
versions_as() { versions | awk -v word="$1" '{ printf "%s%s", (NR > 1 ? " " word " " : ""), $1 }'; }
# of_version VERSION FACT: that fact of the file. ("": otherwise awk compares numbers, and 7.10 is 7.1.)
of_version() { awk -v version="$1" -v fact="$2" '$1 "" == version && $2 == fact { $1 = $2 = ""; print }' "$uml_dir/versions"; }
# made_for VERSION [WHAT]: dies if it is none of them, with WHAT as the kernel's name; FORCE=1 goes on
made_for() {
	[ -z "${FORCE:-}" ] || return 0
	versions | grep -xF -- "$1" >/dev/null ||
		die "${2:-Linux $1}: stubguard is made for $(versions_as and); take one of these, or try with FORCE=1"
}

# nocosts: "-nocosts" with COSTS=0, which leaves out the patches of uml/series that make arch/um faster
nocosts() {
	case ${COSTS:-1} in
	0) printf -- -nocosts ;;
	1) ;;
	*) die "COSTS=$COSTS: 1 (the default) applies the patches 0050 to 0069 of uml/series, 0 leaves them out" ;;
	esac
}

# short PATH: relative to the repository if it is inside
short() { printf '%s' "${1#"$top_dir/"}"; }

# uml_kernel PATH: the absolute path of a UML kernel; dies if it cannot be run
uml_kernel() {
	local linux
	linux=$(realpath -e -- "$1" 2>/dev/null || true)
	[ -x "${linux:-/dev/null}" ] || die "$1 is not a UML kernel that can be run: make uml builds them"
	printf '%s' "$linux"
}

# Sets $busybox, the guests' shell.
# shellcheck disable=SC2034 # for who sources this
need_busybox() { busybox=$(command -v busybox) || die "busybox is missing, the guests' shell: apt-get install busybox-static"; }

# scratch NAME: sets $dir, a new folder in the cache, which is removed when the script ends
scratch() {
	mkdir -p "$cache_dir"
	dir=$(mktemp -d "$cache_dir/$1.XXXXXX")
	trap 'rm -rf "$dir"' EXIT
}

# kmake SOURCE OBJECTS ARGUMENTS...: the kernel's make, also with the arguments of KMAKE. It must not see what a make above
# us exports, nor the user's flags for other programs: arch/um takes CFLAGS from the environment.
kmake() {
	local src=$1 obj=$2 args
	shift 2
	[ "$obj" = "$src" ] || set -- O="$obj" "$@"
	read -ra args <<<"${KMAKE:-}"
	env -u MAKEFLAGS -u MFLAGS -u MAKEOVERRIDES -u MAKELEVEL -u CFLAGS -u CPPFLAGS -u LDFLAGS \
		-u KBUILD_OUTPUT -u O -u V LC_ALL=C make -C "$src" ARCH=um "$@" ${args[0]+"${args[@]}"} </dev/null
}

# follow LOG [PROBE]: copies stdin to the file LOG and shows every ten seconds how many files were
# compiled, or what the function PROBE prints. One process reads and prints, so nothing has to be
# stopped when the command ends or is interrupted.
follow() {
	local log=$1 probe=${2:-} start=$SECONDS beat=$((SECONDS + 10)) line part='' n=0
	while :; do
		if IFS= read -r -t 2 line; then
			printf '%s%s\n' "$part" "$line"
			part=
			case $line in '  CC '* | '  AS '*) n=$((n + 1)) ;; esac
		elif [ $? -gt 128 ]; then
			part+=$line	# a timeout: the rest of the line is still to come
		else
			[ -z "$part$line" ] || printf '%s%s\n' "$part" "$line"
			break
		fi
		if [ "$SECONDS" -ge "$beat" ]; then
			beat=$((SECONDS + 10))
			line=
			if [ -n "$probe" ]; then line=$($probe); elif [ "$n" -gt 0 ]; then line="$n files compiled"; fi
			printf '[uml]   ... %d s%s\n' $((SECONDS - start)) "${line:+, $line}" >&3
		fi
	done 3>&1 >"$log"
}

# log_of NAME: the log file of the step of that name
log_of() { printf '%s' "$log_dir/${1//[^A-Za-z0-9._-]/-}.log"; }

# step NAME COMMAND...: names a log file, runs the command with its output there, and says how long it
# took; shows the end of the log if it fails. The variable probe is for follow().
step() {
	local name=$1 start=$SECONDS log
	shift
	log=$(log_of "$name")
	mkdir -p "$log_dir"
	say "$name (log: $(short "$log"))"
	if ! "$@" 2>&1 </dev/null | follow "$log" "${probe:-}"; then
		grep -nE '(error|Error|undefined reference|\*\*\*)' "$log" | head -n 5 >&2 || true
		printf '%s\n' "--- end of $(short "$log"):" >&2
		tail -n 20 "$log" >&2
		printf '%s: "%s" failed after %d s; the whole log: %s\n' "${0##*/}" "$name" \
			$((SECONDS - start)) "$log" >&2
		return 1
	fi
	say "$name: done, $((SECONDS - start)) s"
}

# lock NAME: two builds of one tree at the same time would spoil each other, so the second one waits.
# A script that the holder of the lock starts has the lock too.
lock() {
	[ "${STUBGUARD_LOCK:-}" != "$1" ] || return 0
	mkdir -p "$cache_dir" 2>/dev/null || true
	[ -w "$cache_dir" ] ||
		die "cannot write to $cache_dir: run as its owner, or set STUBGUARD_CACHE=/another/folder"
	exec 8>"$cache_dir/lock-$1"
	if ! flock -n 8; then
		say "waiting for another run that works on $1"
		flock 8
	fi
	export STUBGUARD_LOCK=$1
}

# look_at_tree PID: of the process and its descendants. $tree_cpu is the CPU time that they have used so far, in
# microseconds, dead ones included. $tree_waits is set if one of them runs or waits for a CPU or a disk. It starts no process.
look_at_tree() {
	local pids=("$1") field=() children=() i task text
	tree_cpu=0 tree_waits=
	for ((i = 0; i < ${#pids[@]}; i++)); do
		{ read -r text <"/proc/${pids[i]}/stat"; } 2>/dev/null || continue
		# The second field is the program's name, which may have blanks.
		read -ra field <<<"${text##*) }"
		tree_cpu=$((tree_cpu + (field[11] + field[12] + field[13] + field[14]) * 10000))
		for task in "/proc/${pids[i]}/task"/*; do
			{ read -r text <"$task/stat" && read -ra children <"$task/children"; } 2>/dev/null || true
			case ${text##*) } in [RD]*) tree_waits=1 ;; esac
			pids+=(${children[0]+"${children[@]}"})
			children=()
		done
	done
}

# own_time PID LIMIT [CLOCK]: returns when the process PID has ended, or fails when it and its descendants have computed or
# slept for LIMIT seconds. Waiting for a CPU does not count, so a limit is the same on a busy host. A guest knows wall time
# only: the files CLOCK/1, CLOCK/2... tell it of each quarter of such a second that is over.
own_time() {
	local pid=$1 limit=$2 clock=${3:-} own=0 quarters=0 cpu=0 at=${EPOCHREALTIME/[.,]/} before=0 passed nap look=0
	while kill -0 "$pid" 2>/dev/null; do
		# With many processes the look itself takes long: limit it to a thirtieth of the time.
		nap=$((look * 30))
		[ "$nap" -ge 100000 ] || nap=100000
		[ -n "$clock" ] || [ "$nap" -ge 1000000 ] || nap=1000000
		printf -v nap '%d.%06d' $((nap / 1000000)) $((nap % 1000000))
		sleep "$nap"
		before=$cpu look=${EPOCHREALTIME/[.,]/}
		look_at_tree "$pid"
		cpu=$tree_cpu look=$((${EPOCHREALTIME/[.,]/} - look))
		passed=$((${EPOCHREALTIME/[.,]/} - at))
		at=$((at + passed))
		if [ -n "$tree_waits" ] && [ $((cpu - before)) -lt "$passed" ]; then
			passed=$((cpu > before ? cpu - before : 0))
		fi
		own=$((own + passed))
		while [ -n "$clock" ] && [ "$own" -ge $(((quarters + 1) * 250000)) ]; do
			quarters=$((quarters + 1))
			: >"$clock/$quarters" || return 0
		done
		[ "$own" -lt $((limit * 1000000)) ] || return 1
	done 2>/dev/null
}

# tree_version TREE: VERSION.PATCHLEVEL of its Makefile
tree_version() {
	[ -r "$1/Makefile" ] || return 0
	sed -n -e 's/^VERSION *= *//p' -e 's/^PATCHLEVEL *= *//p' "$1/Makefile" |
		head -n 2 | paste -s -d . -
}

# serve_audits DIR [NAME]: starts the host's side of the mapping oracle (docs/audit.md), for guests that run
# `audit DIR/NAME`. It ends when DIR is gone.
serve_audits() {
	mkdir -p "$1/${2:-}"
	(python3 -B "$uml_dir/audit.py" "$1" &)
}

# audited LOG: has the oracle found no violation, or does the guest's kernel have no oracle?
audited() { grep -aqE '^audit: (ok|skipped)' "$1" && ! grep -aq '^audit: FAILED' "$1"; }

# says TEXT: is that regular expression in $dir/log?
says() { grep -qE -- "$1" "$dir/log"; }

# result STATUS TEXT [LOG [LINES]]: a line of TAP. If it failed, the last LINES (25) of LOG ($dir/log) follow.
tap_number=0 tap_failed=0
result() {
	tap_number=$((tap_number + 1))
	if [ "$1" -eq 0 ]; then
		printf 'ok %d - %s\n' "$tap_number" "$2"
		return
	fi
	tap_failed=$((tap_failed + 1))
	printf 'not ok %d - %s\n' "$tap_number" "$2"
	tail -n "${4:-25}" "${3:-$dir/log}" | sed 's/^/# /'
}

# plan: the last line of TAP; fails if a result did
plan() {
	printf '1..%d\n' "$tap_number"
	[ "$tap_failed" -eq 0 ]
}
