// SPDX-License-Identifier: GPL-2.0-only
/*
 * Chaos: processes that do to their stubs, their memory and each other whatever comes next in a random sequence. Nobody
 * judges a single act. A witness beside them must keep its memory, its registers and its results; the kernel must print no
 * fault of its own, and the mapping oracle must find nothing (run.sh). Best on a kernel that checks itself (debug-guests.sh).
 *
 * CHAOS_SECONDS (10), CHAOS_SEED (random): for the same acts again, though not in the same order.
 */
#include "hostile.h"

#include <asm/prctl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/time.h>
#include <sys/uio.h>

#define TOGETHER	5		/* processes, each with a thread or two */
#define ACTS		60		/* of a process */
#define ARENA		64		/* pages, which all acts on memory use */
#define WITNESS_PAGES	128

static uint64_t state;			/* of the random numbers */
static char *arena;
static pid_t pids[TOGETHER];

static uint64_t next(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static uint64_t below(uint64_t n)
{
	return next() % n;
}

static bool once_in(uint64_t n)
{
	return below(n) == 0;
}

/* A number that may mean something to somebody */
static uint64_t number(void)
{
	const uint64_t some[] = {
		0, 1, 2, 8, 0x1000, 0x1001, 4096, 14, 31, 11, UINT_MAX, INT_MAX, UINT64_MAX, 1UL << 47, 1UL << 63,
		stub.code, stub.data, stub.data + PAGE, stub.end, stub.end - 8, (uint64_t)arena, (uint64_t)landing,
		park.site, (uint64_t)park.frame, 0xffffffff81000000, stub.code + below(PAGE), stub.data + below(2 * PAGE),
		(uint64_t)arena + below(ARENA * PAGE), park.ticket ? *park.ticket - 1 : 0, park.ticket ? *park.ticket : 0,
	};

	switch (below(4)) {
	case 0:
		return next();
	case 1:
		return below(256);
	default:
		return some[below(ARRAY_SIZE(some))];
	}
}

static pid_t somebody(void)
{
	return pids[below(TOGETHER)];
}

/* ---- the stub */

static void jump(void)
{
	const long arg[6] = { (long)number(), (long)number(), (long)number(), (long)number(), (long)number(), (long)number() };
	struct host_call call;

	prepare_call(&call, stub.code + (once_in(2) ? below(stub.code_end - stub.code) : below(PAGE)), (long)number(), arg);
	if (once_in(2))
		call.rax = 1;
	if (once_in(3))
		call.iret.eflags |= (uint64_t[]){ 0x100, 0x400, 0x4000, 0x40000 }[below(4)];
	if (once_in(4))
		call.rbx = call.r12 = call.r13 = number();
	if (control.back && once_in(2))
		prefill(once_in(2) ? control.back : (uint32_t)number(), (uint32_t)below(4), &call);
	host_call_raw(&call);
}

static void scribble(void)
{
	unsigned int n = 1 + (unsigned int)below(8);

	while (n--)
		((volatile uint64_t *)stub.data)[below((stub.end - stub.data) / 8)] = number();
}

static void park_by_hand(void)
{
	static const int64_t off[] = { 0, 0, 0, -1, -1, 1 };

	if (!park.site)
		return;
	make_park_frame(once_in(4) ? number() : (uintptr_t)landing);
	set_park_syscall((int32_t)below(500));
	park.frame->uc_mcontext.gregs[below(NGREG)] = (greg_t)number();
	park.frame->uc_mcontext.gregs[REG_RIP] = (greg_t)landing;
	if (once_in(3))
		scribble();
	park.forged = (uint64_t)off[below(ARRAY_SIZE(off))];
	if (once_in(4))
		forge_park(number(), number(), number());
	else
		forge_park((uint64_t[]){ SIGSYS, SIGSEGV, SIGALRM, SIGTRAP, 0x1000, 0x1001 }[below(6)],
			   (uint64_t)park_siginfo(), (uint64_t)park.frame);
}

/* ---- memory */

static void *some_page(void)
{
	return arena + below(ARENA) * PAGE;
}

static size_t some_size(void)
{
	return (1 + below(8)) * PAGE;
}

static void change_memory(void)
{
	static const int advice[] = { MADV_DONTNEED, MADV_FREE, MADV_DONTFORK, MADV_DOFORK, MADV_WIPEONFORK, MADV_POPULATE_WRITE };
	char *page = (char *)some_page();
	size_t size = some_size();
	int prot = (int)below(8);

	if (page + size > arena + ARENA * PAGE)
		size = PAGE;
	switch (below(7)) {
	case 0:
		mmap(page, size, prot, MAP_FIXED | MAP_ANONYMOUS | (once_in(2) ? MAP_SHARED : MAP_PRIVATE), -1, 0);
		break;
	case 1:
		munmap(page, size);
		break;
	case 2:
		mprotect(page, size, prot);
		break;
	case 3:
		mremap(page, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, some_page());
		break;
	case 4:
		madvise(page, size, advice[below(ARRAY_SIZE(advice))]);
		break;
	case 5:
		/* Pages of the stub: the kernel must refuse */
		mmap((void *)(stub.code - PAGE * below(3)), 4 * PAGE, prot, MAP_FIXED | MAP_ANONYMOUS | MAP_PRIVATE, -1, 0);
		munmap((void *)(stub.code & ~(PAGE - 1)), size);
		mprotect((void *)stub.code, size, PROT_READ | PROT_WRITE | PROT_EXEC);
		break;
	default:
		/* All of it again, so that there is something to change */
		mmap(arena, ARENA * PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_FIXED | MAP_ANONYMOUS | MAP_PRIVATE, -1, 0);
		memset(arena, (int)next(), ARENA * PAGE);
	}
}

static void touch(void)
{
	volatile char *byte = (char *)some_page() + below(PAGE);

	if (once_in(2))
		*byte = (char)next();
	else
		(void)*byte;
}

/* ---- the kernel */

static void call_kernel(void)
{
	/* Not those that end the guest, wait for ever, or write files */
	static const int calls[] = {
		SYS_read, SYS_getpid, SYS_getppid, SYS_rt_sigprocmask, SYS_sigaltstack, SYS_arch_prctl, SYS_futex, SYS_nanosleep,
		SYS_sched_yield, SYS_set_robust_list, SYS_rseq, SYS_membarrier, SYS_getrandom, SYS_uname, SYS_times,
		SYS_rt_sigreturn, SYS_rt_sigtimedwait, SYS_mincore, SYS_pipe, SYS_getcwd, SYS_sysinfo, SYS_set_tid_address, SYS_poll,
	};
	const struct timespec moment = { 0, (long)below(2000000) };
	int nr = calls[below(ARRAY_SIZE(calls))];

	if (nr == SYS_nanosleep)
		syscall(nr, &moment, NULL);
	else if (nr == SYS_futex)
		syscall(nr, number(), once_in(2) ? FUTEX_WAKE : FUTEX_WAIT, number(), &moment);
	else if (nr == SYS_rt_sigtimedwait || nr == SYS_poll || nr == SYS_read)
		syscall(nr, -1, 0, &moment, 8);
	else
		syscall(nr, number(), number(), number(), number(), number(), number());
}

static void change_registers(void)
{
	uint32_t mxcsr = (uint32_t)next() & 0xffff;

	switch (below(4)) {
	case 0:
		syscall(SYS_arch_prctl, ARCH_SET_GS, number());
		break;
	case 1:
		_mm_setcsr(mxcsr);
		break;
	case 2: {
		uint16_t cw = (uint16_t)next();

		asm volatile("fldcw %0" : : "m" (cw));
		break;
	}
	default:
		asm volatile("pushfq; orq %0, (%%rsp); popfq" : : "r" ((uint64_t[]){ 0x400, 0x4000, 0x40000, 0x200000 }[below(4)])
			     : "cc", "memory");
		asm volatile("cld");
	}
}

static void nothing(int sig)
{
	(void)sig;
}

/* Handlers and stacks of signals, in the stub too, and signals */
static void send_signals(void)
{
	static const int signals[] = { SIGUSR1, SIGALRM, SIGVTALRM, SIGSEGV, SIGSYS, SIGTRAP, SIGCONT, SIGCHLD };
	const struct itimerval soon = { .it_value = { .tv_usec = (suseconds_t)(1 + below(5000)) } };
	struct sigaction sa = { .sa_handler = once_in(3) ? (void (*)(int))number() : nothing,
				.sa_flags = once_in(2) ? SA_ONSTACK : 0 };
	stack_t stack = { .ss_sp = (void *)number(), .ss_size = 4 * PAGE };
	pid_t other;

	switch (below(5)) {
	case 0:
		sigaction(signals[below(ARRAY_SIZE(signals))], &sa, NULL);
		break;
	case 1:
		sigaltstack(&stack, NULL);
		break;
	case 2:
		setitimer(once_in(2) ? ITIMER_REAL : ITIMER_VIRTUAL, &soon, NULL);
		break;
	case 3:
		other = somebody();
		if (other > 0) {
			kill(other, SIGSTOP);
			sched_yield();
			kill(other, SIGCONT);
		}
		break;
	default:
		other = somebody();
		if (other > 0)
			kill(other, once_in(8) ? SIGKILL : signals[below(ARRAY_SIZE(signals))]);
	}
}

static void trace(void)
{
	pid_t other = somebody();
	int status, steps = (int)below(6);
	struct user_regs_struct { uint64_t word[27]; } regs;

	if (other <= 0 || other == getpid() || ptrace(PTRACE_ATTACH, other, 0, 0))
		return;
	/* Whoever is stopped already, or traces us, must not keep us */
	while (waitpid(other, &status, __WALL | WNOHANG) == 0 && steps++ < 2000)
		usleep(100);
	if (WIFSTOPPED(status) && ptrace(PTRACE_GETREGS, other, 0, &regs) == 0) {
		if (once_in(2))
			regs.word[below(27)] = number();
		if (once_in(3))
			regs.word[16] = stub.code + below(PAGE);
		ptrace(PTRACE_SETREGS, other, 0, &regs);
		ptrace(PTRACE_POKEDATA, other, number() & ~7UL, number());
		if (ptrace(once_in(2) ? PTRACE_SINGLESTEP : PTRACE_SYSCALL, other, 0, 0) == 0)
			for (steps = 0; waitpid(other, &status, __WALL | WNOHANG) == 0 && steps < 50; steps++)
				usleep(100);
	}
	if (once_in(4))
		kill(other, SIGKILL);
	ptrace(PTRACE_DETACH, other, 0, SIGCONT);
}

static void copy_elsewhere(void)
{
	struct iovec own = { arena, some_size() }, others = { once_in(4) ? (void *)number() : some_page(), some_size() };
	pid_t other = somebody();

	if (other > 0)
		syscall(once_in(2) ? SYS_process_vm_writev : SYS_process_vm_readv, other, &own, 1, &others, 1, 0);
}

static void filter_calls(void)
{
	static struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	static const struct sock_fprog program = { ARRAY_SIZE(filter), filter };

	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, once_in(2) ? SECCOMP_FILTER_FLAG_TSYNC : 0, &program);
}

