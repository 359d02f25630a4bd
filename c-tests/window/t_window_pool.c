// SPDX-License-Identifier: GPL-2.0-only
/* The pool: the next guest of a stub finds nothing of the former one. */
#include "harness.h"
#include "host.h"
#include "window.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static struct window w;

static void init(unsigned int size)
{
	struct stubguard_config config = window_config();

	config.flags |= STUBGUARD_REQUIRE;
	config.pool_size = size;
	model_init_config(&config);
}

static void start(void)
{
	init(STUBGUARD_POOL_MAX);
	window_start(&w);
}

static int put(struct window *who)
{
	return stubguard_stub_put(&who->stub, &who->mm, who->cpu);
}

/* Gives it to another mm, with the same memory file and another page table. */
static void take_over(void)
{
	struct stubguard_stub_info before = window_info(&w), info;

	check_eq(put(&w), 0);
	info = window_info(&w);
	check_eq(info.pid, 0);
	check_eq(info.listener, -1);
	/* The mappings are gone already while it is in the pool. */
	check(!mm_mapping(&w.mm, GUEST_CODE)[0]);
	check(!mm_mapping(&w.mm, GUEST_STACK)[0]);
	window_is_limited(&w);
	/* Both bases are set anew: not all processors clear a base with its selector. */
	check_eq(window_control(&w)->flags & (CONTROL_SET_FS | CONTROL_SET_GS),
		 CONTROL_SET_FS | CONTROL_SET_GS);
	memset(&w.stub, 0x5a, sizeof(w.stub));
	check_eq(stubguard_stub_take(&w.stub), 1);
	info = window_info(&w);
	check(!memcmp(&info, &before, sizeof(info)));
	check_eq(stubguard_stub_lives(&w.stub), 1);
	w.mm.pte_count = 0;
	memset(w.fp, 0, sizeof(w.fp));
	memset(&w.regs, 0, sizeof(w.regs));
}

/* Runs machine code on a free page of the guest, and then a report. */
static void run_code(const void *code, size_t size, unsigned long arg)
{
	static const unsigned char jump[] = { 0x41, 0xff, 0xe7 };	/* jmp *%r15 */
	unsigned char *frame = mm_frame(&w.mm, FRAME_FREE + 20);

	memcpy(frame, code, size);
	memcpy(frame + size, jump, sizeof(jump));
	window_map(&w, GUEST_FREE + 20 * PAGE, FRAME_FREE + 20, PROT_READ | PROT_EXEC);
	window_call_at(&w, GUEST_FREE + 20 * PAGE, 0, arg);
	w.regs.r15 = mm_guest_code("report");
	check_eq(window_run(&w), 0);
}

static void a_stub_is_kept_and_taken(void)
{
	uint64_t before;
	unsigned int i;

	start();
	for (i = 0; i < 5; i++) {
		before = stats().recycled;
		take_over();
		check_eq(stats().recycled, before + 1);
		window_set_up(&w);
		window_is_sound(&w);
	}
	check_eq(stubguard_stub_take(&w.stub), 0);
	window_is_sound(&w);
}

static void a_record_that_was_given_away_is_nothing(void)
{
	struct stubguard_stub kept;

	start();
	check_eq(put(&w), 0);
	kept = w.stub;
	check_eq(window_resume(&w), -EINVAL);
	check_eq(window_wait(&w), -EINVAL);
	check_eq(put(&w), -EINVAL);
	check(!memcmp(&kept, &w.stub, sizeof(kept)));
}

/* ---- what a guest leaves */

static void its_mappings(void)
{
	static const unsigned long places[] = { 0x10000, GUEST_CODE, GUEST_STACK, GUEST_FREE,
						STUB_START - PAGE };
	size_t i, with_guest;

	start();
	for (with_guest = 0; with_guest < 2; with_guest++) {
		window_map(&w, 0x10000, FRAME_FREE, PROT_READ);
		window_map(&w, GUEST_FREE, FRAME_FREE, PROT_READ | PROT_WRITE);
		window_map(&w, STUB_START - PAGE, FRAME_FREE, PROT_READ);
		for (i = 0; i < COUNT(places); i++)
			check(mm_mapping(&w.mm, places[i])[0]);
		take_over();
		if (with_guest) {
			/* With an empty batch the guest faults at once. */
			w.regs.rip = GUEST_CODE;
			w.regs.eflags = 0x202;
			check_eq(window_run(&w), 0);
			check_eq(w.event.signal, SIGSEGV);
			check_eq(w.event.again, 0);
			check_eq(w.event.address, GUEST_CODE);
		} else {
			mm_queue_unmap(&w.mm, GUEST_FREE + 9 * PAGE, PAGE);
			check_eq(window_sync(&w), 0);
		}
		for (i = 0; i < COUNT(places); i++)
			check(!mm_mapping(&w.mm, places[i])[0]);
		check(mm_mapping(&w.mm, STUB_START)[0]);
		check(mm_mapping(&w.mm, STUB_DATA)[0]);
		w.regs.rip = 0;
		window_set_up(&w);
		window_is_sound(&w);
	}
}

