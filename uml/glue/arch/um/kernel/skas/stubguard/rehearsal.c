// SPDX-License-Identifier: GPL-2.0-only
/*
 * The guard of seccomp stubs, kernel side: before the first guest, two stubs do all
 * that guests will need, by the same functions. If the host refuses something, UML
 * ends here.
 */

#include <linux/gfp.h>
#include <linux/init.h>
#include <linux/mm.h>
#include <linux/sched.h>
#include <linux/sched/mm.h>
#include <linux/signal.h>

#include <asm/mmu.h>
#include <asm/pgtable.h>
#include <asm/tlbflush.h>
#include <os.h>
#include <skas.h>
#include <stub-data.h>
#include "internal.h"

#define REHEARSAL_ADDR	0x10000000UL

/* What they run */
enum { CALL = 0, LOOP = 2, STORE = 4 };
static const u8 code[] __initconst = {
	[CALL] = 0x0f, 0x05,	/* syscall */
	[LOOP] = 0xeb, 0xfe,	/* jmp . */
	[STORE] = 0x88, 0x07,	/* mov %al, (%rdi) */
};

static struct page *code_pages[2];
static const struct vm_special_mapping code_mapping = {
	.name = "[stubguard]",
	.pages = code_pages,
};

static int __init fail(const char *what, const char *call, int err,
		       const char *remedy)
{
	int refused = os_stub_guard_park_refused();

	if (!*call && refused) {
		call = "getppid";
		err = refused;
	}
	pr_err("stubguard: rehearsal: %s: %s%serrno %d: %s\n", what, call,
	       *call ? " gives " : "", -err, remedy);
	return err;
}

/* An address space with a page that can be read, written and executed */
static struct mm_struct * __init new_mm(void)
{
	const unsigned long flags = VM_READ | VM_WRITE | VM_EXEC |
				    VM_MAYREAD | VM_MAYWRITE | VM_MAYEXEC;
	struct mm_struct *mm = mm_alloc();
	int err;

	if (!mm) {
		fail("start a stub", "", -ENOMEM,
		     "the host must let UML start processes (RLIMIT_NOFILE, RLIMIT_NPROC, security modules)");
		return NULL;
	}

	mmap_write_lock(mm);
	err = PTR_ERR_OR_ZERO(_install_special_mapping(mm, REHEARSAL_ADDR,
						       PAGE_SIZE, flags,
						       &code_mapping));
	if (!err)
		err = fixup_user_fault(mm, REHEARSAL_ADDR, FAULT_FLAG_WRITE, NULL);
	mmap_write_unlock(mm);
	if (err) {
		fail("make a page", "", err, "more memory for the guest");
		mmput(mm);
		return NULL;
	}
	return mm;
}

static int __init run(struct mm_struct *mm, unsigned long where, int signal,
		      const char *what)
{
	struct uml_pt_regs *regs = &current->thread.regs.regs;
	const char *call;
	int err;

	PT_REGS_DI(&current->thread.regs) = REHEARSAL_ADDR;
	um_tlb_sync(mm);
	err = os_stub_guard_rehearse(&mm->context.id, regs, REHEARSAL_ADDR + where,
				     signal, &call);
	if (err)
		fail(what, call, err, "the host must let a stub do that");
	return err;
}

static void __init take_write_permission(struct mm_struct *mm)
{
	guard(spinlock)(&mm->page_table_lock);
	ptep_set_wrprotect(mm, REHEARSAL_ADDR, virt_to_pte(mm, REHEARSAL_ADDR));
}

/* What a guest does first to last, and the life of its stub */
static int __init first_stub(struct mm_struct *mm)
{
	int err;

	err = run(mm, CALL, SIGSYS, "map memory, and run a guest up to a system call");
	if (!err) {
		take_write_permission(mm);
		err = run(mm, STORE, SIGSEGV, "make memory read-only");
	}
	if (!err)
		err = run(mm, LOOP, SIGALRM, "interrupt a guest");
	return err;
}

/* The same process, if it was to be kept */
static int __init second_stub(struct mm_struct *mm)
{
	int err;

	if (os_stub_guard_keeps() && !stub_guard_reused(&mm->context.id))
		return fail("use a stub again", "", -ECHILD,
			    "stubguard=pool=0 does without");

	err = run(mm, CALL, SIGSYS, "run a guest in the next stub");
	if (!err) {
		err = os_stub_guard_rehearse_kill(&mm->context.id);
		if (err)
			fail("look at a stub and kill it, as the watchdog does", "", err,
			     "/proc/PID/stat of UML's children must be readable, and pidfds must work");
	}
	return err;
}

/* Has a new address space's stub do something */
static int __init rehearse(int (*stub)(struct mm_struct *mm))
{
	struct mm_struct *mm = new_mm();
	int err;

	if (!mm)
		return -ENOMEM;

	err = stub(mm);
	mmput(mm);
	return err;
}

/* Stubs can be started: init_stub_exe_fd() has run */
static int __init stub_guard_rehearse(void)
{
	int err = -ENOMEM;

	if (!stub_guard_on)
		return 0;

	code_pages[0] = alloc_page(GFP_KERNEL | __GFP_ZERO);
	if (code_pages[0]) {
		memcpy(page_address(code_pages[0]), code, sizeof(code));
		err = rehearse(first_stub) ?: rehearse(second_stub);
		__free_page(code_pages[0]);
	}
	if (err)
		stub_guard_refuse(err, "docs/troubleshooting.md");
	return 0;
}
device_initcall_sync(stub_guard_rehearse);
