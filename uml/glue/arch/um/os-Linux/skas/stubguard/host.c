// SPDX-License-Identifier: GPL-2.0-only
/*
 * The guard of seccomp stubs, host side: which system calls does the host refuse?
 *
 * A sandbox may refuse any of them. arch/um does not look at the result of each,
 * so a guest would hang or die later. Therefore UML makes each call once before
 * it does anything else, with arguments for which the call does nothing.
 */

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>
#include <asm/unistd.h>
#include <linux/futex.h>
#include <sys/wait.h>
#include <init.h>
#include <os.h>
#include <smp.h>
#include "internal.h"

/*
 * Who makes the call: UML in any mode, or with several CPUs; the guard in both
 * modes, or in one; or hostfs, which answers the guest with the error
 */
enum who { UML, CPUS, GUARD, WINDOW, NOTIFY, HOSTFS };

static struct {
	const char *name;
	long nr;
	/* The first arguments; all others are -1 */
	long first, second;
	enum who who;
	const char *use;
} calls[] __initdata = {
#define CALL_WITH(call, first, second, who, use) \
	{ #call, __NR_##call, first, second, who, use }
#define CALL(call, who, use) CALL_WITH(call, -1, -1, who, use)
	CALL(access, HOSTFS, "files of the host"),
	CALL(brk, UML, "memory"),
	/* It fails, as signal handlers are shared with memory only */
	CALL_WITH(clone, CLONE_SIGHAND, 0, UML, "processes"),
	CALL(clone3, GUARD, "the watchdog's thread"),
	CALL(close, UML, "files"),
	CALL(close_range, UML, "the fds of processes"),
	CALL(dup2, UML, "the fds of processes"),
	CALL(dup3, WINDOW, "the fds of processes"),
	CALL(epoll_create, UML, "interrupts"),
	CALL(epoll_ctl, UML, "interrupts"),
	CALL(epoll_wait, UML, "interrupts"),
	CALL(execveat, UML, "processes"),
	CALL(fcntl, UML, "files"),
	CALL(fstat, GUARD, "pidfds"),
	CALL(fstatfs, GUARD, "pidfds"),
	CALL_WITH(futex, -1, FUTEX_WAKE, UML, "waking threads"),
	CALL(getdents64, HOSTFS, "files of the host"),
	CALL(getpid, UML, "signals to itself"),
	CALL(gettid, UML, "timers"),
	CALL(ioctl, UML, "notifications of processes"),
	/* No signal, to this process group */
	CALL_WITH(kill, 0, 0, UML, "the preemption of processes"),
	CALL(lseek, UML, "files"),
	CALL(mmap, UML, "memory"),
	CALL(mprotect, UML, "memory"),
	CALL(munmap, UML, "memory"),
	CALL(newfstatat, UML, "files"),
	CALL(openat, UML, "files"),
	CALL(pidfd_getfd, NOTIFY, "the listeners of processes (stubguard=window does without)"),
	CALL(pidfd_open, GUARD, "pidfds"),
	CALL(pidfd_send_signal, GUARD, "the watchdog"),
	CALL(pipe2, UML, "interrupts"),
	CALL(poll, UML, "waiting for interrupts"),
	CALL(prctl, UML, "seccomp filters"),
	CALL(pread64, HOSTFS, "files of the host"),
	CALL(prlimit64, UML, "limits"),
	CALL(read, UML, "files"),
	CALL(readlink, HOSTFS, "files of the host"),
	CALL(recvmsg, NOTIFY, "the memory of processes"),
	CALL(rt_sigaction, UML, "signal handlers"),
	CALL(rt_sigprocmask, UML, "signal handlers"),
	CALL(rt_tgsigqueueinfo, CPUS, "interrupts of other CPUs"),
	CALL(seccomp, UML, "seccomp filters"),
	CALL(sendmsg, NOTIFY, "the memory of processes"),
	CALL(sigaltstack, UML, "signal handlers"),
	CALL(signalfd4, UML, "waiting for interrupts"),
	CALL(socketpair, NOTIFY, "processes"),
	CALL(statfs, HOSTFS, "files of the host"),
	CALL(statx, HOSTFS, "files of the host"),
	CALL(tgkill, GUARD, "the watchdog"),
	CALL(timer_create, UML, "timers"),
	CALL(timer_settime, UML, "timers"),
	CALL(timerfd_create, GUARD, "the watchdog"),
	CALL(timerfd_settime, GUARD, "the watchdog"),
	CALL(wait4, UML, "the end of processes"),
	CALL(waitid, GUARD, "the end of processes"),
	CALL(write, UML, "files"),
#undef CALL
#undef CALL_WITH
};

/* Returns the error by which the host refuses a call whatever its arguments are, or 0 */
static int __init refusal(long nr, long first, long second)
{
	if (syscall(nr, first, second, -1L, -1L, -1L, -1L) >= 0)
		return 0;
	/* For these two the C library then makes other calls */
	if ((nr == __NR_clone3 || nr == __NR_statx) && errno == ENOSYS)
		return 0;
	return errno == EPERM || errno == EACCES || errno == ENOSYS ? errno : 0;
}

/*
 * Three calls do not come back, so a child makes them. Each of its functions ends
 * it by one of them, else by a signal.
 */
static int __init call_exit(void *unused)
{
	syscall(__NR_exit, 0);
	__builtin_trap();
}

static int __init call_exit_group(void *unused)
{
	syscall(__NR_exit_group, 0);
	__builtin_trap();
}

static void ignore_signal(int sig)
{
}

/* Unlike the C library's, it does not go on behind the call */
static __attribute__((naked)) void restorer(void)
{
	asm("movl $15, %eax\n\tsyscall\n\tud2");	/* rt_sigreturn */
}

static int __init call_rt_sigreturn(void *unused)
{
	/* The host's struct sigaction */
	const struct {
		void (*handler)(int sig);
		unsigned long flags;
		void (*restorer)(void);
		unsigned long mask;
	} action = { ignore_signal, 0x04000000 /* SA_RESTORER */, restorer, 0 };

	syscall(__NR_rt_sigaction, SIGTRAP, &action, NULL, sizeof(action.mask));
	asm volatile("int3");
	syscall(__NR_exit, 0);
	syscall(__NR_exit_group, 0);
	__builtin_trap();
}

static struct {
	const char *name;
	int (*call)(void *unused);
	const char *use;
} last_calls[] __initdata = {
	{ "exit", call_exit, "the end of threads" },
	{ "exit_group", call_exit_group, "the end of processes" },
	{ "rt_sigreturn", call_rt_sigreturn, "signal handlers" },
};

/* Whether the child ended by a signal */
static int __init is_refused(int (*call)(void *unused))
{
	static char stack[4 * UM_KERN_PAGE_SIZE] __initdata;
	int status = 0, pid;

	pid = clone(call, stack + sizeof(stack), CLONE_VM | CLONE_VFORK, NULL);
	if (pid > 0)
		CATCH_EINTR(waitpid(pid, &status, __WALL));
	return pid > 0 && WIFSIGNALED(status);
}

static void __init print_refused(const char *name, int error, const char *use)
{
	os_warn("stubguard: the host refuses %s", name);
	if (error)
		os_warn(" (errno %d)", error);
	os_warn(", which UML needs for %s: a seccomp profile around UML must allow it\n",
		use);
}

/**
 * stub_guard_refused() - Name the system calls that the host refuses
 * @window:	The guard is in window mode, else in notify mode
 * @guard:	Where to store whether the guard needs one of them
 *
 * Return: whether UML needs one of them, also without the guard
 */
int __init stub_guard_refused(int window, int *guard)
{
	int i, error, uml = 0;

	*guard = 0;
	for (i = 0; i < ARRAY_SIZE(calls); i++) {
		if (calls[i].who == (window ? NOTIFY : WINDOW) ||
		    (calls[i].who == CPUS && uml_ncpus == 1))
			continue;
		error = refusal(calls[i].nr, calls[i].first, calls[i].second);
		if (!error)
			continue;
		print_refused(calls[i].name, error, calls[i].use);
		if (calls[i].who == UML || calls[i].who == CPUS)
			uml = 1;
		else if (calls[i].who != HOSTFS)
			*guard = 1;
	}
	for (i = 0; i < ARRAY_SIZE(last_calls); i++) {
		if (!is_refused(last_calls[i].call))
			continue;
		print_refused(last_calls[i].name, 0, last_calls[i].use);
		uml = 1;
	}

	return uml;
}
