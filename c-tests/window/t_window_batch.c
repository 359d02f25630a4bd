// SPDX-License-Identifier: GPL-2.0-only
/*
 * The batch: the stub runs the queued calls before the guest, as far as policy and page table grant
 * them.
 */
#include "harness.h"
#include "host.h"
#include "window.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define READ PROT_READ
#define WRITE (PROT_READ | PROT_WRITE)
#define EXEC (PROT_READ | PROT_EXEC)

static struct window w;

static void start(void)
{
	window_init(STUBGUARD_REQUIRE);
	window_start(&w);
}

static void faults(const char *what, unsigned long addr)
{
	window_guest(&w, what, addr);
	check_eq(window_run(&w), 0);
	check_eq(w.event.signal, SIGSEGV);
	check_eq(w.event.address, addr);
}

/* ---- what is run */

static void it_maps_and_unmaps(void)
{
	struct stubguard_stats before, after;

	start();
	before = stats();
	mm_set_pte(&w.mm, GUEST_FREE, FRAME_FREE + 1, READ);
	mm_set_pte(&w.mm, GUEST_FREE + PAGE, FRAME_FREE + 2, WRITE);
	mm_queue_map(&w.mm, GUEST_FREE, PAGE, FRAME_FREE + 1, READ);
	mm_queue_map(&w.mm, GUEST_FREE + PAGE, PAGE, FRAME_FREE + 2, WRITE);
	check_eq(window_sync(&w), 0);
	check_eq(w.event.done, 0);
	check_eq(w.event.again, 0);
	check_eq(w.event.syscall, -1);
	after = stats();
	/* One notification for all calls. */
	check_eq(after.served, before.served + 1);
	check_eq(w.mm.asked, 2);
	window_reads(&w, GUEST_FREE, FRAME_FREE + 1);
	window_guest(&w, "write", GUEST_FREE + PAGE);
	check_eq(window_run(&w), 0);
	check_eq(window_result(&w), 0);
	check_eq(*(unsigned long *)mm_frame(&w.mm, FRAME_FREE + 2), 0x77);
	check(strstr(mm_mapping(&w.mm, GUEST_FREE), " r--s "));
	check(strstr(mm_mapping(&w.mm, GUEST_FREE + PAGE), " rw-s "));

	mm_queue_unmap(&w.mm, GUEST_FREE, 2 * PAGE);
	check_eq(window_sync(&w), 0);
	faults("read", GUEST_FREE);
	check(!mm_mapping(&w.mm, GUEST_FREE)[0]);
	window_is_limited(&w);
}

/* One call for pages of any frames that the stub has. It maps nothing, so the limit is not lifted. */
static void it_takes_the_right_to_write(void)
{
	unsigned int sends, lifted, i;

	start();
	for (i = 0; i < 4; i++) {
		mm_queue_page(&w.mm, GUEST_FREE + i * PAGE, FRAME_FREE + 7 - i, WRITE | PROT_EXEC);
	}
	check_eq(window_sync(&w), 0);
	check(strstr(mm_mapping(&w.mm, GUEST_FREE), " rwxs "));

	sends = host_count(HOST_SEND);
	lifted = host_count(HOST_PRLIMIT);
	w.mm.asked = 0;
	mm_queue_wrprotect(&w.mm, GUEST_FREE, 3 * PAGE);
	check_eq(window_sync(&w), 0);
	check_eq(w.event.error, 0);
	check_eq(host_count(HOST_SEND), sends + 1);
	check_eq(host_count(HOST_PRLIMIT), lifted);
	check_eq(w.mm.asked, 0);
	for (i = 0; i < 3; i++) {
		check(strstr(mm_mapping(&w.mm, GUEST_FREE + i * PAGE), " r-xs "));
		window_reads(&w, GUEST_FREE + i * PAGE, FRAME_FREE + 7 - i);
		faults("write", GUEST_FREE + i * PAGE);
	}
	check(strstr(mm_mapping(&w.mm, GUEST_FREE + 3 * PAGE), " rwxs "));

	/* The host stops at a page that is not mapped: the caller gets its error. */
	mm_queue_unmap(&w.mm, GUEST_FREE + PAGE, PAGE);
	mm_queue_wrprotect(&w.mm, GUEST_FREE, 4 * PAGE);
	mm_queue_unmap(&w.mm, GUEST_FREE, PAGE);
	check_eq(window_sync(&w), -ENOMEM);
	check_eq(w.event.done, 1);
	check(strstr(mm_mapping(&w.mm, GUEST_FREE), " r-xs "));
	window_is_sound(&w);
}

