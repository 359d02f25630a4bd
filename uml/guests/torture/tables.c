// SPDX-License-Identifier: GPL-2.0-only
/*
 * Page tables of all levels that are emptied, freed, moved and allocated again, in a zone where nothing else is mapped,
 * at the ends of each level's tables. Then every page is checked, not only those that were touched again.
 */
#include "torture.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

#define MAX_TABLES	3U
#define MAX_PAGES	(MAX_TABLES * TABLE_PAGES)
#define RW		(PROT_READ | PROT_WRITE)
#define ANONYMOUS	(MAP_PRIVATE | MAP_ANONYMOUS)

/* A range of whole tables (or nearly), and the contents or the signal that each page must give */
struct zone {
	uint8_t *at;
	unsigned int pages;
	uint64_t tag[MAX_PAGES];
	uint8_t sig[MAX_PAGES];
};

static __thread struct zone here, there;

static uint8_t *some_place(struct worker *w, unsigned int pages, unsigned int half)
{
	static const unsigned long pivots[] = { 0, GIGABYTE, 512 * GIGABYTE };
	uint8_t *at = w->zone + half * 16 * GIGABYTE + pivots[below(w, ARRAY_SIZE(pivots))];

	at -= below(w, pages / TABLE_PAGES + 1) * TABLE;
	if (one_in(w, 4))
		at += below(w, TABLE_PAGES) * PAGE;
	return at;
}

static void zone_init(struct worker *w, struct zone *z, unsigned int half)
{
	unsigned int most = w->budget / TABLE_PAGES;

	most = most < 1 ? 1 : most > MAX_TABLES ? MAX_TABLES : most;
	z->pages = (1 + below(w, most)) * TABLE_PAGES;
	z->at = some_place(w, z->pages, half);
	memset(z->tag, 0, sizeof(z->tag));
	memset(z->sig, SIGSEGV, sizeof(z->sig));
}

static void zone_is(struct zone *z, uint8_t sig)
{
	memset(z->tag, 0, sizeof(z->tag));
	memset(z->sig, sig, sizeof(z->sig));
}

static bool zone_map(struct worker *w, struct zone *z, int flags, int fd)
{
	if (mmap(z->at, z->pages * PAGE, RW, flags | MAP_FIXED, fd, 0) == MAP_FAILED) {
		if (errno != ENOMEM)
			fail(w, "mmap: %s", strerror(errno));
		return false;
	}
	zone_is(z, 0);
	return true;
}

static void zone_fill(struct worker *w, struct zone *z)
{
	unsigned int i, each = one_in(w, 3) ? 1 + below(w, 64) : 1;

	for (i = 0; i < z->pages; i += each) {
		if (z->sig[i])
			continue;
		z->tag[i] = new_tag(w);
		fill_page(z->at + i * PAGE, z->tag[i]);
	}
}

static void zone_check(struct worker *w, struct zone *z, const char *what)
{
	unsigned int i;

	for (i = 0; i < z->pages; i++) {
		if (z->sig[i])
			want_fault(w, z->at + i * PAGE, z->sig[i], what);
		else
			want_page(w, z->at + i * PAGE, z->tag[i], false, what);
	}
}

static void zone_end(struct worker *w, struct zone *z, const char *what)
{
	munmap(z->at, z->pages * PAGE);
	zone_is(z, SIGSEGV);
	if (one_in(w, 2))
		zone_check(w, z, what);
}

