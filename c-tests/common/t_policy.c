// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a stub may map and unmap, by real calls of a hijacked stub that holds the memory's fd: a call
 * that is wrongly allowed really happens.
 */
#include "harness.h"
#include "host.h"
#include "model.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define FIXED (MAP_SHARED | MAP_FIXED)
#define RW (PROT_READ | PROT_WRITE)
#define FREE(i) (GUEST_FREE + (i) * PAGE)
#define FRAME(i) ((FRAME_FREE + (i)) * PAGE)
#define HIGH (1UL << 32)

static struct mm_id mm;

/*
 * Pages 0 and 1: consecutive frames, read and write. 2: a frame that does not follow. 3: the next
 * frame, read only. 4: present, no rights. 5: execute only. From 6 on: not present.
 */
static void start(void)
{
	model_init(0);
	mm_start(&mm);
	mm_set_pte(&mm, FREE(0), FRAME_FREE + 0, RW);
	mm_set_pte(&mm, FREE(1), FRAME_FREE + 1, RW);
	mm_set_pte(&mm, FREE(2), FRAME_FREE + 9, RW);
	mm_set_pte(&mm, FREE(3), FRAME_FREE + 10, PROT_READ);
	mm_set_pte(&mm, FREE(4), FRAME_FREE + 4, PROT_NONE);
	mm_set_pte(&mm, FREE(5), FRAME_FREE + 5, PROT_EXEC);
	mm_set_pte(&mm, STUB_START - PAGE, FRAME_FREE + 6, RW);
}

static void start_with_fd(void)
{
	start();
	mm_steal_fd(&mm);
}

struct row {
	const char *what;
	unsigned long addr, length, prot, flags, fd, offset;
	const char *reason;
};

