// SPDX-License-Identifier: GPL-2.0-only
/*
 * everycall: makes every system call with a pattern in every register: plainly, under signals, and beneath a
 * filter of the guest's own. All registers but rax, rcx and r11 must keep their pattern.
 */
#include "work.h"

#include <err.h>
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

enum { RAX, RDI, RSI, RDX, R10, R8, R9, RBX, RBP, R12, R13, R14, R15, FLAGS, RCX, R11, RSP, WORDS };

struct state {
	uint64_t reg[WORDS];
	uint64_t mxcsr;
	uint64_t xmm[16][2];
};

_Static_assert(offsetof(struct state, mxcsr) == 136 && offsetof(struct state, xmm) == 144,
	       "the instructions know these offsets");

extern const char full_back[], __executable_start[], etext[];
void full_call(struct state *s);

/* rdi and rax hold the address until they are loaded last; then the stack holds it. */
#define XMM(op)	op(0) op(1) op(2) op(3) op(4) op(5) op(6) op(7)	\
		op(8) op(9) op(10) op(11) op(12) op(13) op(14) op(15)
#define LOAD(n)		"	movups 144+" #n "*16(%rdi), %xmm" #n "\n"
#define STORE(n)	"	movups %xmm" #n ", 144+" #n "*16(%rax)\n"
asm("	.pushsection .text\n"
    "	.globl full_call, full_back\n"
    "full_call:\n"
    "	push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
    "	push %rdi\n"
    "	mov %rsp, 128(%rdi)\n"
    "	ldmxcsr 136(%rdi)\n"
    XMM(LOAD)
    "	mov 16(%rdi), %rsi; mov 24(%rdi), %rdx; mov 32(%rdi), %r10\n"
    "	mov 40(%rdi), %r8; mov 48(%rdi), %r9; mov 56(%rdi), %rbx; mov 64(%rdi), %rbp\n"
    "	mov 72(%rdi), %r12; mov 80(%rdi), %r13; mov 88(%rdi), %r14; mov 96(%rdi), %r15\n"
    "	pushq 104(%rdi); popf\n"
    "	mov 0(%rdi), %rax; mov 8(%rdi), %rdi\n"
    "	syscall\n"
    "full_back:\n"
    "	xchg %rax, (%rsp)\n"
    "	mov %rdi, 8(%rax); mov %rsi, 16(%rax); mov %rdx, 24(%rax); mov %r10, 32(%rax)\n"
    "	mov %r8, 40(%rax); mov %r9, 48(%rax); mov %rbx, 56(%rax); mov %rbp, 64(%rax)\n"
    "	mov %r12, 72(%rax); mov %r13, 80(%rax); mov %r14, 88(%rax); mov %r15, 96(%rax)\n"
    "	mov %rcx, 112(%rax); mov %r11, 120(%rax); mov %rsp, 128(%rax)\n"
    "	pushf; popq 104(%rax); cld\n"
    XMM(STORE)
    "	stmxcsr 136(%rax)\n"
    "	movl $0x1f80, -4(%rsp); ldmxcsr -4(%rsp)\n"
    "	popq 0(%rax)\n"
    "	pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
    "	ret\n"
    "	.popsection\n");

/* CF PF AF ZF SF DF OF of odd and even calls; IF and bit 1 are always set */
#define FLAGS_ODD	(0x202UL | 0x1 | 0x10 | 0x80 | 0x400)
#define FLAGS_EVEN	(0x202UL | 0x4 | 0x40 | 0x400 | 0x800)
#define FLAGS_KNOWN	0xfd7UL

static const char *const names[WORDS] = {
	"rax", "rdi", "rsi", "rdx", "r10", "r8", "r9", "rbx", "rbp", "r12", "r13", "r14", "r15", "flags",
	"rcx", "r11", "rsp",
};

static uint64_t turn;
/* The registers of the call that may be interrupted */
static struct state now;
static unsigned long in_call;

