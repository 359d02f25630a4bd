// SPDX-License-Identifier: GPL-2.0-only
/*
 * work - honest work for a guest, with the same results on each kernel
 *
 *	work NAME	one of the jobs below; some have a file of their own
 *	work clock	milliseconds of a monotonic clock
 *
 * Each prints one line that is the same on every kernel, or says on stderr what
 * went wrong and exits with 1. WORK_DIVISOR=N: an Nth of the rounds.
 */
#include "work.h"

#include <err.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* A fixed sequence: each run does the same. */
static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static uint64_t mix(uint64_t hash, uint64_t value)
{
	return (hash ^ value) * 0x100000001b3ULL;
}

unsigned int portion(unsigned int rounds)
{
	const char *text = getenv("WORK_DIVISOR");
	int divisor = text ? atoi(text) : 1;

	return divisor > 1 ? (rounds + (unsigned int)divisor - 1) / (unsigned int)divisor : rounds;
}

/* Exit code of a child that runs @fn. */
static int run_child(int (*fn)(int), int arg)
{
	int status;
	pid_t pid = fork();

	if (pid < 0)
		err(1, "fork");
	if (pid == 0)
		_exit(fn(arg));
	if (waitpid(pid, &status, 0) != pid)
		err(1, "waitpid");
	if (!WIFEXITED(status))
		errx(1, "a child ended with status %#x", status);
	return WEXITSTATUS(status);
}

/* forks: many processes that write to copied memory, and many programs */

static unsigned char inherited[32 * PAGE];

static int change_copy(int n)
{
	size_t i;

	for (i = 0; i < sizeof(inherited); i += PAGE) {
		if (inherited[i] != 1)
			return 255;
		inherited[i] = (unsigned char)n;
	}
	return n % 250;
}

static int exec_self(int n)
{
	char number[16];

	snprintf(number, sizeof(number), "%d", n % 250);
	execl("/proc/self/exe", "work", "exit", number, (char *)NULL);
	return 255;
}

static void forks(void)
{
	int i, copies = (int)portion(600), programs = (int)portion(300);
	uint64_t hash = 0;

	memset(inherited, 1, sizeof(inherited));
	for (i = 0; i < copies; i++)
		hash = mix(hash, (uint64_t)run_child(change_copy, i));
	for (i = 0; i < programs; i++)
		hash = mix(hash, (uint64_t)run_child(exec_self, i));
	printf("%d forks, %d execs: %016llx\n", copies, programs, (unsigned long long)hash);
}

/* maps: mmap, mprotect, mremap and munmap, and checks of the contents */

#define MAPS	64

struct map {
	unsigned char *addr;
	size_t pages;
	unsigned char fill;
};

static void check_map(const struct map *m)
{
	size_t i;

	for (i = 0; i < m->pages; i++)
		if (m->addr[i * PAGE] != m->fill ||
		    m->addr[(i + 1) * PAGE - 1] != m->fill)
			errx(1, "a page of %p lost its contents", (void *)m->addr);
}

static void create_map(struct map *m, uint64_t random)
{
	m->pages = 1 + random % 32;
	m->fill = (unsigned char)(random >> 8);
	m->addr = mmap(NULL, m->pages * PAGE, PROT_READ | PROT_WRITE,
		       (m->fill & 1 ? MAP_SHARED : MAP_PRIVATE) |
		       MAP_ANONYMOUS, -1, 0);
	if (m->addr == MAP_FAILED)
		err(1, "mmap");
	memset(m->addr, m->fill, m->pages * PAGE);
}

static void destroy_map(struct map *m)
{
	check_map(m);
	if (munmap(m->addr, m->pages * PAGE))
		err(1, "munmap");
	m->addr = NULL;
}

static void protect_map(const struct map *m)
{
	if (mprotect(m->addr, m->pages * PAGE, PROT_READ))
		err(1, "mprotect");
	check_map(m);
	if (mprotect(m->addr, m->pages * PAGE, PROT_READ | PROT_WRITE))
		err(1, "mprotect");
	memset(m->addr, m->fill, m->pages * PAGE);
}

static void move_map(struct map *m)
{
	m->addr = mremap(m->addr, m->pages * PAGE, (m->pages + 1) * PAGE,
			 MREMAP_MAYMOVE);
	if (m->addr == MAP_FAILED)
		err(1, "mremap");
	memset(m->addr + m->pages * PAGE, m->fill, PAGE);
	m->pages++;
	check_map(m);
}

static void maps(void)
{
	static struct map map[MAPS];
	uint64_t state = 88172645463325252ULL, hash = 0;
	unsigned int i, changes = portion(6000);

	for (i = 0; i < changes; i++) {
		uint64_t random = next_random(&state);
		struct map *m = &map[random % MAPS];

		if (!m->addr)
			create_map(m, random >> 8);
		else if (random >> 60 < 6)
			protect_map(m);
		else if (random >> 60 < 8 && !(m->fill & 1))	/* private */
			move_map(m);
		else
			destroy_map(m);
		hash = mix(hash, m->addr ? m->pages << 8 | m->fill : 0);
	}
	printf("%u changes of the address space: %016llx\n", changes,
	       (unsigned long long)hash);
}

