// SPDX-License-Identifier: GPL-2.0-only
/*
 * A hijacked stub: a guest jumps to any place in the stub's code page, with registers and memory of its
 * own. It gains nothing that a guest does not have anyway.
 */
#include "harness.h"
#include "host.h"
#include "window.h"

#include <errno.h>
#include <linux/audit.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>

#define ARCH_SET_GS 0x1001
#define ARCH_SET_FS 0x1002
#define X32 0x40000000L
#define HIGH (1UL << 32)
#define MAP_FLAGS (MAP_SHARED | MAP_FIXED)

static struct window w;
/* The code page, which an attacker can read. */
static unsigned char code[PAGE] __attribute__((aligned(8)));
static unsigned int code_length;

static void init(void)
{
	window_init(STUBGUARD_REQUIRE);
	code_length = (unsigned int)stubguard_stub_code(code);
	check_op(code_length, <, GADGET);
}

static void start(void)
{
	init();
	window_start(&w);
}

static unsigned long site(long nr, unsigned int index)
{
	int at = window_site(code, nr, index);

	check_op(at, >=, 0);
	return STUB_START + (unsigned long)at;
}

/* The code ends with the limits for prlimit, a word, and the empty signal mask. */
static unsigned long nothing(void)
{
	return STUB_START + code_length - 32;
}

static unsigned long mask(void)
{
	return STUB_START + code_length - 8;
}

static void is_killed(unsigned long ip, long nr, const unsigned long *args)
{
	window_start(&w);
	window_call(&w, ip, nr, args[0], args[1], args[2], args[3], args[4], args[5]);
	check_eq(window_resume(&w), 0);
	window_has_been_killed(&w);
}

/* ---- the sites */

static void the_code_has_these_calls(void)
{
	static const long numbers[] = { PARK_NR,	    SYS_mmap,	    SYS_munmap,
					SYS_mprotect,	    SYS_prlimit64,  SYS_arch_prctl,
					SYS_arch_prctl,	    SYS_rt_sigprocmask,
					SYS_exit_group };
	unsigned int offsets[32], i;

	init();
	/* None is by chance in the middle of another instruction. */
	check_eq(window_sites(code, offsets, COUNT(offsets)), COUNT(numbers));
	for (i = 0; i < COUNT(numbers); i++)
		check_eq(window_site_nr(code, offsets[i]), numbers[i]);
}

struct row {
	const char *what;
	long site_nr;
	unsigned int site_index;
	long nr;
	unsigned long args[6];
};

