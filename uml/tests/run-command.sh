#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# run-command.sh [STUBGUARD-RUN]
#
# Uses stubguard-run as its users do: streams, exit status, signals, terminals, limits, files, and what
# a hostile command tries to do to the host. The default is build/bin/stubguard-run (make run-kernel). TAP. QUICK=1:
# without what moves much data. SECTIONS: some of the sections below. As root, all of it is run as an ordinary user, and the basics as root besides.
set -euo pipefail

# shellcheck source=uml/common.sh
. "$(dirname "$0")/../common.sh"

program=$(realpath -e -- "${1:-$top_dir/build/bin/stubguard-run}") || die "stubguard-run is not there: make run-kernel"
need_busybox

# An ordinary user cannot read a clone that is root's.
if [ "$(id -u)" = 0 ] && [ -z "${STUBGUARD_RUN_USER:-}" ]; then
	dir=$(mktemp -d)
	trap 'rm -rf "$dir"' EXIT
	chmod 755 "$dir"
	mkdir "$dir/bin" "$dir/lib" "$dir/run" "$dir/uml"
	cp "$top_dir/run/wire.h" "$dir/run/"
	cp -L "$program" "$dir/bin/stubguard-run"
	cp -rL "${program%/bin/*}/lib/stubguard" "$dir/lib/stubguard"
	cp -r "$uml_dir/common.sh" "$uml_dir/versions" "$uml_dir/tests" "$dir/uml/"
	make -s -C "$uml_dir/guests" OUT="$top_dir/build/guests" "$top_dir/build/guests/hostile" >/dev/null
	cp "$top_dir/build/guests/hostile" "$dir/"
	cp "$top_dir/Cargo.toml" "$dir/"
	chmod -R a+rX "$dir"
	mkdir -m 777 "$dir/cache"
	status=0
	STUBGUARD_RUN_USER=1 STUBGUARD_CACHE=$dir/cache HOSTILE=$dir/hostile setpriv --reuid 12345 --regid 12345 --clear-groups \
		"$dir/uml/tests/run-command.sh" "$dir/bin/stubguard-run" || status=$?
	as_root() {
		[ "$("$program" -- id -u)" = 0 ] && "$program" -- sh -c "echo bad >'$dir/as-root'" && [ ! -e "$dir/as-root" ] &&
			! "$program" --hide / -- true 2>"$dir/log"
	}
	as_root || { echo "not ok - as root" && status=1; }
	exit "$status"
fi

scratch run-command
cc -O2 -Wall -Wextra -Werror -static -o "$dir/flood" "$uml_dir/tests/run-flood.c"
mkdir "$dir/home" "$dir/tmp" "$dir/share" "$dir/secret" "$dir/root"
echo original >"$dir/file"
echo secret >"$dir/secret/key"
cp "$busybox" "$dir/root/busybox"
export HOME=$dir/home TMPDIR=$dir/tmp
cd "$dir"

# run ARGUMENT...: sets $status; the output is in out, the errors in err. A run that hangs ends by the time.
run() {
	status=0
	timeout -k 5 "${LIMIT:-600}" "$program" "$@" >"$dir/out" 2>"$dir/err" || status=$?
	cat "$dir/out" "$dir/err" >"$dir/log" 2>/dev/null || true
}