static void act(void);

static int thread(void *arg)
{
	int i;

	(void)arg;
	for (i = 0; i < 20; i++)
		act();
	syscall(SYS_exit, 0);
	return 0;
}

static void more_of_us(void)
{
	char *stack = arena + 4 * PAGE;
	pid_t pid;

	switch (below(3)) {
	case 0:
		/* Both use the same random numbers, home_rsp and arena */
		clone(thread, stack, CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM, NULL);
		break;
	case 1:
		pid = fork();
		if (pid == 0) {
			int i = 10;

			while (i--)
				act();
			_exit(0);
		}
		break;
	default:
		pid = vfork();
		if (pid == 0)
			_exit(0);
	}
	waitpid(-1, NULL, WNOHANG);
}

static void act(void)
{
	static void (*const acts[])(void) = {
		jump, jump, jump, scribble, scribble, park_by_hand, park_by_hand, change_memory, change_memory, change_memory,
		touch, touch, call_kernel, call_kernel, change_registers, send_signals, send_signals, trace, copy_elsewhere,
		filter_calls, more_of_us,
	};

	acts[below(ARRAY_SIZE(acts))]();
}

static sigjmp_buf after_act;

static void go_on_after(int sig)
{
	(void)sig;
	siglongjmp(after_act, 1);
}

