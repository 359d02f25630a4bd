// SPDX-License-Identifier: GPL-2.0-only
/*
 * scattered - an honest program that needs more mappings than the host allows
 *
 *	scattered sweep PAGES		writes and reads single pages with gaps between
 *	scattered change PAGES		the same, and fork, mprotect and madvise of them
 *	scattered alias MIB TIMES	a shared file of MIB, mapped TIMES times
 *	scattered once ROUNDS		instructions that need several pages at once,
 *					in two threads that use many other pages between
 *
 * Prints one line, with the number of wrong pages, and how long it took.
 */
#define _GNU_SOURCE
#include <err.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE	4096UL
/* The distance of two used pages: no two are neighbours */
#define STRIDE	(2 * PAGE)

static char *map(size_t size, int prot, int flags, int fd)
{
	char *m = mmap(NULL, size, prot, flags, fd, 0);

	if (m == MAP_FAILED)
		err(1, "mmap");
	return m;
}

static char *map_anonymous(size_t size)
{
	return map(size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);
}

static void fill(char *m, unsigned long pages, unsigned long base)
{
	for (unsigned long i = 0; i < pages; i++)
		*(volatile unsigned long *)(m + i * STRIDE) = base + i;
}

static unsigned long check(char *m, unsigned long pages, unsigned long base)
{
	unsigned long wrong = 0;

	for (unsigned long i = 0; i < pages; i++)
		wrong += *(volatile unsigned long *)(m + i * STRIDE) != base + i;
	return wrong;
}

static unsigned long sweep(unsigned long pages)
{
	char *m = map_anonymous(pages * STRIDE);

	fill(m, pages, 1);
	return check(m, pages, 1);
}

/* Returns 0 if the child has found no wrong page */
static unsigned long wait_child(pid_t pid)
{
	int status;

	if (pid < 0)
		err(1, "fork");
	if (waitpid(pid, &status, 0) != pid)
		err(1, "waitpid");
	return status != 0;
}

static unsigned long change(unsigned long pages)
{
	char *m = map_anonymous(pages * STRIDE);
	unsigned long wrong = 0, i;
	uint64_t random = 88172645463325252ULL;
	pid_t pid;

	fill(m, pages, 1);

	/* As a database that forks to save its memory */
	pid = fork();
	if (pid == 0) {
		wrong = check(m, pages, 1);
		fill(m, pages, 5);
		_exit(wrong + check(m, pages, 5) != 0);
	}
	/* Write to every second page while the child reads */
	for (i = 0; i < pages; i += 2)
		*(volatile unsigned long *)(m + i * STRIDE) += 1000;
	wrong += wait_child(pid);
	for (i = 0; i < pages; i++)
		wrong += *(volatile unsigned long *)(m + i * STRIDE) != i + 1 + (i % 2 ? 0 : 1000);

	/* Drop write permission and give it back, for all pages at once and for single ones */
	fill(m, pages, 7);
	if (mprotect(m, pages * STRIDE, PROT_READ))
		err(1, "mprotect");
	wrong += check(m, pages, 7);
	for (i = 0; i < pages; i += 16)
		if (mprotect(m + i * STRIDE, PAGE, PROT_READ | PROT_WRITE))
			err(1, "mprotect");
	for (i = 0; i < pages; i += 16)
		*(volatile unsigned long *)(m + i * STRIDE) = i + 7;
	if (mprotect(m, pages * STRIDE, PROT_READ | PROT_WRITE))
		err(1, "mprotect");

	/* Dropped pages become zero, the pages between keep their contents */
	for (i = 0; i < pages; i += 8)
		if (madvise(m + i * STRIDE, PAGE, MADV_DONTNEED))
			err(1, "madvise");
	for (i = 0; i < pages; i++)
		wrong += *(volatile unsigned long *)(m + i * STRIDE) != (i % 8 ? i + 7 : 0);

	/* In a scattered order */
	fill(m, pages, 9);
	for (i = 0; i < pages; i++) {
		unsigned long at;

		random ^= random << 13;
		random ^= random >> 7;
		random ^= random << 17;
		at = random % pages;
		wrong += *(volatile unsigned long *)(m + at * STRIDE) != at + 9;
	}
	return wrong;
}