static const struct row mmaps[] = {
	/* Series, hole 1: only the first page's frame is the guest's */
	{ "one page too many", FREE(5), 2 * PAGE, PROT_EXEC, FIXED, MMAP_FD, FRAME(5),
	  "page_table" },
	{ "a frame that does not follow", FREE(0), 3 * PAGE, RW, FIXED, MMAP_FD, FRAME(0),
	  "page_table" },
	{ "fewer rights further on", FREE(2), 2 * PAGE, RW, FIXED, MMAP_FD, FRAME(9),
	  "page_table" },
	{ "all frames", FREE(0), FRAMES *PAGE, PROT_READ, FIXED, MMAP_FD, 0, "page_table" },
	{ "up to and over the stub", FREE(0), STUB_START + PAGE - FREE(0), RW, FIXED, MMAP_FD,
	  FRAME(0), "range" },
	{ "over the stub's first page", STUB_START - PAGE, 2 * PAGE, RW, FIXED, MMAP_FD, FRAME(6),
	  "range" },
	{ "the stub's code", STUB_START, PAGE, RW, FIXED, MMAP_FD, FRAME(0), "range" },
	{ "the stub's data", STUB_DATA, PAGE, RW, FIXED, MMAP_FD, FRAME(0), "range" },
	{ "beyond the stub", STUB_DATA + 16 * PAGE, PAGE, RW, FIXED, MMAP_FD, FRAME(0), "range" },
	{ "no length", FREE(0), 0, RW, FIXED, MMAP_FD, FRAME(0), "empty" },
	{ "a length that wraps", FREE(0), -PAGE, RW, FIXED, MMAP_FD, FRAME(0), "wrap" },
	{ "a length that wraps when rounded", FREE(0), -1UL, RW, FIXED, MMAP_FD, FRAME(0), "wrap" },
	{ "part of a page", FREE(0), PAGE - 1, RW, FIXED, MMAP_FD, FRAME(0), "unaligned" },
	{ "a page and a byte", FREE(0), PAGE + 1, RW, FIXED, MMAP_FD, FRAME(0), "unaligned" },
	{ "an address inside a page", FREE(0) + 8, PAGE, RW, FIXED, MMAP_FD, FRAME(0),
	  "unaligned" },
	/* Hole 2: flags and fd */
	{ "private", FREE(0), PAGE, RW, MAP_PRIVATE | MAP_FIXED, MMAP_FD, FRAME(0), "flags" },
	{ "anonymous", FREE(0), PAGE, RW, FIXED | MAP_ANONYMOUS, MMAP_FD, FRAME(0), "flags" },
	{ "anywhere", FREE(0), PAGE, RW, MAP_SHARED, MMAP_FD, FRAME(0), "flags" },
	{ "shared, validated", FREE(0), PAGE, RW, MAP_SHARED_VALIDATE | MAP_FIXED, MMAP_FD,
	  FRAME(0), "flags" },
	{ "no flags", FREE(0), PAGE, RW, 0, MMAP_FD, FRAME(0), "flags" },
	{ "populated", FREE(0), PAGE, RW, FIXED | MAP_POPULATE, MMAP_FD, FRAME(0), "flags" },
	{ "a flag in the upper half", FREE(0), PAGE, RW, FIXED | HIGH, MMAP_FD, FRAME(0), "flags" },
	{ "the socket", FREE(0), PAGE, RW, FIXED, 0, FRAME(0), "fd" },
	{ "the listener", FREE(0), PAGE, RW, FIXED, STUBGUARD_LISTENER_FD, FRAME(0), "fd" },
	{ "an fd that is none", FREE(0), PAGE, RW, FIXED, -1UL, FRAME(0), "fd" },
	{ "the next fd", FREE(0), PAGE, RW, FIXED, MMAP_FD + 1, FRAME(0), "fd" },
	/* Hole 3: PROT_READ, and unknown bits */
	{ "to read what has no rights", FREE(4), PAGE, PROT_READ, FIXED, MMAP_FD, FRAME(4),
	  "page_table" },
	{ "to read what is executed only", FREE(5), PAGE, PROT_READ, FIXED, MMAP_FD, FRAME(5),
	  "page_table" },
	{ "to write what is read only", FREE(3), PAGE, RW, FIXED, MMAP_FD, FRAME(10),
	  "page_table" },
	{ "to execute data", FREE(0), PAGE, RW | PROT_EXEC, FIXED, MMAP_FD, FRAME(0),
	  "page_table" },
	{ "an unknown right", FREE(0), PAGE, RW | 8, FIXED, MMAP_FD, FRAME(0), "protection" },
	{ "to grow down", FREE(0), PAGE, RW | PROT_GROWSDOWN, FIXED, MMAP_FD, FRAME(0),
	  "protection" },
	{ "a right in the upper half", FREE(0), PAGE, RW | HIGH, FIXED, MMAP_FD, FRAME(0),
	  "protection" },
	/* Hole 4: the offset */
	{ "another frame", FREE(0), PAGE, RW, FIXED, MMAP_FD, FRAME(1), "page_table" },
	{ "the stub's own frame", FREE(0), PAGE, RW, FIXED, MMAP_FD, FRAME_STUB_CODE *PAGE,
	  "page_table" },
	{ "an offset inside a page", FREE(0), PAGE, RW, FIXED, MMAP_FD, FRAME(0) + 8, "offset" },
	{ "an offset that wraps", FREE(0), 2 * PAGE, RW, FIXED, MMAP_FD, -PAGE, "offset" },
	{ "a frame of another page", FREE(1), PAGE, RW, FIXED, MMAP_FD, FRAME(0), "page_table" },
	{ "a page that is not there", FREE(6), PAGE, PROT_NONE, FIXED, MMAP_FD, FRAME(6),
	  "page_table" },
};

static const struct row munmaps[] = {
	{ "the stub's code", STUB_START, PAGE, .reason = "range" },
	{ "the stub's data", STUB_DATA, STUB_DATA_PAGES * PAGE, .reason = "range" },
	{ "the guest's last page and the stub", STUB_START - PAGE, 2 * PAGE, .reason = "range" },
	{ "a byte of the stub, before rounding", STUB_START - PAGE, PAGE + 1, .reason = "range" },
	{ "everything", 0, STUB_START + 8 * PAGE, .reason = "range" },
	{ "beyond the stub", STUB_DATA + 16 * PAGE, PAGE, .reason = "range" },
	{ "no length", FREE(0), 0, .reason = "empty" },
	{ "a length that wraps", FREE(0), -PAGE, .reason = "wrap" },
	{ "a length that wraps when rounded", FREE(0), -1UL, .reason = "wrap" },
	{ "an address inside a page", FREE(0) + 1, PAGE, .reason = "unaligned" },
};

