/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The guard of seccomp stubs: libstubguard's place in arch/um.
 *
 * The stub's data is shared with the guest. With the guard the kernel works on
 * a private copy (mm_id.stack); only the functions here touch the shared one,
 * through the library, which checks what the guest may have written.
 */
#ifndef __STUB_GUARD_H
#define __STUB_GUARD_H

struct mm_id;
struct uml_pt_regs;
struct stub_data;

#ifdef CONFIG_UML_STUBGUARD

/*
 * What the guard knows of a stub: in the private copy of its data. (In mm_id,
 * which is included everywhere, it would cost a rebuild of the whole kernel.)
 */
struct stub_guard {
	/* What the stub sees */
	unsigned long shared;
	/* From get_stub_listener(); the fd is -1 until then */
	int listener;
	unsigned long long identity;
	/* Notify mode: calls of the batch, published and still to come */
	int calls;
	int pending;
	/* Window mode: has not parked yet; or has been another's before */
	int starting;
	int reused;
	/* Whose registers are in the stub, which the host holds in a call */
	struct uml_pt_regs *caller;
	/* The last stop was a call that made a frame; the next one is to */
	int trapped;
	int trap;
	/* Odd while the guest runs, on this CPU; and whether one waits for its end */
	unsigned int runs;
	int cpu;
	int awaited;
	/* mmap calls since the stub's mappings were dropped */
	unsigned int mapped;
	/* They were, once: a PTE may be up to date, and the stub lack the page */
	unsigned char dropped;
	/* They are, now */
	unsigned char dropping;
	/* Refusals in a row of a stub that has next to nothing mapped */
	unsigned char futile;
};

/* os-Linux: see that the host lets UML make the calls that it needs */
void stub_guard_check_host(int *seccomp);

/* The stub's program is at an address that needs all 64 bits */
#define STUB_GUARD_MOV "movabsq"

/* What the stub is told at its start; len is 0 without a guard */
struct stub_guard_init {
	/* For seccomp(2), and what that returns then */
	unsigned int flags;
	int expected;
	/* The signal stack, from the start of the stub's data */
	unsigned int stack;
	unsigned int stack_size;
	/* For sigaction(2), besides what every stub says */
	unsigned int sa_flags;
	/* The number under which it has the memory's fd; 0 for none */
	int memory_fd;
	/* The byte that dispatches calls, from the start of the stub's data */
	unsigned int selector;
	/* Its filter: how long, and where, from the start of the stub's data */
	unsigned int len;
	unsigned int filter;
};

#define stub_guard(id) (&((struct stub_data *)(id)->stack)->guard)
#define stub_guard_reused(id) (stub_guard(id)->reused)

/* os-Linux: what the stub sees, with and without a guard */
void *stub_guard_shared(struct mm_id *id);

/* os-Linux, window mode: stubs run the library's code, and park in it */
extern int stub_guard_parked;	/* also in <asm/stub-guard-pgtable.h> */
int stub_guard_start_userspace(struct mm_id *id, int stub_exe_fd);
void stub_guard_sync(struct mm_id *id);
int stub_guard_run(struct mm_id *id, struct uml_pt_regs *regs, void *siginfo);
void stub_guard_fetch(struct uml_pt_regs *regs);
int stub_guard_wrprotect(struct mm_id *id, unsigned long virt);

/* os-Linux, notify mode: around the hand-over to and from the stub */
void stub_guard_fill_init(struct stub_guard_init *init);
int stub_guard_publish(struct mm_id *id);
int stub_guard_wait(struct mm_id *id, unsigned int *futex);
int stub_guard_collect(struct mm_id *id);
int stub_guard_abort(struct mm_id *id);

/* Before the guest runs in its stub; see stub_guard_flush() */
void stub_guard_enter(struct mm_id *id);

/* A hijacked stub may leave messages in its socket until that is full. */
#define STUB_GUARD_SEND_FLAGS	(stub_guard_on ? MSG_DONTWAIT : 0)

/* kernel: userspace has faulted, and the fault is handled */
void stub_guard_refault(unsigned long addr);

/* kernel: the life of an address space */
int stub_guard_alloc(struct mm_id *id);
void stub_guard_free(struct mm_id *id);

/* os-Linux, window mode: stubs without an address space */
int stub_guard_take(struct mm_id *id);
int stub_guard_put(struct mm_id *id);
unsigned long os_stub_guard_kept(void);
unsigned long os_stub_guard_drop(void);

/* os-Linux, for the kernel's side */
extern int stub_guard_on;
int os_stub_guard_start(void *stub_code, unsigned long task_size);
int stub_guard_may_print(const char *func);
void stub_guard_print_dropped(int pid, unsigned int mapped);
int stub_guard_is_watched(void);
int stub_guard_is_shared(struct mm_id *id);
int stub_guard_is_stale(void);
int os_stub_guard_await(struct stub_guard *guard, unsigned int runs);
int stub_guard_refused(int window, int *guard);
int os_stub_guard_keeps(void);
int os_stub_guard_park_refused(void);
int os_stub_guard_rehearse(struct mm_id *id, struct uml_pt_regs *regs,
			   unsigned long ip, int signal, const char **call);
int os_stub_guard_rehearse_kill(struct mm_id *id);
void stub_guard_pin(void);
void stub_guard_unpin(void);
void os_stub_guard_prepare(struct mm_id *id);
int os_stub_guard_attach(struct mm_id *id);
void os_stub_guard_detach(struct mm_id *id);
int os_stub_guard_counter(unsigned int index, const char **name,
			  const char **reason, unsigned long long *value);

/*
 * kernel, for the library: a shared object, from which all of the kernel is
 * hidden but this
 */
__attribute__((visibility("default")))
int stub_mmap_allowed(struct mm_id *id, unsigned long addr, unsigned long prot,
		      unsigned long offset);

#else

struct stub_guard { };
struct stub_guard_init { };

#define STUB_GUARD_MOV "movq"
#define stub_guard_check_host(seccomp) ((void)(seccomp))
#define stub_guard_parked 0
#define stub_guard_start_userspace(id, stub_exe_fd) 0
#define stub_guard_sync(id) ((void)(id))
#define stub_guard_wrprotect(id, virt) 0
#define stub_guard_run(id, regs, siginfo) 0
#define stub_guard_fetch(regs) ((void)(regs))
#define stub_guard_enter(id) ((void)(id))
#define stub_guard_shared(id) ((void *)(id)->stack)
#define stub_guard_fill_init(init) ((void)(init))
#define stub_guard_publish(id) 0
#define stub_guard_wait(id, futex) ((void)(id), \
	syscall(__NR_futex, futex, FUTEX_WAIT, FUTEX_IN_CHILD, NULL, NULL, 0))
#define stub_guard_collect(id) 0
#define stub_guard_abort(id) ({ (void)(id); 0; })
#define STUB_GUARD_SEND_FLAGS 0
#define stub_guard_refault(addr) ((void)(addr))
#define stub_guard_alloc(id) 0
#define stub_guard_reused(id) 0
#define stub_guard_put(id) 0
#define stub_guard_free(id) ((void)(id))
#define os_stub_guard_attach(id) 0

#endif

#endif
