// SPDX-License-Identifier: GPL-2.0-only
/*
 * ahead cases [NAME]	what page faults map, with /proc/sys/vm/fault_ahead as it is
 * ahead fill CGROUP	how many pages a process of that cgroup writes to before its limit ends it
 * ahead rss PROGRAM...	runs it, and prints the most memory that a process of it had, in KiB
 * ahead write MIB	writes to so much new memory
 *
 * A case fails if a fault maps what it should not: which pages are there is what mincore() says.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE	4096UL
#define PAGES	1024UL
#define RW	(PROT_READ | PROT_WRITE)

#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif

static unsigned int max;	/* pages a fault may map */
static const char *name;
static int bad;

#define want(condition, ...) do {			\
	if (!(condition)) {				\
		printf("# %s: ", name);			\
		printf(__VA_ARGS__);			\
		putchar('\n');				\
		bad++;					\
	}						\
} while (0)

static unsigned char *map(unsigned long pages)
{
	unsigned char *at = mmap(NULL, (pages + 2) * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	/* Nothing beside it that it could be merged with */
	if (at == MAP_FAILED || mprotect(at + PAGE, pages * PAGE, RW))
		err(1, "mmap");
	return at + PAGE;
}

static void unmap(unsigned char *at, unsigned long pages)
{
	munmap(at - PAGE, (pages + 2) * PAGE);
}

static bool there(unsigned char *at, unsigned long page)
{
	unsigned char vec;

	if (mincore(at + page * PAGE, PAGE, &vec))
		err(1, "mincore");
	return vec & 1;
}

static unsigned long present(unsigned char *at, unsigned long pages)
{
	static unsigned char vec[PAGES];
	unsigned long i, n = 0;

	if (mincore(at, pages * PAGE, vec))
		err(1, "mincore");
	for (i = 0; i < pages; i++)
		n += vec[i] & 1;
	return n;
}

static long faults(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return usage.ru_minflt;
}

static bool is(const unsigned char *page, unsigned char value)
{
	unsigned long i;

	for (i = 0; i < PAGE; i++) {
		if (page[i] != value)
			return false;
	}
	return true;
}

/* So that pages that are mapped next have had other content */
static void dirty_memory(void)
{
	unsigned char *at = map(4 * PAGES);

	memset(at, 0xa5, 4 * PAGES * PAGE);
	unmap(at, 4 * PAGES);
}

/* The most faults for so many pages one after the other, from the first one on: 1, 2, 4, 8 ... and less at each page table's end */
static long most_faults(unsigned long pages)
{
	unsigned int i = 0;

	if (max < 2)
		return pages;
	while (1U << (i + 1) <= max)
		i++;
	return i + pages / (1U << i) + 2 + (pages / 512 + 1) * (i + 1);
}

/* How many of the frames are next to that of the page before, in the same direction as the addresses */
static unsigned long neighbours(unsigned char *at, unsigned long pages)
{
	uint64_t entry, before = 0;
	unsigned long i, n = 0;
	int fd = open("/proc/self/pagemap", O_RDONLY);

	for (i = 0; i < pages; i++) {
		if (pread(fd, &entry, sizeof(entry), ((uintptr_t)at / PAGE + i) * sizeof(entry)) != sizeof(entry))
			err(1, "pagemap");
		entry &= (1ULL << 55) - 1;
		n += entry && entry == before + 1;
		before = entry;
	}
	close(fd);
	return n;
}

static void run(bool down)
{
	unsigned char *at = map(PAGES);
	unsigned long i, n, over = 0, most = 0, wrong = 0;
	long before;

	dirty_memory();
	for (i = 0; i < 200; i++) {
		unsigned char *page = at + (down ? PAGES - 1 - i : i) * PAGE;

		wrong += there(at, down ? PAGES - 1 - i : i) && !is(page, 0);
		page[1] = 1;
		n = present(at, PAGES);
		/* One page more for each that was written to, and less than the maximum */
		over += n > 2 * i + 1 || n - i > (max > 1 ? max : 1);
		if (n > i + 1 && n - i - 1 > most)
			most = n - i - 1;
	}
	want(!wrong, "%lu pages are not zero", wrong);
	want(!over, "too many pages after %lu writes", over);
	want(max < 4 || most >= max / 2, "at most %lu pages ahead", most);
	unmap(at, PAGES);

	at = map(PAGES);
	before = faults();
	for (i = 0; i < PAGES; i++)
		at[(down ? PAGES - 1 - i : i) * PAGE] = 1;
	n = faults() - before;
	want(n <= (unsigned long)most_faults(PAGES) + 2, "%lu faults for %lu pages", n, PAGES);
	want(max > 1 || n >= PAGES, "only %lu faults for %lu pages", n, PAGES);
	n = neighbours(at, PAGES);
	want(max < 4 || n >= PAGES / 2, "%lu of %lu frames follow each other", n, PAGES);
	unmap(at, PAGES);
}

static void upwards(void)
{
	run(false);
}

static void downwards(void)
{
	run(true);
}

/* Pages that no two of which are neighbours, in no order */
static void scattered(void)
{
	unsigned char *at = map(PAGES);
	unsigned long i, n = 0, wrong = 0;

	/* 389 has no divisor in common with 512 */
	for (i = 0; i < PAGES / 2; i++) {
		at[(i * 389 % (PAGES / 2)) * 2 * PAGE] = 1;
		n++;
		wrong += i % 16 == 0 && present(at, PAGES) != n;
	}
	want(!wrong, "pages that nobody has written to");
	for (i = 0; i < PAGES; i++)
		wrong += there(at, i) != !(i % 2);
	want(!wrong, "%lu pages that nobody has written to", wrong);
	unmap(at, PAGES);
}

/* Each second page, one after the other */
static void strides(void)
{
	unsigned char *at = map(PAGES);
	unsigned long i;

	for (i = 0; i < PAGES; i += 2)
		at[i * PAGE] = 1;
	want(present(at, PAGES) == PAGES / 2, "%lu pages are there", present(at, PAGES));
	unmap(at, PAGES);
}

/* A run ends where something else follows */
static void stops(void)
{
	unsigned char *at = map(PAGES);
	unsigned long i, n;

	for (i = 0; i < 100; i++)
		at[i * PAGE] = 1;
	n = present(at, PAGES);
	at[500 * PAGE] = 1;
	want(present(at, PAGES) == n + 1, "a page elsewhere takes %lu pages", present(at, PAGES) - n);
	at[501 * PAGE] = 1;
	want(present(at, PAGES) <= n + 3, "a new run begins with %lu pages", present(at, PAGES) - n);
	unmap(at, PAGES);
}

/* Neighbouring VMAs: other rights, other flags, nothing; and pages that are there already */
static void borders(void)
{
	unsigned char *at = map(PAGES);
	unsigned long i, wrong = 0;

	if (mprotect(at + 50 * PAGE, 50 * PAGE, PROT_READ) || madvise(at + 150 * PAGE, 50 * PAGE, MADV_DONTFORK) ||
	    munmap(at + 250 * PAGE, 50 * PAGE))
		err(1, "borders");
	for (i = 0; i < 49; i++)
		at[i * PAGE] = 1;
	at[49 * PAGE] = 1;
	want(present(at + 50 * PAGE, 50) == 0, "read-only memory is mapped");
	for (i = 100; i < 150; i++)
		at[i * PAGE] = 1;
	want(present(at + 150 * PAGE, 50) == 0, "memory of another VMA is mapped");
	for (i = 249; i >= 200; i--)
		at[i * PAGE] = 1;
	want(present(at + 150 * PAGE, 50) == 0, "memory of another VMA below is mapped");
	for (i = 300; i < 340; i++) {
		at[i * PAGE] = 1;
		if (i == 310)
			memset(at + 345 * PAGE, 7, 2 * PAGE);
	}
	for (i = 340; i < 350; i++) {
		bool old = i == 345 || i == 346;

		wrong += !is(at + i * PAGE, old ? 7 : 0);
	}
	want(!wrong, "%lu pages beside one that was there are wrong", wrong);
	munmap(at - PAGE, (PAGES + 2) * PAGE);
}

/* Memory of which one gets what one touches */
static void exact(void)
{
	unsigned char *at = map(PAGES);
	unsigned long i;

	if (syscall(SYS_mlock2, at, 100 * PAGE, 1 /* MLOCK_ONFAULT */))
		err(1, "mlock2");
	for (i = 0; i < 50; i++)
		at[i * PAGE] = 1;
	want(present(at, 100) == 50, "%lu of 50 pages of locked memory", present(at, 100));

	if (madvise(at + 200 * PAGE, 100 * PAGE, MADV_RANDOM))
		err(1, "MADV_RANDOM");
	for (i = 200; i < 250; i++)
		at[i * PAGE] = 1;
	want(present(at + 200 * PAGE, 100) == 50, "%lu of 50 pages with MADV_RANDOM", present(at + 200 * PAGE, 100));
	unmap(at, PAGES);

	at = mmap(NULL, 100 * PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	for (i = 0; i < 50; i++)
		at[i * PAGE] = 1;
	want(present(at, 100) == 50, "%lu of 50 pages of shared memory", present(at, 100));
	munmap(at, 100 * PAGE);
}

static sigjmp_buf fault_jump;

static void on_bus(int sig)
{
	siglongjmp(fault_jump, sig);
}

/* What userfaultfd brings comes from there only */
static void user_faults(void)
{
	struct uffdio_api api = { .api = UFFD_API, .features = UFFD_FEATURE_SIGBUS };
	struct uffdio_register range = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	unsigned char *at = map(PAGES), *from = map(1);
	struct uffdio_copy copy = { .src = (uintptr_t)from, .len = PAGE };
	volatile unsigned long i, buses = 0;
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);

	range.range.start = (uintptr_t)at;
	range.range.len = PAGES * PAGE;
	memset(from, 3, PAGE);
	if (fd < 0 || ioctl(fd, UFFDIO_API, &api) || ioctl(fd, UFFDIO_REGISTER, &range)) {
		printf("# no userfaultfd\n");
		return;
	}
	signal(SIGBUS, on_bus);
	for (i = 0; i < 60; i++) {
		if (sigsetjmp(fault_jump, 1) == 0) {
			at[i * PAGE] = 1;
		} else {
			buses++;
			copy.dst = (uintptr_t)at + i * PAGE;
			if (ioctl(fd, UFFDIO_COPY, &copy))
				err(1, "UFFDIO_COPY");
			at[i * PAGE] = 1;
		}
	}
	signal(SIGBUS, SIG_DFL);
	want(buses == 60, "%lu of 60 pages came from userfaultfd", buses);
	want(present(at, PAGES) == 60, "%lu pages are there", present(at, PAGES));
	close(fd);
	unmap(at, PAGES);
	unmap(from, 1);
}

/* Pages that are given back are zero when they come again */
static void given_back(void)
{
	unsigned char *at = map(PAGES);
	unsigned long i, round, wrong = 0;

	for (round = 0; round < 5; round++) {
		for (i = 0; i < PAGES; i++) {
			wrong += there(at, i) && !is(at + i * PAGE, 0);
			memset(at + i * PAGE, 0x11 * (round + 1), PAGE);
		}
		if (madvise(at, PAGES * PAGE, MADV_DONTNEED))
			err(1, "MADV_DONTNEED");
		want(present(at, PAGES) == 0, "pages are left");
	}
	want(!wrong, "%lu pages have old content", wrong);
	unmap(at, PAGES);
}

/* Parent and child have copies, also of what was mapped ahead and what is written afterwards */
static void forks(void)
{
	unsigned char *at = map(PAGES);
	unsigned long i, wrong = 0;
	int status;
	pid_t pid;

	for (i = 0; i < 100; i++)
		memset(at + i * PAGE, 1, PAGE);
	pid = fork();
	if (pid == 0) {
		for (i = 0; i < 300; i++) {
			wrong += !is(at + i * PAGE, i < 100);
			memset(at + i * PAGE, 2, PAGE);
		}
		for (i = 0; i < 300; i++)
			wrong += !is(at + i * PAGE, 2);
		_exit(!!wrong);
	}
	for (i = 50; i < 200; i++) {
		wrong += !is(at + i * PAGE, i < 100);
		memset(at + i * PAGE, 3, PAGE);
	}
	waitpid(pid, &status, 0);
	want(status == 0, "the child has found other content");
	for (i = 0; i < PAGES; i++)
		wrong += !is(at + i * PAGE, i < 50 ? 1 : i < 200 ? 3 : 0);
	want(!wrong, "%lu pages of the parent are wrong", wrong);
	unmap(at, PAGES);
}

/* What the kernel writes to */
static void copies(void)
{
	unsigned char *at = map(PAGES);
	int fd = open("/dev/zero", O_RDONLY);

	if (fd < 0 || read(fd, at, 101 * PAGE) != 101 * PAGE)
		err(1, "/dev/zero");
	want(present(at, PAGES) >= 101 && present(at, PAGES) < 101 + (max ? max : 1),
	     "%lu pages after a read of 101", present(at, PAGES));
	close(fd);
	unmap(at, PAGES);
}

/* Threads have runs of their own */
#define THREADS 4UL
static unsigned char *shared;

static void *writes(void *arg)
{
	unsigned long i, n = (uintptr_t)arg;

	for (i = 0; i < PAGES / 2; i++) {
		shared[(n * PAGES + i) * PAGE]++;
		/* And one that they share: each page is written to by all */
		shared[(THREADS * PAGES + i) * PAGE + n]++;
		sched_yield();
	}
	return NULL;
}

static void threads(void)
{
	pthread_t thread[THREADS];
	unsigned long i, k, n, wrong = 0;
	long before;

	shared = map((THREADS + 1) * PAGES);
	for (i = 0; i < THREADS; i++) {
		if (pthread_create(&thread[i], NULL, writes, (void *)i))
			errx(1, "pthread_create");
	}
	before = faults();
	for (i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	n = faults() - before;
	for (i = 0; i < THREADS; i++) {
		/* Before a read maps the others */
		k = present(shared + i * PAGES * PAGE, PAGES);
		want(k < PAGES / 2 + (max ? max : 1), "thread %lu has %lu pages for %lu", i, k, PAGES / 2);
		for (k = 0; k < PAGES; k++)
			wrong += shared[(i * PAGES + k) * PAGE] != (k < PAGES / 2);
		for (k = 0; k < PAGES; k++)
			wrong += shared[(THREADS * PAGES + k) * PAGE + i] != (k < PAGES / 2);
	}
	want(!wrong, "%lu pages have lost a write", wrong);
	want(max < 8 || n < THREADS * PAGES / 4, "%lu faults of %lu threads", n, THREADS);
	unmap(shared, (THREADS + 1) * PAGES);
}

/* The stack grows by what is touched */
static void __attribute__((noinline)) recurse(unsigned int depth)
{
	volatile unsigned char frame[PAGE];

	frame[0] = depth;
	if (depth)
		recurse(depth - 1);
	frame[1] = frame[0];
}

static void stack(void)
{
	unsigned long start = 0, end = 0, low;
	char line[256];
	FILE *maps;

	recurse(600);
	low = (uintptr_t)__builtin_frame_address(0) - 601 * (PAGE + 64);
	maps = fopen("/proc/self/maps", "r");
	while (maps && fgets(line, sizeof(line), maps)) {
		if (strstr(line, "[stack]"))
			sscanf(line, "%lx-%lx", &start, &end);
	}
	if (maps)
		fclose(maps);
	want(start && start + 64 * PAGE > low, "the stack begins at %lx, and %lx was touched", start, low);
}

static const struct {
	const char *name;
	void (*run)(void);
} cases[] = {
	{ "upwards", upwards },
	{ "downwards", downwards },
	{ "scattered", scattered },
	{ "strides", strides },
	{ "stops", stops },
	{ "borders", borders },
	{ "exact", exact },
	{ "user-faults", user_faults },
	{ "given-back", given_back },
	{ "forks", forks },
	{ "copies", copies },
	{ "threads", threads },
	{ "stack", stack },
};

static int run_cases(const char *only)
{
	FILE *f = fopen("/proc/sys/vm/fault_ahead", "r");
	int failed = 0;
	size_t i;

	if (!f || fscanf(f, "%u", &max) != 1)
		errx(1, "no /proc/sys/vm/fault_ahead");
	fclose(f);
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		name = cases[i].name;
		if (only && strcmp(only, name))
			continue;
		bad = 0;
		cases[i].run();
		printf("case %u %s: %s\n", max, name, bad ? "FAILED" : "right");
		failed += !!bad;
	}
	return !!failed;
}

/* A process that writes until the limit of its cgroup ends it */
static int fill(const char *cgroup)
{
	volatile unsigned long *written = mmap(NULL, PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	char procs[256];
	int status;
	pid_t pid;

	snprintf(procs, sizeof(procs), "%s/cgroup.procs", cgroup);
	*written = 0;
	pid = fork();
	if (pid == 0) {
		unsigned char *at = map(16 * PAGES);
		FILE *f = fopen(procs, "w");

		if (!f || fprintf(f, "%d\n", getpid()) < 0 || fclose(f))
			err(1, "%s", procs);
		for (; *written < 16 * PAGES; ++*written)
			at[*written * PAGE] = 1;
		_exit(0);
	}
	waitpid(pid, &status, 0);
	if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
		errx(1, "the limit has not ended it: status %#x after %lu pages", status, *written);
	printf("filled %lu\n", *written);
	return 0;
}

static int rss(char **argv)
{
	struct rusage usage;
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		execvp(argv[0], argv);
		err(127, "%s", argv[0]);
	}
	if (waitpid(pid, &status, 0) != pid || status)
		errx(1, "%s ended with status %#x", argv[0], status);
	getrusage(RUSAGE_CHILDREN, &usage);
	printf("rss %ld faults %ld\n", usage.ru_maxrss, usage.ru_minflt);
	return 0;
}

static int write_memory(unsigned long mib)
{
	unsigned char *at = map(mib * 256);
	unsigned long i;

	for (i = 0; i < mib * 256; i++)
		at[i * PAGE] = 1;
	return 0;
}

int main(int argc, char **argv)
{
	if (argc > 1 && !strcmp(argv[1], "cases"))
		return run_cases(argv[2]);
	if (argc == 3 && !strcmp(argv[1], "fill"))
		return fill(argv[2]);
	if (argc > 2 && !strcmp(argv[1], "rss"))
		return rss(argv + 2);
	if (argc == 3 && !strcmp(argv[1], "write"))
		return write_memory(strtoul(argv[2], NULL, 0));
	errx(2, "usage: ahead cases | fill CGROUP | rss PROGRAM... | write MIB");
}