static void check_denied(const struct row *row, long nr, struct stubguard_stats *before,
			 unsigned long mappings)
{
	struct stubguard_stats after;
	size_t i;

	test_context("%s", row->what);
	check_eq(mm_hijack(&mm, nr, row->addr, row->length, row->prot, row->flags, row->fd,
			   row->offset),
		 -EPERM);
	after = stats();
	check_eq(after.served, before->served + 1);
	check_eq(after.allowed, before->allowed);
	for (i = 0; i < STUBGUARD_DENIALS; i++) {
		int more = !strcmp(stubguard_denial_name(i), row->reason);

		check_eq(after.denied[i], before->denied[i] + (unsigned int)more);
	}
	check_eq(mm_mappings_hash(&mm), mappings);
	*before = after;
	test_context_end();
}

static void are_denied(long nr, const struct row *rows, size_t count)
{
	struct stubguard_stats before;
	unsigned long mappings;
	size_t i;

	start_with_fd();
	before = stats();
	mappings = mm_mappings_hash(&mm);
	for (i = 0; i < count; i++)
		check_denied(&rows[i], nr, &before, mappings);
}

CASE(mmap_is_denied_by_reason, are_denied(SYS_mmap, mmaps, COUNT(mmaps)))

static void munmap_is_denied_by_reason(void)
{
	are_denied(SYS_munmap, munmaps, COUNT(munmaps));
	check_eq(mm.asked, 0);
}

static void a_range_that_reaches_the_stub_is_not_walked(void)
{
	start_with_fd();
	check_eq(mm_hijack(&mm, SYS_mmap, FREE(0), STUB_START + PAGE - FREE(0), RW, FIXED, MMAP_FD,
			   FRAME(0)),
		 -EPERM);
	check_eq(mm.asked, 0);
	/* The largest length in range is denied by the first page that is not granted. */
	check_eq(mm_hijack(&mm, SYS_mmap, FREE(0), STUB_START - FREE(0), RW, FIXED, MMAP_FD,
			   FRAME(0)),
		 -EPERM);
	check_eq(mm.asked, 3);
}

static void what_the_page_table_grants_is_mapped(void)
{
	static const struct row rows[] = {
		{ "all rights", FREE(0), PAGE, RW, FIXED, MMAP_FD, FRAME(0), NULL },
		{ "fewer rights", FREE(0), PAGE, PROT_READ, FIXED, MMAP_FD, FRAME(0), NULL },
		{ "no rights", FREE(0), PAGE, PROT_NONE, FIXED, MMAP_FD, FRAME(0), NULL },
		{ "no rights to what has none", FREE(4), PAGE, PROT_NONE, FIXED, MMAP_FD, FRAME(4),
		  NULL },
		{ "below the stub", STUB_START - PAGE, PAGE, RW, FIXED, MMAP_FD, FRAME(6), NULL },
		/* A compiler may leave anything above an int. */
		{ "junk above the fd", FREE(0), PAGE, RW, FIXED, MMAP_FD | HIGH, FRAME(0), NULL },
		{ "two pages", FREE(0), 2 * PAGE, RW, FIXED, MMAP_FD, FRAME(0), NULL },
	};
	struct stubguard_stats before;
	size_t i;

	start_with_fd();
	for (i = 0; i < COUNT(rows); i++) {
		const struct row *row = &rows[i];

		test_context("%s", row->what);
		before = stats();
		check_eq(mm_hijack(&mm, SYS_mmap, row->addr, row->length, row->prot, row->flags,
				   row->fd, row->offset),
			 row->addr);
		check_eq(stats().allowed, before.allowed + 1);
		check_eq(stats().served, before.served + 1);
		check(mm_mapping(&mm, row->addr)[0]);
	}
	test_context_end();
	mm_run(&mm, "read", FREE(1));
	check_eq(mm_result(&mm), frame_mark(FRAME_FREE + 1));
}

static void every_page_is_asked_for(void)
{
	start_with_fd();
	mm.asked = 0;
	check_eq(mm_hijack(&mm, SYS_mmap, FREE(0), 2 * PAGE, PROT_READ, FIXED, MMAP_FD, FRAME(0)),
		 FREE(0));
	check_eq(mm.asked, 2);
	check_eq(mm.questions[0].addr, FREE(0));
	check_eq(mm.questions[0].offset, FRAME(0));
	check_eq(mm.questions[0].prot, PROT_READ);
	check_eq(mm.questions[1].addr, FREE(1));
	check_eq(mm.questions[1].offset, FRAME(1));
	check_eq(mm.questions[1].prot, PROT_READ);
}