/*
 * A page without rights is not mapped: a hijacked stub could give itself all rights to it at the
 * mprotect site.
 */
static void what_has_no_rights_is_not_there(void)
{
	unsigned int lifted;

	start();
	window_map(&w, GUEST_FREE, FRAME_FREE, WRITE);
	mm_queue_page(&w.mm, GUEST_FREE, FRAME_FREE, PROT_NONE);
	lifted = host_count(HOST_PRLIMIT);
	check_eq(window_sync(&w), 0);
	check(!mm_mapping(&w.mm, GUEST_FREE)[0]);
	faults("read", GUEST_FREE);
	check_eq(host_count(HOST_PRLIMIT), lifted);
}

static void it_comes_with_the_guest(void)
{
	unsigned int sends;

	start();
	mm_queue_page(&w.mm, GUEST_FREE, FRAME_FREE, READ);
	sends = host_count(HOST_SEND);
	window_reads(&w, GUEST_FREE, FRAME_FREE);
	check_eq(host_count(HOST_SEND), sends + 1);
	mm_queue_unmap(&w.mm, GUEST_FREE, PAGE);
	faults("read", GUEST_FREE);
}

static void two_host_calls_however_long_it_is(void)
{
	unsigned int counts[HOST_CALLS], i;

	start();
	for (i = 0; i < CALLS_MAX; i++) {
		unsigned long addr = GUEST_FREE + i * PAGE;

		if (i < PTES - 2)
			mm_set_pte(&w.mm, addr, FRAME_FREE + i % 8, READ);
		if (i < PTES - 2)
			mm_queue_map(&w.mm, addr, PAGE, FRAME_FREE + i % 8, READ);
		else
			mm_queue_unmap(&w.mm, addr, PAGE);
	}
	for (i = 0; i < HOST_CALLS; i++)
		counts[i] = host_count((enum host_call)i);
	check_eq(window_resume_batch(&w), 0);
	for (i = 0; i < HOST_CALLS; i++) {
		test_context("%s", host_call_name((enum host_call)i));
		check_eq(host_count((enum host_call)i),
			 counts[i] + (i == HOST_SEND || i == HOST_PRLIMIT));
	}
	test_context_end();
	w.mm.calls = 0;
	check_eq(window_wait(&w), 0);
	check_eq(w.event.error, 0);
	check_eq(w.mm.asked, PTES - 2);
	for (i = 0; i < PTES - 2; i++)
		window_reads(&w, GUEST_FREE + i * PAGE, FRAME_FREE + i % 8);
	window_is_limited(&w);
}

static void as_many_as_there_is_room_for(void)
{
	unsigned int i;

	start();
	for (i = 0; i < CALLS_MAX; i++)
		mm_queue_unmap(&w.mm, GUEST_FREE + i * PAGE, PAGE);
	check_eq(window_sync(&w), 0);
	for (i = 0; i < CALLS_MAX; i++)
		mm_queue_unmap(&w.mm, GUEST_FREE + i * PAGE, PAGE);
	window_guest(&w, "report", 3);
	check_eq(window_run(&w), 0);
	check_eq(window_result(&w), 3);
	/* More than arch/um queues. */
	w.mm.calls = STUBGUARD_CALLS_MAX;
	check_eq(window_sync(&w), 0);
	/* One more is a bad argument, and changes nothing. */
	w.mm.calls = STUBGUARD_CALLS_MAX + 1;
	check_eq(window_resume_batch(&w), -EINVAL);
	check_eq(window_resume(&w), -EINVAL);
	w.mm.calls = 0;
	window_is_sound(&w);
}

static void an_empty_batch_is_none(void)
{
	start();
	check_eq(window_resume_batch(&w), -EINVAL);
	window_is_sound(&w);
}

/* ---- a call that fails in the stub */

