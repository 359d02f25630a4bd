// SPDX-License-Identifier: GPL-2.0-only
/*
 * Resume and wait: a guest runs with exactly the given state, and the report has exactly the state that
 * it had.
 */
#include "harness.h"
#include "host.h"
#include "window.h"

#include <cpuid.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <ucontext.h>

static struct window w, other;

static void start(void)
{
	window_init(STUBGUARD_REQUIRE);
	window_start(&w);
}

static void run(const char *what, unsigned long arg)
{
	window_guest(&w, what, arg);
	check_eq(window_run(&w), 0);
}

static void a_guest_calls_the_kernel_and_goes_on(void)
{
	start();
	run("call", SYS_getpid);
	/* It reached the kernel, not the host. */
	check_eq(w.event.signal, SIGSYS);
	check_eq(w.event.syscall, SYS_getpid);
	check_eq(w.regs.rax, SYS_getpid);
	run("report", 1234);
	check_eq(window_result(&w), 1234);
	check_eq(w.event.again, 0);
	check_eq(w.event.done, 0);
	check_eq(w.event.notified, 0);
	check_eq(stats().resynchronised, 0);
	check_eq(stats().breaches, 0);
}

static void one_notification_a_resume(void)
{
	unsigned int sends, receives, lifted, i;
	uint64_t served;

	start();
	for (i = 0; i < 20; i++) {
		sends = host_count(HOST_SEND);
		receives = host_count(HOST_RECV);
		lifted = host_count(HOST_PRLIMIT);
		served = stats().served;
		run("report", i);
		check_eq(window_result(&w), i);
		check_eq(host_count(HOST_SEND), sends + 1);
		check_eq(host_count(HOST_RECV), receives + 1);
		/* Without a batch no limit is lifted. */
		check_eq(host_count(HOST_PRLIMIT), lifted);
		check_eq(stats().served, served + 1);
	}
}

/* ---- general registers */

#define MARK(index) (0x1000000000000000UL + (index) * 0x0101010101010101UL)

static void mark(uint64_t *words)
{
	unsigned int i;

	for (i = 0; i < STUBGUARD_REGISTERS; i++)
		words[i] = MARK(i);
	w.regs.eflags = 0x246;
	w.regs.cs = 0x33;
	w.regs.ss = 0x2b;
	w.regs.fs_base = 0x1111000;
	w.regs.gs_base = 0x2222000;
}

static const char *const register_names[STUBGUARD_REGISTERS] = {
	"r15", "r14", "r13",	  "r12", "rbp", "rbx",	  "r11", "r10", "r9",
	"r8",  "rax", "rcx",	  "rdx", "rsi", "rdi",	  "orig_rax", "rip", "cs",
	"eflags", "rsp", "ss", "fs_base", "gs_base", "ds", "es", "fs", "gs",
};

/* rip, cs, eflags, rsp, ss and the 15 others, which a guest can change. */
static bool is_reported(unsigned int index)
{
	return index != 15 && index <= 20;
}

static void the_guest_has_the_registers_that_it_is_given(void)
{
	const unsigned long *seen;
	unsigned int i;

	start();
	seen = mm_frame(&w.mm, FRAME_GUEST_STACK) + 512;
	mark((uint64_t *)&w.regs);
	w.regs.rip = mm_guest_code("dump");
	w.regs.rsp = 0x123456789abcdef0;
	w.regs.eflags = 0x202 | 0x8d5 | 0x400 | 0x200000;
	check_eq(window_run(&w), 0);
	check_eq(window_result(&w), 1234);
	for (i = 0; i <= 20; i++) {
		if (!is_reported(i) || i == 16)
			continue;
		test_context("%s", register_names[i]);
		check_eq(seen[i], i == 17 ? 0x33 :
				  i == 18 ? 0x202 | 0x8d5 | 0x400 | 0x200000 :
				  i == 19 ? 0x123456789abcdef0 :
				  i == 20 ? 0x2b :
					    MARK(i));
	}
	test_context_end();
}

