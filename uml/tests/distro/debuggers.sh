#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# debuggers.sh - gdb, strace, valgrind
# shellcheck disable=SC2016 # what other programs expand
# shellcheck source=uml/tests/distro/lib.sh
. "${0%/*}/lib.sh"

normal+=('s/\b[0-9]{3,7}\b/N/g' 's/LWP N/LWP/g' '/^(warning|\[?Using|Copyright|\[New|\[Thread|\[Switching|For help)/d' 's/==N== *//' '/libthread_db|debuginfod|^$/d')
cp "$here/prog.c" .
passes "compile" gcc -g -O1 -pthread -o prog prog.c
passes "compile, static" gcc -g -O1 -pthread -static -o prog-static prog.c
check "run" ./prog
gdb() { command gdb -q -nx -batch -iex 'set debuginfod enabled off' "$@"; }
check "gdb: breakpoints, a backtrace" gdb -ex 'break leaf' -ex run -ex bt -ex 'p x' -ex 'info locals' -ex finish -ex 'delete' -ex c ./prog
check "gdb: single steps" gdb -ex 'break steps' -ex run -ex 'delete' -ex 'while $_siginfo.si_signo != 11 && $n++ < 500' -ex stepi -ex end -ex 'p sum' -ex kill ./prog
check "gdb: a thousand steps" gdb -ex 'break steps' -ex run -ex 'stepi 1000' -ex 'info symbol $pc' -ex kill ./prog
check "gdb: watch" gdb -ex 'break main' -ex run -ex 'watch global' -ex c -ex c -ex 'delete' -ex kill ./prog
check "gdb: software watch" gdb -ex 'set can-use-hw-watchpoints 0' -ex 'break steps' -ex run -ex 'watch sum' -ex c -ex c -ex 'delete' -ex kill ./prog
check "gdb: catch" gdb -ex 'catch syscall getppid' -ex 'catch fork' -ex run -ex c -ex c -ex 'delete' -ex c ./prog
check "gdb: signals" gdb -ex 'handle SIGUSR1 stop print pass' -ex run -ex bt -ex 'p $_siginfo.si_signo' -ex 'handle SIGUSR1 nostop' -ex c ./prog
check "gdb: threads" gdb -ex 'break thread' -ex run -ex 'thread apply all -q p 1' -ex 'delete' -ex c ./prog
check "gdb: calls, registers" gdb -ex 'break leaf' -ex run -ex 'p leaf(20)' -ex 'set var global = 40' -ex 'p $rflags' -ex 'p $xmm0.v4_int32' -ex 'set $xmm5.v4_int32[1] = 77' -ex 'p $xmm5.v4_int32' -ex 'delete' -ex c ./prog
check "gdb: a core file" gdb -ex 'break leaf' -ex run -ex 'generate-core-file core' -ex kill ./prog
check "gdb: reads it" sh -c 'gdb -q -nx -batch -ex bt -ex "info threads" ./prog core | grep -c "^#"'
check "gdb: follows a fork" gdb -ex 'set follow-fork-mode child' -ex 'set detach-on-fork off' -ex 'break child' -ex run -ex bt -ex 'p child_says' -ex kill ./prog
attach() { ./prog forever & sleep 1; gdb -p $! -ex 'info threads' -ex detach | grep -c Thread; kill -0 $! && echo alive; kill $!; }
check "gdb: attach, detach" attach
calls() { strace -f -qq -o log "$@" >/dev/null; sed -E -e 's/^[0-9]+ +//' -e 's/[(= ].*//' log | sort | uniq -c | grep -vE 'futex|restart|resumed|sched_yield|nanosleep|wait4|rt_sigreturn|SIG|brk|madvise|munmap|mprotect|mmap|write|read'; }
check "strace -f" calls ./prog
check "strace of ls" calls ls -l /usr
check "strace, injected errors" sh -c 'strace -qq -e trace=openat -e inject=openat:error=ENOENT:when=4+ cat /etc/hostname; strace -qq -o /dev/null -e inject=write:retval=3 echo hello; strace -qq -o /dev/null -e inject=getppid:signal=SIGTERM ./prog; echo $?'
check "strace --seccomp-bpf" sh -c 'strace -f --seccomp-bpf -qq -e trace=getppid -o log ./prog >/dev/null; grep -c getppid log'
check "strace -c" sh -c 'strace -f -c -S name -U name -o log ./prog >/dev/null; grep -c . log | sed "s/[0-9]*/some/"'
check "strace -k" sh -c 'strace -k -e trace=getppid ./prog 2>&1 >/dev/null | grep -c " > "'
grind() { valgrind -q --error-exitcode=9 "$@"; }
check "valgrind" grind ./prog
check "valgrind finds errors" valgrind --leak-check=full ./prog wrong
check "valgrind: helgrind" grind --tool=helgrind ./prog
check "valgrind: drd" grind --tool=drd ./prog
passes "valgrind: callgrind" valgrind -q --tool=callgrind --callgrind-out-file=cg ./prog
passes "valgrind: massif" valgrind -q --tool=massif --massif-out-file=ms ./prog
check "valgrind of sh" grind sh -c 'for i in 1 2 3; do echo $i | cat; done'
