// SPDX-License-Identifier: GPL-2.0-only
/*
 * The mapping oracle, kernel side: /proc/stubguard_audit lists what each page
 * table grants, and what is wrong with it. uml/audit.py compares that with what
 * the host has mapped. The answer is exact while no other task runs.
 *
 * One line a fact, all numbers but pids and counts in hex:
 *
 *	kernel PID MODE FD SIZE START CODE PAGES END
 *	mm PID USERS TASK COMM DATA STARTING RUNS FROM TO DROPPED
 *	call TYPE ADDRESS LENGTH RIGHTS FD OFFSET
 *	page ADDRESS FRAME COUNT RIGHTS FLAGS
 *	stale ADDRESS END
 *	bad ADDRESS FRAME TEXT
 *	end MMS PAGES BAD
 *
 * call, page, stale and bad belong to the mm above them. A call is queued, and
 * the stub runs it before the guest. FLAGS are n (the host does not know of it
 * yet), z (the zero page), d (a frame without struct page, or a device's), or a
 * dash. A stale range is empty, and the host does not know of that yet.
 */

#include <linux/atomic.h>
#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/init.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/proc_fs.h>
#include <linux/rcupdate.h>
#include <linux/rmap.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/seq_file.h>
#include <linux/slab.h>

#include <asm/mmu.h>
#include <asm/pgtable.h>
#include <as-layout.h>
#include <os.h>
#include <skas.h>
#include <stub-audit.h>
#include <stub-data.h>

#define MAX_BAD		100
#define TEXT_SIZE	(256 * 1024)

/* Neighbours with the same rights, which are one line */
struct run {
	unsigned long addr;
	unsigned long frame;
	unsigned long pages;
	unsigned int rights;
	char flag;
};

struct audit {
	struct seq_file *m;
	struct mm_struct *mm;
	/* Of each frame, how many PTEs map it */
	unsigned int *uses;
	unsigned long frames;
	/* The first round counts, the second one prints */
	bool counting;
	struct run run;
	/* What is to be synchronised, and the first page of it that is gone */
	unsigned long due_from;
	unsigned long due_to;
	unsigned long lost;
	unsigned long stale_from;
	unsigned long stale_to;
	unsigned long pages;
	unsigned long bad;
};

static void print_run(struct audit *audit)
{
	struct run *run = &audit->run;

	if (run->pages)
		seq_printf(audit->m, "page %lx %lx %lu %c%c%c %c\n", run->addr,
			   run->frame, run->pages,
			   run->rights & UM_PROT_READ ? 'r' : '-',
			   run->rights & UM_PROT_WRITE ? 'w' : '-',
			   run->rights & UM_PROT_EXEC ? 'x' : '-', run->flag);
	run->pages = 0;
}

static void print_stale(struct audit *audit)
{
	if (audit->stale_to)
		seq_printf(audit->m, "stale %lx %lx\n", audit->stale_from,
			   audit->stale_to);
	audit->stale_to = 0;
}

static void add_page(struct audit *audit, unsigned long addr,
		     unsigned long frame, unsigned int rights, char flag)
{
	struct run *run = &audit->run;

	audit->pages++;
	if (!run->pages || run->addr + run->pages * PAGE_SIZE != addr ||
	    run->frame + run->pages * PAGE_SIZE != frame ||
	    run->rights != rights || run->flag != flag) {
		print_run(audit);
		run->addr = addr;
		run->frame = frame;
		run->rights = rights;
		run->flag = flag;
	}
	run->pages++;
}

static void add_stale(struct audit *audit, unsigned long addr, unsigned long end)
{
	if (audit->counting)
		return;

	if (!audit->lost && addr < audit->due_to && end > audit->due_from)
		audit->lost = max(addr, audit->due_from);
	if (!audit->stale_to || audit->stale_to != addr) {
		print_stale(audit);
		audit->stale_from = addr;
	}
	audit->stale_to = end;
}

static void add_bad(struct audit *audit, unsigned long addr,
		    unsigned long frame, const char *text)
{
	if (audit->bad++ < MAX_BAD)
		seq_printf(audit->m, "bad %lx %lx %s\n", addr, frame, text);
}

/* As update_pte_range() grants them */
static unsigned int granted(pte_t pte)
{
	unsigned int rights = 0;

	if (pte_read(pte) && pte_young(pte)) {
		rights |= UM_PROT_READ;
		if (pte_write(pte) && pte_dirty(pte))
			rights |= UM_PROT_WRITE;
	}
	if (pte_exec(pte))
		rights |= UM_PROT_EXEC;

	return rights;
}