/* The output is other memory, which does not have the values already. */
static void what_it_reports_is_what_it_had(void)
{
	static uint64_t out[STUBGUARD_REGISTERS];
	static unsigned char fp[PAGE] __attribute__((aligned(64)));
	static siginfo_t info;
	uint64_t given[STUBGUARD_REGISTERS];
	struct stubguard_event event;
	unsigned int i;

	start();
	mark((uint64_t *)&w.regs);
	w.regs.rip = mm_guest_code("fault");
	memcpy(given, &w.regs, sizeof(given));
	memset(out, 0xaa, sizeof(out));
	check_eq(window_resume(&w), 0);
	event.size = sizeof(event);
	check_eq(stubguard_stub_wait(&w.stub, &w.mm, 0, &event, out, fp, &info), 0);
	check_eq(event.signal, SIGILL);
	check_eq(event.syscall, -1);
	check_eq(event.error_code, 0);
	check_eq(info.si_signo, SIGILL);
	check_eq(info.si_code, ILL_ILLOPN);
	check_eq((unsigned long)info.si_addr, mm_guest_code("fault"));
	/* A resume only reads its input. */
	check(!memcmp(given, &w.regs, sizeof(given)));
	for (i = 0; i < STUBGUARD_REGISTERS; i++) {
		test_context("%s", register_names[i]);
		if (!is_reported(i))
			check_eq(out[i], 0xaaaaaaaaaaaaaaaa);
		else if (i == 18)	/* RF: it has faulted */
			check_eq(out[i] & ~0x10000UL, given[i]);
		else
			check_eq(out[i], given[i]);
	}
	test_context_end();
}

static void each_flag_by_itself(void)
{
	/* CF, PF, AF, ZF, SF, DF, OF, NT, AC, ID */
	static const unsigned long flags[] = { 1,     4,      0x10,    0x40,	0x80,
					       0x400, 0x800,  0x4000, 0x40000, 0x200000 };
	size_t i;

	start();
	for (i = 0; i < COUNT(flags); i++) {
		test_context("flag %#lx", flags[i]);
		run("fault", 7);
		w.regs.eflags = 0x202 | flags[i];
		w.regs.rip = mm_guest_code("fault");
		check_eq(window_run(&w), 0);
		check_eq(w.event.signal, SIGILL);
		check_eq(w.regs.eflags & ~0x10000UL, 0x202 | flags[i]);
		/* The stub's code works with any flags of the guest. */
		window_map(&w, GUEST_FREE, FRAME_FREE, PROT_READ);
		w.regs.eflags = 0x202;
		window_is_sound(&w);
	}
}

static void flags_that_are_not_the_guests(void)
{
	start();
	/* A guest cannot clear IF, nor set IOPL, VIF, VIP and reserved bits. */
	window_guest(&w, "fault", 0);
	w.regs.eflags = 0x3000 | 0x80000 | 0xffffffff00000000UL;
	check_eq(window_run(&w), 0);
	check_eq(w.event.signal, SIGILL);
	check_eq(w.regs.eflags & ~0x10000UL, 0x202);
	w.regs.eflags = 0x202;
	window_is_sound(&w);
}

static void selectors_that_are_not_the_guests(void)
{
	static const unsigned long selectors[] = { 0, 3, 0x10, 0x18, 0x2b, 0x33, 0x3b, 0x43,
						   0xffff, -1UL };
	size_t i;

	start();
	for (i = 0; i < COUNT(selectors); i++) {
		test_context("selector %#lx", selectors[i]);
		window_guest(&w, "report", i);
		w.regs.cs = selectors[i];
		w.regs.ss = selectors[i];
		check_eq(window_run(&w), 0);
		check_eq(window_result(&w), (long)i);
		check_eq(w.regs.cs, 0x33);
		check_eq(w.regs.ss, 0x2b);
	}
}

static void a_guest_of_32_bits(void)
{
	/* inc %eax, which is a prefix in 64-bit code and so shows the mode; ud2 */
	static const unsigned char code[] = { 0x40, 0x40, 0x0f, 0x0b };
	const unsigned long low = 0x10000000;

	start();
	memcpy(mm_frame(&w.mm, FRAME_FREE), code, sizeof(code));
	window_map(&w, low, FRAME_FREE, PROT_READ | PROT_EXEC);
	window_guest(&w, "report", 0);
	w.regs.rip = low;
	w.regs.rax = 5;
	w.regs.cs = 0x23;
	check_eq(window_run(&w), 0);
	if (w.event.signal == SIGSEGV)
		test_skip("this host has no 32-bit code");
	check_eq(w.event.signal, SIGILL);
	check_eq(w.regs.rax, 7);
	check_eq(w.regs.cs, 0x23);
	check_eq(w.regs.rip, low + 2);
	w.regs.cs = 0x33;
	window_is_sound(&w);
}

