// SPDX-License-Identifier: GPL-2.0-only
/*
 * calls: the registers that a system call keeps, and what others see of a task in a call.
 */
#include "work.h"

#include <err.h>
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#define MARK(n)		(0x1122334400000000UL + (n))

/* The registers that the call must keep, in this order: rbx, rbp, r12-r15, and xmm0-3. */
struct kept {
	uint64_t reg[6];
	uint64_t xmm[8];
};

extern const char marked_back[];

/* r15's place of the result holds the stack pointer: without it we would not return. */
asm("	.pushsection .text\n"
    "	.globl marked_call, marked_back\n"
    "marked_call:\n"			/* nr, a, b, c, struct kept * */
    "	push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15; push %r8\n"
    "	mov 0(%r8), %rbx; mov 8(%r8), %rbp; mov 16(%r8), %r12\n"
    "	mov 24(%r8), %r13; mov 32(%r8), %r14; mov 40(%r8), %r15\n"
    "	movups 48(%r8), %xmm0; movups 64(%r8), %xmm1\n"
    "	movups 80(%r8), %xmm2; movups 96(%r8), %xmm3\n"
    "	mov %rdi, %rax; mov %rsi, %rdi; mov %rdx, %rsi; mov %rcx, %rdx\n"
    "	xor %r10d, %r10d; xor %r8d, %r8d; xor %r9d, %r9d\n"
    "	syscall\n"
    "marked_back:\n"
    "	pop %r8\n"
    "	mov %rbx, 0(%r8); mov %rbp, 8(%r8); mov %r12, 16(%r8)\n"
    "	mov %r13, 24(%r8); mov %r14, 32(%r8); mov %r15, 40(%r8)\n"
    "	movups %xmm0, 48(%r8); movups %xmm1, 64(%r8)\n"
    "	movups %xmm2, 80(%r8); movups %xmm3, 96(%r8)\n"
    "	pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
    "	ret\n"
    "	.popsection\n");

long marked_call(long nr, long a, long b, long c, struct kept *kept);

static unsigned long calls, lost, in_call;

static long call(long nr, long a, long b, long c)
{
	struct kept kept, want;
	unsigned int i;
	long ret;

	for (i = 0; i < 6; i++)
		kept.reg[i] = MARK(i);
	for (i = 0; i < 8; i++)
		kept.xmm[i] = MARK(100 + i) * (calls + 1);
	want = kept;
	ret = marked_call(nr, a, b, c, &kept);
	calls++;
	lost += memcmp(&kept, &want, sizeof(kept)) != 0;
	return ret;
}

/* If the signal interrupts the call, the handler must see the call's registers. */
static void on_alarm(int sig, siginfo_t *info, void *context)
{
	const greg_t *regs = ((ucontext_t *)context)->uc_mcontext.gregs;

	(void)sig;
	(void)info;
	asm volatile("pxor %%xmm0, %%xmm0; pcmpeqd %%xmm1, %%xmm1; pxor %%xmm2, %%xmm2"
		     : : : "xmm0", "xmm1", "xmm2");
	if (regs[REG_RIP] != (greg_t)marked_back && regs[REG_RIP] != (greg_t)marked_back - 2)
		return;
	in_call++;
	lost += (uint64_t)regs[REG_RBX] != MARK(0) || (uint64_t)regs[REG_RBP] != MARK(1) ||
		(uint64_t)regs[REG_R15] != MARK(5) ||
		regs[REG_RSP] - (greg_t)__builtin_frame_address(0) > (greg_t)(64 * PAGE) ||
		regs[REG_RSP] < (greg_t)__builtin_frame_address(0);
}

/* Calls that fail at once, or return what does not change. */
static void many(unsigned int rounds)
{
	static const long numbers[] = { SYS_getpid, SYS_read, SYS_write, SYS_lseek, SYS_close, SYS_fcntl,
					SYS_umask, SYS_sigaltstack, SYS_mprotect, SYS_futex, 335 + 100, 999 };
	long pid = getpid();
	unsigned int i;

	while (rounds-- > 0) {
		for (i = 0; i < ARRAY_SIZE(numbers); i++) {
			long ret = call(numbers[i], -1, 0, numbers[i] == SYS_futex ? -1 : 0);

			if (numbers[i] == SYS_getpid && ret != pid)
				errx(1, "getpid is %ld", ret);
			if (ret <= -512 && ret > -600)
				errx(1, "call %ld is to be restarted: %ld", numbers[i], ret);
		}
	}
}

