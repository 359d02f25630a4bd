/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The guard of seccomp stubs: what the page tables' helpers call
 *
 * This is all that <asm/pgtable.h> sees of the guard, as a change here recompiles
 * the whole kernel.
 *
 * Synchronisation maps a page anew. But fork() and mprotect() drop the write
 * permission of many pages at once. The stub has mapped these pages already, so
 * one mprotect() serves a range of them: their PTEs have _PAGE_WRPROT besides
 * _PAGE_NEEDSYNC. Every other change of such a PTE goes through set_pte(), after
 * which the page is mapped anew.
 */
#ifndef __UM_STUB_GUARD_PGTABLE_H
#define __UM_STUB_GUARD_PGTABLE_H

#ifdef CONFIG_UML_STUBGUARD

/* Window mode */
extern int stub_guard_parked;
/* Waits until no other CPU runs userspace with stale mappings of this mm */
void stub_guard_flush(struct mm_struct *mm);

#define __HAVE_ARCH_PTEP_SET_WRPROTECT
static inline void ptep_set_wrprotect(struct mm_struct *mm, unsigned long addr,
				      pte_t *ptep)
{
	pte_t old = *ptep;

	if (!stub_guard_parked || mm == &init_mm || !pte_exec(old)) {
		set_ptes(mm, addr, ptep, pte_wrprotect(old), 1);
		return;
	}

	*ptep = pte_wrprotect(old);
	if (!pte_needsync(old)) {
		/* The stub has mapped it writable only if all three are set */
		if (!pte_write(old) || !pte_young(old) || !pte_dirty(old))
			return;
		pte_set_bits(*ptep, _PAGE_NEEDSYNC | _PAGE_WRPROT);
	}
	um_tlb_mark_sync(mm, addr, addr + PAGE_SIZE);
}

#define __HAVE_ARCH_PTEP_MODIFY_PROT_TRANSACTION
static inline pte_t ptep_modify_prot_start(struct vm_area_struct *vma,
					   unsigned long addr, pte_t *ptep)
{
	/* No hardware changes it meanwhile, so it can stay as it is */
	return *ptep;
}

static inline void ptep_modify_prot_commit(struct vm_area_struct *vma,
					   unsigned long addr, pte_t *ptep,
					   pte_t old, pte_t pte)
{
	unsigned long changed = (pte_val(old) ^ pte_val(pte)) &
				~(_PAGE_NEEDSYNC | _PAGE_WRPROT);

	if (!changed)
		return;
	if (changed == _PAGE_RW && !pte_write(pte))
		ptep_set_wrprotect(vma->vm_mm, addr, ptep);
	else
		set_ptes(vma->vm_mm, addr, ptep, pte, 1);
}

#else

#define stub_guard_flush(mm) ((void)(mm))

#endif

#endif