/* signals: queued ones in order, timers, and faults that a handler repairs */

static volatile sig_atomic_t ticks;
static uint64_t queued_hash;

static void on_queued(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	(void)context;
	queued_hash = mix(queued_hash, (uint64_t)info->si_value.sival_int);
}

static void on_tick(int sig)
{
	(void)sig;
	ticks++;
}

static void on_fault(int sig, siginfo_t *info, void *context)
{
	uintptr_t page = (uintptr_t)info->si_addr & ~(PAGE - 1);

	(void)sig;
	(void)context;
	if (mprotect((void *)page, PAGE, PROT_READ | PROT_WRITE))
		_exit(1);
}

static void handle(int sig, void (*handler)(int, siginfo_t *, void *))
{
	struct sigaction sa = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO };

	if (sigaction(sig, &sa, NULL))
		err(1, "sigaction");
}

static void queue_signals(int rounds)
{
	sigset_t set;
	int i, j;

	handle(SIGRTMIN, on_queued);
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN);
	for (i = 0; i < rounds; i++) {
		sigprocmask(SIG_BLOCK, &set, NULL);
		for (j = 0; j < 20; j++)
			if (sigqueue(getpid(), SIGRTMIN,
				     (union sigval){ .sival_int = i * 20 + j }))
				err(1, "sigqueue");
		sigprocmask(SIG_UNBLOCK, &set, NULL);
	}
}

static void count_ticks(int enough)
{
	struct itimerval every = { { 0, 10000 }, { 0, 10000 } }, never = { 0 };

	signal(SIGALRM, on_tick);
	setitimer(ITIMER_REAL, &every, NULL);
	while (ticks < enough)
		;	/* preempted at any instruction */
	setitimer(ITIMER_REAL, &never, NULL);
}

static void repair_faults(size_t pages)
{
	unsigned char *p = mmap(NULL, pages * PAGE, PROT_NONE,
				MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	size_t i;

	if (p == MAP_FAILED)
		err(1, "mmap");
	handle(SIGSEGV, on_fault);
	for (i = 0; i < pages; i++)
		*(volatile unsigned char *)(p + i * PAGE) = (unsigned char)i;
	signal(SIGSEGV, SIG_DFL);
	for (i = 0; i < pages; i++)
		queued_hash = mix(queued_hash, p[i * PAGE]);
	munmap(p, pages * PAGE);
}

static void signals(void)
{
	unsigned int rounds = portion(100), faults = portion(1000);

	queue_signals((int)rounds);
	count_ticks(20);
	repair_faults(faults);
	printf("%u queued signals, 20 ticks, %u faults: %016llx\n", 20 * rounds, faults,
	       (unsigned long long)queued_hash);
}

/* threads: a ring that passes a token, each adding to it */

#define THREADS		8
#define ROUNDS		500

static struct {
	pthread_mutex_t lock;
	pthread_cond_t turned;
	unsigned int turn;
	uint64_t token;
} ring = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0 };

static void *pass_token(void *arg)
{
	unsigned int me = (unsigned int)(uintptr_t)arg, i, rounds = portion(ROUNDS);

	for (i = 0; i < rounds; i++) {
		pthread_mutex_lock(&ring.lock);
		while (ring.turn != me)
			pthread_cond_wait(&ring.turned, &ring.lock);
		ring.token = mix(ring.token, me);
		ring.turn = (me + 1) % THREADS;
		pthread_cond_broadcast(&ring.turned);
		pthread_mutex_unlock(&ring.lock);
		/* memory of its own while others run in the same space */
		free(memset(malloc(64 * PAGE), (int)me, 64 * PAGE));
	}
	return NULL;
}