/* A frame that the VMA may map although nobody counts who does */
static bool is_uncounted(struct vm_area_struct *vma, unsigned long addr,
			 unsigned long pfn)
{
	if (vma->vm_flags & VM_MIXEDMAP)
		return !pfn_valid(pfn);
	if (vma->vm_flags & VM_PFNMAP)
		/* Not copy-on-write; the helper for that has another name in 7.3 */
		return pfn == linear_page_index(vma, addr) ||
		       (vma->vm_flags & (VM_SHARED | VM_MAYWRITE)) != VM_MAYWRITE;
	return false;
}

/* Does the reverse map of the page lead to this VMA at this address? */
static const char *check_owner(struct folio *folio, struct page *page,
			       struct vm_area_struct *vma, unsigned long addr)
{
	unsigned long mapping = (unsigned long)folio->mapping;
	pgoff_t index = linear_page_index(vma, addr);
	struct anon_vma_chain *avc;

	/* Comes back from swap even if its VMA is not mergeable any longer */
	if ((mapping & FOLIO_MAPPING_FLAGS) == FOLIO_MAPPING_KSM)
		return NULL;

	if (mapping & FOLIO_MAPPING_ANON) {
		mapping &= ~(unsigned long)FOLIO_MAPPING_FLAGS;
		if (page_address_in_vma(folio, page, vma) != addr)
			return "an anonymous page of another address";
		/* Stable: the lock of the page table is the mm's on UML */
		list_for_each_entry(avc, &vma->anon_vma_chain, same_vma)
			if ((unsigned long)avc->anon_vma == mapping)
				return NULL;
		return "an anonymous page of another process";
	}

	/* A driver's or the vdso; the count of its users has been checked */
	if (!mapping)
		return !vma->vm_file || (vma->vm_flags & VM_MIXEDMAP) ||
		       (vma->vm_ops && vma->vm_ops->fault) ? NULL :
		       "a page of nobody's";

	if (!vma->vm_file || vma->vm_file->f_mapping != folio->mapping)
		return "a page of another file";
	if (page_pgoff(folio, page) != index)
		return "a page of another place in the file";
	return NULL;
}

static const char *check_page(struct audit *audit, struct page *page,
			      struct vm_area_struct *vma, unsigned long addr)
{
	struct folio *folio = page_folio(page);
	int mapped = atomic_read(&page->_mapcount) + 1;

	if (folio_ref_count(folio) <= 0)
		return "a page without references";
	if (PageBuddy(page))
		return "a free page";
	if (PageTable(page))
		return "a page table";
	if (PageSlab(page))
		return "a page of the slab allocator";
	if (page_has_type(page))
		return "a page of the kernel's";
	if (PageReserved(page))
		return "reserved memory";
	if (!IS_ENABLED(CONFIG_NO_PAGE_MAPCOUNT) || !folio_test_large(folio)) {
		unsigned int uses = audit->uses[page_to_pfn(page)];

		if (mapped <= 0)
			return "a page that is not mapped by its own account";
		if (uses > mapped)
			return "a page that more PTEs map than by its own account";
		if (uses < mapped)
			return "a page that fewer PTEs map than by its own account";
	}

	return check_owner(folio, page, vma, addr);
}

/* Return: what is wrong, or NULL; and the flag of the page */
static const char *check_pte(struct audit *audit, struct vm_area_struct *vma,
			     unsigned long addr, pte_t pte, char *flag)
{
	unsigned long pfn = pte_pfn(pte);
	unsigned long long offset;

	if (!vma)
		return "no VMA";
	if (pte_read(pte) && !vma_is_accessible(vma))
		return "the VMA grants nothing";
	if (pte_write(pte) && !(vma->vm_flags & VM_WRITE))
		return "the VMA does not grant to write";
	if (is_uncounted(vma, addr, pfn)) {
		*flag = *flag == 'n' ? 'n' : 'd';
		return NULL;
	}
	if (phys_mapping(PFN_PHYS(pfn), &offset) < 0 || !pfn_valid(pfn))
		return "no memory of the guest";
	if (is_zero_pfn(pfn)) {
		*flag = *flag == 'n' ? 'n' : 'z';
		return pte_write(pte) ? "the zero page, to write" : NULL;
	}

	if (pte_write(pte) && folio_test_ksm(page_folio(pfn_to_page(pfn))))
		return "a shared page of KSM, to write";

	return check_page(audit, pfn_to_page(pfn), vma, addr);
}