/* The old mappings are removed before the new ones are made. */
static void its_mappings_and_the_next_guests(void)
{
	start();
	take_over();
	mm_queue_page(&w.mm, GUEST_FREE, FRAME_FREE, PROT_READ);
	window_set_up(&w);
	window_reads(&w, GUEST_FREE, FRAME_FREE);
	/* The new ones are not unmapped again. */
	window_reads(&w, GUEST_FREE, FRAME_FREE);
}

static void as_many_calls_as_ever(void)
{
	unsigned int i;

	start();
	take_over();
	for (i = 0; i < CALLS_MAX; i++)
		mm_queue_unmap(&w.mm, GUEST_FREE + i * PAGE, PAGE);
	check_eq(window_sync(&w), 0);
	window_set_up(&w);
	window_is_sound(&w);
}

static void its_data_pages(void)
{
	size_t i;

	start();
	check_eq(put(&w), 0);
	memset(w.mm.ram + FRAME_STUB_DATA * PAGE, 0xee, STUB_DATA_PAGES * PAGE);
	check_eq(stubguard_stub_take(&w.stub), 1);
	for (i = 0; i < STUB_DATA_PAGES * PAGE; i++)
		check_eq(w.mm.ram[FRAME_STUB_DATA * PAGE + i], 0);
	/* The place of frames is still known, so the next park is accepted. */
	w.mm.pte_count = 0;
	window_set_up(&w);
	window_is_sound(&w);
}

static void faults_at_zero(const char *what)
{
	window_guest(&w, what, 0);
	check_eq(window_run(&w), 0);
	check_eq(w.event.signal, SIGSEGV);
	check_eq(w.event.address, 0);
}

static void its_bases(void)
{
	/* wrfsbase %rdi; wrgsbase %rdi */
	static const unsigned char code[] = { 0xf3, 0x48, 0x0f, 0xae, 0xd7,
					      0xf3, 0x48, 0x0f, 0xae, 0xdf };
	unsigned int how;

	start();
	for (how = 0; how < 4; how++) {
		test_context("way %u", how);
		window_map(&w, GUEST_FREE, FRAME_FREE, PROT_READ);
		if (how == 0 || !(stubguard_features() & STUBGUARD_F_FSGSBASE)) {
			w.regs.fs_base = w.regs.gs_base = GUEST_FREE;
			window_is_sound(&w);
		} else {
			/* Behind the monitor's back. */
			run_code(code, sizeof(code), GUEST_FREE);
		}
		take_over();
		window_set_up(&w);
		/* If the next guest's base is invalid, the old one must not stay either. */
		w.regs.fs_base = w.regs.gs_base = how & 2 ? STUB_START : 0;
		window_map(&w, GUEST_FREE, FRAME_FREE, PROT_READ);
		faults_at_zero("read fs");
		faults_at_zero("read gs");
		w.regs.fs_base = w.regs.gs_base = 0;
	}
}

static void its_selectors(void)
{
	/* mov %edi into ds, es, fs, gs */
	static const unsigned char set[] = { 0x8e, 0xdf, 0x8e, 0xc7, 0x8e, 0xe7, 0x8e, 0xef };
	/* xor %eax, %eax; mov ds, es, fs, gs to eax by turns, shifted together */
	static const unsigned char get[] = { 0x31, 0xc0, 0x8c, 0xd9, 0x09, 0xc8, 0x8c, 0xc1, 0x09,
					     0xc8, 0x8c, 0xe1, 0x09, 0xc8, 0x8c, 0xe9, 0x09, 0xc8 };

	start();
	run_code(set, sizeof(set), 0x2b);
	run_code(get, sizeof(get), 0);
	/* The guest keeps its selectors. */
	check_eq(window_result(&w), 0x2b);
	take_over();
	window_set_up(&w);
	run_code(get, sizeof(get), 0);
	check_eq(window_result(&w), 0);
}