static void arguments_that_are_not_the_sites_kill(void)
{
	static const unsigned long free_page = GUEST_FREE, stub = STUB_START;

	init();

	const struct row rows[] = {
		{ "a protection", SYS_mmap, 0, SYS_mmap, { free_page, PAGE, 8, MAP_FLAGS, 1 } },
		{ "growing", SYS_mmap, 0, SYS_mmap,
		  { free_page, PAGE, 0x01000001, MAP_FLAGS, 1 } },
		{ "protection above", SYS_mmap, 0, SYS_mmap,
		  { free_page, PAGE, HIGH | 1, MAP_FLAGS, 1 } },
		{ "private", SYS_mmap, 0, SYS_mmap,
		  { free_page, PAGE, 1, MAP_PRIVATE | MAP_FIXED, 1 } },
		{ "not fixed", SYS_mmap, 0, SYS_mmap, { free_page, PAGE, 1, MAP_SHARED, 1 } },
		{ "anonymous", SYS_mmap, 0, SYS_mmap,
		  { free_page, PAGE, 1, MAP_FLAGS | MAP_ANONYMOUS, 1 } },
		{ "flags above", SYS_mmap, 0, SYS_mmap,
		  { free_page, PAGE, 1, MAP_FLAGS | HIGH, 1 } },
		{ "fd 0", SYS_mmap, 0, SYS_mmap, { free_page, PAGE, 1, MAP_FLAGS, 0 } },
		{ "fd 2", SYS_mmap, 0, SYS_mmap, { free_page, PAGE, 1, MAP_FLAGS, 2 } },
		{ "fd -1", SYS_mmap, 0, SYS_mmap, { free_page, PAGE, 1, MAP_FLAGS, -1UL } },
		{ "the stub's code", SYS_mmap, 0, SYS_mmap, { stub, PAGE, 5, MAP_FLAGS, 1 } },
		{ "the stub's data", SYS_mmap, 0, SYS_mmap, { STUB_DATA, PAGE, 1, MAP_FLAGS, 1 } },
		{ "into the stub", SYS_mmap, 0, SYS_mmap,
		  { stub - PAGE, PAGE + 1, 1, MAP_FLAGS, 1 } },
		{ "above", SYS_mmap, 0, SYS_mmap, { 1UL << 47, PAGE, 1, MAP_FLAGS, 1 } },
		{ "it wraps", SYS_mmap, 0, SYS_mmap, { free_page, -PAGE, 1, MAP_FLAGS, 1 } },
		{ "it wraps in the low half", SYS_mmap, 0, SYS_mmap,
		  { stub - PAGE, 0xfffff000, 1, MAP_FLAGS, 1 } },

		{ "the stub's code", SYS_munmap, 0, SYS_munmap, { stub, PAGE } },
		{ "the stub's data", SYS_munmap, 0, SYS_munmap, { STUB_DATA, PAGE } },
		{ "into the stub", SYS_munmap, 0, SYS_munmap, { 0, stub + 1 } },
		{ "into the stub", SYS_munmap, 0, SYS_munmap, { stub - PAGE, PAGE + 1 } },
		{ "above", SYS_munmap, 0, SYS_munmap, { 1UL << 47, PAGE } },
		{ "all", SYS_munmap, 0, SYS_munmap, { 0, -PAGE } },
		{ "it wraps", SYS_munmap, 0, SYS_munmap, { free_page, -free_page } },
		{ "it wraps", SYS_munmap, 0, SYS_munmap, { -PAGE, 2 * PAGE } },
		{ "halves that carry", SYS_munmap, 0, SYS_munmap,
		  { stub - PAGE, 0x80000000 } },
		{ "halves that carry twice", SYS_munmap, 0, SYS_munmap,
		  { 0x0000100090000000, 0x0000100090000000 } },

		{ "the stub's code", SYS_mprotect, 0, SYS_mprotect, { stub, PAGE, 5 } },
		{ "the stub's data", SYS_mprotect, 0, SYS_mprotect, { STUB_DATA, PAGE, 5 } },
		{ "into the stub", SYS_mprotect, 0, SYS_mprotect, { 0, stub + 1, 5 } },
		{ "above", SYS_mprotect, 0, SYS_mprotect, { 1UL << 47, PAGE, 5 } },
		{ "it wraps", SYS_mprotect, 0, SYS_mprotect, { -PAGE, 2 * PAGE, 5 } },
		{ "to write", SYS_mprotect, 0, SYS_mprotect, { free_page, PAGE, 7 } },
		{ "to write alone", SYS_mprotect, 0, SYS_mprotect, { free_page, PAGE, 2 } },
		{ "only to read", SYS_mprotect, 0, SYS_mprotect, { free_page, PAGE, 1 } },
		{ "no rights", SYS_mprotect, 0, SYS_mprotect, { free_page, PAGE, 0 } },
		{ "growing", SYS_mprotect, 0, SYS_mprotect, { free_page, PAGE, 0x01000005 } },
		{ "rights above", SYS_mprotect, 0, SYS_mprotect, { free_page, PAGE, HIGH | 5 } },

		{ "another's", SYS_prlimit64, 0, SYS_prlimit64, { 1, 9, nothing(), 0 } },
		{ "another limit", SYS_prlimit64, 0, SYS_prlimit64, { 0, 7, nothing(), 0 } },
		{ "a limit of its own", SYS_prlimit64, 0, SYS_prlimit64, { 0, 9, GUEST_STACK, 0 } },
		{ "the code as limit", SYS_prlimit64, 0, SYS_prlimit64, { 0, 9, nothing() + 8, 0 } },
		{ "half an address", SYS_prlimit64, 0, SYS_prlimit64,
		  { 0, 9, (unsigned int)nothing(), 0 } },
		{ "to store the old one", SYS_prlimit64, 0, SYS_prlimit64,
		  { 0, 9, nothing(), GUEST_STACK } },
		{ "no limit", SYS_prlimit64, 0, SYS_prlimit64, { 0, 9, 0, 0 } },

		{ "to block", SYS_rt_sigprocmask, 0, SYS_rt_sigprocmask, { 0, mask(), 0, 8 } },
		{ "a mask of its own", SYS_rt_sigprocmask, 0, SYS_rt_sigprocmask,
		  { 2, GUEST_STACK, 0, 8 } },
		{ "the code as mask", SYS_rt_sigprocmask, 0, SYS_rt_sigprocmask,
		  { 2, mask() - 8, 0, 8 } },
		{ "half an address", SYS_rt_sigprocmask, 0, SYS_rt_sigprocmask,
		  { 2, (unsigned int)mask(), 0, 8 } },
		{ "to store the old one", SYS_rt_sigprocmask, 0, SYS_rt_sigprocmask,
		  { 2, mask(), GUEST_STACK, 8 } },
		{ "no mask", SYS_rt_sigprocmask, 0, SYS_rt_sigprocmask, { 2, 0, 0, 8 } },

		/* A host with FSGSBASE needs no such call, and the filter allows none. */
		{ "the FS base", SYS_arch_prctl, 0, SYS_arch_prctl, { ARCH_SET_FS, GUEST_FREE } },
		{ "the GS base", SYS_arch_prctl, 1, SYS_arch_prctl, { ARCH_SET_GS, GUEST_FREE } },
		{ "to end", SYS_exit_group, 0, SYS_exit_group, { 0 } },
		{ "to end a thread", SYS_exit_group, 0, SYS_exit, { 0 } },
		{ "to return from a signal", SYS_exit_group, 0, SYS_rt_sigreturn, { 0 } },
	};
	size_t i;

	if (!(stubguard_features() & STUBGUARD_F_FSGSBASE))
		test_skip("a host without FSGSBASE");
	for (i = 0; i < COUNT(rows); i++) {
		test_context("%s (call %ld, row %zu)", rows[i].what, rows[i].nr, i);
		is_killed(site(rows[i].site_nr, rows[i].site_index), rows[i].nr, rows[i].args);
	}
}

