// SPDX-License-Identifier: GPL-2.0-only
/*
 * The guard of seccomp stubs, kernel side: the current task. Who may look at its
 * registers, who shares its stub, and how it stays on its CPU.
 */

#include <linux/atomic.h>
#include <linux/mm_types.h>
#include <linux/preempt.h>
#include <linux/sched.h>
#include <linux/thread_info.h>

#include <asm/mmu_context.h>
#include <stub-data.h>
#include "internal.h"

/**
 * stub_guard_is_watched() - Does somebody watch this task's system calls?
 *
 * A tracer, a seccomp filter, syscall tracing and audit may read or change all
 * registers when a call begins.
 *
 * Return: nonzero if so, else 0
 */
int stub_guard_is_watched(void)
{
	return current->ptrace ||
	       (read_thread_flags() &
		(_TIF_SYSCALL_TRACE | _TIF_SYSCALL_AUDIT | _TIF_SECCOMP |
		 _TIF_SINGLESTEP | BIT(TIF_SYSCALL_TRACEPOINT)));
}

/**
 * stub_guard_is_shared() - May another task run in this stub?
 * @id:		The stub
 *
 * If so, it is likely to before a call that blocks has ended.
 *
 * Return: 1 if so, else 0
 */
int stub_guard_is_shared(struct mm_id *id)
{
	return atomic_read(&mm_of(id)->mm_users) > 1;
}

/**
 * stub_guard_pin() - Keep the current task on this CPU, and others off it
 *
 * For the host side, which has things per CPU: the watchdog's slot, the stack
 * on which stubs are started, and the CPU that stub_guard_flush() interrupts.
 * It calls the kernel back (locks, RCU, printk), which may preempt the task
 * there if CONFIG_PREEMPTION is set. Interrupts are handled as usual.
 */
void stub_guard_pin(void)
{
	preempt_disable();
}

/**
 * stub_guard_unpin() - Undo stub_guard_pin(); may schedule
 */
void stub_guard_unpin(void)
{
	preempt_enable();
}

/**
 * stub_guard_leave_mm() - Take over the registers that a task has left in its stub
 * @tsk:	The current task, which leaves its address space
 *
 * A task that ends by a signal has fetched them before. One that the kernel ends
 * inside of a system call has not (SECCOMP_RET_KILL_THREAD of a filter that a
 * sibling has just set): the next user of the stub would write to a freed task.
 */
void stub_guard_leave_mm(struct task_struct *tsk)
{
	stub_guard_fetch(&tsk->thread.regs.regs);
}
