// SPDX-License-Identifier: GPL-2.0-only
/*
 * The kernel's copies to and from the arena: allowed copies arrive and are not lost afterwards, other ones fail
 * with EFAULT.
 */
#include "torture.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif

/* A short range of pages, mapped or not */
static struct range some_pages(struct worker *w)
{
	struct range r = { below(w, ARENA_PAGES), 1 + below(w, one_in(w, 8) ? BUFFER_PAGES : 4) };
	int i = page_for(w, true);

	if (i >= 0 && !one_in(w, 8))
		r.first = i;
	if (r.count > ARENA_PAGES - r.first)
		r.count = ARENA_PAGES - r.first;
	return r;
}

/* How many pages of the range can be accessed before one faults */
static unsigned int accessible(struct worker *w, struct range r, bool write)
{
	unsigned int i;

	for (i = 0; i < r.count && !fault_of(w, &w->page[r.first + i], write); i++)
		;
	return i;
}

/*
 * After the kernel has written to pages: reclaims them or makes their PTEs old, at random. They must keep their
 * contents.
 */
static void press(struct worker *w, struct range r)
{
	unsigned int kind = below(w, 4);

	if (kind < 2 && r.count)
		madvise(address(w, r.first), r.count * PAGE, kind ? MADV_PAGEOUT : 20 /* MADV_COLD */);
}

/* read(2) of whole pages into the arena */
bool copy_in(struct worker *w)
{
	struct range r = some_pages(w);
	uint64_t tags[BUFFER_PAGES];
	unsigned int can = accessible(w, r, true), i;
	size_t done = 0;

	if (over_budget(w, r.count))
		return unmap(w);
	if (one_in(w, 4) && can && w->page[r.first].kind == ANON) {
		madvise(address(w, r.first), PAGE, MADV_FREE);
		say(w, "madvise %u FREE", r.first);
	}
	say(w, "pread into %u+%u, of which %u can be written", r.first, r.count, can);
	for (i = 0; i < r.count; i++) {
		tags[i] = new_tag(w);
		fill_page(w->buffer + i * PAGE, tags[i]);
	}
	if (pwrite(w->data, w->buffer, r.count * PAGE, 0) != (ssize_t)(r.count * PAGE))
		fail(w, "pwrite to the data file: %s", strerror(errno));
	while (done < r.count * PAGE) {
		ssize_t n = pread(w->data, address(w, r.first) + done, r.count * PAGE - done, done);

		if (n < 0 && errno == EFAULT)
			break;
		if (n < 0 && errno == ENOMEM)
			break;
		if (n <= 0)
			fail(w, "pread: %zd, %s", n, strerror(errno));
		done += n;
	}
	if (done != can * PAGE)
		fail(w, "pread into page %p: %zu bytes of %u pages got there, %u pages can be written",
		     (void *)address(w, r.first), done, r.count, can);
	for (i = 0; i < can; i++)
		wrote(w, &w->page[r.first + i], tags[i]);
	r.count = can;
	press(w, r);
	check_range(w, r);
	return can > 0;
}

/* write(2) of whole pages from the arena */
bool copy_out(struct worker *w)
{
	struct range r = some_pages(w);
	unsigned int can = accessible(w, r, false), i;
	size_t done = 0;

	say(w, "pwrite from %u+%u, of which %u can be read", r.first, r.count, can);
	memset(w->buffer, 0xee, r.count * PAGE);
	while (done < r.count * PAGE) {
		ssize_t n = pwrite(w->data, address(w, r.first) + done, r.count * PAGE - done, done);

		if (n < 0 && (errno == EFAULT || errno == ENOMEM))
			break;
		if (n <= 0)
			fail(w, "pwrite: %zd, %s", n, strerror(errno));
		done += n;
	}
	if (done != can * PAGE)
		fail(w, "pwrite from page %p: %zu bytes of %u pages came from there, %u pages can be read",
		     (void *)address(w, r.first), done, r.count, can);
	if (pread(w->data, w->buffer, can * PAGE, 0) != (ssize_t)(can * PAGE))
		fail(w, "pread from the data file: %s", strerror(errno));
	for (i = 0; i < can; i++) {
		struct page *p = &w->page[r.first + i];

		want_same(w, address(w, r.first + i), w->buffer + i * PAGE, tag_of(w, p), p->flags & LAZY,
			  "what write(2) has taken");
	}
	return can > 0;
}