/* Each site's call with its right arguments, at every other site. */
static void calls_of_other_sites_kill(void)
{
	init();

	const struct {
		long nr;
		unsigned long args[6];
	} calls[] = {
		{ PARK_NR, { SIGSYS, 0, 0 } },
		{ SYS_mmap, { GUEST_FREE, PAGE, PROT_READ, MAP_FLAGS, 1, 0 } },
		{ SYS_munmap, { GUEST_FREE, PAGE } },
		{ SYS_mprotect, { GUEST_FREE, PAGE, 5 } },
		{ SYS_prlimit64, { 0, 9, nothing(), 0 } },
		{ SYS_rt_sigprocmask, { 2, mask(), 0, 8 } },
		{ SYS_arch_prctl, { ARCH_SET_FS, GUEST_FREE } },
		{ SYS_mmap | X32, { GUEST_FREE, PAGE, PROT_READ, MAP_FLAGS, 1, 0 } },
		{ SYS_munmap | X32, { GUEST_FREE, PAGE } },
		{ PARK_NR | X32, { SIGSYS } },
		{ SYS_rt_sigreturn, { 0 } },
		{ SYS_recvmsg, { 0, STUB_DATA, MSG_DONTWAIT } },
		{ SYS_close_range, { 1, 4, 0 } },
		{ SYS_seccomp, { 1, 0, GUEST_STACK } },
		{ 192, { GUEST_FREE, PAGE, PROT_READ, MAP_FLAGS, 1, 0 } },
		{ -1, { 0 } },
	};
	unsigned int offsets[32], count, i, j;

	if (!(stubguard_features() & STUBGUARD_F_FSGSBASE))
		test_skip("a host without FSGSBASE");
	count = window_sites(code, offsets, COUNT(offsets));
	offsets[count++] = GADGET;
	for (i = 0; i < count; i++) {
		long own = window_site_nr(code, offsets[i]);
		/* At a site that is not used on this host, every call kills. */
		bool unused = own == SYS_arch_prctl || own == SYS_exit_group;

		for (j = 0; j < COUNT(calls); j++) {
			if (calls[j].nr == own && !unused)
				continue;
			test_context("call %ld at %#x", calls[j].nr, offsets[i]);
			is_killed(STUB_START + offsets[i], calls[j].nr, calls[j].args);
		}
	}
}

/* Although the page table grants it, and the stub has the memory's fd. */
static void mmap_from_anywhere_else_in_the_page_kills(void)
{
	unsigned int offset;

	init();
	/* src/filter/tests/window.rs asks the filter for every one of them. */
	for (offset = code_length; offset <= PAGE - 3; offset += offset < GADGET - 64 ? 61 : 1) {
		test_context("offset %#x", offset);
		window_start(&w);
		mm_set_pte(&w.mm, GUEST_FREE, FRAME_FREE, PROT_READ);
		window_call_at(&w, mm_gadget(&w.mm, offset), SYS_mmap, GUEST_FREE, PAGE, PROT_READ,
			       MAP_FLAGS, STUBGUARD_MEMORY_FD, FRAME_FREE * PAGE);
		check_eq(window_resume(&w), 0);
		window_has_been_killed(&w);
	}
}

static void every_number_kills_where_no_site_is(void)
{
	static const unsigned long zeros[6];
	long nr;

	init();
	for (nr = 0; nr < 480; nr++) {
		/* uretprobe and uprobe pass all filters (Linux 6.14). */
		if (nr == 335 || nr == 336)
			continue;
		test_context("call %ld", nr);
		is_killed(STUB_START + GADGET, nr, zeros);
	}
}

