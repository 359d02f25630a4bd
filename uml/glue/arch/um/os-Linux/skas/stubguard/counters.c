// SPDX-License-Identifier: GPL-2.0-only
/*
 * The guard of seccomp stubs, host side: what /proc/stubguard shows, which are the
 * library's counters, the number of drops (see mappings.c), and by whom stubs were
 * lost (see lost.c).
 */

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <os.h>
#include "internal.h"

/**
 * os_stub_guard_counter() - One of the library's counters, how often all mappings
 *			     of a stub were dropped, or how many stubs were lost
 * @index:	Which, counted from 0
 * @name:	Where to store its name
 * @reason:	Where to store what else tells it from others of that name, or ""
 * @value:	Where to store its value
 *
 * Return: 0, or -ENOENT if there are no more
 */
int os_stub_guard_counter(unsigned int index, const char **name,
			  const char **reason, unsigned long long *value)
{
	static const struct {
		const char *name;
		size_t offset;
	} counters[] = {
#define COUNTER(member) { #member, offsetof(struct stubguard_stats, member) }
		COUNTER(served),
		COUNTER(allowed),
		COUNTER(resynchronised),
		COUNTER(breaches),
		COUNTER(stalls),
		COUNTER(kills),
		COUNTER(recycled),
		COUNTER(killed_watchdog),
#undef COUNTER
	};
	/* The library counts the watchdog's kills */
	static const struct {
		const char *name;
		int end;
	} ends[] = {
		{ "killed_filter", STUB_LOST_FILTER },
		{ "killed_protocol", STUB_LOST_PROTOCOL },
		{ "killed_host", STUB_LOST_HOST },
		{ "killed_kernel", STUB_LOST_KERNEL },
		{ "exited", STUB_LOST_EXITED },
	};
	struct stubguard_stats stats;

	if (stubguard_stats_get(&stats, sizeof(stats)) < 0)
		return -ENOENT;

	*reason = "";
	if (index == ARRAY_SIZE(counters) + STUBGUARD_DENIALS) {
		*name = "dropped";
		*value = __atomic_load_n(&stub_guard_drops, __ATOMIC_RELAXED);
		return 0;
	}
	if (index > ARRAY_SIZE(counters) + STUBGUARD_DENIALS) {
		index -= ARRAY_SIZE(counters) + STUBGUARD_DENIALS + 1;
		if (index >= ARRAY_SIZE(ends))
			return -ENOENT;
		*name = ends[index].name;
		*value = __atomic_load_n(&stub_guard_lost[ends[index].end],
					 __ATOMIC_RELAXED);
		return 0;
	}
	if (index < ARRAY_SIZE(counters)) {
		*name = counters[index].name;
		*value = *(uint64_t *)((char *)&stats + counters[index].offset);
		return 0;
	}

	index -= ARRAY_SIZE(counters);
	if (index >= STUBGUARD_DENIALS)
		return -ENOENT;
	*name = "denied_";
	*reason = stubguard_denial_name(index);
	*value = stats.denied[index];
	return 0;
}
