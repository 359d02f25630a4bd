// SPDX-License-Identifier: GPL-2.0-only
/*
 * The library decides how a guest continues: by an answer to its call, by a fetch and a resume, or by a resume; with
 * calls that notify or trap. Each way, and its conditions.
 */
#include "harness.h"
#include "host.h"
#include "window.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

static struct window w;

/* The state of another thread of the guest process. */
static struct user_regs_struct other_regs;
static unsigned char other_fp[PAGE] __attribute__((aligned(64)));

static void start(void)
{
	window_init_notified();
	window_start(&w);
}

#define RBX 0x0123456789abcdefUL

/* The guest makes a call, then reports its result. */
static void makes_a_call(void)
{
	window_guest(&w, "call", 0);
	w.regs.rax = SYS_getpid;
	w.regs.rbx = RBX;
}

static void is_in_a_call(void)
{
	makes_a_call();
	check_eq(window_run(&w), 0);
	check_eq(w.event.signal, SIGSYS);
	check_eq(w.event.notified, 1);
	check(stubguard_stub_caller(&w.stub) == (uint64_t *)&w.regs);
}

static void is_in_no_call(void)
{
	check(stubguard_stub_caller(&w.stub) == NULL);
}

/* Only a fetch signals the stub. */
static unsigned int fetches(void)
{
	return host_count(HOST_PIDFD_SIGNAL);
}

static void a_call_is_answered(void)
{
	unsigned int sends, before;

	start();
	is_in_a_call();
	sends = host_count(HOST_SEND);
	before = fetches();
	check_eq(window_answer(&w, 77), 0);
	is_in_no_call();
	check_eq(host_count(HOST_SEND), sends + 1);
	check_eq(window_wait(&w), 0);
	check_eq(window_result(&w), 77);
	check_eq(w.regs.rbx, RBX);
	check_eq(fetches(), before);
}

/* The guest kernel may have changed any register, as it does to restart the call. */
static void a_result_that_only_a_kernel_understands(void)
{
	static const long results[] = { -512, -513, -514, -516, -531 };
	size_t i;

	start();
	for (i = 0; i < COUNT(results); i++) {
		test_context("%ld", results[i]);
		is_in_a_call();
		check_eq(window_answer(&w, results[i]), 0);
		is_in_no_call();
		check_eq(fetches(), i + 1);
		check_eq(window_wait(&w), 0);
		/* By a resume, with exactly that result. */
		check_eq(window_result(&w), results[i]);
	}
	test_context_end();
}

static void a_step(void)
{
	start();
	is_in_a_call();
	w.step = 1;
	check_eq(window_answer(&w, 5), 0);
	check_eq(fetches(), 1);
	check_eq(window_wait(&w), 0);
	check_eq(w.event.signal, SIGTRAP);
	check_eq(w.regs.rbx, RBX);
}

/* The batch runs before the guest, whose state stays unchanged. */
static void a_batch_with_the_guest(void)
{
	start();
	is_in_a_call();
	mm_queue_page(&w.mm, GUEST_FREE, FRAME_FREE, PROT_READ);
	w.regs.rax = 78;
	check_eq(window_run(&w), 0);
	check_eq(fetches(), 1);
	check_eq(window_result(&w), 78);
	check_eq(w.regs.rbx, RBX);
	check(mm_mapping(&w.mm, GUEST_FREE)[0]);
}

/* As for a synchronisation while the guest kernel is in a call. */
static void a_batch_alone(void)
{
	start();
	is_in_a_call();
	mm_queue_page(&w.mm, GUEST_FREE, FRAME_FREE, PROT_READ);
	check_eq(window_sync(&w), 0);
	check_eq(fetches(), 1);
	is_in_no_call();
	check_eq(w.regs.rbx, RBX);
	check_eq(w.regs.rax, SYS_getpid);
	w.regs.rax = 79;
	check_eq(window_run(&w), 0);
	check_eq(window_result(&w), 79);
	check_eq(w.regs.rbx, RBX);
}

/* Another thread runs in the stub: the first one's registers are fetched to their place. */
static void another_guest(void)
{
	struct stubguard_resume how;

	start();
	is_in_a_call();
	other_regs = w.regs;
	memcpy(other_fp, w.fp, sizeof(other_fp));
	other_regs.rip = mm_guest_code("report");
	other_regs.rax = 4711;
	other_regs.eflags = 0x202;
	how = window_request(&w);
	how.registers = (uint64_t *)&other_regs;
	how.fp = other_fp;
	check_eq(stubguard_stub_resume(&w.stub, &w.mm, &how), 0);
	check_eq(fetches(), 1);
	is_in_no_call();
	check_eq(w.regs.rbx, RBX);
	check_eq(stubguard_stub_wait(&w.stub, &w.mm, 0, &w.event, (uint64_t *)&other_regs, other_fp,
				     &w.info),
		 0);
	check_eq(w.event.syscall, GUEST_REPORTS);
	check_eq(other_regs.rdi, 4711);
	/* And the first one again. */
	w.regs.rax = 80;
	check_eq(window_run(&w), 0);
	check_eq(window_result(&w), 80);
	check_eq(w.regs.rbx, RBX);
}