static void its_floating_point_state(void)
{
	unsigned char *stack;
	unsigned int i;

	start();
	stack = mm_frame(&w.mm, FRAME_GUEST_STACK);
	if (model_config().fp_size > PAGE - 1024)
		test_skip("the state of this host is %u bytes", model_config().fp_size);
	memset(w.fp + 160, 0xcc, 256);
	window_is_sound(&w);
	take_over();
	window_set_up(&w);
	window_guest(&w, "dump", 0);
	memcpy(stack + 504, &w.xfeatures, 8);
	check_eq(window_run(&w), 0);
	check_eq(window_result(&w), 1234);
	for (i = 0; i < 256; i++)
		check_eq(stack[1024 + 160 + i], 0);
}

static void its_tick(void)
{
	start();
	/* A signal for the guest that has ended. */
	window_tick(&w);
	take_over();
	window_set_up(&w);
	window_is_sound(&w);
	/* A signal that comes in the pool reaches the next guest: the monitor resumes again. */
	check_eq(put(&w), 0);
	window_tick(&w);
	check_eq(stubguard_stub_take(&w.stub), 1);
	w.mm.pte_count = 0;
	window_set_up(&w);
	window_guest(&w, "report", 5);
	check_eq(window_run(&w), 0);
	check_eq(w.event.again, 1);
	check_eq(window_run(&w), 0);
	check_eq(window_result(&w), 5);
}

static void one_that_is_not_there_any_more(void)
{
	start();
	mm_kill(&w.mm);
	check_op(put(&w), <, 0);
	check_eq(stubguard_stub_take(&w.stub), 0);
	window_is_lost(&w);
}

/* ---- stubs that are not kept */

static void is_not_kept(void)
{
	struct stubguard_stub before = w.stub;
	uint64_t recycled = stats().recycled;

	check_eq(put(&w), -EINVAL);
	check(!memcmp(&before, &w.stub, sizeof(before)));
	check_eq(stats().recycled, recycled);
}

static void one_that_is_not_parked(void)
{
	init(STUBGUARD_POOL_MAX);
	is_not_kept();
	window_spawn(&w);
	check_eq(window_attach(&w), 0);
	is_not_kept();
	check_eq(window_wait(&w), 0);
	window_set_up(&w);
	window_guest(&w, "report", 5);
	check_eq(window_resume(&w), 0);
	is_not_kept();
	check_eq(window_wait(&w), 0);
	mm_queue_unmap(&w.mm, GUEST_FREE, PAGE);
	check_eq(window_resume_batch(&w), 0);
	w.mm.calls = 0;
	is_not_kept();
	check_eq(window_wait(&w), 0);
	check_eq(put(&w), 0);
}

static void one_that_broke_the_protocol(void)
{
	start();
	window_call_at(&w, STUB_START, 0, PARK_DONE);
	check_eq(window_run(&w), -EPROTO);
	is_not_kept();
	window_is_lost(&w);
}

static void one_whose_batch_has_failed(void)
{
	start();
	window_queue_refused(&w, GUEST_FREE);
	check_eq(window_sync(&w), -REFUSED_WITH);
	is_not_kept();
	window_is_sound(&w);
	is_not_kept();
}

/* The library's own unmapping of the former guest does not count as a call of the batch. */
static void a_first_batch_that_fails(void)
{
	start();
	take_over();
	mm_queue_unmap(&w.mm, GUEST_FREE, PAGE);
	window_queue_refused(&w, GUEST_FREE);
	check_eq(window_sync(&w), -REFUSED_WITH);
	check_eq(w.event.done, 1);
	/* The former guest's mappings are gone in any case. */
	check(!mm_mapping(&w.mm, GUEST_CODE)[0]);
	window_set_up(&w);
	window_is_sound(&w);
}

