// SPDX-License-Identifier: GPL-2.0-only
/*
 * crosscalls ROUNDS: all kinds of events that CPUs send each other, first one kind at a time, then all at once.
 *
 * Alone, the two sides of a hand-over sleep in turns, and no timer of theirs runs. So if the interrupt that ends a sleep is
 * lost, only the kernel's rare timers end it, and the rounds take very long. The caller must limit the time.
 */

#include <errno.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CHECK(that) do { if (!(that)) fail(#that, __LINE__); } while (0)

static int cpus, rounds;

static void fail(const char *what, int line)
{
	printf("crosscalls: FAILED, line %d: %s (errno %d)\n", line, what, errno);
	fflush(stdout);
	_exit(1);
}

static void pin_task(pid_t task, int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu % cpus, &set);
	CHECK(sched_setaffinity(task, sizeof(set), &set) == 0);
}

/* Not the vDSO's */
static int this_cpu(void)
{
	unsigned int cpu;

	CHECK(syscall(SYS_getcpu, &cpu, NULL, NULL) == 0);
	return cpu;
}

static void pin(int cpu)
{
	pin_task(0, cpu);
	CHECK(this_cpu() == cpu % cpus);
}

static void *shared_page(void)
{
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	CHECK(page != MAP_FAILED);
	return page;
}

static pid_t start(void (*what)(int), int cpu)
{
	pid_t pid = fork();

	CHECK(pid >= 0);
	if (pid == 0) {
		what(cpu);
		_exit(0);
	}
	return pid;
}

static void finish(pid_t pid)
{
	int status;

	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
}

/* ---- hand-overs between a CPU and the next one */

static void pipes(int cpu)
{
	int there[2], back[2], i;
	unsigned char byte;
	pid_t pid;

	CHECK(pipe(there) == 0 && pipe(back) == 0);
	pid = fork();
	CHECK(pid >= 0);
	pin(pid ? cpu : cpu + 1);
	for (i = 0; i < rounds; i++) {
		byte = i;
		if (pid) {
			CHECK(write(there[1], &byte, 1) == 1);
			CHECK(read(back[0], &byte, 1) == 1 && byte == (unsigned char)~i);
		} else {
			CHECK(read(there[0], &byte, 1) == 1 && byte == (unsigned char)i);
			byte = ~i;
			CHECK(write(back[1], &byte, 1) == 1);
		}
	}
	if (!pid)
		_exit(0);
	finish(pid);
}

static void futexes(int cpu)
{
	unsigned int *turn = shared_page(), mine, now;
	pid_t pid = fork();
	int i;

	CHECK(pid >= 0);
	pin(pid ? cpu : cpu + 1);
	mine = pid ? 0 : 1;
	for (i = 0; i < rounds; i++) {
		while ((now = __atomic_load_n(turn, __ATOMIC_ACQUIRE)) % 2 != mine)
			CHECK(syscall(SYS_futex, turn, FUTEX_WAIT, now, NULL, NULL, 0) == 0 || errno == EAGAIN);
		CHECK(now == 2U * i + mine);
		__atomic_store_n(turn, now + 1, __ATOMIC_RELEASE);
		CHECK(syscall(SYS_futex, turn, FUTEX_WAKE, 1, NULL, NULL, 0) >= 0);
	}
	if (!pid)
		_exit(0);
	finish(pid);
}

/* Signals to a process that sleeps, and its answers */
static void signals(int cpu)
{
	union sigval value;
	siginfo_t info;
	pid_t pid, peer;
	sigset_t set;
	int i;

	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN);
	CHECK(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
	peer = getpid();
	pid = fork();
	CHECK(pid >= 0);
	pin(pid ? cpu : cpu + 1);
	if (pid)
		peer = pid;
	for (i = 0; i < rounds; i++) {
		value.sival_int = i;
		if (pid)
			CHECK(sigqueue(peer, SIGRTMIN, value) == 0);
		CHECK(sigwaitinfo(&set, &info) == SIGRTMIN && info.si_value.sival_int == i);
		if (!pid)
			CHECK(sigqueue(peer, SIGRTMIN, value) == 0);
	}
	if (!pid)
		_exit(0);
	finish(pid);
}

/* Signals to a process that computes: it is told by an interrupt alone */
static volatile sig_atomic_t told;

static void tell(int sig)
{
	(void)sig;
	told++;
}

static void kicks(int cpu)
{
	int there[2], i, n = rounds / 10 + 1;
	pid_t pid;
	char byte;

	CHECK(pipe(there) == 0);
	told = 0;
	CHECK(signal(SIGUSR1, tell) != SIG_ERR);
	pid = fork();
	CHECK(pid >= 0);
	pin(pid ? cpu : cpu + 1);
	for (i = 1; i <= n; i++) {
		if (pid) {
			CHECK(read(there[0], &byte, 1) == 1);
			CHECK(kill(pid, SIGUSR1) == 0);
		} else {
			CHECK(write(there[1], "", 1) == 1);
			while (told < i)
				;
		}
	}
	if (!pid)
		_exit(told != n);
	finish(pid);
}

/* A process goes round the CPUs by itself, and one that sleeps or computes is moved */
static void moves(int cpu)
{
	int i, n = rounds / 4 + 1;
	pid_t pid;

	for (i = 0; i < n; i++)
		pin(cpu + i);
	pid = fork();
	CHECK(pid >= 0);
	while (!pid)
		this_cpu();
	for (i = 0; i < n; i++)
		pin_task(pid, cpu + i);
	CHECK(kill(pid, SIGKILL) == 0 && waitpid(pid, NULL, 0) == pid);
}