/* ---- FS and GS base */

static void bases_are_those_that_it_is_given(void)
{
	unsigned int i;

	start();
	window_map(&w, GUEST_FREE, FRAME_FREE, PROT_READ);
	window_map(&w, GUEST_FREE + PAGE, FRAME_FREE + 1, PROT_READ);
	for (i = 0; i < 4; i++) {
		test_context("round %u", i);
		w.regs.fs_base = GUEST_FREE + (i & 1) * PAGE;
		w.regs.gs_base = GUEST_FREE + (i >> 1) * PAGE;
		run("read fs", 0);
		check_eq(window_result(&w), (long)frame_mark(FRAME_FREE + (i & 1)));
		run("read gs", 0);
		check_eq(window_result(&w), (long)frame_mark(FRAME_FREE + (i >> 1)));
	}
	test_context_end();
	/* Back to 0, where nothing is mapped. */
	w.regs.fs_base = 0;
	run("read fs", 0);
	check_eq(w.event.signal, SIGSEGV);
	check_eq(w.event.address, 0);
	run("read gs", 0);
	check_eq(window_result(&w), (long)frame_mark(FRAME_FREE + 1));
}

static void bases_that_are_not_the_guests_are_not_set(void)
{
	static const unsigned long bases[] = { STUB_START, STUB_DATA,	      0x7ffffffff000,
					       1UL << 47,  0x8000000000000000, -1UL,
					       -4096UL };
	size_t i;

	start();
	window_map(&w, GUEST_FREE, FRAME_FREE, PROT_READ);
	for (i = 0; i < COUNT(bases); i++) {
		test_context("base %#lx", bases[i]);
		w.regs.fs_base = GUEST_FREE;
		w.regs.gs_base = GUEST_FREE;
		run("read fs", 0);
		check_eq(window_result(&w), (long)frame_mark(FRAME_FREE));
		w.regs.fs_base = bases[i];
		w.regs.gs_base = bases[i];
		run("read fs", 0);
		check_eq(window_result(&w), (long)frame_mark(FRAME_FREE));
		run("read gs", 0);
		check_eq(window_result(&w), (long)frame_mark(FRAME_FREE));
	}
}

static void bases_come_after_a_failed_batch_too(void)
{
	start();
	window_map(&w, GUEST_FREE, FRAME_FREE, PROT_READ);
	w.regs.fs_base = GUEST_FREE;
	w.regs.gs_base = GUEST_FREE;
	/* The guest does not run, so its bases are not set yet. */
	mm_queue_unmap(&w.mm, GUEST_FREE + PAGE, PAGE);
	window_queue_refused(&w, GUEST_FREE + PAGE);
	window_guest(&w, "read fs", 0);
	check_eq(window_run(&w), 0);
	check_eq(w.event.error, -REFUSED_WITH);
	check_eq(w.event.done, 1);
	check_eq(w.event.signal, 0);
	run("read fs", 0);
	check_eq(window_result(&w), (long)frame_mark(FRAME_FREE));
	run("read gs", 0);
	check_eq(window_result(&w), (long)frame_mark(FRAME_FREE));
}

/* ---- floating point */

#define HEADER 512

static unsigned int component_offset(unsigned int component, unsigned int *size)
{
	unsigned int a, b, c, d;

	if (!__get_cpuid_count(0xd, component, &a, &b, &c, &d))
		return 0;
	*size = a;
	return b;
}

/* A state in which all components are in use, and have no default value. */
static void mark_fp(unsigned char *fp, unsigned int fp_size, unsigned char seed)
{
	uint64_t have = w.xfeatures;
	unsigned int component, offset, size, i;

	memset(fp, 0, fp_size);
	fp[0] = 0x7f;		/* x87: double precision */
	fp[1] = 0x02;
	fp[4] = 0xff;		/* all in use */
	fp[24] = 0x80;
	fp[25] = 0x3f;		/* MXCSR: rounds down */
	for (i = 0; i < 8 * 16; i++)
		fp[32 + i] = i % 16 < 10 ? (unsigned char)(seed + i) : 0;
	for (i = 0; i < 16 * 16; i++)
		fp[160 + i] = (unsigned char)(seed * 3 + i);
	for (component = 2; component < 8; component++) {
		offset = component_offset(component, &size);
		if (!(have & (1UL << component)) || component == 3 || component == 4 || !offset)
			continue;
		check_op(offset + size, <=, fp_size);
		for (i = 0; i < size; i++)
			fp[offset + i] = (unsigned char)(seed * 5 + component + i);
	}
	have &= 0xe7;
	memcpy(fp + HEADER, &have, sizeof(have));
}