static void make(struct state *s, long nr, const long args[6])
{
	unsigned int i;

	turn++;
	memset(s, 0, sizeof(*s));
	s->reg[RAX] = (uint64_t)nr;
	for (i = 0; i < 6; i++)
		s->reg[RDI + i] = (uint64_t)args[i];
	for (i = RBX; i <= R15; i++)
		s->reg[i] = 0x1122330000000000UL * (i & 7) + (turn << 8) + i;
	s->reg[FLAGS] = turn & 1 ? FLAGS_ODD : FLAGS_EVEN;
	/* rounding, flush to zero */
	s->mxcsr = 0x1f80 | (turn & 3) << 13 | (turn & 4) << 13;
	for (i = 0; i < 16; i++) {
		s->xmm[i][0] = (turn + 1) * 0x9e3779b97f4a7c15UL + i;
		s->xmm[i][1] = ~s->xmm[i][0] ^ (uint64_t)nr << 32;
	}
}

/* The register that has changed, or NULL */
static const char *check(const struct state *want, const struct state *have)
{
	static char text[80];
	unsigned int i;
	uint64_t must;

	for (i = RDI; i < WORDS; i++) {
		must = i == RCX ? (uintptr_t)full_back : i == R11 ? want->reg[FLAGS] :
		       i == RSP ? have->reg[RSP] : want->reg[i];
		if (have->reg[i] != must) {
			snprintf(text, sizeof(text), "%s is %#lx, not %#lx", names[i], have->reg[i], must);
			return text;
		}
	}
	if (have->mxcsr != want->mxcsr)
		return "mxcsr";
	for (i = 0; i < 16; i++) {
		if (memcmp(have->xmm[i], want->xmm[i], 16)) {
			snprintf(text, sizeof(text), "xmm%u", i);
			return text;
		}
	}
	return NULL;
}

static long call6(struct state *made, long nr, long a, long b, long c, long d, long e, long f)
{
	const long args[6] = { a, b, c, d, e, f };
	struct state s;
	const char *bad;

	make(&s, nr, args);
	*made = s;
	full_call(&s);
	bad = check(made, &s);
	if (bad)
		errx(1, "call %ld, result %ld: %s", nr, (long)s.reg[RAX], bad);
	return (long)s.reg[RAX];
}

#define call(nr, a, b, c, d) \
	call6(&(struct state){ .mxcsr = 0 }, nr, (long)(a), (long)(b), (long)(c), (long)(d), -5, -6)
/* for the handler to compare with */
#define call_now(nr, a, b, c, d) call6(&now, nr, (long)(a), (long)(b), (long)(c), (long)(d), -5, -6)

/* every: each number, with arguments that make it fail, and with zeros */

#define LAST		480
#define NEGATIVE	1
#define ZEROS		2
#define BOTH		3

static const struct {
	short nr;
	short which;
	const char *why;
} skipped[] = {
	{ SYS_rt_sigreturn, BOTH, "sets all registers" },
	{ SYS_fork, BOTH, "two of us would report" },
	{ SYS_vfork, BOTH, "two of us would report" },
	{ SYS_clone, ZEROS, "two of us would report" },
	{ SYS_exit, BOTH, "ends" },
	{ SYS_exit_group, BOTH, "ends" },
	{ SYS_pause, BOTH, "blocks" },
	{ SYS_select, ZEROS, "blocks" },
	{ SYS_pselect6, ZEROS, "blocks" },
	{ SYS_ppoll, ZEROS, "blocks" },
	{ SYS_msgget, BOTH, "leaves a queue" },
	{ SYS_sethostname, ZEROS, "takes the name away" },
	{ SYS_setdomainname, ZEROS, "takes the name away" },
	{ SYS_kill, BOTH, "hits others" },
	{ SYS_sync, BOTH, "takes its time" },
	{ SYS_vhangup, BOTH, "hangs up the console" },
	{ SYS_reboot, BOTH, "reboots" },
	{ SYS_seccomp, ZEROS, "is strict mode: we could not end" },
	{ SYS_ptrace, ZEROS, "the parent would be the tracer" },
	{ 335, BOTH, "uretprobe: the host's filters do not see it" },
	{ 336, BOTH, "uprobe: as uretprobe" },
};