/* One page through a pipe, from the arena and back to it */
bool copy_pipe(struct worker *w)
{
	int from = page_for(w, false), to = page_for(w, true);
	uint64_t tag;

	if (from < 0 || to < 0 || over_budget(w, 1))
		return false;
	say(w, "page %d through a pipe to page %d", from, to);
	tag = tag_of(w, &w->page[from]);
	if (write(w->pipe[1], address(w, from), PAGE) != PAGE)
		fail(w, "write to a pipe: %s", strerror(errno));
	if (one_in(w, 4))
		madvise(address(w, to), PAGE, 20 /* MADV_COLD */);
	if (read(w->pipe[0], address(w, to), PAGE) != PAGE)
		fail(w, "read from a pipe: %s", strerror(errno));
	wrote(w, &w->page[to], tag);
	press(w, (struct range){ to, 1 });
	check_one(w, to);
	check_one(w, from);
	return true;
}

/* Writes parts of pages: by readv() into two pages, and a file's hole by clear_user() */
bool copy_odd(struct worker *w)
{
	int i = page_for(w, true);
	unsigned int head = 1 + below(w, PAGE - 2), k;
	uint64_t tag, next;
	struct iovec iov[3];
	uint8_t *at;

	if (i < 0 || i + 1 == (int)ARENA_PAGES || fault_of(w, &w->page[i + 1], true) ||
	    fault_of(w, &w->page[i + 1], false) || over_budget(w, 2))
		return false;
	say(w, "readv in odd pieces into %d and %d", i, i + 1);
	at = address(w, i);
	tag = new_tag(w);
	next = new_tag(w);
	fill_page(w->buffer, tag);
	fill_page(w->buffer + PAGE, next);
	if (pwrite(w->data, w->buffer, 2 * PAGE, 0) != (ssize_t)(2 * PAGE))
		fail(w, "pwrite: %s", strerror(errno));
	iov[0] = (struct iovec){ at, head };
	iov[1] = (struct iovec){ at + head, PAGE };
	iov[2] = (struct iovec){ at + head + PAGE, PAGE - head };
	if (preadv(w->data, iov, 3, 0) != (ssize_t)(2 * PAGE))
		fail(w, "preadv: %s", strerror(errno));
	wrote(w, &w->page[i], tag);
	wrote(w, &w->page[i + 1], next);
	/* Two shared mappings may have the same page */
	check_one(w, i + 1);
	if (tag_of(w, &w->page[i]) == tag)
		check_one(w, i);
	if (!one_in(w, 3))
		return true;
	/* The kernel clears, from the middle of one page to the middle of the next */
	if (ftruncate(w->data, 0) || ftruncate(w->data, BUFFER_PAGES * PAGE))
		fail(w, "ftruncate: %s", strerror(errno));
	if (pread(w->data, at + PAGE / 2, PAGE, 0) != PAGE)
		fail(w, "pread of a hole: %s", strerror(errno));
	for (k = WORDS / 2; k < WORDS + WORDS / 2; k++)
		if (((volatile uint64_t *)at)[k])
			fail(w, "a hole was read into page %p, but word %u is %#llx", (void *)at, k,
			     (unsigned long long)((volatile uint64_t *)at)[k]);
	for (k = 0; k < 2; k++) {
		tag = new_tag(w);
		fill_page(at + k * PAGE, tag);
		wrote(w, &w->page[i + k], tag);
	}
	return true;
}