static unsigned long alias(unsigned long mib, unsigned long times)
{
	unsigned long pages = (mib << 20) / PAGE, wrong = 0;
	int fd = memfd_create("alias", 0);
	char **m = calloc(times, sizeof(*m));

	if (fd < 0 || ftruncate(fd, mib << 20) || !m)
		err(1, "a file of %lu MiB", mib);
	for (unsigned long t = 0; t < times; t++) {
		m[t] = map(mib << 20, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd);
		for (unsigned long i = 0; i < pages; i++) {
			volatile unsigned long *word = (void *)(m[t] + i * PAGE);

			wrong += *word != t;
			*word = t + 1;
		}
	}
	for (unsigned long i = 0; i < pages; i++)
		wrong += *(unsigned long *)(m[0] + i * PAGE) != times;
	return wrong;
}

/*
 * mov %rsp,%rdx; mov %rsi,%rsp; push (%rax); pop (%rdi); mov %rdx,%rsp; ret
 *
 * The instruction, its source, its destination and the stack can each cross a page's
 * end: an instruction then needs six pages at once.
 */
static const unsigned char code[] = {
	0x48, 0x89, 0xe2, 0x48, 0x89, 0xf4, 0xff, 0x30, 0x8f, 0x07, 0x48, 0x89, 0xd4, 0xc3,
};

static unsigned long rounds;

static void *once(void *result)
{
	const unsigned long others = 40;
	char *text = map(2 * PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	char *from = map_anonymous(2 * PAGE), *to = map_anonymous(2 * PAGE), *stack = map_anonymous(2 * PAGE);
	char *more = map_anonymous(others * STRIDE), *copy = map_anonymous(others * PAGE);
	unsigned long wrong = 0, len;
	char *src, *dst;

	/* So that the push crosses a page's end, and the pop in every second round */
	for (unsigned long i = 0; i < rounds; i++) {
		char *at = text + PAGE - (i % 2 ? 7 : 9);
		uint64_t value = i * 0x9e3779b97f4a7c15ULL + 1, *out = (void *)(to + PAGE - 3);

		memcpy(at, code, sizeof(code));
		fill(more, others, i);
		memcpy(from + PAGE - 4, &value, sizeof(value));
		wrong += check(more, others, i);
		/* Below the red zone */
		asm volatile("lea -128(%%rsp),%%rsp; call *%[at]; lea 128(%%rsp),%%rsp"
			     : : "a"(from + PAGE - 4), "D"(out), "S"(stack + PAGE + 4), [at] "r"(at)
			     : "rdx", "memory", "cc");
		wrong += memcmp(out, &value, sizeof(value)) != 0;

		/* A fault suspends it in the middle */
		src = more;
		dst = copy;
		len = others * PAGE;
		asm volatile("rep movsb" : "+S"(src), "+D"(dst), "+c"(len) : : "memory");
		wrong += *(unsigned long *)copy != i;
	}
	*(unsigned long *)result = wrong;
	return NULL;
}

static unsigned long twice(unsigned long n)
{
	unsigned long mine = 0, others = 0;
	pthread_t thread;

	rounds = n;
	if (pthread_create(&thread, NULL, once, &others))
		errx(1, "no thread");
	once(&mine);
	pthread_join(thread, NULL);
	return mine + others;
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	unsigned long n = argc > 2 ? strtoul(argv[2], NULL, 10) : 0, wrong;
	struct timespec start, end;

	clock_gettime(CLOCK_MONOTONIC, &start);
	if (n && strcmp(what, "sweep") == 0)
		wrong = sweep(n);
	else if (n && strcmp(what, "change") == 0)
		wrong = change(n);
	else if (n && argc > 3 && strcmp(what, "alias") == 0)
		wrong = alias(n, strtoul(argv[3], NULL, 10));
	else if (n && strcmp(what, "once") == 0)
		wrong = twice(n);
	else
		errx(2, "usage: scattered sweep|change|alias|once NUMBER [TIMES]");
	clock_gettime(CLOCK_MONOTONIC, &end);
	printf("scattered %s %lu: %lu wrong, %ld ms\n", what, n, wrong,
	       (end.tv_sec - start.tv_sec) * 1000 + (end.tv_nsec - start.tv_nsec) / 1000000);
	return wrong != 0;
}