static void go_wild(uint64_t seed, unsigned int number_of_this)
{
	static const int faults[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGSYS };
	struct sigaction sa = { .sa_handler = go_on_after, .sa_flags = SA_ONSTACK | SA_NODEFER };
	stack_t stack = { .ss_sp = (void *)reserve(16 * PAGE), .ss_size = 16 * PAGE };
	static struct shared own;
	volatile int left = ACTS;
	size_t i;

	state = seed + number_of_this * 0x9e3779b97f4a7c15;
	for (i = 0; i < 4; i++)
		next();
	/* Wherever it gets, it must not be able to end the others, or to speak for them, by plain calls and stores */
	own = *shared;
	munmap(shared, sizeof(*shared));
	shared = &own;
	drop_privileges();
	sigaltstack(&stack, NULL);
	for (i = 0; i < ARRAY_SIZE(faults); i++)
		sigaction(faults[i], &sa, NULL);
	/* It may wait for ever, or be stopped */
	alarm(5);
	sigsetjmp(after_act, 1);
	while (left-- > 0)
		act();
	_exit(0);
}

/* ---- the witness */

static void be_witness(void)
{
	volatile uint64_t *memory = (uint64_t *)reserve(WITNESS_PAGES * PAGE);
	pid_t self = getpid();
	uint64_t round, i, sum;
	double x = 1;

	for (round = 1; !shared->stop; round++) {
		for (i = 0; i < WITNESS_PAGES; i++)
			memory[i * PAGE / 8] = round * i;
		for (i = 0, sum = 0; i < 1000; i++) {
			x = x * 1.0000001 + 1e-9;
			sum += (uint64_t)syscall(SYS_getpid);
		}
		if (sum != (uint64_t)self * 1000)
			conclude(BREACHED, "a witness had wrong results of calls");
		if (once_in(8)) {
			pid_t pid = fork();

			if (pid == 0)
				_exit(7);
			if (waitpid(pid, (int *)&sum, 0) != pid)
				conclude(BREACHED, "a witness has lost a child");
		}
		for (i = 0; i < WITNESS_PAGES; i++)
			if (memory[i * PAGE / 8] != round * i)
				conclude(BREACHED, "a witness has lost its memory");
		if (!(x >= 1))
			conclude(BREACHED, "a witness has lost its floating-point registers");
	}
	_exit(0);
}