static void audit_pte(struct audit *audit, struct vm_area_struct *vma,
		      unsigned long addr, pte_t pte)
{
	unsigned long pfn;
	const char *text;
	char flag = pte_needsync(pte) ? 'n' : '-';

	if (!pte_present(pte)) {
		if (pte_needsync(pte))
			add_stale(audit, addr, addr + PAGE_SIZE);
		return;
	}

	pfn = pte_pfn(pte);
	if (audit->counting) {
		if (pfn < audit->frames && vma && !is_uncounted(vma, addr, pfn))
			audit->uses[pfn]++;
		return;
	}

	text = check_pte(audit, vma, addr, pte, &flag);
	if (text)
		add_bad(audit, addr, PFN_PHYS(pfn), text);
	add_page(audit, addr, PFN_PHYS(pfn), granted(pte), flag);
}

static void audit_ptes(struct audit *audit, pmd_t *pmd, unsigned long addr,
		       unsigned long end)
{
	struct vm_area_struct *vma = NULL;
	pte_t *start, *ptep;
	spinlock_t *ptl;	/* the mm's page_table_lock on UML */

	start = pte_offset_map_lock(audit->mm, pmd, addr, &ptl);
	if (!start)
		return;
	ptep = start;
	do {
		if (!vma || addr >= vma->vm_end)
			vma = find_vma(audit->mm, addr);
		audit_pte(audit, vma && addr >= vma->vm_start ? vma : NULL, addr,
			  ptep_get(ptep));
	} while (ptep++, addr += PAGE_SIZE, addr < end);
	pte_unmap_unlock(start, ptl);
}

static void audit_pmds(struct audit *audit, pud_t *pud, unsigned long addr,
		       unsigned long end)
{
	pmd_t *pmd = pmd_offset(pud, addr);
	unsigned long next;

	do {
		next = pmd_addr_end(addr, end);
		if (pmd_present(*pmd))
			audit_ptes(audit, pmd, addr, next);
		else if (pmd_needsync(*pmd))
			add_stale(audit, addr, next);
	} while (pmd++, addr = next, addr < end);
}

static void audit_puds(struct audit *audit, p4d_t *p4d, unsigned long addr,
		       unsigned long end)
{
	pud_t *pud = pud_offset(p4d, addr);
	unsigned long next;

	do {
		next = pud_addr_end(addr, end);
		if (pud_present(*pud))
			audit_pmds(audit, pud, addr, next);
		else if (pud_needsync(*pud))
			add_stale(audit, addr, next);
	} while (pud++, addr = next, addr < end);
}

static void audit_p4ds(struct audit *audit, pgd_t *pgd, unsigned long addr,
		       unsigned long end)
{
	p4d_t *p4d = p4d_offset(pgd, addr);
	unsigned long next;

	do {
		next = p4d_addr_end(addr, end);
		if (p4d_present(*p4d))
			audit_puds(audit, p4d, addr, next);
		else if (p4d_needsync(*p4d))
			add_stale(audit, addr, next);
	} while (p4d++, addr = next, addr < end);
}

static void audit_pgds(struct audit *audit)
{
	unsigned long addr = 0, next, end = TASK_SIZE;
	pgd_t *pgd = pgd_offset(audit->mm, 0);

	do {
		next = pgd_addr_end(addr, end);
		if (pgd_present(*pgd))
			audit_p4ds(audit, pgd, addr, next);
		else if (pgd_needsync(*pgd))
			add_stale(audit, addr, next);
	} while (pgd++, addr = next, addr < end);
}

static void print_calls(struct audit *audit)
{
	struct mm_id *id = &audit->mm->context.id;
	struct stub_data *own = (void *)id->stack;
	int i;

	for (i = 0; i < id->syscall_data_len; i++) {
		struct stub_syscall *call = &own->syscall_data[i];
		int fd = -1;

		if (call->syscall == STUB_SYSCALL_MMAP && call->mem.fd >= 0 &&
		    call->mem.fd < id->syscall_fd_num)
			fd = id->syscall_fd_map[call->mem.fd];
		seq_printf(audit->m, "call %d %lx %lx %x %d %lx\n",
			   call->syscall, call->mem.addr, call->mem.length,
			   call->mem.prot, fd, call->mem.offset);
	}
}

/* The number of the guest's run in its stub, which is odd while that lasts */
static unsigned int runs_of(struct mm_struct *mm)
{
	if (!stub_guard_on)
		return 0;

	/* Before the page table, which may be another one for the next run */
	return smp_load_acquire(&stub_guard(&mm->context.id)->runs);
}