static void a_call_that_fails(void)
{
	unsigned int i;

	start();
	for (i = 0; i < 4; i++) {
		test_context("call %u, %s", i, i & 1 ? "with the guest" : "by itself");
		mm_set_pte(&w.mm, GUEST_FREE, FRAME_FREE, READ);
		w.mm.calls = 0;
		while (w.mm.calls < (int)i)
			mm_queue_map(&w.mm, GUEST_FREE, PAGE, FRAME_FREE, READ);
		window_queue_refused(&w, GUEST_FREE + PAGE);
		mm_queue_map(&w.mm, GUEST_FREE, PAGE, FRAME_FREE, READ);
		window_guest(&w, "report", 1);
		if (i & 1)
			check_eq(window_run(&w), 0);
		else
			check_eq(window_sync(&w), -REFUSED_WITH);
		check_eq(w.event.error, -REFUSED_WITH);
		check_eq(w.event.done, (int)i);
		check_eq(w.event.signal, 0);
		check_eq(w.event.again, 0);
		check_eq(w.event.syscall, -1);
		/* The stub still works, and can map nothing. */
		window_is_limited(&w);
		window_is_sound(&w);
	}
	test_context_end();
	check_eq(stats().breaches, 0);
	check(!mm_mapping(&w.mm, GUEST_FREE + PAGE)[0]);
}

/* The count is in queued calls, into however many calls of the stub they were split. */
static void what_was_done_is_counted_in_the_monitors_calls(void)
{
	unsigned int with_guest;

	start();
	for (with_guest = 0; with_guest < 2; with_guest++) {
		test_context("guest %u", with_guest);
		mm_set_pte(&w.mm, GUEST_FREE, FRAME_FREE, READ);
		mm_clear_pte(&w.mm, GUEST_FREE + PAGE);
		mm_set_pte(&w.mm, GUEST_FREE + 2 * PAGE, FRAME_FREE + 2, READ);
		/* Split into two calls; then the one that fails. */
		mm_queue_map(&w.mm, GUEST_FREE, 3 * PAGE, FRAME_FREE, READ);
		window_queue_refused(&w, GUEST_FREE + 3 * PAGE);
		window_guest(&w, "report", 1);
		check_eq(with_guest ? window_run(&w) : window_sync(&w),
			 with_guest ? 0 : -REFUSED_WITH);
		check_eq(w.event.error, -REFUSED_WITH);
		check_eq(w.event.done, 1);
		/* Not granted twice, then one call; then the one that fails. */
		mm_queue_map(&w.mm, GUEST_FREE + PAGE, PAGE, FRAME_FREE + 1, READ);
		mm_queue_map(&w.mm, GUEST_FREE + PAGE, PAGE, FRAME_FREE + 1, READ);
		mm_queue_unmap(&w.mm, GUEST_FREE, PAGE);
		window_queue_refused(&w, GUEST_FREE + 3 * PAGE);
		check_eq(window_sync(&w), -REFUSED_WITH);
		check_eq(w.event.done, 3);
	}
	test_context_end();
	window_is_sound(&w);
}

static void offsets_beyond_the_file(void)
{
	start();
	mm_queue_page(&w.mm, GUEST_FREE, FRAMES + 1, READ);
	/* The host maps it, but the file is shorter: the guest gets SIGBUS. */
	check_eq(window_sync(&w), 0);
	window_is_sound(&w);
	window_guest(&w, "read", GUEST_FREE);
	check_eq(window_run(&w), 0);
	check_eq(w.event.signal, SIGBUS);
	check_eq(w.event.again, 0);
	check_eq(w.info.si_code, BUS_ADRERR);
	check_eq((unsigned long)w.info.si_addr, GUEST_FREE);
	check_eq(w.regs.rip, mm_guest_code("read"));
	window_is_sound(&w);
}

/* ---- the page table */

static struct question *question(unsigned int index)
{
	check_op(index, <, w.mm.asked);
	return &w.mm.questions[index];
}

static void it_is_asked_for_each_page(void)
{
	unsigned int i;

	start();
	for (i = 0; i < 3; i++)
		mm_set_pte(&w.mm, GUEST_FREE + i * PAGE, FRAME_FREE + i, WRITE);
	mm_queue_unmap(&w.mm, GUEST_FREE + 7 * PAGE, PAGE);
	mm_queue_map(&w.mm, GUEST_FREE, 3 * PAGE, FRAME_FREE, READ);
	mm_queue_map(&w.mm, GUEST_FREE + PAGE, PAGE, FRAME_FREE + 1, WRITE);
	check_eq(window_sync(&w), 0);
	check_eq(w.mm.asked, 4);
	for (i = 0; i < 3; i++) {
		check_eq(question(i)->addr, GUEST_FREE + i * PAGE);
		check_eq(question(i)->offset, (FRAME_FREE + i) * PAGE);
		check_eq(question(i)->prot, READ);
	}
	check_eq(question(3)->addr, GUEST_FREE + PAGE);
	check_eq(question(3)->prot, WRITE);
	for (i = 0; i < 3; i++)
		window_reads(&w, GUEST_FREE + i * PAGE, FRAME_FREE + i);
}