/* One thread has the others' CPUs execute a barrier */
static volatile int barriers_end;

static void *executes(void *cpu)
{
	pin((long)cpu);
	while (!barriers_end)
		sched_yield();
	return NULL;
}

static void barriers(int cpu)
{
	static const int commands[] = { MEMBARRIER_CMD_PRIVATE_EXPEDITED, MEMBARRIER_CMD_GLOBAL_EXPEDITED };
	pthread_t thread[2];
	long i;

	CHECK(syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0);
	CHECK(syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED, 0, 0) == 0);
	pin(cpu);
	barriers_end = 0;
	for (i = 0; i < 2; i++)
		CHECK(pthread_create(&thread[i], NULL, executes, (void *)(cpu + 1 + i)) == 0);
	for (i = 0; i < rounds; i++)
		CHECK(syscall(SYS_membarrier, commands[i % 2], 0, 0) == 0);
	barriers_end = 1;
	for (i = 0; i < 2; i++)
		CHECK(pthread_join(thread[i], NULL) == 0);
}

/*
 * One thread takes a page away and gives it back, another one touches it. If the state is the same before and after the touch,
 * the page was there in state 0 of 4 and not there in state 2. In the others it is on the way.
 */
static char *page;
static volatile unsigned int state;
static volatile int touches_end;
static __thread sigjmp_buf fault;

static void faulted(int sig)
{
	(void)sig;
	siglongjmp(fault, 1);
}

static void next_state(void)
{
	__sync_synchronize();
	state++;
	__sync_synchronize();
}

static void *touches(void *cpu)
{
	unsigned int before;

	pin((long)cpu);
	while (!touches_end) {
		before = state;
		__sync_synchronize();
		if (sigsetjmp(fault, 1) == 0) {
			*(volatile char *)page = 1;
			__sync_synchronize();
			CHECK(before % 4 != 2 || state != before);
		} else {
			__sync_synchronize();
			CHECK(before % 4 != 0 || state != before);
		}
	}
	return NULL;
}

static void flushes(int cpu)
{
	pthread_t thread;
	int i;

	CHECK(signal(SIGSEGV, faulted) != SIG_ERR);
	page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(page != MAP_FAILED);
	state = 0;
	touches_end = 0;
	pin(cpu);
	CHECK(pthread_create(&thread, NULL, touches, (void *)(long)(cpu + 1)) == 0);
	for (i = 0; i < rounds; i++) {
		if (i % 2) {
			next_state();
			CHECK(mprotect(page, 4096, PROT_NONE) == 0);
			next_state();
			sched_yield();
			next_state();
			CHECK(mprotect(page, 4096, PROT_READ | PROT_WRITE) == 0);
			next_state();
		} else {
			CHECK(madvise(page, 4096, MADV_DONTNEED) == 0);
			CHECK(*(volatile char *)page <= 1);
		}
	}
	touches_end = 1;
	CHECK(pthread_join(thread, NULL) == 0);
	CHECK(signal(SIGSEGV, SIG_DFL) != SIG_ERR);
}

/* The kernel has a worker of each CPU do something, and waits for all */
static void workers(int cpu)
{
	FILE *file = fopen("/proc/sys/vm/stat_refresh", "w");
	int i;

	CHECK(file);
	pin(cpu);
	for (i = 0; i < rounds / 4 + 1; i++)
		CHECK(fputs("1\n", file) >= 0 && fflush(file) == 0);
	fclose(file);
}

/* Timers, which interrupt the others' handlers */
static void timers(int cpu)
{
	struct itimerval each = { { 0, 1000 }, { 0, 1000 } }, none = {};
	struct timespec nap = { 0, 100000 };
	int i;

	pin(cpu);
	CHECK(signal(SIGALRM, tell) != SIG_ERR);
	CHECK(setitimer(ITIMER_REAL, &each, NULL) == 0);
	for (i = 0; i < rounds / 4; i++)
		CHECK(nanosleep(&nap, NULL) == 0 || errno == EINTR);
	CHECK(setitimer(ITIMER_REAL, &none, NULL) == 0);
}

static const struct kind {
	const char *name;
	void (*run)(int cpu);
} kinds[] = {
	{ "pipes", pipes }, { "futexes", futexes }, { "signals", signals }, { "kicks", kicks }, { "moves", moves },
	{ "barriers", barriers }, { "flushes", flushes }, { "workers", workers }, { "timers", timers },
};

#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

int main(int argc, char **argv)
{
	const struct kind *k;
	pid_t pid[KINDS][64];
	int cpu;

	setvbuf(stdout, NULL, _IONBF, 0);
	cpus = sysconf(_SC_NPROCESSORS_ONLN);
	rounds = argc > 1 ? atoi(argv[1]) : 0;
	if (rounds < 1 || cpus < 2 || cpus > 64) {
		printf("usage: crosscalls ROUNDS, on 2 to 64 CPUs\n");
		return 2;
	}
	for (k = kinds; k < kinds + KINDS; k++) {
		for (cpu = 0; cpu < cpus; cpu++)
			finish(start(k->run, cpu));
		printf("crosscalls: %s\n", k->name);
	}
	for (k = kinds; k < kinds + KINDS; k++)
		for (cpu = 0; cpu < cpus; cpu++)
			pid[k - kinds][cpu] = start(k->run, cpu);
	for (k = kinds; k < kinds + KINDS; k++)
		for (cpu = 0; cpu < cpus; cpu++)
			finish(pid[k - kinds][cpu]);
	printf("crosscalls: passed\n");
	return 0;
}