/* Touches a page in one of many ways. Returns true if the page has @tag then, false if it has zeros. */
static bool touch(struct worker *w, uint8_t *at, uint64_t tag)
{
	static const char *const names[] = { "a store", "pread", "POPULATE_WRITE", "POPULATE_READ", "process_vm_writev",
					     "/proc/self/mem", "io_uring", "mlock", "a pipe" };
	unsigned int way = below(w, ARRAY_SIZE(names));
	struct iovec near = { w->buffer, PAGE }, far = { at, PAGE };
	struct request request = { IORING_OP_READ, w->data, at, PAGE, 0, 0 };
	int result = 0, fd;
	ssize_t n = -1;

	say(w, "  touch page %p by %s", (void *)at, names[way]);
	fill_page(w->buffer, tag);
	switch (way) {
	case 1:
	case 6:
		if (pwrite(w->data, w->buffer, PAGE, 0) != PAGE)
			fail(w, "pwrite: %s", strerror(errno));
		if (way == 6 && ring_run(w, &request, 1, &result))
			n = result;
		else
			n = pread(w->data, at, PAGE, 0);
		if (n != PAGE)
			fail(w, "read into page %p: %zd", (void *)at, n);
		return true;
	case 2:
	case 3:
		if (madvise(at, PAGE, way == 2 ? MADV_POPULATE_WRITE : MADV_POPULATE_READ) && errno != EINVAL)
			fail(w, "MADV_POPULATE of page %p: %s", (void *)at, strerror(errno));
		return false;
	case 4:
		n = process_vm_writev(getpid(), &near, 1, &far, 1, 0);
		if (n < 0 && errno == ENOSYS)
			break;
		if (n != PAGE)
			fail(w, "process_vm_writev to page %p: %zd, %s", (void *)at, n, strerror(errno));
		return true;
	case 5:
		fd = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
		if (fd < 0)
			break;
		n = pwrite(fd, w->buffer, PAGE, (off_t)at);
		close(fd);
		if (n != PAGE)
			fail(w, "write to /proc/self/mem at %p: %zd, %s", (void *)at, n, strerror(errno));
		return true;
	case 7:
		if (mlock(at, PAGE) == 0)
			munlock(at, PAGE);
		return false;
	case 8:
		if (write(w->pipe[1], w->buffer, PAGE) != PAGE || read(w->pipe[0], at, PAGE) != PAGE)
			fail(w, "through a pipe to page %p: %s", (void *)at, strerror(errno));
		return true;
	}
	fill_page(at, tag);
	return true;
}

static void touch_some(struct worker *w, struct zone *z)
{
	unsigned int n = 1 + below(w, 3);

	while (n--) {
		unsigned int i = one_in(w, 4) ? (one_in(w, 2) ? 0 : z->pages - 1) : below(w, z->pages);
		uint64_t tag = new_tag(w);

		if (!z->tag[i] && !z->sig[i] && touch(w, z->at + i * PAGE, tag))
			z->tag[i] = tag;
	}
}

/* One system call frees tables and allocates new ones: nothing of the guest runs in between. */
bool table_over(struct worker *w)
{
	unsigned int way = below(w, 4), i, n;
	bool shared = one_in(w, 2);
	const char *what = "";
	int fd = -1;

	zone_init(w, &here, 0);
	say(w, "tables %p+%u: filled, and mapped over (way %u)", (void *)here.at, here.pages, way);
	if (!zone_map(w, &here, ANONYMOUS, -1))
		return false;
	zone_fill(w, &here);
	switch (way) {
	case 0:
	case 1:
		/* Move a range with a few pages over it */
		there = here;
		there.at = some_place(w, here.pages, 1);
		if (!zone_map(w, &there, ANONYMOUS, -1))
			break;
		for (n = below(w, 4); n; n--) {
			i = below(w, there.pages);
			there.tag[i] = new_tag(w);
			fill_page(there.at + i * PAGE, there.tag[i]);
		}
		if (mremap(there.at, there.pages * PAGE, there.pages * PAGE,
			   MREMAP_MAYMOVE | MREMAP_FIXED | (way ? MREMAP_DONTUNMAP : 0), here.at) != here.at) {
			if (errno != EINVAL && errno != ENOMEM)
				fail(w, "mremap: %s", strerror(errno));
			zone_end(w, &there, "");
			break;
		}
		memcpy(here.tag, there.tag, sizeof(here.tag));
		zone_is(&there, way ? 0 : SIGSEGV);
		what = "after mremap() over full tables";
		zone_check(w, &there, "after mremap() to elsewhere");
		zone_end(w, &there, "after munmap() of what mremap() has left");
		break;
	case 2:
	case 3:
		/* Map a shorter file over it with MAP_POPULATE */
		n = 1 + below(w, one_in(w, 2) ? 3 : 100);
		fd = memfd_create("short", MFD_CLOEXEC);
		if (fd < 0 || ftruncate(fd, n * PAGE))
			fail(w, "memfd: %s", strerror(errno));
		memset(there.tag, 0, sizeof(there.tag));
		for (i = 0; i < n && way == 3; i++) {
			there.tag[i] = new_tag(w);
			fill_page(w->buffer, there.tag[i]);
			if (pwrite(fd, w->buffer, PAGE, i * PAGE) != PAGE)
				fail(w, "pwrite: %s", strerror(errno));
		}
		if (!zone_map(w, &here, (shared ? MAP_SHARED : MAP_PRIVATE) | MAP_POPULATE, fd)) {
			close(fd);
			fd = -1;
			break;
		}
		zone_is(&here, SIGBUS);
		memset(here.sig, 0, n);
		memcpy(here.tag, there.tag, sizeof(here.tag));
		what = "after MAP_POPULATE of a short file over full tables";
		break;
	}
	if (*what)
		zone_check(w, &here, what);
	zone_end(w, &here, "after munmap()");
	if (fd >= 0)
		close(fd);
	return *what != 0;
}

