/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The guard of seccomp stubs, host side: what the files of this folder share.
 * What the rest of arch/um calls is in <stub-guard.h>.
 */
#ifndef __STUB_GUARD_INTERNAL_H
#define __STUB_GUARD_INTERNAL_H

#include <assert.h>
#include <mm_id.h>
#include <stub-data.h>

#include <stubguard.h>

struct uml_pt_regs;

/*
 * An instruction may need so many pages at once: itself, what it reads, what it
 * writes, each across a boundary, some with an XSAVE area.
 */
#define PAGES_AT_ONCE	16
/* The fewest mappings that the boot parameter allows: some for other threads */
#define MAPPINGS_MIN	(2 * PAGES_AT_ONCE)

/* setup.c: written while the kernel starts, only read later */
struct stub_settings {
	/* What each new stub is told, and its filter (struct sock_filter) */
	struct stub_guard_init init;
	unsigned long long filter[STUBGUARD_FILTER_MAX];
	/* Window mode: the page that stubs run, and how many of them to keep */
	void *code;
	unsigned int pool_size;
	/* For tests: as if the host refused more; 0 for no limit but the host's */
	unsigned int mappings_max;
	/* For tests: microseconds between a call's arrival and the kernel's work on it */
	unsigned int call_delay;
};

extern struct stub_settings stub_settings;

/* Window mode: the library's record of a stub */
static inline struct stubguard_stub *parked(struct mm_id *id)
{
	return stub_guard(id)->stub;
}

/* host.c: names the calls that the host refuses; see there */
int stub_guard_refused(int window, int *guard);

/* log.c: keeps a line of the library's, on any thread; prints them, on a CPU */
void stub_guard_log_line(int level, const char *message);
void stub_guard_print_log(void);

/* runs.c: says that the guest has stopped; undoes stub_guard_enter() */
void stub_guard_leave(struct stub_guard *guard);

/* end.c: returns whether the stub lives */
int stub_guard_lives(struct stubguard_stub *stub);
/* end.c: returns what the library knows of it; all 0 if there is no record */
struct stubguard_stub_info stub_guard_info(struct stubguard_stub *stub);
/* end.c: returns what tells its process from a later one with its pid; 0 before it is attached */
uint64_t stub_guard_identity(struct mm_id *id);

/* lost.c: makes sure that a stub is dead, notes and counts who has ended it */
void stub_guard_kill(struct mm_id *id, int error);
/* lost.c: says who has ended the stub of the current task */
void stub_guard_print_end(struct mm_id *id);
/* lost.c: how many were lost in each way */
extern unsigned long long stub_guard_lost[STUB_LOST_ENDS];

/* mappings.c: how often all mappings of a stub were dropped */
extern unsigned long long stub_guard_drops;
/* mappings.c: counts the mmap calls of the batch, without the first @from calls */
unsigned int stub_guard_count_mmaps(struct mm_id *id, int from);
/* mappings.c: counts the batch; returns whether mappings= does not allow it */
int stub_guard_is_over_limit(struct mm_id *id);
/* mappings.c: replaces the batch by one call that drops all mappings */
void stub_guard_queue_drop(struct mm_id *id);
/* mappings.c: drops all mappings after an ENOMEM; returns another error as it is */
long stub_guard_drop_mappings(struct mm_id *id, long error, int done, int guest);

/* window.c: runs the batch, and the guest if there is one; waits until it stops */
int stub_guard_go_on(struct mm_id *id, struct stubguard_event *event,
		     struct uml_pt_regs *regs, void *siginfo);
/* window.c: takes over the registers that are in the stub, these or (NULL) any */
int stub_guard_fetch_regs(struct mm_id *id, const struct uml_pt_regs *regs);

#endif
