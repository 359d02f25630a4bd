// SPDX-License-Identifier: GPL-2.0-only
/*
 * A process that allocates frames all the time, fills them with a pattern that no arena has, and frees them. A load
 * through a stale mapping shows the pattern; a store changes it.
 */
#include "torture.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define CHUNKS	32U

struct chunk {
	uint8_t *at;
	unsigned int pages;
	uint64_t tag;
};

static void check_chunk(struct worker *w, const struct chunk *c)
{
	unsigned int i;

	for (i = 0; i < c->pages; i++)
		want_page(w, c->at + i * PAGE, c->tag, false, "what the filler of free frames has");
}

int filler(struct worker *w, unsigned int pages)
{
	static struct chunk chunk[CHUNKS];
	unsigned int most = pages / CHUNKS + 1, i;

	w->who = 0xffff;
	while (!atomic_load(&control->stop) && !out_of_time()) {
		struct chunk *c = &chunk[below(w, CHUNKS)];

		if (c->at) {
			say(w, "check and give back %p+%u", (void *)c->at, c->pages);
			check_chunk(w, c);
			if (!one_in(w, 4)) {
				munmap(c->at, c->pages * PAGE);
				c->at = NULL;
			} else if (madvise(c->at, c->pages * PAGE, MADV_DONTNEED)) {
				fail(w, "madvise: %s", strerror(errno));
			}
		}
		if (!c->at) {
			c->pages = 1 + below(w, 2 * most);
			say(w, "fill %u pages", c->pages);
			c->at = mmap(NULL, c->pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
			if (c->at == MAP_FAILED) {
				c->at = NULL;
				continue;
			}
		}
		/* New pages are zero, whoever had their frames before. */
		for (i = 0; i < c->pages; i += 1 + below(w, 8))
			want_page(w, c->at + i * PAGE, 0, false, "a new page of the filler");
		c->tag = new_tag(w);
		for (i = 0; i < c->pages; i++)
			fill_page(c->at + i * PAGE, c->tag);
		w->done++;
		atomic_fetch_add(&control->filled, c->pages);
		if (one_in(w, 4)) {
			struct timespec pause = { 0, 2000000 };

			nanosleep(&pause, NULL);
		}
	}
	for (i = 0; i < CHUNKS; i++)
		if (chunk[i].at)
			check_chunk(w, &chunk[i]);
	return 0;
}