static void a_guest_may_unmap_what_is_its_own(void)
{
	start_with_fd();
	check_eq(mm_hijack(&mm, SYS_mmap, FREE(0), 2 * PAGE, PROT_READ, FIXED, MMAP_FD, FRAME(0)),
		 FREE(0));
	/* The host rounds up. */
	check_eq(mm_hijack(&mm, SYS_munmap, FREE(0), PAGE + 1), 0);
	check(!mm_mapping(&mm, FREE(0))[0]);
	check(!mm_mapping(&mm, FREE(1))[0]);
	check_eq(mm_hijack(&mm, SYS_munmap, STUB_START - PAGE, PAGE), 0);
}

static void a_batch_meets_a_page_table_that_has_changed(void)
{
	uint64_t before;

	start();
	mm_queue_map(&mm, FREE(0), PAGE, FRAME_FREE, RW);
	mm_queue_map(&mm, FREE(1), PAGE, FRAME_FREE + 1, RW);
	mm_clear_pte(&mm, FREE(0));
	before = denied("page_table");
	check_eq(mm_sync(&mm), 0);
	/* The stub did nothing wrong: the batch continues, and the page stays as it is. */
	check_eq(mm.own.err, 0);
	check_eq(denied("page_table"), before + 1);
	check(!mm_mapping(&mm, FREE(0))[0]);
	check(mm_mapping(&mm, FREE(1))[0]);
}

/* A hijacked stub makes other calls than those of the batch, or has changed the batch. */
static void only_the_batchs_own_calls_are_passed_over(void)
{
	static const struct {
		const char *what;
		unsigned long addr, length, prot, offset;
		bool passed;
	} rows[] = {
		{ "the first", FREE(0), PAGE, RW, FRAME(0), true },
		{ "the second", FREE(6), 2 * PAGE, PROT_READ, FRAME(6), true },
		{ "another length", FREE(6), PAGE, PROT_READ, FRAME(6), false },
		{ "another address", FREE(7), 2 * PAGE, PROT_READ, FRAME(6), false },
		{ "another right", FREE(6), 2 * PAGE, RW, FRAME(6), false },
		{ "another frame", FREE(6), 2 * PAGE, PROT_READ, FRAME(7), false },
		{ "a mix of both", FREE(6), 2 * PAGE, PROT_READ, FRAME(0), false },
		{ "one behind the last", FREE(8), PAGE, RW, FRAME(8), false },
	};
	size_t i;

	start();
	mm_clear_pte(&mm, FREE(0));
	for (i = 0; i < COUNT(rows); i++) {
		test_context("%s", rows[i].what);
		mm_hijack_start(&mm, SYS_mmap, rows[i].addr, rows[i].length, rows[i].prot, FIXED,
				MMAP_FD, rows[i].offset);
		mm_wait_notification(&mm);
		/* Not published: a hijacked stub makes the calls. */
		mm_queue_map(&mm, FREE(0), PAGE, FRAME_FREE, RW);
		mm_queue_map(&mm, FREE(6), 2 * PAGE, FRAME_FREE + 6, PROT_READ);
		mm_queue_map(&mm, FREE(8), PAGE, FRAME_FREE + 8, RW);
		mm.calls = 2;
		check_eq(serve_batch(&mm, 2), 1);
		check_eq(mm_wait(&mm), 0);
		check_eq(mm_result(&mm), rows[i].passed ? (long)rows[i].addr : -EPERM);
		check(!mm_mapping(&mm, rows[i].addr)[0]);
	}
}

static void a_batch_that_cannot_be_the_monitors_fails(void)
{
	start();
	mm_queue_map(&mm, FREE(0), 2 * PAGE, FRAME_FREE, RW);
	/* A hijacked stub has changed it meanwhile. */
	mm_queue_map(&mm, STUB_START, PAGE, FRAME_FREE, RW | PROT_EXEC);
	check_eq(mm_sync(&mm), 0);
	check_eq(mm.own.err, -EPERM);
	check_eq(mm.own.syscall_data_len, 1);
}

/* ---- calls that no filter notifies, and 32-bit calls: made-up notifications */

static struct seccomp_notif notification;
static struct seccomp_notif_resp response;

