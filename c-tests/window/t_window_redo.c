// SPDX-License-Identifier: GPL-2.0-only
/*
 * A signal or a fault on the way to the guest: the guest has not run, its registers are unchanged, and
 * the monitor resumes again.
 */
#include "harness.h"
#include "host.h"
#include "window.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static struct window w;

static void start(void)
{
	window_init(STUBGUARD_REQUIRE);
	window_start(&w);
}

/* The guest has not run, and no output was written. */
static void has_to_be_done_again(int signal)
{
	static struct window before;

	before = w;
	check_eq(window_wait(&w), 0);
	check_eq(w.event.again, 1);
	check_eq(w.event.signal, signal);
	check_eq(w.event.syscall, -1);
	check_eq(w.event.error, 0);
	check_eq(w.event.done, 0);
	check(!memcmp(&w.regs, &before.regs, sizeof(w.regs)));
	check(!memcmp(w.fp, before.fp, sizeof(w.fp)));
	check(!memcmp(&w.info, &before.info, sizeof(w.info)));
}

static void a_tick_before_the_resume(void)
{
	unsigned int i;

	start();
	for (i = 0; i < 20; i++) {
		test_context("round %u", i);
		window_tick(&w);
		window_guest(&w, "report", i);
		check_eq(window_resume(&w), 0);
		has_to_be_done_again(SIGALRM);
		check_eq(window_run(&w), 0);
		check_eq(window_result(&w), i);
	}
	test_context_end();
	check_eq(stats().breaches, 0);
	check_eq(stats().resynchronised, 0);
}

static void many_ticks_are_one(void)
{
	start();
	window_tick(&w);
	window_tick(&w);
	window_tick(&w);
	window_guest(&w, "report", 5);
	check_eq(window_resume(&w), 0);
	has_to_be_done_again(SIGALRM);
	check_eq(window_run(&w), 0);
	check_eq(window_result(&w), 5);
}

static void again_and_again(void)
{
	unsigned int i;

	start();
	window_guest(&w, "report", 6);
	for (i = 0; i < 5; i++) {
		window_tick(&w);
		check_eq(window_resume(&w), 0);
		has_to_be_done_again(SIGALRM);
	}
	check_eq(window_run(&w), 0);
	check_eq(window_result(&w), 6);
}

/* The batch runs once, since it comes before the unblocking. */
static void the_batch_is_not_done_again(void)
{
	start();
	mm_queue_page(&w.mm, GUEST_FREE, FRAME_FREE, PROT_READ);
	window_tick(&w);
	window_guest(&w, "read", GUEST_FREE);
	check_eq(window_resume(&w), 0);
	w.mm.calls = 0;
	has_to_be_done_again(SIGALRM);
	check(mm_mapping(&w.mm, GUEST_FREE)[0]);
	window_is_limited(&w);
	check_eq(window_run(&w), 0);
	check_eq(window_result(&w), (long)frame_mark(FRAME_FREE));
	/* And a batch may come with the second try. */
	mm_queue_unmap(&w.mm, GUEST_FREE, PAGE);
	window_tick(&w);
	window_guest(&w, "report", 2);
	check_eq(window_resume(&w), 0);
	w.mm.calls = 0;
	has_to_be_done_again(SIGALRM);
	mm_queue_map(&w.mm, GUEST_FREE, PAGE, FRAME_FREE, PROT_READ);
	window_reads(&w, GUEST_FREE, FRAME_FREE);
}

/* A batch without a guest unblocks no signals: they stay pending. */
static void a_batch_is_not_disturbed(void)
{
	start();
	window_tick(&w);
	mm_queue_unmap(&w.mm, GUEST_FREE, PAGE);
	check_eq(window_sync(&w), 0);
	mm_queue_unmap(&w.mm, GUEST_FREE, PAGE);
	check_eq(window_sync(&w), 0);
	window_guest(&w, "report", 1);
	check_eq(window_resume(&w), 0);
	has_to_be_done_again(SIGALRM);
	window_is_sound(&w);
}

