// SPDX-License-Identifier: GPL-2.0-only
/*
 * The guard of seccomp stubs, kernel side: what the page tables grant, the
 * shared pages of an address space, and what an administrator can read.
 */

#include <linux/gfp.h>
#include <linux/init.h>
#include <linux/mm.h>
#include <linux/preempt.h>
#include <linux/proc_fs.h>
#include <linux/ratelimit.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/seq_file.h>
#include <linux/shrinker.h>
#include <linux/smp.h>

#include <trace/events/ipi.h>

#include <asm/mmu.h>
#include <asm/mmu_context.h>
#include <asm/pgtable.h>
#include <asm/tlbflush.h>
#include <as-layout.h>
#include <init.h>
#include <os.h>
#include <skas.h>
#include <stub-audit.h>
#include <stub-data.h>

static struct mm_struct *mm_of(struct mm_id *id)
{
	struct mm_context *context = container_of(id, struct mm_context, id);

	return container_of(context, struct mm_struct, context);
}

/**
 * stub_mmap_allowed() - Does the page table grant this page to the guest?
 * @id:		The address space
 * @addr:	The page's address in it
 * @prot:	The rights that are asked for
 * @offset:	What would be mapped, as the stub says it to the host
 *
 * Called by libstubguard for every page that a stub wants to map. Another CPU
 * may change the page table meanwhile: what is seen here was granted a moment
 * ago, and is taken back by the next synchronisation, as every mapping is.
 *
 * Return: 1 if so, else 0
 */
int stub_mmap_allowed(struct mm_id *id, unsigned long addr, unsigned long prot,
		      unsigned long offset)
{
	struct mm_struct *mm = mm_of(id);
	unsigned long long mapped;
	pte_t *ptep, pte;

	/* Page tables are freed by RCU. */
	guard(rcu)();

	ptep = virt_to_pte(mm, addr);
	if (!ptep)
		return 0;
	pte = ptep_get(ptep);
	if (!pte_present(pte))
		return 0;

	/* What the stub has to be given is what phys_mapping() says */
	if (phys_mapping(pte_val(pte) & PAGE_MASK, &mapped) < 0 || mapped != offset)
		return 0;

	if ((prot & (UM_PROT_READ | UM_PROT_WRITE)) && !pte_read(pte))
		return 0;
	if ((prot & UM_PROT_WRITE) && !pte_write(pte))
		return 0;
	if ((prot & UM_PROT_EXEC) && !pte_exec(pte))
		return 0;

	return 1;
}

/**
 * stub_guard_is_watched() - Does somebody watch this task's system calls?
 *
 * Who does may look at all registers, or change them, when a call begins.
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
 * It is likely to, before a call ends that blocks.
 */
int stub_guard_is_shared(struct mm_id *id)
{
	return atomic_read(&mm_of(id)->mm_users) > 1;
}

/**
 * stub_guard_is_stale() - Is something to be synchronised before the guest runs?
 */
int stub_guard_is_stale(void)
{
	return READ_ONCE(current->mm->context.sync_tlb_range_to) != 0;
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
 * sibling has just set): who uses the stub next would write to a freed task.
 */
void stub_guard_leave_mm(struct task_struct *tsk)
{
	stub_guard_fetch(&tsk->thread.regs.regs);
}

/**
 * stub_guard_may_print() - Is there room in the log for one more line?
 * @func:	The function that asks
 *
 * A guest may have stub after stub killed: ten lines a second are enough.
 */
int stub_guard_may_print(const char *func)
{
	static DEFINE_RATELIMIT_STATE(lines, HZ, 10);

	return ___ratelimit(&lines, func);
}

/**
 * stub_guard_print_dropped() - Say that the mappings of a stub were dropped
 * @pid:	The stub's
 * @mapped:	How many mmap calls the host has made for it before
 *
 * One line a minute: the cause is the same for all, and the counter tells the
 * rest.
 */