/* One page of three was unmapped, write-protected or mapped to another frame meanwhile. */
static void what_is_not_granted_is_left_out(void)
{
	unsigned int without, i, how;
	uint64_t before;

	start();
	for (how = 0; how < 3; how++) {
		for (without = 0; without < 8; without++) {
			test_context("pages %#x, %u", without, how);
			for (i = 0; i < 3; i++) {
				unsigned long addr = GUEST_FREE + i * PAGE;

				if (!(without & (1U << i)))
					mm_set_pte(&w.mm, addr, FRAME_FREE + i, WRITE);
				else if (how == 0)
					mm_clear_pte(&w.mm, addr);
				else if (how == 1)
					mm_set_pte(&w.mm, addr, FRAME_FREE + i, READ);
				else
					mm_set_pte(&w.mm, addr, FRAME_FREE + 9 + i, WRITE);
			}
			mm_queue_unmap(&w.mm, GUEST_FREE, 4 * PAGE);
			mm_queue_map(&w.mm, GUEST_FREE, 3 * PAGE, FRAME_FREE, WRITE);
			before = denied("page_table");
			w.mm.asked = 0;
			check_eq(window_sync(&w), 0);
			/* For a page without write permission the hook is called again, without that. */
			check_eq(w.mm.asked, 3 + (unsigned int)__builtin_popcount(without));
			check_eq(denied("page_table") - before,
				 (uint64_t)__builtin_popcount(without));
			for (i = 0; i < 3; i++) {
				const char *mapping = mm_mapping(&w.mm, GUEST_FREE + i * PAGE);

				if (!(without & (1U << i)))
					check(strstr(mapping, " rw-s "));
				else if (how == 1)
					check(strstr(mapping, " r--s "));
				else
					check(!mapping[0]);
				if (mapping[0])
					window_reads(&w, GUEST_FREE + i * PAGE, FRAME_FREE + i);
			}
		}
	}
	test_context_end();
	check_eq(stats().breaches, 0);
}

/* The old mapping stays until its own change is synchronised. */
static void what_is_left_out_stays_as_it_was(void)
{
	start();
	window_map(&w, GUEST_FREE, FRAME_FREE + 7, READ);
	mm_clear_pte(&w.mm, GUEST_FREE);
	mm_queue_map(&w.mm, GUEST_FREE, PAGE, FRAME_FREE, READ);
	check_eq(window_sync(&w), 0);
	window_reads(&w, GUEST_FREE, FRAME_FREE + 7);
}

static void a_batch_of_which_nothing_is_granted(void)
{
	unsigned int lifted, i;

	start();
	for (i = 0; i < 5; i++)
		mm_queue_map(&w.mm, GUEST_FREE + i * PAGE, PAGE, FRAME_FREE, READ);
	lifted = host_count(HOST_PRLIMIT);
	check_eq(window_sync(&w), 0);
	check_eq(w.event.signal, 0);
	check_eq(w.event.done, 0);
	/* The limit was not lifted for that. */
	check_eq(host_count(HOST_PRLIMIT), lifted);
	check_eq(denied("page_table"), 5);
	for (i = 0; i < 5; i++)
		mm_queue_map(&w.mm, GUEST_FREE + i * PAGE, PAGE, FRAME_FREE, READ);
	window_guest(&w, "report", 4);
	check_eq(window_run(&w), 0);
	check_eq(window_result(&w), 4);
	check(!mm_mapping(&w.mm, GUEST_FREE)[0]);
}

