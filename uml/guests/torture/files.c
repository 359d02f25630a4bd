// SPDX-License-Identifier: GPL-2.0-only
/*
 * Files that are mapped while they are truncated, punched and written to.
 */
#include "torture.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Checks all mappings of the file's pages in the arena, or some */
static void check_file(struct worker *w, unsigned int f)
{
	unsigned int i;

	for (i = 0; i < ARENA_PAGES; i++)
		if ((w->page[i].kind == SHARED || w->page[i].kind == PRIVATE) && w->page[i].file == f &&
		    (w->depth == 0 || one_in(w, 4)))
			check_one(w, i);
}

bool file_truncate(struct worker *w)
{
	unsigned int f = below(w, FILES), pages = below(w, FILE_PAGES + 1), i;
	struct file *file = &w->file[f];

	say(w, "ftruncate file %u from %u to %u pages", f, file->pages, pages);
	if (ftruncate(file->fd, pages * PAGE))
		fail(w, "ftruncate: %s", strerror(errno));
	for (i = pages; i < FILE_PAGES; i++)
		file->tag[i] = 0;
	/* Private copies of pages behind the new end are gone, too */
	for (i = 0; i < ARENA_PAGES; i++) {
		struct page *p = &w->page[i];

		if (p->kind == PRIVATE && p->file == f && p->index >= pages) {
			p->flags &= ~COPIED;
			p->tag = 0;
		}
	}
	file->pages = pages;
	check_file(w, f);
	return true;
}

bool file_punch(struct worker *w)
{
	unsigned int f = below(w, FILES), first = below(w, FILE_PAGES), count = 1 + below(w, FILE_PAGES - first), i;
	struct file *file = &w->file[f];

	if (one_in(w, 2))
		count = 1;
	say(w, "punch file %u: %u+%u", f, first, count);
	if (fallocate(file->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, first * PAGE, count * PAGE))
		fail(w, "fallocate: %s", strerror(errno));
	for (i = first; i < first + count; i++)
		file->tag[i] = 0;
	check_file(w, f);
	return true;
}

/* Mappings show what write(2) has written, and read(2) shows stores to mappings. */
bool file_write(struct worker *w)
{
	unsigned int f = below(w, FILES), index, page;
	struct file *file = &w->file[f];
	uint64_t tag;

	if (!file->pages)
		return false;
	index = below(w, file->pages);
	say(w, "write and read file %u page %u", f, index);
	if (one_in(w, 2)) {
		tag = new_tag(w);
		fill_page(w->buffer, tag);
		if (pwrite(file->fd, w->buffer, PAGE, index * PAGE) != PAGE)
			fail(w, "pwrite: %s", strerror(errno));
		file->tag[index] = tag;
	}
	for (page = 0; page < ARENA_PAGES; page++) {
		struct page *p = &w->page[page];

		if (p->kind == SHARED && p->file == f && p->index == index) {
			check_one(w, page);
			if (!fault_of(w, p, true) && one_in(w, 2)) {
				tag = new_tag(w);
				fill_page(address(w, page), tag);
				wrote(w, p, tag);
			}
		} else if (p->kind == PRIVATE && p->file == f && p->index == index) {
			check_one(w, page);
		}
	}
	memset(w->buffer, 0xff, PAGE);
	if (pread(file->fd, w->buffer, PAGE, index * PAGE) != PAGE)
		fail(w, "pread: %s", strerror(errno));
	want_same(w, (void *)(uintptr_t)(index * PAGE), w->buffer, file->tag[index], false, "read from a file");
	return true;
}

/*
 * A file that parent and child map at once, each with its own page table. One loads what the other stores. When the
 * parent truncates it, the child gets SIGBUS, and zeros when it is extended again.
 */
bool file_together(struct worker *w)
{
	const unsigned int pages = 1 + below(w, 40), kept = below(w, pages), pick = below(w, pages);
	int to[2], from[2], fd = memfd_create("together", MFD_CLOEXEC);
	uint64_t tags[40], late = new_tag(w);
	bool populated = one_in(w, 2);
	unsigned int i;
	uint8_t *map;
	pid_t pid;
	char c;

	say(w, "a file of %u pages for two, cut to %u%s", pages, kept, populated ? ", populated" : "");
	if (fd < 0 || ftruncate(fd, pages * PAGE) || pipe2(to, O_CLOEXEC) || pipe2(from, O_CLOEXEC))
		fail(w, "memfd, pipe: %s", strerror(errno));
	map = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | (populated ? MAP_POPULATE : 0), fd, 0);
	if (map == MAP_FAILED)
		fail(w, "mmap: %s", strerror(errno));
	for (i = 0; i < pages; i++) {
		tags[i] = new_tag(w);
		fill_page(map + i * PAGE, tags[i]);
	}
	pid = fork_worker(w);
	if (pid < 0)
		goto out;
	if (pid == 0) {
		close(to[1]);
		close(from[0]);
		for (i = 0; i < pages; i++)
			want_page(w, map + i * PAGE, tags[i], false, "a shared file's page in the child");
		fill_page(map + pick * PAGE, late);
		if (write(from[1], "a", 1) != 1 || read(to[0], &c, 1) != 1)
			_exit(1);
		for (i = kept; i < pages; i++)
			want_fault(w, map + i * PAGE, SIGBUS, "a page that another has cut off");
		if (write(from[1], "b", 1) != 1 || read(to[0], &c, 1) != 1)
			_exit(1);
		for (i = 0; i < pages; i++)
			want_page(w, map + i * PAGE, i >= kept ? 0 : i == pick ? late : tags[i], false,
				  "a shared file's page, cut off and made anew by another");
		_exit(0);
	}
	close(to[0]);
	close(from[1]);
	to[0] = -1;
	from[1] = -1;
	if (read(from[0], &c, 1) == 1) {
		want_page(w, map + pick * PAGE, late, false, "a shared file's page that the child wrote");
		if (ftruncate(fd, kept * PAGE) || write(to[1], "a", 1) != 1)
			fail(w, "ftruncate: %s", strerror(errno));
		for (i = kept; i < pages; i++)
			want_fault(w, map + i * PAGE, SIGBUS, "a page that I have cut off");
	}
	if (read(from[0], &c, 1) == 1 && (ftruncate(fd, pages * PAGE) || write(to[1], "b", 1) != 1))
		fail(w, "ftruncate: %s", strerror(errno));
	reap(w, pid, "a file for two");
	for (i = 0; i < pages; i++)
		want_page(w, map + i * PAGE, i >= kept ? 0 : i == pick ? late : tags[i], false,
			  "a shared file's page, cut off and made anew");
out:
	munmap(map, pages * PAGE);
	for (i = 0; i < 2; i++) {
		if (to[i] >= 0)
			close(to[i]);
		if (from[i] >= 0)
			close(from[i]);
	}
	close(fd);
	return pid > 0;
}
