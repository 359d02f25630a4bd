// SPDX-License-Identifier: GPL-2.0-only
/*
 * Attacks by several processes, one per CPU where there are more
 */
#include "hostile.h"

#include <sys/ptrace.h>
#include <sys/user.h>

void run_on(long cpu)
{
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET((size_t)cpu, &cpus);
	sched_setaffinity(0, sizeof(cpus), &cpus);
}

/* ---- stale-page: no jump into the stub, just two CPUs */

#define STALE_TRIES	200
#define STALE_SECONDS	30	/* enough, even on a busy guest */

static volatile char *stale;

/* Reads without a system call or a fault: only a tick stops it, or the end of the page's mapping. */
static void stare(void)
{
	*stale = 1;
	shared->back = true;
	while (!shared->stop) {
		bool gone = __atomic_load_n(&shared->at, __ATOMIC_ACQUIRE);

		(void)*stale;
		shared->counter += gone;
		if (gone)
			scan_for_secret((uintptr_t)stale, PAGE);
	}
}

static void page_is_gone(int sig)
{
	(void)sig;
	_exit(0);
}

static int stare_beside(void *arg)
{
	signal(SIGBUS, page_is_gone);
	signal(SIGSEGV, page_is_gone);
	run_on(sysconf(_SC_NPROCESSORS_ONLN) - 1);
	(void)arg;
	stare();
	_exit(0);
}

/* Another process with a page of the same file, or a thread */
static pid_t start_staring(bool thread)
{
	static char stack[8 * PAGE] __attribute__((aligned(16)));
	pid_t pid = clone(stare_beside, stack + sizeof(stack),
			  SIGCHLD | (thread ? CLONE_VM : 0), NULL);

	if (pid < 0)
		conclude(INCONCLUSIVE, "clone: %s", strerror(errno));
	while (!shared->back && waitpid(pid, NULL, WNOHANG) == 0)
		sched_yield();
	return pid;
}

void stale_page(void)
{
	double end = own_time() + STALE_SECONDS;
	unsigned int i;
	bool thread;
	pid_t pid;
	int fd;

	run_on(0);
	for (i = 0; i < STALE_TRIES && !shared->claimed && own_time() < end; i++) {
		thread = i % 2;
		step("giving back page %u", i);
		shared->stop = shared->back = false;
		shared->at = 0;
		fd = memfd_create("page", 0);
		if (fd < 0 || ftruncate(fd, PAGE))
			conclude(INCONCLUSIVE, "memfd: %s", strerror(errno));
		stale = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (stale == MAP_FAILED)
			conclude(INCONCLUSIVE, "mmap: %s", strerror(errno));
		pid = start_staring(thread);
		if (ftruncate(fd, 0) || (thread && munmap((void *)stale, PAGE)))
			conclude(INCONCLUSIVE, "giving back: %s", strerror(errno));
		__atomic_store_n(&shared->at, 1, __ATOMIC_RELEASE);
		feed_victim();
		shared->stop = true;
		waitpid(pid, NULL, 0);
		if (!thread)
			munmap((void *)stale, PAGE);
		close(fd);
	}
	if (shared->counter)
		conclude(BREACHED, "read pages %lu times that had been given back%s", shared->counter,
			 shared->claimed ? ", and the victim's secret in one" : "");
	conclude(BLOCKED, "%u pages given back that another CPU read: it could not go on", i);
}

/* ---- copy-race: the kernel copies to pages that another thread drops */

#define COPY_SECONDS	4
#define COPY_SECONDS_FULL	60
#define COPY_PAGES	64

static char *target;	/* one thread lets the kernel write there */
static int source;

static int have_it_written(void *arg)
{
	(void)arg;
	run_on(sysconf(_SC_NPROCESSORS_ONLN) - 1);
	shared->back = true;
	while (!shared->stop)
		shared->counter += pread(source, target, COPY_PAGES * PAGE, 0) < 0;
	_exit(0);
}

/* Fills new pages, which are likely to be those that were just freed */
static unsigned int use_pages(char *pages, size_t size)
{
	unsigned int foreign = 0, look;
	size_t at;

	for (at = 0; at < size; at += PAGE)
		memset(pages + at, 'm', PAGE);
	for (look = 0; look < 2; look++) {
		for (at = 0; at < size; at += PAGE) {
			if (!memchr(pages + at, 's', PAGE))
				continue;
			foreign++;
			memset(pages + at, 'm', PAGE);
		}
	}
	madvise(pages, size, MADV_DONTNEED);
	return foreign;
}

