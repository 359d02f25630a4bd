// SPDX-License-Identifier: GPL-2.0-only
/* The model itself: its stubs work as UML's do with the guard. */
#include "harness.h"
#include "host.h"
#include "model.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static struct mm_id mm;

static void start(void)
{
	model_init(0);
	mm_start(&mm);
}

static void report_once(const char *what, unsigned long arg)
{
	mm_run(&mm, what, arg);
}

static void a_guest_calls_the_kernel_and_goes_on(void)
{
	start();
	report_once("call", SYS_getpid);
	/* It reached the kernel, not the host. */
	check_eq(mm_guest_call(&mm), SYS_getpid);
	report_once("report", 1234);
	check_eq(mm_result(&mm), 1234);
	check_eq(mm.drained, 0);
}

static void a_batch_maps_and_unmaps(void)
{
	struct stubguard_stats before, after;

	start();
	before = stats();
	mm_set_pte(&mm, GUEST_FREE, FRAME_FREE + 1, PROT_READ);
	mm_set_pte(&mm, GUEST_FREE + PAGE, FRAME_FREE + 2, PROT_READ | PROT_WRITE);
	mm_queue_map(&mm, GUEST_FREE, PAGE, FRAME_FREE + 1, PROT_READ);
	mm_queue_map(&mm, GUEST_FREE + PAGE, PAGE, FRAME_FREE + 2, PROT_READ | PROT_WRITE);
	check_eq(mm_sync(&mm), 0);
	check_eq(mm.own.err, 0);
	after = stats();
	check_eq(after.served, before.served + 2);
	check_eq(after.allowed, before.allowed + 2);
	check_eq(mm.asked, 2);

	report_once("read", GUEST_FREE);
	check_eq(mm_result(&mm), frame_mark(FRAME_FREE + 1));
	report_once("write", GUEST_FREE + PAGE);
	check_eq(mm_result(&mm), 0);
	check_eq(*(unsigned long *)mm_frame(&mm, FRAME_FREE + 2), 0x77);
	report_once("write", GUEST_FREE);
	check_eq(mm.own.signal, SIGSEGV);

	mm_queue_unmap(&mm, GUEST_FREE, 2 * PAGE);
	check_eq(mm_sync(&mm), 0);
	check_eq(mm.own.err, 0);
	report_once("read", GUEST_FREE);
	check_eq(mm.own.signal, SIGSEGV);
	check(!mm_mapping(&mm, GUEST_FREE)[0]);
}

static void a_batch_can_come_with_a_resume(void)
{
	start();
	mm_queue_page(&mm, GUEST_FREE, FRAME_FREE, PROT_READ);
	mm_guest(&mm, "read", GUEST_FREE);
	mm_resume(&mm);
	/* It waits only shortly, and the stub may need longer on a busy machine. */
	while (!serve_batch(&mm, 1))
		;
	check_eq(mm_wait(&mm), 0);
	check_eq(mm_result(&mm), frame_mark(FRAME_FREE));
}

static void a_full_batch(void)
{
	unsigned int i;

	start();
	for (i = 0; i < CALLS_MAX; i++)
		mm_queue_unmap(&mm, GUEST_FREE + i * PAGE, PAGE);
	check_eq(mm_sync(&mm), 0);
	check_eq(mm.own.err, 0);
	check_eq(mm.drained, 0);
}

static void many_rounds(void)
{
	unsigned int i;

	start();
	for (i = 0; i < 200; i++) {
		unsigned int frame = FRAME_FREE + i % 8;

		mm_queue_page(&mm, GUEST_FREE, frame, PROT_READ);
		check_eq(mm_sync(&mm), 0);
		report_once("read", GUEST_FREE);
		check_eq(mm_result(&mm), frame_mark(frame));
	}
	check_eq(mm.drained, 0);
	check_eq(stats().resynchronised, 0);
}

static void signals_are_reported(void)
{
	start();
	report_once("fault", 0);
	check_eq(mm.own.signal, SIGILL);

	/* The host maps it, but the file is shorter */
	mm_queue_page(&mm, GUEST_FREE, FRAMES + 1, PROT_READ);
	check_eq(mm_sync(&mm), 0);
	report_once("read", GUEST_FREE);
	check_eq(mm.own.signal, SIGBUS);

	mm_guest(&mm, "spin", GUEST_STACK);
	mm_resume(&mm);
	while (!*(volatile unsigned long *)mm_frame(&mm, FRAME_GUEST_STACK))
		raw(SYS_sched_yield);
	raw(SYS_kill, mm.pid, SIGALRM);
	check_eq(mm_wait(&mm), 0);
	check_eq(mm.own.signal, SIGALRM);
}

static void a_denied_call_ends_the_batch(void)
{
	start();
	mm_queue_unmap(&mm, GUEST_FREE, PAGE);
	mm_queue_unmap(&mm, STUB_START, PAGE);
	mm_queue_unmap(&mm, GUEST_FREE + PAGE, PAGE);
	check_eq(mm_sync(&mm), 0);
	check_eq(mm.own.err, -EPERM);
	check_eq(mm.own.syscall_data_len, 1);
	/* The stub still works. */
	report_once("report", 5);
	check_eq(mm_result(&mm), 5);
}

static void two_stubs_at_a_time(void)
{
	static struct mm_id other;

	start();
	mm_start(&other);
	mm_set_pte(&mm, GUEST_FREE, FRAME_FREE, PROT_READ);
	mm_hijack_start_mmap(&other);
	/* A page table grants nothing to another mm's stub. */
	mm_clear_pte(&other, GUEST_FREE);
	check_eq(serve_one(&other), 1);
	check_eq(mm_wait(&other), 0);
	check_eq(mm_result(&other), -EPERM);
	report_once("report", 1);
	check_eq(mm_result(&mm), 1);
	check_eq(WTERMSIG(mm_end(&other)), SIGKILL);
	check_eq(WTERMSIG(mm_end(&mm)), SIGKILL);
}

static const struct test tests[] = {
	TEST(a_guest_calls_the_kernel_and_goes_on),
	TEST(a_batch_maps_and_unmaps),
	TEST(a_batch_can_come_with_a_resume),
	TEST(a_full_batch),
	TEST(many_rounds),
	TEST(signals_are_reported),
	TEST(a_denied_call_ends_the_batch),
	TEST(two_stubs_at_a_time),
};

HARNESS_MAIN(tests)
