// SPDX-License-Identifier: GPL-2.0-only
/*
 * Stubs that keep the memory's fd: by it the host maps nothing but in a batch, whoever asks, as their
 * address-space limit is 0 whenever a guest may run.
 */
#include "harness.h"
#include "host.h"
#include "window.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define MAP_FLAGS (MAP_SHARED | MAP_FIXED)
#define KEPT_FDS (1UL | 1UL << STUBGUARD_KEPT_FD)
/* A frame that no page table grants. */
#define SECRET (FRAME_FREE + 9)

static struct window w;
static unsigned char code[PAGE];
static unsigned int code_length;

static void init(void)
{
	struct stubguard_config config = window_config();

	config.flags |= STUBGUARD_REQUIRE;
	config.pool_size = 2;
	window_init_config(&config);
	check(stubguard_features() & STUBGUARD_F_LIMIT);
	code_length = (unsigned int)stubguard_stub_code(code);
	w.keep = true;
}

static void start(void)
{
	init();
	window_start(&w);
}

static unsigned long site(long nr)
{
	int at = window_site(code, nr, 0);

	check_op(at, >=, 0);
	return STUB_START + (unsigned long)at;
}

static unsigned long limit(void)
{
	struct rlimit now;

	check_eq(raw(SYS_prlimit64, w.mm.pid, RLIMIT_AS, 0, &now), 0);
	check_eq(now.rlim_max, RLIM_INFINITY);
	return now.rlim_cur;
}

/* What it has, and what it may map. */
static void is_limited(void)
{
	check_eq(window_fds(&w), KEPT_FDS);
	check_eq(limit(), 0);
}

static void batches_map(void)
{
	unsigned int messages;

	start();
	is_limited();
	messages = host_count(HOST_SENDMSG);
	window_map(&w, GUEST_FREE, FRAME_FREE, PROT_READ);
	is_limited();
	mm_set_pte(&w.mm, GUEST_FREE, FRAME_FREE + 1, PROT_READ);
	mm_queue_map(&w.mm, GUEST_FREE, PAGE, FRAME_FREE + 1, PROT_READ);
	window_guest(&w, "read", GUEST_FREE);
	check_eq(window_run(&w), 0);
	check_eq(window_result(&w), (long)frame_mark(FRAME_FREE + 1));
	is_limited();
	mm_queue_unmap(&w.mm, GUEST_FREE, PAGE);
	check_eq(window_sync(&w), 0);
	check(!mm_mapping(&w.mm, GUEST_FREE)[0]);
	window_is_sound(&w);
	is_limited();
	check_eq(host_count(HOST_SENDMSG), messages);
}

static void the_limit_is_lifted_for_nothing_else(void)
{
	unsigned int lifted;

	start();
	lifted = host_count(HOST_PRLIMIT);
	window_is_sound(&w);
	mm_queue_unmap(&w.mm, GUEST_FREE, PAGE);
	check_eq(window_sync(&w), 0);
	/* Not granted: nothing is left of it. */
	mm_queue_map(&w.mm, GUEST_FREE, PAGE, SECRET, PROT_READ);
	check_eq(window_sync(&w), 0);
	check_eq(host_count(HOST_PRLIMIT), lifted);
	window_map(&w, GUEST_FREE, FRAME_FREE, PROT_READ);
	check_eq(host_count(HOST_PRLIMIT), lifted + 1);
	is_limited();
}

/* It has had no guest yet, so nobody has used it. */
static void a_new_one_gets_it_by_its_first_resume(void)
{
	init();
	window_spawn(&w);
	check_eq(window_attach(&w), 0);
	check_eq(window_wait(&w), 0);
	check_eq(limit(), RLIM_INFINITY);
	mm_queue_unmap(&w.mm, GUEST_FREE, PAGE);
	check_eq(window_sync(&w), 0);
	is_limited();
}

/* Also where the first guest comes without a batch. */
static void a_new_one_that_runs_into_nothing(void)
{
	init();
	window_spawn(&w);
	check_eq(window_attach(&w), 0);
	check_eq(window_wait(&w), 0);
	w.fp[512] = 3;
	w.regs.rip = GUEST_CODE;
	w.regs.eflags = 0x202;
	check_eq(window_run(&w), 0);
	check_eq(w.event.signal, SIGSEGV);
	is_limited();
}

