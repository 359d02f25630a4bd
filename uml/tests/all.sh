#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# all.sh [more]: runs the steps of `make test`, or of `make test-more`, each with a log, and says how long each took.
#
# The kernels are those of uml/versions. Building them takes longest, so a kernel of `make test` stands for several kinds:
# those of other versions than the default have no SMP, the one with debug options is preemptible. `make test-more` has
# the kinds one by one.
set -euo pipefail

# shellcheck source=uml/common.sh
. "$(dirname "$0")/../common.sh"
cd "$top_dir"

make=${MAKE:-make}
logs=$log_dir
results=$logs/results

# check NAME COMMAND...: one step. Tables and counts of its log are printed, too.
check() {
	local name=$1 start=$SECONDS result=passed log found
	log=$(log_of "$name")
	shift
	step "$name" "$@" || result=FAILED
	found=$({
		grep -hE '^(test result:|ok|not ok|All tests|Files=|symbols|panics|stack|header|abi|versions|unsafe|circles|licences|install|docs|lint|loom|filters: ok|fuzz|[0-9]+ objects)' "$log" || true
		sed -n '/^workload/,/^$/p; /^attack/,/^$/p' "$log"
	} | sed 's/^/      /')
	# By one printf, since other lanes print, too
	[ -z "$found" ] || printf '%s\n' "$found"
	printf '%-34s %-6s %5d s\t%s\n' "$name" "$result" $((SECONDS - start)) "$log" >>"$results"
}

# lanes FUNCTION...: runs steps that do not load all CPUs in parallel. Each lane has a folder for its logs.
lanes() {
	local lane pids=()
	for lane; do
		(
			log_dir=$logs/$lane
			export STUBGUARD_LOGS=$log_dir
			"$lane"
		) &
		pids+=("$!")
	done
	for lane in "${pids[@]}"; do wait "$lane" || printf 'a lane of guests ended itself: FAILED\ta lane\t\n' >>"$results"; done
}

main=$(default_version)
others=$(versions | sed 1d)
kernel() { printf '%s/obj/%s/linux' "$cache_dir" "$1"; }

# build test|more: builds its kernels of uml/versions
build() {
	local version variants
	for version in $main $others; do
		read -ra variants <<<"$(of_version "$version" "$1")"
		check "kernels $version" "$uml_dir/build.sh" "$version" "${variants[@]}"
	done
}

start=$SECONDS
mkdir -p "$logs"
: >"$results"
"$uml_dir/deps.sh" --test
check "library" "$make" --no-print-directory lib

# guests VERSION VARIANT CPUS MODE [ATTACKED [UNGUARDED]]: run.sh. Unguarded kernels are attacked once for each number of CPUs,
# and run the workloads once for each kernel.
guests() {
	local unguarded=${6:-$1-unguarded}
	check "guests $1 $2 $3 CPU $4" env NCPUS="$3" GUARDED_ARGS="stubguard=$4" ATTACKED="${5:-guarded}" \
		BASELINE="$cache_dir/baseline/$unguarded-$3" \
		"$uml_dir/run.sh" unguarded="$(kernel "$unguarded")" guarded="$(kernel "$1-$2")"
}
rm -rf "$cache_dir/baseline"

# torture VERSION VARIANT CPUS MODE
torture() {
	check "torture $1 $2 $3 CPU $4" env NCPUS="$3" GUARDED_ARGS="stubguard=$4" "$uml_dir/tests/torture.sh" "$(kernel "$1-$2")"
}

# crosscalls VARIANT CPUS MODE
crosscalls() {
	check "cross calls $1 $2 CPU $3" env NCPUS="$2" ROUNDS="${ROUNDS:-50}" GUARDED_ARGS="stubguard=$3" \
		"$uml_dir/tests/crosscalls.sh" "$(kernel "$main-$1")"
}

test_all() {
	build test
	check "cargo tests" "$make" --no-print-directory rust-test
	check "C harness" "$make" --no-print-directory c-test
	check "quality" "$make" --no-print-directory check
	check "option off" "$uml_dir/tests/off.sh" "$main"
	check "kernel style" "$uml_dir/tests/style.sh" "$main"
	check "configurations" "$uml_dir/tests/configs.sh" "$main"
	check "guest programs" "$make" --no-print-directory -C "$uml_dir/guests"
	# Beside the guests, in idle CPU time
	chrt --idle 0 "$make" --no-print-directory fuzz SECONDS=180 >"$logs/fuzzing.log" 2>&1 </dev/null &
	fuzzing=$!
	lanes guests_1_cpu guests_2_cpus
	wait "$fuzzing" && fuzzing=0 || fuzzing=$?
	check "fuzz, beside the guests" fuzzed
}