void copy_race(void)
{
	static char stack[8 * PAGE] __attribute__((aligned(16)));
	static char text[COPY_PAGES * PAGE];
	char *own = (char *)reserve(sizeof(text));
	double end = own_time() + (getenv("HOSTILE_FULL") ? COPY_SECONDS_FULL : COPY_SECONDS);
	unsigned int foreign = 0, round = 0;
	pid_t pid;

	run_on(0);
	source = memfd_create("source", 0);
	memset(text, 's', sizeof(text));
	if (source < 0 || write(source, text, sizeof(text)) != sizeof(text))
		conclude(INCONCLUSIVE, "memfd: %s", strerror(errno));
	target = (char *)reserve(sizeof(text));
	pid = clone(have_it_written, stack + sizeof(stack), CLONE_VM | SIGCHLD, NULL);
	if (pid < 0)
		conclude(INCONCLUSIVE, "clone: %s", strerror(errno));
	while (!shared->back)
		sched_yield();
	step("giving back what is copied to");
	for (; own_time() < end && !foreign; round++) {
		madvise(target, sizeof(text), MADV_DONTNEED);
		if (round % 8 == 0)
			foreign = use_pages(own, sizeof(text));
	}
	shared->stop = true;
	waitpid(pid, NULL, 0);
	if (foreign)
		conclude(BREACHED, "the kernel wrote to %u pages that were somebody else's by then",
			 foreign);
	if (shared->counter)
		conclude(BREACHED, "%lu reads into the process's own memory failed", shared->counter);
	conclude(BLOCKED, "%u times pages were given back to which the kernel copied: all went well",
		 round);
}

/* ---- traced-death: a tracer suppresses the signal that ends a task without a stub */

#define RESUMES	20

/* Loses the stub, in each round in another way */
static void lose_stub(unsigned int round)
{
	static const long none[6];

	ptrace(PTRACE_TRACEME, 0, 0, 0);
	raise(SIGSTOP);
	if (round % 2)
		memset((void *)stub.data, 0xff, stub.end - stub.data);
	host_call_at(stub.site[round / 2 % stub.nsites], SYS_getpid, none);
	_exit(0);
}

void traced_death(void)
{
	unsigned int round, i, stops = 0;
	int status;
	pid_t pid;

	if (!find_report())
		find_control();
	for (round = 0; round < 2 * stub.nsites; round++) {
		step("taking back the signal of a process without a stub, round %u", round);
		pid = fork();
		if (pid == 0)
			lose_stub(round);
		for (i = 0; waitpid(pid, &status, 0) == pid && WIFSTOPPED(status); i++) {
			stops += WSTOPSIG(status) == SIGSEGV;
			ptrace(i < RESUMES ? PTRACE_CONT : PTRACE_KILL, pid, 0, 0);
		}
	}
	conclude(BLOCKED, "%u traced processes lost their stubs, %u signals were taken back", round,
		 stops);
}

/* ---- collude: one hijacks its stub all the time, the other interferes from another CPU */

#define COLLUDE_ROUNDS	400

static uintptr_t no_access;	/* where the hijacked one wants to map memory */
static size_t no_access_size;

static void look(void)
{
	struct sigaction old, sa = { .sa_handler = probe_fault };

	sigaction(SIGSEGV, &sa, &old);
	if (readable(no_access)) {
		scan_for_secret(no_access, no_access_size);
		set_verdict(BREACHED, "mapped what is not its own, the secret %sin it",
			    shared->claimed ? "" : "not ");
		_exit(0);
	}
	sigaction(SIGSEGV, &old, NULL);
}

/* Enters the kernel in all ways, and jumps to the stub's calls in between */
static void hijack(unsigned int round)
{
	const long map[6] = { (long)no_access, (long)no_access_size, PROT_READ,
			      MAP_SHARED | MAP_FIXED, 1, 0 };
	struct host_call call;
	volatile char *page;
	unsigned int i;

	run_on(sysconf(_SC_NPROCESSORS_ONLN) - 1);
	for (i = 0; !shared->stop; i++) {
		shared->at = i;
		page = (volatile char *)reserve(PAGE);
		*page = 1;
		munmap((void *)page, PAGE);
		/* one site in a round: mostly behind its instruction, every fourth time at it */
		prepare_call(&call, stub.site[round % stub.nsites] + (i % 4 ? 2 : 0), SYS_mmap, map);
		if (control.back)
			prefill(i & 1 ? control.with_fd : control.back, 0, &call);
		alarm_stretched(1);
		host_call_raw(&call);
		look();
	}
	_exit(0);
}