static void same_fp(const unsigned char *a, const unsigned char *b)
{
	uint64_t have = w.xfeatures & 0xe7;
	unsigned int component, offset, size;

	test_context("x87 control");
	check(!memcmp(a, b, 6));
	test_context("MXCSR");
	check(!memcmp(a + 24, b + 24, 4));
	test_context("x87");
	check(!memcmp(a + 32, b + 32, 128));
	test_context("SSE");
	check(!memcmp(a + 160, b + 160, 256));
	for (component = 2; component < 8; component++) {
		offset = component_offset(component, &size);
		if (!(have & (1UL << component)) || !offset)
			continue;
		test_context("component %u", component);
		check(!memcmp(a + offset, b + offset, size));
	}
	test_context_end();
}

static void floating_point_state(void)
{
	static unsigned char given[PAGE] __attribute__((aligned(64)));
	unsigned int fp_size = model_config().fp_size, round;
	unsigned char *stack;

	start();
	stack = mm_frame(&w.mm, FRAME_GUEST_STACK);
	if (fp_size > PAGE - 1024 || fp_size < 576)
		test_skip("the state of this host is %u bytes", fp_size);
	for (round = 1; round < 4; round++) {
		test_context("round %u", round);
		mark_fp(given, fp_size, (unsigned char)(round * 17));
		memcpy(w.fp, given, fp_size);
		/* The guest gets the state. */
		memset(stack + 1024, 0, PAGE - 1024);
		window_guest(&w, "dump", 0);
		memcpy(stack + 504, &w.xfeatures, 8);
		check_eq(window_run(&w), 0);
		check_eq(window_result(&w), 1234);
		same_fp(stack + 1024, given);
		/* And its report has it. */
		same_fp(w.fp, given);
		memset(w.fp, 0xee, sizeof(w.fp));
		memcpy(w.fp, given, fp_size);
		run("fault", 0);
		check_eq(w.event.signal, SIGILL);
		same_fp(w.fp, given);
		/* Not a byte more is written. */
		check_eq(w.fp[fp_size], 0xee);
	}
	/* A component that is not in use gets its default, whatever it was before. */
	memset(w.fp, 0, sizeof(w.fp));
	window_set_up(&w);
	window_guest(&w, "dump", 0);
	w.fp[HEADER] = 0;
	memcpy(stack + 504, &w.xfeatures, 8);
	check_eq(window_run(&w), 0);
	check_eq(window_result(&w), 1234);
	for (round = 0; round < 256; round++)
		check_eq(stack[1024 + 160 + round], 0);
}

/* A guest's sigreturn or a debugger may leave unknown components, or a header of another format. */
static void floating_point_state_that_no_processor_loads(void)
{
	static unsigned char given[PAGE] __attribute__((aligned(64)));
	unsigned int fp_size = model_config().fp_size, at;

	start();
	if (fp_size < 576)
		test_skip("the state of this host is %u bytes", fp_size);
	mark_fp(given, fp_size, 5);
	/* From the last byte of the component mask on. */
	for (at = HEADER + 7; at < HEADER + 24; at++) {
		test_context("byte %u", at);
		memcpy(w.fp, given, fp_size);
		w.fp[at] |= 0x80;
		run("fault", 0);
		check_eq(w.event.signal, SIGILL);
		/* The valid components are loaded. */
		same_fp(w.fp, given);
	}
	test_context_end();
}

static void whose_floating_point_state_is_whose(void)
{
	static unsigned char given[PAGE] __attribute__((aligned(64)));
	unsigned int fp_size = model_config().fp_size;

	start();
	window_start(&other);
	mark_fp(given, fp_size, 77);
	memcpy(w.fp, given, fp_size);
	run("report", 1);
	same_fp(w.fp, given);
	window_is_sound(&other);
	check(memcmp(other.fp + 160, given + 160, 256));
	run("report", 1);
	same_fp(w.fp, given);
}

/* ---- how it stops */

