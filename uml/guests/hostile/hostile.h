/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the attacks share. One file a topic:
 *
 *	main.c		the list of attacks; running and judging one
 *	stub.c		the stub's pages, its `syscall` instructions, jumping there
 *	report.c	stubs that report through memory: forging a report
 *	control.c	stubs that park: what their code reads, and forging a park
 *	sigreturn.c	frames for rt_sigreturn
 *	victim.c	a process with a secret
 *	theft.c		getting hold of the memory fd
 *	memory.c	attacks on memory
 *	window.c	the fd window, at every byte of the stub's code
 *	page.c		attacks with calls that the stub never makes
 *	park.c		attacks with forged parks
 *	kernel.c	attacks with forged reports
 *	time.c		attacks on time
 *	crowd.c		attacks by several processes
 *	tables.c	attacks on page tables, without the stub
 *	threads.c	attacks on page tables by threads of one process
 *	ends.c		a thread that ends in a call
 *	copies.c	attacks on the kernel's copies, without the stub
 *	log.c		attacks on the kernel's log
 *	chaos.c		random acts
 */
#ifndef HOSTILE_H
#define HOSTILE_H

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>
#include <x86intrin.h>

#define PAGE		4096UL
#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))

/* ---- main.c: the verdict, memory shared by the attacker and its judge */

enum kind { PENDING, BLOCKED, BREACHED, INCONCLUSIVE, SKIPPED };

/*
 * An attacker may lose its stub at any instruction. So it reports with plain
 * stores to memory that is mapped already: no system call, no page fault.
 */
struct shared {
	volatile enum kind kind;
	char text[512];		/* with the verdict */
	char step[128];		/* what the attacker was doing last */
	unsigned char claim[32];	/* the secret it says it has read, */
	bool claimed;			/* if any */
	volatile uint64_t counter;	/* of an attacker that still runs */
	volatile bool stop;		/* from the judge to the attacker */
	volatile bool back;		/* control has come back from the stub */
	volatile unsigned int at;	/* the attacker's progress */
	volatile unsigned int quarters;	/* of a second of own_time() */
};
extern struct shared *shared;

#define describe(...)	\
	snprintf(shared->text, sizeof(shared->text), __VA_ARGS__)
#define step(...)	\
	snprintf(shared->step, sizeof(shared->step), __VA_ARGS__)
#define set_verdict(verdict, ...) \
	do { describe(__VA_ARGS__); shared->kind = (verdict); } while (0)
#define conclude(...)	do { set_verdict(__VA_ARGS__); _exit(0); } while (0)

void *map_shared(size_t size);

/* Run @fn in a child of its own; the wait status tells how it ended. */
int in_child(void (*fn)(void *), void *arg);
double now(void);
/* Seconds without the time in which the guest waits for a CPU: a limit is the same on a busy host. */
double own_time(void);
/* How long @seconds of it take at this load, and an alarm after that. */
double stretched(double seconds);
void alarm_stretched(unsigned int seconds);
/* A range of guest addresses without a page in it. */
uintptr_t reserve(size_t size);

/* ---- stub.c */

#define MAX_SITES	64

struct stub {
	uintptr_t code, data, end;
	uintptr_t code_end;		/* behind the last byte that is not 0 */
	uintptr_t site[MAX_SITES];	/* addresses of `syscall` instructions */
	long nr[MAX_SITES];		/* what the stub calls there, or -1 */
	unsigned int nsites;
};
extern struct stub stub;

void find_stub(void);
void probe_fault(int sig);
bool readable(uintptr_t page);
bool writable(uintptr_t page);

/* What host_call_raw() loads; it knows the layout. */
struct host_call {
	uint64_t rax, arg[6];
	uint64_t rbx, rbp, r12, r13, r14, r15;
	struct {
		uint64_t rip, cs, eflags, rsp, ss;
	} iret;
};

long host_call_raw(const struct host_call *call);
extern const char landing[];	/* returns from host_call_raw() */
extern uint64_t landing_flags;	/* the flags then */

