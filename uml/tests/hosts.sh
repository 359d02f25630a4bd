#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# hosts.sh LINUX
#
# Boots the kernels of several Debian releases in QEMU, each as a host for the guarded UML kernel LINUX, and prints a
# table of what a guest does there in each mode. Fails if a mode neither runs nor refuses to start as the table below says,
# if a workload has another result than on this machine, or if an attack is not BLOCKED. Each kernel is fetched once
# (.cache/hosts).
#
# HOSTS: versions ("5.10 6.1 6.12 newest"). MODES: numbers of lines of the table below, instead of all. HOSTS_FULL=1: all work and
# all attacks of the table on each host. HARNESS: programs of the C harness to run on each host too, or "all"; none by default.
# JOBS: hosts at a time (2). ACCEL: kvm or tcg; by default KVM where it boots such a kernel. LIMIT: seconds (900) that one machine
# may compute.
set -euo pipefail

# shellcheck source=uml/debian.sh
. "$(dirname "$0")/../debian.sh"

[ $# -eq 1 ] || die "usage: hosts.sh LINUX"
linux=$(uml_kernel "$1")
read -ra hosts <<<"${HOSTS:-5.10 6.1 6.12 newest}"
limit=${LIMIT:-900}
jobs=${JOBS:-2}
harness=${HARNESS:-}
hosts_dir=$cache_dir/hosts
for tool in busybox qemu-system-x86_64 dpkg-deb strip; do
	command -v "$tool" >/dev/null || die "$tool is missing: run uml/deps.sh --hosts"
done

# What is run: HOST'S CPUS AND ITS PARAMETERS | USER | YAMA | HIDEPID | GUEST'S CPUS | UML'S PARAMETERS | REFUSES | SET
#
# The lines of one machine are together: it is booted once for them. yama can only be made stricter, so its lines are in that
# order, 3 at the end. REFUSES is the line by which UML must refuse to start. SET is how much a guest does. A processor of QEMU is
# some ten times slower, so the short set is what depends on a host most, in small portions: signals, FS and GS bases, registers
# of calls. Of the lines with the long set the first host alone has it. Attacks that try thousands of ways are left out.
long_work='forks maps signals threads vectors steps handlers bases calls'
long_attacks='munmap-stub wrong-prot altstack-move block-signal alarm-spin left-behind ring-fork'
short_work='signals bases calls'
short_attacks='munmap-stub'
getfd='no stub: pidfd_getfd gives errno 1'
modes="
2|root||0|2|stubguard=window||long
2|root||0|2|stubguard=calls=trap||short
2|root||0|2|stubguard=notify||short
2|user|1|2|1|stubguard=window||short
2|user|1|2|1|stubguard=notify||short
2|user|2|0|1|stubguard=window||short
2|user|2|0|1|stubguard=notify|$getfd|
2|root|3|0|2|stubguard=window||short
2|root|3|0|2|stubguard=notify|$getfd|
1 nofsgsbase|root||0|1|stubguard=window||short
1 nofsgsbase|root||0|1|stubguard=calls=trap||short
1 nofsgsbase|root||0|1|stubguard=notify||short
4|root||0|4|stubguard=window||short
"
mapfile -t modes <<<"$(sed '/^$/d' <<<"$modes")"
read -ra chosen <<<"${MODES-$(seq 1 ${#modes[@]} | paste -s -d ' ')}"

# In notify mode block-signal is known to be open (docs/security.md).
[ -z "${HOSTS_FULL:-}" ] || {
	short_work="threads $short_work"
	short_attacks='munmap-stub foreign-frame altstack-move alarm-spin left-behind'
}

# set_of HOST NUMBER: sets $work and $attacks, what a guest does there, and $divisor, of how much work each does a part
set_of() {
	local line
	IFS='|' read -ra line <<<"${modes[$2 - 1]}"
	work='' attacks='' divisor=10
	[ -z "${HOSTS_FULL:-}" ] || divisor=1
	case ${line[7]:-} in
	long)
		work=$short_work attacks=$short_attacks
		if [ "$1" = "${hosts[0]}" ] || [ -n "${HOSTS_FULL:-}" ]; then work=$long_work attacks=$long_attacks; fi
		;;
	short) work=$short_work attacks=$short_attacks ;;
	esac
}

