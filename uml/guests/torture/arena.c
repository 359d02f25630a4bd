// SPDX-License-Identifier: GPL-2.0-only
/*
 * An arena: a fixed range of addresses that one thread owns, a model of each of its pages, and the operations
 * that change their mappings. The next thread's arena begins in the middle of the last page table.
 */
#include "torture.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MADV_COLD
#define MADV_COLD 20
#endif
#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#define MADV_GUARD_REMOVE 103
#endif
#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

uint8_t *address(struct worker *w, unsigned int page)
{
	return w->base + page * PAGE;
}

void worker_files(struct worker *w)
{
	unsigned int f;

	for (f = 0; f < FILES; f++) {
		struct file *file = &w->file[f];

		memset(file->tag, 0, sizeof(file->tag));
		file->fd = memfd_create("torture", MFD_CLOEXEC);
		file->pages = 100 + below(w, 150);
		if (file->fd < 0 || ftruncate(file->fd, file->pages * PAGE))
			fail(w, "memfd: %s", strerror(errno));
	}
	w->data = memfd_create("data", MFD_CLOEXEC);
	if (w->data < 0 || ftruncate(w->data, BUFFER_PAGES * PAGE) || pipe2(w->pipe, O_CLOEXEC | O_NONBLOCK))
		fail(w, "memfd, pipe: %s", strerror(errno));
}

