// SPDX-License-Identifier: GPL-2.0-only
/*
 * The guard of seccomp stubs, host side, notify mode: the hand-over to and from a
 * stub that runs arch/um's own code. wait_stub_done_seccomp() in ../process.c calls
 * publish, wait, collect, and abort if one of them fails.
 */

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <time.h>
#include <unistd.h>
#include <asm/unistd.h>
#include <linux/futex.h>
#include <sys/wait.h>
#include <mm_id.h>
#include <os.h>
#include <skas.h>
#include <smp.h>
#include <stub-data.h>
#include "internal.h"

/*
 * How long the kernel waits before it looks for calls that nobody has asked for.
 * Only a guest that makes a call from the stub's code waits for that.
 */
#define WAIT_SLICE_NS	(50 * 1000 * 1000)

/**
 * stub_guard_publish() - Copy the stub's orders to where the stub sees them
 * @id:		The stub, which waits
 *
 * The caller then hands over by the futex.
 *
 * Return: 0, or a negative error
 */
int stub_guard_publish(struct mm_id *id)
{
	struct stub_guard *guard = stub_guard(id);

	if (!stub_guard_on)
		return 0;

	if (stub_guard_is_over_limit(id)) {
		guard->mapped -= stub_guard_count_mmaps(id, 0);
		stub_guard_queue_drop(id);
	}
	guard->calls = id->syscall_data_len;
	guard->pending = id->syscall_data_len;
	return stubguard_publish((void *)guard->shared, (void *)id->stack,
				 guard->calls);
}

/* Fails as a system call of the C library does. Notes the error, unless the caller tries again. */
static int fail(struct mm_id *id, int error)
{
	if (error != EINTR && error != EAGAIN)
		stub_guard(id)->error = -error;
	errno = error;
	return -1;
}

/*
 * The stub has not reported: has it died? No SIGCHLD arrives while interrupts are
 * off, as they are while page tables are synchronised. The listener shows a death,
 * but before Linux 6.11 only after the stub has been reaped.
 */
static int look_around(struct mm_id *id)
{
	siginfo_t info = { .si_signo = 0 };

	if (waitid(P_PID, id->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
	    info.si_signo)
		return fail(id, ESRCH);
	return fail(id, EINTR);
}

/**
 * stub_guard_wait() - Wait for the stub's report, and answer its calls
 * @id:		The stub
 * @futex:	The word by which it hands over
 *
 * Return: as FUTEX_WAIT; -1 with EINTR whenever the caller should look around,
 *	   with ESRCH if the stub is dead
 */
int stub_guard_wait(struct mm_id *id, unsigned int *futex)
{
	struct stub_guard *guard = stub_guard(id);
	/* Without a timeout UML's signal handlers would restart the wait */
	static const struct timespec slice = { .tv_nsec = WAIT_SLICE_NS };
	int ret;

	if (!stub_guard_on)
		return syscall(__NR_futex, futex, FUTEX_WAIT, FUTEX_IN_CHILD,
			       NULL, NULL, 0);

	/*
	 * The stub starts. If it died before its pid was known, another CPU may
	 * have reaped it, and its SIGCHLD found no address space.
	 */
	if (guard->listener < 0) {
		siginfo_t info;

		ret = syscall(__NR_futex, futex, FUTEX_WAIT, FUTEX_IN_CHILD,
			      &slice, NULL, 0);
		if (ret == 0 || (errno != ETIMEDOUT && errno != EINTR))
			return ret;
		if (waitid(P_PID, id->pid, &info, WEXITED | WNOHANG | WNOWAIT) < 0 &&
		    errno == ECHILD)
			id->pid = -1;
		return fail(id, EINTR);
	}

	ret = seccomp_wd_enter(uml_curr_cpu(), id->pid, guard->identity);
	/* -ESRCH: the watchdog has killed it */
	if (ret < 0)
		return fail(id, ret == -ESRCH ? ETIMEDOUT : -ret);

	if (guard->pending > 0) {
		ret = seccomp_serve_stub_syscalls(id, guard->listener,
						  (void *)id->stack,
						  guard->calls,
						  guard->pending);
		if (ret == 0 || ret == -EINTR)
			return look_around(id);
		if (ret < 0)
			return fail(id, -ret);
		guard->pending -= ret;
		if (guard->pending > 0)
			return fail(id, EINTR);
	}

	ret = syscall(__NR_futex, futex, FUTEX_WAIT, FUTEX_IN_CHILD, &slice,
		      NULL, 0);
	/* A wait with a timeout is not restarted: each timer tick ends it */
	if (ret < 0 && (errno == ETIMEDOUT || errno == EINTR)) {
		ret = seccomp_notify_drain(id, guard->listener);
		if (ret == 0 || ret == -EINTR)
			return look_around(id);
		return fail(id, ret < 0 ? -ret : EINTR);
	}

	return ret;
}

/**
 * stub_guard_collect() - Copy the stub's report to the private copy, if it is valid
 * @id:		The stub, which has handed over
 *
 * Return: 0, or a negative error if the stub must be treated as dead
 */
int stub_guard_collect(struct mm_id *id)
{
	struct stub_guard *guard = stub_guard(id);
	struct stub_data *own = (void *)id->stack;
	int batch_only = own->restart_wait;
	int ret;

	if (!stub_guard_on)
		return 0;

	ret = 0;
	if (guard->listener >= 0 &&
	    seccomp_wd_exit(uml_curr_cpu()) == -ESRCH)
		ret = -ETIMEDOUT;
	if (ret == 0)
		ret = stubguard_collect((void *)guard->shared,
					(void *)id->stack, guard->calls,
					id->pid);
	guard->pending = 0;
	if (ret == 0)
		stub_guard_leave(guard);
	stub_guard_print_log();
	if (ret < 0) {
		guard->error = ret;
		return ret;
	}

	if (own->err) {
		long err = own->err;
		int done = own->syscall_data_len;

		own->err = stub_guard_drop_mappings(id, err, done, !batch_only);
		if (own->err == 0) {
			/* As if a tick had come before the guest ran */
			if (!batch_only)
				own->signal = SIGALRM;
			return 0;
		}
		own->syscall_data_len = done;
	}

	/* The stub has restored it. */
	if (!batch_only)
		own->arch_data.sync = 0;
	/* The guest has not run: SIGTRAP tells userspace() */
	if (!batch_only && own->err)
		own->signal = SIGTRAP;
	return 0;
}

/**
 * stub_guard_abort() - Make sure that a stub which has failed is dead
 * @id:		The stub
 *
 * Return: 1 if the caller must go on, as it cannot end its task now: page tables
 *	   are being synchronised. The error is kept in the stub data, and ends
 *	   the task at its next resume. 0 if the task is to be ended.
 */
int stub_guard_abort(struct mm_id *id)
{
	struct stub_data *own = (void *)id->stack;

	if (!stub_guard_on)
		return 0;

	stub_guard_kill(id, stub_guard(id)->error);
	stub_guard_leave(stub_guard(id));
	stub_guard_print_log();

	if (own->restart_wait) {
		own->restart_wait = 0;
		own->syscall_data_len = 0;
		own->err = -ESRCH;
		return 1;
	}

	/* Otherwise the process's other threads wait for the turnstile forever */
	if (current_mm_id() == id) {
		stub_guard_print_end(id);
		exit_turnstile(id);
	}
	return 0;
}