/* The kernel reads into a page that MADV_FREE has freed: reclaim must keep it. */
bool copy_lazy(struct worker *w)
{
	const unsigned int pages = 1 + below(w, 32);
	unsigned int i, how = below(w, 4);
	uint8_t *m = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t tags[32];

	if (m == MAP_FAILED)
		return false;
	say(w, "%u pages: MADV_FREE, written by the kernel (way %u), MADV_PAGEOUT", pages, how);
	for (i = 0; i < pages; i++) {
		fill_page(m + i * PAGE, new_tag(w));
		tags[i] = new_tag(w);
		fill_page(w->buffer + i * PAGE, tags[i]);
	}
	if (pwrite(w->data, w->buffer, pages * PAGE, 0) != (ssize_t)(pages * PAGE))
		fail(w, "pwrite: %s", strerror(errno));
	if (madvise(m, pages * PAGE, MADV_FREE)) {
		note(4, "no MADV_FREE");
		munmap(m, pages * PAGE);
		return false;
	}
	for (i = 0; i < pages; i++) {
		uint8_t *at = m + i * PAGE;
		struct iovec from = { w->buffer + i * PAGE, PAGE }, to = { at, PAGE };
		ssize_t n = 0;

		switch (how) {
		case 0:
		case 1:
			n = pread(w->data, at, PAGE, i * PAGE);
			break;
		case 2:
			n = write(w->pipe[1], w->buffer + i * PAGE, PAGE) == PAGE ? read(w->pipe[0], at, PAGE) : -1;
			break;
		case 3:
			n = process_vm_writev(getpid(), &from, 1, &to, 1, 0);
			if (n < 0 && errno == ENOSYS)
				n = pread(w->data, at, PAGE, i * PAGE);
			break;
		}
		if (n != PAGE)
			fail(w, "page %p cannot be written by the kernel: %zd, %s", (void *)at, n, strerror(errno));
	}
	madvise(m, pages * PAGE, MADV_PAGEOUT);
	for (i = 0; i < pages; i++)
		want_page(w, m + i * PAGE, tags[i], false, "written by the kernel after MADV_FREE, then MADV_PAGEOUT");
	munmap(m, pages * PAGE);
	return true;
}

/* Copies must fail from PROT_NONE, to PROT_READ, to and from unmapped pages. */
bool copy_denied(struct worker *w)
{
	unsigned int i, tries, word = below(w, WORDS);
	bool write_to = one_in(w, 2);
	int found;
	struct page *p;
	struct iovec far, near = { w->buffer, PAGE };
	uint8_t *at;
	ssize_t n;
	int sig;

	/* The page is there, but its mapping forbids the copy. */
	found = page_for(w, true);
	if (found >= 0 && one_in(w, 2)) {
		p = &w->page[found];
		if (!over_budget(w, 1) && one_in(w, 2)) {
			uint64_t tag = new_tag(w);

			fill_page(address(w, found), tag);
			wrote(w, p, tag);
		}
		p->prot = write_to && one_in(w, 2) ? PROT_READ : PROT_NONE;
		if (mprotect(address(w, found), PAGE, p->prot))
			fail(w, "mprotect: %s", strerror(errno));
	} else {
		found = -1;
	}
	for (tries = 0; tries < 64; tries++) {
		i = found >= 0 ? (unsigned int)found : below(w, ARENA_PAGES);
		sig = fault_of(w, &w->page[i], write_to);
		if (sig)
			break;
	}
	if (tries == 64)
		return false;
	p = &w->page[i];
	at = address(w, i);
	say(w, "a copy %s page %u (kind %u, prot %u, flags %#x)", write_to ? "to" : "from", i, p->kind, p->prot, p->flags);
	far = (struct iovec){ at, PAGE };
	errno = 0;
	switch (below(w, 6)) {
	case 0:
		n = write_to ? pread(w->data, at, PAGE, 0) : pwrite(w->data, at, PAGE, 0);
		break;
	case 1:
		if (write_to) {
			if (write(w->pipe[1], w->buffer, 64) != 64)
				fail(w, "write to a pipe: %s", strerror(errno));
			n = read(w->pipe[0], at + word, 64);
			tries = errno;
			if (n < 0 && read(w->pipe[0], w->buffer, 64) != 64)
				fail(w, "read from a pipe: %s", strerror(errno));
			errno = tries;
		} else {
			n = write(w->pipe[1], at + word, 64);
			if (n > 0)
				break;
		}
		break;
	case 2:
		n = write_to ? syscall(SYS_times, at) : access((char *)at + word, F_OK);
		break;
	case 3:
		n = write_to ? syscall(SYS_clock_gettime, CLOCK_MONOTONIC, at) :
			       syscall(SYS_nanosleep, at, NULL);
		break;
	case 4:
		/* To its own process, through the page tables */
		n = write_to ? process_vm_writev(getpid(), &near, 1, &far, 1, 0) :
			       process_vm_readv(getpid(), &near, 1, &far, 1, 0);
		if (n < 0 && errno == ENOSYS)
			errno = EFAULT;
		break;
	default:
		n = write_to ? syscall(SYS_futex, w->buffer, FUTEX_WAKE_OP, 0, 0, at + word * 8,
				       FUTEX_OP(FUTEX_OP_ADD, 1, FUTEX_OP_CMP_EQ, 0)) :
			       syscall(SYS_futex, at + word * 8, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, 12345, NULL);
		break;
	}
	if (n != -1 || errno != EFAULT)
		fail(w, "a copy %s page %p, which is not allowed (kind %u, prot %u, flags %#x, signal %d): %zd, %s",
		     write_to ? "to" : "from", (void *)at, p->kind, p->prot, p->flags, sig, n, strerror(errno));
	check_one(w, i);
	return true;
}