static void a_32_bit_call_does_not_get_through(void)
{
	static const unsigned char gadget[] = { 0xcd, 0x80, 0xc3 };
	static const long numbers[] = { SYS_mmap, SYS_munmap, PARK_NR, 90, 91, 192 };
	int ret;
	size_t i;

	init();
	for (i = 0; i < COUNT(numbers); i++) {
		test_context("call %ld", numbers[i]);
		window_start(&w);
		memcpy(w.mm.ram + GADGET, gadget, sizeof(gadget));
		window_call_at(&w, STUB_START + GADGET, numbers[i], 0);
		ret = window_run(&w);
		/* The instruction faults on a host without 32-bit calls. */
		if (ret == -EPROTO)
			test_skip("this host has no 32-bit calls");
		check_eq(ret, -ESRCH);
		check_eq(WTERMSIG(mm_reap(&w.mm)), SIGSYS);
	}
}

/* ---- the sites with their own arguments */

/* If the host takes an int, the upper half of the register changes nothing. */
static void it_maps_nothing_by_the_memorys_fd(void)
{
	static const unsigned long fds[] = { STUBGUARD_MEMORY_FD, HIGH | STUBGUARD_MEMORY_FD };
	size_t i;

	init();
	for (i = 0; i < COUNT(fds); i++) {
		test_context("fd %#lx", fds[i]);
		window_start(&w);
		mm_set_pte(&w.mm, GUEST_FREE, FRAME_FREE, PROT_READ);
		window_call_at(&w, site(SYS_mmap, 0), SYS_mmap, GUEST_FREE, PAGE, PROT_READ,
			       MAP_FLAGS, fds[i], FRAME_FREE * PAGE);
		/* The call has run and failed, and the stub reports a failed batch, which is a breach. */
		check_eq(window_run(&w), -EPROTO);
		window_is_limited(&w);
		check(!mm_mapping(&w.mm, GUEST_FREE)[0]);
		window_is_lost(&w);
	}
}

static void it_unblocks_what_is_not_blocked(void)
{
	start();
	/* The code behind it resumes by the monitor's control page. */
	window_call_at(&w, site(SYS_rt_sigprocmask, 0), SYS_rt_sigprocmask, 2, mask(), 0, 8);
	window_goes_round(&w);
}

/* ---- calls that are the guest's own */

static void guest_gadget(unsigned long page, unsigned int offset, unsigned int frame)
{
	mm_frame_gadget(&w.mm, frame, offset);
	window_map(&w, page, frame, PROT_READ | PROT_EXEC);
}

static void is_the_guests(unsigned long ip, long nr)
{
	test_context("call %ld at %#lx", nr, ip);
	window_call_at(&w, ip, nr, GUEST_FREE, PAGE, PROT_READ, MAP_FLAGS, 1);
	check_eq(window_run(&w), 0);
	check_eq(w.event.signal, SIGSYS);
	check_eq(w.event.syscall, (int)nr);
	check_eq(w.regs.rax, (unsigned long)nr);
	test_context_end();
}

static void calls_from_elsewhere_are_the_guests(void)
{
	static const long numbers[] = { SYS_mmap, SYS_munmap, PARK_NR, SYS_prlimit64,
					SYS_kill, -1 };
	unsigned int place;
	size_t i;

	start();
	place = (unsigned int)(site(PARK_NR, 0) - STUB_START);
	/* The park's address with another high half, and with another low half. */
	guest_gadget(STUB_START - (1UL << 44), place, FRAME_FREE);
	guest_gadget(STUB_START - (1UL << 28), place, FRAME_FREE + 1);
	guest_gadget(STUB_START - PAGE, place, FRAME_FREE + 2);
	for (i = 0; i < COUNT(numbers); i++) {
		is_the_guests(STUB_START - (1UL << 44) + place, numbers[i]);
		is_the_guests(STUB_START - (1UL << 28) + place, numbers[i]);
		is_the_guests(STUB_START - PAGE + place, numbers[i]);
		/* The filter sees the address behind the call, which is on the next page. */
		is_the_guests(mm_gadget(&w.mm, PAGE - 2), numbers[i]);
	}
	check_eq(stats().breaches, 0);
}

/* ---- behind the park, with the monitor's answer in rax and a control page of the guest */

static struct window_control control;

static void fresh_control(void)
{
	memset(&control, 0, sizeof(control));
	control.rip = mm_guest_code("report");
	control.cs = 0x33;
	control.rflags = 0x202;
	control.rsp = GUEST_STACK + 256;
	control.ss = 0x2b;
	control.xfeatures = 3;
	/* rax */
	control.gp[13] = 4321;
	control.ticket = window_ticket(&w) + 1;
}

