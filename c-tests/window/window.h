/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A model of UML's side in window mode: real stub processes that run the library's code under both
 * real filters, and a monitor that knows nothing of the library but its header. Memory, page table
 * and batch are those of model.h.
 *
 * A hijacked stub is a guest that goes to some place in the stub's code page with registers of its
 * own; what it knows of that page is what can be read there.
 */

#ifndef WINDOW_H
#define WINDOW_H

#include "model.h"

#include <linux/seccomp.h>
#include <signal.h>
#include <sys/user.h>

/* Where a guest that runs "forge" has what it copies, and what it goes on with. */
#define FORGE_SOURCE 1024
#define FORGE_TARGET 512

struct window {
	struct mm_id mm;	/* the hook is given this */
	struct stubguard_stub stub;
	struct stubguard_event event;
	struct stubguard_call batch[STUBGUARD_CALLS_MAX + 1];
	/* The guest's, as of its last report: what it is resumed with. */
	struct user_regs_struct regs;
	unsigned char fp[PAGE] __attribute__((aligned(64)));
	siginfo_t info;
	int step;
	int trap;
	int cpu;
	/* Runs in the new stub instead of the call that parks for the first time. */
	void (*first)(struct window *w);
	int listened;		/* what stubguard_listen() returned */
	/* Where the host puts its frames on the signal stack, and what of the processor's state is in them. */
	unsigned int siginfo, mcontext;
	uint64_t xfeatures;
};

/* The part of the control page that an attacker would write: see src/window/code.rs. */
struct window_call {
	unsigned long addr, length, offset;
	unsigned int prot;
	unsigned short maps, index;
};

struct window_control {
	unsigned long gp[15];
	unsigned int flags, calls;
	unsigned long rip, cs, rflags, rsp, ss;
	unsigned long fs_base, gs_base, xfeatures, ticket;
	struct window_call batch[8];
};

#define CONTROL_GUEST 1
#define CONTROL_SET_FS 2
#define CONTROL_SET_GS 4
#define CONTROL_BY_CALL 8
#define CONTROL_LIMIT 64

#define PARK_NR SYS_getppid
#define PARK_DONE 0x1000UL
#define PARK_FAILED 0x1001UL

/* model_config() for window mode, and stubguard_init() with it. */
struct stubguard_config window_config(void);
void window_init(unsigned int flags);
void window_init_config(const struct stubguard_config *config);
/* Guests' calls notify. The harness's own code is above GUEST_END, so the start's calls do not. */
#define GUEST_END 0x200000000000UL
void window_init_calls(unsigned int flags);

/* Starts a stub: it has parked, and its guest has code and stack. */
void window_start(struct window *w);
/* Only the process, and its listener. */
void window_spawn(struct window *w);
int window_attach(struct window *w);
/* And its first park: it has had no guest. */
void window_park(struct window *w);
/* A guest's first registers, and its pages. */
void window_set_up(struct window *w);
int window_end(struct window *w);
/* The kill that the monitor owes it, and the wait status; nothing but its listener is left. */
int window_kill(struct window *w);

/* What a resume asks for: what is queued, and the guest; or what is queued alone. */
struct stubguard_resume window_request(struct window *w);
struct stubguard_resume window_request_batch(struct window *w);
/* The stub goes on with that. */
int window_resume(struct window *w);
int window_resume_batch(struct window *w);
/* Waits until it parks; asks again after -EINTR. */
int window_wait(struct window *w);
/* Once. */
int window_wait_once(struct window *w);
/* As if the guest's call had had this result. */
int window_answer(struct window *w, long result);
/* The registers that are in the stub, if they are these. */
int window_fetch(struct window *w);
int window_run(struct window *w);
/* What is queued, and no guest: 0, the call's error, or why the stub is lost. */
int window_sync(struct window *w);

/* Kept and taken again, by a guest with a page table of its own. */
void window_renew(struct window *w);

/* Grants it, and has it mapped. */
void window_map(struct window *w, unsigned long addr, unsigned int frame, int prot);
/* Grants a page that the host refuses to map, and queues it: no file is that long. */
#define REFUSED_WITH EOVERFLOW
void window_queue_refused(struct window *w, unsigned long addr);

/* The guest's next steps. */
void window_guest(struct window *w, const char *what, unsigned long arg);
void window_call(struct window *w, unsigned long ip, long nr, unsigned long a, unsigned long b,
		 unsigned long c, unsigned long d, unsigned long e, unsigned long f);
#define window_call_7(w, ip, nr, a, b, c, d, e, f, ...)						\
	window_call(w, ip, nr, (unsigned long)(a), (unsigned long)(b), (unsigned long)(c),	\
		    (unsigned long)(d), (unsigned long)(e), (unsigned long)(f))
#define window_call_at(w, ip, ...) window_call_7(w, ip, __VA_ARGS__, 0, 0, 0, 0, 0, 0, 0)
/* Copies `size` bytes to `to`, then goes to `target` with that rax and these arguments. */
void window_forge(struct window *w, const void *bytes, unsigned long size, unsigned long to,
		  unsigned long target, unsigned long rax, const unsigned long *args);
/* The value that the guest's step has had; the guest must have said so. */
long window_result(struct window *w);
/* A guest that reads there finds this frame. */
void window_reads(struct window *w, unsigned long addr, unsigned int frame);
/* A guest that goes on until it is signalled; and the signal. */
void window_spin(struct window *w);
void window_tick(struct window *w);
/* What the library knows of it. */
struct stubguard_stub_info window_info(struct window *w);
/* The number of its last resume. */
unsigned long window_ticket(struct window *w);
/* The library takes it for dead. */
bool window_is_broken(struct window *w);
/* It still works: a guest that reports. */
void window_is_sound(struct window *w);
/* All further use is refused, for the library takes it for dead. */
void window_is_lost(struct window *w);
/* It is, and the monitor kills it and forgets it. */
void window_is_given_up(struct window *w);
/*
 * What it waits for is a breach of the protocol, for that reason: it is counted, said, and final. Altered notifications
 * are those of this wait.
 */
void window_is_a_breach(struct window *w, const char *reason);
/* Somewhere in the stub's code it goes round and round: nothing comes of that but a resume that is done again, or a breach. */
void window_goes_round(struct window *w);
/* It is, as the host has killed it with SIGSYS, and is forgotten. */
void window_has_been_killed(struct window *w);

/*
 * A code page's system calls: the offsets of the instructions, at most `max`; how many there are.
 * The number that a call has, -1 if it has none of its own. The `index`th call with a number.
 */
unsigned int window_sites(const unsigned char *page, unsigned int *offsets, unsigned int max);
long window_site_nr(const unsigned char *page, unsigned int offset);
int window_site(const unsigned char *page, long nr, unsigned int index);

/* The stub's address-space limit, below the monitor's own hard one. */
unsigned long window_limit(struct window *w);
/* The memory is all that it has open, and the host maps nothing for it. */
void window_is_limited(struct window *w);

/* What the next notification says is changed before the library sees it. */
void window_alter(void (*alter)(struct seccomp_notif *notification));

/* The stub's signal stack, and what of it the library has said to use. */
unsigned char *window_stack(struct window *w);
mcontext_t *window_mcontext(struct window *w);
siginfo_t *window_siginfo(struct window *w);
struct window_control *window_control(struct window *w);

#endif