/* A page in a pipe keeps its contents, although its owner drops it meanwhile. */
bool copy_vmsplice(struct worker *w)
{
	int i = page_for(w, false);
	struct page *p;
	struct iovec iov;
	uint64_t tag;

	if (i < 0)
		return false;
	p = &w->page[i];
	tag = tag_of(w, p);
	iov = (struct iovec){ address(w, i), PAGE };
	say(w, "vmsplice page %d (kind %u)", i, p->kind);
	if (vmsplice(w->pipe[1], &iov, 1, 0) != PAGE) {
		if (errno == ENOSYS || errno == EBADF)
			note(5, "no vmsplice");
		else
			fail(w, "vmsplice: %s", strerror(errno));
		return false;
	}
	if (p->kind == ANON && one_in(w, 2)) {
		if (madvise(iov.iov_base, PAGE, MADV_DONTNEED))
			fail(w, "madvise: %s", strerror(errno));
		p->tag = 0;
		check_one(w, i);
		if (one_in(w, 2))
			fill(w);
	}
	if (read(w->pipe[0], w->buffer, PAGE) != PAGE)
		fail(w, "read from a pipe: %s", strerror(errno));
	/* fill() may have changed the file's page itself */
	if (p->kind == ANON)
		want_same(w, address(w, i), w->buffer, tag, false, "a page through vmsplice");
	check_one(w, i);
	return true;
}

bool copy_splice(struct worker *w)
{
	int i = page_for(w, true);
	loff_t offset = PAGE * below(w, BUFFER_PAGES);
	uint64_t tag;

	if (i < 0 || over_budget(w, 1))
		return false;
	say(w, "splice from a file into page %d", i);
	tag = new_tag(w);
	fill_page(w->buffer, tag);
	if (pwrite(w->data, w->buffer, PAGE, offset) != PAGE)
		fail(w, "pwrite: %s", strerror(errno));
	if (splice(w->data, &offset, w->pipe[1], NULL, PAGE, 0) != PAGE) {
		note(6, "no splice");
		return false;
	}
	if (read(w->pipe[0], address(w, i), PAGE) != PAGE)
		fail(w, "read from a pipe: %s", strerror(errno));
	wrote(w, &w->page[i], tag);
	press(w, (struct range){ i, 1 });
	check_one(w, i);
	return true;
}

