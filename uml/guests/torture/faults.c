// SPDX-License-Identifier: GPL-2.0-only
/*
 * Faults that a program resolves itself (userfaultfd) or that make its mappings grow (stacks).
 */
#include "torture.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif
#ifndef UFFDIO_MOVE
struct uffdio_move {
	uint64_t dst, src, len, mode;
	int64_t move;
};
#define UFFDIO_MOVE _IOWR(UFFDIO, 0x05, struct uffdio_move)
#endif
#ifndef UFFD_FEATURE_MOVE
#define UFFD_FEATURE_MOVE (1 << 16)
#endif

#define PAGES	96U
#define RW	(PROT_READ | PROT_WRITE)

/*
 * Pages of userfaultfd: a missing one gives SIGBUS (UFFD_FEATURE_SIGBUS), so the model stays exact without a second
 * thread.
 */
bool fault_user(struct worker *w)
{
	const unsigned int place = below(w, 3 * TABLE_PAGES);
	uint8_t *at = w->zone + 44 * GIGABYTE + place * PAGE, *from = w->zone + 46 * GIGABYTE;
	struct uffdio_api api = { .api = UFFD_API, .features = UFFD_FEATURE_SIGBUS };
	struct uffdio_register range = { .range = { (uintptr_t)at, PAGES * PAGE }, .mode = UFFDIO_REGISTER_MODE_MISSING };
	uint64_t tag[PAGES] = { 0 }, source = 0;
	bool there[PAGES] = { false };
	unsigned int rounds = 20 + below(w, 100), i;
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);

	if (fd < 0) {
		note(13, "no userfaultfd");
		return false;
	}
	say(w, "userfaultfd: %u pages at %p", PAGES, (void *)at);
	if (mmap(at, PAGES * PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED ||
	    mmap(from, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED ||
	    ioctl(fd, UFFDIO_API, &api) || ioctl(fd, UFFDIO_REGISTER, &range)) {
		note(14, "userfaultfd without UFFD_FEATURE_SIGBUS");
		munmap(at, PAGES * PAGE);
		munmap(from, PAGE);
		close(fd);
		return false;
	}
	while (rounds--) {
		uint8_t *page;

		i = below(w, PAGES);
		page = at + i * PAGE;
		switch (below(w, 6)) {
		case 0:
		case 1: {
			struct uffdio_copy copy = { .dst = (uintptr_t)page, .src = (uintptr_t)w->buffer, .len = PAGE };
			uint64_t new = new_tag(w);
			int ret;

			fill_page(w->buffer, new);
			ret = ioctl(fd, UFFDIO_COPY, &copy);
			if (!!ret != there[i] || (ret && errno != EEXIST))
				fail(w, "UFFDIO_COPY to %p, which is %sthere: %d, %s", (void *)page, there[i] ? "" : "not ", ret,
				     strerror(errno));
			if (!there[i])
				tag[i] = new;
			there[i] = true;
			break;
		}
		case 2: {
			struct uffdio_zeropage zero = { .range = { (uintptr_t)page, PAGE } };
			int ret = ioctl(fd, UFFDIO_ZEROPAGE, &zero);

			if (!!ret != there[i] || (ret && errno != EEXIST))
				fail(w, "UFFDIO_ZEROPAGE at %p: %d, %s", (void *)page, ret, strerror(errno));
			there[i] = true;
			break;
		}
		case 3: {
			struct uffdio_move move = { .dst = (uintptr_t)page, .src = (uintptr_t)from, .len = PAGE };

			if (there[i])
				break;
			source = new_tag(w);
			fill_page(from, source);
			if (ioctl(fd, UFFDIO_MOVE, &move)) {
				if (errno != EINVAL && errno != ENOTTY && errno != EBUSY && errno != EAGAIN)
					fail(w, "UFFDIO_MOVE to %p: %s", (void *)page, strerror(errno));
				break;
			}
			there[i] = true;
			tag[i] = source;
			want_page(w, from, 0, false, "what UFFDIO_MOVE has left");
			break;
		}
		case 4:
			if (madvise(page, PAGE, MADV_DONTNEED))
				fail(w, "madvise: %s", strerror(errno));
			there[i] = false;
			tag[i] = 0;
			break;
		case 5:
			if (there[i]) {
				tag[i] = new_tag(w);
				fill_page(page, tag[i]);
			} else if (pread(w->data, page, PAGE, 0) >= 0 || errno != EFAULT) {
				fail(w, "pread into page %p, which userfaultfd has not brought: %s", (void *)page, strerror(errno));
			}
			break;
		}
		if (there[i])
			want_page(w, page, tag[i], false, "a page of userfaultfd");
		else
			want_fault(w, page, SIGBUS, "a page that userfaultfd has not brought");
	}
	for (i = 0; i < PAGES; i++) {
		if (there[i])
			want_page(w, at + i * PAGE, tag[i], false, "a page of userfaultfd");
		else
			want_fault(w, at + i * PAGE, SIGBUS, "a page that userfaultfd has not brought");
	}
	/* Now missing pages are zero again. Closing is not enough: a child of another thread may have a copy of the fd. */
	if (ioctl(fd, UFFDIO_UNREGISTER, &range.range))
		fail(w, "UFFDIO_UNREGISTER: %s", strerror(errno));
	close(fd);
	for (i = 0; i < PAGES; i++)
		want_page(w, at + i * PAGE, tag[i], false, "a page after userfaultfd");
	munmap(at, PAGES * PAGE);
	munmap(from, PAGE);
	return true;
}

/* A mapping that grows downwards, by stores and by the kernel's copies */
bool fault_grow(struct worker *w)
{
	uint8_t *top = w->zone + 60 * GIGABYTE + below(w, 2 * TABLE_PAGES) * PAGE, *low = top - PAGE;
	unsigned int steps = 1 + below(w, 8), pages = 1, i;
	uint64_t tag[200] = { 0 };

	say(w, "a stack that ends at %p grows", (void *)top);
	if (mmap(low, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_GROWSDOWN, -1, 0) == MAP_FAILED)
		return false;
	while (steps--) {
		unsigned int n = 1 + below(w, 20);
		uint64_t new = new_tag(w);

		low -= n * PAGE;
		pages += n;
		fill_page(w->buffer, new);
		if (one_in(w, 2)) {
			fill_page(low, new);
		} else {
			if (pwrite(w->data, w->buffer, PAGE, 0) != PAGE)
				fail(w, "pwrite: %s", strerror(errno));
			if (pread(w->data, low, PAGE, 0) != PAGE)
				fail(w, "pread into page %p, to which a stack should grow: %s", (void *)low, strerror(errno));
		}
		tag[pages - 1] = new;
	}
	for (i = 0; i < pages; i++)
		want_page(w, top - (i + 1) * PAGE, tag[i], false, "in a stack that has grown");
	munmap(low, pages * PAGE);
	want_fault(w, low, SIGSEGV, "in a stack that is unmapped");
	want_fault(w, top - PAGE, SIGSEGV, "in a stack that is unmapped");
	return true;
}
