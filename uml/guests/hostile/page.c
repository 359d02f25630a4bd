// SPDX-License-Identifier: GPL-2.0-only
/*
 * Attacks with calls that the stub never makes, at every site of its code page.
 */
#include "hostile.h"

#include <asm/prctl.h>
#include <poll.h>

struct page_call {
	uintptr_t site;
	long nr, arg[6];
};

static unsigned char *buffer;	/* what a call with effect changes */

static void try_call(void *arg)
{
	const struct page_call *c = arg;
	long ret;

	limit_child();
	shared->back = false;
	ret = host_call_at(c->site, c->nr, c->arg);
	/* a call without another effect has a result */
	shared->back = ret == CAME_BACK || ret >= 0 || ret < -4095;
	_exit(0);
}

/* Has the host made the call, as far as its effects show? */
static bool takes_effect(const struct page_call *c)
{
	size_t i;

	shared->back = false;
	memset(buffer, 0x5a, PAGE);
	in_child(try_call, (void *)c);
	for (i = 0; i < PAGE; i++)
		if (buffer[i] != 0x5a)
			return true;
	return shared->back;
}

/* ---- arch-prctl: codes other than setting FS and GS, which stubs do */

static const struct {
	const char *name;
	int code;
} prctl_codes[] = {
	{ "GET_FS", ARCH_GET_FS },
	{ "GET_GS", ARCH_GET_GS },
	{ "GET_CPUID", 0x1011 },
	{ "GET_XCOMP_SUPP", 0x1021 },
	{ "GET_XCOMP_PERM", 0x1022 },
	{ "GET_XCOMP_GUEST_PERM", 0x1024 },
	{ "MAP_VDSO_X32", 0x2001 },
	{ "MAP_VDSO_32", 0x2002 },
	{ "MAP_VDSO_64", 0x2003 },
	{ "GET_UNTAG_MASK", 0x4001 },
	{ "GET_MAX_TAG_BITS", 0x4003 },
	{ "SHSTK_STATUS", 0x5005 },
};

void arch_prctl_codes(void)
{
	char ran[128] = "";
	size_t i, n = 0;
	unsigned int s;

	buffer = map_shared(PAGE);
	if (!find_report() && !find_control())
		conclude(INCONCLUSIVE, "what the stub's code reads was not found");
	for (i = 0; i < ARRAY_SIZE(prctl_codes); i++) {
		struct page_call c = { .nr = SYS_arch_prctl };

		step("arch_prctl(%s)", prctl_codes[i].name);
		c.arg[0] = prctl_codes[i].code;
		/* the vdso codes need a free address, the others a buffer */
		if (prctl_codes[i].code >> 12 != 2)
			c.arg[1] = (long)buffer;
		for (s = 0; s < stub.nsites; s++) {
			c.site = stub.site[s];
			if (!takes_effect(&c))
				continue;
			n += (size_t)snprintf(ran + n, sizeof(ran) - n, " %s",
					      prctl_codes[i].name);
			break;
		}
	}
	if (n)
		conclude(BREACHED, "ran in the host:%s", ran);
	conclude(BLOCKED, "none of %zu forbidden codes ran at any of %u instructions", i,
		 stub.nsites);
}

/* ---- page-calls: all numbers, and all ways to make a call */

#define NUMBERS	600
#define X32	0x40000000

static bool stub_calls(long nr)
{
	static const long calls[] = {
		/* stubs that report through memory: at any site */
		SYS_mmap, SYS_munmap, SYS_recvmsg, SYS_futex, SYS_close,
		SYS_arch_prctl, SYS_rt_sigreturn,
	};
	size_t i;

	/* stubs that park: the kernel answers an mmap; each other call has a site of its own */
	if (control.back)
		return nr == SYS_mmap;
	for (i = 0; i < ARRAY_SIZE(calls); i++)
		if (nr == calls[i])
			return true;
	return false;
}

/*
 * On newer hosts these pass every filter. Outside of a probe uretprobe is a SIGILL,
 * and uprobe fails with ENXIO.
 */
#define URETPROBE	335
#define UPROBE		336

static unsigned int calls_made;

/* Tries each number at every third site, in turn; with HOSTILE_FULL at each. */
static void try_number(long nr)
{
	unsigned int s, i, stride = getenv("HOSTILE_FULL") ? 1 : 3;
	struct page_call c = { .nr = nr };

	for (i = 0; i < 6; i++)
		c.arg[i] = (long)(buffer + i * 512);
	for (s = (unsigned int)nr % stride; s < stub.nsites; s += stride) {
		/* the site's own call, with other arguments */
		c.site = stub.site[s];
		calls_made++;
		if (takes_effect(&c) && !stub_calls(nr))
			conclude(BREACHED, "system call %#lx ran at code+%#lx", nr,
				 c.site - stub.code);
	}
}