bool copy_random(struct worker *w)
{
	int i = page_for(w, true);
	volatile uint64_t *at;
	unsigned int k, zeros = 0;
	uint64_t tag;

	if (i < 0 || over_budget(w, 1))
		return false;
	at = (void *)address(w, i);
	say(w, "getrandom into page %d", i);
	if (getrandom((void *)at, PAGE, GRND_NONBLOCK) != PAGE) {
		note(7, "getrandom gives less than a page");
	} else {
		/* The owner and the kernel see the same contents. */
		if (pwrite(w->data, (void *)at, PAGE, 0) != PAGE || pread(w->data, w->buffer, PAGE, 0) != PAGE)
			fail(w, "pwrite, pread: %s", strerror(errno));
		for (k = 0; k < WORDS; k++) {
			zeros += at[k] == 0;
			if (at[k] != ((uint64_t *)w->buffer)[k])
				fail(w, "random page %p, word %u: %#llx, but the kernel took %#llx", (void *)at, k,
				     (unsigned long long)at[k], (unsigned long long)((uint64_t *)w->buffer)[k]);
		}
		if (zeros > 4)
			fail(w, "getrandom into page %p: %u of its words are zero", (void *)at, zeros);
	}
	tag = new_tag(w);
	fill_page((void *)at, tag);
	wrote(w, &w->page[i], tag);
	return true;
}

/* A path may end at the end of its page: the kernel does not read beyond. */
bool copy_string(struct worker *w)
{
	static const char path[] = "/proc/self/maps/none";
	int i = page_for(w, true);
	bool ends = one_in(w, 2), next;
	unsigned int len = sizeof(path) - ends;
	uint8_t *at;
	uint64_t tag;

	if (i < 0 || over_budget(w, 1))
		return false;
	say(w, "a path at the end of page %d, which %s there", i, ends ? "does not end" : "ends");
	at = address(w, i) + PAGE - len;
	memcpy(at, path, len);
	next = i + 1 < (int)ARENA_PAGES && !fault_of(w, &w->page[i + 1], false);
	if (i + 1 < (int)ARENA_PAGES || !ends) {
		errno = 0;
		if (access((char *)at, F_OK) == 0)
			fail(w, "access() of a path that is not there");
		if (ends && !next && errno != EFAULT)
			fail(w, "access() of a string that goes on to page %p, which cannot be read: %s",
			     (void *)(at + len), strerror(errno));
		if (!ends && errno != ENOENT && errno != ENOTDIR)
			fail(w, "access() of a string at the end of a page: %s", strerror(errno));
	}
	tag = new_tag(w);
	fill_page(address(w, i), tag);
	wrote(w, &w->page[i], tag);
	return true;
}

