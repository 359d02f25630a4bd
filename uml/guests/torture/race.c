// SPDX-License-Identifier: GPL-2.0-only
/*
 * Threads that work on one range at once: one drops pages, others copy into them, copy out of them, load and store.
 * All contents must be zero or of this process, and a page that has lost write permission must not change.
 */
#include "torture.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define RW	(PROT_READ | PROT_WRITE)
#define BLOCK	16U	/* pages of one copy at most */

static uint8_t *at;
static unsigned int pages;	/* The first half stays mapped: no copy may fail there. */
static uint8_t *reused;		/* the dropping thread's new pages */
static atomic_bool over;

static void want_own(struct worker *w, const void *page, const volatile uint64_t *copy, const char *what)
{
	unsigned int i;

	for (i = 0; i < WORDS; i++) {
		uint64_t word = copy[i];

		if (word && !is_of(word, i, w->who))
			fail(w, "%s: page %p, word %u: expected zero or a tag of owner %#x, found %#llx (%s)", what, page, i,
			     w->who, (unsigned long long)word,
			     is_of(word, i, 0xffff) ? "FOREIGN: of the filler of free frames" : "nobody's or another's");
	}
}

/* Loads a page's words until one faults. */
static void load_page(struct worker *w, const uint8_t *page, const char *what)
{
	uint64_t copy[WORDS] = { 0 };
	unsigned int i;

	for (i = 0; i < WORDS; i++)
		if (probe_load(page + i * 8, &copy[i]))
			break;
	want_own(w, page, copy, what);
}

static bool goes_on(struct worker *w)
{
	const struct timespec pause = { 0, 4000000 };

	/* Leave CPU time to the other workers. */
	if (w->done % 32 == 0 && !control->only_race)
		nanosleep(&pause, NULL);
	atomic_fetch_add(&control->raced, 1);
	if (++w->done % 16 == 0 && (atomic_load(&control->stop) || out_of_time()))
		atomic_store(&over, true);
	return !atomic_load(&over);
}

static void run_on(unsigned int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sysconf(_SC_NPROCESSORS_ONLN) > 1)
		sched_setaffinity(0, sizeof(set), &set);
}

static void want_copied(struct worker *w, ssize_t got, unsigned int first, unsigned int n, const char *what)
{
	if (got < 0 && errno != EFAULT)
		fail(w, "%s: %s", what, strerror(errno));
	if (got != (ssize_t)(n * PAGE) && first + n <= pages / 2)
		fail(w, "%s: page %p and %u more gives %zd, %s, but all is mapped and writable", what,
		     (void *)(at + first * PAGE), n - 1, got, got < 0 ? strerror(errno) : "too little");
}

/* read(2) and the like into the range */
static void *copies_in(void *arg)
{
	struct worker *w = self = arg;
	unsigned int i;

	for (i = 0; i < BUFFER_PAGES; i++)
		fill_page(w->buffer + i * PAGE, new_tag(w));
	if (pwrite(w->data, w->buffer, BUFFER_PAGES * PAGE, 0) != (ssize_t)(BUFFER_PAGES * PAGE))
		fail(w, "pwrite: %s", strerror(errno));
	run_on(1);
	while (goes_on(w)) {
		unsigned int n = 1 + below(w, BLOCK), first = below(w, pages - n + 1);

		say(w, "copy %u+%u in", first, n);
		want_copied(w, pread(w->data, at + first * PAGE, n * PAGE, below(w, BUFFER_PAGES - n + 1) * PAGE), first, n,
			    "read(2)");
		if (one_in(w, 8))
			load_page(w, at + below(w, pages) * PAGE, "loaded by the thread that copies in");
	}
	return NULL;
}

/* write(2) out of the range */
static void *copies_out(void *arg)
{
	struct worker *w = self = arg;
	int fd = memfd_create("out", MFD_CLOEXEC);

	run_on(1);
	if (fd < 0)
		fail(w, "memfd: %s", strerror(errno));
	while (goes_on(w)) {
		unsigned int n = 1 + below(w, BLOCK), first = below(w, pages - n + 1), i;
		ssize_t got;

		say(w, "copy %u+%u out", first, n);
		got = pwrite(fd, at + first * PAGE, n * PAGE, 0);
		want_copied(w, got, first, n, "write(2)");
		if (got <= 0)
			continue;
		if (pread(fd, w->buffer, got, 0) != got)
			fail(w, "pread: %s", strerror(errno));
		for (i = 0; i < got / PAGE; i++)
			want_own(w, at + (first + i) * PAGE, (uint64_t *)(w->buffer + i * PAGE), "taken by write(2)");
	}
	close(fd);
	return NULL;
}

static void *loads_and_stores(void *arg)
{
	struct worker *w = self = arg;

	while (goes_on(w)) {
		uint8_t *page = at + below(w, pages) * PAGE;
		uint64_t tag = new_tag(w);
		unsigned int i, n = 1 + below(w, 4);

		say(w, "store to and load %p", (void *)page);
		while (n--) {
			for (i = below(w, 8); i < WORDS; i += 8)
				if (probe_store(page + i * 8, word_of(tag, i)))
					break;
		}
		load_page(w, page, "loaded");
	}
	return NULL;
}