/* The entry for 32-bit programs, where the numbers mean other calls. */
static void try_int80(void *arg)
{
	long ret = 20;	/* getpid there, writev here */

	(void)arg;
	limit_child();
	asm volatile("int $0x80" : "+a" (ret) : "D" (-1L), "b" (-1L) : "memory");
	shared->back = ret > 0;
	_exit(0);
}

static void try_sysenter(void *arg)
{
	long ret = 20;

	(void)arg;
	limit_child();
	asm volatile("mov %%rsp, %%rbp\n\tsysenter"
		     : "+a" (ret) : "D" (-1L), "b" (-1L) : "rbp", "memory");
	shared->back = ret > 0;
	_exit(0);
}

static void try_gate(void *arg)
{
	const long none[6] = { -1 };

	limit_child();
	shared->back = host_call_at((uintptr_t)arg, 20, none) > 0;
	_exit(0);
}

/* Jumps to other instructions that enter a kernel, wherever the page has their bytes. */
static unsigned int other_gates(void)
{
	const unsigned char *code = (const unsigned char *)stub.code;
	unsigned int found = 0;
	size_t i;

	for (i = 0; i + 1 < stub.data - stub.code; i++) {
		if (!((code[i] == 0xcd && code[i + 1] == 0x80) ||
		      (code[i] == 0x0f && code[i + 1] == 0x34)))
			continue;
		found++;
		shared->back = false;
		in_child(try_gate, (void *)(stub.code + i));
		if (shared->back)
			conclude(BREACHED, "a 32-bit call ran at code+%#zx", i);
	}
	return found;
}

void page_calls(void)
{
	unsigned int gates;
	long nr;

	buffer = map_shared(PAGE);
	if (!find_report() && !find_control())
		conclude(INCONCLUSIVE, "what the stub's code reads was not found");
	step("making 32-bit calls");
	gates = other_gates();
	in_child(try_int80, NULL);
	if (!shared->back)
		in_child(try_sysenter, NULL);
	if (shared->back)
		conclude(BREACHED, "a 32-bit call ran");
	for (nr = 0; nr <= NUMBERS; nr++) {
		if (nr == URETPROBE || nr == UPROBE)
			continue;
		step("making system call %ld", nr);
		try_number(nr);
	}
	for (nr = X32; nr <= X32 + NUMBERS; nr += nr % 8 ? 7 : 3) {
		step("making x32's system call %ld", nr - X32);
		try_number(nr);
	}
	for (nr = 0; nr < 32; nr++)
		try_number((long)(1UL << 32 << nr | SYS_getpid));
	conclude(BLOCKED, "%u calls at %u instructions, and %u of other kinds: none ran",
		 calls_made, stub.nsites, gates + 2);
}

/* ---- block-signal */

#define SPIN_SECONDS	1

static uint64_t spin_enough;

/* Spins until another process has run on this CPU, or for a second of CPU time. */
static void spin_until_stopped(void)
{
	uint64_t spent = 0, last = __rdtsc(), t;

	shared->back = true;
	while (spent < spin_enough) {
		if (shared->stop)
			_exit(0);
		_mm_pause();
		t = __rdtsc();
		if (t - last < 100000)
			spent += t - last;
		last = t;
	}
	set_verdict(BREACHED, "was not preempted for %d s, after %s", SPIN_SECONDS,
		    shared->step);
	_exit(0);
}

static void on_one_cpu(void)
{
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(0, &cpus);
	sched_setaffinity(0, sizeof(cpus), &cpus);
}

/* A process that may have blocked the tick competes with this one. */
static void race(void (*fn)(void *), void *arg)
{
	static const struct timespec nap = { .tv_nsec = 1000000 };
	pid_t pid;

	shared->stop = shared->back = false;
	pid = fork();
	if (pid == 0) {
		fn(arg);
		spin_until_stopped();
	}
	if (pid < 0)
		conclude(INCONCLUSIVE, "fork: %s", strerror(errno));
	if (waitpid(pid, NULL, WNOHANG) == 0) {
		nanosleep(&nap, NULL);
		shared->stop = true;
		waitpid(pid, NULL, 0);
	}
	shared->counter += shared->back;
	if (shared->kind == BREACHED)
		_exit(0);
}

static void call_then_spin(void *arg)
{
	const struct page_call *c = arg;

	signal(SIGALRM, SIG_DFL);
	host_call_at(c->site, c->nr, c->arg);
}

static void sigreturn_then_spin(void *arg)
{
	ucontext_t uc;

	make_frame(&uc, (uintptr_t)spin_until_stopped, HOST_SIGALRM);
	host_sigreturn(*(uintptr_t *)arg, &uc);
}

