// SPDX-License-Identifier: GPL-2.0-only
/*
 * audit-provoke WHAT FILE NUMBER: does once what a mutant of audit-mutants.py breaks
 *
 * FILE is the kernel's parameter that selects a mutant; NUMBER is there while WHAT is done. Then the program says
 * "ready" for the oracle, and sleeps. "flush" looks itself, since it needs a guest that runs. Nothing here is hostile:
 * on a correct kernel the oracle finds nothing.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/io_uring.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE	4096UL
#define TABLE	(2UL << 20)
#define AT	((char *)0x200000000000UL)

static void die(const char *text)
{
	perror(text);
	exit(2);
}

static const char *file, *number;

/* Selects the mutant, or none */
static void set_broken(bool broken)
{
	const char *text = broken ? number : "0";
	int fd;

	if (strcmp(number, "0") == 0)
		return;
	fd = open(file, O_WRONLY);
	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		die(file);
	close(fd);
}

static void ready(void)
{
	set_broken(false);
	puts("ready");
	fflush(stdout);
	for (;;)
		pause();
}

static char *map(char *at, size_t size, int more, int fd)
{
	char *p = mmap(at, size, PROT_READ | PROT_WRITE, MAP_FIXED | more, fd, 0);

	if (p == MAP_FAILED)
		die("mmap");
	return p;
}

static char *map_own(char *at, size_t size)
{
	return map(at, size, MAP_PRIVATE | MAP_ANONYMOUS, -1);
}

/* Sets many PTEs in one call: a child gets a copy of an io_uring's mapping, and reads it */
static void ring(void)
{
	struct io_uring_params params = { 0 };
	int fd = syscall(__NR_io_uring_setup, 4096, &params);
	size_t size = params.sq_entries * sizeof(struct io_uring_sqe);
	char *p;

	if (fd < 0)
		die("io_uring_setup");
	p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, IORING_OFF_SQES);
	if (p == MAP_FAILED)
		die("mmap");
	set_broken(true);
	if (fork() == 0) {
		for (size_t i = 0; i < size; i += PAGE)
			(void)*(volatile char *)(p + i);
		ready();
	}
	wait(NULL);
}

/* Frees a page table and makes a new one in one call */
static void remap(void)
{
	char *other = AT + 16 * TABLE;

	map_own(AT, TABLE);
	memset(AT, 'a', TABLE);
	map_own(other, TABLE);
	*other = 'b';
	set_broken(true);
	if (mremap(other, TABLE, TABLE, MREMAP_MAYMOVE | MREMAP_FIXED, AT) == MAP_FAILED)
		die("mremap");
	ready();
}

/* Writes pages, and makes them read-only */
static void protect(void)
{
	map_own(AT, 16 * PAGE);
	memset(AT, 'a', 16 * PAGE);
	set_broken(true);
	if (mprotect(AT, 16 * PAGE, PROT_READ))
		die("mprotect");
	ready();
}

static void unmap(void)
{
	map_own(AT, 64 * PAGE);
	memset(AT, 'a', 64 * PAGE);
	set_broken(true);
	if (munmap(AT + 16 * PAGE, 16 * PAGE))
		die("munmap");
	ready();
}

/* Ends many processes at once, whose stubs go to the pool */
static void pool(void)
{
	int go[2], filled[2];
	char c;

	if (pipe(go) || pipe(filled))
		die("pipe");
	for (int i = 0; i < 8; i++) {
		if (fork() == 0) {
			map_own(AT, 4 * PAGE);
			memset(AT, 'a', 4 * PAGE);
			close(go[1]);
			if (write(filled[1], "f", 1) != 1 || read(go[0], &c, 1) != 0)
				die("pipe");
			_exit(0);
		}
	}
	for (int i = 0; i < 8; i++)
		if (read(filled[0], &c, 1) != 1)
			die("pipe");
	close(go[1]);
	while (wait(NULL) > 0)
		;
	ready();
}

static void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		die("sched_setaffinity");
}

/* Does /proc/stubguard_audit report a process that runs with stale mappings? */
static bool is_caught(char *text, size_t size)
{
	int fd = open("/proc/stubguard_audit", O_RDONLY);
	size_t len = 0;
	ssize_t n;
	char *bad;

	if (fd < 0)
		die("/proc/stubguard_audit");
	while ((n = read(fd, text + len, size - 1 - len)) > 0)
		len += n;
	close(fd);
	text[len] = '\0';
	bad = strstr(text, "runs with what its page table has lost");
	if (!bad)
		return false;
	while (bad > text && bad[-1] != '\n')
		bad--;
	printf("audit: FAILED\naudit-wrong %.*s\n", (int)strcspn(bad, "\n"), bad);
	return true;
}

/* Cuts a file off while a process on another CPU uses its pages */
static void flush(void)
{
	const size_t size = 64 * PAGE, space = 4 << 20;
	char *text = map_own(AT + 16 * TABLE, space);
	volatile char *word;
	int fd = memfd_create("cut", 0);
	bool caught = false;

	memset(text, 0, space);
	if (fd < 0 || ftruncate(fd, size))
		die("memfd");
	map(AT, size, MAP_SHARED, fd);
	word = map(AT + TABLE, PAGE, MAP_SHARED | MAP_ANONYMOUS, -1);
	word[0] = word[1] = 0;
	if (fork() == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		pin(1);
		for (;;) {
			for (size_t i = 0; i < size; i += PAGE)
				(void)*(volatile char *)(AT + i);
			word[0]++;
			while (word[0] != word[1])
				;
		}
	}
	pin(0);
	set_broken(true);
	/* When the child has counted up to a number, it has seen that number and touched all pages */
	for (int i = 0; i < 100 && !caught; i++) {
		if (ftruncate(fd, size))
			die("ftruncate");
		if (i)
			word[1]++;
		while (word[0] != (char)(word[1] + 1))
			sched_yield();
		if (ftruncate(fd, 0))
			die("ftruncate");
		caught = is_caught(text, space);
	}
	set_broken(false);
	if (!caught)
		puts("audit: ok, no process runs with what its page table has lost");
	fflush(stdout);
}

static const struct {
	const char *name;
	void (*what)(void);
} things[] = {
	{ "ring", ring }, { "remap", remap }, { "protect", protect }, { "unmap", unmap }, { "pool", pool }, { "flush", flush },
};

int main(int argc, char **argv)
{
	if (argc == 4) {
		file = argv[2];
		number = argv[3];
	}
	for (size_t i = 0; argc == 4 && i < sizeof(things) / sizeof(things[0]); i++)
		if (strcmp(argv[1], things[i].name) == 0) {
			things[i].what();
			return 0;
		}
	fprintf(stderr, "usage: audit-provoke ring|remap|protect|unmap|pool|flush FILE NUMBER\n");
	return 2;
}
