// SPDX-License-Identifier: GPL-2.0-only
/*
 * The guard of seccomp stubs, host side: whether a guest runs, and on which CPU. A
 * flush of its page table on another CPU waits until it stops: stub_guard_flush()
 * in kernel/skas/stubguard/flush.c.
 */

#include <limits.h>
#include <stddef.h>
#include <time.h>
#include <unistd.h>
#include <asm/unistd.h>
#include <linux/futex.h>
#include <mm_id.h>
#include <skas.h>
#include <smp.h>
#include <stub-data.h>
#include "internal.h"

/* Says that the guest has stopped. Undoes stub_guard_enter(). */
void stub_guard_leave(struct stub_guard *guard)
{
	if (!(guard->runs & 1))
		return;

	__atomic_store_n(&guard->runs, guard->runs + 1, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&guard->waiters, __ATOMIC_SEQ_CST)) {
		__atomic_store_n(&guard->waiters, 0, __ATOMIC_SEQ_CST);
		syscall(__NR_futex, &guard->runs, FUTEX_WAKE_PRIVATE, INT_MAX,
			NULL, NULL, 0);
	}
	stub_guard_unpin();
}

/**
 * stub_guard_enter() - Say that the guest is going to run
 * @id:		Its stub, which is synchronised
 *
 * The task is pinned to this CPU until stub_guard_leave(). If the page table has
 * changed since the last synchronisation, the stub is synchronised once more.
 */
void stub_guard_enter(struct mm_id *id)
{
	struct stub_guard *guard = stub_guard(id);

	if (!stub_guard_on)
		return;

	for (;;) {
		stub_guard_pin();
		__atomic_store_n(&guard->cpu, uml_curr_cpu(), __ATOMIC_RELAXED);
		__atomic_store_n(&guard->runs, guard->runs + 1, __ATOMIC_SEQ_CST);
		/* Pairs with stub_guard_flush() */
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
		if (!stub_guard_is_stale())
			return;
		stub_guard_leave(guard);
		current_mm_sync();
	}
}

/**
 * os_stub_guard_await() - Wait until a guest has stopped
 * @guard:	The guard's part of its stub data
 * @runs:	The value of @guard->runs during the run that has to end
 *
 * Return: 1 if it has; 0 if the caller has to interrupt its CPU once more
 */
int os_stub_guard_await(struct stub_guard *guard, unsigned int runs)
{
	static const struct timespec slice = { .tv_nsec = 10 * 1000 * 1000 };

	__atomic_store_n(&guard->waiters, 1, __ATOMIC_SEQ_CST);
	syscall(__NR_futex, &guard->runs, FUTEX_WAIT_PRIVATE, runs, &slice,
		NULL, 0);
	return __atomic_load_n(&guard->runs, __ATOMIC_ACQUIRE) != runs;
}