guests_1_cpu() {
	local version
	check "boots shared" "$uml_dir/tests/boots.sh" "$(kernel "$main-guarded")"
	check "limits" "$uml_dir/tests/limits.sh" "$(kernel "$main-guarded")"
	check "lines" "$uml_dir/tests/lines.sh" "$(kernel "$main-guarded")"
	check "faults ahead" "$uml_dir/tests/ahead.sh" "$(kernel "$main-guarded")"
	check "denied calls" env MODES=window "$uml_dir/tests/denied.sh" "$(kernel "$main-guarded")"
	torture "$main" guarded 1 notify
	for version in $others; do torture "$version" guarded-up 1 window; done
	guests "$main" guarded 1 window "unguarded guarded"
	# Each optimisation of window mode can be turned off.
	guests "$main" guarded-static 1 window,calls=trap
	guests "$main" guarded 1 notify
	check "sandboxes" env BASELINE="$cache_dir/baseline/sandboxes-1" "$uml_dir/tests/sandboxes.sh" \
		"$(kernel "$main-unguarded")" "$(kernel "$main-guarded")"
	# Without everycall: the errors of system calls differ between versions
	export WORKLOADS="pipelines files compile forks maps signals threads floats vectors steps handlers bases calls fdcount"
	for version in $others; do
		guests "$version" guarded-up 1 window guarded "$main-unguarded"
		guests "$version" guarded-up 1 notify guarded "$main-unguarded"
	done
}

guests_2_cpus() {
	check "mapping oracle" env ROUNDS=3 "$uml_dir/audit.sh" "$(kernel "$main-guarded")"
	check "disturbed" env NCPUS=2 SECONDS_EACH=2 "$uml_dir/tests/disturbed.sh" "$(kernel "$main-guarded")" freeze-stub trace-all kill-stub
	check "debug guests" env CPUS=2 MODES=window SECONDS_EACH=5 STRESSORS= \
		ATTACKS="stale-page copy-race left-behind ring-fork remap-stale corrupt-data traced-death" \
		"$uml_dir/tests/debug-guests.sh" "$(kernel "$main-guarded-debug")"
	crosscalls guarded 4 window
	crosscalls guarded-debug 4 window
	torture "$main" guarded 2 window
	# delay= makes a short race long
	check "caller-gone, forced" env NCPUS=2 ATTACKS=caller-gone WORKLOADS= GUARDED_ARGS=stubguard=window,delay=500 \
		"$uml_dir/run.sh" guarded="$(kernel "$main-guarded")"
	guests "$main" guarded 2 window
	guests "$main" guarded-static 2 notify
}

test_more() {
	local version
	build more
	for version in $others; do check "configurations $version" "$uml_dir/tests/configs.sh" "$version"; done
	# shellcheck disable=SC2086 # several words
	check "guard-tree.sh" "$uml_dir/tests/tree.sh" $main $others
	check "guest programs" "$make" --no-print-directory -C "$uml_dir/guests"
	check "stubguard-run" "$make" --no-print-directory run-kernel
	check "run command" "$uml_dir/tests/run-command.sh"
	lanes more_1_cpu more_2_cpus
}

more_1_cpu() {
	local version
	check "boots static" "$uml_dir/tests/boots.sh" "$(kernel "$main-guarded-static")"
	check "denied calls" env ERRNOS="EPERM ENOSYS EACCES" "$uml_dir/tests/denied.sh" "$(kernel "$main-guarded")"
	guests "$main" guarded-up 1 window "unguarded guarded" "$main-unguarded-up"
	guests "$main" guarded-up 1 notify guarded "$main-unguarded-up"
	guests "$main" guarded-preempt 1 window
	guests "$main" guarded-preempt 1 notify
	for version in $others; do
		guests "$version" guarded 1 window,calls=trap,pool=0 "unguarded guarded"
		guests "$version" guarded 1 notify
	done
}

more_2_cpus() {
	local version
	export ROUNDS=300
	guests "$main" guarded 2 window "unguarded guarded"
	crosscalls guarded 4 window
	crosscalls guarded 4 notify
	crosscalls guarded 2 window
	crosscalls guarded-preempt 4 window
	guests "$main" guarded-static 2 window,pool=0
	guests "$main" guarded-preempt 2 window
	guests "$main" guarded-preempt 2 notify
	for version in $others; do guests "$version" guarded 2 window "unguarded guarded"; done
}

fuzzed() {
	cat "$logs/fuzzing.log"
	return "$fuzzing"
}

# reasons LOG: what a table or a TAP stream in it says of what is wrong
reasons() {
	grep -aE '^not ok|DIFFERENT|FAILED|BREACHED|INCONCLUSIVE' "$1" | grep -av ' unguarded  *BREACHED' | head -n 20 || true
}

case ${1:-all} in
all) test_all ;;
more) test_more ;;
*) die "usage: all.sh [more]" ;;
esac

printf '\n'
cut -f 1 "$results"
printf '%-41s %5d s\n\n' "all" $((SECONDS - start))
while IFS=$'\t' read -r name log; do
	printf 'FAILED: %s. The end of its log (%s):\n' "${name%% FAILED*}" "${log:-none}"
	[ -z "$log" ] || tail -n 40 "$log"
	[ -z "$log" ] || reasons "$log"
	printf '\n'
done < <(grep FAILED "$results")
failed=$(grep -c FAILED "$results") || true
printf '%d passed, %d failed\n' "$(grep -c passed "$results")" "$failed"
[ "$failed" -eq 0 ]
