// SPDX-License-Identifier: GPL-2.0-only
/*
 * Processes that begin with a copy of the arena, share it, or have nothing of it.
 */
#include "torture.h"

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define STACK	(128UL << 10)

/* Changes the child's model as fork() does */
static void inherit(struct worker *w)
{
	unsigned int i;

	for (i = 0; i < ARENA_PAGES; i++) {
		struct page *p = &w->page[i];

		if (p->flags & KEPT) {
			memset(p, 0, sizeof(*p));
		} else if (p->flags & WIPED) {
			p->tag = 0;
			p->flags &= OF_VMA;
		}
	}
}

/* The child unmaps the parent's files, and gets others. */
static void leave_files(struct worker *w)
{
	unsigned int i, n;

	for (i = 0; i < ARENA_PAGES; i += n) {
		for (n = 0; i + n < ARENA_PAGES &&
			    (w->page[i + n].kind == SHARED || w->page[i + n].kind == PRIVATE); n++)
			;
		if (n) {
			munmap(address(w, i), n * PAGE);
			forget(w, (struct range){ i, n });
		} else {
			n = 1;
		}
	}
	for (i = 0; i < FILES; i++)
		close(w->file[i].fd);
	close(w->data);
	close(w->pipe[0]);
	close(w->pipe[1]);
	worker_files(w);
}

static _Noreturn void live(struct worker *w, int ready)
{
	inherit(w);
	check_all(w);
	leave_files(w);
	if (one_in(w, 3)) {
		/* The arenas of the other threads, which the child does not have */
		if (w->thread)
			munmap((void *)ARENA_BASE, w->thread * ARENA_PAGES * PAGE);
		munmap(address(w, ARENA_PAGES), (MAX_THREADS - w->thread) * ARENA_PAGES * PAGE);
		check_one(w, 0);
		check_one(w, ARENA_PAGES - 1);
	}
	if (write(ready, "r", 1) != 1)
		_exit(1);
	run_some(w, below(w, 30));
	check_all(w);
	_exit(0);
}

/* Parent and child go on, and neither changes the other one's memory. */
bool family_fork(struct worker *w)
{
	int ready[2];
	pid_t pid;
	char c;

	if (pipe(ready))
		return false;
	say(w, "fork");
	pid = fork_worker(w);
	if (pid == 0)
		live(w, ready[1]);
	close(ready[1]);
	if (pid > 0) {
		/* The files do not change until the child has checked them. */
		if (read(ready[0], &c, 1) == 1) {
			w->borrowed = true;
			run_some(w, below(w, 20));
			w->borrowed = false;
		}
		reap(w, pid, "fork");
		check_all(w);
	}
	close(ready[0]);
	return pid > 0;
}

/* A new program: nothing of the old one's memory is there. */
bool family_exec(struct worker *w)
{
	int i = page_for(w, true);
	uint64_t tag = new_tag(w);
	char base[32], zone[32];
	volatile uint8_t *at;
	pid_t pid;

	if (i < 0 || over_budget(w, 1))
		return false;
	at = address(w, i);
	snprintf(base, sizeof(base), "%#lx", (unsigned long)w->base);
	snprintf(zone, sizeof(zone), "%#lx", (unsigned long)w->zone);
	say(w, "vfork, write to page %d, exec", i);
	pid = vfork();
	if (pid == 0) {
		/* The child has the parent's memory until exec */
		fill_page((void *)at, tag);
		execl(self_path, "torture", "--fresh", base, zone, (char *)NULL);
		_exit(9);
	}
	if (pid < 0)
		return false;
	wrote(w, &w->page[i], tag);
	check_one(w, i);
	reap(w, pid, "exec");
	return true;
}

static uint64_t never_written[64 * WORDS];

static void want_nothing(const uint8_t *at)
{
	uint64_t word = 0;

	if (probe_load(at, &word) == SIGSEGV)
		return;
	printf("torture: FAIL: a new program finds something at %p: %#llx\n", (const void *)at, (unsigned long long)word);
	fflush(stdout);
	_exit(1);
}

