// SPDX-License-Identifier: GPL-2.0-only
/*
 * handlers: nested signal handlers on a stack of their own, restarted calls, and
 * registers that a handler changes, all under a fast timer.
 */
#include "work.h"

#include <err.h>
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

static char stack[16 * PAGE] __attribute__((aligned(16)));
static volatile sig_atomic_t ticks, depth, deepest, off_stack;

static bool on_stack(const void *p)
{
	return (const char *)p >= stack && (const char *)p < stack + sizeof(stack);
}

static void on_tick(int sig)
{
	(void)sig;
	ticks++;
}

static void on_nested(int sig)
{
	char here;

	if (!on_stack(&here))
		off_stack++;
	if (++depth > deepest)
		deepest = depth;
	if (sig < SIGRTMIN + 5)
		raise(sig + 1);
	depth--;
}

static void on_trap(int sig, siginfo_t *info, void *context)
{
	greg_t *regs = ((ucontext_t *)context)->uc_mcontext.gregs;

	(void)sig;
	(void)info;
	regs[REG_RAX] = regs[REG_RBX] * 3 + 1;
	regs[REG_R12] ^= regs[REG_R13];
	regs[REG_RIP] += 2;	/* the ud2 */
}

static void set_handler(int sig, void (*fn)(int), int flags)
{
	struct sigaction sa = { .sa_handler = fn, .sa_flags = flags };

	if (sigaction(sig, &sa, NULL))
		err(1, "sigaction");
}

static void nest(unsigned int rounds)
{
	unsigned int i;

	for (i = 0; i < rounds; i++) {
		raise(SIGRTMIN);
		if (depth)
			errx(1, "a handler did not end");
	}
	if (deepest != 6 || off_stack)
		errx(1, "handlers were %d deep, %d off their stack", (int)deepest, (int)off_stack);
}

/* Ticks interrupt the reader's call again and again; it must be restarted. */
static void restart(void)
{
	char byte = 0;
	int fds[2], i;
	pid_t pid;

	if (pipe(fds))
		err(1, "pipe");
	for (i = 0; i < 5; i++) {
		sig_atomic_t before = ticks;

		pid = fork();
		if (pid == 0) {
			usleep(60000);
			_exit(write(fds[1], "x", 1) == 1 ? 0 : 1);
		}
		if (read(fds[0], &byte, 1) != 1 || byte != 'x')
			err(1, "read was not restarted");
		while (waitpid(pid, NULL, 0) < 0)
			if (errno != EINTR)
				err(1, "waitpid");
		if (ticks == before)
			errx(1, "no tick came");
	}
}

static void change_registers(unsigned int rounds)
{
	uint64_t i, rax, r12;

	for (i = 0; i < rounds; i++) {
		register uint64_t a asm("r12") = i * 5;
		register uint64_t b asm("r13") = ~i;

		asm volatile("ud2" : "=a" (rax), "+r" (a) : "b" (i), "r" (b) : "memory");
		r12 = a;
		if (rax != i * 3 + 1 || r12 != ((i * 5) ^ ~i))
			errx(1, "round %lu: the handler's registers did not come", i);
	}
}

void handlers(void)
{
	struct sigaction trap = { .sa_sigaction = on_trap, .sa_flags = SA_SIGINFO | SA_ONSTACK };
	struct itimerval fast = { { 0, 1000 }, { 0, 1000 } }, never = { 0 };
	stack_t own = { .ss_sp = stack, .ss_size = sizeof(stack) };
	unsigned int nests = portion(500), contexts = portion(5000);
	int i;

	if (sigaltstack(&own, NULL))
		err(1, "sigaltstack");
	set_handler(SIGALRM, on_tick, SA_RESTART | SA_ONSTACK);
	for (i = 0; i < 6; i++)
		set_handler(SIGRTMIN + i, on_nested, SA_ONSTACK);
	sigaction(SIGILL, &trap, NULL);
	setitimer(ITIMER_REAL, &fast, NULL);
	nest(nests);
	restart();
	change_registers(contexts);
	setitimer(ITIMER_REAL, &never, NULL);
	printf("%u nests of 6 handlers, 5 restarted reads, %u changed contexts\n", nests, contexts);
}