static void a_batch_that_fails(void)
{
	unsigned int guest;

	start();
	for (guest = 0; guest < 2; guest++) {
		/* No such address for the host. */
		mm_set_pte(&w.mm, 0, FRAME_FREE, PROT_READ);
		mm_queue_map(&w.mm, 0, PAGE, FRAME_FREE, PROT_READ);
		window_guest(&w, "report", 1);
		check_eq(guest ? window_resume(&w) : window_resume_batch(&w), 0);
		w.mm.calls = 0;
		check_eq(window_wait(&w), 0);
		if (w.event.error == 0)
			test_skip("a host that maps at address 0");
		is_limited();
		window_is_sound(&w);
	}
}

static void other_memory_is_handed_over(void)
{
	int other, i;

	start();
	other = (int)raw(SYS_memfd_create, "other", MFD_CLOEXEC);
	check_op(other, >=, 0);
	check_eq(raw(SYS_ftruncate, other, FRAMES * PAGE), 0);
	w.fds[1] = other;
	w.fd_count = 2;
	for (i = 0; i < 2; i++) {
		mm_set_pte(&w.mm, GUEST_FREE, FRAME_FREE, PROT_READ);
		mm_set_pte(&w.mm, GUEST_FREE + PAGE, FRAME_FREE + 1, PROT_READ);
		window_queue_map(&w, GUEST_FREE, PAGE, FRAME_FREE, PROT_READ, 0);
		window_queue_map(&w, GUEST_FREE + PAGE, PAGE, FRAME_FREE + 1, PROT_READ, 1);
		check_eq(window_sync(&w), 0);
		is_limited();
		window_guest(&w, "read", GUEST_FREE);
		check_eq(window_run(&w), 0);
		check_eq(window_result(&w), (long)frame_mark(FRAME_FREE));
		window_guest(&w, "read", GUEST_FREE + PAGE);
		check_eq(window_run(&w), 0);
		check_eq(window_result(&w), 0);	/* an empty file */
	}
}

/* ---- the pool */

static void a_kept_stub_is_limited(void)
{
	int memory;

	start();
	memory = w.stub.memory;
	check_eq(memory, w.mm.memory);
	check_eq(stubguard_stub_put(&w.stub, &w.mm, 0), 0);
	is_limited();
	memset(&w.stub, 0x5a, sizeof(w.stub));
	check_eq(stubguard_stub_take(&w.stub), 1);
	check_eq(w.stub.memory, memory);
	w.mm.pte_count = 0;
	window_set_up(&w);
	is_limited();
	window_is_sound(&w);
}

static void so_is_one_that_never_had_a_guest(void)
{
	init();
	window_spawn(&w);
	check_eq(window_attach(&w), 0);
	check_eq(window_wait(&w), 0);
	check_eq(stubguard_stub_put(&w.stub, &w.mm, 0), 0);
	is_limited();
	check_eq(stubguard_stub_take(&w.stub), 1);
	window_set_up(&w);
	window_is_sound(&w);
	is_limited();
}

/* ---- the host */

static void a_limit_that_cannot_be_lifted(void)
{
	static const int errors[] = { EPERM, ESRCH, EINVAL, ENOSYS };
	unsigned int sends, i;

	init();
	for (i = 0; i < 2 * COUNT(errors); i++) {
		test_context("error %d", errors[i / 2]);
		window_start(&w);
		mm_set_pte(&w.mm, GUEST_FREE, FRAME_FREE, PROT_READ);
		mm_queue_map(&w.mm, GUEST_FREE, PAGE, FRAME_FREE, PROT_READ);
		window_guest(&w, "report", 1);
		sends = host_count(HOST_SEND);
		host_fail(HOST_PRLIMIT, 1, 1, errors[i / 2]);
		check_eq(i & 1 ? window_resume(&w) : window_resume_batch(&w), -errors[i / 2]);
		host_reset();
		w.mm.calls = 0;
		check_eq(host_count(HOST_SEND), sends);
		is_limited();
		check(!mm_mapping(&w.mm, GUEST_FREE)[0]);
		window_is_lost(&w);
		check_eq(WTERMSIG(window_kill(&w)), SIGKILL);
		mm_forget(&w.mm);
	}
}