static void goes_behind_the_park(unsigned long rax)
{
	static const unsigned long args[6];
	window_forge(&w, &control, sizeof(control), STUB_DATA, site(PARK_NR, 0) + 2, rax, args);
	check_eq(window_resume(&w), 0);
}

static void breaks_the_protocol(void)
{
	check_eq(window_wait(&w), -EPROTO);
	window_is_limited(&w);
	check(!mm_mapping(&w.mm, GUEST_FREE)[0]);
	window_is_given_up(&w);
}

static void a_batch_of_its_own_maps_nothing(void)
{
	static const unsigned int flags[] = { 0, CONTROL_GUEST, CONTROL_LIMIT,
					      CONTROL_LIMIT | CONTROL_GUEST };
	size_t i;

	init();
	for (i = 0; i < COUNT(flags); i++) {
		test_context("flags %u", flags[i]);
		window_start(&w);
		mm_set_pte(&w.mm, GUEST_FREE, FRAME_FREE, PROT_READ);
		fresh_control();
		control.flags = flags[i];
		control.calls = 1;
		control.batch[0] = (struct window_call){ GUEST_FREE, PAGE, FRAME_FREE * PAGE,
							 PROT_READ, 1, 0 };
		goes_behind_the_park(1);
		breaks_the_protocol();
	}
}

static void a_batch_of_its_own_that_the_filter_ends(void)
{
	static const struct window_call calls[] = {
		{ STUB_START, PAGE, 0, PROT_READ | PROT_EXEC, 1, 0 },
		{ STUB_DATA, PAGE, 0, PROT_READ, 1, 0 },
		{ GUEST_FREE, STUB_START, 0, PROT_READ, 1, 0 },
		{ GUEST_FREE, PAGE, 0, 8, 1, 0 },
		{ STUB_START, PAGE, 0, 0, 0, 0 },
		{ STUB_DATA, 2 * PAGE, 0, 0, 0, 0 },
		{ 0, -PAGE, 0, 0, 0, 0 },
		{ 1UL << 47, PAGE, 0, 0, 0, 0 },
		/* mprotect */
		{ STUB_START, PAGE, 0, PROT_READ | PROT_EXEC, 0, 0 },
		{ GUEST_FREE, PAGE, 0, PROT_READ | PROT_WRITE, 0, 0 },
	};
	size_t i;

	init();
	for (i = 0; i < COUNT(calls); i++) {
		test_context("call %zu", i);
		window_start(&w);
		fresh_control();
		control.flags = CONTROL_GUEST;
		control.calls = 1;
		control.batch[0] = calls[i];
		goes_behind_the_park(1);
		window_has_been_killed(&w);
	}
}

/* All that it gets is its own memory unmapped, and registers. */
static void a_batch_of_its_own_unmaps_its_own(void)
{
	start();
	window_map(&w, GUEST_FREE, FRAME_FREE, PROT_READ);
	fresh_control();
	control.flags = CONTROL_GUEST;
	control.calls = 1;
	control.batch[0] = (struct window_call){ .addr = GUEST_FREE, .length = PAGE };
	goes_behind_the_park(1);
	check_eq(window_wait(&w), 0);
	check_eq(window_result(&w), 4321);
	check(!mm_mapping(&w.mm, GUEST_FREE)[0]);
	window_is_sound(&w);
}

static void a_batch_of_its_own_without_end(void)
{
	unsigned int i;

	start();
	fresh_control();
	control.calls = 0x7fffffff;
	for (i = 0; i < COUNT(control.batch); i++)
		control.batch[i] = (struct window_call){ .addr = GUEST_FREE, .length = PAGE };
	goes_behind_the_park(1);
	/* In any case the filter or the host refuses some call, and the stub ends. */
	check_op(window_wait(&w), <, 0);
	window_is_lost(&w);
}

static void an_answer_that_is_none(void)
{
	static const unsigned long answers[] = { 0, 2, -1UL, -(unsigned long)ENOSYS, HIGH | 1 };
	size_t i;

	init();
	for (i = 0; i < COUNT(answers); i++) {
		test_context("rax %#lx", answers[i]);
		window_start(&w);
		fresh_control();
		control.flags = CONTROL_GUEST;
		goes_behind_the_park(answers[i]);
		window_has_been_killed(&w);
	}
}

static void a_selector_of_the_kernels(void)
{
	static const unsigned long selectors[] = { 0x10, 0x18, 0, 8, 0x2b };
	size_t i;

	start();
	for (i = 0; i < COUNT(selectors); i++) {
		test_context("selector %#lx", selectors[i]);
		fresh_control();
		control.flags = CONTROL_GUEST;
		control.cs = selectors[i];
		goes_behind_the_park(1);
		/* iretq faults, as it can for the monitor's values. */
		check_eq(window_wait(&w), 0);
		check_eq(w.event.signal, SIGSEGV);
		check_eq(w.event.again, 1);
		window_is_sound(&w);
	}
}