static int is_skipped(long nr, int which)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(skipped); i++)
		if (skipped[i].nr == nr && skipped[i].which & which)
			return 1;
	return 0;
}

struct report {
	long result[2];
	unsigned int done;
};

static void every_child(long nr, volatile struct report *report)
{
	static const long args[2][6] = { { -1, -2, -3, -4, -5, -6 }, { 0 } };
	struct state s;
	int i;

	close(0);	/* a call must not read the console */
	alarm(20);
	for (i = 0; i < 2; i++) {
		if (is_skipped(nr, i + 1))
			continue;
		report->result[i] = call6(&s, nr, args[i][0], args[i][1], args[i][2], args[i][3],
					  args[i][4], args[i][5]);
		report->done++;
	}
	_exit(0);
}

static unsigned long every(uint64_t *hash)
{
	volatile struct report *report = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
					      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	unsigned long done = 0;
	int status, i;
	long nr;

	if (report == MAP_FAILED)
		err(1, "mmap");
	for (nr = 0; nr <= LAST; nr++) {
		pid_t pid;

		memset((void *)report, 0, sizeof(*report));
		pid = fork();
		if (pid == 0)
			every_child(nr, report);
		if (pid < 0 || waitpid(pid, &status, 0) != pid || status)
			errx(1, "call %ld: its process ended with status %#x", nr, status);
		done += report->done;
		for (i = 0; i < 2; i++) {
			long ret = report->result[i];

			if (ret <= -512 && ret > -4096)
				errx(1, "call %ld: the kernel's own result %ld", nr, ret);
			if (getenv("EVERYCALL_LIST"))
				printf("%ld %ld\n", nr, ret);
			/* pids and addresses differ */
			*hash = (*hash ^ (uint64_t)(ret < 0 && ret > -4096 ? ret : 0)) * 0x100000001b3UL;
		}
	}
	munmap((void *)report, PAGE);
	return done;
}

/* in a handler */

static const int greg_of[] = {
	[RDI] = REG_RDI, [RSI] = REG_RSI, [RDX] = REG_RDX, [R10] = REG_R10, [R8] = REG_R8, [R9] = REG_R9,
	[RBX] = REG_RBX, [RBP] = REG_RBP, [R12] = REG_R12, [R13] = REG_R13, [R14] = REG_R14, [R15] = REG_R15,
};

static void die(const char *text, unsigned long value)
{
	fprintf(stderr, "in a handler: %s %#lx\n", text, value);
	_exit(1);
}

static void check_context(const greg_t *regs)
{
	uintptr_t ip = (uintptr_t)regs[REG_RIP], sp = (uintptr_t)regs[REG_RSP];
	uintptr_t here = (uintptr_t)__builtin_frame_address(0);
	unsigned int i;

	if (ip < (uintptr_t)__executable_start || ip >= (uintptr_t)etext)
		die("rip is", ip);
	if (sp < here || sp - here > 64 * PAGE)
		die("rsp is", sp);
	if (ip != (uintptr_t)full_back && ip != (uintptr_t)full_back - 2)
		return;
	for (i = RDI; i <= R15; i++)
		if ((uint64_t)regs[greg_of[i]] != now.reg[i])
			die(names[i], (unsigned long)regs[greg_of[i]]);
	if (((uint64_t)regs[REG_EFL] ^ now.reg[FLAGS]) & FLAGS_KNOWN)
		die("flags", (unsigned long)regs[REG_EFL]);
	in_call++;
}

