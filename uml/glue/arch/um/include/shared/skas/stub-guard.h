/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The guard of seccomp stubs: libstubguard's place in arch/um.
 *
 * The stub's data is shared with the guest. With the guard the kernel works on
 * a private copy (mm_id.stack). Only the guard touches the shared one, through
 * the library, which checks what the guest may have written.
 *
 * Kernel code and os-Linux code include this file. So it has only types that
 * both know: int, where kernel code alone would have bool.
 */
#ifndef __STUB_GUARD_H
#define __STUB_GUARD_H

#include <mm_id.h>

struct uml_pt_regs;
struct stub_data;

#ifdef CONFIG_UML_STUBGUARD

/**
 * struct stub_guard - What the guard knows of a stub
 * @shared:	The stub data as the stub sees it
 * @stub:	Window mode: the library's record, which has all that is not here
 * @listener:	The fd of the filter's listener, or -1; in window mode only until
 *		the library has it
 * @pid:	The pid of a stub that is lost, for the log
 * @identity:	Notify mode: what tells the stub from a later process with its pid
 * @calls:	Notify mode: how many calls of the batch are published
 * @pending:	Notify mode: how many of these are not answered yet
 * @starting:	Window mode: the stub has not run anything yet
 * @reused:	Window mode: the stub was kept from another address space
 * @runs:	Odd while the guest runs
 * @cpu:	The CPU on which the guest runs, or ran last
 * @waiters:	A flush may wait until the guest stops
 * @mapped:	mmap calls since all mappings were dropped
 * @dropped:	All mappings were dropped once: the stub may lack a page whose PTE
 *		is up to date
 * @dropping:	The batch under way drops all mappings
 * @futile:	How often in a row the host has refused a mapping although the
 *		stub had next to nothing mapped
 * @end:	Who has ended the stub: STUB_LOST_*, or 0
 * @reaped:	STUB_LOST_* by the status with which SIGCHLD has reaped it, or 0
 * @value:	The signal, exit status or error that goes with @end or @reaped
 * @error:	Notify mode: why the stub is lost, as a negative error; 0 if not known
 *
 * It is in the private copy of the stub data, not in struct mm_id: that is included
 * everywhere, so each change here would rebuild the whole kernel.
 */
struct stub_guard {
	unsigned long shared;
	void *stub;
	int listener;
	int pid;
	unsigned long long identity;
	int calls;
	int pending;
	int starting;
	int reused;
	unsigned int runs;
	int cpu;
	int waiters;
	unsigned int mapped;
	unsigned char dropped;
	unsigned char dropping;
	unsigned char futile;
	unsigned char end;
	unsigned char reaped;
	int value;
	int error;
};

/* Who has ended a stub that is lost */
enum {
	STUB_LOST_FILTER = 1,	/* a seccomp filter: its own, or one around UML */
	STUB_LOST_PROTOCOL,	/* the kernel, as it broke the protocol */
	STUB_LOST_WATCHDOG,
	STUB_LOST_HOST,		/* a signal, or the host does not say */
	STUB_LOST_KERNEL,	/* the kernel, as the host or the library refused a call */
	STUB_LOST_EXITED,	/* it has ended by itself */
	STUB_LOST_ENDS,
};

/**
 * struct stub_guard_init - What a stub is told at its start
 * @flags:	For seccomp(2)
 * @expected:	What seccomp(2) returns if all is well
 * @stack:	Where the signal stack begins
 * @stack_size:	The size of the signal stack
 * @sa_flags:	For sigaction(2), besides what every stub says
 * @memory_fd:	The number under which the stub has the memory's fd; 0 for none
 * @selector:	The byte by which calls are dispatched; 0 for none
 * @len:	How many instructions the filter has; 0 without a guard
 * @filter:	Where the filter begins
 *
 * All places are offsets from the start of the stub data, in bytes.
 */
struct stub_guard_init {
	unsigned int flags;
	int expected;
	unsigned int stack;
	unsigned int stack_size;
	unsigned int sa_flags;
	int memory_fd;
	unsigned int selector;
	unsigned int len;
	unsigned int filter;
};

/* Macros, as struct stub_data contains the guard and so comes later */
#define stub_guard(id) (&((struct stub_data *)(id)->stack)->guard)
#define stub_guard_reused(id) (stub_guard(id)->reused)

/* Stubs are guarded. (Without the guard only its own files ask for that.) */
extern int stub_guard_on;
/* In window mode: they run the library's code. Also in <asm/stub-guard-pgtable.h> */
extern int stub_guard_parked;

/* The stub's program is at an address that needs all 64 bits */
#define STUB_GUARD_MOV "movabsq"

/* A hijacked stub may leave messages in its socket until that is full */
#define STUB_GUARD_SEND_FLAGS	(stub_guard_on ? MSG_DONTWAIT : 0)

/*
 * For arch/um's kernel code: kernel/skas/mmu.c, kernel/tlb.c, kernel/process.c
 */