/* One call empties the tables, another one touches pages */
bool table_refill(struct worker *w)
{
	static const char *const names[] = { "munmap, mmap", "mmap over", "MADV_DONTNEED", "mremap, mmap",
					     "mremap, shrunk and grown", "MREMAP_DONTUNMAP", "MADV_GUARD", "ftruncate" };
	unsigned int way = below(w, ARRAY_SIZE(names)), i, kept;
	bool file = way == 7;
	int fd = -1;

	zone_init(w, &here, 0);
	say(w, "tables %p+%u: filled, emptied by %s, touched", (void *)here.at, here.pages, names[way]);
	if (file) {
		fd = memfd_create("long", MFD_CLOEXEC);
		if (fd < 0 || ftruncate(fd, here.pages * PAGE))
			fail(w, "memfd: %s", strerror(errno));
	}
	if (!zone_map(w, &here, file ? MAP_SHARED : ANONYMOUS, fd))
		goto out;
	zone_fill(w, &here);
	if (one_in(w, 4))
		zone_check(w, &here, "after filling it");
	switch (way) {
	case 0:
		munmap(here.at, here.pages * PAGE);
		if (!zone_map(w, &here, ANONYMOUS, -1))
			goto out;
		break;
	case 1:
		if (!zone_map(w, &here, ANONYMOUS, -1))
			goto out;
		break;
	case 2:
	case 6:
		if (madvise(here.at, here.pages * PAGE, way == 2 ? MADV_DONTNEED : 102 /* MADV_GUARD_INSTALL */)) {
			if (way == 2)
				fail(w, "madvise: %s", strerror(errno));
			goto out;
		}
		zone_is(&here, 0);
		if (way == 2)
			break;
		want_fault(w, here.at + below(w, here.pages) * PAGE, SIGSEGV, "after MADV_GUARD_INSTALL");
		if (madvise(here.at, here.pages * PAGE, 103 /* MADV_GUARD_REMOVE */))
			fail(w, "madvise: %s", strerror(errno));
		break;
	case 3:
	case 5:
		there = here;
		there.at = some_place(w, here.pages, 1);
		if (mremap(here.at, here.pages * PAGE, here.pages * PAGE,
			   MREMAP_MAYMOVE | MREMAP_FIXED | (way == 5 ? MREMAP_DONTUNMAP : 0), there.at) != there.at)
			goto out;
		zone_is(&here, 0);
		if (way == 3 && !zone_map(w, &here, ANONYMOUS, -1))
			goto out;
		touch_some(w, &here);
		zone_check(w, &there, "after mremap() to elsewhere");
		zone_end(w, &there, "after munmap()");
		break;
	case 4:
		kept = 1 + below(w, here.pages - 1);
		if (mremap(here.at, here.pages * PAGE, kept * PAGE, 0) != here.at ||
		    mremap(here.at, kept * PAGE, here.pages * PAGE, 0) != here.at)
			goto out;
		for (i = kept; i < here.pages; i++)
			here.tag[i] = 0;
		break;
	case 7:
		kept = below(w, here.pages);
		if (ftruncate(fd, kept * PAGE))
			fail(w, "ftruncate: %s", strerror(errno));
		if (one_in(w, 2) && ftruncate(fd, here.pages * PAGE) == 0)
			memset(here.sig + kept, 0, here.pages - kept);
		else
			memset(here.sig + kept, SIGBUS, here.pages - kept);
		for (i = kept; i < here.pages; i++)
			here.tag[i] = 0;
		break;
	}
	touch_some(w, &here);
	zone_check(w, &here, "after tables were emptied and touched");
out:
	zone_end(w, &here, "after munmap()");
	if (fd >= 0)
		close(fd);
	return true;
}

