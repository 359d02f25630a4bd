// SPDX-License-Identifier: GPL-2.0-only
/*
 * io_uring: rings of many pages, which are mapped and forked, and requests, which kernel threads handle in this
 * address space.
 */
#include "torture.h"

#include <errno.h>
#include <linux/io_uring.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ENTRIES	8U
#define HOLE	(MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE)

struct ring {
	uint8_t *sq, *cq;
	struct io_uring_sqe *sqe;
	struct io_uring_params p;
};

static int setup(unsigned int entries, struct io_uring_params *p)
{
	int fd;

	memset(p, 0, sizeof(*p));
	fd = syscall(__NR_io_uring_setup, entries, p);
	if (fd < 0)
		note(12, errno == ENOSYS ? "no io_uring" : "io_uring is refused");
	return fd;
}

static void *map(int fd, size_t size, off_t offset, int flags)
{
	return mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | flags, fd, offset);
}

static __thread struct ring mine;

static bool ring_open(struct worker *w)
{
	int fd;

	if (w->ring_fd >= 0)
		return true;
	if (w->ring_fd == -2)
		return false;
	w->ring_fd = -2;
	fd = setup(ENTRIES, &mine.p);
	if (fd < 0)
		return false;
	mine.sq = map(fd, mine.p.sq_off.array + mine.p.sq_entries * 4, IORING_OFF_SQ_RING, 0);
	mine.cq = map(fd, mine.p.cq_off.cqes + mine.p.cq_entries * sizeof(struct io_uring_cqe), IORING_OFF_CQ_RING, 0);
	mine.sqe = map(fd, mine.p.sq_entries * sizeof(struct io_uring_sqe), IORING_OFF_SQES, 0);
	if (mine.sq == MAP_FAILED || mine.cq == MAP_FAILED || mine.sqe == MAP_FAILED)
		return false;
	w->ring = &mine;
	w->ring_fd = fd;
	return true;
}

/* After a fork the ring is the parent's. */
void ring_forget(struct worker *w)
{
	if (w->ring_fd >= 0)
		close(w->ring_fd);
	if (w->ring_fd >= 0 && w->ring) {
		munmap(w->ring->sq, w->ring->p.sq_off.array + w->ring->p.sq_entries * 4);
		munmap(w->ring->cq, w->ring->p.cq_off.cqes + w->ring->p.cq_entries * sizeof(struct io_uring_cqe));
		munmap(w->ring->sqe, w->ring->p.sq_entries * sizeof(struct io_uring_sqe));
	}
	w->ring = NULL;
	w->ring_fd = -1;
}

#define FIELD(base, offset)	((uint32_t *)((base) + (offset)))

/* Makes requests one after the other, by one system call. False: there is no io_uring. */
bool ring_run(struct worker *w, const struct request *request, unsigned int n, int *result)
{
	uint32_t tail, mask, head, done = 0;
	struct ring *r;
	unsigned int i;
	long ret;

	if (w->borrowed || !ring_open(w))
		return false;
	r = w->ring;
	tail = *FIELD(r->sq, r->p.sq_off.tail);
	mask = *FIELD(r->sq, r->p.sq_off.ring_mask);
	for (i = 0; i < n; i++) {
		struct io_uring_sqe *sqe = &r->sqe[(tail + i) & mask];

		memset(sqe, 0, sizeof(*sqe));
		sqe->opcode = request[i].opcode;
		sqe->fd = request[i].fd;
		sqe->addr = (uintptr_t)request[i].at;
		sqe->len = request[i].len;
		sqe->off = request[i].offset;
		sqe->fadvise_advice = request[i].advice;
		sqe->user_data = i;
		if (i + 1 < n)
			sqe->flags = IOSQE_IO_LINK;
		else if (n == 1 && one_in(w, 2))
			sqe->flags = IOSQE_ASYNC;
		FIELD(r->sq, r->p.sq_off.array)[(tail + i) & mask] = (tail + i) & mask;
		result[i] = -ECANCELED;
	}
	__atomic_store_n(FIELD(r->sq, r->p.sq_off.tail), tail + n, __ATOMIC_RELEASE);
	do {
		ret = syscall(__NR_io_uring_enter, w->ring_fd, n, n, IORING_ENTER_GETEVENTS, NULL, 0);
	} while (ret < 0 && errno == EINTR);
	if (ret != (long)n)
		fail(w, "io_uring_enter: %ld, %s", ret, strerror(errno));
	head = *FIELD(r->cq, r->p.cq_off.head);
	mask = *FIELD(r->cq, r->p.cq_off.ring_mask);
	while (done < n) {
		struct io_uring_cqe *cqe;

		if (head == __atomic_load_n(FIELD(r->cq, r->p.cq_off.tail), __ATOMIC_ACQUIRE)) {
			ret = syscall(__NR_io_uring_enter, w->ring_fd, 0, 1, IORING_ENTER_GETEVENTS, NULL, 0);
			if (ret < 0 && errno != EINTR)
				fail(w, "io_uring_enter: %s", strerror(errno));
			continue;
		}
		cqe = (struct io_uring_cqe *)(r->cq + r->p.cq_off.cqes) + (head & mask);
		if (cqe->user_data >= n)
			fail(w, "io_uring: a completion of request %llu of %u", (unsigned long long)cqe->user_data, n);
		result[cqe->user_data] = cqe->res;
		head++;
		done++;
		__atomic_store_n(FIELD(r->cq, r->p.cq_off.head), head, __ATOMIC_RELEASE);
	}
	return true;
}

