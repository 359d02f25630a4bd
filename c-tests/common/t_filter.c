// SPDX-License-Identifier: GPL-2.0-only
/* Which calls a stub can make: the real filter in real stubs. */
#include "harness.h"
#include "host.h"
#include "model.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define ARCH_SET_GS 0x1001
#define ARCH_SET_FS 0x1002
#define ARCH_GET_FS 0x1003
#define ARCH_GET_GS 0x1004
#define ARCH_CPUID 0x1012
#define ARCH_MAP_VDSO_64 0x2003
#define ARCH_SHSTK_ENABLE 0x5001
#define X32 0x40000000
#define HIGH (1UL << 32)
#define FUTEX_WORD (STUB_DATA + offsetof(struct stub_data, futex))

static struct mm_id mm;

static void is_killed(const char *what, unsigned long ip, long nr, const unsigned long *args)
{
	test_context("%s (call %ld)", what, nr);
	mm_start(&mm);
	mm_call(&mm, ip, nr, args);
	mm_resume(&mm);
	check_eq(mm_wait(&mm), -ESRCH);
	check_eq(WTERMSIG(mm_end(&mm)), SIGSYS);
	test_context_end();
}

struct row {
	const char *what;
	long nr;
	unsigned long args[6];
	long result;
};

static void arguments_that_no_stub_has_kill(void)
{
	static const struct row rows[] = {
		{ "another word", SYS_futex, { FUTEX_WORD + 4, FUTEX_WAKE, 1 }, 0 },
		{ "a guest's word", SYS_futex, { GUEST_STACK, FUTEX_WAIT, 0 }, 0 },
		{ "the low half only", SYS_futex, { (unsigned int)FUTEX_WORD, FUTEX_WAKE, 1 }, 0 },
		{ "the high half only", SYS_futex, { FUTEX_WORD & ~(HIGH - 1), FUTEX_WAKE, 1 }, 0 },
		{ "an fd", SYS_futex, { FUTEX_WORD, FUTEX_FD }, 0 },
		{ "requeue", SYS_futex, { FUTEX_WORD, FUTEX_REQUEUE, 1, 1, GUEST_STACK }, 0 },
		{ "private", SYS_futex, { FUTEX_WORD, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1 }, 0 },
		{ "lock", SYS_futex, { FUTEX_WORD, FUTEX_LOCK_PI }, 0 },
		{ "the listener", SYS_recvmsg, { STUBGUARD_LISTENER_FD, GUEST_STACK, 0 }, 0 },
		{ "an fd of -1", SYS_recvmsg, { -1UL, GUEST_STACK, 0 }, 0 },
		{ "to wait", SYS_recvmsg, { 0, GUEST_STACK, 0x100 }, 0 },
		{ "to peek", SYS_recvmsg, { 0, GUEST_STACK, 2 }, 0 },
		{ "the socket", SYS_close, { 0 }, 0 },
		{ "the listener", SYS_close, { STUBGUARD_LISTENER_FD }, 0 },
		{ "the next fd", SYS_close, { MMAP_FD + 1 }, 0 },
		{ "all ones", SYS_close, { -1UL }, 0 },
		/* Series, hole 18 (docs/history/series.md) */
		{ "ARCH_GET_FS", SYS_arch_prctl, { ARCH_GET_FS, GUEST_STACK }, 0 },
		{ "ARCH_GET_GS", SYS_arch_prctl, { ARCH_GET_GS, GUEST_STACK }, 0 },
		{ "ARCH_SET_CPUID", SYS_arch_prctl, { ARCH_CPUID, 0 }, 0 },
		{ "ARCH_MAP_VDSO_64", SYS_arch_prctl, { ARCH_MAP_VDSO_64, GUEST_FREE }, 0 },
		{ "ARCH_SHSTK_ENABLE", SYS_arch_prctl, { ARCH_SHSTK_ENABLE, 1 }, 0 },
		{ "0", SYS_arch_prctl, { 0 }, 0 },
		{ "x32",
		  SYS_mmap | X32,
		  { GUEST_FREE, PAGE, PROT_READ, MAP_SHARED | MAP_FIXED, MMAP_FD },
		  0 },
		{ "x32", SYS_munmap | X32, { GUEST_FREE, PAGE }, 0 },
		{ "x32", SYS_rt_sigreturn | X32, { 0 }, 0 },
		{ "mmap2's number",
		  192,
		  { GUEST_FREE, PAGE, PROT_READ, MAP_SHARED | MAP_FIXED, MMAP_FD },
		  0 },
		{ "no number", -1, { 0 }, 0 },
	};
	size_t i;

	model_init(0);
	for (i = 0; i < COUNT(rows); i++)
		is_killed(rows[i].what, STUB_START + GADGET, rows[i].nr, rows[i].args);
}