/* These pages are read-only now: they must not change. */
static void want_still(struct worker *w, uint8_t *first, unsigned int n, const char *what)
{
	unsigned int rounds = 1 + below(w, 6), i;

	memset(w->buffer, 0, n * PAGE);
	for (i = 0; i < n; i++)
		memcpy(w->buffer + i * PAGE, first + i * PAGE, PAGE);
	while (rounds--) {
		sched_yield();
		for (i = 0; i < n; i++) {
			volatile uint64_t *now = (void *)(first + i * PAGE), *before = (void *)(w->buffer + i * PAGE);
			unsigned int k;

			for (k = 0; k < WORDS; k++)
				/* Zero: reclaimed after an MADV_FREE */
				if (now[k] != before[k] && now[k])
					fail(w, "%s: page %p, word %u: was %#llx, is %#llx", what, (void *)now, k,
					     (unsigned long long)before[k], (unsigned long long)now[k]);
			want_own(w, (void *)now, before, what);
		}
	}
}

static void fresh_mapping(struct worker *w, uint8_t *first, unsigned int n)
{
	if (mmap(first, n * PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED && errno != ENOMEM)
		fail(w, "mmap: %s", strerror(errno));
}

/*
 * Allocates frames, probably those that were just freed, fills them with a tag of this thread, and checks that they
 * keep it.
 */
static void reuse(struct worker *w, unsigned int n)
{
	unsigned int rounds = 2, i;
	uint64_t tag;

	w->who ^= 0xff;
	tag = new_tag(w);
	w->who ^= 0xff;
	for (i = 0; i < n; i++)
		fill_page(reused + i * PAGE, tag);
	while (rounds--)
		for (i = 0; i < n; i++)
			want_page(w, reused + i * PAGE, tag, false, "the private page of the thread that gives pages back");
	madvise(reused, n * PAGE, MADV_DONTNEED);
}

static void take_away(struct worker *w)
{
	unsigned int n = one_in(w, 8) ? pages : 1 + below(w, BLOCK), first = below(w, pages - n + 1), way = below(w, 9);
	uint8_t *from = at + first * PAGE, *aside = at + 64 * GIGABYTE;
	const size_t size = n * PAGE;
	unsigned int still = n > BUFFER_PAGES ? BUFFER_PAGES : n;
	pid_t pid;

	if (first < pages / 2 && way != 4 && way != 8)
		way = 0;
	say(w, "take away %u+%u, way %u", first, n, way);
	switch (way) {
	case 0:
	case 1:
		madvise(from, size, MADV_DONTNEED);
		if (one_in(w, 2))
			reuse(w, n);
		break;
	case 2:
		munmap(from, size);
		if (one_in(w, 4))
			sched_yield();
		fresh_mapping(w, from, n);
		break;
	case 3:
		fresh_mapping(w, from, n);
		break;
	case 4:
		madvise(from, size, MADV_FREE);
		madvise(from, size, 21 /* MADV_PAGEOUT */);
		break;
	case 5:
		if (mprotect(from, size, PROT_READ))
			break;
		want_still(w, from, still, "after mprotect(PROT_READ)");
		if (mprotect(from, size, RW) && errno != ENOMEM)
			fail(w, "mprotect: %s", strerror(errno));
		break;
	case 6:
		if (mprotect(from, size, PROT_NONE))
			break;
		want_fault(w, from, SIGSEGV, "after mprotect(PROT_NONE)");
		if (one_in(w, 4))
			sched_yield();
		mprotect(from, size, RW);
		break;
	case 7:
		/* No other thread knows the new address. */
		if (mremap(from, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, aside) != aside) {
			munmap(from, size);
			munmap(aside, size);
			fresh_mapping(w, from, n);
			break;
		}
		want_still(w, aside, still, "after mremap() to elsewhere");
		if (one_in(w, 2)) {
			munmap(aside, size);
			fresh_mapping(w, from, n);
		} else if (mremap(aside, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, from) != from) {
			munmap(aside, size);
			fresh_mapping(w, from, n);
		}
		break;
	case 8:
		if (!one_in(w, 4))
			break;
		/* The child's pages do not change after the fork. */
		pid = fork_worker(w);
		if (pid == 0) {
			w->who = self->who = w->process << 8;
			want_still(w, from, still, "in a forked child");
			_exit(0);
		}
		if (pid > 0)
			reap(w, pid, "fork");
		break;
	}
}

static void *takes_away(void *arg)
{
	struct worker *w = self = arg;

	run_on(0);
	while (goes_on(w))
		take_away(w);
	return NULL;
}

/* The first thread drops pages, the second copies in, the third copies out, the fourth loads and stores, and so on */
int race(struct worker *w, unsigned int threads)
{
	void *(*const roles[])(void *) = { takes_away, copies_in, copies_out, loads_and_stores };
	struct worker *each;
	pthread_t thread[MAX_THREADS];
	unsigned int i;

	threads = threads < 4 ? 4 : threads > MAX_THREADS ? MAX_THREADS : threads;
	pages = w->budget < 32 ? 32 : w->budget;
	if (pages > 700)
		pages = 700;
	at = (uint8_t *)(ARENA_BASE + GIGABYTE - 100 * PAGE);
	fresh_mapping(w, at, pages);
	reused = at + 32 * GIGABYTE;
	fresh_mapping(w, reused, pages);
	/* Only the first one drops pages: there is no model for two. */
	for (i = 0; i < threads; i++) {
		each = mmap(NULL, sizeof(*each), RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (each == MAP_FAILED)
			fail(w, "mmap: %s", strerror(errno));
		each->process = w->process;
		each->thread = i;
		each->who = w->process << 8;
		each->serial = i << 24;
		each->random = next_random(w);
		worker_init(each);
		if (pthread_create(&thread[i], NULL, i < 4 ? roles[i] : roles[1 + i % 3], each))
			fail(w, "pthread_create");
	}
	for (i = 0; i < threads; i++)
		pthread_join(thread[i], NULL);
	self = w;
	return 0;
}
