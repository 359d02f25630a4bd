// SPDX-License-Identifier: GPL-2.0-only
/*
 * Attacks on the kernel by values in the stub's data
 */
#include "hostile.h"

static void nothing(int sig)
{
	(void)sig;
}

/*
 * Stubs that park leave no report in memory. If the kernel reads a value there
 * nevertheless, it reads this one, wherever it is.
 */
static void spray(uint64_t value)
{
	static const int ways = 60;
	uint64_t *word;
	int i;

	signal(SIGTRAP, nothing);
	for (i = 0; i < ways; i++) {
		step("leaving %#lx all over the stub's data", value);
		for (word = (uint64_t *)stub.data; word < (uint64_t *)stub.end; word++)
			*word = value;
		if (i % 3 == 0)
			asm volatile("int3");
		else if (i % 3 == 1)
			*(volatile char *)reserve(PAGE) = 1;
		if (getpid() <= 0)
			conclude(BREACHED, "a guest call has failed");
	}
	conclude(BLOCKED, "no report in the stub's data; %#lx all over it, %d times: of no effect",
		 value, ways);
}

/* A failed batch: the kernel prints the entry at that index. */
void forged_length(void)
{
	if (!find_report())
		spray(0x7fffffffffffffff);
	step("reporting an error at index 0x7fffffff");
	*report.err = -1;
	*report.length = 0x7fffffff;
	asm volatile("int3");
	conclude(BLOCKED, "the kernel did not look at err and length");
}

void forged_si_offset(void)
{
	if (!find_report())
		spray(0xffffffffffffffff);
	prepare_forgery();
	step("reporting siginfo at offset 0xffff");
	*report.si_offset = 0xffff;
	forge_report(SIGALRM);
	await_resume();
	conclude(BLOCKED, "the kernel did not look at the offset");
}

void restart_wait(void)
{
	if (!find_report())
		spray(0x0001000100010001);
	step("setting restart_wait");
	*report.restart_wait = 1;
	sigaltstack(NULL, NULL);	/* with a signal frame in every mode */
	conclude(BLOCKED, "a guest call went through with restart_wait set");
}

#define FPSTATE_SW		464	/* struct _fpx_sw_bytes in the fxsave area */
#define FP_XSTATE_MAGIC2	0x46505845U

/*
 * The stub runs on while the kernel serves its nanosleep. Then it sets the size
 * of its extended FP state to 0 bytes, with the magic number 4 bytes before that.
 */
static void shrink_fp_state(void *arg)
{
	static const struct timespec nap = { .tv_nsec = 300000000 };
	greg_t *regs = report.frame->gregs;
	uint32_t *fp, *call;
	uint64_t until;

	prepare_forgery();
	step("changing the size of its FP state during a guest call");
	fp = (uint32_t *)report.frame->fpregs;
	call = (uint32_t *)((uintptr_t)report.frame + FRAME_SIGINFO + SIGINFO_SYSCALL);
	*call = SYS_nanosleep;
	regs[REG_RDI] = (greg_t)&nap;
	regs[REG_RSI] = 0;
	forge_report(SIGSYS);
	until = __rdtsc() + *(uint64_t *)arg;
	while (__rdtsc() < until)	/* the kernel has read the frame by then */
		_mm_pause();
	fp[-1] = FP_XSTATE_MAGIC2;
	fp[FPSTATE_SW / 4 + 1] = 0;
	await_resume();
}

void forged_fp_size(void)
{
	uint64_t nap_half = ticks_per_second() * 15 / 100;
	int i, status = 0;

	if (!find_report())
		spray(0);
	(void)site_for(SYS_futex);
	/* a timer tick at the wrong moment overwrites the frame */
	for (i = 0; i < 5; i++)
		status = in_child(shrink_fp_state, &nap_half);
	conclude(BLOCKED, "the kernel did not use the changed size, wait status %#x",
		 status);
}

static char sibling_stack[4 * PAGE] __attribute__((aligned(16)));

static int report_positive_err(void *arg)
{
	(void)arg;
	*report.err = 0x40000000;
	*report.length = 0;
	asm volatile("int3");
	return 0;
}

/*
 * No jump into the stub: the positive error of a child with CLONE_VM becomes the
 * length of the parent's batch, which is an index into kernel memory.
 */
void clone_vm_err(void)
{
	int *status;
	pid_t pid;

	if (!find_report())
		spray(0x4000000040000000);
	status = (int *)reserve(PAGE);
	step("leaving a positive err to a process that shares the mm");
	pid = clone(report_positive_err, sibling_stack + sizeof(sibling_stack),
		    CLONE_VM | SIGCHLD, NULL);
	if (pid < 0)
		conclude(INCONCLUSIVE, "clone: %s", strerror(errno));
	/* the page for the status is new: the kernel has to queue an mmap */
	waitpid(pid, status, 0);
	munmap(status, PAGE);
	conclude(BLOCKED, "the parent's next mmap and munmap went well");
}