static void a_page_fault(void)
{
	start();
	run("read", GUEST_FREE + 0x123);
	check_eq(w.event.signal, SIGSEGV);
	check_eq(w.event.address, GUEST_FREE + 0x123);
	check_eq(w.event.error_code, 4);
	check_eq(w.event.trap, 14);
	check_eq(w.info.si_signo, SIGSEGV);
	check_eq(w.info.si_code, SEGV_MAPERR);
	check_eq((unsigned long)w.info.si_addr, GUEST_FREE + 0x123);
	check_eq(w.regs.rip, mm_guest_code("read"));
	check_eq(w.regs.rdi, GUEST_FREE + 0x123);
	run("write", GUEST_FREE + 0x456);
	check_eq(w.event.error_code, 6);
	check_eq(w.event.address, GUEST_FREE + 0x456);
	window_map(&w, GUEST_FREE, FRAME_FREE, PROT_READ);
	run("read", GUEST_FREE + 8);
	check_eq(window_result(&w), (long)frame_mark(FRAME_FREE));
	run("write", GUEST_FREE + 8);
	check_eq(w.event.error_code, 7);
	/* An address that is not canonical gives no page fault. */
	run("read", 0x8000000000000000);
	check_eq(w.event.signal, SIGSEGV);
	check_eq(w.event.trap, 13);
	/* A jump to nowhere. */
	window_call_at(&w, GUEST_FREE + 4 * PAGE, 0, 0);
	check_eq(window_run(&w), 0);
	check_eq(w.event.signal, SIGSEGV);
	check_eq(w.event.again, 0);
	check_eq(w.event.error_code & 4, 4);
	check_eq(w.event.address, GUEST_FREE + 4 * PAGE);
	check_eq(w.regs.rip, GUEST_FREE + 4 * PAGE);
}

static void a_single_step(void)
{
	unsigned long at;
	int i;

	start();
	window_guest(&w, "nops", 0);
	at = w.regs.rip;
	w.step = 1;
	for (i = 1; i < 4; i++) {
		check_eq(window_run(&w), 0);
		check_eq(w.event.signal, SIGTRAP);
		check_eq(w.event.again, 0);
		check_eq(w.regs.rip, at + (unsigned long)i);
	}
	/* The monitor sets the trap flag: that of the frame does no harm. */
	w.step = 0;
	check(w.regs.eflags & 0x100);
	w.regs.rdi = 4;
	w.regs.rax = 5;
	check_eq(window_run(&w), 0);
	check_eq(window_result(&w), 5);
	check(!(w.regs.eflags & 0x100));
	/* With a batch the step is still the guest's first instruction. */
	window_guest(&w, "nops", 0);
	mm_queue_page(&w.mm, GUEST_FREE, FRAME_FREE, PROT_READ);
	w.regs.fs_base = GUEST_FREE;
	w.step = 1;
	check_eq(window_run(&w), 0);
	check_eq(w.event.signal, SIGTRAP);
	check_eq(w.regs.rip, at + 1);
}

static void other_signals(void)
{
	/* int3; then a division by zero */
	static const unsigned char code[] = { 0xcc, 0x31, 0xc9, 0x31, 0xd2, 0xf7, 0xf1 };

	start();
	memcpy(mm_frame(&w.mm, FRAME_FREE), code, sizeof(code));
	window_map(&w, GUEST_FREE, FRAME_FREE, PROT_READ | PROT_EXEC);
	window_call_at(&w, GUEST_FREE, 1, 0);
	check_eq(window_run(&w), 0);
	check_eq(w.event.signal, SIGTRAP);
	check_eq(w.regs.rip, GUEST_FREE + 1);
	check_eq(window_run(&w), 0);
	check_eq(w.event.signal, SIGFPE);
	check_eq(w.regs.rip, GUEST_FREE + 5);
	check_eq(w.event.trap, 0);
	check_eq(w.event.syscall, -1);
	check_eq(w.info.si_code, FPE_INTDIV);
	window_is_sound(&w);
}