static void bases_are_right_after_it(void)
{
	unsigned int i;

	start();
	for (i = 0; i < 2; i++)
		window_map(&w, GUEST_FREE + i * PAGE, FRAME_FREE + i, PROT_READ);
	for (i = 0; i < 8; i++) {
		test_context("round %u", i);
		w.regs.fs_base = GUEST_FREE + (i & 1) * PAGE;
		w.regs.gs_base = GUEST_FREE + !(i & 1) * PAGE;
		window_guest(&w, i & 2 ? "read fs" : "read gs", 0);
		window_tick(&w);
		check_eq(window_resume(&w), 0);
		has_to_be_done_again(SIGALRM);
		/* Perhaps it is another task's turn. */
		if (i & 4) {
			w.regs.fs_base ^= PAGE;
			w.regs.gs_base ^= PAGE;
		}
		check_eq(window_run(&w), 0);
		check_eq(window_result(&w),
			 (long)frame_mark(FRAME_FREE + (!(i & 1) ^ !!(i & 2) ^ !!(i & 4))));
	}
}

static void registers_and_flags_are_right_after_it(void)
{
	uint64_t *words = (uint64_t *)&w.regs, given[STUBGUARD_REGISTERS];
	unsigned int i;

	start();
	for (i = 0; i < STUBGUARD_REGISTERS; i++)
		words[i] = 0x0123456789abcdef + i;
	w.regs.rip = mm_guest_code("fault");
	w.regs.eflags = 0x202 | 0x8d5 | 0x400;
	w.regs.fs_base = w.regs.gs_base = GUEST_FREE;
	w.regs.cs = 0x33;
	w.regs.ss = 0x2b;
	for (i = 0; i < 256; i++)
		w.fp[160 + i] = (unsigned char)i;
	w.fp[512] = 3;
	memcpy(given, words, sizeof(given));
	window_tick(&w);
	check_eq(window_resume(&w), 0);
	has_to_be_done_again(SIGALRM);
	check_eq(window_run(&w), 0);
	check_eq(w.event.signal, SIGILL);
	w.regs.eflags &= ~0x10000UL;
	for (i = 0; i < STUBGUARD_REGISTERS; i++) {
		test_context("word %u", i);
		check_eq(words[i], given[i]);
	}
	test_context_end();
	for (i = 0; i < 256; i++)
		check_eq(w.fp[160 + i], i);
}

static void a_step_is_one_instruction_even_so(void)
{
	unsigned long at;

	start();
	window_guest(&w, "nops", 0);
	at = w.regs.rip;
	w.step = 1;
	window_tick(&w);
	check_eq(window_resume(&w), 0);
	has_to_be_done_again(SIGALRM);
	check_eq(window_run(&w), 0);
	check_eq(w.event.signal, SIGTRAP);
	check_eq(w.regs.rip, at + 1);
}

static void at_each_place_on_the_way(void)
{
	unsigned int i, done = 0, redone = 0;

	start();
	/* The signal comes at any time: before, on the way, in the guest. */
	for (i = 0; i < 2000; i++) {
		window_guest(&w, "report", i);
		check_eq(window_resume(&w), 0);
		window_tick(&w);
		check_eq(window_wait(&w), 0);
		if (w.event.again) {
			check_eq(w.event.signal, SIGALRM);
			redone++;
			continue;
		}
		done++;
		if (w.event.signal == SIGALRM) {
			/* In the guest's code. */
			check_op(w.regs.rip, >=, GUEST_CODE);
			check_op(w.regs.rip, <, GUEST_CODE + PAGE);
		} else {
			check_eq(window_result(&w), i);
		}
	}
	check_eq(done + redone, 2000);
	check_eq(stats().breaches, 0);
	/* The last one may still be pending. */
	do {
		window_guest(&w, "report", 1);
		check_eq(window_run(&w), 0);
	} while (w.event.signal == SIGALRM);
	window_is_sound(&w);
}

/* ---- faults on the way, by a bad state of the guest */

static void is_the_guests_fault(void)
{
	check_eq(window_resume(&w), 0);
	has_to_be_done_again(SIGSEGV);
	/* The same for each try. */
	check_eq(window_resume(&w), 0);
	has_to_be_done_again(SIGSEGV);
	check_eq(stats().breaches, 0);
}

static void a_bad_mxcsr(void)
{
	start();
	window_guest(&w, "report", 1);
	memset(w.fp + 24, 0xff, 4);
	is_the_guests_fault();
	w.fp[24] = 0x80;
	w.fp[25] = 0x1f;
	w.fp[26] = w.fp[27] = 0;
	window_is_sound(&w);
}