static void after_a_fetch(void)
{
	start();
	is_in_a_call();
	/* The stub does not have these registers. */
	check_eq(stubguard_stub_fetch(&w.stub, &w.mm, 0, (uint64_t *)&other_regs), 0);
	check_eq(fetches(), 0);
	check_eq(w.regs.rbx, 0);
	check_eq(window_fetch(&w), 0);
	check_eq(fetches(), 1);
	is_in_no_call();
	check_eq(w.regs.rbx, RBX);
	/* Any registers: the stub has none. */
	check_eq(stubguard_stub_fetch(&w.stub, &w.mm, 0, NULL), 0);
	check_eq(window_answer(&w, 81), 0);
	check_eq(fetches(), 1);
	check_eq(window_wait(&w), 0);
	check_eq(window_result(&w), 81);
	is_in_a_call();
	check_eq(stubguard_stub_fetch(&w.stub, &w.mm, 0, NULL), 0);
	check_eq(fetches(), 2);
	check_eq(w.regs.rbx, RBX);
}

static void start_attached(void)
{
	window_init_calls(STUBGUARD_REQUIRE);
	window_spawn(&w);
	check_eq(window_attach(&w), 0);
}

static void a_new_stub_is_waited_for(void)
{
	start_attached();
	mm_gadget(&w.mm, GADGET);
	window_set_up(&w);
	window_is_sound(&w);
}

/* The monitor gets -EINTR, does other work, and asks again. */
static void a_new_stub_that_takes_its_time(void)
{
	struct stubguard_stub before;

	start_attached();
	mm_gadget(&w.mm, GADGET);
	w.mm.calls = 0;
	mm_queue_unmap(&w.mm, GUEST_FREE, PAGE);
	before = w.stub;
	host_fail(HOST_RECV, 1, 2, EINTR);
	check_eq(window_resume_batch(&w), -EINTR);
	check_eq(window_resume_batch(&w), -EINTR);
	check(!memcmp(&before, &w.stub, sizeof(before)));
	check_eq(window_sync(&w), 0);
	window_set_up(&w);
	window_is_sound(&w);
}

static void a_new_stub_that_dies(void)
{
	start_attached();
	mm_kill(&w.mm);
	mm_queue_unmap(&w.mm, GUEST_FREE, PAGE);
	check_eq(window_resume_batch(&w), -ESRCH);
	w.mm.calls = 0;
	window_is_lost(&w);
}

/* ---- calls that notify or trap */

static int notifies(unsigned int flags)
{
	struct stubguard_resume how;

	makes_a_call();
	how = window_request(&w);
	how.flags = flags;
	check_eq(stubguard_stub_resume(&w.stub, &w.mm, &how), 0);
	w.mm.calls = 0;
	check_eq(window_wait(&w), 0);
	check_eq(w.event.signal, SIGSYS);
	check_eq(w.event.syscall, SYS_getpid);
	return w.event.notified;
}

static void who_is_watched_or_shared_makes_frames(void)
{
	start();
	check_eq(notifies(0), 1);
	check_eq(window_fetch(&w), 0);
	check_eq(notifies(STUBGUARD_RESUME_WATCHED), 0);
	check_eq(notifies(STUBGUARD_RESUME_SHARED), 0);
	check_eq(notifies(STUBGUARD_RESUME_SHARED | STUBGUARD_RESUME_WATCHED), 0);
	check_eq(notifies(0), 1);
}

/* A fetch costs more than a frame: after a call with a batch calls trap, until one has no batch. */
static void calls_that_lead_to_a_batch_make_frames(void)
{
	unsigned int i, before;

	start();
	check_eq(notifies(0), 1);
	mm_queue_unmap(&w.mm, GUEST_FREE, PAGE);
	before = fetches();
	check_eq(notifies(0), 0);
	check_eq(fetches(), before + 1);
	for (i = 0; i < 3; i++) {
		mm_queue_unmap(&w.mm, GUEST_FREE, PAGE);
		check_eq(notifies(0), 0);
	}
	check_eq(fetches(), before + 1);
	/* The last call had no batch. */
	check_eq(notifies(0), 1);
	/* A batch without a guest does not count. */
	mm_queue_unmap(&w.mm, GUEST_FREE, PAGE);
	check_eq(window_sync(&w), 0);
	check_eq(notifies(0), 1);
}

/* The former guest's calls do not count for the next one. */
static void a_kept_stub_has_forgotten(void)
{
	struct stubguard_config config = window_config();

	config.guest_end = GUEST_END;
	config.pool_size = 1;
	window_init_config(&config);
	window_needs_calls_that_notify();
	window_start(&w);
	check_eq(notifies(0), 1);
	mm_queue_unmap(&w.mm, GUEST_FREE, PAGE);
	check_eq(notifies(0), 0);
	check_eq(stubguard_stub_put(&w.stub, &w.mm, 0), 0);
	check_eq(stubguard_stub_take(&w.stub), 1);
	is_in_no_call();
	w.mm.pte_count = 0;
	window_set_up(&w);
	/* A batch, so that the last call does not count. */
	mm_queue_unmap(&w.mm, GUEST_FREE, PAGE);
	check_eq(notifies(0), 1);
}

static const struct test tests[] = {
	TEST(a_call_is_answered),
	TEST(a_result_that_only_a_kernel_understands),
	TEST(a_step),
	TEST(a_batch_with_the_guest),
	TEST(a_batch_alone),
	TEST(another_guest),
	TEST(after_a_fetch),
	TEST(a_new_stub_is_waited_for),
	TEST(a_new_stub_that_takes_its_time),
	TEST(a_new_stub_that_dies),
	TEST(who_is_watched_or_shared_makes_frames),
	TEST(calls_that_lead_to_a_batch_make_frames),
	TEST(a_kept_stub_has_forgotten),
};

HARNESS_MAIN(tests)