/* Exceptions that give SIGBUS: an alignment check, and a push to an address that is not canonical */
static void a_bus_error(void)
{
	/* push %rax */
	static const unsigned char push = 0x50;

	start();
	window_guest(&w, "read", GUEST_STACK + 1);
	w.regs.eflags = 0x40202;
	check_eq(window_run(&w), 0);
	check_eq(w.event.signal, SIGBUS);
	check_eq(w.event.again, 0);
	check_eq(w.info.si_code, BUS_ADRALN);
	check_eq(w.regs.rip, mm_guest_code("read"));
	check_eq(w.regs.eflags & 0x40000, 0x40000);
	/* An aligned access works, and the stub's code works with the flag. */
	w.regs.rdi = GUEST_STACK;
	check_eq(window_run(&w), 0);
	check_eq(window_result(&w), *(long *)mm_frame(&w.mm, FRAME_GUEST_STACK));
	check_eq(w.regs.eflags & 0x40000, 0x40000);
	w.regs.eflags = 0x202;
	window_is_sound(&w);

	memcpy(mm_frame(&w.mm, FRAME_FREE), &push, 1);
	window_map(&w, GUEST_FREE, FRAME_FREE, PROT_READ | PROT_EXEC);
	window_call_at(&w, GUEST_FREE, 1, 0);
	w.regs.rsp = 0x8000000000000000;
	check_eq(window_run(&w), 0);
	check_eq(w.event.signal, SIGBUS);
	check_eq(w.event.again, 0);
	check_eq(w.regs.rip, GUEST_FREE);
	check_eq(w.regs.rsp, 0x8000000000000000);
	window_is_sound(&w);
}

/* Starts a guest, and waits until it runs. */
static void spins(void)
{
	volatile unsigned long *rounds = mm_frame(&w.mm, FRAME_GUEST_STACK);

	window_spin(&w);
	while (!*rounds)
		raw(SYS_sched_yield);
}

static void is_ticked(void)
{
	window_tick(&w);
	check_eq(window_wait(&w), 0);
	check_eq(w.event.signal, SIGALRM);
}

static void a_timer_signal(void)
{
	start();
	spins();
	is_ticked();
	check_eq(w.event.again, 0);
	check_eq(w.info.si_signo, SIGALRM);
	check_op(w.regs.rip, >=, mm_guest_code("spin"));
	check_op(w.regs.rip, <, mm_guest_code("spin") + 16);
	/* It continues where it was. */
	check_eq(window_resume(&w), 0);
	is_ticked();
	window_is_sound(&w);
}

static void a_running_guest_has_the_memory_and_cannot_map_it(void)
{
	start();
	mm_queue_page(&w.mm, GUEST_FREE, FRAME_FREE, PROT_READ);
	spins();
	window_is_limited(&w);
	is_ticked();
	window_is_limited(&w);
}

static void many_rounds(void)
{
	unsigned int i;

	start();
	for (i = 0; i < 300; i++) {
		unsigned int frame = FRAME_FREE + i % 8;

		mm_queue_page(&w.mm, GUEST_FREE, frame, PROT_READ);
		w.regs.fs_base = GUEST_FREE + 8 * (i % 5);
		if (i % 3 == 0)
			check_eq(window_sync(&w), 0);
		run(i % 2 ? "read fs" : "read", GUEST_FREE);
		check_eq(window_result(&w), (long)frame_mark(frame));
	}
	check_eq(stats().resynchronised, 0);
	check_eq(stats().breaches, 0);
}

static void two_stubs_at_a_time(void)
{
	start();
	window_start(&other);
	window_map(&w, GUEST_FREE, FRAME_FREE, PROT_READ);
	/* A page table grants nothing to another mm's stub. */
	mm_queue_map(&other.mm, GUEST_FREE, PAGE, FRAME_FREE, PROT_READ);
	check_eq(window_sync(&other), 0);
	check(!mm_mapping(&other.mm, GUEST_FREE)[0]);
	window_guest(&w, "read", GUEST_FREE);
	window_guest(&other, "report", 9);
	check_eq(window_resume(&w), 0);
	check_eq(window_resume(&other), 0);
	check_eq(window_wait(&other), 0);
	check_eq(window_result(&other), 9);
	check_eq(window_wait(&w), 0);
	check_eq(window_result(&w), (long)frame_mark(FRAME_FREE));
	check_eq(WTERMSIG(window_end(&other)), SIGKILL);
	window_is_sound(&w);
	check_eq(WTERMSIG(window_end(&w)), SIGKILL);
}