static void a_base_by_a_call(void)
{
	init();
	if (!(stubguard_features() & STUBGUARD_F_FSGSBASE))
		test_skip("a host without FSGSBASE");
	window_start(&w);
	fresh_control();
	control.flags = CONTROL_GUEST | CONTROL_SET_FS | CONTROL_BY_CALL;
	control.fs_base = GUEST_FREE;
	goes_behind_the_park(1);
	window_has_been_killed(&w);
}

/* ---- forged parks: values that a guest can write, and that the host would not give */

static void a_park_without_a_signal(void)
{
	static const struct {
		unsigned long what, second, third;
	} rows[] = {
		{ PARK_DONE, 0, 0 },
		{ PARK_FAILED, -(unsigned long)ENOMEM, 1 },
		{ PARK_FAILED, -(unsigned long)ENOMEM, 0 },
		{ PARK_FAILED, 0, HIGH },
		{ PARK_FAILED, 0, -1UL },
		{ 0, 0, 0 },
		{ SIGSYS, 0, 0 },
		{ SIGSYS, GUEST_STACK, GUEST_STACK },
		{ SIGKILL, 0, 0 },
		{ -1UL, -1UL, -1UL },
	};
	size_t i;

	init();
	for (i = 0; i < COUNT(rows); i++) {
		test_context("row %zu", i);
		window_start(&w);
		window_call_at(&w, STUB_START, 0, rows[i].what, rows[i].second, rows[i].third);
		check_eq(window_resume(&w), 0);
		breaks_the_protocol();
	}
}

/* It counts as a signal: the guest could have had all registers of that frame. */
static void a_park_with_a_frame_that_the_guest_has_written(void)
{
	mcontext_t context;
	static unsigned char fp[PAGE];
	unsigned long args[6] = { SIGSYS };

	start();
	memcpy(fp, w.fp, sizeof(fp));
	memset(&context, 0, sizeof(context));
	context.gregs[REG_RIP] = 0x4141414141414141;
	context.gregs[REG_RDI] = 42;
	context.gregs[REG_CSGSFS] = -1LL;
	args[1] = STUB_DATA + PAGE + w.siginfo;
	args[2] = STUB_DATA + PAGE + w.mcontext - 40;
	window_forge(&w, &context, sizeof(context), STUB_DATA + PAGE + w.mcontext, STUB_START,
		     0, args);
	check_eq(window_run(&w), 0);
	check_eq(w.event.signal, SIGSYS);
	check_eq(w.event.again, 0);
	check_eq(w.regs.rip, 0x4141414141414141);
	check_eq(w.regs.rdi, 42);
	check_eq(w.regs.cs, 0xffff);
	/* Resumed with these registers, it faults at that address. */
	check_eq(window_run(&w), 0);
	check_eq(w.event.signal, SIGSEGV);
	check_eq(w.event.again, 1);
	/* The host made no frame, so the floating-point state is what was in that place. */
	memcpy(w.fp, fp, sizeof(fp));
	window_is_sound(&w);

	/* An address in the stub's page is refused. */
	context.gregs[REG_RIP] = STUB_START + GADGET;
	window_forge(&w, &context, sizeof(context), STUB_DATA + PAGE + w.mcontext, STUB_START,
		     0, args);
	check_eq(window_run(&w), -EPROTO);
	window_is_lost(&w);
}

#define KEEP 0x4b45455000000000UL

static const struct forged {
	const char *what;
	const char *reason;
	unsigned long args[3];
	unsigned long rip;
	int nr;
	unsigned int arch;
	unsigned long ip;
} *forged;

/* Markers for offsets before the unblocking, behind iretq, and from the page's start. */
#define UNBLOCK 0x1000000UL
#define IRET 0x2000000UL
#define PAGE_AT(offset) (0x3000000UL + (offset))
#define P(a, b, c) .args = { a, b, c }
#define ARGS P(KEEP, KEEP, KEEP)

static unsigned long place_of(unsigned long place)
{
	static const unsigned char iretq[] = { 0x48, 0xcf };
	const unsigned char *found = memmem(code, code_length, iretq, sizeof(iretq));

	switch (place & ~0xffffffUL) {
	case IRET:
		return STUB_START + (unsigned long)(found - code) + (place & 0xff);
	case UNBLOCK:
		return site(SYS_rt_sigprocmask, 0) + 2 - (place & 0xff);
	case PAGE_AT(0):
		return STUB_START + (place & 0xfff);
	}
	return place;
}