void stub_guard_print_dropped(int pid, unsigned int mapped)
{
	static struct ratelimit_state lines =
		RATELIMIT_STATE_INIT_FLAGS(lines, 60 * HZ, 1,
					   RATELIMIT_MSG_ON_RELEASE);

	if (__ratelimit(&lines))
		pr_warn("stubguard: stub %d of %s (%d): the host has refused a mapping after %u (ENOMEM): all are dropped, and page faults bring them back. If that is slow, raise vm.max_map_count or the limit on memory.\n",
			pid, current->comm, task_pid_nr(current), mapped);
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

/**
 * stub_guard_refault() - See that userspace does not fault at this page again
 * @addr:	Where it has faulted; the fault is handled
 *
 * A PTE may be up to date although the stub lacks its page, so the generic code
 * finds nothing to do. Then the page is mapped once more. That happens
 *
 * - if the host has refused a mapping, and all of the stub's were dropped;
 * - in notify mode, where the monitor can only allow or deny a queued mmap as a
 *   whole. If another thread has taken one of its pages away since, the stub
 *   gets none of them.
 */
void stub_guard_refault(unsigned long addr)
{
	struct mm_struct *mm = current->mm;
	pte_t *pte;

	if (!stub_guard_on ||
	    (stub_guard_parked && !stub_guard(&mm->context.id)->dropped))
		return;

	addr &= PAGE_MASK;
	guard(spinlock)(&mm->page_table_lock);

	pte = virt_to_pte(mm, addr);
	if (!pte || !pte_present(*pte) || pte_needsync(*pte))
		return;

	*pte = pte_mkneedsync(*pte);
	um_tlb_mark_sync(mm, addr, addr + PAGE_SIZE);
}

/**
 * stub_guard_alloc() - Make the memory that a new stub shares
 * @id:		The address space; its own copy is there already
 *
 * Return: 0, or -ENOMEM
 */
int stub_guard_alloc(struct mm_id *id)
{
	struct stub_guard *guard = stub_guard(id);
	int taken;

	if (!stub_guard_on)
		return 0;

	guard->listener = -1;
	while ((taken = stub_guard_take(id)) < 0)
		free_pages(guard->shared, ilog2(STUB_DATA_PAGES));
	if (taken)
		return 0;

	guard->shared = __get_free_pages(GFP_KERNEL | __GFP_ZERO,
					 ilog2(STUB_DATA_PAGES));
	if (!guard->shared)
		return -ENOMEM;
	os_stub_guard_prepare(id);
	return 0;
}

/**
 * stub_guard_free() - Give back what a stub has had that has ended
 * @id:		The address space
 */
void stub_guard_free(struct mm_id *id)
{
	if (!stub_guard_on)
		return;

	os_stub_guard_detach(id);
	free_pages(stub_guard(id)->shared, ilog2(STUB_DATA_PAGES));
}

static unsigned long kept_count(struct shrinker *shrinker,
				struct shrink_control *sc)
{
	return os_stub_guard_kept();
}

static unsigned long kept_scan(struct shrinker *shrinker,
			       struct shrink_control *sc)
{
	unsigned long pages, freed = 0;

	while (freed < sc->nr_to_scan) {
		pages = os_stub_guard_drop();
		if (!pages)
			break;
		free_pages(pages, ilog2(STUB_DATA_PAGES));
		freed++;
	}

	return freed ?: SHRINK_STOP;
}

/* Stubs that are kept for reuse are given back when memory is short */
static int __init stub_guard_shrinker(void)
{
	struct shrinker *shrinker;

	if (!stub_guard_parked)
		return 0;

	shrinker = shrinker_alloc(0, "stubguard");
	if (!shrinker)
		return -ENOMEM;
	shrinker->count_objects = kept_count;
	shrinker->scan_objects = kept_scan;
	shrinker_register(shrinker);
	return 0;
}
fs_initcall(stub_guard_shrinker);

/* A reboot runs another kernel in this process, which would not know them */
static void stub_guard_stop(void)
{
	while (stub_guard_parked && os_stub_guard_drop())
		;
}

__uml_exitcall(stub_guard_stop);

#ifdef CONFIG_PROC_FS
static int stub_guard_show(struct seq_file *m, void *v)
{
	const char *name, *reason;
	unsigned long long value;
	unsigned int i;

	seq_printf(m, "mode %s\n", stub_guard_parked ? "window" :
		   stub_guard_on ? "notify" : "off");
	for (i = 0; os_stub_guard_counter(i, &name, &reason, &value) == 0; i++)
		seq_printf(m, "%s%s %llu\n", name, reason, value);

	return 0;
}

static int __init stub_guard_proc(void)
{
	proc_create_single("stubguard", 0444, NULL, stub_guard_show);
	return 0;
}
fs_initcall(stub_guard_proc);
#endif

void *stub_guard_code;

/* Before anything could start a process, and while there is one CPU */
static int __init stub_guard_start(void)
{
	void *code = (void *)get_zeroed_page(GFP_KERNEL);
	int err = code ? os_stub_guard_start(code, TASK_SIZE) : -ENOMEM;

	stub_guard_code = code;
	if (err)
		panic("stubguard: cannot guard userspace, err = %d (see stubguard= in --help)\n",
		      err);
	return 0;
}
early_initcall(stub_guard_start);