/* Jumps to the stub's iretq with IF cleared in the frame. */
static void resume_then_spin(void *arg)
{
	static const long none[6];
	struct host_call call;

	prepare_call(&call, *(uintptr_t *)arg + 2, 1, none);
	prefill(control.back, 0, &call);
	control.iret[2] = 0x2;
	host_call_raw(&call);
}

void block_signal(void)
{
	static const uint64_t all = ~0UL, tick = HOST_SIGALRM;
	static struct pollfd nothing;
	static const struct timespec short_time = { .tv_nsec = 1000 };
	static const uint64_t ignore[] = { (uint64_t)SIG_IGN, 0, 0, ~0UL };
	static char stack[16 * PAGE];
	static const stack_t other = { .ss_sp = stack, .ss_size = sizeof(stack) };
	static const struct {
		const void *set;
		size_t size;
	} set = { &all, 8 };
	static const long never[4];
	const struct page_call calls[] = {
		{ 0, SYS_rt_sigprocmask, { SIG_BLOCK, (long)&tick, 0, 8 } },
		{ 0, SYS_rt_sigprocmask, { SIG_SETMASK, (long)&all, 0, 8 } },
		{ 0, SYS_rt_sigprocmask, { SIG_SETMASK, (long)&tick, (long)stack, 8 } },
		{ 0, SYS_rt_sigaction, { SIGALRM, (long)ignore, 0, 8 } },
		{ 0, SYS_rt_sigsuspend, { (long)&all, 8 } },
		{ 0, SYS_sigaltstack, { (long)&other, 0 } },
		{ 0, SYS_ppoll, { (long)&nothing, 0, (long)&short_time, (long)&all, 8 } },
		{ 0, SYS_pselect6, { 0, 0, 0, 0, (long)&short_time, (long)&set } },
		{ 0, SYS_epoll_pwait, { 0, (long)stack, 1, 1, (long)&all, 8 } },
		{ 0, SYS_signalfd4, { -1, (long)&all, 8, 0 } },
		{ 0, SYS_rt_sigtimedwait, { (long)&all, 0, (long)&short_time, 8 } },
		{ 0, SYS_setitimer, { 0, (long)never, 0 } },
		{ 0, SYS_sched_setscheduler, { 0, SCHED_FIFO, (long)&all } },
		{ 0, SYS_clone, { SIGCHLD | CLONE_VM, (long)stack + (long)PAGE } },
	};
	unsigned int s, tried = 0;
	uintptr_t masks;
	size_t i;

	on_one_cpu();
	spin_enough = SPIN_SECONDS * ticks_per_second();
	if (!find_report() && !find_control())
		conclude(INCONCLUSIVE, "what the stub's code reads was not found");
	for (s = 0; s < stub.nsites; s++) {
		step("rt_sigreturn at code+%#lx", stub.site[s] - stub.code);
		race(sigreturn_then_spin, &stub.site[s]);
		tried++;
		if (control.back) {
			step("entering behind code+%#lx", stub.site[s] - stub.code);
			race(resume_then_spin, &stub.site[s]);
			tried++;
		}
		for (i = 0; i < ARRAY_SIZE(calls); i++) {
			struct page_call c = calls[i];

			step("system call %ld at code+%#lx", c.nr, stub.site[s] - stub.code);
			c.site = stub.site[s];
			race(call_then_spin, &c);
			tried++;
		}
		/* the mask that the stub sets there, and its neighbours */
		for (masks = stub.code_end - 24; masks < stub.code_end + 16; masks += 4) {
			struct page_call c = { stub.site[s], SYS_rt_sigprocmask,
					       { SIG_SETMASK, (long)masks, 0, 8 } };

			step("setting the mask at code+%#lx", masks - stub.code);
			race(call_then_spin, &c);
			tried++;
		}
	}
	conclude(BLOCKED, "%u tries, %lu of them came back: all were preempted", tried,
		 shared->counter);
}

/* ---- altstack-move */

/*
 * Moves the signal stack to guest memory, so that siginfo's offset from the stub's
 * own stack, cut to 16 bits, is just out of range while mcontext's is not.
 */