# ---- the hosts' kernels

# The suites of a version; the newest kernel is in one of several.
suites_of() {
	case $1 in
	5.10) echo bullseye ;;
	6.1) echo bookworm ;;
	6.12) echo trixie ;;
	newest) echo 'trixie-backports forky sid' ;;
	*) echo 'bullseye bookworm trixie trixie-backports forky sid' ;;
	esac
}

# Lists the packages that have such a kernel: VERSION SUITE MIRROR PACKAGE. Since 2026 Debian has it in linux-binary-*, and
# linux-image-* is empty. The kernels for virtual machines are the smallest, and need no module here.
list_kernels() {
	local version=$1 suite mirror pattern='[0-9]+\.[0-9]+'
	[ "$version" = newest ] || pattern=${version//./\\.}
	for suite in $(suites_of "$version"); do
		while read -r mirror; do
			private_apt "$suite" "$mirror" apt-get -q update >&2 || continue
			private_apt "$suite" "$mirror" apt-cache pkgnames linux- |
				sed -nE "s/^linux-(binary|image)-(${pattern}[.0-9]*[-+.0-9a-z]*)-cloud-amd64\$/\2 \1 & /p" |
				awk -v suite="$suite" -v mirror="$mirror" '{ print $1, ($2 == "binary"), suite, mirror, $3 }'
		done <<<"$mirror_list"
	done | sort -V
}

download_kernel() {
	local version=$1 own=$hosts_dir/$1 suite mirror package deb member
	list_kernels "$version" >"$own/list"
	read -r _ _ suite mirror package <<<"$(tail -n 1 "$own/list")"
	[ -n "$package" ] || return 1
	download_deb "$suite" "$mirror" "$package"
	deb=$(newest_deb "$package")
	member=$(dpkg-deb --fsys-tarfile "$deb" | tar -t | grep -E '^./(boot/vmlinuz-.*|usr/lib/modules/[^/]*/vmlinuz)$')
	dpkg-deb --fsys-tarfile "$deb" | tar -xO "$member" >"$own/vmlinuz.tmp"
	mv "$own/vmlinuz.tmp" "$own/vmlinuz"
	rm -f "$own/list" "$deb"
}

fetch_kernel() {
	local by_hand
	[ ! -s "$hosts_dir/$1/vmlinuz" ] || return 0
	by_hand="put a kernel into $(short "$hosts_dir/$1/vmlinuz")"
	need_mirrors "$by_hand"
	mkdir -p "$hosts_dir/$1"
	fetch "Debian's kernel $1" "$by_hand" download_kernel "$1"
}

# ---- what is in a host besides its kernel

run_dir=''
qemu=''
# Each host has a process, which kills its own QEMU.
cleanup() {
	local host
	[ -z "$qemu" ] || kill -KILL "$qemu" 2>/dev/null || true
	[ "$BASHPID" = $$ ] || return 0
	for host in $(jobs -p); do
		kill -TERM "$host" 2>/dev/null || true
		wait "$host" 2>/dev/null || true
	done
	[ -z "$run_dir" ] || rm -rf "$run_dir"
}
trap 'trap "" INT TERM HUP; cleanup' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

archive() { (cd "$1" && find . | busybox cpio -o -H newc 2>/dev/null); }

# with_libraries PROGRAM: puts it and its shared libraries into the root
with_libraries() {
	local file
	ldd "$1" 2>/dev/null | grep -o '/[^ ]*' | while read -r file; do
		mkdir -p "$run_dir/root${file%/*}"
		cp -L "$file" "$run_dir/root$file"
	done
}

make_root() {
	local root=$run_dir/root program
	mkdir -p "$root"/{bin,dev,etc,proc,sys,tmp,guest/tmp,harness}
	cp "$(command -v busybox)" "$root/bin/busybox"
	cp "$uml_dir/tests/hosts-init.sh" "$root/init"
	chmod 755 "$root/init"
	printf 'root:x:0:0:root:/:/bin/sh\nuser:x:1000:1000:user:/:/bin/sh\n' >"$root/etc/passwd"
	cp "$linux" "$root/linux"
	strip "$root/linux"
	with_libraries "$linux"
	cp "$top_dir/build/guests/work" "$top_dir/build/guests/hostile" "$uml_dir/guests/workload.sh" "$root/guest/"
	for program in $harness; do
		cp "$top_dir/build/c-tests/static/$program" "$root/harness/"
		with_libraries "$root/harness/$program"
	done
	archive "$root" >"$run_dir/root.cpio"
	rm -rf "$root"
}

# results: the lines with results. Which vector registers there are depends on the processor.
results() { sed -n 's/^\(result vectors .*SSE\).*/\1/; /^result /p'; }

# The results of the workloads on this machine itself
make_expected() {
	mkdir -p "$run_dir/tmp"
	set_of "${hosts[0]}" 1
	# shellcheck disable=SC2086 # several words
	TMPDIR=$run_dir/tmp VECTOR_SECONDS=1 WORK_DIVISOR=$divisor BUSYBOX=busybox \
		sh "$uml_dir/guests/workload.sh" "$top_dir/build/guests/work" /nowhere $long_work 2>&1 | results >"$run_dir/expected"
}

# ---- one host

# run_qemu LOG SECONDS OPTIONS...: runs QEMU for that time at most; waiting for a CPU does not count.
run_qemu() {
	local log=$1 limit=$2
	shift 2
	qemu-system-x86_64 -nodefaults -no-user-config -display none -no-reboot -m 2048 -serial stdio "$@" </dev/null >"$log" 2>&1 &
	qemu=$!
	own_time "$qemu" "$limit" || {
		echo "hosts.sh: still running after $limit s" >>"$log"
		kill -KILL "$qemu"
	} 2>/dev/null
	wait "$qemu" 2>/dev/null || true
	qemu=''
}

# In many virtual machines there is no KVM, or it boots no kernel of a distribution. Then a processor of QEMU runs the host. Before
# 9.1 it faults an iretq under SMAP. All its CPUs are in one thread, since a hand-over between threads takes long on a busy
# machine.
choose_accel() {
	uml_parameters=
	if [ -z "${ACCEL:-}" ]; then
		ACCEL=tcg
		if [ -w /dev/kvm ]; then
			run_qemu "$log_dir/hosts-kvm.log" 20 -accel kvm -cpu host -kernel "$hosts_dir/${hosts[0]}/vmlinuz" \
				-append 'console=ttyS0 panic=-1'
			! grep -q 'Kernel panic - not syncing: VFS' "$log_dir/hosts-kvm.log" || ACCEL=kvm
		fi
	fi
	case $ACCEL in
	kvm) machine=(-accel kvm -cpu host) ;;
	# A stub's CPU time is many times that of a real processor, and includes the time that QEMU waits for a CPU
	tcg) machine=(-accel 'tcg,thread=single' -cpu 'max,-smap') uml_parameters=,budget=60000 ;;
	*) die "ACCEL=$ACCEL: kvm or tcg" ;;
	esac
	say "hosts run with $ACCEL"
}

