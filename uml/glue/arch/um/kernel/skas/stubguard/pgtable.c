// SPDX-License-Identifier: GPL-2.0-only
/*
 * The guard of seccomp stubs, kernel side: the page table says what a stub may map.
 * A page that the stub lacks although its PTE is up to date is mapped once more.
 */

#include <linux/mm.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/spinlock.h>

#include <asm/mmu.h>
#include <asm/pgtable.h>
#include <asm/tlbflush.h>
#include <mem.h>
#include <os.h>
#include <skas.h>
#include <stub-data.h>
#include "internal.h"

/**
 * stub_mmap_allowed() - Does the page table grant this page to the guest?
 * @id:		The address space
 * @addr:	The page's address in it
 * @prot:	The rights that are asked for
 * @offset:	Where the page would be in the memory file, in bytes
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

	/* phys_mapping() says where the frame is in the memory file */
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
 * stub_guard_refault() - Map a page once more, after a fault of userspace
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
