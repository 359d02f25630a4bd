// SPDX-License-Identifier: GPL-2.0-only
/*
 * Attacks on time
 */
#include "hostile.h"

#include <sys/time.h>

#define STUBBORN_SECONDS	10

uint64_t ticks_per_second(void)
{
	double start = now(), end;
	uint64_t tsc = __rdtsc();

	do
		end = now();
	while (end < start + 0.2);
	return (uint64_t)((double)(__rdtsc() - tsc) / (end - start));
}

static uint64_t spin_ticks;

/* The time until now without gaps, in which the host has run something else. */
static uint64_t spent_since(uint64_t *last)
{
	uint64_t t = __rdtsc(), spent = t - *last;

	*last = t;
	return spent < 100000 ? spent : 0;
}

/* Makes a frame for fn with SIGALRM blocked in the host. Returns the site of rt_sigreturn. */
static uintptr_t block_alarm(ucontext_t *uc, void (*fn)(void))
{
	uintptr_t site = sigreturn_site();

	spin_ticks = STUBBORN_SECONDS * ticks_per_second();
	make_frame(uc, (uintptr_t)fn, HOST_SIGALRM);
	return site;
}

/*
 * Runs with SIGALRM blocked in the host, and makes no guest call until the end.
 */
static void spin(void)
{
	uint64_t spent = 0, last = __rdtsc();

	while (spent < spin_ticks) {
		_mm_pause();
		spent += spent_since(&last);
	}
	shared->kind = BREACHED;
	_exit(0);
}

/* Runs fn as the step `doing`. If nobody ends it, the verdict is BREACHED with `done`. */
static void go_on(void (*fn)(void), const char *doing, const char *done)
{
	ucontext_t uc;
	uintptr_t site = block_alarm(&uc, fn);

	step("%s with the host's SIGALRM blocked", doing);
	describe("blocked the host's SIGALRM%s for %d s: no preemption, no SIGKILL", done,
		 STUBBORN_SECONDS);
	host_sigreturn(site, &uc);
}

void alarm_spin(void)
{
	go_on(spin, "spinning", ", ran");
}

void alarm_sleep(void)
{
	uintptr_t sigreturn, futex;
	ucontext_t uc;
	greg_t *regs = uc.uc_mcontext.gregs;

	need_report();
	sigreturn = sigreturn_site();
	futex = site_for(SYS_futex);
	make_frame(&uc, futex, HOST_SIGALRM);
	regs[REG_RAX] = SYS_futex;
	regs[REG_RDI] = (greg_t)report.futex;
	regs[REG_RSI] = FUTEX_WAIT;
	step("sleeping with the host's SIGALRM blocked");
	host_sigreturn(sigreturn, &uc);
}

/* Touches a new page each time. */
static void fault_on(void)
{
	uint64_t spent = 0, last = __rdtsc();
	const size_t size = 64 * PAGE;
	uintptr_t page = 0, end = 0;

	while (spent < spin_ticks) {
		if (page == end) {
			if (end)
				munmap((void *)(end - size), size);
			page = reserve(size);
			end = page + size;
		}
		*(volatile char *)page = 1;
		/* not the next page: that fault may have mapped it ahead */
		page += 2 * PAGE;
		spent += spent_since(&last);
	}
	shared->kind = BREACHED;
	_exit(0);
}

/* Each fault enters the kernel, which has to take the CPU away then. */
void alarm_fault(void)
{
	go_on(fault_on, "faulting", " and faulted");
}

/* The kernel has to stop it when it enters the kernel. */
void alarm_stop(void)
{
	ucontext_t uc;
	uintptr_t site = block_alarm(&uc, spin);
	pid_t me = getpid(), pid;
	int i;

	pid = fork();
	if (pid == 0) {
		for (i = 0; i < 40; i++) {
			usleep(50000);
			kill(me, i % 2 ? SIGCONT : SIGSTOP);
		}
		kill(me, SIGCONT);
		_exit(0);
	}
	step("spinning with the host's SIGALRM blocked, under SIGSTOP");
	describe("blocked the host's SIGALRM, ran for %d s: no stop, no SIGKILL",
		 STUBBORN_SECONDS);
	host_sigreturn(site, &uc);
}

/* ---- parks that say the ticket of the resume before: the monitor takes them for answered already, and answers again */

#define AGAIN_STACK	(4 * PAGE)

static struct host_call again;

/* Whatever parks meanwhile says the old ticket, too, so the kernel hears of nothing: no tick, no call. */
static void park_for_ever(void)
{
	uint64_t spent = 0, last = __rdtsc();

	while (spent < spin_ticks) {
		prefill(control.back, 0, &again);
		host_call_raw(&again);
		spent += spent_since(&last);
	}
	shared->kind = BREACHED;
	_exit(0);
}

static void ready_to_park(void)
{
	static const long none[6];

	if (find_report() || !find_control())
		conclude(SKIPPED, "this stub does not park");
	if (!find_park() || !park.ticket)
		conclude(INCONCLUSIVE, "the park was not found");
	spin_ticks = STUBBORN_SECONDS * ticks_per_second();
	make_park_frame((uintptr_t)landing);
	prepare_call(&again, park.site, park.nr, none);
	again.arg[0] = SIGSYS;
	again.arg[1] = (uint64_t)park_siginfo();
	again.arg[2] = (uint64_t)park.frame;
}

/* The next resume goes on in @fn, unless the kernel writes it. */
static void go_on_parking(void (*fn)(void))
{
	char *stack = (char *)reserve(AGAIN_STACK);

	memset(stack, 0, AGAIN_STACK);
	prefill(control.back, 0, &again);
	control.iret[0] = (uint64_t)fn;
	control.iret[3] = (uint64_t)(stack + AGAIN_STACK - 8);
	again.arg[3] = --*park.ticket;
}

void park_again(void)
{
	ready_to_park();
	step("parking again and again with the ticket of an answered park");
	describe("parked for %d s with the ticket of an answered park: no preemption", STUBBORN_SECONDS);
	go_on_parking(park_for_ever);
	park_for_ever();
}

static void take_alarm(int sig)
{
	(void)sig;
}

/* The kernel is waiting for the registers, and takes this process for stopped: it may have given its pages to others. */
static void run_while_fetched(void)
{
	shared->kind = BREACHED;
	park_for_ever();
}

/*
 * The kernel asks a stub for its registers when a call is interrupted. The stub parks by the handler, with the ticket that is
 * in its data. With the last but one it is answered again, and would go on in code of its own.
 */
void fetch_again(void)
{
	const struct itimerval soon = { .it_value = { .tv_usec = 100000 } };
	const struct timespec long_time = { 3600, 0 };

	unsigned int i;

	ready_to_park();
	/* A call that traps has left its registers: there is no fetch, and this process may run until it parks. */
	for (i = 0; call_traps(); i++)
		if (i == 20)
			conclude(SKIPPED, "this stub has no calls that leave registers in it");
	signal(SIGALRM, take_alarm);
	step("leaving the last but one ticket to a kernel that asks for registers");
	describe("ran while the kernel took it for stopped, and asked for its registers");
	setitimer(ITIMER_REAL, &soon, NULL);
	go_on_parking(run_while_fetched);
	syscall(SYS_nanosleep, &long_time, NULL);
	conclude(BLOCKED, "the kernel has its registers, and nothing ran before");
}