# is NAME STATUS [TEXT]: the last run had this status, and exactly this output
is() {
	local ok=0
	if [ "$status" -ne "$2" ]; then
		echo "status $status, not $2" >>"$dir/log"
		ok=1
	fi
	if [ $# -gt 2 ] && [ "$(cat "$dir/out")" != "$3" ]; then
		printf 'not the output that was expected: %s\n' "$3" >>"$dir/log"
		ok=1
	fi
	result "$ok" "$1"
}

# has FILE TEXT: a regular expression
has() { grep -qE -- "$2" "$dir/$1"; }

# check NAME COMMAND...: the command succeeds
check() {
	local name=$1 ok=0
	shift
	"$@" >>"$dir/log" 2>&1 || ok=1
	result "$ok" "$name"
}

same() { cmp "$1" "$2"; }
not() { ! "$@"; }

# tree PID: the process and its descendants
tree() {
	local pids=("$1") i children
	for ((i = 0; i < ${#pids[@]}; i++)); do
		read -ra children < <(cat "/proc/${pids[i]}/task"/*/children 2>/dev/null) || true
		pids+=(${children[0]+"${children[@]}"})
	done
	printf '%s\n' "${pids[@]}"
}

# gone PID...: do all end? A zombie of somebody else's has ended.
gone() {
	local pid tries state
	for pid; do
		for ((tries = 0; ; tries++)); do
			state=$(sed 's/.*) //; s/ .*//' "/proc/$pid/stat" 2>/dev/null) || break
			case $state in '' | Z) break ;; esac
			if [ "$tries" -ge 600 ]; then
				echo "process $pid is still there"
				return 1
			fi
			sleep 0.1
		done
	done
}

# start ARGUMENT...: in the background; $guest is its pid, $pids are its processes. Returns when the command has said "runs".
start() {
	local tries
	: >"$dir/out"
	# A job in the background may have been given signals that are ignored
	env --default-signal=INT,QUIT,TERM,HUP "$program" "$@" </dev/null >"$dir/out" 2>"$dir/err" &
	guest=$!
	for ((tries = 0; tries < 3000; tries++)); do
		! grep -q runs "$dir/out" || break
		kill -0 "$guest" 2>/dev/null || break
		sleep 0.1
	done
	mapfile -t pids < <(tree "$guest")
	if ! grep -q runs "$dir/out" || [ "${#pids[@]}" -le 3 ]; then
		result 1 "a command runs, with its processes" "$dir/err"
	fi
}

# finish: waits for what start() has started
finish() {
	status=0
	wait "$guest" || status=$?
	cat "$dir/out" "$dir/err" >"$dir/log"
}

# Status
test_status() {
	run sh -c 'echo out; echo err >&2; exit 42'
	is "the command's status, output" 42 out
	check "errors are apart" test "$(cat err)" = err
	run -- sh -c 'kill -SEGV $$'
	is "a signal is 128 + N" 139
	run ./file
	is "a file that is no program" 126
	check "the reason is said" has err "^stubguard-run: ./file: Permission denied"
	run no-such-program
	is "a program that is not there" 127
	run --no-such-option
	is "an option that is not there" 125
	run --mem 3 true
	is "memory that is no size" 125
	run --chdir /nowhere true
	is "a folder that is not there" 125
	check "the reason names it" has err "no folder /nowhere"
	run --chdir $'/no\e[31mwhere' true
	check "what the guest says has no control characters" not grep -q $'\e' err
	run --root "$dir/nowhere" true
	is "a root that is not there" 125
	run --kernel "$busybox" true
	is "a kernel that is none" 125
	check "what it says is said" has err "kernel has ended: .*applet"
	LIMIT=60 run --time 10 --kernel "$dir/flood" true
	check "a guest that sends and does not read is ended" test "$status" -lt 126
	run --version
	is "--version" 0
	run --help
	is "--help" 0
}

# Arguments and environment
test_arguments() {
	# shellcheck disable=SC2016 # as it is
	words=('' ' two  words ' $'line\nbreak' "\"quotes'" '\back$slash*' 'umlaut ü' -- '--x')
printf '%s\0' "${words[@]}" >"$dir/expected"
run printf '%s\0' "${words[@]}"
check "arguments arrive as they are" same out expected
long=$(head -c 100000 /dev/zero | tr '\0' x)
# shellcheck disable=SC2016 # the guest's
run sh -c 'echo ${#1}' sh "$long"
is "a long argument" 0 100000
# shellcheck disable=SC2016
SECRET=1 OTHER='a b' run --env OTHER --env "SET=c  d" sh -c 'echo "$SECRET,$OTHER,$SET"'
is "the environment is what was asked for" 0 ",a b,c  d"
run sh -c 'pwd; id -u'
is "the command starts here, as the user" 0 "$dir"$'\n'"$(id -u)"
}

# Streams
test_streams() {
	size=3000000
	[ -z "${QUICK:-}" ] || size=100000
	head -c "$size" /dev/urandom >"$dir/data"
	run cat <"$dir/data"
	check "a file goes through, byte for byte" same out data
	status=0
	"$program" cat <"$dir/data" 2>"$dir/err" | cat >"$dir/out" || status=$?
	check "pipes, byte for byte" same out data
	run sh -c 'cat >&2' <"$dir/data"
	check "the errors, byte for byte" same err data
	run cat </dev/null
	is "an input that is empty" 0 ''
	run cat <&-
	is "an input that is closed" 0 ''
	run sh -c 'sleep 1; echo late' <"$dir/data"
	is "an input that is not read" 0 late
	run sh -c 'exec cat /dev/zero | head -c 2000000'
	check "much output" test "$(stat -c %s out)" -eq 2000000
	run sh -c 'sleep 1000 & echo goes'
	is "processes that are left behind are not waited for" 0 goes
	status=0
	"$program" sh -c 'yes; exit 3' 2>"$dir/err" | head -n 1 >"$dir/out" || status=$?
	check "an output that is closed ends the command" test "$(cat out)" = y
	: >"$dir/log"
	mkfifo "$dir/fifo"
	"$program" cat <"$dir/fifo" >"$dir/out" 2>"$dir/err" &
	guest=$!
	exec 7>"$dir/fifo"
	echo one >&7
	tries=0
	until grep -q one "$dir/out" || [ "$((tries += 1))" -gt 3000 ]; do sleep 0.1; done
	check "what is written is passed on at once" grep -q one "$dir/out"
	exec 7>&-
	finish
	is "the end of a pipe is the end of input" 0 one
}

# Files
test_files() {
	run sh -c 'echo changed >file && cat file && echo new >created && cat created && echo x >/etc/stubguard-test 2>&1 || echo denied'
	check "the guest writes to its own copies" has out new
	check "a file of the host stays" test "$(cat file)" = original
	check "no file is made on the host" not test -e created
	run sh -c 'rm -r secret && mkdir secret && mv root moved && rm moved/busybox && rmdir moved && ls'
	check "folders of the host can be removed and renamed in the guest" has out '^secret$'
	check "they stay on the host" test -e secret/key -a -e root/busybox
	run sh -c 'ls -d /proc/1/comm && cat /proc/1/comm; ls /dev; ls /run /sys/class/block'
	check "the guest has its own /proc" has out '^init$'
	check "the guest has its own /dev, /run and /sys" not has out '^(vda|sda|nvme|kvm|fuse|shm/|systemd)'
	run --rw share sh -c 'echo hello >share/new && ln -s / share/link && mkdir share/folder'
	is "a folder to write to" 0
	check "what is written there is there" test "$(cat share/new)" = hello
	check "and is the user's" test "$(stat -c %u share/new)" = "$(id -u)"
	run --ro share:/mnt/a/b sh -c 'cat /mnt/a/b/new; ! echo bad >/mnt/a/b/bad'
	is "a folder to read" 0 hello
	check "nothing is written there" not test -e share/bad
	run --hide "$dir/secret" --hide "$dir/file" sh -c 'ls -A secret; cat file'
	is "what is hidden is empty" 0 ''
	run --hide "$dir" --ro "$dir/share" sh -c "ls '$dir'"
	is "a folder of what is hidden can be shown" 0 share
	run --hide /nowhere true
	is "what is not there cannot be hidden" 125
		run --root "$dir/root" /busybox ls -a /
	check "another root" has out '^busybox$'
	check "the host's root is not in it" not has out '^(etc|home|usr)$'
run --root "$dir/root" --ro share:/data /busybox cat /data/new
is "a folder in another root" 0 hello
if command -v mke2fs >/dev/null; then
	mke2fs -q -t ext4 -E "root_owner=$(id -u):$(id -g)" -d "$dir/root" "$dir/image" 8M >/dev/null
	sum=$(sha256sum <"$dir/image")
	run --image image /busybox sh -c '/busybox echo x >/new && /busybox ls /'
	check "an image as root" has out '^busybox$'
	check "the image is not changed" test "$(sha256sum <"$dir/image")" = "$sum"
fi
}

# Hostile commands: root of the guest, with and without all capabilities
test_hostile() {
	run --uid 0 --gid 0 sh -c "mount -t hostfs none /mnt -o '$dir' 2>/dev/null && echo mounted; chmod 777 '$dir/file'; chown 0 '$dir/file'; rm -rf '$dir/secret'; echo bad >'$dir/bad'; id -u"
	is "root of the guest cannot mount folders of the host" 0 0
	check "it changes no file of the host" test "$(stat -c %a file) $(cat file) $(cat secret/key)" = "644 original secret"
	check "it makes none" not test -e bad
	run --uid 0 --gid 0 sh -c 'echo x >/proc/sys/kernel/core_pattern; echo b >/proc/sysrq-trigger; mknod /dev/x b 98 0; kill -9 1; echo alive'
	is "root of the guest cannot configure the kernel" 0 alive
	# All of root: it mounts what the kernel's process sees
	run --uid 0 --gid 0 --privileged --root "$dir/root" --rw share:/share --ro /usr/bin:/tools /busybox sh -c "
	b=/busybox
	\$b mkdir /m
	\$b mount -t hostfs none /m -o / || exit 9
	\$b ls /m /m/.. /m/guest/..
	\$b ls '/m$dir'
	\$b mkdir /n
	\$b mount -t hostfs none /n -o '../../../$dir' && \$b ls /n
	echo bad >/m/bad; echo bad >/m/guest/bad; \$b chmod 777 /m/guest/busybox; \$b rm /m/guest/busybox
	for file in /m/proc/1/mem /m/proc/2/mem /m/proc/self/mem; do (: <>\$file) && echo written \$file; done
	exit 0"
	is "all of root cannot get out of the sandbox" 0
	check "it sees nothing else of the host" not has out 'secret|home|/etc$'
	check "it writes nothing on the host" not test -e root/bad
	check "it changes no file" test "$(stat -c %a root/busybox)" = "$(stat -c %a "$busybox")"
	check "it cannot write to the memory of the kernel's process" not has out written
	# A folder becomes a link behind the back of the guest's kernel: the host follows it
	mkdir -p share/trap
	echo inside >share/trap/key
	run --uid 0 --gid 0 --privileged --rw share --hide "$dir/secret" sh -c "
	mkdir /a /b
	mount -t hostfs none /a -o share/0 && mount -t hostfs none /b -o share/0 || exit 9
	cat /a/trap/key >/dev/null
	rm -r /b/trap && ln -s '$dir/secret' /b/trap
	cat /a/trap/key; echo bad >/a/trap/key; echo bad >/a/trap/bad
	exit 0"
	is "a link in a folder to write to leads nowhere" 0 ''
	check "nothing behind it was written" test "$(cat secret/key) $(ls secret)" = "secret key"
	hostile=${HOSTILE:-$top_dir/build/guests/hostile}
	[ -x "$hostile" ] || make -s -C "$uml_dir/guests" OUT="$top_dir/build/guests" >/dev/null
	run --uid 0 --gid 0 "$hostile" munmap-stub
	check "an attack is blocked" has out '^BLOCKED'
	check "a process that the guard kills has its line" has err '^stubguard-run: .*process.* of the guest .* is lost: '
}

# Limits
test_limits() {
	run --time 1 sleep 1000
	is "the time" 124
	check "the time is said" has err "the time is over"
	run --time 0.001 true
	is "a time that is over before the guest runs" 124
	# shellcheck disable=SC2016
	run --mem 100M sh -c 'awk "BEGIN { x = \"x\"; while (1) x = x x }"; echo $?'
	check "the memory" not has out '^0$'
	run --cpus 2 sh -c 'grep -c ^processor /proc/cpuinfo'
	is "processors" 0 2
	limited=$dir/limited
	printf '#!/bin/sh\nulimit -n 20\nexec "%s" "$@"\n' "$program" >"$limited"
	chmod +x "$limited"
	program=$limited run true
	is "a guard that refuses" 125
	check "it says why" has err '^stubguard-run: the guard refuses to start: .*(errno|err =) -?24'
	# All files of the host that are still open, and a process, need an fd of the host
	sed -i 's/ulimit -n 20$/ulimit -n 128/' "$limited"
	program=$limited run sh -c 'cd /usr/share/doc && find . -type d | wc -l && find . -type f | head -n 300 | xargs cat >/dev/null && sh -c "sleep 0.1 & wait" && echo good'
	is "many files, and few fds" 0 "$(find /usr/share/doc -type d | wc -l)
good"
	run --stats true
	check "the guard's counters, window mode" has err '^stubguard-run: mode window$'
check "served" has err '^stubguard-run: served [1-9]'
run --stats --mode notify true
check "notify mode" has err '^stubguard-run: mode notify$'
run --verbose true
check "--verbose shows the kernel's log" has err '^guest kernel: .*stubguard: .*mode window'
}

# Signals; and nothing is left
test_signals() {
	start sh -c 'trap "exit 7" TERM; echo runs; while :; do sleep 0.1; done'
	kill -TERM "$guest"
	finish
	is "SIGTERM is the command's" 7
	check "all processes have ended" gone "${pids[@]}"
	start sh -c 'trap "" TERM; echo runs; while :; do sleep 0.1; done'
	kill -TERM "$guest"
	finish
	is "a command that ignores SIGTERM" 143
	check "all processes have ended" gone "${pids[@]}"
	set -m
	start sh -c 'trap "" INT; echo runs; while :; do sleep 0.1; done'
	set +m
	kill -INT "$guest"
	sleep 0.5
	kill -INT "$guest"
	finish
	is "Ctrl-C twice" 130
	check "all processes have ended" gone "${pids[@]}"
	start sh -c 'echo runs; sleep 1000'
	disown "$guest"
	# The guest itself cannot notice
	kill -STOP "${pids[@]:1}"
	kill -KILL "$guest"
	check "SIGKILL of stubguard-run: all processes end" gone "${pids[@]}"
	check "no file is left" test -z "$(find home tmp -mindepth 1)"
}

# A terminal
test_terminal() {
	python3 -B "$uml_dir/tests/run-terminal.py" "$program" >"$dir/terminal" 2>&1 || true
	cp "$dir/terminal" "$dir/log"
	while IFS= read -r line; do
		case $line in
		'ok '*) result 0 "${line#ok }" ;;
		'not ok '*) result 1 "${line#not ok }" ;;
		esac
	done <"$dir/terminal"
	check "all of the terminal's tests were made" grep -q '^end$' "$dir/terminal"
}

# Without namespaces
test_unsandboxed() {
	run --no-sandbox sh -c 'echo bad >file; cat file; exit 5'
	is "--no-sandbox" 5 bad
	check "a file of the host stays" test "$(cat file)" = original
	start --no-sandbox sh -c 'echo runs; sleep 1000'
	kill -TERM "$guest"
	finish
	is "--no-sandbox, SIGTERM" 143
	check "all processes have ended" gone "${pids[@]}"
	start --no-sandbox sh -c 'echo runs; sleep 1000'
	disown "$guest"
	# The guest itself cannot notice
	kill -STOP "${pids[@]:1}"
	kill -KILL "$guest"
	check "--no-sandbox, SIGKILL: all processes end" gone "${pids[@]}"
}

# Several at a time
test_several() {
	for n in 1 2 3 4; do
		"$program" sh -c "echo $n; exit $n" >"$dir/out-$n" 2>&1 &
		guests[n]=$!
	done
	for n in 1 2 3 4; do
		status=0
		wait "${guests[n]}" || status=$?
		check "guest $n of 4" test "$status $(cat "out-$n")" = "$n $n"
	done
}

for section in ${SECTIONS:-status arguments streams files hostile limits signals terminal unsandboxed several}; do
	"test_$section"
done
plan
