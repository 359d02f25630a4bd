// SPDX-License-Identifier: GPL-2.0-only
/*
 * exceptions - raises each exception that an unprivileged program can raise, many times,
 * and checks what its handler sees
 *
 * Says "N exceptions, all as they should be", or what is wrong, with exit status 1.
 */
#define _GNU_SOURCE
#include <err.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define ROUNDS	50
#define AC	0x40000

/* Each pushes rbx, saves the stack pointer, and raises the exception at its label; for a trap that is behind the instruction. */
#define RAISER(name, body)							\
	void raise_##name(void);						\
	extern const char at_##name[];						\
	asm("	.pushsection .text\n"						\
	    "	.globl	raise_" #name ", at_" #name "\n"			\
	    "raise_" #name ":\n"						\
	    "	push	%rbx\n"							\
	    "	mov	%rsp, saved_sp(%rip)\n"					\
	    body								\
	    "	jmp	recover\n"						\
	    "	.popsection\n")

extern const char recover[];
asm("	.pushsection .text\n"
    "	.globl	recover\n"
    "recover:\n"
    "	mov	saved_sp(%rip), %rsp\n"
    "	pop	%rbx\n"
    "	ret\n"
    "	.popsection\n");

uint64_t saved_sp;
char unaligned[16] __attribute__((aligned(16)));
char *readonly;

RAISER(breakpoint, "int3\n at_breakpoint:\n");
RAISER(invalid, "at_invalid: ud2\n");
RAISER(privileged, "at_privileged: hlt\n");
RAISER(division, "xor %ecx, %ecx\n mov $1, %eax\n cltd\n at_division: idivl %ecx\n");
/* with the exception unmasked */
RAISER(float, "push $0x1d80\n ldmxcsr (%rsp)\n mov $1, %eax\n cvtsi2sd %eax, %xmm0\n"
	      "xorps %xmm1, %xmm1\n at_float: divsd %xmm1, %xmm0\n");
RAISER(unmapped, "mov $0x1230, %eax\n at_unmapped: mov (%rax), %eax\n");
RAISER(readonly, "mov readonly(%rip), %rax\n at_readonly: movl $1, 8(%rax)\n");
RAISER(nowhere, "movabs $0x8000000000000000, %rax\n at_nowhere: mov (%rax), %eax\n");
RAISER(misaligned, "lea unaligned + 1(%rip), %rax\n pushfq\n orq $0x40000, (%rsp)\n popfq\n"
		   "at_misaligned: mov (%rax), %eax\n");
RAISER(push, "movabs $0x8000000000000000, %rsp\n at_push: push %rax\n");
RAISER(stack, "movabs $0x8000000000000000, %rsp\n at_stack: mov 8(%rsp), %rax\n");

#define ANY	-1

static const struct row {
	const char *name;
	void (*raise)(void);
	const char *at;
	int signal, code;
	const char *address;
} rows[] = {
	{ "int3", raise_breakpoint, at_breakpoint, SIGTRAP, SI_KERNEL, NULL },
	{ "ud2", raise_invalid, at_invalid, SIGILL, ILL_ILLOPN, at_invalid },
	{ "hlt", raise_privileged, at_privileged, SIGSEGV, ANY, NULL },
	{ "a division by zero", raise_division, at_division, SIGFPE, FPE_INTDIV, at_division },
	{ "1.0 / 0.0", raise_float, at_float, SIGFPE, FPE_FLTDIV, at_float },
	{ "a page that is not there", raise_unmapped, at_unmapped, SIGSEGV, SEGV_MAPERR,
	  (char *)0x1230 },
	{ "a read-only page", raise_readonly, at_readonly, SIGSEGV, SEGV_ACCERR, (char *)8 },
	{ "no address", raise_nowhere, at_nowhere, SIGSEGV, ANY, NULL },
	{ "a misaligned access", raise_misaligned, at_misaligned, SIGBUS, BUS_ADRALN, NULL },
	{ "a push to no address", raise_push, at_push, SIGBUS, SI_KERNEL, NULL },
	{ "a stack at no address", raise_stack, at_stack, SIGBUS, SI_KERNEL, NULL },
};

#define COUNT	(sizeof(rows) / sizeof(rows[0]))

static const struct row *row;
static volatile unsigned int handled;

static void must(const struct row *r, const char *what, unsigned long is, unsigned long should)
{
	if (is != should)
		errx(1, "%s: %s is %#lx, not %#lx", r->name, what, is, should);
}

static void on_exception(int sig, siginfo_t *info, void *context)
{
	greg_t *regs = ((ucontext_t *)context)->uc_mcontext.gregs;
	const char *address = row->address;

	/* The handler still has the flag. */
	asm volatile("pushfq\n andq %0, (%%rsp)\n popfq" : : "i" (~AC) : "memory", "cc");
	must(row, "the signal", (unsigned long)sig, (unsigned long)row->signal);
	must(row, "the instruction", (unsigned long)regs[REG_RIP], (unsigned long)row->at);
	if (row->raise == raise_readonly)
		address += (uintptr_t)readonly;
	if (row->code != ANY) {
		must(row, "si_code", (unsigned long)info->si_code, (unsigned long)row->code);
		must(row, "si_addr", (unsigned long)info->si_addr, (unsigned long)address);
	}
	regs[REG_EFL] &= ~AC;
	regs[REG_RIP] = (greg_t)recover;
	handled++;
}

static void handle(int sig)
{
	struct sigaction sa = { .sa_sigaction = on_exception, .sa_flags = SA_SIGINFO | SA_ONSTACK };

	if (sigaction(sig, &sa, NULL))
		err(1, "sigaction");
}

/* Enters the kernel in all ways with the flag set */
static void work_with_the_flag(void)
{
	volatile char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t flags;
	long id;

	asm volatile("pushfq\n orq %2, (%%rsp)\n popfq\n"
		     "movb $1, (%3)\n"
		     "mov %4, %%eax\n"
		     "syscall\n"
		     "pushfq\n pop %1\n"
		     "pushfq\n andq %5, (%%rsp)\n popfq"
		     : "=&a" (id), "=&r" (flags)
		     : "i" (AC), "r" (page), "i" (SYS_getpid), "i" (~AC)
		     : "rcx", "r11", "memory", "cc");
	if (id != getpid() || !(flags & AC) || *page != 1)
		errx(1, "with AC set: getpid() gives %ld, the flags are %#lx", id, flags);
	munmap((void *)page, 4096);
}

int main(void)
{
	static char stack[64 * 1024] __attribute__((aligned(16)));
	stack_t own = { .ss_sp = stack, .ss_size = sizeof(stack) };
	unsigned int round, done = 0;

	readonly = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (readonly == MAP_FAILED || sigaltstack(&own, NULL))
		err(1, "no memory");
	handle(SIGTRAP);
	handle(SIGILL);
	handle(SIGFPE);
	handle(SIGSEGV);
	handle(SIGBUS);
	for (round = 0; round < ROUNDS; round++) {
		for (row = rows; row < rows + COUNT; row++) {
			handled = 0;
			row->raise();
			must(row, "the number of signals", handled, 1);
			done++;
		}
		work_with_the_flag();
	}
	printf("%u exceptions, all as they should be\n", done);
	return 0;
}
