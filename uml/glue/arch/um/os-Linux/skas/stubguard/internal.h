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

/*
 * What the library knows of a parked stub. The kernel's own copy of the stub
 * data has no signal frame then, so that it has its place.
 */
static inline struct stubguard_stub *parked(struct mm_id *id)
{
	static_assert(sizeof(struct stubguard_stub) <=
		      sizeof(((struct stub_data *)0)->sigstack),
		      "the library's record does not fit into the signal stack");

	return (void *)((struct stub_data *)id->stack)->sigstack;
}

/* host.c: names the calls that the host refuses; see there */
int stub_guard_refused(int window, int *guard);

/* log.c: keeps a line of the library's, on any thread; prints them, on a CPU */
void stub_guard_log_line(int level, const char *message);
void stub_guard_print_log(void);

/* runs.c: says that the guest has stopped; undoes stub_guard_enter() */
void stub_guard_leave(struct stub_guard *guard);

/* end.c: returns whether the stub lives; kills it */
int stub_guard_lives(const struct stubguard_stub *stub);
void stub_guard_kill(struct mm_id *id);

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

/* window.c: lets the guest go on, and waits until it stops */
int stub_guard_go_on(struct mm_id *id, struct stubguard_event *event,
		     struct uml_pt_regs *regs, void *siginfo);
/* window.c: as stub_guard_fetch(), but the caller holds the turnstile or a lock */
int __stub_guard_fetch(struct mm_id *id);

#endif
