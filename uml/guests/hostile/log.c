// SPDX-License-Identifier: GPL-2.0-only
/*
 * Attacks on the kernel's log: lines that push out what an administrator needs
 */
#include "hostile.h"

#include <sys/klog.h>

#define READ_CLEAR	4	/* SYSLOG_ACTION_READ_CLEAR */
#define NOBODY		65534

static void ignore(int sig)
{
	(void)sig;
}

/* Exceptions that the process handles */
static void trap_on(void *arg)
{
	int i;

	signal(SIGTRAP, ignore);
	for (i = 0; i < *(int *)arg; i++)
		asm volatile("int3");
	_exit(0);
}

/* A SIGBUS of the host. */
static void push_nowhere(void *arg)
{
	(void)arg;
	asm volatile("mov %0, %%rsp\n\tpush %0" : : "r" (1UL << 63));
	_exit(0);
}

/* A call for which the filter kills the stub */
static void lose_stub(void *arg)
{
	static const long none[6];

	(void)arg;
	host_call_at(stub.site[0], SYS_uname, none);
	_exit(0);
}

static void break_protocol(void *arg)
{
	(void)arg;
	if (park.site) {
		make_park_frame((uintptr_t)landing);
		forge_park(99, 0, 0);
	} else {
		memset((void *)stub.data, 0xff, PAGE);
		asm volatile("int3");
	}
	_exit(0);
}

#define PARK_FAILED	0x1001	/* the first argument of a park after a batch that has failed */

/* Says that the batch of a page fault has failed. */
static void fail_batch(void *arg)
{
	uintptr_t page = reserve(PAGE);

	(void)arg;
	if (park.site) {
		make_park_frame((uintptr_t)landing);
		*(volatile char *)page = 1;
		forge_park(PARK_FAILED, (uint64_t)-ENOMEM, 1);
	} else {
		*(volatile char *)page = 1;
		*report.err = -ENOMEM;
		*report.length = 0;
		asm volatile("int3");
	}
	_exit(0);
}

static void fault(void *arg)
{
	(void)arg;
	asm volatile("movb $1, 8");
	_exit(0);
}

static const struct way {
	const char *what;
	void (*fn)(void *);
	int times;		/* in one process */
	int processes;
} ways[] = {
	{ "int3", trap_on, 200, 10 },
	{ "pushes to no address", push_nowhere, 1, 400 },
	{ "calls that end the stub", lose_stub, 1, 400 },
	{ "broken protocols", break_protocol, 1, 400 },
	{ "failed batches", fail_batch, 1, 400 },
	{ "segmentation faults", fault, 1, 400 },
};

/* Runs as an unprivileged process */
static void run_way(void *arg)
{
	const struct way *way = arg;
	int times = way->times;

	limit_child();
	if (setuid(NOBODY))
		_exit(1);
	way->fn(&times);
}

/* Counts the lines since the last call. */
static unsigned int read_lines(void)
{
	static char buffer[1 << 18];
	int n = klogctl(READ_CLEAR, buffer, sizeof(buffer)), i;
	unsigned int lines = 0;

	if (n < 0)
		conclude(INCONCLUSIVE, "the log cannot be read: %s", strerror(errno));
	for (i = 0; i < n; i++)
		lines += buffer[i] == '\n';
	return lines;
}

/* The kernel's rate limits allow a burst of ten, then some lines a second each. */
#define LINES_BURST	80
#define LINES_A_SECOND	40

void log_flood(void)
{
	unsigned int lines, events, all_lines = 0, all_events = 0;
	double start, took;
	struct way way;
	size_t i;
	int n;

	if (!find_report())
		find_park();
	for (i = 0; i < ARRAY_SIZE(ways); i++) {
		way = ways[i];
		step("counting the lines that %s make", way.what);
		read_lines();
		start = now();
		lines = events = 0;
		for (n = 0; n < way.processes; n++) {
			in_child(run_way, &way);
			events += (unsigned int)way.times;
			if (way.times > 1 || n % 20 == 19)
				lines += read_lines();
		}
		took = now() - start;
		all_lines += lines;
		all_events += events;
		if (lines > LINES_BURST + LINES_A_SECOND * took)
			conclude(BREACHED, "%u %s: %u lines in the log in %.1f s", events, way.what,
				 lines, took);
	}
	conclude(BLOCKED, "%u events that are worth a line made %u lines", all_events, all_lines);
}