uint16_t segment_ss(void);
uint16_t segment_cs(void);
/* A call at @site that returns to us whatever code follows there. */
void prepare_call(struct host_call *call, uintptr_t site, long nr, const long arg[6]);
long host_call_at(uintptr_t site, long nr, const long arg[6]);
/* Lets the child end, whatever happens to its stub. */
void limit_child(void);

/*
 * The result of a call that has returned through the code of a stub that parks,
 * where the true result is lost.
 */
#define CAME_BACK	0x5ca1ab1e

/* A site where @nr can be called and returns to us, or 0. */
uintptr_t find_site(long nr);
/* The same, but ends the attack if there is none. */
uintptr_t site_for(long nr);

#define host_call(nr, ...) \
	host_call_at(site_for(nr), nr, (const long[6]){ __VA_ARGS__ })

/*
 * If a timer tick comes before the monitor's answer, the call fails with EINTR:
 * try again.
 */
#define ANSWER_TRIES	50

#define answered_call(nr, ...) ({					\
	long ret_;							\
	int tries_ = 0;							\
	do								\
		ret_ = host_call(nr, __VA_ARGS__);			\
	while (ret_ == -EINTR && ++tries_ < ANSWER_TRIES);		\
	ret_;								\
})

long host_mmap(uintptr_t addr, size_t len, int prot, int fd, long offset);
/* Does the host process have a mapping there, whatever a call has returned? */
bool host_has(uintptr_t addr);
/* The outcome of an mmap at @addr, as text. */
const char *outcome(long ret, uintptr_t addr);

/* ---- report.c */

/* sizeof(ucontext) in a host signal frame; siginfo follows it */
#define FRAME_UCONTEXT_SIZE	304
#define FRAME_SIGINFO		(FRAME_UCONTEXT_SIZE - offsetof(ucontext_t, uc_mcontext))
#define SIGINFO_SYSCALL		24	/* si_syscall; no name for it in libc */

struct report {
	mcontext_t *frame;		/* registers of the last report */
	uintptr_t stack;		/* the page from which the offsets count */
	volatile uint16_t *si_offset, *mctx_offset;
	volatile int32_t *signal;
	volatile uint32_t *futex;	/* 0: the stub runs; 1: the kernel does */
	volatile int16_t *restart_wait;
	volatile int64_t *err;
	volatile int32_t *length;
};
extern struct report report;

/* A guest call with recognisable registers, and no arguments. */
void mark_call(const uint64_t mark[7], long nr);
/* With a signal frame in every mode */
#define report_marks(mark)	mark_call(mark, SYS_sigaltstack)
extern const char report_marks_back[];
void make_marks(uint64_t mark[7]);
bool has_marks(const uint64_t *regs, const uint64_t mark[7]);

/* False if this stub does not report through memory. */
bool find_report(void);
/* Ends the attack if this stub does not. */
void need_report(void);
void prepare_forgery(void);
void forge_report(int sig);
void await_resume(void);

/* ---- control.c */

#define CONTROL_GP	15

struct control {
	uint64_t *gp;		/* general registers to resume with, */
	uint64_t *iret;		/* and what iretq pops */
	volatile uint32_t *flags, *calls;
	uint32_t back;		/* the flags with which the guest goes on */
	uint32_t with_fd;	/* the flags of a batch that maps */
	uint64_t *batch;	/* its calls: address, length, offset, */
	uint64_t entry[4];	/* protection and fd; one of the kernel's calls */
	uint64_t *message;	/* struct msghdr; NULL if the kernel sends no fd */
};
extern struct control control;

/* The numbers, from 1, that a stub's memory fds may have. */
#define MEMORY_FDS	5

/* False if this stub does not park. */
bool find_control(void);
/* Makes the stub's code return to `landing`, whatever it has to do before. */
void prefill(uint32_t flags, uint32_t calls, const struct host_call *call);