static void under_a_timer(int flags)
{
	struct sigaction action = { .sa_sigaction = on_alarm, .sa_flags = SA_SIGINFO | flags };
	struct itimerval timer = { { 0, 1000 }, { 0, 1000 } };
	int ends[2], i;
	char byte;

	sigaction(SIGALRM, &action, NULL);
	if (pipe(ends) || fork() == 0) {
		for (i = 0; i < 40; i++) {
			usleep(3000);
			if (write(ends[1], "x", 1) != 1)
				_exit(1);
		}
		_exit(0);
	}
	setitimer(ITIMER_REAL, &timer, NULL);
	many(portion(300));
	for (i = 0; i < 40;) {
		long ret = call(SYS_read, ends[0], (long)&byte, 1);

		if (ret == 1)
			i++;
		else if (ret != -EINTR || flags & SA_RESTART)
			errx(1, "read from a pipe is %ld", ret);
	}
	memset(&timer, 0, sizeof(timer));
	setitimer(ITIMER_REAL, &timer, NULL);
	while (wait(NULL) < 0 && errno == EINTR)
		;
	close(ends[0]);
	close(ends[1]);
}

/* The kernel writes to pages that the process has not touched: below its stack, new and shared ones. */
static void __attribute__((noinline)) into_new_memory(void)
{
	volatile char deep[1 << 20];
	char *fresh = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char text[64];
	int ends[2], status;
	pid_t pid;

	if (pipe(ends))
		err(1, "pipe");
	snprintf(text, sizeof(text), "written into it");
	if (write(ends[1], text, 16) != 16 || call(SYS_read, ends[0], (long)deep, 16) != 16 ||
	    strcmp((const char *)deep, text))
		errx(1, "below the stack: %s", strerror(errno));
	if (write(ends[1], text, 16) != 16 || call(SYS_read, ends[0], (long)(fresh + PAGE - 8), 16) != 16 ||
	    strcmp(fresh + PAGE - 8, text))
		errx(1, "new pages: %s", strerror(errno));
	pid = fork();
	if (pid == 0)
		_exit(write(ends[1], "and its copy   ", 16) == 16 ? 0 : 1);
	if (call(SYS_read, ends[0], (long)(fresh + PAGE - 8), 16) != 16 ||
	    strcmp(fresh + PAGE - 8, "and its copy   "))
		errx(1, "copied pages: %s", strerror(errno));
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	close(ends[0]);
	close(ends[1]);
	munmap(fresh, 4 * PAGE);
}

/* A tracer attaches while the child waits in a call. */
static void traced(void)
{
	struct user_regs_struct regs;
	int ends[2], back[2], status, i;
	char byte, path[64];
	pid_t pid;

	if (pipe(ends) || pipe(back))
		err(1, "pipe");
	pid = fork();
	if (pid == 0) {
		signal(SIGALRM, SIG_IGN);
		if (write(back[1], "r", 1) != 1)
			_exit(1);
		lost = 0;
		for (i = 0; i < 3; i++)
			if (call(SYS_read, ends[0], (long)&byte, 1) != 1)
				_exit(2);
		_exit(lost ? 3 : 0);
	}
	if (read(back[0], &byte, 1) != 1)
		err(1, "read");
	/* Wait until /proc shows the call */
	snprintf(path, sizeof(path), "/proc/%d/syscall", pid);
	for (i = 0; i < 1000; i++) {
		FILE *file = fopen(path, "r");
		long nr = -2;

		if (!file)
			break;
		if (fscanf(file, "%ld", &nr) != 1)
			nr = -2;
		fclose(file);
		if (nr == SYS_read)
			break;
		usleep(1000);
	}
	if (ptrace(PTRACE_ATTACH, pid, 0, 0) || waitpid(pid, &status, 0) != pid)
		err(1, "attach");
	if (ptrace(PTRACE_GETREGS, pid, 0, &regs))
		err(1, "getregs");
	if (regs.rbx != MARK(0) || regs.rbp != MARK(1) || regs.r12 != MARK(2) || regs.r15 != MARK(5) ||
	    regs.rsp - (unsigned long)&byte + PAGE * 64 > PAGE * 128 ||
	    (regs.rip != (unsigned long)marked_back && regs.rip != (unsigned long)marked_back - 2))
		errx(1, "a tracer sees rbx %#llx rip %#llx rsp %#llx", regs.rbx, regs.rip, regs.rsp);
	/* Over the entry and the exit of the call, and some steps. */
	if (write(ends[1], "ab", 2) != 2)
		err(1, "write");
	for (i = 0; i < 6; i++)
		if (ptrace(i < 3 ? PTRACE_SYSCALL : PTRACE_SINGLESTEP, pid, 0, 0) ||
		    waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status))
			errx(1, "step %d: %#x", i, status);
	if (ptrace(PTRACE_DETACH, pid, 0, 0) || write(ends[1], "c", 1) != 1)
		err(1, "detach");
	if (waitpid(pid, &status, 0) != pid || status)
		errx(1, "the traced one ended with %#x", status);
}

void calls_and_registers(void)
{
	many(portion(500));
	under_a_timer(SA_RESTART);
	under_a_timer(0);
	into_new_memory();
	traced();
	if (in_call < 20)
		errx(1, "no signal has come in a call");
	printf("%lu registers lost\n", lost);
}
