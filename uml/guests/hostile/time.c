// SPDX-License-Identifier: GPL-2.0-only
/*
 * Attacks on time
 */
#include "hostile.h"

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