host_log() { printf '%s' "$log_dir/host-$1.log"; }

# With one CPU of QEMU's the host's time is the number of instructions that have run, 8 ns each. Sleep takes no time of this machine.
# So a busy machine changes nothing. (With two CPUs and this clock the QEMU of Debian 12 does not get through the host's boot.)
clock_of() { [ "$ACCEL $1" != 'tcg 1' ] || printf '%s\n' -icount shift=3,sleep=off; }

# boot HOST MACHINE NUMBERS...: boots the host for these modes, or without any for the harness
boot() {
	local host=$1 own=$run_dir/$1 cpus=${2%% *} more='' number line clock work attacks divisor
	[ "$2" = "$cpus" ] || more=${2#* }
	shift 2
	rm -rf "$own"
	mkdir -p "$own/more"
	[ $# -gt 0 ] || printf '%s\n' "$harness" >"$own/more/programs"
	: >"$own/more/modes"
	for number; do
		IFS='|' read -ra line <<<"${modes[number - 1]}"
		line[5]+=$uml_parameters
		set_of "$host" "$number"
		printf '%s|%s|%s|%s|%s|%s|%s|%s|%s\n' "$number" "${line[@]:1:5}" "$divisor" "$work" "$attacks"
	done >>"$own/more/modes"
	{ cat "$run_dir/root.cpio" && archive "$own/more"; } >"$own/initrd"
	mapfile -t clock < <(clock_of "$cpus")
	run_qemu "$own/console" "$limit" "${machine[@]}" ${clock[0]+"${clock[@]}"} -smp "$cpus" \
		-kernel "$hosts_dir/$host/vmlinuz" -initrd "$own/initrd" \
		-append "console=ttyS0 quiet panic=-1 no_timer_check $more"
	sed 's/\r*$//' "$own/console" >>"$(host_log "$host")"
}

run_host() {
	local host=$1 start=$SECONDS machine_now='' number now numbers=()
	: >"$(host_log "$host")"
	for number in "${chosen[@]}"; do
		now=${modes[number - 1]%%|*}
		if [ "$now" != "$machine_now" ] && [ ${#numbers[@]} -gt 0 ]; then
			boot "$host" "$machine_now" "${numbers[@]}"
			numbers=()
		fi
		machine_now=$now
		numbers+=("$number")
	done
	[ ${#numbers[@]} -eq 0 ] || boot "$host" "$machine_now" "${numbers[@]}"
	[ -z "$harness" ] || boot "$host" 2
	say "host $host: done, $((SECONDS - start)) s (log: $(short "$(host_log "$host")"))"
}

# ---- what came of it

# said HOST NUMBER: the console's lines of that mode
said() { sed -n "/^mode $2 begins\$/,/^mode $2 ends/p" "$(host_log "$1")"; }

# judge HOST NUMBER: sets $cell; fails if the mode did not do what it must
judge() {
	local text line name verdict same=0 blocked=0 wrong=() work attacks divisor
	text=$(said "$1" "$2")
	set_of "$1" "$2"
	IFS='|' read -ra line <<<"${modes[$2 - 1]}"
	if [ -n "${line[6]:-}" ]; then
		if grep -qF "${line[6]}" <<<"$text" && ! grep -q '^guest mode' <<<"$text"; then
			cell="refuses: ${line[6]}"
			return 0
		fi
		cell="FAILED: does not refuse"
		return 1
	fi
	for name in $work; do
		if grep -q "^result $name " <<<"$text" &&
			[ "$(results <<<"$text" | grep "^result $name ")" = "$(grep "^result $name " "$run_dir/expected")" ]; then
			same=$((same + 1))
		else
			wrong+=("$name")
		fi
	done
	grep -q '^honest kills 0$' <<<"$text" && grep -q '^honest breaches 0$' <<<"$text" || wrong+=("honest work was suspected")
	for name in $attacks; do
		verdict=$(sed -n "/^attack $name\$/,/^attack /s/^\(BLOCKED\|BREACHED\|INCONCLUSIVE\|SKIPPED\) .*/\1/p" <<<"$text" | head -n 1)
		if [ "$verdict" = BLOCKED ]; then blocked=$((blocked + 1)); else wrong+=("$name: ${verdict:-no verdict}"); fi
	done
	cell="runs: $same same, $blocked BLOCKED"
	[ ${#wrong[@]} -gt 0 ] || return 0
	cell="FAILED: $(IFS=,; printf '%s' "${wrong[*]}")"
	if ! grep -q '^guest mode' <<<"$text"; then
		cell="FAILED: $(grep -m 1 -E 'Kernel panic|cannot guard|^stubguard: ' <<<"$text" || echo 'did not start')"
	fi
	return 1
}

# name_of NUMBER: a mode's name, from what is special about it
name_of() {
	local line name
	IFS='|' read -ra line <<<"${modes[$1 - 1]}"
	name="${line[5]#stubguard=}, ${line[4]} CPU"
	[ "${line[0]%% *}" = "${line[4]}" ] || name+=" of ${line[0]%% *}"
	case ${line[0]} in *' '*) name+=", ${line[0]#* }" ;; esac
	[ "${line[1]}" = root ] || name+=", user"
	[ -z "${line[2]}" ] || name+=", yama ${line[2]}"
	[ "${line[3]}" = 0 ] || name+=", hidepid=${line[3]}"
	printf '%s' "${name/calls=trap/window, calls=trap}"
}

release() { sed -n 's/^host runs \([^,]*\), .*/\1/p' "$(host_log "$1")" | head -n 1; }

table() {
	local host number cell
	printf '\n%-42s' mode
	for host in "${hosts[@]}"; do printf ' | %s' "$(release "$host")"; done
	printf '\n%s\n' "$(printf -- '-%.0s' {1..42})$(printf -- '|---%.0s' "${hosts[@]}")"
	for number in "${chosen[@]}"; do
		printf '%-42s' "$(name_of "$number")"
		for host in "${hosts[@]}"; do
			judge "$host" "$number" || failures+=("$(name_of "$number") on $host")
			printf ' | %s' "$cell"
		done
		printf '\n'
	done
	for host in "${hosts[@]}"; do
		printf '\nWhat UML said on %s:\n' "$(release "$host")"
		grep -hE '^stubguard: .*(mode|cannot guard)' "$(host_log "$host")" | sort -u | sed 's/^/  /' || true
	done
}

# The harness: counts of tests, and the failed ones. Some tests need what QEMU's processor does not do: it does not reject a bad
# MXCSR, does not check alignment, and reads the stack of an iretq as the kernel, not as the program.
harness_table() {
	local host log
	for host in "${hosts[@]}"; do
		log=$(host_log "$host")
		[ "$ACCEL" = kvm ] || sed -i -E 's/^not ok ([0-9]+ - (a host without xsave|a bad mxcsr|a bus error|a fault of its own at the end))$/ok \1 # SKIP the processor is QEMU'"'"'s/' "$log"
		printf '\nC harness on %s: %d ok, %d skipped, %d not ok\n' "$(release "$host")" "$(grep -c '^ok [0-9]' "$log")" \
			"$(grep -c '^ok .*# SKIP' "$log")" "$(grep -c '^not ok' "$log")"
		grep -E '^(not ok|# )' "$log" | sed 's/^/  /' || true
		if grep -q '^not ok' "$log" || [ "$(grep -c '^harness .* ends' "$log")" != "$(wc -w <<<"$harness")" ]; then
			failures+=("C harness on $host")
		fi
	done
}

# ----

start=$SECONDS
failures=()
mkdir -p "$log_dir" "$hosts_dir"
lock hosts
for host in "${hosts[@]}"; do fetch_kernel "$host"; done
run_dir=$(mktemp -d "$cache_dir/hosts.XXXXXX")
step "guest programs" make -s -C "$uml_dir/guests" OUT="$top_dir/build/guests"
[ "$harness" != all ] || harness=$(cd "$top_dir/c-tests" && basename -s .c -a ./*/t_*.c | tr '\n' ' ')
read -ra programs <<<"$harness"
[ -z "$harness" ] || step "C harness" make -s -C "$top_dir" "${programs[@]/#/build/c-tests/static/}"
make_root
make_expected
choose_accel
running=0
for host in "${hosts[@]}"; do
	[ "$running" -lt "$jobs" ] || wait -n || true
	(
		trap cleanup EXIT
		trap 'exit 143' TERM
		run_host "$host"
	) &
	running=$((running + 1))
done
wait
table
[ -z "$harness" ] || harness_table
printf '\n'
say "all of it took $((SECONDS - start)) s"
if [ ${#failures[@]} -gt 0 ]; then
	printf 'hosts.sh: FAILED: %s\n' "$(printf '%s; ' "${failures[@]}")" >&2
	exit 1
fi