/* Moves full tables over full tables and back, also without access rights. */
bool table_move(struct worker *w)
{
	unsigned int rounds = 1 + below(w, 4), closed;

	zone_init(w, &here, 0);
	say(w, "tables %p+%u: moved %u times", (void *)here.at, here.pages, rounds);
	if (!zone_map(w, &here, ANONYMOUS, -1))
		return false;
	zone_fill(w, &here);
	while (rounds--) {
		there = here;
		there.at = some_place(w, here.pages, 2 + (rounds & 1));
		if (one_in(w, 2)) {
			if (!zone_map(w, &there, ANONYMOUS, -1))
				break;
			zone_fill(w, &there);
		}
		closed = one_in(w, 3);
		if (closed && mprotect(here.at, here.pages * PAGE, PROT_NONE))
			fail(w, "mprotect: %s", strerror(errno));
		say(w, "  from %p to %p%s", (void *)here.at, (void *)there.at, closed ? ", PROT_NONE" : "");
		if (mremap(here.at, here.pages * PAGE, here.pages * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, there.at) !=
		    there.at) {
			if (errno != ENOMEM)
				fail(w, "mremap: %s", strerror(errno));
			munmap(there.at, here.pages * PAGE);
			break;
		}
		memcpy(there.tag, here.tag, sizeof(here.tag));
		zone_is(&here, SIGSEGV);
		zone_check(w, &here, "after mremap() from there");
		here = there;
		if (closed) {
			memset(here.sig, SIGSEGV, sizeof(here.sig));
			zone_check(w, &here, "after mremap() of PROT_NONE pages");
			if (mprotect(here.at, here.pages * PAGE, RW))
				fail(w, "mprotect: %s", strerror(errno));
			memset(here.sig, 0, sizeof(here.sig));
		}
		zone_check(w, &here, "after mremap() of tables");
	}
	zone_end(w, &here, "after munmap()");
	return true;
}

#define SPOTS	24