/* The kernel's arithmetic on futexes, and its compare and exchange */
bool copy_futex(struct worker *w)
{
	int i = page_for(w, true);
	unsigned int k = below(w, PAGE / 4);
	volatile uint32_t *at, expected;
	uint32_t operand = next_random(w) & 0x7ff;
	uint64_t tag;

	if (i < 0 || over_budget(w, 1))
		return false;
	at = (volatile uint32_t *)address(w, i) + k;
	say(w, "futex in page %d, word %u", i, k);
	if (one_in(w, 4) && w->page[i].kind == ANON && tag_of(w, &w->page[i])) {
		/* Reclaim may take the page before the futex operation, but not after it */
		tag = tag_of(w, &w->page[i]);
		madvise(address(w, i), PAGE, MADV_FREE);
	} else {
		*at = 77;
	}
	expected = operand;
	/* Private futexes: their key does not need the page */
	if (syscall(SYS_futex, w->buffer, FUTEX_WAKE_OP | FUTEX_PRIVATE_FLAG, 0, 0, at,
		    FUTEX_OP(FUTEX_OP_SET, operand, FUTEX_OP_CMP_EQ, 1)) < 0)
		fail(w, "FUTEX_WAKE_OP: %s", strerror(errno));
	if (one_in(w, 2))
		madvise(address(w, i), PAGE, MADV_PAGEOUT);
	if (*at != expected)
		fail(w, "futex at %p: FUTEX_OP_SET left %#x, not %#x", (void *)at, *at, expected);
	if (syscall(SYS_futex, w->buffer, FUTEX_WAKE_OP | FUTEX_PRIVATE_FLAG, 0, 0, at,
		    FUTEX_OP(FUTEX_OP_ADD, operand, FUTEX_OP_CMP_EQ, 1)) < 0)
		fail(w, "FUTEX_WAKE_OP: %s", strerror(errno));
	expected += operand;
	if (*at != expected)
		fail(w, "futex at %p: FUTEX_OP_ADD left %#x, not %#x", (void *)at, *at, expected);
	if (syscall(SYS_futex, at, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, expected + 1, NULL) == 0 || errno != EAGAIN)
		fail(w, "FUTEX_WAIT for another value: %s", strerror(errno));
	*at = 0;
	if (syscall(SYS_futex, at, FUTEX_LOCK_PI | FUTEX_PRIVATE_FLAG, 0, NULL) == 0) {
		if ((*at & FUTEX_TID_MASK) != (uint32_t)syscall(SYS_gettid))
			fail(w, "futex at %p is locked, but is %#x", (void *)at, *at);
		if (syscall(SYS_futex, at, FUTEX_UNLOCK_PI | FUTEX_PRIVATE_FLAG, 0) || *at)
			fail(w, "futex at %p: unlocked, it is %#x", (void *)at, *at);
	} else if (errno != ENOSYS) {
		fail(w, "FUTEX_LOCK_PI: %s", strerror(errno));
	}
	tag = new_tag(w);
	fill_page(address(w, i), tag);
	wrote(w, &w->page[i], tag);
	return true;
}

static __thread volatile uint64_t in_handler;

static void on_signal(int sig)
{
	volatile uint64_t local = sig + (uint64_t)self->serial;

	in_handler = local;
}

/* The kernel writes a signal frame into pages of the arena that were just dropped. */
bool copy_frame(struct worker *w)
{
	const unsigned int pages = 8;
	struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_ONSTACK };
	stack_t stack = { 0 }, off = { .ss_flags = SS_DISABLE };
	unsigned int first = below(w, ARENA_PAGES - pages), i;
	uint8_t *at = address(w, first);
	int how = below(w, 3);

	if (over_budget(w, pages))
		return false;
	say(w, "a signal's frame in %u+%u, after %s", first, pages,
	    how == 0 ? "mmap" : how == 1 ? "MADV_FREE" : "MADV_DONTNEED");
	if (mmap(at, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED) {
		munmap(at, pages * PAGE);
		forget(w, (struct range){ first, pages });
		return false;
	}
	stack.ss_sp = at;
	stack.ss_size = pages * PAGE;
	sigaction(SIGUSR1, &action, NULL);
	if (sigaltstack(&stack, NULL))
		fail(w, "sigaltstack: %s", strerror(errno));
	if (how) {
		for (i = 0; i < pages; i++)
			fill_page(at + i * PAGE, new_tag(w));
		madvise(at, pages * PAGE, how == 1 ? MADV_FREE : MADV_DONTNEED);
	}
	in_handler = 0;
	/* To this thread only */
	syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), SIGUSR1);
	if (in_handler != SIGUSR1 + (uint64_t)w->serial)
		fail(w, "the handler has left %#llx", (unsigned long long)in_handler);
	sigaltstack(&off, NULL);
	for (i = 0; i < pages; i++) {
		uint64_t tag = new_tag(w);

		fill_page(at + i * PAGE, tag);
		w->page[first + i] = (struct page){ .kind = ANON, .prot = PROT_READ | PROT_WRITE, .tag = tag };
	}
	check_range(w, (struct range){ first, pages });
	return true;
}