/* The answer did not reach it, but the limit has been lifted: nobody but the stub's code runs meanwhile. */
static void an_answer_that_is_withdrawn(void)
{
	struct seccomp_notif_resp answer = { .val = 1 };
	unsigned int lifted;

	start();
	mm_set_pte(&w.mm, GUEST_FREE, FRAME_FREE, PROT_READ);
	mm_queue_map(&w.mm, GUEST_FREE, PAGE, FRAME_FREE, PROT_READ);
	host_fail(HOST_SEND, 1, 1, ENOENT);
	lifted = host_count(HOST_PRLIMIT);
	window_guest(&w, "read", GUEST_FREE);
	check_eq(window_resume(&w), 0);
	host_reset();
	w.mm.calls = 0;
	check_eq(host_count(HOST_PRLIMIT), lifted + 1);
	check_eq(limit(), RLIM_INFINITY);
	/* That was the layer's word: the host still waits for an answer to the same call, and gets it. */
	answer.id = w.stub.notification;
	check_eq(raw(SYS_ioctl, w.mm.listener, SECCOMP_IOCTL_NOTIF_SEND, &answer), 0);
	check_eq(window_wait(&w), 0);
	check_eq(window_result(&w), (long)frame_mark(FRAME_FREE));
	check_eq(host_count(HOST_PRLIMIT), lifted + 1);
	is_limited();
}

static bool bounded(const long *arg, long *result)
{
	if (!arg[3])
		return false;
	((struct rlimit *)arg[3])->rlim_cur = 1UL << 40;
	((struct rlimit *)arg[3])->rlim_max = RLIM_INFINITY;
	*result = 0;
	return true;
}

static void a_host_with_a_limit_of_its_own(void)
{
	struct stubguard_stub before;

	host_hook_set(HOST_PRLIMIT, bounded);
	window_init(STUBGUARD_REQUIRE);
	host_reset();
	check_eq(stubguard_features() & STUBGUARD_F_LIMIT, 0);
	w.keep = true;
	window_spawn(&w);
	memset(&w.stub, 0x5a, sizeof(w.stub));
	before = w.stub;
	check_eq(window_attach(&w), -EOPNOTSUPP);
	check(!memcmp(&before, &w.stub, sizeof(before)));
	window_end(&w);
	/* Without, it serves. */
	w.keep = false;
	window_start(&w);
	window_is_sound(&w);
	check_eq(window_fds(&w), 1);
	check_eq(limit(), RLIM_INFINITY);
}

static void an_fd_that_is_none(void)
{
	struct stubguard_stub before;

	init();
	window_spawn(&w);
	memset(&w.stub, 0x5a, sizeof(w.stub));
	before = w.stub;
	check_eq(stubguard_stub_attach(&w.stub, w.mm.pid, w.mm.listener, w.mm.sock, w.mm.shared, -2),
		 -EINVAL);
	check(!memcmp(&before, &w.stub, sizeof(before)));
}

/* ---- hijacked */

/* It has what it says, and nothing else; whatever it did is over now. */
static void has_gained_nothing(void)
{
	int ret = window_wait(&w);

	check(ret == 0 || ret == -EPROTO || ret == -ESRCH);
	if (ret != -ESRCH) {
		check(!mm_mapping(&w.mm, GUEST_FREE)[0]);
		check(strstr(mm_mapping(&w.mm, GUEST_STACK), " rw-s ") != NULL ||
		      !mm_mapping(&w.mm, GUEST_STACK)[0]);
		if (limit() != 0)
			check_eq(w.stub.state, 5 /* broken */);
	}
	window_kill(&w);
	mm_forget(&w.mm);
}

/* With what the mmap there takes in its registers, wherever they come from. */
static void at_any_byte_of_the_code(void)
{
	unsigned int offset;

	init();
	for (offset = 0; offset < code_length; offset++) {
		test_context("offset %#x", offset);
		window_start(&w);
		window_call_at(&w, STUB_START + offset, SYS_mmap, GUEST_FREE, PAGE, PROT_READ,
			       MAP_FLAGS, STUBGUARD_KEPT_FD, SECRET * PAGE);
		w.regs.rbx = 1;
		w.regs.r12 = STUB_DATA + offsetof(struct window_control, batch);
		check_eq(window_resume(&w), 0);
		/* Where it goes round and round. */
		check_eq(raw(SYS_kill, w.mm.pid, SIGALRM), 0);
		has_gained_nothing();
	}
}

