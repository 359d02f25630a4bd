// SPDX-License-Identifier: GPL-2.0-only
/*
 * The stub: finding its pages and its `syscall` instructions, and calling the host
 * through them.
 */
#include "hostile.h"

#include <asm/prctl.h>

#define HOST_TOP	0x7ffffffff000UL	/* end of a host address space */
#define SEARCH_PAGES	256

struct stub stub;

static sigjmp_buf probe_jmp;

void probe_fault(int sig)
{
	(void)sig;
	siglongjmp(probe_jmp, 1);
}

bool readable(uintptr_t page)
{
	if (sigsetjmp(probe_jmp, 1))
		return false;
	(void)*(volatile char *)page;
	return true;
}

bool writable(uintptr_t page)
{
	volatile char *p = (volatile char *)page;

	if (sigsetjmp(probe_jmp, 1))
		return false;
	*p = *p;
	return true;
}

/* The number that a `mov $nr, %eax` before the instruction loads. */
static long number_before(const unsigned char *insn)
{
	int32_t nr;

	if ((uintptr_t)insn < stub.code + 5 || insn[-5] != 0xb8)
		return -1;
	memcpy(&nr, insn - 4, sizeof(nr));
	return nr;
}

static void find_sites(void)
{
	const unsigned char *code = (const unsigned char *)stub.code;
	size_t i, size = stub.data - stub.code;

	for (i = 0; i + 1 < size && stub.nsites < MAX_SITES; i++) {
		if (code[i])
			stub.code_end = stub.code + i + 1;
		if (code[i] != 0x0f || code[i + 1] != 0x05)
			continue;
		stub.nr[stub.nsites] = number_before(code + i);
		stub.site[stub.nsites++] = stub.code + i;
	}
}

/*
 * The stub's own pages are at the end of the host's address space, above all that a
 * guest can map: the read-only code, then the writable data.
 */
void find_stub(void)
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

/*
 * Jumps to a `syscall` instruction of the stub by iretq, with all registers and
 * flags of the attacker. Then the stub's code runs up to some `ret`: each word of
 * the stack is the address of `landing`.
 */
asm("	.pushsection .bss\n"
    "	.balign 16\n"
    "home_rsp: .zero 8\n"
    "	.globl landing_flags\n"
    "landing_flags: .zero 8\n"
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
    "	lea	0x68(%rdi), %rsp\n"
    "	mov	0x00(%rdi), %rax\n"
    "	mov	0x10(%rdi), %rsi\n"
    "	mov	0x18(%rdi), %rdx\n"
    "	mov	0x20(%rdi), %r10\n"
    "	mov	0x28(%rdi), %r8\n"
    "	mov	0x30(%rdi), %r9\n"
    "	mov	0x38(%rdi), %rbx\n"
    "	mov	0x40(%rdi), %rbp\n"
    "	mov	0x48(%rdi), %r12\n"
    "	mov	0x50(%rdi), %r13\n"
    "	mov	0x58(%rdi), %r14\n"
    "	mov	0x60(%rdi), %r15\n"
    "	mov	0x08(%rdi), %rdi\n"
    "	iretq\n"
    "landing:\n"
    "	mov	home_rsp(%rip), %rsp\n"
    "	pushf\n"
    "	popq	landing_flags(%rip)\n"
    "	pushq	$0x202\n"
    "	popf\n"
    "	pop	%r15\n"
    "	pop	%r14\n"
    "	pop	%r13\n"
    "	pop	%r12\n"
    "	pop	%rbx\n"
    "	pop	%rbp\n"
    "	ret\n"
    "	.size	host_call_raw, . - host_call_raw\n"
    "	.popsection\n");

static_assert(offsetof(struct host_call, rbx) == 0x38 &&
	      offsetof(struct host_call, iret) == 0x68,
	      "host_call_raw() knows these offsets");

uint16_t segment_ss(void)
{
	uint16_t ss;

	asm("mov %%ss, %0" : "=r" (ss));
	return ss;
}

uint16_t segment_cs(void)
{
	uint16_t cs;

	asm("mov %%cs, %0" : "=r" (cs));
	return cs;
}

void prepare_call(struct host_call *call, uintptr_t site, long nr, const long arg[6])
{
	static uintptr_t stack[1024];
	static uintptr_t filler[2 * PAGE / sizeof(uintptr_t)];
	/* callee-saved registers point into zeroed memory */
	uint64_t fill = (uint64_t)&filler[ARRAY_SIZE(filler) / 2];
	size_t i;

	memset(filler, 0, sizeof(filler));
	for (i = 0; i < ARRAY_SIZE(stack); i++)
		stack[i] = (uintptr_t)landing;
	*call = (struct host_call){
		.rax = (uint64_t)nr,
		.rbx = fill, .rbp = fill, .r12 = fill, .r13 = fill,
		.r14 = fill, .r15 = fill,
		.iret = {
			.rip = site,
			.cs = segment_cs(),
			.eflags = 0x202,
			.rsp = (uint64_t)&stack[ARRAY_SIZE(stack) / 2],
			.ss = segment_ss(),
		},
	};
	memcpy(call->arg, arg, sizeof(call->arg));
}

long host_call_at(uintptr_t site, long nr, const long arg[6])
{
	struct host_call call;

	prepare_call(&call, site, nr, arg);
	if (control.back)
		prefill(control.back, 0, &call);
	return host_call_raw(&call);
}

/* The stub's code may loop, and the child's signal handlers may, too. */
void limit_child(void)
{
	signal(SIGALRM, SIG_DFL);
	signal(SIGSEGV, SIG_DFL);
	alarm_stretched(1);
}

/*
 * Arguments with which a call fails without an effect: a negative errno in rax
 * proves that control and the result come back.
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
	case SYS_close:		/* an fd that is not open */
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
	limit_child();
	ret = host_call_at(t->site, t->nr, args);
	_exit(ret == CAME_BACK || (ret < 0 && ret > -4096) ? 0 : 1);
}

/* Tries each site in a child: the code behind most sites ends the process. */
uintptr_t find_site(long nr)
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
	return 0;
}

uintptr_t site_for(long nr)
{
	uintptr_t site = find_site(nr);

	if (!site)
		conclude(BLOCKED, "none of %u syscall instructions comes back from system call %ld",
			 stub.nsites, nr);
	return site;
}

long host_mmap(uintptr_t addr, size_t len, int prot, int fd, long offset)
{
	return answered_call(SYS_mmap, (long)addr, (long)len, prot,
			     MAP_SHARED | MAP_FIXED, fd, offset);
}

/*
 * A load from @addr would fault, and the guest kernel would map a page. So the host
 * reads it as a msghdr: recvmsg from an empty socket fails with EFAULT only if
 * nothing is mapped there.
 */
bool host_has(uintptr_t addr)
{
	return host_call(SYS_recvmsg, 0, (long)addr, 0) != -EFAULT;
}

const char *outcome(long ret, uintptr_t addr)
{
	if (ret != (long)addr)
		return ret < 0 && ret > -4096 ? strerrordesc_np((int)-ret) :
						"a strange answer";
	return host_has(addr) ? "mapped" : "said to be done, but nothing is mapped";
}