static void more_than_are_wanted(void)
{
	static struct window some[3];
	unsigned int i;
	int pids[3];

	init(2);
	check_eq(stubguard_stub_take(&w.stub), 0);
	for (i = 0; i < 3; i++)
		window_start(&some[i]);
	check_eq(put(&some[0]), 0);
	check_eq(put(&some[1]), 0);
	check_eq(put(&some[2]), -ENOSPC);
	/* A stub that did not fit still works. */
	window_is_sound(&some[2]);
	/* Each can be taken once. */
	check_eq(stubguard_stub_take(&w.stub), 1);
	check_eq(put(&some[2]), 0);
	check_eq(stubguard_stub_take(&some[0].stub), 1);
	check_eq(stubguard_stub_take(&some[1].stub), 1);
	pids[0] = window_info(&w).pid;
	pids[1] = window_info(&some[0]).pid;
	pids[2] = window_info(&some[1]).pid;
	check(pids[0] != pids[1] && pids[0] != pids[2] && pids[1] != pids[2]);
	check_eq(stubguard_stub_take(&some[2].stub), 0);
}

static void none_are_wanted(void)
{
	init(0);
	window_start(&w);
	check_eq(put(&w), -ENOSPC);
	window_is_sound(&w);
	check_eq(stubguard_stub_take(&w.stub), 0);
	window_is_sound(&w);
}

/* ---- its death */

/* It dies in the pool, and is reaped or not. */
static void dies_while_it_is_kept(bool reaped)
{
	window_start(&w);
	check_eq(stubguard_stub_lives(&w.stub), 1);
	check_eq(put(&w), 0);
	mm_kill(&w.mm);
	if (reaped)
		check_eq(WTERMSIG(mm_reap(&w.mm)), SIGKILL);
	check_eq(stubguard_stub_take(&w.stub), 1);
}

static void one_that_dies_while_it_is_kept(void)
{
	unsigned int reaped;

	init(STUBGUARD_POOL_MAX);
	for (reaped = 0; reaped < 2; reaped++) {
		dies_while_it_is_kept(reaped);
		check_eq(stubguard_stub_lives(&w.stub), 0);
		window_guest(&w, "report", 1);
		check_op(window_resume(&w), <, 0);
		window_is_lost(&w);
	}
}

/* ---- its end */

static void check_ended(int expected)
{
	struct stubguard_stub_info info = window_info(&w);

	check_eq(stubguard_stub_end(&w.stub), expected);
	check_eq(fcntl(info.listener, F_GETFD), -1);
	mm_wait_dead(&w.mm);
	/* Only once, since the fd may have been reused. */
	check_eq(window_info(&w).listener, -1);
	check(window_info(&w).shared == info.shared);
	check_eq(stubguard_stub_end(&w.stub), -EINVAL);
	check_eq(stats().kills, 0);
}

static void one_that_is_not_needed(void)
{
	start();
	take_over();
	check_ended(0);
	check_eq(WTERMSIG(mm_reap(&w.mm)), SIGKILL);
}

static void one_that_is_not_needed_and_dead(void)
{
	unsigned int reaped;

	init(STUBGUARD_POOL_MAX);
	for (reaped = 0; reaped < 2; reaped++) {
		dies_while_it_is_kept(reaped);
		check_ended(reaped ? -ESRCH : 0);
	}
}

static void one_that_cannot_be_killed(void)
{
	start();
	take_over();
	host_fail(HOST_PIDFD_OPEN, 1, 1, EMFILE);
	check_ended(-EMFILE);
	/* Without a listener its park fails, and the stub ends. */
	check(WIFSIGNALED(mm_reap(&w.mm)));
}