static void threads(void)
{
	pthread_t thread[THREADS];
	uintptr_t i;

	for (i = 0; i < THREADS; i++)
		if (pthread_create(&thread[i], NULL, pass_token, (void *)i))
			errx(1, "pthread_create");
	for (i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	printf("%d threads, %u rounds: %016llx\n", THREADS, portion(ROUNDS),
	       (unsigned long long)ring.token);
}

/* floats: registers that must survive while processes preempt each other */

struct vectors {
	uint8_t reg[16][32] __attribute__((aligned(32)));
	uint32_t mxcsr;
	uint16_t x87_control;
};

#define EACH_REG(op)							\
	op(0) op(1) op(2) op(3) op(4) op(5) op(6) op(7)			\
	op(8) op(9) op(10) op(11) op(12) op(13) op(14) op(15)
#define LOAD_XMM(n)	"movaps " #n "*32(%0), %%xmm" #n "\n\t"
#define STORE_XMM(n)	"movaps %%xmm" #n ", " #n "*32(%0)\n\t"
#define LOAD_YMM(n)	"vmovaps " #n "*32(%0), %%ymm" #n "\n\t"
#define STORE_YMM(n)	"vmovaps %%ymm" #n ", " #n "*32(%0)\n\t"
#define SPIN		"1: pause\n\tdec %1\n\tjnz 1b\n\t"
#define CLOBBERS	"xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5",	\
			"xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", \
			"xmm12", "xmm13", "xmm14", "xmm15", "memory", "cc"

/* Loads all registers, spins without a call, and stores them. */
static void keep_sse(struct vectors *v, uint64_t spins)
{
	asm volatile(EACH_REG(LOAD_XMM) SPIN EACH_REG(STORE_XMM)
		     : "+r" (v), "+r" (spins) : : CLOBBERS);
}

__attribute__((target("avx")))
static void keep_avx(struct vectors *v, uint64_t spins)
{
	asm volatile(EACH_REG(LOAD_YMM) SPIN EACH_REG(STORE_YMM) "vzeroupper"
		     : "+r" (v), "+r" (spins) : : CLOBBERS);
}

static void set_modes(const struct vectors *v)
{
	asm volatile("ldmxcsr %0\n\tfldcw %1"
		     : : "m" (v->mxcsr), "m" (v->x87_control));
}

static void get_modes(struct vectors *v)
{
	asm volatile("stmxcsr %0\n\tfnstcw %1"
		     : "=m" (v->mxcsr), "=m" (v->x87_control));
}

static int keep_floats(int n)
{
	struct vectors want, have;
	int i;

	for (i = 0; i < 20; i++) {
		memset(&want, 0, sizeof(want));
		memset(want.reg, n * 20 + i + 1, sizeof(want.reg));
		want.mxcsr = 0x1f80 | (uint32_t)(n & 3) << 13;
		want.x87_control = (uint16_t)(0x37f | (n & 3) << 10);
		have = want;
		set_modes(&want);
		if (__builtin_cpu_supports("avx"))
			keep_avx(&have, 200000);
		else
			keep_sse(&have, 200000);
		get_modes(&have);
		if (memcmp(&want, &have, sizeof(want)))
			return 1;
	}
	return 0;
}

/* Computes pi with both units: the rounding depends on their whole state. */
static int compute_pi(uint64_t *hash)
{
	long double x87 = 0;
	double sse = 0;
	int i;

	for (i = 2000000; i >= 0; i--) {
		x87 += (i & 1 ? -4.0L : 4.0L) / (2 * i + 1);
		sse += (i & 1 ? -4.0 : 4.0) / (2 * i + 1);
	}
	memcpy(hash, &sse, sizeof(*hash));
	*hash = mix(*hash, (uint64_t)(x87 * 1e18L));
	return 0;
}

static void floats(void)
{
	uint64_t hash;
	int i, status, bad = 0;

	for (i = 0; i < 4; i++)
		if (fork() == 0)
			_exit(keep_floats(i));
	compute_pi(&hash);
	for (i = 0; i < 4; i++)
		if (wait(&status) < 0 || status)
			bad++;
	if (bad)
		errx(1, "%d of 4 processes lost registers", bad);
	printf("registers of 4 processes kept, pi %016llx\n",
	       (unsigned long long)hash);
}

/* children: starts and ends processes one by one; the host counts fds meanwhile */

static int do_nothing(int arg)
{
	return arg;
}

static void children(void)
{
	int i;

	for (i = 0; i < 5000; i++)
		run_child(do_nothing, 0);
	printf("5000 processes made and ended\n");
}

static void clock_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	printf("%lld\n", (long long)ts.tv_sec * 1000 + ts.tv_nsec / 1000000);
}

static const struct {
	const char *name;
	void (*run)(void);
} jobs[] = {
	{ "forks", forks },
	{ "maps", maps },
	{ "signals", signals },
	{ "threads", threads },
	{ "floats", floats },
	{ "vectors", vectors },
	{ "steps", steps },
	{ "handlers", handlers },
	{ "bases", bases },
	{ "calls", calls_and_registers },
	{ "everycall", everycall },
	{ "children", children },
	{ "clock", clock_ms },
};

int main(int argc, char **argv)
{
	size_t i;

	if (argc == 3 && !strcmp(argv[1], "exit"))
		return atoi(argv[2]);
	for (i = 0; argc == 2 && i < ARRAY_SIZE(jobs); i++) {
		if (!strcmp(jobs[i].name, argv[1])) {
			jobs[i].run();
			return 0;
		}
	}
	fprintf(stderr, "usage: %s NAME, where NAME is one of", argv[0]);
	for (i = 0; i < ARRAY_SIZE(jobs); i++)
		fprintf(stderr, " %s", jobs[i].name);
	fprintf(stderr, "\n");
	return 2;
}
