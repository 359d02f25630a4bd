// SPDX-License-Identifier: GPL-2.0-only
/*
 * Attacks on the kernel's own copies to and from userspace. They use system calls alone, and
 * never touch the stub.
 */
#include "hostile.h"

#include <stdarg.h>

/* ---- copy-rights: what the kernel copies has the rights and the effect of a user's access */

#define COPY_PAGES	16

static size_t wrong_copies;

/* Notes what is wrong, and goes on. */
__attribute__((format(printf, 1, 2)))
static void wrong(const char *format, ...)
{
	size_t at = strlen(shared->text);
	va_list args;

	if (wrong_copies++)
		at += (size_t)snprintf(shared->text + at, sizeof(shared->text) - at, "; ");
	va_start(args, format);
	if (at < sizeof(shared->text))
		vsnprintf(shared->text + at, sizeof(shared->text) - at, format, args);
	va_end(args);
}

/* Pages that are writable but clean: reclaim drops what is in them. */
static char *clean_pages(size_t size)
{
	char *pages = (char *)reserve(size);

	memset(pages, 'o', size);
	if (madvise(pages, size, MADV_FREE))
		conclude(SKIPPED, "MADV_FREE: %s", strerror(errno));
	return pages;
}

static void reclaim(char *pages, size_t size)
{
	if (madvise(pages, size, MADV_PAGEOUT))
		conclude(SKIPPED, "MADV_PAGEOUT: %s", strerror(errno));
}

static void check_read(int file)
{
	char *pages = clean_pages(COPY_PAGES * PAGE);
	unsigned int i, lost = 0;

	step("read() to clean pages");
	if (pread(file, pages, COPY_PAGES * PAGE, 0) != COPY_PAGES * PAGE)
		conclude(INCONCLUSIVE, "pread: %s", strerror(errno));
	reclaim(pages, COPY_PAGES * PAGE);
	for (i = 0; i < COPY_PAGES; i++)
		lost += pages[i * PAGE] != 'R';
	if (lost)
		wrong("%u of %u pages that read() filled are lost", lost, COPY_PAGES);
}

/* The kernel fills with zeros what a hole has: half of each page, so that the other half tells. */
static void check_clear(int hole)
{
	char *pages = clean_pages(COPY_PAGES * PAGE);
	unsigned int i, lost = 0;

	step("read() of a hole to clean pages");
	for (i = 0; i < COPY_PAGES; i++) {
		char *page = pages + i * PAGE;
		bool there;

		if (pread(hole, page, PAGE / 2, 0) != PAGE / 2)
			conclude(INCONCLUSIVE, "pread: %s", strerror(errno));
		/* if reclaim was faster, there is nothing to lose any more */
		there = page[PAGE - 1] == 'o';
		reclaim(page, PAGE);
		lost += there && page[PAGE - 1] != 'o';
		if (page[0])
			wrong("read() of a hole gave data");
	}
	if (lost)
		wrong("%u of %u pages that read() of a hole changed are lost", lost, COPY_PAGES);
}

static void check_futex(void)
{
	uint32_t *word = (uint32_t *)clean_pages(PAGE), other = 0;

	step("FUTEX_WAKE_OP on a clean page");
	if (syscall(SYS_futex, &other, FUTEX_WAKE_OP_PRIVATE, 1, 1, word,
		    FUTEX_OP(FUTEX_OP_SET, 42, FUTEX_OP_CMP_EQ, 0)) < 0)
		conclude(INCONCLUSIVE, "FUTEX_WAKE_OP: %s", strerror(errno));
	reclaim((char *)word, PAGE);
	if (*word != 42)
		wrong("what FUTEX_WAKE_OP stored is lost");
}

/* What the kernel reads for a process must be what the process may read. */
static void check_no_rights(int file)
{
	char *page = (char *)reserve(PAGE), c;
	int ends[2];

	step("having the kernel read a page without rights");
	if (pipe(ends) || fcntl(ends[0], F_SETFL, O_NONBLOCK))
		conclude(INCONCLUSIVE, "pipe: %s", strerror(errno));
	memset(page, 0, PAGE);
	mprotect(page, PAGE, PROT_NONE);
	if (write(ends[1], page, 1) != -1 || errno != EFAULT || read(ends[0], &c, 1) == 1)
		wrong("write() read a PROT_NONE page");
	if (read(ends[0], page, 1) == 1)
		wrong("read() wrote to a PROT_NONE page");
	if (syscall(SYS_futex, page, FUTEX_WAIT_PRIVATE, 1, NULL, NULL, 0) != -1 || errno != EFAULT)
		wrong("FUTEX_WAIT read a PROT_NONE page");
	if (access(page, F_OK) != -1 || errno != EFAULT)
		wrong("access() read its path from a PROT_NONE page");
	mprotect(page, PAGE, PROT_READ);
	if (pread(file, page, 1, 0) != -1 || errno != EFAULT)
		wrong("read() wrote to a PROT_READ page");
}

static void read_it(void *page)
{
	if (*(volatile char *)page)
		_exit(1);
}

/* As on x86, what may be written may be read: always, or never. */
static void check_write_only(void)
{
	void *page = mmap(NULL, PAGE, PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char c;
	int ends[2];

	step("reading an untouched PROT_WRITE page");
	if (page == MAP_FAILED || pipe(ends))
		conclude(INCONCLUSIVE, "mmap or pipe: %s", strerror(errno));
	if (in_child(read_it, page))
		wrong("an untouched PROT_WRITE page cannot be read");
	if (write(ends[1], page, 1) != 1 || read(ends[0], &c, 1) != 1 || c)
		wrong("write() cannot read an untouched PROT_WRITE page");
}

void copy_rights(void)
{
	static char text[COPY_PAGES * PAGE];
	int file = memfd_create("file", 0), hole = memfd_create("hole", 0);

	memset(text, 'R', sizeof(text));
	if (file < 0 || hole < 0 || write(file, text, sizeof(text)) != sizeof(text) ||
	    ftruncate(hole, PAGE))
		conclude(INCONCLUSIVE, "memfd: %s", strerror(errno));
	shared->text[0] = '\0';
	check_read(file);
	check_clear(hole);
	check_futex();
	check_no_rights(file);
	check_write_only();
	if (wrong_copies) {
		shared->kind = BREACHED;
		_exit(0);
	}
	conclude(BLOCKED, "the kernel's copies keep what they write, and read and write what the process may");
}