static void bad_arguments(void)
{
	struct stubguard_stub none = { { 0 } };
	struct stubguard_stub_info info = { .size = sizeof(info) }, before;
	struct stubguard_stub_info larger[2] = { { .size = sizeof(larger) } };
	int copy;

	start();
	check_eq(stubguard_stub_put(NULL, &w.mm, 0), -EINVAL);
	check_eq(stubguard_stub_put((void *)((char *)&w.stub + 4), &w.mm, 0), -EINVAL);
	check_eq(stubguard_stub_put(&w.stub, NULL, 0), -EINVAL);
	check_eq(stubguard_stub_put(&w.stub, &w.mm, -1), -EINVAL);
	check_eq(stubguard_stub_put(&w.stub, &w.mm, 2), -EINVAL);
	check_eq(stubguard_stub_take(NULL), -EINVAL);
	check_eq(stubguard_stub_take((void *)((char *)&w.stub + 4)), -EINVAL);
	check_eq(stubguard_stub_lives(NULL), -EINVAL);
	check_eq(stubguard_stub_lives((void *)((char *)&w.stub + 4)), -EINVAL);
	check_eq(stubguard_stub_lives(&none), -EINVAL);
	check_eq(stubguard_stub_end(NULL), -EINVAL);
	check_eq(stubguard_stub_end((void *)((char *)&w.stub + 4)), -EINVAL);
	check_eq(stubguard_stub_end(&none), -EINVAL);
	check_eq(stubguard_stub_init(&none, w.mm.shared), 0);
	check_eq(stubguard_stub_lives(&none), -EBADF);
	check_eq(stubguard_stub_end(&none), -EINVAL);
	/* Bad arguments write nothing. */
	before = info;
	check_eq(stubguard_stub_info(NULL, &info), -EINVAL);
	check_eq(stubguard_stub_info(&w.stub, NULL), -EINVAL);
	check_eq(stubguard_stub_info(&w.stub, (void *)((char *)&info + 4)), -EINVAL);
	info.size = sizeof(info) - 8;
	check_eq(stubguard_stub_info(&w.stub, &info), -EINVAL);
	info.size = 4104;
	check_eq(stubguard_stub_info(&w.stub, &info), -E2BIG);
	info.size = before.size;
	check(!memcmp(&info, &before, sizeof(info)));
	/* A newer caller's unknown members are not written. */
	before = larger[1];
	check_eq(stubguard_stub_info(&w.stub, &larger[0]), 0);
	check_eq(larger[0].pid, w.mm.pid);
	check_eq(larger[0].size, sizeof(larger));
	check(!memcmp(&larger[1], &before, sizeof(before)));
	/* A listener that was closed, and whose number is another file now. */
	copy = (int)raw(SYS_dup, w.mm.listener);
	raw(SYS_close, w.mm.listener);
	check_eq(stubguard_stub_end(&w.stub), -ENOTTY);
	check_eq(raw(SYS_dup2, w.mm.memory, w.mm.listener), w.mm.listener);
	check_eq(stubguard_stub_end(&w.stub), -ENOTTY);
	check_eq(raw(SYS_dup2, copy, w.mm.listener), w.mm.listener);
	raw(SYS_close, copy);
	/* EINTR is no death; but the library does not try forever. */
	host_fail(HOST_POLL, 1, 20, EINTR);
	check_eq(stubguard_stub_lives(&w.stub), 1);
	host_fail(HOST_POLL, 1, UINT_MAX, EINTR);
	check_eq(stubguard_stub_lives(&w.stub), -EINTR);
	host_reset();
	window_is_sound(&w);
}

static void all_are_refused_with(int expected)
{
	struct stubguard_stub stub = { { 0 } };

	check_eq(stubguard_stub_put(&stub, &w.mm, 0), expected);
	check_eq(stubguard_stub_take(&stub), expected);
	check_eq(stubguard_stub_lives(&stub), expected);
	check_eq(stubguard_stub_end(&stub), expected);
}

CASE(before_the_start, all_are_refused_with(-ENODEV))
CASE(in_notify_mode, model_init(0); all_are_refused_with(-EOPNOTSUPP))

static const struct test tests[] = {
	TEST(a_stub_is_kept_and_taken),
	TEST(a_record_that_was_given_away_is_nothing),
	TEST(its_mappings),
	TEST(its_mappings_and_the_next_guests),
	TEST(as_many_calls_as_ever),
	TEST(its_data_pages),
	TEST(its_bases),
	TEST(its_selectors),
	TEST(its_floating_point_state),
	TEST(its_tick),
	TEST(one_that_is_not_there_any_more),
	TEST(one_that_is_not_parked),
	TEST(one_that_broke_the_protocol),
	TEST(one_whose_batch_has_failed),
	TEST(a_first_batch_that_fails),
	TEST(more_than_are_wanted),
	TEST(none_are_wanted),
	TEST(one_that_dies_while_it_is_kept),
	TEST(one_that_is_not_needed),
	TEST(one_that_is_not_needed_and_dead),
	TEST(one_that_cannot_be_killed),
	TEST(bad_arguments),
	TEST(before_the_start),
	TEST(in_notify_mode),
};

HARNESS_MAIN(tests)