static void move_by_sigreturn(uintptr_t site)
{
	static char stack[64 * PAGE] __attribute__((aligned(4096)));
	uintptr_t below_top, top, mctx;
	ucontext_t uc;

	below_top = stub.end - (uintptr_t)report.frame;
	for (top = (uintptr_t)stack + sizeof(stack); ; top -= 64) {
		mctx = (uint16_t)(top - below_top - report.stack);
		if (mctx <= PAGE - sizeof(mcontext_t) &&
		    mctx + FRAME_SIGINFO > PAGE - sizeof(siginfo_t))
			break;
		if (top < (uintptr_t)stack + 48 * PAGE)
			conclude(INCONCLUSIVE, "no place for the signal stack");
	}
	step("moving the host's signal stack");
	memset(stack, 0, sizeof(stack));	/* the host cannot fault it in */
	make_frame(&uc, (uintptr_t)landing, 0);
	uc.uc_stack.ss_sp = stack;
	uc.uc_stack.ss_size = top - (uintptr_t)stack;
	/* where the kernel looks for the frame, the values must look right */
	memset((void *)report.stack, 0, sizeof(struct _libc_fpstate));
	((mcontext_t *)(report.stack + mctx))->fpregs = (void *)report.stack;
	host_sigreturn(site, &uc);
	sigaltstack(NULL, NULL);	/* with a signal frame in every mode */
	conclude(BLOCKED, "a guest call went through with the signal stack moved");
}

/* Enters the kernel with rsp in the signal stack: the host then makes the frame below rsp. */
static void stop_on(uintptr_t rsp, unsigned int how)
{
	switch (how) {
	case 0:
		asm volatile("mov %%rsp, %%rbx\n\tmov %3, %%rsp\n\tsyscall\n\tmov %%rbx, %%rsp"
			     : : "a" (SYS_sigaltstack), "D" (0), "S" (0), "r" (rsp)
			     : "rbx", "rcx", "r11", "memory");
		break;
	case 1:
		asm volatile("mov %%rsp, %%rbx\n\tmov %0, %%rsp\n\tmovb $1, (%1)\n\tmov %%rbx, %%rsp"
			     : : "r" (rsp), "r" (reserve(PAGE)) : "rbx", "memory");
		break;
	case 2:
		/* a call that ends with a signal: the kernel needs all registers */
		asm volatile("mov %%rsp, %%rbx\n\tmov %3, %%rsp\n\tsyscall\n\tmov %%rbx, %%rsp"
			     : : "a" (SYS_kill), "D" (getpid()), "S" (SIGUSR1), "r" (rsp)
			     : "rbx", "rcx", "r11", "memory");
		break;
	default:
		asm volatile("mov %%rsp, %%rbx\n\tmov %0, %%rsp\n\tint3\n\tmov %%rbx, %%rsp"
			     : : "r" (rsp) : "rbx", "memory");
		break;
	}
}

struct place {
	uintptr_t rsp;
	unsigned int how;
};

static void take_signal(int sig)
{
	(void)sig;
}

static void try_rsp(void *arg)
{
	static char stack[16 * PAGE];
	static const stack_t other = { .ss_sp = stack, .ss_size = sizeof(stack) };
	static const struct sigaction sa = { .sa_handler = take_signal, .sa_flags = SA_ONSTACK };
	const struct place *p = arg;

	limit_child();
	sigaltstack(&other, NULL);
	sigaction(SIGUSR1, &sa, NULL);
	stop_on(p->rsp, p->how);
	shared->counter++;
	/* the child's signal stack is as before: an ordinary guest call */
	_exit(getpid() > 0 ? 0 : 1);
}

static unsigned int rsp_everywhere(void)
{
	struct place p;
	unsigned int n = 0;

	for (p.rsp = stub.code - 64; p.rsp <= stub.end + 64; p.rsp += p.rsp < stub.data ? 512 : 56) {
		for (p.how = 0; p.how < 4; p.how++, n++) {
			step("stopping with rsp at data%+ld", (long)(p.rsp - stub.data));
			in_child(try_rsp, &p);
		}
	}
	return n;
}

void altstack_move(void)
{
	static char stack[16 * PAGE];
	static const stack_t other = { .ss_sp = stack, .ss_size = sizeof(stack) };
	static const stack_t none = { .ss_flags = SS_DISABLE };
	struct page_call c = { .nr = SYS_sigaltstack };
	bool reports = find_report();
	unsigned int s, n;

	buffer = map_shared(PAGE);
	if (!reports && !find_control())
		conclude(INCONCLUSIVE, "what the stub's code reads was not found");
	for (s = 0; s < stub.nsites; s++) {
		step("sigaltstack at code+%#lx", stub.site[s] - stub.code);
		c.site = stub.site[s];
		c.arg[0] = (long)&other;
		c.arg[1] = (long)buffer;
		if (takes_effect(&c))
			conclude(BREACHED, "sigaltstack ran at code+%#lx", c.site - stub.code);
		c.arg[0] = (long)&none;
		if (takes_effect(&c))
			conclude(BREACHED, "sigaltstack ran at code+%#lx", c.site - stub.code);
	}
	n = rsp_everywhere();
	if (reports && find_sigreturn())
		move_by_sigreturn(find_sigreturn());
	conclude(BLOCKED, "sigaltstack ran at none of %u instructions; %lu of %u stops with rsp in the stub's pages came back",
		 stub.nsites, shared->counter, n);
}
