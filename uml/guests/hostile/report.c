// SPDX-License-Identifier: GPL-2.0-only
/*
 * Stubs that report to the monitor through memory: finding the report and the
 * last signal frame, and forging one. After that the stub runs beside the monitor.
 */
#include "hostile.h"

struct report report;

asm("	.pushsection .text\n"
    "	.globl	mark_call, report_marks_back\n"
    "mark_call:\n"
    "	mov	%rsi, %rax\n"
    "	push	%r12\n"
    "	push	%r13\n"
    "	push	%r14\n"
    "	push	%r15\n"
    "	mov	0x00(%rdi), %r8\n"
    "	mov	0x08(%rdi), %r9\n"
    "	mov	0x10(%rdi), %r10\n"
    "	mov	0x18(%rdi), %r12\n"
    "	mov	0x20(%rdi), %r13\n"
    "	mov	0x28(%rdi), %r14\n"
    "	mov	0x30(%rdi), %r15\n"
    "	xor	%edi, %edi\n"
    "	xor	%esi, %esi\n"
    "	syscall\n"
    "report_marks_back:\n"
    "	pop	%r15\n"
    "	pop	%r14\n"
    "	pop	%r13\n"
    "	pop	%r12\n"
    "	ret\n"
    "	.popsection\n");

void make_marks(uint64_t mark[7])
{
	int i;

	for (i = 0; i < 7; i++)
		mark[i] = __rdtsc() << 8 | (uint64_t)i;
}

/* The order of registers in a signal frame: r8 to r15 come first. */
bool has_marks(const uint64_t *regs, const uint64_t mark[7])
{
	static const int reg[7] = { REG_R8, REG_R9, REG_R10, REG_R12, REG_R13,
				    REG_R14, REG_R15 };
	int i;

	for (i = 0; i < 7; i++)
		if (regs[reg[i]] != mark[i])
			return false;
	return true;
}

static bool find_frame(void)
{
	uint64_t mark[7];
	uintptr_t p;

	make_marks(mark);
	report_marks(mark);
	for (p = stub.data; p + sizeof(mcontext_t) <= stub.end; p += 8) {
		mcontext_t *m = (mcontext_t *)p;

		if (has_marks((uint64_t *)p, mark) &&
		    m->gregs[REG_RIP] == (greg_t)report_marks_back) {
			report.frame = m;
			return true;
		}
	}
	return false;
}

/* The two adjacent offsets of siginfo and mcontext, from some data page on. */
static bool find_offsets(void)
{
	uintptr_t mctx = (uintptr_t)report.frame, p, base;

	for (base = stub.data; base <= mctx; base += PAGE) {
		for (p = stub.data; p + 4 <= stub.end; p += 2) {
			uint16_t *pair = (uint16_t *)p;

			if (pair[0] == (uint16_t)(mctx + FRAME_SIGINFO - base) &&
			    pair[1] == (uint16_t)(mctx - base)) {
				report.stack = base;
				report.si_offset = &pair[0];
				report.mctx_offset = &pair[1];
				return true;
			}
		}
	}
	return false;
}

/*
 * The other fields stand right before the two offsets, and `err` and the
 * batch's length at the start of the data (struct stub_data).
 */
bool find_report(void)
{
	int tries = 0;

	/* a timer tick in between replaces the frame */
	while (!find_frame())
		if (++tries == 10)
			return false;
	if (!find_offsets())
		return false;
	report.signal = (volatile int32_t *)report.si_offset - 1;
	report.futex = (volatile uint32_t *)report.si_offset - 2;
	report.restart_wait = (volatile int16_t *)report.si_offset - 6;
	report.err = (volatile int64_t *)stub.data;
	report.length = (volatile int32_t *)(stub.data + 8);
	if (*report.futex != 0)
		conclude(INCONCLUSIVE, "unknown layout of the stub's data");
	return true;
}

void need_report(void)
{
	if (!find_report())
		conclude(BLOCKED, "no report in the stub's data");
}

/*
 * No genuine report may replace the forged one. So find the site and touch all that
 * the call needs now, by a call that fails because the word is 0.
 */
void prepare_forgery(void)
{
	host_call(SYS_futex, (long)report.futex, FUTEX_WAIT, 1);
}

/* Reports the frame to the monitor, and runs on. */
void forge_report(int sig)
{
	*report.signal = sig;
	__atomic_store_n(report.futex, 1, __ATOMIC_SEQ_CST);
	host_call(SYS_futex, (long)report.futex, FUTEX_WAKE, 1);
}

/* Sleeps until the monitor resumes "the stub", as the stub would. */
void await_resume(void)
{
	while (__atomic_load_n(report.futex, __ATOMIC_SEQ_CST) == 1)
		host_call(SYS_futex, (long)report.futex, FUTEX_WAIT, 1);
}