/* The new program checks: torture --fresh BASE ZONE */
int fresh(char **argv)
{
	const uint8_t *base = (void *)strtoul(argv[0], NULL, 0), *zone = (void *)strtoul(argv[1], NULL, 0);
	uint64_t *m;
	size_t i;

	catch_faults();
	for (i = 0; i < ARENA_PAGES; i += 7)
		want_nothing(base + i * PAGE);
	for (i = 0; i < 3 * TABLE_PAGES; i += 61) {
		want_nothing(zone + GIGABYTE - i * PAGE);
		want_nothing(zone + GIGABYTE + i * PAGE);
	}
	m = mmap((void *)base, sizeof(never_written), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	if (m == MAP_FAILED)
		return 0;
	for (i = 0; i < 64 * WORDS; i++) {
		if (!m[i] && !never_written[i])
			continue;
		printf("torture: FAIL: a new program's memory is not zero: %#llx at %p, %#llx at %p\n",
		       (unsigned long long)m[i], (void *)&m[i], (unsigned long long)never_written[i],
		       (void *)&never_written[i]);
		fflush(stdout);
		return 1;
	}
	want_nothing(base + sizeof(never_written));
	return 0;
}

/*
 * Unmaps all but the program and a stack far below in one call: stacks, the vdso, all tables of the upper half. The
 * process must run on, and be able to use the end of the address space.
 */
#define LOW	0x10000000000UL

static _Noreturn void end_bare(int status, const char *what, const void *at)
{
	char line[160];
	int n;

	if (status) {
		n = snprintf(line, sizeof(line), "torture: FAIL: all taken away: %s at %p\n", what, at);
		syscall(SYS_write, 1, line, n);
	}
	syscall(SYS_exit_group, status);
	__builtin_unreachable();
}

static int live_bare(void *arg)
{
	unsigned long end = 0, step;
	uint8_t *at, *again = arg;
	uint64_t word, i;

	/* Where the address space ends */
	for (step = 1UL << 46; step >= PAGE; step /= 2)
		if (syscall(SYS_munmap, end + step, PAGE) == 0)
			end += step;
	end += PAGE;
	if (syscall(SYS_munmap, 2 * LOW, end - 2 * LOW))
		end_bare(1, "munmap() of the upper half fails", NULL);
	if (probe_load(again, &word) != SIGSEGV)
		end_bare(1, "the old stack can be read", again);
	for (i = 0; i < 64; i++)
		if (probe_load((void *)(end - PAGE - i * 7 * PAGE), &word) != SIGSEGV)
			end_bare(1, "something can be read", (void *)(end - PAGE - i * 7 * PAGE));
	/* The last pages of it */
	at = (void *)(end - 3 * PAGE);
	for (i = 0; i < 2; i++) {
		if (syscall(SYS_mmap, at, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) !=
		    (long)at)
			break;
		if (probe_load(at + PAGE, &word) || word)
			end_bare(1, "a new page is not zero", at + PAGE);
		fill_page(at, 0x1234);
		fill_page(at + 2 * PAGE, 0x5678);
		if (((volatile uint64_t *)at)[0] != 0x1234 || ((volatile uint64_t *)(at + 2 * PAGE))[0] != 0x5678)
			end_bare(1, "a page does not keep what it has", at);
		if (syscall(SYS_munmap, 2 * LOW, end - 2 * LOW))
			end_bare(1, "munmap() fails", NULL);
		if (probe_load(at, &word) != SIGSEGV || probe_load(at + 2 * PAGE, &word) != SIGSEGV)
			end_bare(1, "an unmapped page can be read", at);
	}
	end_bare(0, "", NULL);
}

int bare(void)
{
	uint8_t here = 1, *stack = mmap((void *)LOW, STACK, PROT_READ | PROT_WRITE,
					MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);

	catch_faults();
	if (stack == MAP_FAILED || (uintptr_t)sbrk(0) > LOW)
		return 0;
	/* A thread, so that exit_group() ends both */
	if (clone(live_bare, stack + STACK, CLONE_VM | CLONE_SIGHAND | CLONE_THREAD | CLONE_FS | CLONE_FILES, &here) < 0)
		return 0;
	for (;;)
		pause();
}

bool family_bare(struct worker *w)
{
	pid_t pid;

	say(w, "exec, and all taken away");
	pid = vfork();
	if (pid == 0) {
		execl(self_path, "torture", "--bare", (char *)NULL);
		_exit(9);
	}
	if (pid < 0)
		return false;
	reap(w, pid, "all taken away");
	return true;
}

static int borrow(void *arg)
{
	struct worker *w = arg;

	w->borrowed = true;
	run_some(w, 1 + below(w, 12));
	w->borrowed = false;
	return 0;
}

/* Another task in the same mm, with a stack at a table's end */
bool family_clone(struct worker *w)
{
	uint8_t *at = w->zone + 40 * GIGABYTE + (one_in(w, 2) ? 0 : PAGE * below(w, 64)) - STACK, *stack;
	pid_t pid;

	stack = mmap(at, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	if (stack == MAP_FAILED)
		return false;
	say(w, "clone(CLONE_VM)");
	pid = clone(borrow, stack + STACK, CLONE_VM | SIGCHLD | (one_in(w, 2) ? CLONE_VFORK : 0), w);
	if (pid > 0) {
		reap(w, pid, "clone");
		if (w->borrowed)
			fail(w, "clone(CLONE_VM): the child has ended in the middle");
	}
	munmap(stack, STACK);
	want_fault(w, stack + STACK - PAGE, SIGSEGV, "the stack of a task that has ended");
	return pid > 0;
}