static void forge(struct seccomp_notif *notification)
{
	int i;

	for (i = 0; i < 3; i++) {
		if (forged->args[i] != KEEP)
			notification->data.args[i] = forged->args[i];
	}
	if (forged->rip)
		window_mcontext(&w)->gregs[REG_RIP] = (long long)place_of(forged->rip);
	if (forged->nr)
		notification->data.nr = forged->nr;
	if (forged->arch)
		notification->data.arch = forged->arch;
	if (forged->ip)
		notification->data.instruction_pointer = place_of(forged->ip);
}

/* A forged park that no row of the table of states allows. */
static void is_a_breach(const struct forged *row)
{
	test_context("%s", row->what);
	forged = row;
	window_alter(forge);
	window_is_a_breach(&w, row->reason);
	test_context_end();
}

static const struct forged of_a_running_stub[] = {
	{ "no signal", "signal", P(0, KEEP, KEEP) },
	{ "SIGHUP", "signal", P(1, KEEP, KEEP) },
	{ "SIGUSR1", "signal", P(10, KEEP, KEEP) },
	{ "SIGKILL", "signal", P(9, KEEP, KEEP) },
	{ "signal 64", "signal", P(64, KEEP, KEEP) },
	{ "signal -1", "signal", P(-1UL, KEEP, KEEP) },
	{ "a signal and more", "signal", P(HIGH | SIGSYS, KEEP, KEEP) },
	{ "signal 0x1002", "signal", P(0x1002, KEEP, KEEP) },
	{ "a batch is done", "park", P(PARK_DONE, KEEP, KEEP) },
	{ "a batch has failed", "park", P(PARK_FAILED, -5UL, 1) },
	{ "no siginfo", "signal frame", P(KEEP, 0, KEEP) },
	{ "another siginfo", "signal frame", P(KEEP, STUB_DATA + PAGE, KEEP) },
	{ "siginfo before", "signal frame", P(KEEP, STUB_DATA, KEEP) },
	{ "siginfo behind", "signal frame", P(KEEP, STUB_DATA + 2 * PAGE, KEEP) },
	{ "siginfo of the guest's", "signal frame", P(KEEP, GUEST_STACK, KEEP) },
	{ "siginfo at the end", "signal frame", P(KEEP, -1UL, KEEP) },
	{ "no context", "signal frame", P(KEEP, KEEP, 0) },
	{ "another context", "signal frame", P(KEEP, KEEP, STUB_DATA + PAGE) },
	{ "context before", "signal frame", P(KEEP, KEEP, STUB_DATA + PAGE - 40) },
	{ "context far behind", "signal frame", P(KEEP, KEEP, STUB_DATA + PAGE + 0xfff0) },
	{ "context at the end", "signal frame", P(KEEP, KEEP, -1UL) },
	{ "it stood at the park", "park", ARGS, .rip = PAGE_AT(0) },
	{ "it stood behind the park", "park", ARGS, .rip = PAGE_AT(7) },
	{ "it stood before the unblocking", "park", ARGS, .rip = UNBLOCK + 1 },
	{ "it stood behind iretq", "park", ARGS, .rip = IRET + 2 },
	{ "it stood at the page's end", "park", ARGS, .rip = PAGE_AT(0xfff) },
	{ "SIGSYS at the unblocking", "signal", ARGS, .rip = UNBLOCK },
	{ "SIGTRAP at iretq", "signal", P(SIGTRAP, KEEP, KEEP), .rip = IRET },
	{ "SIGILL there", "signal", P(SIGILL, KEEP, KEEP), .rip = IRET },
	{ "SIGFPE there", "signal", P(SIGFPE, KEEP, KEEP), .rip = IRET },
	{ "SIGBUS there", "signal", P(SIGBUS, KEEP, KEEP), .rip = IRET },
	{ "another call", "system call", ARGS, .nr = SYS_getpid },
	{ "munmap", "system call", ARGS, .nr = SYS_munmap },
	{ "prlimit", "system call", ARGS, .nr = SYS_prlimit64 },
	{ "mmap at its site", "system call", ARGS, .nr = SYS_mmap },
	{ "mmap elsewhere", "system call", ARGS, .nr = SYS_mmap, .ip = PAGE_AT(GADGET) },
	{ "another architecture", "system call", ARGS, .arch = AUDIT_ARCH_I386 },
	{ "a park elsewhere", "system call", ARGS, .ip = PAGE_AT(GADGET) },
	{ "a park one byte behind", "system call", ARGS, .ip = PAGE_AT(8) },
	{ "a park of the guest's", "system call", ARGS, .ip = GUEST_CODE },
	{ "mmap of the guest's", "system call", ARGS, .nr = SYS_mmap, .ip = GUEST_CODE },
};

