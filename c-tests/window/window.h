/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A model of UML's side in window mode: real stub processes that run the library's code under both
 * real filters, and a monitor that knows only the library's header. Memory, page table and batch are
 * those of model.h.
 *
 * A hijacked stub is a guest that jumps to some place in the stub's code page with registers of its
 * own. It can read that page.
 */

#ifndef WINDOW_H
#define WINDOW_H

#include "model.h"

#include <linux/seccomp.h>
#include <signal.h>
#include <sys/user.h>

/* Where a guest that runs "forge" has the bytes to copy, and its registers. */
#define FORGE_SOURCE 1024
#define FORGE_TARGET 512

struct window {
	struct mm_id mm;	/* the hook is given this */
	struct stubguard_stub stub;
	struct stubguard_event event;
	struct stubguard_call batch[STUBGUARD_CALLS_MAX + 1];
	/* The guest's state of its last report, with which it is resumed. */
	struct user_regs_struct regs;
	unsigned char fp[PAGE] __attribute__((aligned(64)));
	siginfo_t info;
	int step;
	int trap;
	int cpu;
	/* Runs in the new stub instead of the call that parks for the first time. */
	void (*first)(struct window *w);
	int listened;		/* what stubguard_listen() returned */
	/* Where the host makes its frames on the signal stack, and which components of the FP state they have. */
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
/* Guests' calls notify. The harness's code is above GUEST_END, so the calls of a start do not. */
#define GUEST_END 0x200000000000UL
void window_init_calls(unsigned int flags);
/* Has this host what that needs? Known from the start of the library on. */
bool window_calls_can_notify(void);
/* Skips the test if it has not. */
void window_needs_calls_that_notify(void);
/* Both: calls notify, or the test is skipped. */
void window_init_notified(void);

/* Starts a stub, waits for its first park, and maps code and stack of its guest. */
void window_start(struct window *w);
/* Only starts the process and takes its listener. */
void window_spawn(struct window *w);
int window_attach(struct window *w);
/* Spawns, attaches, and waits for the first park. */
void window_park(struct window *w);
/* A guest's first registers, and its pages. */
void window_set_up(struct window *w);
int window_end(struct window *w);
/* Kills and reaps it as a monitor must; returns the wait status. Only its listener is left. */
int window_kill(struct window *w);

/* The request for a resume: batch and guest, or the batch only. */
struct stubguard_resume window_request(struct window *w);
struct stubguard_resume window_request_batch(struct window *w);
/* Resumes the stub with that. */
int window_resume(struct window *w);
int window_resume_batch(struct window *w);
/* Waits until it parks; asks again after -EINTR. */
int window_wait(struct window *w);
/* Waits once. */
int window_wait_once(struct window *w);
/* Resumes the guest with this result of its call. */
int window_answer(struct window *w, long result);
/* Fetches the guest's registers, if the stub has them. */
int window_fetch(struct window *w);
int window_run(struct window *w);
/* Runs the batch only: 0, the failed call's error, or why the stub is lost. */
int window_sync(struct window *w);

/* Puts it into the pool and takes it, for a guest with another page table. */
void window_renew(struct window *w);

/* Grants a page and maps it. */
void window_map(struct window *w, unsigned long addr, unsigned int frame, int prot);
/* Grants and queues a page that the host refuses to map, as no file is that long. */
#define REFUSED_WITH EOVERFLOW
void window_queue_refused(struct window *w, unsigned long addr);

/* Sets what the guest does next. */
void window_guest(struct window *w, const char *what, unsigned long arg);
void window_call(struct window *w, unsigned long ip, long nr, unsigned long a, unsigned long b,
		 unsigned long c, unsigned long d, unsigned long e, unsigned long f);
#define window_call_7(w, ip, nr, a, b, c, d, e, f, ...)						\
	window_call(w, ip, nr, (unsigned long)(a), (unsigned long)(b), (unsigned long)(c),	\
		    (unsigned long)(d), (unsigned long)(e), (unsigned long)(f))
#define window_call_at(w, ip, ...) window_call_7(w, ip, __VA_ARGS__, 0, 0, 0, 0, 0, 0, 0)
/* The guest copies `size` bytes to `to`, then jumps to `target` with that rax and these arguments. */
void window_forge(struct window *w, const void *bytes, unsigned long size, unsigned long to,
		  unsigned long target, unsigned long rax, const unsigned long *args);
/* The result of the guest's step, which the guest must have reported. */
long window_result(struct window *w);
/* A guest that reads there finds this frame. */
void window_reads(struct window *w, unsigned long addr, unsigned int frame);
/* A guest that runs until it gets a signal; and the signal. */
void window_spin(struct window *w);
void window_tick(struct window *w);
/* stubguard_stub_info() of it. */
struct stubguard_stub_info window_info(struct window *w);
/* The number of its last resume. */
unsigned long window_ticket(struct window *w);
/* Does the library take it for dead? */
bool window_is_broken(struct window *w);
/* Checks that it still works: a guest reports. */
void window_is_sound(struct window *w);
/* Checks that the library takes it for dead and refuses all further use. */
void window_is_lost(struct window *w);
/* The same; then kills and forgets it. */
void window_is_given_up(struct window *w);
/*
 * Waits, and checks that the stub has broken the protocol for that reason: this is counted, logged, and final. An
 * altered notification is one of this wait.
 */
void window_is_a_breach(struct window *w, const char *reason);
/* The stub loops in its code: a signal ends that by another resume, or by a breach. */
void window_goes_round(struct window *w);
/* Checks that the host has killed it with SIGSYS, and forgets it. */
void window_has_been_killed(struct window *w);

/*
 * The sites of a code page: stores at most `max` offsets, returns how many there are. The number of the
 * call at a site, or -1. The `index`th site with a number.
 */
unsigned int window_sites(const unsigned char *page, unsigned int *offsets, unsigned int max);
long window_site_nr(const unsigned char *page, unsigned int offset);
int window_site(const unsigned char *page, long nr, unsigned int index);

/* The stub's soft limit on address space; its hard one must be the monitor's. */
unsigned long window_limit(struct window *w);
/* Checks that the memory is its only fd, and that the limit is 0. */
void window_is_limited(struct window *w);

/* Changes the next notification before the library sees it. */
void window_alter(void (*alter)(struct seccomp_notif *notification));

/* The stub's signal stack, and the machine context on it. */
unsigned char *window_stack(struct window *w);
mcontext_t *window_mcontext(struct window *w);
siginfo_t *window_siginfo(struct window *w);
struct window_control *window_control(struct window *w);

#endif
