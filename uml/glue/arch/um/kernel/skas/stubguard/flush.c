// SPDX-License-Identifier: GPL-2.0-only
/*
 * The guard of seccomp stubs, kernel side: a flush of a page table waits until no guest
 * runs any longer with what it has lost. The other side of that is runs.c in
 * os-Linux/skas/stubguard.
 */

#include <linux/mm_types.h>
#include <linux/sched.h>
#include <linux/smp.h>

#include <trace/events/ipi.h>

#include <asm/mmu.h>
#include <asm/pgtable.h>
#include <stub-data.h>

/**
 * stub_guard_is_stale() - Is something to be synchronised before the guest runs?
 */
int stub_guard_is_stale(void)
{
	return READ_ONCE(current->mm->context.sync_tlb_range_to) != 0;
}

/**
 * stub_guard_flush() - See that what page tables have lost is not used any longer
 * @mm:		The address space, its loss marked for synchronisation
 *
 * To arch/um a mark is all of a flush. That does for what runs here, but on
 * another CPU the guest would keep pages until the next tick that others have got
 * meanwhile. So it is stopped there: before it goes on it is synchronised.
 */
void stub_guard_flush(struct mm_struct *mm)
{
	struct mm_id *id = &mm->context.id;
	struct stub_guard *guard;
	unsigned int runs;

	if (!stub_guard_on || !id->stack)
		return;

	guard = stub_guard(id);
	/* Pairs with stub_guard_enter(): either it sees the mark, or this the run */
	smp_mb();
	/* The CPU was stored before */
	runs = smp_load_acquire(&guard->runs);
	/*
	 * Who runs a guest is pinned. So if its CPU is ours, either we interrupt
	 * it, or it has ended and we were preempted meanwhile. A run that began
	 * later has seen the mark.
	 */
	if (!(runs & 1) || READ_ONCE(guard->cpu) == raw_smp_processor_id())
		return;

	do {
		/* The CPU passes it on, as it does with its ticks */
		smp_send_reschedule(READ_ONCE(guard->cpu));
	} while (!os_stub_guard_await(guard, runs));
}