static void a_running_stub_breaks_the_protocol(void)
{
	size_t i;

	init();
	for (i = 0; i < COUNT(of_a_running_stub); i++) {
		window_start(&w);
		window_guest(&w, "report", 1);
		check_eq(window_resume(&w), 0);
		is_a_breach(&of_a_running_stub[i]);
	}
}

static const struct forged of_a_batch[] = {
	{ "SIGSYS", "park", P(SIGSYS, KEEP, KEEP) },
	{ "SIGALRM", "park", P(SIGALRM, STUB_DATA + PAGE, STUB_DATA + PAGE) },
	{ "SIGSEGV", "park", P(SIGSEGV, 0, 0) },
	{ "no signal", "park", P(0, 0, 0) },
	{ "signal -1", "park", P(-1UL, 0, 0) },
	{ "a done one and more", "park", P(HIGH | PARK_DONE, 0, 0) },
	{ "all have failed", "park", P(PARK_FAILED, -5UL, 0) },
	{ "more failed than there were", "park", P(PARK_FAILED, -5UL, 4) },
	{ "many more", "park", P(PARK_FAILED, -5UL, 0x80000000) },
	{ "and more", "park", P(PARK_FAILED, -5UL, HIGH | 1) },
	{ "less", "park", P(PARK_FAILED, -5UL, -1UL) },
	{ "another call", "system call", ARGS, .nr = SYS_getpid },
	{ "a park elsewhere", "system call", ARGS, .ip = PAGE_AT(GADGET) },
};

static void queue_three(void)
{
	int i;

	for (i = 0; i < 3; i++)
		mm_queue_unmap(&w.mm, GUEST_FREE, PAGE);
}

static void a_batch_breaks_the_protocol(void)
{
	size_t i;

	init();
	for (i = 0; i < COUNT(of_a_batch); i++) {
		window_start(&w);
		queue_three();
		check_eq(window_resume_batch(&w), 0);
		w.mm.calls = 0;
		is_a_breach(&of_a_batch[i]);
	}
}

static unsigned long fail_result, fail_left;

static void fail(struct seccomp_notif *notification)
{
	notification->data.args[0] = PARK_FAILED;
	notification->data.args[1] = fail_result;
	notification->data.args[2] = fail_left;
}

/* A forged error stays an error: never a success, never any other number. */
static void results_of_a_failed_call(void)
{
	static const struct {
		unsigned long result;
		int error;
	} rows[] = {
		{ -1UL, -1 },
		{ -12UL, -12 },
		{ -4095UL, -4095 },
		{ -4096UL, -EIO },
		{ 0, -EIO },
		{ 1, -EIO },
		{ 0x7fffffff, -EIO },
		{ HIGH - 5, -EIO },
		{ -HIGH - 5, -EIO },
		{ 1UL << 63, -EIO },
	};
	unsigned int guest;
	size_t i;

	start();
	for (guest = 0; guest < 2; guest++) {
		for (i = 0; i < COUNT(rows); i++) {
			test_context("result %#lx, guest %u", rows[i].result, guest);
			queue_three();
			window_guest(&w, "report", 1);
			check_eq(guest ? window_resume(&w) : window_resume_batch(&w), 0);
			w.mm.calls = 0;
			fail_result = rows[i].result;
			fail_left = 1 + i % 3;
			window_alter(fail);
			check_eq(window_wait(&w), 0);
			host_reset();
			check_eq(w.event.error, rows[i].error);
			check_eq(w.event.done, 3 - (int)fail_left);
			check_eq(w.event.signal, 0);
			window_is_sound(&w);
		}
	}
}

static const struct test tests[] = {
	TEST(the_code_has_these_calls),
	TEST(arguments_that_are_not_the_sites_kill),
	TEST(calls_of_other_sites_kill),
	TEST(mmap_from_anywhere_else_in_the_page_kills),
	TEST(every_number_kills_where_no_site_is),
	TEST(a_32_bit_call_does_not_get_through),
	TEST(it_maps_nothing_by_the_memorys_fd),
	TEST(it_unblocks_what_is_not_blocked),
	TEST(calls_from_elsewhere_are_the_guests),
	TEST(a_batch_of_its_own_maps_nothing),
	TEST(a_batch_of_its_own_that_the_filter_ends),
	TEST(a_batch_of_its_own_unmaps_its_own),
	TEST(a_batch_of_its_own_without_end),
	TEST(an_answer_that_is_none),
	TEST(a_selector_of_the_kernels),
	TEST(a_base_by_a_call),
	TEST(a_park_without_a_signal),
	TEST(a_park_with_a_frame_that_the_guest_has_written),
	TEST(a_running_stub_breaks_the_protocol),
	TEST(a_batch_breaks_the_protocol),
	TEST(results_of_a_failed_call),
};

HARNESS_MAIN(tests)