/* Every second page is granted: more calls than the stub has room for. */
static void more_splits_than_there_is_room_for(void)
{
	unsigned int i;

	start();
	for (i = 0; i < 12; i += 2)
		mm_set_pte(&w.mm, GUEST_FREE + i * PAGE, FRAME_FREE + i, READ);
	/* Six calls of each. */
	for (i = 0; i < 18; i++)
		mm_queue_map(&w.mm, GUEST_FREE, 12 * PAGE, FRAME_FREE, READ);
	check_eq(window_sync(&w), 0);
	for (i = 0; i < 12; i += 2)
		window_reads(&w, GUEST_FREE + i * PAGE, FRAME_FREE + i);
	check(!mm_mapping(&w.mm, GUEST_FREE + PAGE)[0]);
	for (i = 0; i < 19; i++)
		mm_queue_map(&w.mm, GUEST_FREE, 12 * PAGE, FRAME_FREE, READ);
	check_eq(window_resume_batch(&w), -EPERM);
	w.mm.calls = 0;
	window_is_lost(&w);
	check_eq(WTERMSIG(window_kill(&w)), SIGKILL);
}

/* ---- calls that no batch may have */

struct bad {
	const char *what;
	struct stub_syscall call;
	int expected;
	const char *reason;
};

#define MAP(a, l, o, p)										\
	{ { .addr = (a), .length = (l), .offset = (o), .prot = (p) }, STUB_SYSCALL_MMAP }
#define UNMAP(a, l) { { .addr = (a), .length = (l) }, STUB_SYSCALL_MUNMAP }
#define PROTECT(a, l) { { .addr = (a), .length = (l) }, STUB_SYSCALL_WRPROTECT }

static const struct bad bad_calls[] = {
	{ "prot 8", MAP(GUEST_FREE, PAGE, FRAME_FREE * PAGE, 8), -EPERM, "protection" },
	{ "growing down", MAP(GUEST_FREE, PAGE, FRAME_FREE * PAGE, READ | 0x01000000), -EPERM,
	  "protection" },
	{ "prot < 0", MAP(GUEST_FREE, PAGE, FRAME_FREE * PAGE, (int)0x80000001), -EPERM, NULL },
	{ "address", MAP(GUEST_FREE + 1, PAGE, FRAME_FREE * PAGE, READ), -EPERM, "unaligned" },
	{ "address", MAP(GUEST_FREE + 2048, PAGE, FRAME_FREE * PAGE, READ), -EPERM,
	  "unaligned" },
	{ "length", MAP(GUEST_FREE, PAGE + 1, FRAME_FREE * PAGE, READ), -EPERM, "unaligned" },
	{ "length 0", MAP(GUEST_FREE, 0, FRAME_FREE * PAGE, READ), -EPERM, "empty" },
	{ "offset", MAP(GUEST_FREE, PAGE, FRAME_FREE * PAGE + 8, READ), -EPERM, "offset" },
	{ "offset wraps", MAP(GUEST_FREE, 2 * PAGE, -PAGE, READ), -EPERM, "offset" },
	{ "the stub's code", MAP(STUB_START, PAGE, FRAME_FREE * PAGE, EXEC), -EPERM, "range" },
	{ "the stub's data", MAP(STUB_DATA, PAGE, FRAME_FREE * PAGE, WRITE), -EPERM, "range" },
	{ "into the stub", MAP(STUB_START - PAGE, 2 * PAGE, FRAME_FREE * PAGE, READ), -EPERM,
	  "range" },
	{ "above the stub", MAP(STUB_START + 8 * PAGE, PAGE, FRAME_FREE * PAGE, READ), -EPERM,
	  "range" },
	{ "all of it", MAP(0, -PAGE, FRAME_FREE * PAGE, READ), -EPERM, "range" },
	{ "address wraps", MAP(-PAGE, 2 * PAGE, FRAME_FREE * PAGE, READ), -EPERM, "wrap" },
	{ "length wraps", MAP(GUEST_FREE, -PAGE, FRAME_FREE * PAGE, READ), -EPERM, "wrap" },
	{ "unmaps the stub's code", UNMAP(STUB_START, PAGE), -EPERM, "range" },
	{ "unmaps into the stub", UNMAP(GUEST_FREE, STUB_START - GUEST_FREE + 1), -EPERM, "range" },
	{ "unmaps above the stub", UNMAP(1UL << 47, PAGE), -EPERM, "range" },
	{ "unmaps nothing", UNMAP(GUEST_FREE, 0), -EPERM, "empty" },
	{ "unmaps at 1", UNMAP(GUEST_FREE + 1, PAGE), -EPERM, "unaligned" },
	{ "unmaps, wraps", UNMAP(GUEST_FREE, -1UL), -EPERM, "wrap" },
	{ "no call", { { .addr = GUEST_FREE, .length = PAGE }, STUB_SYSCALL_UNSET }, -EPERM, NULL },
	{ "protects the stub's code", PROTECT(STUB_START, PAGE), -EPERM, "range" },
	{ "protects into the stub", PROTECT(GUEST_FREE, STUB_START - GUEST_FREE + 1), -EPERM,
	  "range" },
	{ "protects nothing", PROTECT(GUEST_FREE, 0), -EPERM, "empty" },
	{ "protects at 1", PROTECT(GUEST_FREE + 1, PAGE), -EPERM, "unaligned" },
	{ "protects, wraps", PROTECT(GUEST_FREE, -1UL), -EPERM, "wrap" },
	{ "call 4", { { .addr = GUEST_FREE, .length = PAGE }, 4 }, -EPERM, NULL },
	{ "call -1", { { .addr = GUEST_FREE, .length = PAGE }, -1 }, -EPERM, NULL },
	{ "a host's number", { { .addr = GUEST_FREE, .length = PAGE }, SYS_munmap }, -EPERM, NULL },
};