/* How to park by hand. */
struct park {
	uintptr_t site;		/* the instruction */
	long nr;
	ucontext_t *frame;	/* where the host puts this stub's frames */
	uint64_t *ticket;	/* NULL if there is none */
	uint64_t forged;	/* added to it */
};
extern struct park park;

bool find_park(void);
siginfo_t *park_siginfo(void);
struct _libc_fpstate *park_fpstate(void);
/* A frame on the stub's signal stack that resumes at @rip. */
void make_park_frame(uintptr_t rip);
void set_park_syscall(int32_t nr);
/* Parks by hand. */
long forge_park(uint64_t what, uint64_t second, uint64_t third);
long forge_park_at(uintptr_t entry, uint64_t eflags, uint64_t what, uint64_t second,
		   uint64_t third);

/* ---- sigreturn.c */

void make_frame(ucontext_t *uc, uintptr_t rip, uint64_t blocked);
long host_sigreturn(uintptr_t site, const ucontext_t *uc);
/* A site where rt_sigreturn can be called, or 0; the second one ends the attack then. */
uintptr_t find_sigreturn(void);
uintptr_t sigreturn_site(void);
void block_ticks(void);

#define HOST_SIGALRM	(1UL << (SIGALRM - 1))

/* ---- victim.c */

void start_victim(void);
size_t scan_for_secret(uintptr_t window, size_t size);
void judge_claim(void);
void feed_victim(void);

/* ---- theft.c */

struct frame_grant {
	int fd;
	long offset;	/* of the frame that the kernel has mapped */
};

void prepare_theft(void);
bool steal_fd(uintptr_t addr, bool write, struct frame_grant *grant);
/* Returns the address of the page that came with the fd; @size bytes are reserved there. */
uintptr_t steal_fd_somewhere(size_t size, struct frame_grant *grant);
/* The offset of a page's frame, according to the last batch. */
long queued_offset(uintptr_t addr);
size_t memory_size(void);

#define STEAL_TRIES	20

/* ---- tables.c */

#define TABLE		(512 * PAGE)	/* what a page table of the lowest level maps */

/* Drops all privileges, to show that an attack needs none. */
void drop_privileges(void);

/* ---- the attacks */

/* memory.c */
void foreign_frame(void);
void length_overrun(void);
void create_owned_file(void);
void wrong_prot(void);
void judge_owned_file(void);
void munmap_stub(void);
/* window.c */
/* An mmap with each memory fd, at each of the stub's sites. */
void map_everywhere(uintptr_t addr, size_t size, int prot, long offset,
		    void (*check)(void));
void fd_window(void);
/* page.c */
void arch_prctl_codes(void);
void page_calls(void);
void block_signal(void);
void altstack_move(void);
/* park.c */
void forged_park(void);
void corrupt_data(void);
void run_beside(void);
void exit_beside(void);
void storm(void);
void left_behind(void);
/* kernel.c */
void forged_length(void);
void forged_si_offset(void);
void forged_fp_size(void);
void restart_wait(void);
void clone_vm_err(void);
/* time.c */
uint64_t ticks_per_second(void);
void alarm_spin(void);
void alarm_sleep(void);
void alarm_fault(void);
void alarm_stop(void);
void park_again(void);
void fetch_again(void);
bool call_traps(void);
/* crowd.c */
void run_on(long cpu);
void stale_page(void);
void copy_race(void);
void traced_death(void);
void collude(void);
void fork_bomb(void);
/* tables.c */
void ring_fork(void);
void remap_stale(void);
/* threads.c */
/* The thread shares errno and all data of libc with us, so it may only make plain system calls. */
pid_t start_thread(int (*run)(void *), void *arg);
void partial_sync(void);
/* ends.c */
void caller_gone(void);
/* copies.c */
void copy_rights(void);
void pfn_cow(void);
void poison_panic(void);
void fault_signal(void);
/* log.c */
void log_flood(void);
/* chaos.c */
void chaos(void);

#endif