static void arguments_of_a_stub_work(void)
{
	static const struct row rows[] = {
		{ "wait", SYS_futex, { FUTEX_WORD, FUTEX_WAIT, FUTEX_IN_KERN }, -EAGAIN },
		{ "junk above the operation",
		  SYS_futex,
		  { FUTEX_WORD, FUTEX_WAIT | HIGH, FUTEX_IN_KERN },
		  -EAGAIN },
		{ "receive", SYS_recvmsg, { 0, 8 }, -EFAULT },
		{ "close", SYS_close, { MMAP_FD }, -EBADF },
		{ "close, junk above the fd", SYS_close, { MMAP_FD | HIGH }, -EBADF },
		{ "set fs", SYS_arch_prctl, { ARCH_SET_FS, GUEST_FREE }, 0 },
		{ "set gs", SYS_arch_prctl, { ARCH_SET_GS, GUEST_FREE }, 0 },
		{ "munmap", SYS_munmap, { GUEST_FREE, PAGE }, 0 },
		{ "mmap of nothing", SYS_mmap, { 0 }, -EPERM },
	};
	size_t i;

	model_init(0);
	mm_start(&mm);
	for (i = 0; i < COUNT(rows); i++) {
		const unsigned long *a = rows[i].args;

		test_context("%s", rows[i].what);
		check_eq(mm_hijack(&mm, rows[i].nr, a[0], a[1], a[2], a[3], a[4], a[5]),
			 rows[i].result);
	}
	test_context_end();
	check_eq(mm.drained, 2);
	/* The monitor waits there, so a stub may wake it. */
	check_op(mm_hijack(&mm, SYS_futex, FUTEX_WORD, FUTEX_WAKE, 1), >=, 0);
}

static void every_other_call_kills(void)
{
	/* uretprobe and uprobe pass all filters (Linux 6.14): SIGILL and ENXIO. */
	static const long known[] = { SYS_futex,   SYS_mmap, SYS_munmap, SYS_rt_sigreturn,
				      SYS_recvmsg, 335,	     336 };
	static const unsigned long zeros[6];
	long nr;
	size_t i;

	model_init(0);
	for (nr = 0; nr < 480; nr++) {
		for (i = 0; i < COUNT(known) && nr != known[i]; i++)
			;
		if (i == COUNT(known))
			is_killed("no arguments", STUB_START + GADGET, nr, zeros);
	}
}

/* A gadget on a page of the guest. */
static void guest_gadget(unsigned long page, unsigned int offset, unsigned int frame)
{
	mm_frame_gadget(&mm, frame, offset);
	mm_queue_page(&mm, page, frame, PROT_READ | PROT_EXEC);
	check_eq(mm_sync(&mm), 0);
	check_eq(mm.own.err, 0);
}

static void is_the_guests(unsigned long ip, long nr)
{
	static const unsigned long args[6] = { GUEST_FREE, PAGE, PROT_READ, MAP_SHARED | MAP_FIXED,
					       MMAP_FD };

	test_context("call %ld at %#lx", nr, ip);
	mm_call(&mm, ip, nr, args);
	mm_resume(&mm);
	check_eq(mm_wait(&mm), 0);
	check_eq(mm_guest_call(&mm), (int)nr);
	check_eq(mm.drained, 0);
	test_context_end();
}

static void calls_from_elsewhere_are_the_guests(void)
{
	static const long numbers[] = { SYS_mmap,	SYS_munmap, SYS_futex, SYS_close,
					SYS_exit_group, SYS_kill,   -1 };
	size_t i;

	model_init(0);
	mm_start(&mm);
	/* The stub page's address with another high half, and with another low half. */
	guest_gadget(STUB_START - (1UL << 44), GADGET, FRAME_FREE);
	guest_gadget(STUB_START - (1UL << 28), GADGET, FRAME_FREE + 1);
	guest_gadget(STUB_START - PAGE, GADGET, FRAME_FREE + 2);
	for (i = 0; i < COUNT(numbers); i++) {
		is_the_guests(STUB_START - (1UL << 44) + GADGET, numbers[i]);
		is_the_guests(STUB_START - (1UL << 28) + GADGET, numbers[i]);
		is_the_guests(STUB_START - PAGE + GADGET, numbers[i]);
		/* The filter sees the address behind the call, which is on the next page. */
		is_the_guests(mm_gadget(&mm, PAGE - 2), numbers[i]);
	}
}

