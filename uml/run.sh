#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# run.sh NAME=KERNEL...
#
# Runs workloads on the kernels called "unguarded" and "guarded", and each attack of guests/hostile on each kernel, in a
# guest of its own. Prints a table of each in Markdown. Each guest ends with a run of the mapping oracle (docs/audit.md).
#
# Fails if a workload fails or has another result on the guarded kernel, or if an attack there is neither BLOCKED nor known
# to be OPEN in its mode. Without a kernel called "guarded", attacks are judged on all. An attack is SKIPPED, which is no
# failure, if the kernel was built without what the attack needs (io_uring).
#
# ATTACKS, WORKLOADS: names to run instead of all. ATTACKED: kernels to attack (all). NCPUS: CPUs of a guest (1). JOBS: attacks
# at a time (all CPUs). MEM: the guest's memory in MiB (128). GUARDED_ARGS: more boot parameters for the guarded kernel, as
# stubguard=notify. BASELINE: a folder for the unguarded kernel's results of the workloads; if it exists, the workloads do
# not run there again. VECTOR_SECONDS: how long "vectors" takes (2). HOSTILE_FULL: attacks try everything, for minutes.
set -euo pipefail

# shellcheck source=uml/common.sh
. "$(dirname "$0")/common.sh"

declare -A kernel=()
kernels=()
for k; do
	name=${k%%=*}
	[[ $name =~ ^[a-z0-9]+$ && $k == *=* ]] || die "usage: run.sh NAME=KERNEL..., NAME of a-z and 0-9"
	[ -n "${kernel[$name]:-}" ] || kernels+=("$name")
	kernel[$name]=$(uml_kernel "${k#*=}")
done
[ "${#kernels[@]}" -gt 0 ] || die "usage: run.sh NAME=KERNEL..."
read -ra attacked <<<"${ATTACKED:-${kernels[*]}}"
need_busybox

programs=$top_dir/build/guests
ncpus=${NCPUS:-1}
jobs=${JOBS:-$(nproc)}
if [ -z "${kernel[unguarded]:-}" ] || [ -z "${kernel[guarded]:-}" ]; then
	# Without somebody to compare with
	[ -z "${WORKLOADS:-}" ] || die "workloads are compared, so they need kernels called unguarded and guarded"
	WORKLOADS=
fi
workloads=${WORKLOADS-pipelines files compile forks maps signals threads floats vectors steps handlers bases calls everycall fdcount}

# An unguarded guest hangs in some attacks. A guarded one gets more time: the watchdog may need 5 s of the attacker's CPU
# time, and an attack that does not succeed tries more. The limits are seconds that the guest computes or sleeps
# (own_time). If the host is too busy even for that, the guest is killed much later.
declare -A attack_limit=([unguarded]=20 [page-calls-unguarded]=120)
attack_limit_else=400
workload_limit=300
last_resort=30	# times the limit

# What a mode is known to leave open, and why: docs/security.md. The table shows it; it is no failure.
declare -A known_open=(
	[notify run-beside]="the futex by which a stub hands over does not hold it"
	[notify block-signal]="no filter can check rt_sigreturn's frame; the watchdog ends the process"
	[notify fd-window]="the fd is sent to the stub's socket; each mmap with it is decided on"
)

# ---- one guest

guest_log() { printf '%s' "$log_dir/run-$1.log"; }

# failed WHAT GUEST...: notes a failure; show_suspects() shows the ends of these guests' logs
failed() {
	local guest
	failures+=("$1")
	shift
	for guest; do suspects[$guest]=1; done
}

show_suspects() {
	local guest
	for guest in "${!suspects[@]}"; do
		printf '\n--- end of %s:\n' "$(short "$(guest_log "$guest")")"
		tail -n 15 "$(guest_log "$guest")" | tr -d '\r'
	done
}

# The guest's first process.
write_init() {
	local name=$1 tmp=$run_dir/tmp
	shift
	mkdir -p "$run_dir/audit/$name" "$run_dir/$name.clock"
	cat >"$run_dir/$name.init" <<-INIT
		#!$busybox sh
		export PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin BUSYBOX='$busybox' TMPDIR='$tmp' VECTOR_SECONDS='${VECTOR_SECONDS:-2}' HOSTILE_CLOCK='$run_dir/$name.clock'
		\$BUSYBOX mount -t proc proc /proc
		\$BUSYBOX mount -t tmpfs tmpfs '$tmp'
		echo 'guest $name runs'
		\$BUSYBOX sed -n 's/^mode/guest mode/p' /proc/stubguard 2>/dev/null
		$*
		'$programs/audit' '$run_dir/audit/$name'
		\$BUSYBOX cat /proc/stubguard 2>/dev/null
		\$BUSYBOX poweroff -f
	INIT
	chmod +x "$run_dir/$name.init"
}