/* A child has the same pages of a ring. */
bool ring_fork(struct worker *w)
{
	static const unsigned int sizes[] = { 64, 256, 1024, 4096 };
	struct io_uring_params p;
	unsigned int entries = sizes[below(w, 4)], pages, i, cut, cut_pages;
	bool populated = one_in(w, 2), first = one_in(w, 2);
	uint64_t tag = new_tag(w), later = new_tag(w);
	uint8_t *at;
	pid_t pid;
	int fd;

	fd = setup(entries, &p);
	if (fd < 0)
		return false;
	pages = p.sq_entries * sizeof(struct io_uring_sqe) / PAGE;
	if (!pages)
		pages = 1;
	at = map(fd, pages * PAGE, IORING_OFF_SQES, populated ? MAP_POPULATE : 0);
	say(w, "a ring of %u pages%s, forked", pages, populated ? ", populated" : "");
	if (at == MAP_FAILED) {
		close(fd);
		return false;
	}
	/* A hole, so that the copied range begins anywhere */
	cut_pages = pages > 8 ? below(w, 4) : 0;
	cut = below(w, pages - cut_pages);
	if (cut_pages && mmap(at + cut * PAGE, cut_pages * PAGE, PROT_NONE, HOLE, -1, 0) == MAP_FAILED)
		fail(w, "mmap: %s", strerror(errno));
	for (i = 0; i < pages; i++)
		if (i < cut || i >= cut + cut_pages)
			fill_page(at + i * PAGE, tag + ((uint64_t)i << 16));
	pid = fork_worker(w);
	if (pid == 0) {
		for (i = 0; i < pages; i++) {
			if (i >= cut && i < cut + cut_pages) {
				want_fault(w, at + i * PAGE, SIGSEGV, "a hole in a ring, in the child");
				continue;
			}
			want_page(w, at + i * PAGE, tag + ((uint64_t)i << 16), false, "a ring's page in the child");
			if (first)
				fill_page(at + i * PAGE, later + ((uint64_t)i << 16));
		}
		_exit(0);
	}
	if (pid > 0)
		reap(w, pid, "a ring, forked");
	for (i = 0; i < pages; i++)
		if (i < cut || i >= cut + cut_pages)
			want_page(w, at + i * PAGE, (pid > 0 && first ? later : tag) + ((uint64_t)i << 16), false,
				  "a ring's page after the child");
	/* Not munmap(), as another thread may map something there */
	if (mmap(at, pages * PAGE, PROT_NONE, HOLE, -1, 0) == MAP_FAILED)
		fail(w, "mmap: %s", strerror(errno));
	close(fd);
	for (i = 0; i < pages; i++)
		want_fault(w, at + i * PAGE, SIGSEGV, "a ring's page that is mapped over");
	munmap(at, pages * PAGE);
	return pid > 0;
}

/* Requests that read into the arena and write from it, some by a kernel thread */
bool ring_read(struct worker *w)
{
	int to = page_for(w, true), from, result[2];
	struct request request[2];
	uint64_t tag;

	if (to < 0 || over_budget(w, 1))
		return false;
	say(w, "io_uring: read into page %d and write what is in it", to);
	tag = new_tag(w);
	fill_page(w->buffer, tag);
	if (pwrite(w->data, w->buffer, PAGE, 0) != PAGE)
		fail(w, "pwrite: %s", strerror(errno));
	request[0] = (struct request){ IORING_OP_READ, w->data, address(w, to), PAGE, 0, 0 };
	request[1] = (struct request){ IORING_OP_WRITE, w->data, address(w, to), PAGE, PAGE, 0 };
	if (!ring_run(w, request, 2, result))
		return false;
	if (result[0] != PAGE || result[1] != PAGE)
		fail(w, "io_uring: reading into page %p and writing it gives %d and %d", (void *)address(w, to),
		     result[0], result[1]);
	wrote(w, &w->page[to], tag);
	check_one(w, to);
	if (pread(w->data, w->buffer, PAGE, PAGE) != PAGE)
		fail(w, "pread: %s", strerror(errno));
	want_same(w, address(w, to), w->buffer, tag, false, "what io_uring has written");
	/* And one that must fail */
	for (from = 0; from < 32; from++) {
		unsigned int i = below(w, ARENA_PAGES);

		if (!fault_of(w, &w->page[i], true))
			continue;
		request[0].at = address(w, i);
		if (ring_run(w, request, 1, result) && result[0] != -EFAULT)
			fail(w, "io_uring: reading into page %p, which is not allowed, gives %d", request[0].at, result[0]);
		check_one(w, i);
		break;
	}
	return true;
}