static void a_call_that_returns_into_the_page_is_the_stubs(void)
{
	static const unsigned long args[6] = { GUEST_FREE, PAGE, PROT_READ, MAP_SHARED | MAP_FIXED,
					       MMAP_FD };

	model_init(0);
	mm_start(&mm);
	guest_gadget(STUB_START - PAGE, PAGE - 2, FRAME_FREE);
	mm_call(&mm, STUB_START - 2, SYS_mmap, args);
	mm_resume(&mm);
	mm_wait_notification(&mm);
	check_eq(seccomp_notify_serve(&mm, mm.listener, 0), 1);
	check_eq(denied("page_table"), 1);
}

static void any_place_in_the_page_is_the_stubs(void)
{
	unsigned int offset;

	model_init(0);
	mm_start(&mm);
	for (offset = GADGET; offset < PAGE - 2; offset++) {
		test_context("offset %u", offset);
		mm_gadget(&mm, offset);
		check_eq(mm_hijack_at(&mm, STUB_START + offset, SYS_mmap, 0, 0, 0, 0, 0, 0),
			 -EPERM);
	}
}

static void a_32_bit_call_does_not_get_through(void)
{
	static const unsigned char gadget[] = { 0xcd, 0x80, 0xc3 };
	/* For a 32-bit call the same numbers mean other calls: 15 is chmod. */
	static const long numbers[] = { SYS_rt_sigreturn, SYS_mmap, SYS_munmap, SYS_close, 91, 192 };
	static const unsigned long args[6];
	int ret;
	size_t i;

	model_init(0);
	for (i = 0; i < COUNT(numbers); i++) {
		test_context("call %ld", numbers[i]);
		mm_start(&mm);
		memcpy(mm.ram + GADGET, gadget, sizeof(gadget));
		mm_call(&mm, STUB_START + GADGET, numbers[i], args);
		mm_resume(&mm);
		ret = mm_wait(&mm);
		if (ret == 0 && mm.own.signal == SIGSEGV)
			test_skip("this host has no 32-bit calls");
		check_eq(ret, -ESRCH);
		check_eq(WTERMSIG(mm_end(&mm)), SIGSYS);
	}
}

static void its_length_is_told_and_bounded(void)
{
	model_init(0);
	check_op(model_filter_length(), >, 10);
}

static void its_flags_are_what_the_host_has(void)
{
	unsigned int flags;

	model_init(0);
	flags = SECCOMP_FILTER_FLAG_NEW_LISTENER;
	if (stubguard_features() & STUBGUARD_F_WAIT_KILLABLE)
		flags |= 1 << 5;
	check_eq(stubguard_filter_flags(), flags);
}

static void its_flags_on_an_older_host(void)
{
	host_fail(HOST_FLAG, 1, 1, EINVAL);
	model_init(STUBGUARD_REQUIRE);
	check_eq(stubguard_features() & STUBGUARD_F_WAIT_KILLABLE, 0);
	check_eq(stubguard_filter_flags(), SECCOMP_FILTER_FLAG_NEW_LISTENER);
	mm_start(&mm);
	check_eq(mm_hijack(&mm, SYS_mmap, 0), -EPERM);
}

static const struct test tests[] = {
	TEST(arguments_that_no_stub_has_kill),
	TEST(arguments_of_a_stub_work),
	TEST(every_other_call_kills),
	TEST(calls_from_elsewhere_are_the_guests),
	TEST(a_call_that_returns_into_the_page_is_the_stubs),
	TEST(any_place_in_the_page_is_the_stubs),
	TEST(a_32_bit_call_does_not_get_through),
	TEST(its_length_is_told_and_bounded),
	TEST(its_flags_are_what_the_host_has),
	TEST(its_flags_on_an_older_host),
};

HARNESS_MAIN(tests)