int stub_guard_alloc(struct mm_id *id);
int os_stub_guard_attach(struct mm_id *id);
int stub_guard_put(struct mm_id *id);
void stub_guard_free(struct mm_id *id);
void *stub_guard_shared(struct mm_id *id);
int stub_guard_wrprotect(struct mm_id *id, unsigned long virt);
void stub_guard_fetch(struct uml_pt_regs *regs);
int stub_guard_reap_child(int *status);
void stub_guard_reaped(struct mm_id *id, int status);

/*
 * For arch/um's host side: os-Linux/start_up.c, os-Linux/skas/process.c
 */
void stub_guard_check_host(int *seccomp);
void stub_guard_enter(struct mm_id *id);
void stub_guard_refault(unsigned long addr);
/* In window mode */
int stub_guard_start_userspace(struct mm_id *id, int stub_exe_fd);
void stub_guard_sync(struct mm_id *id);
int stub_guard_run(struct mm_id *id, struct uml_pt_regs *regs, void *siginfo);
/* In notify mode */
void stub_guard_fill_init(struct stub_guard_init *init);
int stub_guard_publish(struct mm_id *id);
int stub_guard_wait(struct mm_id *id, unsigned int *futex);
int stub_guard_collect(struct mm_id *id);
int stub_guard_abort(struct mm_id *id);

/*
 * What the guard's kernel side (kernel/skas/stubguard) has for its host side
 */
int stub_guard_may_print(const char *func);
void stub_guard_print_dropped(int pid, unsigned int mapped);
void stub_guard_print_lost(int pid, int end, int value);
int stub_guard_is_watched(void);
int stub_guard_is_shared(struct mm_id *id);
int stub_guard_is_stale(void);
void stub_guard_pin(void);
void stub_guard_unpin(void);

/*
 * What the guard's host side (os-Linux/skas/stubguard) has for its kernel side
 */
int os_stub_guard_start(void *stub_code, unsigned long task_size);
unsigned long os_stub_guard_record_size(void);
int os_stub_guard_prepare(struct mm_id *id);
void os_stub_guard_detach(struct mm_id *id);
int stub_guard_take(struct mm_id *id);
int os_stub_guard_put(struct mm_id *id);
unsigned long os_stub_guard_kept(void);
unsigned long os_stub_guard_drop(void);
int os_stub_guard_keeps(void);
int os_stub_guard_await(struct stub_guard *guard, unsigned int runs);
int os_stub_guard_counter(unsigned int index, const char **name,
			  const char **reason, unsigned long long *value);
int os_stub_guard_park_refused(void);
int os_stub_guard_rehearse(struct mm_id *id, struct uml_pt_regs *regs,
			   unsigned long ip, int signal, const char **call);
int os_stub_guard_rehearse_kill(struct mm_id *id);

/*
 * What the kernel has for the library. The rest of it is hidden from shared
 * objects.
 */
__attribute__((visibility("default")))
int stub_mmap_allowed(struct mm_id *id, unsigned long addr, unsigned long prot,
		      unsigned long offset);

#else

struct stub_guard { };
struct stub_guard_init { };

/* A constant: what is for window mode only is not compiled then */
#define stub_guard_parked 0

#define STUB_GUARD_MOV "movq"
#define STUB_GUARD_SEND_FLAGS 0

static inline int stub_guard_alloc(struct mm_id *id)
{
	return 0;
}

static inline int stub_guard_reused(struct mm_id *id)
{
	return 0;
}

static inline int stub_guard_put(struct mm_id *id)
{
	return 0;
}

static inline void stub_guard_free(struct mm_id *id)
{
}

/* A macro, so that the compiler makes the same objects as without the guard's patch */
#define stub_guard_shared(id) ((void *)(id)->stack)

static inline int stub_guard_wrprotect(struct mm_id *id, unsigned long virt)
{
	return 0;
}

static inline void stub_guard_fetch(struct uml_pt_regs *regs)
{
}

/* A macro, as os_reap_child() is declared elsewhere */
#define stub_guard_reap_child(status)	((void)(status), os_reap_child())

static inline void stub_guard_reaped(struct mm_id *id, int status)
{
}

static inline void stub_guard_check_host(int *seccomp)
{
}

static inline void stub_guard_enter(struct mm_id *id)
{
}

static inline void stub_guard_refault(unsigned long addr)
{
}

static inline int stub_guard_start_userspace(struct mm_id *id, int stub_exe_fd)
{
	return 0;
}

static inline void stub_guard_sync(struct mm_id *id)
{
}

static inline int stub_guard_run(struct mm_id *id, struct uml_pt_regs *regs,
				 void *siginfo)
{
	return 0;
}

static inline void stub_guard_fill_init(struct stub_guard_init *init)
{
}

static inline int stub_guard_publish(struct mm_id *id)
{
	return 0;
}

/* A macro, as kernel code knows neither syscall() nor the host's numbers */
#define stub_guard_wait(id, futex) ((void)(id), \
	syscall(__NR_futex, futex, FUTEX_WAIT, FUTEX_IN_CHILD, NULL, NULL, 0))

static inline int stub_guard_collect(struct mm_id *id)
{
	return 0;
}

static inline int stub_guard_abort(struct mm_id *id)
{
	return 0;
}

#endif

#endif