static void a_bad_header(void)
{
	static const struct {
		const char *what;
		unsigned int at;
		unsigned char value;
	} rows[] = {
		{ "a feature that nobody has", 519, 0x40 },
		{ "compacted", 527, 0x80 },
		{ "reserved", 528, 1 },
		{ "reserved at the end", 575, 1 },
	};
	unsigned char was;
	size_t i;

	start();
	if (model_config().fp_size < 576)
		test_skip("this host has no XSAVE");
	for (i = 0; i < COUNT(rows); i++) {
		test_context("%s", rows[i].what);
		window_guest(&w, "report", 1);
		was = w.fp[rows[i].at];
		w.fp[rows[i].at] = rows[i].value;
		check_eq(window_resume(&w), 0);
		check_eq(window_wait(&w), 0);
		/* Not all processors check all of it. */
		if (w.event.again) {
			check_eq(w.event.signal, SIGSEGV);
			w.fp[rows[i].at] = was;
		} else {
			check_eq(window_result(&w), 1);
		}
		window_is_sound(&w);
	}
	test_context_end();
	check_eq(stats().breaches, 0);
}

static void features_that_its_frames_have_not(void)
{
	start();
	if (model_config().fp_size < 576)
		test_skip("this host has no XSAVE");
	/* All bits: components that its frames lack must not make it read beyond its pages. */
	window_guest(&w, "report", 1);
	memset(w.fp + 512, 0xff, 7);
	check_eq(window_resume(&w), 0);
	check_eq(window_wait(&w), 0);
	check_eq(w.event.signal, w.event.again ? SIGSEGV : SIGSYS);
	memset(w.fp + 512, 0, 8);
	window_is_sound(&w);
	check_eq(stats().breaches, 0);
}

static void a_place_that_no_code_has(void)
{
	static const unsigned long places[] = { 0x8000000000000000, 0x0000800000000000,
						0xffff7fffffffffff };
	size_t i;

	start();
	for (i = 0; i < COUNT(places); i++) {
		test_context("rip %#lx", places[i]);
		window_guest(&w, "report", 1);
		w.regs.rip = places[i];
		check_eq(window_resume(&w), 0);
		check_eq(window_wait(&w), 0);
		/* At iretq or behind it, by processor. */
		check_eq(w.event.signal, SIGSEGV);
		if (!w.event.again)
			check_eq(w.regs.rip, places[i]);
		window_is_sound(&w);
	}
}

static void a_place_of_the_hosts(void)
{
	start();
	window_guest(&w, "report", 1);
	w.regs.rip = 0xffffffff81000000;
	check_eq(window_run(&w), 0);
	check_eq(w.event.signal, SIGSEGV);
	check_eq(w.event.again, 0);
	check_eq(w.regs.rip, 0xffffffff81000000);
	check_eq(w.event.address, 0xffffffff81000000);
	window_is_sound(&w);
}

/* A guest with an address in the stub's page hijacks its stub, which ends. */
static void a_place_in_the_stubs_page(void)
{
	start();
	window_guest(&w, "report", 1);
	w.regs.rip = STUB_START + GADGET + 2;
	w.regs.rsp = 8;
	check_eq(window_run(&w), -EPROTO);
	window_is_lost(&w);
	check_eq(WTERMSIG(window_kill(&w)), SIGKILL);
}

static void a_fault_of_its_own_at_the_end(void)
{
	start();
	/* iretq itself, by a guest with a bad stack. */
	window_guest(&w, "report", 1);
	w.regs.rip = STUB_START + (unsigned long)((unsigned char *)memmem(
					  mm_frame(&w.mm, FRAME_STUB_CODE), GADGET, "\x48\xcf", 2) -
				  (unsigned char *)mm_frame(&w.mm, FRAME_STUB_CODE));
	w.regs.rsp = 8;
	check_eq(window_run(&w), 0);
	/* It looks like a fault on the way, so the monitor only resumes again. */
	check_eq(w.event.signal, SIGSEGV);
	check_eq(w.event.again, 1);
	window_is_sound(&w);
}

static const struct test tests[] = {
	TEST(a_tick_before_the_resume),
	TEST(many_ticks_are_one),
	TEST(again_and_again),
	TEST(the_batch_is_not_done_again),
	TEST(a_batch_is_not_disturbed),
	TEST(bases_are_right_after_it),
	TEST(registers_and_flags_are_right_after_it),
	TEST(a_step_is_one_instruction_even_so),
	TEST(at_each_place_on_the_way),
	TEST(a_bad_mxcsr),
	TEST(a_bad_header),
	TEST(features_that_its_frames_have_not),
	TEST(a_place_that_no_code_has),
	TEST(a_place_of_the_hosts),
	TEST(a_place_in_the_stubs_page),
	TEST(a_fault_of_its_own_at_the_end),
};

HARNESS_MAIN(tests)
