// SPDX-License-Identifier: GPL-2.0-only
/*
 * steps: a tracer steps through known instructions, and must see each once.
 */
#include "work.h"

#include <err.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

void walk(void);
extern const char walk_0[], walk_1[], walk_2[], walk_2a[], walk_3[], walk_4[], walk_5[], walk_6[],
	walk_7[], walk_8[], walk_9[], walk_10[], walk_11[], walk_12[], walk_13[], walk_end[];

asm("	.pushsection .text\n"
    "	.globl	walk\n"
    "walk:\n"
    "	push	%rbx\n"
    "walk_0:	mov	$0x1234, %eax\n"
    "walk_1:	lea	0x11(%rax), %rbx\n"
    "walk_2:	pushf\n"
    /* a step sets TF in the pushed flags, and popf would set it again */
    "walk_2a: andq	$~0x100, (%rsp)\n"
    "walk_3:	popf\n"
    "walk_4:	mov	$39, %eax\n"	/* getpid */
    "walk_5:	syscall\n"
    "walk_6:	mov	%rax, %rdx\n"
    "walk_7:	mov	$3, %ecx\n"
    "walk_8:	add	%rcx, %rbx\n"
    "walk_9:	dec	%ecx\n"
    "walk_10:	jnz	walk_8\n"
    "walk_11:	pushq	$0x202\n"
    "walk_12:	popf\n"
    "walk_13:	xor	%eax, %eax\n"
    "walk_end:	pop	%rbx\n"
    "	ret\n"
    "	.popsection\n");

static const char *const order[] = {
	walk_1, walk_2, walk_2a, walk_3, walk_4, walk_5, walk_6, walk_7,
	walk_8, walk_9, walk_10, walk_8, walk_9, walk_10, walk_8, walk_9, walk_10,
	walk_11, walk_12, walk_13, walk_end,
};

static void step(pid_t pid)
{
	int status;

	if (ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL))
		err(1, "PTRACE_SINGLESTEP");
	if (waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status) ||
	    WSTOPSIG(status) != SIGTRAP)
		errx(1, "a step ended with status %#x", status);
}

static void registers(pid_t pid, struct user_regs_struct *regs)
{
	if (ptrace(PTRACE_GETREGS, pid, NULL, regs))
		err(1, "PTRACE_GETREGS");
}

static void walk_once(pid_t pid)
{
	struct user_regs_struct regs;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(order); i++) {
		step(pid);
		registers(pid, &regs);
		if (regs.rip != (uintptr_t)order[i])
			errx(1, "step %zu: at walk%+lld, not walk%+ld", i,
			     (long long)(regs.rip - (uintptr_t)walk_0),
			     (long)(order[i] - walk_0));
		if (order[i] == walk_2 && (regs.rax != 0x1234 || regs.rbx != 0x1245))
			errx(1, "rax %#llx, rbx %#llx", regs.rax, regs.rbx);
		if (order[i] == walk_6 && regs.rax != (unsigned long long)pid)
			errx(1, "getpid gave %lld", regs.rax);
	}
	if (regs.rax != 0 || regs.rcx != 0 || regs.rbx != 0x1245 + 6 ||
	    regs.rdx != (unsigned long long)pid)
		errx(1, "the last registers are wrong");
}

static void traced(int times)
{
	int i;

	if (ptrace(PTRACE_TRACEME, 0, NULL, NULL))
		_exit(1);
	raise(SIGSTOP);
	for (i = 0; i < times; i++)
		walk();
	_exit(7);
}

void steps(void)
{
	struct user_regs_struct regs;
	int status, walks = 0, times = (int)portion(200);
	unsigned long other = 0;
	pid_t pid = fork();

	if (pid == 0)
		traced(times);
	if (waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status))
		errx(1, "the child did not stop");
	while (walks < times) {
		step(pid);
		registers(pid, &regs);
		if (regs.rip == (uintptr_t)walk_0) {
			walk_once(pid);
			registers(pid, &regs);
			walks++;
		} else if (++other > 100000) {
			errx(1, "it does not come by");
		}
	}
	/* after a stepped popf the kernel believes that the child has set TF itself */
	regs.eflags &= ~0x100ULL;
	if (ptrace(PTRACE_SETREGS, pid, NULL, &regs))
		err(1, "PTRACE_SETREGS");
	if (ptrace(PTRACE_CONT, pid, NULL, NULL) || waitpid(pid, &status, 0) != pid ||
	    !WIFEXITED(status) || WEXITSTATUS(status) != 7)
		errx(1, "it ended with status %#x", status);
	printf("%d walks of %zu steps, each instruction once\n", walks, ARRAY_SIZE(order));
}