static void a_map_at_the_site(void)
{
	static const unsigned long places[] = { GUEST_FREE, GUEST_STACK, GUEST_CODE };
	char before[200];
	size_t i;

	init();
	for (i = 0; i < COUNT(places); i++) {
		test_context("at %#lx", places[i]);
		window_start(&w);
		strcpy(before, mm_mapping(&w.mm, places[i]));
		window_call_at(&w, site(SYS_mmap), SYS_mmap, places[i], PAGE, PROT_READ | PROT_WRITE,
			       MAP_FLAGS, STUBGUARD_KEPT_FD, SECRET * PAGE);
		/* Also in the place of what is mapped, which makes nothing larger. */
		check_eq(window_run(&w), -EPROTO);
		check(!strcmp(before, mm_mapping(&w.mm, places[i])));
		is_limited();
		window_is_lost(&w);
		window_kill(&w);
		mm_forget(&w.mm);
	}
}

static void a_batch_of_its_own(void)
{
	static const unsigned int flags[] = { 0,
					      CONTROL_GUEST,
					      CONTROL_LIMIT,
					      CONTROL_LIMIT | CONTROL_GUEST,
					      CONTROL_RECEIVE,
					      CONTROL_RECEIVE | CONTROL_LIMIT | CONTROL_GUEST };
	static const unsigned long args[6];
	struct window_control control;
	size_t i;

	init();
	for (i = 0; i < COUNT(flags); i++) {
		test_context("flags %u", flags[i]);
		window_start(&w);
		memset(&control, 0, sizeof(control));
		control.rip = mm_guest_code("report");
		control.cs = 0x33;
		control.ss = 0x2b;
		control.xfeatures = 3;
		control.flags = flags[i];
		control.calls = 1;
		control.batch[0] = (struct window_call){ GUEST_FREE, PAGE, SECRET * PAGE, PROT_READ,
							 STUBGUARD_KEPT_FD };
		window_forge(&w, &control, sizeof(control), STUB_DATA, site(PARK_NR) + 2, 1, args);
		check_eq(window_resume(&w), 0);
		check_eq(window_wait(&w), -EPROTO);
		check(!mm_mapping(&w.mm, GUEST_FREE)[0]);
		is_limited();
		window_is_lost(&w);
		window_kill(&w);
		mm_forget(&w.mm);
	}
}

static void a_map_from_elsewhere_in_the_page(void)
{
	unsigned int i;

	start();
	mm_set_pte(&w.mm, GUEST_FREE, FRAME_FREE, PROT_READ);
	for (i = 1; i <= STUBGUARD_KEPT_FD; i++) {
		test_context("fd %u", i);
		window_call_at(&w, STUB_START + GADGET, SYS_mmap, GUEST_FREE, PAGE, PROT_READ, MAP_FLAGS,
			       i, FRAME_FREE * PAGE);
		check_eq(window_run(&w), 0);
		check_eq(window_result(&w), i == STUBGUARD_KEPT_FD ? -EPERM : -EBADF);
		check(!mm_mapping(&w.mm, GUEST_FREE)[0]);
	}
	test_context_end();
	check_eq(denied("fd"), 1);
	is_limited();
}

/* It can put the limit back, where it is. */
static void it_limits_itself(void)
{
	int ret;

	start();
	window_call_at(&w, site(SYS_prlimit64), SYS_prlimit64, 0, RLIMIT_AS,
		       STUB_START + code_length - 32, 0);
	w.regs.rbx = 0;
	check_eq(window_resume(&w), 0);
	check_eq(raw(SYS_kill, w.mm.pid, SIGALRM), 0);
	ret = window_wait(&w);
	check(ret == -EPROTO || (ret == 0 && w.event.again == 1));
	is_limited();
	if (ret == 0)
		window_is_sound(&w);
	else
		window_is_lost(&w);
}

static const struct test tests[] = {
	TEST(batches_map),
	TEST(the_limit_is_lifted_for_nothing_else),
	TEST(a_new_one_gets_it_by_its_first_resume),
	TEST(a_new_one_that_runs_into_nothing),
	TEST(a_batch_that_fails),
	TEST(other_memory_is_handed_over),
	TEST(a_kept_stub_is_limited),
	TEST(so_is_one_that_never_had_a_guest),
	TEST(a_limit_that_cannot_be_lifted),
	TEST(an_answer_that_is_withdrawn),
	TEST(a_host_with_a_limit_of_its_own),
	TEST(an_fd_that_is_none),
	TEST(at_any_byte_of_the_code),
	TEST(a_map_at_the_site),
	TEST(a_batch_of_its_own),
	TEST(a_map_from_elsewhere_in_the_page),
	TEST(it_limits_itself),
};

HARNESS_MAIN(tests)