/* Initialises what a new worker needs; its creator has set the rest of @w. */
void worker_init(struct worker *w)
{
	self = w;
	w->ring_fd = -1;
	w->base = (uint8_t *)(ARENA_BASE + w->thread * ARENA_PAGES * PAGE);
	w->zone = (uint8_t *)(ZONE_BASE + w->thread * ZONE_STRIDE);
	w->buffer = mmap(NULL, BUFFER_PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (w->buffer == MAP_FAILED)
		fail(w, "mmap: %s", strerror(errno));
	worker_files(w);
}

/* ---- the model */

uint64_t tag_of(struct worker *w, const struct page *p)
{
	if (p->kind == ANON || (p->flags & COPIED))
		return p->tag;
	return p->index < FILE_PAGES ? w->file[p->file].tag[p->index] : 0;
}

static bool beyond_end(struct worker *w, const struct page *p)
{
	return (p->kind == SHARED || p->kind == PRIVATE) && p->index >= w->file[p->file].pages;
}

/* The signal that an access must give, or 0 */
int fault_of(struct worker *w, const struct page *p, bool write)
{
	if (p->kind == NONE || !(p->prot & (write ? PROT_WRITE : PROT_READ)) || (p->flags & GUARD))
		return SIGSEGV;
	return beyond_end(w, p) ? SIGBUS : 0;
}

void wrote(struct worker *w, struct page *p, uint64_t tag)
{
	p->flags &= ~LAZY;
	if (p->kind == SHARED) {
		w->file[p->file].tag[p->index] = tag;
		return;
	}
	if (p->kind == PRIVATE)
		p->flags |= COPIED;
	p->tag = tag;
}

/* The page has lost its own contents: it is zero, or the file's page again. */
static void dropped(struct page *p)
{
	p->tag = 0;
	p->flags &= ~(LAZY | COPIED);
}

void forget(struct worker *w, struct range r)
{
	memset(&w->page[r.first], 0, r.count * sizeof(w->page[0]));
}

static const char *name_of(const struct page *p)
{
	static const char *const names[] = { "nothing", "anonymous", "shared file", "private file" };

	return names[p->kind];
}

void check_one(struct worker *w, unsigned int page)
{
	struct page *p = &w->page[page];
	uint8_t *at = address(w, page);
	int sig = fault_of(w, p, false), got;
	char what[96];
	uint64_t word;

	snprintf(what, sizeof(what), "arena page %u (%s, prot %u, flags %#x, file index %u)", page, name_of(p),
		 p->prot, p->flags, p->index);
	if (sig)
		want_fault(w, at, sig, what);
	else
		want_page(w, at, tag_of(w, p), p->flags & LAZY, what);
	sig = fault_of(w, p, true);
	if (!sig)
		return;
	if (probe_load(at, &word))
		word = 0;
	got = probe_store(at, word);
	if (got != sig)
		fail(w, "%s: page %p: a store gives signal %d, expected %d", what, at, got, sig);
}

void check_range(struct worker *w, struct range r)
{
	unsigned int i;

	/* Of a long range, the ends and some pages between */
	if (r.count > 96 && !one_in(w, 4)) {
		for (i = 0; i < 16; i++) {
			check_one(w, r.first + i);
			check_one(w, r.first + r.count - 1 - i);
			check_one(w, r.first + below(w, r.count));
		}
		return;
	}
	for (i = 0; i < r.count; i++)
		check_one(w, r.first + i);
}

/* Checks all mapped pages, and a part of the other ones, as a fault takes long */
void check_all(struct worker *w)
{
	unsigned int i, each = one_in(w, 8) ? 1 : 16;

	for (i = 0; i < ARENA_PAGES; i++)
		if (w->page[i].kind || i % each == 0 || w->page[i - 1].kind)
			check_one(w, i);
}

/* ---- where */

static unsigned int some_length(struct worker *w)
{
	switch (below(w, 16)) {
	case 0:
		return 1 + below(w, ARENA_PAGES);
	case 1:
		return TABLE_PAGES;
	case 2 ... 6:
		return 1 + below(w, 64);
	default:
		return 1 + below(w, 4);
	}
}

struct range any_range(struct worker *w)
{
	struct range r = { below(w, ARENA_PAGES), some_length(w) };
	unsigned int to_table = -((uintptr_t)w->base / PAGE) % TABLE_PAGES;

	if (r.count == TABLE_PAGES && !one_in(w, 4))	/* exactly one table */
		r.first = to_table + TABLE_PAGES * below(w, (ARENA_PAGES - to_table) / TABLE_PAGES);
	if (r.count > ARENA_PAGES - r.first)
		r.count = ARENA_PAGES - r.first;
	return r;
}

/* A mapped range without holes; of length 0 if there is none */
struct range mapped_range(struct worker *w)
{
	struct range r = { 0, 0 };
	unsigned int tries, i;

	for (tries = 0; tries < 8; tries++) {
		r = any_range(w);
		for (i = 0; i < r.count && w->page[r.first + i].kind; i++)
			;
		r.count = i;
		if (r.count)
			break;
	}
	return r;
}

static bool follows(const struct page *a, const struct page *b)
{
	return a->kind == b->kind && a->prot == b->prot && !((a->flags ^ b->flags) & OF_VMA) &&
	       (a->kind == ANON || (a->file == b->file && a->index + 1 == b->index));
}

/* A range that may be one VMA */
struct range uniform_range(struct worker *w)
{
	struct range r = mapped_range(w);
	unsigned int i;

	for (i = 1; i < r.count && follows(&w->page[r.first + i - 1], &w->page[r.first + i]); i++)
		;
	if (r.count)
		r.count = i;
	return r;
}

/* A page that can be read, or written to, and whose contents are known; -1 if there is none */
int page_for(struct worker *w, bool write)
{
	unsigned int tries;

	for (tries = 0; tries < 64; tries++) {
		unsigned int i = below(w, ARENA_PAGES);
		struct page *p = &w->page[i];

		if (!(p->flags & LAZY) && !fault_of(w, p, write) && !fault_of(w, p, false))
			return i;
	}
	return -1;
}

bool over_budget(struct worker *w, unsigned int more)
{
	unsigned int i, own = 0;

	for (i = 0; i < ARENA_PAGES; i++)
		own += w->page[i].kind == ANON ? w->page[i].tag != 0 : (w->page[i].flags & COPIED) != 0;
	return own + more > w->budget;
}

/* ---- operations */

static int some_prot(struct worker *w)
{
	static const int prots[] = { PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE | PROT_EXEC, PROT_READ | PROT_EXEC };

	return one_in(w, 2) ? PROT_READ | PROT_WRITE : prots[below(w, ARRAY_SIZE(prots))];
}

static bool map_anon_as(struct worker *w, int flags)
{
	struct range r = any_range(w);
	int prot = some_prot(w);
	unsigned int i;

	if ((flags & MAP_POPULATE) && over_budget(w, r.count))
		return unmap(w);
	say(w, "mmap %u+%u anonymous prot %d flags %#x", r.first, r.count, prot, flags);
	if (mmap(address(w, r.first), r.count * PAGE, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | flags, -1, 0) ==
	    MAP_FAILED) {
		if (errno != ENOMEM)
			fail(w, "mmap: %s", strerror(errno));
		munmap(address(w, r.first), r.count * PAGE);
		forget(w, r);
		return false;
	}
	forget(w, r);
	for (i = r.first; i < r.first + r.count; i++)
		w->page[i] = (struct page){ .kind = ANON, .prot = prot };
	check_range(w, r);
	return true;
}

bool map_anon(struct worker *w)
{
	return map_anon_as(w, one_in(w, 4) ? MAP_NORESERVE : 0);
}

static bool map_file_as(struct worker *w, int flags)
{
	struct range r = any_range(w);
	unsigned int f = below(w, FILES), index = below(w, FILE_PAGES - 1), i;
	bool shared = one_in(w, 2);
	int prot = some_prot(w);

	if (r.count > FILE_PAGES - index && !one_in(w, 8))
		r.count = FILE_PAGES - index;
	say(w, "mmap %u+%u file %u from %u of %u %s prot %d flags %#x", r.first, r.count, f, index, w->file[f].pages,
	    shared ? "shared" : "private", prot, flags);
	if (mmap(address(w, r.first), r.count * PAGE, prot, (shared ? MAP_SHARED : MAP_PRIVATE) | MAP_FIXED | flags,
		 w->file[f].fd, index * PAGE) == MAP_FAILED) {
		if (errno != ENOMEM)
			fail(w, "mmap: %s", strerror(errno));
		munmap(address(w, r.first), r.count * PAGE);
		forget(w, r);
		return false;
	}
	for (i = 0; i < r.count; i++)
		w->page[r.first + i] = (struct page){ .kind = shared ? SHARED : PRIVATE, .prot = prot, .file = f,
						      .index = index + i };
	/* Populating a private writable mapping copies the pages */
	if ((flags & MAP_POPULATE) && !shared && (prot & PROT_WRITE))
		for (i = 0; i < r.count && !beyond_end(w, &w->page[r.first + i]); i++)
			wrote(w, &w->page[r.first + i], tag_of(w, &w->page[r.first + i]));
	check_range(w, r);
	return true;
}

bool map_file(struct worker *w)
{
	return map_file_as(w, 0);
}

bool map_populated(struct worker *w)
{
	return one_in(w, 2) ? map_anon_as(w, MAP_POPULATE) : map_file_as(w, MAP_POPULATE);
}

bool unmap(struct worker *w)
{
	struct range r = any_range(w);

	say(w, "munmap %u+%u", r.first, r.count);
	if (munmap(address(w, r.first), r.count * PAGE)) {
		if (errno != ENOMEM)
			fail(w, "munmap: %s", strerror(errno));
		return false;
	}
	forget(w, r);
	check_range(w, r);
	return true;
}

bool protect(struct worker *w)
{
	struct range r = mapped_range(w);
	int prot = some_prot(w);
	unsigned int i;

	if (!r.count)
		return false;
	say(w, "mprotect %u+%u prot %d", r.first, r.count, prot);
	if (mprotect(address(w, r.first), r.count * PAGE, prot)) {
		/* It may have been done in part */
		if (errno != ENOMEM)
			fail(w, "mprotect: %s", strerror(errno));
		munmap(address(w, r.first), r.count * PAGE);
		forget(w, r);
		return false;
	}
	for (i = r.first; i < r.first + r.count; i++)
		w->page[i].prot = prot;
	check_range(w, r);
	return true;
}

bool fill(struct worker *w)
{
	struct range r = mapped_range(w);
	uint64_t same = one_in(w, 8) ? new_tag(w) : 0;	/* for KSM */
	unsigned int i, n = 0;

	if (over_budget(w, r.count))
		return unmap(w);
	say(w, "fill %u+%u", r.first, r.count);
	for (i = r.first; i < r.first + r.count; i++) {
		struct page *p = &w->page[i];
		uint64_t tag;

		if (fault_of(w, p, true))
			continue;
		tag = same ? same : new_tag(w);
		fill_page(address(w, i), tag);
		wrote(w, p, tag);
		n++;
	}
	check_range(w, r);
	return n > 0;
}

bool look(struct worker *w)
{
	if (one_in(w, 40)) {
		say(w, "check all");
		check_all(w);
	} else {
		struct range r = any_range(w);

		say(w, "check %u+%u", r.first, r.count);
		check_range(w, r);
	}
	return true;
}

static const struct advice {
	const char *name;
	int advice;
	uint8_t kinds;		/* a bit for each kind that it is for */
} advices[] = {
#define ALL	(1 << ANON | 1 << SHARED | 1 << PRIVATE)
	{ "DONTNEED", MADV_DONTNEED, ALL },
	{ "DONTNEED", MADV_DONTNEED, ALL },
	{ "DONTNEED_LOCKED", MADV_DONTNEED_LOCKED, ALL },
	{ "FREE", MADV_FREE, 1 << ANON },
	{ "FREE", MADV_FREE, 1 << ANON },
	{ "PAGEOUT", MADV_PAGEOUT, ALL },
	{ "PAGEOUT", MADV_PAGEOUT, ALL },
	{ "COLD", MADV_COLD, ALL },
	{ "WILLNEED", MADV_WILLNEED, ALL },
	{ "REMOVE", MADV_REMOVE, 1 << SHARED },
	{ "REMOVE", MADV_REMOVE, 1 << SHARED },
	{ "DONTFORK", MADV_DONTFORK, ALL },
	{ "DOFORK", MADV_DOFORK, ALL },
	{ "DOFORK", MADV_DOFORK, ALL },
	{ "WIPEONFORK", MADV_WIPEONFORK, 1 << ANON },
	{ "KEEPONFORK", MADV_KEEPONFORK, 1 << ANON },
	{ "KEEPONFORK", MADV_KEEPONFORK, 1 << ANON },
	{ "MERGEABLE", MADV_MERGEABLE, ALL },
	{ "UNMERGEABLE", MADV_UNMERGEABLE, ALL },
	{ "HUGEPAGE", MADV_HUGEPAGE, ALL },
	{ "NOHUGEPAGE", MADV_NOHUGEPAGE, ALL },
	{ "COLLAPSE", MADV_COLLAPSE, ALL },
	{ "GUARD_INSTALL", MADV_GUARD_INSTALL, ALL },
	{ "GUARD_REMOVE", MADV_GUARD_REMOVE, ALL },
	{ "GUARD_REMOVE", MADV_GUARD_REMOVE, ALL },
	{ "DONTDUMP", MADV_DONTDUMP, ALL },
	{ "DODUMP", MADV_DODUMP, ALL },
	{ "RANDOM", MADV_RANDOM, ALL },
	{ "SEQUENTIAL", MADV_SEQUENTIAL, ALL },
	{ "NORMAL", MADV_NORMAL, ALL },
};

static void advised(struct worker *w, struct page *p, int advice)
{
	switch (advice) {
	case MADV_DONTNEED:
	case MADV_DONTNEED_LOCKED:
		dropped(p);
		break;
	case MADV_FREE:
		if (p->tag && !(p->flags & GUARD))
			p->flags |= LAZY;
		break;
	case MADV_REMOVE:
		if (p->index < FILE_PAGES)
			w->file[p->file].tag[p->index] = 0;
		break;
	case MADV_DONTFORK:
		p->flags |= KEPT;
		break;
	case MADV_DOFORK:
		p->flags &= ~KEPT;
		break;
	case MADV_WIPEONFORK:
		p->flags |= WIPED;
		break;
	case MADV_KEEPONFORK:
		p->flags &= ~WIPED;
		break;
	case MADV_GUARD_INSTALL:
		dropped(p);
		p->flags |= GUARD;
		break;
	case MADV_GUARD_REMOVE:
		p->flags &= ~GUARD;
		break;
	}
}

/* Does the advice drop contents? If it fails, it may have done so in part. */
static bool takes(int advice)
{
	return advice == MADV_DONTNEED || advice == MADV_DONTNEED_LOCKED || advice == MADV_FREE ||
	       advice == MADV_REMOVE || advice == MADV_GUARD_INSTALL || advice == MADV_GUARD_REMOVE;
}

bool advise(struct worker *w)
{
	const struct advice *a = &advices[below(w, ARRAY_SIZE(advices))];
	struct range r = uniform_range(w);
	unsigned int i;
	int error;

	if (!r.count || !(a->kinds & 1 << w->page[r.first].kind))
		return false;
	say(w, "madvise %u+%u %s (%s)", r.first, r.count, a->name, name_of(&w->page[r.first]));
	error = madvise(address(w, r.first), r.count * PAGE, a->advice) ? errno : 0;
	if (error == EINVAL || error == ENOSYS) {
		if (a->advice == MADV_GUARD_INSTALL)
			note(0, "no MADV_GUARD_INSTALL, or not for all mappings");
		if (a->advice == MADV_MERGEABLE)
			note(1, "no MADV_MERGEABLE");
		if (a->advice != MADV_DONTNEED && a->advice != MADV_FREE && a->advice != MADV_DONTFORK &&
		    a->advice != MADV_PAGEOUT && a->advice != MADV_COLD) {
			check_range(w, r);
			return false;
		}
	}
	if (error && a->advice == MADV_COLLAPSE)
		error = 0;
	/* Anonymous memory without CONFIG_SWAP */
	if (error == EBADF && a->advice == MADV_WILLNEED)
		error = 0;
	if (error && error != ENOMEM && error != EAGAIN)
		fail(w, "madvise %s: %s", a->name, strerror(error));
	if (error && takes(a->advice)) {
		munmap(address(w, r.first), r.count * PAGE);
		forget(w, r);
		return false;
	}
	for (i = r.first; !error && i < r.first + r.count; i++)
		advised(w, &w->page[i], a->advice);
	/* The arena may have other mappings of a file's page: look() checks them */
	check_range(w, r);
	return !error;
}

/* EINVAL means that the kernel lacks the advice, or that a mapping does not allow it. */
static bool has_no_populate(struct worker *w)
{
	if (madvise(w->buffer, PAGE, MADV_POPULATE_READ) == 0)
		return false;
	note(2, "no MADV_POPULATE_*");
	return true;
}

bool populate(struct worker *w)
{
	struct range r = mapped_range(w);
	bool write = one_in(w, 2);
	unsigned int i;
	int error;

	if (!r.count || has_no_populate(w))
		return false;
	if (over_budget(w, r.count))
		return unmap(w);
	say(w, "madvise %u+%u POPULATE_%s", r.first, r.count, write ? "WRITE" : "READ");
	error = madvise(address(w, r.first), r.count * PAGE, write ? MADV_POPULATE_WRITE : MADV_POPULATE_READ) ?
			errno : 0;
	if (error && error != EFAULT && error != EINVAL && error != ENOMEM)
		fail(w, "madvise POPULATE: %s", strerror(error));
	for (i = r.first; i < r.first + r.count; i++) {
		struct page *p = &w->page[i];

		/* It ends at the first page that faults */
		if (fault_of(w, p, write)) {
			if (!error)
				fail(w, "populated over page %u, which cannot be accessed", i);
			break;
		}
		if (write && p->kind == PRIVATE)
			wrote(w, p, tag_of(w, p));
	}
	if (error == EFAULT && i == r.first + r.count)
		fail(w, "populate: EFAULT, but all can be accessed");
	check_range(w, r);
	return !error;
}

static void moved(struct worker *w, struct range from, struct range to, bool stays)
{
	static __thread struct page copy[ARENA_PAGES];
	unsigned int i;

	memcpy(copy, &w->page[from.first], from.count * sizeof(copy[0]));
	for (i = 0; i < from.count; i++) {
		struct page *p = &w->page[from.first + i];

		if (stays) {
			dropped(p);
			p->flags &= OF_VMA;
		} else {
			memset(p, 0, sizeof(*p));
		}
	}
	for (i = 0; i < to.count; i++) {
		struct page *p = &w->page[to.first + i];

		if (i < from.count) {
			*p = copy[i];
			continue;
		}
		/* The mapping has grown */
		*p = p[-1];
		dropped(p);
		p->flags &= OF_VMA;
		if (p->kind != ANON)
			p->index++;
	}
}

bool move(struct worker *w)
{
	struct range from = uniform_range(w), to;
	int flags = MREMAP_MAYMOVE | MREMAP_FIXED;
	size_t length;
	void *result;

	if (!from.count)
		return false;
	to = from;
	length = from.count * PAGE;
	switch (below(w, 8)) {
	case 0:
		to.count = 1 + below(w, from.count);
		break;
	case 1:
		to.count = from.count + 1 + below(w, 64);
		break;
	case 2:
		flags |= MREMAP_DONTUNMAP;
		break;
	case 3:
		/* In place */
		to.count = 1 + below(w, from.count);
		flags = 0;
		break;
	case 4:
		/* The same pages once more */
		if (w->page[from.first].kind == SHARED)
			length = 0;
		break;
	}
	if (to.count > ARENA_PAGES)
		return false;
	if (flags) {
		unsigned int tries;

		for (tries = 0; tries < 8; tries++) {
			to.first = below(w, ARENA_PAGES - to.count + 1);
			if (one_in(w, 2))	/* whole tables to whole tables */
				to.first += (from.first - to.first) % TABLE_PAGES;
			if (to.first + to.count <= ARENA_PAGES &&
			    (to.first + to.count <= from.first || from.first + from.count <= to.first))
				break;
		}
		if (tries == 8)
			return false;
	}
	say(w, "mremap %u+%u (%s, prot %d) to %u+%u flags %#x%s", from.first, from.count, name_of(&w->page[from.first]),
	    w->page[from.first].prot, to.first, to.count, flags, length ? "" : " once more");
	result = mremap(address(w, from.first), length, to.count * PAGE, flags, address(w, to.first));
	if (result == MAP_FAILED) {
		if (errno != EFAULT && errno != EINVAL && errno != ENOMEM && errno != EAGAIN)
			fail(w, "mremap: %s", strerror(errno));
		/* It may have been done in part */
		munmap(address(w, from.first), from.count * PAGE);
		munmap(address(w, to.first), to.count * PAGE);
		forget(w, from);
		forget(w, to);
		check_range(w, from);
		check_range(w, to);
		return false;
	}
	if (result != address(w, to.first))
		fail(w, "mremap: it is at %p", result);
	if (!flags) {
		forget(w, (struct range){ from.first + to.count, from.count - to.count });
		check_range(w, from);
		return true;
	}
	if (!length) {
		unsigned int i;

		for (i = 0; i < to.count; i++) {
			w->page[to.first + i] = w->page[from.first + i];
			w->page[to.first + i].flags &= OF_VMA;
		}
	} else {
		moved(w, from, to, flags & MREMAP_DONTUNMAP);
	}
	check_range(w, to);
	check_range(w, from);
	return true;
}

/* Makes PTEs old, or soft-clean. */
bool clear_refs(struct worker *w)
{
	char kind = "1234"[below(w, 4)];
	int fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
	bool done;

	if (fd < 0) {
		note(3, "no /proc/self/clear_refs");
		return false;
	}
	say(w, "clear_refs %c", kind);
	done = write(fd, &kind, 1) == 1;
	close(fd);
	look(w);
	return done;
}

bool lock(struct worker *w)
{
	struct range r = uniform_range(w);
	unsigned int i;
	bool done;

	if (!r.count || r.count > 64 || over_budget(w, r.count))
		return false;
	say(w, "mlock, munlock %u+%u", r.first, r.count);
	done = mlock(address(w, r.first), r.count * PAGE) == 0;
	/* It faults private writable pages in for writing, up to the first page that faults */
	for (i = r.first; i < r.first + r.count; i++) {
		struct page *p = &w->page[i];

		if (p->kind == PRIVATE && (p->prot & PROT_WRITE) && !fault_of(w, p, true) && !(p->flags & COPIED)) {
			/* If it has failed, it may have done it nevertheless */
			uint64_t tag = new_tag(w);

			fill_page(address(w, i), tag);
			wrote(w, p, tag);
		}
	}
	if (munlock(address(w, r.first), r.count * PAGE))
		fail(w, "munlock: %s", strerror(errno));
	check_range(w, r);
	return done;
}

/* Puts a function into a page and calls it. */
bool execute(struct worker *w)
{
	int i = page_for(w, true);
	uint32_t number = next_random(w), found;
	struct page *p;
	uint8_t *at;
	uint64_t tag;

	if (i < 0 || over_budget(w, 1))
		return false;
	p = &w->page[i];
	at = address(w, i);
	say(w, "execute page %d", i);
	at[0] = 0xb8;	/* mov $number, %eax; ret */
	memcpy(at + 1, &number, 4);
	at[5] = 0xc3;
	if (mprotect(at, PAGE, one_in(w, 2) ? PROT_READ | PROT_EXEC : PROT_READ | PROT_WRITE | PROT_EXEC))
		fail(w, "mprotect: %s", strerror(errno));
	found = ((uint32_t (*)(void))at)();
	if (found != number)
		fail(w, "page %p was to return %#x, but returned %#x", (void *)at, number, found);
	if (mprotect(at, PAGE, p->prot))
		fail(w, "mprotect: %s", strerror(errno));
	tag = new_tag(w);
	fill_page(at, tag);
	wrote(w, p, tag);
	check_one(w, i);
	return true;
}