/* Only the documented outputs are written, and only on success. */
static void outputs_are_written_on_success_only(void)
{
	static uint64_t out[STUBGUARD_REGISTERS];
	static unsigned char fp[PAGE] __attribute__((aligned(64)));
	static siginfo_t info;
	struct stubguard_event event;
	size_t i;

	start();
	memset(out, 0xaa, sizeof(out));
	memset(fp, 0xaa, sizeof(fp));
	memset(&info, 0xaa, sizeof(info));
	/* After a batch there is no guest to report. */
	mm_queue_unmap(&w.mm, GUEST_FREE, PAGE);
	check_eq(window_resume_batch(&w), 0);
	w.mm.calls = 0;
	memset(&event, 0xaa, sizeof(event));
	event.size = sizeof(event);
	check_eq(stubguard_stub_wait(&w.stub, &w.mm, 0, &event, out, fp, &info), 0);
	check_eq(event.signal, 0);
	check_eq(event.syscall, -1);
	check_eq(event.error, 0);
	check_eq(event.notified, 0);
	/* The monitor is interrupted. */
	window_guest(&w, "report", 3);
	check_eq(window_resume(&w), 0);
	memset(&event, 0xaa, sizeof(event));
	event.size = sizeof(event);
	host_fail(HOST_RECV, 1, 1, EINTR);
	check_eq(stubguard_stub_wait(&w.stub, &w.mm, 0, &event, out, fp, &info), -EINTR);
	check_eq(event.signal, (int)0xaaaaaaaa);
	host_fail(HOST_RECV, 1, 1, EIO);
	check_eq(stubguard_stub_wait(&w.stub, &w.mm, 0, &event, out, fp, &info), -EIO);
	check_eq(event.signal, (int)0xaaaaaaaa);
	for (i = 0; i < COUNT(out); i++)
		check_eq(out[i], 0xaaaaaaaaaaaaaaaa);
	for (i = 0; i < sizeof(fp); i++)
		check_eq(fp[i], 0xaa);
	for (i = 0; i < sizeof(info); i++)
		check_eq(((unsigned char *)&info)[i], 0xaa);
	window_is_lost(&w);
}

/* ---- a signal handler may call a function that it has interrupted */

static volatile unsigned int handled;

static void call_all(int sig)
{
	struct stubguard_stub stub;

	(void)sig;
	window_is_sound(&other);
	mm_queue_unmap(&other.mm, GUEST_FREE, PAGE);
	check_eq(window_sync(&other), 0);
	check_eq(stubguard_stub_lives(&w.stub), 1);
	check_eq(stubguard_stub_take(&stub), 0);
	handled++;
}

static void a_handler_may_call_again(void)
{
	struct sigaction action = { .sa_handler = call_all, .sa_flags = SA_RESTART };
	struct itimerval often = { { 0, 200 }, { 0, 200 } }, never = { { 0, 0 }, { 0, 0 } };
	unsigned int round;

	start();
	window_start(&other);
	other.cpu = 1;
	check_eq(sigaction(SIGVTALRM, &action, NULL), 0);
	check_eq(raw(SYS_setitimer, ITIMER_VIRTUAL, &often, 0), 0);
	for (round = 0; handled < 20; round++) {
		mm_queue_page(&w.mm, GUEST_FREE, FRAME_FREE + round % 8, PROT_READ);
		run("read", GUEST_FREE);
		check_eq(window_result(&w), (long)frame_mark(FRAME_FREE + round % 8));
	}
	check_eq(raw(SYS_setitimer, ITIMER_VIRTUAL, &never, 0), 0);
	check_eq(stats().breaches, 0);
}

static const struct test tests[] = {
	TEST(a_guest_calls_the_kernel_and_goes_on),
	TEST(one_notification_a_resume),
	TEST(the_guest_has_the_registers_that_it_is_given),
	TEST(what_it_reports_is_what_it_had),
	TEST(each_flag_by_itself),
	TEST(flags_that_are_not_the_guests),
	TEST(selectors_that_are_not_the_guests),
	TEST(a_guest_of_32_bits),
	TEST(bases_are_those_that_it_is_given),
	TEST(bases_that_are_not_the_guests_are_not_set),
	TEST(bases_come_after_a_failed_batch_too),
	TEST(floating_point_state),
	TEST(floating_point_state_that_no_processor_loads),
	TEST(whose_floating_point_state_is_whose),
	TEST(a_page_fault),
	TEST(a_single_step),
	TEST(other_signals),
	TEST(a_bus_error),
	TEST(a_timer_signal),
	TEST(a_running_guest_has_the_memory_and_cannot_map_it),
	TEST(many_rounds),
	TEST(two_stubs_at_a_time),
	TEST(outputs_are_written_on_success_only),
	TEST(a_handler_may_call_again),
};

HARNESS_MAIN(tests)