static void on_timer(int sig, siginfo_t *info, void *context)
{
	asm volatile("cld");	/* not every kernel clears DF for a handler */
	(void)sig;
	(void)info;
	check_context(((ucontext_t *)context)->uc_mcontext.gregs);
}

/* Calls that return at once, some that notify and some that trap, under two timers. */
static void under_signals(void)
{
	struct sigaction action = { .sa_sigaction = on_timer, .sa_flags = SA_SIGINFO };
	struct itimerval every_ms = { { 0, 1000 }, { 0, 1000 } }, off = { 0 };
	long pid = getpid();
	unsigned int i;

	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &every_ms, NULL);
	for (i = 0; i < 4000 || in_call < 10; i++) {
		if (call_now(SYS_getpid, -1, -2, -3, -4) != pid || call_now(SYS_read, -1, -2, -3, -4) != -EBADF ||
		    call_now(SYS_mprotect, 1, -2, -3, -4) != -EINVAL || call_now(999, -1, -2, -3, -4) != -ENOSYS)
			errx(1, "a call's result is wrong");
	}
	setitimer(ITIMER_REAL, &off, NULL);
	signal(SIGALRM, SIG_DFL);
}

/* a filter */

static volatile int trapped;

static void on_filter(int sig, siginfo_t *info, void *context)
{
	greg_t *regs = ((ucontext_t *)context)->uc_mcontext.gregs;

	asm volatile("cld");
	(void)sig;
	check_context(regs);
	/* not si_call_addr: UML gives an address of its own kernel, guarded or not */
	if (info->si_syscall != SYS_getgid || info->si_errno != 5 ||
	    info->si_arch != AUDIT_ARCH_X86_64 || regs[REG_RIP] != (greg_t)full_back)
		die("a trap tells of call", (unsigned long)info->si_syscall);
	regs[REG_RAX] = 4711;
	trapped++;
}

static const char *filtered(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getuid, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | 77),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getgid, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP | 5),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = { ARRAY_SIZE(code), code };
	struct sigaction action = { .sa_sigaction = on_filter, .sa_flags = SA_SIGINFO };
	pid_t pid = fork();
	int i, status;

	if (pid == 0) {
		sigaction(SIGSYS, &action, NULL);
		prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
		if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog))
			_exit(99);
		for (i = 0; i < 100; i++)
			if (call_now(SYS_getuid, -1, -2, -3, -4) != -77 ||
			    call_now(SYS_getgid, -1, -2, -3, -4) != 4711 || trapped != i + 1 ||
			    call_now(SYS_getppid, -1, -2, -3, -4) <= 0)
				_exit(1);
		_exit(0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		err(1, "filtered");
	if (WIFEXITED(status) && WEXITSTATUS(status) == 99)
		return "no filter";
	if (status)
		errx(1, "the filtered one ended with status %#x", status);
	return "filter";
}

/* Strict mode exists without filters, too: read and write work, any other call kills. */
static void strict(void)
{
	int ends[2], status, i;
	char byte;
	pid_t pid;

	if (pipe(ends))
		err(1, "pipe");
	pid = fork();
	if (pid == 0) {
		if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT))
			_exit(1);
		for (i = 0; i < 50; i++)
			if (call(SYS_write, ends[1], "s", 1, -4) != 1 ||
			    call(SYS_read, ends[0], &byte, 1, -4) != 1)
				syscall(SYS_exit, 2);
		call(SYS_getppid, -1, -2, -3, -4);
		syscall(SYS_exit, 3);
	}
	if (waitpid(pid, &status, 0) != pid || !WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
		errx(1, "strict mode ended with status %#x", status);
	close(ends[0]);
	close(ends[1]);
}

void everycall(void)
{
	uint64_t hash = 0xcbf29ce484222325UL;
	unsigned long n = every(&hash);
	const char *filter;

	under_signals();
	filter = filtered();
	strict();
	printf("calls %lu kept, errors %016lx, %s\n", n, hash, filter);
}