/* ---- all of it */

static uint64_t from_environment(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text ? strtoull(text, NULL, 0) : otherwise;
}

void chaos(void)
{
	uint64_t seed = from_environment("CHAOS_SEED", (uint64_t)time(NULL) << 20 ^ (uint64_t)getpid());
	double end = own_time() + (double)from_environment("CHAOS_SECONDS", 10);
	unsigned int i, processes = 0;
	pid_t witness, pid;
	int status;

	step("looking for what the stub reads");
	if (!find_report() && find_control())
		find_park();
	arena = (char *)reserve(ARENA * PAGE);
	memset(arena, 1, ARENA * PAGE);
	state = seed | 1;
	witness = fork();
	if (witness == 0)
		be_witness();
	step("chaos, seed %lu", seed);
	while (own_time() < end && shared->kind == PENDING) {
		for (i = 0; i < TOGETHER; i++) {
			if (pids[i] > 0)
				continue;
			pid = fork();
			if (pid == 0) {
				/* A group of its own: with it all that it leaves ends */
				setpgid(0, 0);
				go_wild(seed, processes);
			}
			processes++;
			pids[i] = pid;
		}
		usleep(2000);
		while ((pid = waitpid(-1, &status, WNOHANG | WUNTRACED)) > 0) {
			for (i = 0; i < TOGETHER; i++)
				if (pids[i] == pid)
					break;
			if (pid == witness && !WIFSTOPPED(status))
				conclude(BREACHED, "the witness has ended with status %#x, seed %lu", status, seed);
			if (WIFSTOPPED(status) && !once_in(2))
				continue;
			kill(-pid, SIGKILL);
			if (!WIFSTOPPED(status) && i < TOGETHER)
				pids[i] = 0;
		}
	}
	shared->stop = true;
	for (i = 0; i < TOGETHER; i++)
		if (pids[i] > 0)
			kill(-pids[i], SIGKILL);
	if (waitpid(witness, &status, 0) != witness || status)
		conclude(BREACHED, "the witness has ended with status %#x, seed %lu", status, seed);
	if (shared->kind == PENDING)
		conclude(BLOCKED, "a witness has noticed nothing of %u processes, seed %lu", processes, seed);
}