static bool take_it(const long *arg, long *result)
{
	memcpy((void *)arg[2], &notification, sizeof(notification));
	*result = 0;
	return true;
}

static bool take_answer(const long *arg, long *result)
{
	memcpy(&response, (void *)arg[2], sizeof(response));
	*result = 0;
	return true;
}

static void serve_made_up(int nr, unsigned int arch, unsigned long ip, const struct row *row)
{
	notification = (struct seccomp_notif){
		.id = 77,
		.data = { nr, arch, ip,
			  { row->addr, row->length, row->prot, row->flags, row->fd, row->offset } },
	};
	memset(&response, 0xff, sizeof(response));
	host_poll_finds(POLLIN);
	host_hook_set(HOST_RECV, take_it);
	host_hook_set(HOST_SEND, take_answer);
	check_eq(seccomp_notify_serve(&mm, mm.listener, 0), 1);
	check_eq(response.id, 77);
	host_reset();
}

static void what_no_filter_lets_through_is_denied_all_the_same(void)
{
	static const struct row good = { "", FREE(0), PAGE, RW, FIXED, MMAP_FD, FRAME(0), NULL };
	static const struct {
		int nr;
		unsigned int arch;
		unsigned long ip;
		const char *reason;
	} rows[] = {
		{ SYS_mmap, AUDIT_ARCH_X86_64, STUB_START, NULL },
		{ SYS_mmap, AUDIT_ARCH_X86_64, STUB_START + PAGE - 1, NULL },
		{ SYS_mmap, AUDIT_ARCH_I386, STUB_START, "architecture" },
		{ SYS_mmap, AUDIT_ARCH_X86_64, STUB_START - 1, "site" },
		{ SYS_mmap, AUDIT_ARCH_X86_64, STUB_START + PAGE, "site" },
		{ SYS_mmap, AUDIT_ARCH_X86_64, 0, "site" },
		{ SYS_mremap, AUDIT_ARCH_X86_64, STUB_START, "call" },
		{ SYS_mprotect, AUDIT_ARCH_X86_64, STUB_START, "call" },
		{ SYS_mmap | 0x40000000, AUDIT_ARCH_X86_64, STUB_START, "call" },
		{ -1, AUDIT_ARCH_X86_64, STUB_START, "call" },
		/* mmap2 of 32-bit processes. */
		{ 192, AUDIT_ARCH_X86_64, STUB_START, "call" },
	};
	uint64_t before;
	size_t i;

	start();
	for (i = 0; i < COUNT(rows); i++) {
		test_context("row %zu", i);
		before = rows[i].reason ? denied(rows[i].reason) : stats().allowed;
		serve_made_up(rows[i].nr, rows[i].arch, rows[i].ip, &good);
		check_eq(response.flags, rows[i].reason ? 0 : SECCOMP_USER_NOTIF_FLAG_CONTINUE);
		check_eq(response.error, rows[i].reason ? -EPERM : 0);
		check_eq(response.val, 0);
		check_eq(rows[i].reason ? denied(rows[i].reason) : stats().allowed, before + 1);
	}
}

static void a_stub_that_has_kept_the_fd_ends_with_its_next_batch(void)
{
	start_with_fd();
	/* The stub receives the memory's fd under another number, which policy and filter deny. */
	mm_queue_map(&mm, FREE(0), PAGE, FRAME_FREE, RW);
	check_eq(mm_sync(&mm), -ESRCH);
	check_eq(denied("fd"), 1);
	check_eq(WTERMSIG(mm_reap(&mm)), SIGSYS);
}

static const struct test tests[] = {
	TEST(mmap_is_denied_by_reason),
	TEST(munmap_is_denied_by_reason),
	TEST(a_range_that_reaches_the_stub_is_not_walked),
	TEST(what_the_page_table_grants_is_mapped),
	TEST(every_page_is_asked_for),
	TEST(a_guest_may_unmap_what_is_its_own),
	TEST(a_batch_meets_a_page_table_that_has_changed),
	TEST(only_the_batchs_own_calls_are_passed_over),
	TEST(a_batch_that_cannot_be_the_monitors_fails),
	TEST(a_stub_that_has_kept_the_fd_ends_with_its_next_batch),
	TEST(what_no_filter_lets_through_is_denied_all_the_same),
};

HARNESS_MAIN(tests)
