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

/*
 * Runs with SIGALRM blocked in the host, and makes no guest call till the end.
 * Time in which the host runs something else shows as gaps and is not counted.
 */
static void spin(void)
{
	uint64_t spent = 0, last = __rdtsc(), t;

	while (spent < spin_ticks) {
		_mm_pause();
		t = __rdtsc();
		if (t - last < 100000)
			spent += t - last;
		last = t;
	}
	shared->kind = BREACHED;
	_exit(0);
}

void alarm_spin(void)
{
	uintptr_t site = sigreturn_site();
	ucontext_t uc;

	spin_ticks = STUBBORN_SECONDS * ticks_per_second();
	make_frame(&uc, (uintptr_t)spin, HOST_SIGALRM);
	step("spinning with the host's SIGALRM blocked");
	describe("blocked the host's SIGALRM, ran for %d s: no preemption, no SIGKILL",
		 STUBBORN_SECONDS);
	host_sigreturn(site, &uc);
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

/* A new page each time, of memory that need not be there. */
static void fault_on(void)
{
	uint64_t spent = 0, last = __rdtsc(), t;
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
		page += PAGE;
		t = __rdtsc();
		if (t - last < 100000)
			spent += t - last;
		last = t;
	}
	shared->kind = BREACHED;
	_exit(0);
}

/* Each fault comes into the kernel, which can take the CPU then: if it does. */
void alarm_fault(void)
{
	uintptr_t site = sigreturn_site();
	ucontext_t uc;

	spin_ticks = STUBBORN_SECONDS * ticks_per_second();
	make_frame(&uc, (uintptr_t)fault_on, HOST_SIGALRM);
	step("faulting with the host's SIGALRM blocked");
	describe("blocked the host's SIGALRM and faulted for %d s: no preemption, no SIGKILL",
		 STUBBORN_SECONDS);
	host_sigreturn(site, &uc);
}

/* It can only be stopped when it comes into the kernel. */
void alarm_stop(void)
{
	uintptr_t site = sigreturn_site();
	pid_t me = getpid(), pid;
	ucontext_t uc;
	int i;

	spin_ticks = STUBBORN_SECONDS * ticks_per_second();
	pid = fork();
	if (pid == 0) {
		for (i = 0; i < 40; i++) {
			usleep(50000);
			kill(me, i % 2 ? SIGCONT : SIGSTOP);
		}
		kill(me, SIGCONT);
		_exit(0);
	}
	make_frame(&uc, (uintptr_t)spin, HOST_SIGALRM);
	step("spinning with the host's SIGALRM blocked, under SIGSTOP");
	describe("blocked the host's SIGALRM, ran for %d s: no stop, no SIGKILL",
		 STUBBORN_SECONDS);
	host_sigreturn(site, &uc);
}
