// SPDX-License-Identifier: GPL-2.0-only
/*
 * The guard of seccomp stubs, kernel side: a flush waits until no guest runs with
 * stale mappings. os-Linux/skas/stubguard/runs.c is the other side of that.
 */

#include <linux/mm_types.h>
#include <linux/sched.h>
#include <linux/smp.h>

#include <trace/events/ipi.h>

#include <asm/mmu.h>
#include <asm/pgtable.h>
#include <stub-data.h>

/**
 * stub_guard_is_stale() - Must the stub be synchronised before the guest runs?
 *
 * Return: 1 if so, else 0
 */
int stub_guard_is_stale(void)
{
	return READ_ONCE(current->mm->context.sync_tlb_range_to) != 0;
}

/**
 * stub_guard_flush() - Wait until no other CPU runs userspace with stale mappings
 * @mm:		The address space; the flushed range is marked already
 *
 * arch/um only marks the range. That suffices on this CPU. On another one the guest
 * would keep using freed pages until its next tick. So it is interrupted there, and
 * synchronised before it goes on.
 */
void stub_guard_flush(struct mm_struct *mm)
{
	struct mm_id *id = &mm->context.id;
	struct stub_guard *guard;
	unsigned int runs;

	if (!stub_guard_on || !id->stack)
		return;

	guard = stub_guard(id);
	/* Pairs with stub_guard_enter(): either it sees the range, or we see odd runs */
	smp_mb();
	/* enter() has stored the CPU before */
	runs = smp_load_acquire(&guard->runs);
	/*
	 * A task that runs a guest is pinned. So if its CPU is ours, either we
	 * are in its interrupt, or the run has ended and we were preempted
	 * meanwhile. A later run has seen the range.
	 */
	if (!(runs & 1) || READ_ONCE(guard->cpu) == raw_smp_processor_id())
		return;

	do {
		/* The CPU then interrupts the guest, as its ticks do */
		smp_send_reschedule(READ_ONCE(guard->cpu));
	} while (!os_stub_guard_await(guard, runs));
}
