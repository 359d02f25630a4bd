// SPDX-License-Identifier: GPL-2.0-only
/*
 * Attacks on the kernel's copies to and from userspace. They only use system calls, and never
 * touch the stub.
 */
#include "hostile.h"

#include <linux/userfaultfd.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

/* ---- copy-rights: a copy by the kernel needs the rights and has the effect of a user's access */

#define COPY_PAGES	16

static size_t wrong_copies;

/* Adds a wrong result to the verdict's text. */
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

/* Pages that are writable but clean: reclaim drops their contents. */
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

/* The kernel clears half of each page, for a hole of a file. The other half shows whether the page was lost. */
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
		/* reclaim may have dropped the page before the read */
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

/* The kernel must not read for a process what the process may not read. */
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

/* Reads of write-only memory succeed always, as on x86, or never. */
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

/* ---- pfn-cow: device memory, which the kernel copies with the page table lock held */

#define FRAME_BITS	55	/* of an entry of /proc/PID/pagemap */

static uint64_t frame_of(const void *page)
{
	uint64_t entry = 0;
	int fd = open("/proc/self/pagemap", O_RDONLY);

	if (fd < 0 || pread(fd, &entry, sizeof(entry), (off_t)((uintptr_t)page / PAGE * 8)) != 8 ||
	    !(entry << (64 - FRAME_BITS)))
		conclude(SKIPPED, "/proc/self/pagemap does not tell where a page is");
	close(fd);
	return entry & ((1UL << FRAME_BITS) - 1);
}

static int open_memory(void)
{
	const char *tmp = getenv("TMPDIR");
	char path[PATH_MAX];
	int fd;

	snprintf(path, sizeof(path), "%s/mem", tmp ? tmp : "/tmp");
	if (mknod(path, S_IFCHR | 0600, makedev(1, 1)) && errno != EEXIST)
		conclude(INCONCLUSIVE, "mknod: %s", strerror(errno));
	fd = open(path, O_RDWR);
	if (fd < 0)
		conclude(SKIPPED, "/dev/mem: %s", strerror(errno));
	return fd;
}

static void write_to_copy(void *arg)
{
	unsigned char *page = arg;
	size_t i;

	page[1] = 'w';
	for (i = 0; i < PAGE; i++)
		if (page[i] != (i == 1 ? 'w' : 'd'))
			_exit(1);
}

void pfn_cow(void)
{
	char *own = (char *)reserve(PAGE), *page;
	int fd = open_memory();

	memset(own, 'd', PAGE);
	if (mlock(own, PAGE))
		conclude(INCONCLUSIVE, "mlock: %s", strerror(errno));
	page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd,
		    (off_t)(frame_of(own) * PAGE));
	if (page == MAP_FAILED || page[0] != 'd')
		conclude(SKIPPED, "a page of /dev/mem cannot be mapped");
	step("writing to a child's copy of a page of /dev/mem");
	if (in_child(write_to_copy, page))
		conclude(BREACHED, "a child's copy of a page of /dev/mem is not what the page was");
	if (own[1] != 'd')
		conclude(BREACHED, "a child wrote to /dev/mem itself instead of a copy");
	conclude(BLOCKED, "a child wrote to its copy of a page of /dev/mem, and to nothing else");
}

/* ---- poison-panic, fault-signal: userfaultfd */

/* As in newer kernels' linux/userfaultfd.h */
#define FEATURE_POISON	(1UL << 14)
struct poison {
	struct uffdio_range range;
	uint64_t mode;
	int64_t updated;
};
#define POISON		_IOWR(UFFDIO, 0x08, struct poison)

/* A page whose faults go to a userfaultfd, which nobody answers. */
static char *watched_page(int *fd, uint64_t features)
{
	struct uffdio_api api = { .api = UFFD_API, .features = features };
	struct uffdio_register range = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	char *page = (char *)reserve(PAGE);

	*fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	if (*fd < 0)
		conclude(SKIPPED, "userfaultfd: %s", strerror(errno));
	if (ioctl(*fd, UFFDIO_API, &api))
		conclude(SKIPPED, "this kernel's userfaultfd cannot do that");
	range.range.start = (uintptr_t)page;
	range.range.len = PAGE;
	if (ioctl(*fd, UFFDIO_REGISTER, &range))
		conclude(INCONCLUSIVE, "UFFDIO_REGISTER: %s", strerror(errno));
	return page;
}

void poison_panic(void)
{
	struct sigaction sa = { .sa_handler = probe_fault };
	struct poison poison = { .mode = 0 };
	int fd, ends[2];
	char *page = watched_page(&fd, FEATURE_POISON);

	poison.range.start = (uintptr_t)page;
	poison.range.len = PAGE;
	if (ioctl(fd, POISON, &poison) || pipe(ends))
		conclude(INCONCLUSIVE, "UFFDIO_POISON or pipe: %s", strerror(errno));
	sigaction(SIGBUS, &sa, NULL);
	step("having the kernel read a poisoned page");
	if (write(ends[1], page, 1) != -1)
		conclude(BREACHED, "write() read a poisoned page");
	step("reading a poisoned page");
	if (readable((uintptr_t)page))
		conclude(BREACHED, "read a poisoned page");
	conclude(BLOCKED, "a poisoned page cannot be read, and the process lives");
}

#define SIGNAL_SECONDS	3

static void tell_and_exit(int sig)
{
	(void)sig;
	shared->back = true;
	_exit(0);
}

void fault_signal(void)
{
	double end;
	pid_t pid;
	int fd;

	step("waiting for a page that nobody brings, and for a signal");
	pid = fork();
	if (pid < 0)
		conclude(INCONCLUSIVE, "fork: %s", strerror(errno));
	if (pid == 0) {
		char *page = watched_page(&fd, 0);

		signal(SIGALRM, tell_and_exit);
		alarm(1);
		*(volatile char *)page = 1;
		_exit(1);
	}
	for (end = own_time() + SIGNAL_SECONDS; !shared->back && !shared->kind && own_time() < end;)
		usleep(10000);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	if (shared->kind)
		_exit(0);
	if (!shared->back)
		conclude(BREACHED, "a process that waits for a page got no SIGALRM in %d s",
			 SIGNAL_SECONDS);
	conclude(BLOCKED, "a process that waited for a page got its SIGALRM");
}