# boot NAME WHICH LIMIT: starts the guest in a process group of its own, and a process that ends it after the limit and
# leaves a file NAME.late. $guest is the process to watch; the kernel's is in NAME.pid as soon as it runs.
boot() {
	local name=$1 which=$2 limit=$3 more=''
	[ "$which" != guarded ] || more=${GUARDED_ARGS:-}
	rm -f "$run_dir/$name.pid" "$run_dir/$name.late" "$run_dir/$name.clock"/*
	: >"$(guest_log "$name")"
	# shellcheck disable=SC2016,SC2086 # for the inner shell; several words
	setsid timeout -s KILL $((limit * last_resort)) sh -c 'echo $$ >"$1"; shift; exec "$@"' sh "$run_dir/$name.pid" \
		"${kernel[$which]}" mem="${MEM:-128}M" seccomp=on ncpus="$ncpus" uml_dir="$run_dir/uml" \
		rootfstype=hostfs rootflags=/ ro init="$run_dir/$name.init" con=null con0=fd:0,fd:1 $more \
		</dev/null >"$(guest_log "$name")" 2>&1 &
	guest=$!
	disown "$guest" # many of them crash: the shell does not report it
	own_time "$guest" "$limit" "$run_dir/$name.clock" || {
		: >"$run_dir/$name.late"
		kill_guests "$run_dir/$name.pid"
	} &
	disown $!
}

running() { kill -0 "$guest" 2>/dev/null; }

# UML makes a session of its own, so only its pid leads to its group. The pid may have been reused: check
# the boot parameters.
kill_guests() {
	local file pid
	for file; do
		pid=$(cat "$file" 2>/dev/null) || continue
		grep -aqsF "$run_dir" "/proc/$pid/cmdline" || continue
		kill -KILL "$pid" 2>/dev/null || true
		kill -KILL -- "-$pid" 2>/dev/null || true
	done
}

# Waits until the log has a line that matches; fails if the guest ends without one.
wait_for_line() {
	local log
	log=$(guest_log "$1")
	while ! grep -aqE "$2" "$log"; do
		if ! running; then
			grep -aqE "$2" "$log"
			return
		fi
		sleep 0.05
	done
}

# A guest that has given its verdict may still be unable to power off.
finish_guest() {
	local name=$1 tries=60
	while running && [ "$tries" -gt 0 ]; do
		tries=$((tries - 1))
		sleep 0.05
	done
	kill_guests "$run_dir/$name.pid"
}

# ---- workloads

# The fewest host fds that a guest's kernel has in some looks: the waiting guest starts a process now and
# then, and fds of ended processes are closed with a delay.
count_fds() {
	local pid least='' n look
	pid=$(cat "$run_dir/$1.pid")
	for ((look = 0; look < 20; look++)); do
		n=$(find "/proc/$pid/fd" -mindepth 1 2>/dev/null | wc -l)
		if [ -z "$least" ] || [ "$n" -lt "$least" ]; then least=$n; fi
		sleep 0.05
	done
	printf '%s' "$least"
}

serve_fdcount() {
	local name=$1 before after tries
	wait_for_line "$name" '^fdcount before' || return 0
	before=$(count_fds "$name")
	touch "$run_dir/$name.d/go"
	wait_for_line "$name" '^fdcount after' || return 0
	# On a busy host it takes longer until all fds are closed.
	for ((tries = 0; tries < 20; tries++)); do
		after=$(count_fds "$name")
		[ "$after" -gt $((before + 2 * ncpus)) ] || break
	done
	echo "$before $after" >"$run_dir/$name.fds"
	touch "$run_dir/$name.d/stop"
}

run_workloads() {
	local which=$1 name=workloads-$1 start=$SECONDS
	say "workloads, $which (log: $(short "$(guest_log "$name")"))"
	rm -rf "$run_dir/$name.d" "$run_dir/$name.fds"
	mkdir -p "$run_dir/$name.d"
	write_init "$name" "\$BUSYBOX sh '$uml_dir/guests/workload.sh' '$programs/work' '$run_dir/$name.d' $workloads"
	boot "$name" "$which" "$workload_limit"
	case " $workloads " in *' fdcount '*) serve_fdcount "$name" ;; esac
	wait_for_line "$name" 'reboot: Power down' || true
	finish_guest "$name"
	[ "$which" != guarded ] || audited "$(guest_log "$name")" || failed "oracle after the workloads" "$name"
	say "workloads, $which: done, $((SECONDS - start)) s"
}

# The unguarded kernel's results are the same each time
run_baseline() {
	local name=workloads-unguarded
	if [ -n "${BASELINE:-}" ] && [ -e "$BASELINE/log" ]; then
		say "workloads, unguarded: from $(short "$BASELINE")"
		cp "$BASELINE/log" "$(guest_log "$name")"
		[ ! -e "$BASELINE/fds" ] || cp "$BASELINE/fds" "$run_dir/$name.fds"
		return
	fi
	run_workloads unguarded
	[ -n "${BASELINE:-}" ] || return 0
	mkdir -p "$BASELINE"
	[ ! -e "$run_dir/$name.fds" ] || cp "$run_dir/$name.fds" "$BASELINE/fds"
	cp "$(guest_log "$name")" "$BASELINE/log"
}

# field KIND WHICH WORKLOAD: the guest's line of that kind about the workload
field() { sed -n "s/\r//; s/^$1 $3 //p" "$(guest_log "workloads-$2")" | head -n 1; }

work_row() {
	local name=$1 result same=same t1 t2
	result=$(field result unguarded "$name")
	t1=$(field time unguarded "$name")
	t2=$(field time guarded "$name")
	if [ -z "$result" ] || [ "$result" != "$(field result guarded "$name")" ]; then
		same=DIFFERENT
	fi
	case $result in failed*) same=FAILED ;; esac
	[ "$same" = same ] || failed "workload $name" workloads-guarded workloads-unguarded
	printf '%-11s | %9s | %9s | %5s | %s\n' "$name" "${t1:-?} ms" "${t2:-?} ms" \
		"$(awk -v a="${t1:-0}" -v b="${t2:-0}" 'BEGIN { if (a > 0) printf "%.2f", b / a; else print "?" }')" "$same"
}

# An idle CPU keeps the mm that it had last, even if that has ended, and an mm has two fds at most: the
# numbers may differ by that. A leak would be thousands.
fd_row() {
	local which text=() before after
	for which in unguarded guarded; do
		before='' after=''
		[ ! -e "$run_dir/workloads-$which.fds" ] ||
			read -r before after <"$run_dir/workloads-$which.fds"
		text+=("${before:-?} > ${after:-?}")
		if [ "$which" = guarded ] && { [ -z "$after" ] || [ "$after" -gt $((before + 2 * ncpus)) ]; }; then
			failed "workload fdcount" workloads-guarded
		fi
	done
	printf '%-11s | %9s | %9s |       | %s\n' fdcount "${text[@]}" "fds before and after 5000 processes"
}

# The mode that /proc/stubguard of the guarded guests says.
guard_mode() {
	local mode
	mode=$(sed -n 's/\r//; s/^guest mode //p' "$log_dir"/run-*-guarded.log | sort -u | paste -s -d /)
	printf '%s' "${mode:-unknown}"
}

work_table() {
	local name
	printf '\n%-11s | %9s | %9s | %5s | %s\n' workload unguarded "$mode" ratio "result, $ncpus CPU"
	printf -- '------------|-----------|-----------|-------|-------\n'
	for name in $workloads; do
		if [ "$name" = fdcount ]; then fd_row; else work_row "$name"; fi
	done
}

# ---- attacks

# judge_silence NAME LIMIT: the verdict on a guest that has given none
judge_silence() {
	local log panic
	log=$(guest_log "$1")
	panic=$(grep -aoE '(Kernel panic - not syncing: |Fatal glibc error: ).*' "$log" | head -n 1 | tr -d '\r') || true
	if ! grep -aq '^guest .* runs' "$log"; then
		echo "INCONCLUSIVE the guest did not boot"
	elif [ -n "$panic" ]; then
		echo "BREACHED the guest is down: ${panic#Kernel panic - not syncing: }"
	elif [ -e "$run_dir/$1.late" ]; then
		echo "BREACHED the guest hangs: no answer in $2 s"
	else
		echo "BREACHED the guest is down without a word"
	fi
}

run_attack() {
	local attack=$1 which=$2 name=$1-$2 start=$SECONDS log verdict
	local limit=${attack_limit[$name]:-${attack_limit[$which]:-$attack_limit_else}}
	log=$(guest_log "$name")
	write_init "$name" "${HOSTILE_FULL:+HOSTILE_FULL=1 }'$programs/hostile' $attack"
	boot "$name" "$which" "$limit"
	wait_for_line "$name" '^(BLOCKED|BREACHED|INCONCLUSIVE|SKIPPED) ' || true
	verdict=$(grep -aE '^(BLOCKED|BREACHED|INCONCLUSIVE|SKIPPED) ' "$log" | head -n 1 | tr -d '\r') || true
	[ "$which" != guarded ] || wait_for_line "$name" '^audit: ' || true
	finish_guest "$name"
	[ -n "$verdict" ] || verdict=$(judge_silence "$name" "$limit")
	printf '%s\n' "$verdict" >"$run_dir/$name.verdict"
	say "$attack, $which: ${verdict%% *}, $((SECONDS - start)) s"
}

run_attacks() {
	local attack which n=0
	say "attacks, $jobs at a time (logs: $(short "$log_dir")/run-ATTACK-KERNEL.log)"
	for attack in $attacks; do
		for which in "${attacked[@]}"; do
			if [ "$n" -ge "$jobs" ]; then
				wait -n || true
			else
				n=$((n + 1))
			fi
			run_attack "$attack" "$which" &
		done
	done
	wait
}

verdict() { cat "$run_dir/$1-$2.verdict" 2>/dev/null || echo "INCONCLUSIVE no verdict"; }

# judge ATTACK KERNEL: sets $word, for the table; adds to the failures what must not be
judge() {
	word=$(verdict "$1" "$2" | cut -d' ' -f1)
	[ -z "${kernel[guarded]:-}" ] || [ "$2" = guarded ] || return 0
	if [ "$2 $word" = "guarded BREACHED" ] && [ -n "${known_open[$mode $1]:-}" ]; then
		word=OPEN
		open+=("$1: ${known_open[$mode $1]}")
	fi
	[ "$word" != SKIPPED ] || skipped=$((skipped + 1))
	case $word in
	BLOCKED | OPEN | SKIPPED) audited "$(guest_log "$1-$2")" || failed "oracle after $1 on $2" "$1-$2" ;;
	*) failed "attack $1 on $2" "$1-$2" ;;
	esac
}

attack_table() {
	local attack which text word
	printf '\n%-16s' attack
	for which in "${attacked[@]}"; do
		[ "$which" != guarded ] || which=$mode
		printf ' | %-12s' "$which"
	done
	printf '\n-----------------%s\n' "$(printf -- '|--------------%.0s' "${attacked[@]}")"
	for attack in $attacks; do
		printf '%-16s' "$attack"
		for which in "${attacked[@]}"; do
			judge "$attack" "$which"
			printf ' | %-12s' "$word"
		done
		printf '\n'
	done
	printf '\nWhat was seen (%s CPU):\n' "$ncpus"
	for attack in $attacks; do
		for which in "${attacked[@]}"; do
			text=$(verdict "$attack" "$which")
			printf '  %-16s %-9s %s\n' "$attack" "$which" "${text#* }"
		done
	done
	[ "${#open[@]}" -eq 0 ] || printf '\nKnown to be open in mode %s:\n' "$mode"
	[ "${#open[@]}" -eq 0 ] || printf '  %s\n' "${open[@]}"
}

# ----

start=$SECONDS
failures=() open=() skipped=0
declare -A suspects=()
mkdir -p "$log_dir"
rm -f "$log_dir"/run-*-guarded.log
run_dir=$(mktemp -d "$cache_dir/run.XXXXXX")
mkdir "$run_dir/tmp" "$run_dir/uml"
serve_audits "$run_dir/audit"
trap 'kill_guests "$run_dir"/*.pid; rm -rf "$run_dir"' EXIT
mkdir -p "$programs"
step "guest programs" make -s -C "$uml_dir/guests" OUT="$programs"
attacks=${ATTACKS-$("$programs/hostile" --list | cut -d' ' -f1)}
[ -n "$attacks$workloads" ] || die "there is nothing to run: neither ATTACKS nor WORKLOADS"

if [ -n "$workloads" ]; then
	run_baseline
	run_workloads guarded
fi
[ -z "$attacks" ] || run_attacks
mode=$(guard_mode)
[ -z "$workloads" ] || work_table
[ -z "$attacks" ] || attack_table
printf '\n'
say "all of it took $((SECONDS - start)) s"
if [ "${#failures[@]}" -gt 0 ]; then
	show_suspects
	printf 'run.sh: FAILED: %s\n' "$(IFS=,; printf '%s' "${failures[*]}")" >&2
	exit 1
fi
skips=''
[ "$skipped" -eq 0 ] || skips=" ($skipped skipped)"
seen=''
[ -z "$attacks" ] || seen="every attack was blocked${open:+ but ${#open[@]} known ones}$skips"
[ -z "$workloads" ] || seen+=${seen:+, }"every workload has the same result"
[ -z "${kernel[guarded]:-}" ] || say "mode $mode: $seen"