static void interfere(pid_t pid, unsigned int round)
{
	struct user_regs_struct regs;
	int status;

	switch (round % 4) {
	case 0:
		kill(pid, SIGSTOP);
		kill(pid, SIGCONT);
		break;
	case 1:
		if (ptrace(PTRACE_ATTACH, pid, 0, 0) || waitpid(pid, &status, 0) != pid ||
		    !WIFSTOPPED(status))
			return;
		/* as if it were in the middle of the stub's code */
		if (round & 8 && !ptrace(PTRACE_GETREGS, pid, 0, &regs)) {
			regs.rip = stub.site[round % stub.nsites];
			regs.rax = SYS_mmap;
			ptrace(PTRACE_SETREGS, pid, 0, &regs);
		}
		if (round & 4)
			ptrace(PTRACE_POKEDATA, pid, stub.data + round * 8 % PAGE, -1L);
		if (!ptrace(PTRACE_SINGLESTEP, pid, 0, 0))
			waitpid(pid, &status, 0);
		ptrace(PTRACE_DETACH, pid, 0, 0);
		break;
	case 2:
		kill(pid, SIGUSR1 + (int)(round & 8));
		break;
	default:
		kill(pid, SIGKILL);
		break;
	}
}

static bool gone(pid_t pid)
{
	siginfo_t info = { .si_pid = 0 };

	return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) || info.si_pid;
}

static void one_round(unsigned int round)
{
	const struct timespec some = { .tv_nsec = 20000 * (round % 50) };
	unsigned int i;
	pid_t pid;

	shared->stop = false;
	shared->at = 0;
	pid = fork();
	if (pid == 0)
		hijack(round);
	if (pid < 0)
		conclude(INCONCLUSIVE, "fork: %s", strerror(errno));
	while (!shared->at && !gone(pid))
		sched_yield();
	for (i = 0; i < 8 && !gone(pid); i++) {
		nanosleep(&some, NULL);
		interfere(pid, i == 7 ? 3 : (round + i) % 3 + 4 * (round & 7));
	}
	shared->stop = true;
	kill(pid, SIGKILL);
	while (waitpid(pid, NULL, 0) == pid)
		;
	shared->counter += shared->at;
}

void collude(void)
{
	unsigned int round;

	no_access_size = memory_size();
	no_access = reserve(no_access_size);
	mprotect((void *)no_access, no_access_size, PROT_NONE);
	if (!find_report())
		find_control();
	run_on(0);
	for (round = 0; round < COLLUDE_ROUNDS; round++) {
		step("interfering with a hijacked stub, round %u", round);
		one_round(round);
		if (shared->kind == BREACHED)
			_exit(0);
	}
	conclude(BLOCKED, "%u rounds of stopping, tracing and killing a hijacked stub, which came back %lu times",
		 round, shared->counter);
}

/* ---- fork-bomb: many at a time, each of which breaks its stub */

#define BOMB_DEPTH	6

static void bomb(void)
{
	const long map[6] = { (long)stub.code, PAGE, PROT_READ, MAP_SHARED | MAP_FIXED, 1, 0 };
	unsigned int depth = 0;
	int i = 0;

	while (depth < BOMB_DEPTH && i < 2) {
		i++;
		if (fork() == 0) {
			depth++;
			i = 0;
		}
	}
	limit_child();
	__atomic_fetch_add(&shared->counter, 1, __ATOMIC_RELAXED);
	host_call_at(stub.site[depth % stub.nsites], SYS_mmap, map);
	if (depth % 2)
		memset((void *)stub.data, 0x41, stub.end - stub.data);
	*(volatile char *)reserve(PAGE) = 1;
	_exit(0);
}

/* Counts up from 0 as an honest process. */
static void count_honestly(int to)
{
	uint64_t n;

	for (n = 0; !shared->stop; n++) {
		uint64_t *page = (uint64_t *)reserve(PAGE);

		*page = n;
		if (write(to, page, sizeof(n)) != sizeof(n))
			break;
		munmap(page, PAGE);
	}
	_exit(0);
}

void fork_bomb(void)
{
	uint64_t n, next = 0;
	double worst = 0, start = own_time(), last, t;
	unsigned int round;
	int ends[2];

	if (!find_report())
		find_control();
	/* all processes have the same address of it */
	shared->counter = 0;
	if (pipe(ends))
		conclude(INCONCLUSIVE, "pipe: %s", strerror(errno));
	if (fork() == 0)
		count_honestly(ends[1]);
	close(ends[1]);
	signal(SIGCHLD, SIG_IGN);	/* nobody waits for them */
	for (round = 0; round < 6; round++) {
		step("in a crowd of %d that breaks its stubs, round %u", 2 << BOMB_DEPTH, round);
		if (fork() == 0)
			bomb();
		last = now();
		for (t = last; t < last + 0.5; t = now()) {
			if (read(ends[0], &n, sizeof(n)) != sizeof(n) || n != next++)
				conclude(BREACHED, "an honest process beside it is lost, or its count is");
			if (now() - t > worst)
				worst = now() - t;
		}
	}
	shared->stop = true;
	/* In notify mode a stub that does not report runs for seconds: judge by the mean */
	conclude((double)next < own_time() - start ? BREACHED : BLOCKED,
		 "%lu processes broke their stubs, an honest one beside counted to %lu, the longest pause was %.0f ms",
		 shared->counter, next, worst * 1e3);
}