static void what_no_monitor_queues(void)
{
	unsigned int sends, lifted;
	uint64_t before = 0;
	size_t i;

	window_init(STUBGUARD_REQUIRE);
	for (i = 0; i < COUNT(bad_calls); i++) {
		const struct bad *bad = &bad_calls[i];

		test_context("%s", bad->what);
		window_start(&w);
		mm_set_pte(&w.mm, GUEST_FREE, FRAME_FREE, WRITE);
		/* Good calls before and after: none of the batch is run. */
		mm_queue_map(&w.mm, GUEST_FREE, PAGE, FRAME_FREE, READ);
		mm_queue_unmap(&w.mm, 0, PAGE);
		w.mm.own.syscall_data[1] = bad->call;
		mm_queue_unmap(&w.mm, GUEST_FREE, PAGE);
		sends = host_count(HOST_SEND);
		lifted = host_count(HOST_PRLIMIT);
		if (bad->reason)
			before = denied(bad->reason);
		check_eq(i & 1 ? window_resume(&w) : window_resume_batch(&w), bad->expected);
		if (bad->reason)
			check_eq(denied(bad->reason), before + 1);
		check_eq(host_count(HOST_SEND), sends);
		check_eq(host_count(HOST_PRLIMIT), lifted);
		w.mm.calls = 0;
		check(!mm_mapping(&w.mm, GUEST_FREE)[0]);
		window_is_given_up(&w);
	}
	test_context_end();
}

static void up_to_the_stub_it_is_the_guests(void)
{
	start();
	window_map(&w, STUB_START - PAGE, FRAME_FREE, READ);
	window_reads(&w, STUB_START - PAGE, FRAME_FREE);
	window_map(&w, 0x10000, FRAME_FREE + 1, READ);
	window_reads(&w, 0x10000, FRAME_FREE + 1);
	mm_queue_unmap(&w.mm, 0, STUB_START);
	check_eq(window_sync(&w), 0);
	check(!mm_mapping(&w.mm, STUB_START - PAGE)[0]);
	check(mm_mapping(&w.mm, STUB_START)[0]);
	/* The host rounds an odd length up: to the stub's pages, not into them. */
	mm_queue_unmap(&w.mm, STUB_START - PAGE, PAGE - 1);
	check_eq(window_sync(&w), 0);
	check(mm_mapping(&w.mm, STUB_START)[0]);
}

static const struct test tests[] = {
	TEST(it_maps_and_unmaps),
	TEST(it_takes_the_right_to_write),
	TEST(what_has_no_rights_is_not_there),
	TEST(it_comes_with_the_guest),
	TEST(two_host_calls_however_long_it_is),
	TEST(as_many_as_there_is_room_for),
	TEST(an_empty_batch_is_none),
	TEST(a_call_that_fails),
	TEST(what_was_done_is_counted_in_the_monitors_calls),
	TEST(offsets_beyond_the_file),
	TEST(it_is_asked_for_each_page),
	TEST(what_is_not_granted_is_left_out),
	TEST(what_is_left_out_stays_as_it_was),
	TEST(a_batch_of_which_nothing_is_granted),
	TEST(more_splits_than_there_is_room_for),
	TEST(what_no_monitor_queues),
	TEST(up_to_the_stub_it_is_the_guests),
};

HARNESS_MAIN(tests)