static void print_mm(struct audit *audit, bool lives, bool runs)
{
	struct mm_struct *mm = audit->mm;
	struct mm_id *id = &mm->context.id;
	char comm[TASK_COMM_LEN] = "-", *c;
	struct task_struct *task;
	int pid = 0, starting = 0, dropped = 0;

	scoped_guard(rcu) {
		for_each_process(task) {
			if (READ_ONCE(task->mm) != mm)
				continue;
			pid = task_pid_nr(task);
			strscpy(comm, task->comm);
			break;
		}
	}
	for (c = comm; *c; c++)
		if (*c <= ' ' || *c > '~')
			*c = '?';
	if (stub_guard_on) {
		starting = stub_guard(id)->starting;
		dropped = stub_guard(id)->dropped;
	}
	scoped_guard(spinlock_irqsave, &mm->context.sync_tlb_lock) {
		audit->due_from = mm->context.sync_tlb_range_from;
		audit->due_to = mm->context.sync_tlb_range_to;
	}
	/* The auditor has a reference as well */
	seq_printf(audit->m, "mm %d %d %d %s %lx %d %d %lx %lx %d\n", id->pid,
		   lives ? atomic_read(&mm->mm_users) - 1 : 0, pid,
		   comm[0] ? comm : "-", __pa(stub_guard_shared(id)), starting,
		   runs, audit->due_from, audit->due_to, dropped);
	print_calls(audit);
}

static void audit_mm(struct audit *audit, struct mm_struct *mm)
{
	unsigned int runs;
	bool lives;

	if (!mm)
		return;

	lives = mmget_not_zero(mm);
	runs = runs_of(mm);
	audit->mm = mm;
	audit->lost = 0;
	if (!audit->counting)
		print_mm(audit, lives, runs & 1);
	/* Else its page tables are gone, and its stub never runs again */
	if (!lives)
		return;

	mmap_read_lock(mm);
	audit_pgds(audit);
	mmap_read_unlock(mm);
	print_run(audit);
	print_stale(audit);
	/* Whoever took it away has flushed, after which no run is the old one */
	if (audit->lost && (runs & 1) && runs_of(mm) == runs)
		add_bad(audit, audit->lost, 0,
			"the guest runs with what its page table has lost");
	mmput(mm);
}

static void drop(struct mm_struct **mms, unsigned int n)
{
	unsigned int i;

	for (i = 0; i < n; i++)
		if (mms[i])
			mmdrop(mms[i]);
	kvfree(mms);
}

static int audit_show(struct seq_file *m, void *v)
{
	struct audit audit = { .m = m, .frames = physmem_size >> PAGE_SHIFT };
	void *code = stub_guard_parked ? stub_guard_code : __syscall_stub_start;
	unsigned long long offset = 0;
	struct mm_struct **mms;
	unsigned int i, n, found;
	int ret = -ENOMEM;

	audit.uses = kvcalloc(audit.frames, sizeof(*audit.uses), GFP_KERNEL);
	if (!audit.uses)
		return -ENOMEM;
	n = um_mm_list_grab(NULL, 0);
	for (;;) {
		mms = kvcalloc(n, sizeof(*mms), GFP_KERNEL);
		if (!mms)
			goto out;
		found = um_mm_list_grab(mms, n);
		if (found <= n)
			break;
		drop(mms, n);
		n = found;
	}

	seq_printf(m, "kernel %d %s %d %llx %lx %lx %d %lx\n", os_getpid(),
		   stub_guard_parked ? "window" : stub_guard_on ? "notify" : "off",
		   phys_mapping(0, &offset), physmem_size, STUB_START, __pa(code),
		   STUB_DATA_PAGES, TASK_SIZE);
	audit.counting = true;
	for (i = 0; i < found; i++)
		audit_mm(&audit, mms[i]);
	audit.counting = false;
	for (i = 0; i < found; i++)
		audit_mm(&audit, mms[i]);
	seq_printf(m, "end %u %lu %lu\n", found, audit.pages, audit.bad);
	drop(mms, found);
	ret = 0;
out:
	kvfree(audit.uses);
	return ret;
}

static int audit_open(struct inode *inode, struct file *file)
{
	if (!file_ns_capable(file, &init_user_ns, CAP_SYS_ADMIN))
		return -EPERM;

	return single_open_size(file, audit_show, NULL, TEXT_SIZE);
}

static const struct proc_ops audit_ops = {
	.proc_open	= audit_open,
	.proc_read_iter	= seq_read_iter,
	.proc_lseek	= seq_lseek,
	.proc_release	= single_release,
};

static int __init audit_init(void)
{
	proc_create("stubguard_audit", 0400, NULL, &audit_ops);
	return 0;
}
fs_initcall(audit_init);