/* One mapping of many GiB with few pages: upper levels are freed, allocated again, moved. */
bool table_levels(struct worker *w)
{
	const size_t size = one_in(w, 3) ? 600 * GIGABYTE : (1 + below(w, 3)) * GIGABYTE;
	uint8_t *at = w->zone + GIGABYTE * (64 + below(w, 448)), *other = w->zone + 800 * GIGABYTE;
	size_t spot[SPOTS], n = 2 + below(w, SPOTS - 2), i, k;
	unsigned int way = below(w, 4);
	uint64_t tag[SPOTS];

	if (one_in(w, 2))
		at -= GIGABYTE / 2 + TABLE * below(w, 8) + PAGE * below(w, 8);
	say(w, "%zu GiB at %p with %zu pages, way %u", size / GIGABYTE, (void *)at, n, way);
	if (mmap(at, size, RW, ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) == MAP_FAILED) {
		note(11, "no mapping of many GiB");
		return false;
	}
	for (i = 0; i < n; i++) {
		/* Some in one table, some at the end of one, some far away */
		spot[i] = i && one_in(w, 2) ? spot[i - 1] + (one_in(w, 2) ? PAGE : TABLE - PAGE) :
					      (next_random(w) % (size / PAGE)) * PAGE;
		if (spot[i] >= size)
			spot[i] = 0;
		tag[i] = new_tag(w);
		fill_page(at + spot[i], tag[i]);
		for (k = 0; k < i; k++)
			if (spot[k] == spot[i])
				tag[k] = tag[i];
	}
	for (i = 0; i < n; i++)
		want_page(w, at + spot[i], tag[i], false, "in a mapping of many GiB");
	switch (way) {
	case 0:
		munmap(at, size);
		for (i = 0; i < n; i++)
			want_fault(w, at + spot[i], SIGSEGV, "after munmap() of many GiB");
		if (mmap(at, size, RW, ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) == MAP_FAILED)
			return false;
		break;
	case 1:
		if (mmap(at, size, RW, ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) == MAP_FAILED)
			return false;
		break;
	case 2:
		if (madvise(at, size, MADV_DONTNEED))
			fail(w, "madvise: %s", strerror(errno));
		break;
	case 3:
		/* Move another mapping with one page over it: most tables do not come back */
		if (size > 8 * GIGABYTE ||
		    mmap(other, size, RW, ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) == MAP_FAILED)
			break;
		if (one_in(w, 2)) {
			tag[0] = new_tag(w);
			fill_page(other + spot[0], tag[0]);
		} else {
			tag[0] = 0;
		}
		if (mremap(other, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, at) != at) {
			if (errno != ENOMEM)
				fail(w, "mremap: %s", strerror(errno));
			munmap(other, size);
			munmap(at, size);
			return false;
		}
		want_fault(w, other + spot[0], SIGSEGV, "after mremap() of GiB to elsewhere");
		for (i = 1; i < n; i++)
			tag[i] = spot[i] == spot[0] ? tag[0] : 0;
		goto moved;
	}
	if (way != 3) {
		i = below(w, n);
		memset(tag, 0, sizeof(tag));
		tag[i] = new_tag(w);
		if (!touch(w, at + spot[i], tag[i]))
			tag[i] = 0;
		for (k = 0; k < n; k++)
			if (spot[k] == spot[i])
				tag[k] = tag[i];
	}
moved:
	for (i = 0; i < n; i++)
		want_page(w, at + spot[i], tag[i], false, "in a mapping of many GiB made anew");
	munmap(at, size);
	for (i = 0; i < n; i++)
		want_fault(w, at + spot[i], SIGSEGV, "after munmap() of many GiB");
	return true;
}

/* Requests of one io_uring_enter() empty and touch the tables: nothing of the guest runs in between */
bool table_batch(struct worker *w)
{
	struct request request[3];
	unsigned int way = below(w, 3), i, n;
	uint64_t tag = new_tag(w);
	int result[3], fd = -1;

	zone_init(w, &here, 0);
	say(w, "tables %p+%u: filled, emptied and touched by one io_uring_enter(), way %u", (void *)here.at, here.pages, way);
	if (way == 2) {
		fd = memfd_create("punched", MFD_CLOEXEC);
		if (fd < 0 || ftruncate(fd, here.pages * PAGE))
			fail(w, "memfd: %s", strerror(errno));
	}
	if (!zone_map(w, &here, way == 2 ? MAP_SHARED : ANONYMOUS, fd))
		goto out;
	zone_fill(w, &here);
	fill_page(w->buffer, tag);
	if (pwrite(w->data, w->buffer, PAGE, 0) != PAGE)
		fail(w, "pwrite: %s", strerror(errno));
	i = below(w, here.pages);
	if (way == 2)
		request[0] = (struct request){ IORING_OP_FALLOCATE, fd, (void *)(here.pages * PAGE),
					       FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 0 };
	else
		request[0] = (struct request){ IORING_OP_MADVISE, -1, here.at, here.pages * PAGE, 0, MADV_DONTNEED };
	if (way == 1)
		request[1] = (struct request){ IORING_OP_MADVISE, -1, here.at + i * PAGE, PAGE, 0, MADV_POPULATE_WRITE };
	else
		request[1] = (struct request){ IORING_OP_READ, w->data, here.at + i * PAGE, PAGE, 0, 0 };
	n = 2;
	if (!ring_run(w, request, n, result) || result[0] == -EINVAL || result[0] == -ECANCELED)
		goto out;
	if (result[0] < 0)
		fail(w, "io_uring: the first request gives %d", result[0]);
	if (way != 1 && result[1] != PAGE)
		fail(w, "io_uring: the second request gives %d", result[1]);
	zone_is(&here, 0);
	if (way != 1)
		here.tag[i] = tag;
	zone_check(w, &here, "after io_uring has emptied tables and touched a page");
out:
	zone_end(w, &here, "after munmap()");
	if (fd >= 0)
		close(fd);
	return true;
}
