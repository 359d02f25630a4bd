// SPDX-License-Identifier: GPL-2.0-only
/*
 * A stub has the memory's fd at all times, but the host maps by it only during a batch: while a guest may run, the
 * stub's address-space limit is 0.
 */
#include "harness.h"
#include "host.h"
#include "window.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define MAP_FLAGS (MAP_SHARED | MAP_FIXED)
/* A frame that no page table grants. */
#define SECRET (FRAME_FREE + 9)

static struct window w;
static unsigned char code[PAGE] __attribute__((aligned(8)));
static unsigned int code_length;

static void init(void)
{
	struct stubguard_config config = window_config();

	config.flags |= STUBGUARD_REQUIRE;
	config.pool_size = 2;
	window_init_config(&config);
	code_length = (unsigned int)stubguard_stub_code(code);
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

static unsigned long own_limit(void)
{
	struct rlimit now;

	check_eq(raw(SYS_prlimit64, 0, RLIMIT_AS, 0, &now), 0);
	return now.rlim_cur;
}

static void queue_one(void)
{
	mm_queue_page(&w.mm, GUEST_FREE, FRAME_FREE, PROT_READ);
}

/* ---- when it is lifted */

static struct rlimit lifted_to;

static bool note_limit(const long *arg, long *result)
{
	(void)result;
	if (arg[2])
		lifted_to = *(const struct rlimit *)arg[2];
	return false;
}

/* One call sets it to the monitor's limit; after the batch it is 0 again. */
static void it_is_lifted_for_a_batch_that_maps(void)
{
	unsigned int calls, with_guest;

	start();
	window_is_limited(&w);
	for (with_guest = 0; with_guest < 2; with_guest++) {
		test_context("guest %u", with_guest);
		queue_one();
		calls = host_count(HOST_PRLIMIT);
		lifted_to.rlim_cur = 0;
		host_hook_set(HOST_PRLIMIT, note_limit);
		window_guest(&w, "read", GUEST_FREE);
		check_eq(with_guest ? window_run(&w) : window_sync(&w), 0);
		if (with_guest)
			check_eq(window_result(&w), (long)frame_mark(FRAME_FREE));
		check_eq(host_count(HOST_PRLIMIT), calls + 1);
		check_eq(lifted_to.rlim_cur, own_limit());
		window_is_limited(&w);
	}
}

static void it_is_lifted_for_nothing_else(void)
{
	unsigned int calls;

	start();
	window_map(&w, GUEST_FREE, FRAME_FREE, PROT_READ | PROT_WRITE);
	calls = host_count(HOST_PRLIMIT);
	window_is_sound(&w);
	mm_queue_wrprotect(&w.mm, GUEST_FREE, PAGE);
	check_eq(window_sync(&w), 0);
	mm_queue_unmap(&w.mm, GUEST_FREE, PAGE);
	check_eq(window_sync(&w), 0);
	/* Not granted, so the batch is empty. */
	mm_queue_map(&w.mm, GUEST_FREE + PAGE, PAGE, SECRET, PROT_READ);
	check_eq(window_sync(&w), 0);
	check_eq(host_count(HOST_PRLIMIT), calls);
	window_is_limited(&w);
}

/* Until then no guest has run in it. */
static void a_new_one_gets_it_by_its_first_resume(void)
{
	init();
	window_park(&w);
	check_eq(window_limit(&w), own_limit());
	mm_queue_unmap(&w.mm, GUEST_FREE, PAGE);
	check_eq(window_sync(&w), 0);
	window_is_limited(&w);
}

static void a_new_one_gets_it_without_a_batch(void)
{
	init();
	window_park(&w);
	w.fp[512] = 3;
	w.regs.rip = GUEST_CODE;
	w.regs.eflags = 0x202;
	check_eq(window_run(&w), 0);
	check_eq(w.event.signal, SIGSEGV);
	window_is_limited(&w);
}

/* ---- the pool */

static void a_stub_in_the_pool_is_limited(void)
{
	start();
	check_eq(stubguard_stub_put(&w.stub, &w.mm, 0), 0);
	window_is_limited(&w);
	memset(&w.stub, 0x5a, sizeof(w.stub));
	check_eq(stubguard_stub_take(&w.stub), 1);
	w.mm.pte_count = 0;
	window_set_up(&w);
	window_is_limited(&w);
	window_is_sound(&w);
}

static void so_is_one_that_never_had_a_guest(void)
{
	init();
	window_park(&w);
	check_eq(stubguard_stub_put(&w.stub, &w.mm, 0), 0);
	window_is_limited(&w);
	check_eq(stubguard_stub_take(&w.stub), 1);
	window_set_up(&w);
	window_is_sound(&w);
	window_is_limited(&w);
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
		queue_one();
		window_guest(&w, "report", 1);
		sends = host_count(HOST_SEND);
		host_fail(HOST_PRLIMIT, 1, 1, errors[i / 2]);
		check_eq(i & 1 ? window_resume(&w) : window_resume_batch(&w), -errors[i / 2]);
		host_reset();
		w.mm.calls = 0;
		check_eq(host_count(HOST_SEND), sends);
		window_is_limited(&w);
		check(!mm_mapping(&w.mm, GUEST_FREE)[0]);
		window_is_given_up(&w);
	}
}

static uint64_t last_id;

static void note_id(struct seccomp_notif *notification)
{
	last_id = notification->id;
}

/* The limit has been lifted, but the answer did not reach the stub: no guest runs meanwhile. */
static void an_answer_that_is_withdrawn(void)
{
	struct seccomp_notif_resp answer = { .val = 1 };
	unsigned int lifted;

	start();
	window_alter(note_id);
	window_is_sound(&w);
	queue_one();
	host_fail(HOST_SEND, 1, 1, ENOENT);
	lifted = host_count(HOST_PRLIMIT);
	window_guest(&w, "read", GUEST_FREE);
	check_eq(window_resume(&w), 0);
	host_reset();
	w.mm.calls = 0;
	check_eq(host_count(HOST_PRLIMIT), lifted + 1);
	check_eq(window_limit(&w), own_limit());
	/* The layer has made that up: the host still waits for an answer to the same call. */
	answer.id = last_id;
	check_eq(raw(SYS_ioctl, w.mm.listener, SECCOMP_IOCTL_NOTIF_SEND, &answer), 0);
	check_eq(window_wait(&w), 0);
	check_eq(window_result(&w), (long)frame_mark(FRAME_FREE));
	check_eq(host_count(HOST_PRLIMIT), lifted + 1);
	window_is_limited(&w);
}

static bool say_lifted(const long *arg, long *result)
{
	(void)arg;
	*result = 0;
	return true;
}

/* A filter around the monitor fakes success: nothing is mapped, and the caller gets an error. */
static void a_limit_that_is_only_said_to_be_lifted(void)
{
	start();
	host_hook_set(HOST_PRLIMIT, say_lifted);
	queue_one();
	check_eq(window_sync(&w), -ENOMEM);
	check_eq(w.event.done, 0);
	host_reset();
	window_is_limited(&w);
	queue_one();
	check_eq(window_sync(&w), 0);
	window_reads(&w, GUEST_FREE, FRAME_FREE);
}

static bool say_set(const long *arg, long *result)
{
	*result = 0;
	return arg[2] != 0;
}

/* If a filter fakes each change, stubs would have no limit: the library refuses window mode. */
static void a_host_that_only_says_that_it_sets_a_limit(void)
{
	struct stubguard_config config = window_config();

	config.flags |= STUBGUARD_REQUIRE;
	host_hook_set(HOST_PRLIMIT, say_set);
	check_eq(stubguard_init(&config), -EOPNOTSUPP);
	check(strstr(model_log_text, "no stub: prlimit of RLIMIT_AS gives errno 5") != NULL);
	host_reset();
	check_eq(stubguard_init(&config), 0);
}

/* A monitor with limits: its stubs have soft limit 0 and its hard limit, and get its soft limit for a batch. */
static void under_limits_of_the_monitors_own(unsigned long soft, unsigned long hard)
{
	struct rlimit own = { soft, hard };

	check_eq(raw(SYS_prlimit64, 0, RLIMIT_AS, &own, 0), 0);
	init();
	check_eq(raw(SYS_prlimit64, 0, RLIMIT_AS, 0, &own), 0);
	check_eq(own.rlim_cur, soft);
	check_eq(own.rlim_max, hard);
	window_start(&w);
	window_is_limited(&w);
	queue_one();
	host_hook_set(HOST_PRLIMIT, note_limit);
	check_eq(window_sync(&w), 0);
	check_eq(lifted_to.rlim_cur, soft);
	check_eq(lifted_to.rlim_max, hard);
	window_is_limited(&w);
	window_reads(&w, GUEST_FREE, FRAME_FREE);
	/* Also after the stub was in the pool. */
	window_renew(&w);
	window_is_limited(&w);
	window_is_sound(&w);
}

CASE(a_monitor_with_a_soft_limit, under_limits_of_the_monitors_own(1UL << 40, RLIM_INFINITY))
CASE(a_monitor_with_a_hard_limit, under_limits_of_the_monitors_own(1UL << 40, 1UL << 41))
CASE(a_monitor_with_one_limit, under_limits_of_the_monitors_own(1UL << 40, 1UL << 40))

/* An unprivileged monitor cannot raise hard limits, and does not need to. */
static void a_monitor_without_privileges(void)
{
	check_eq(raw(SYS_setresuid, 65534, 65534, 65534), 0);
	/* Otherwise the host would not allow prlimit() of its children, nor to read its /proc. */
	check_eq(raw(SYS_prctl, PR_SET_DUMPABLE, 1, 0, 0, 0), 0);
	under_limits_of_the_monitors_own(1UL << 40, 1UL << 41);
}

/* ---- hijacked */

/* The stub has parked or ended, and nothing new is mapped. */
static void has_gained_nothing(void)
{
	int ret = window_wait(&w);

	check(ret == 0 || ret == -EPROTO || ret == -ESRCH);
	if (ret != -ESRCH) {
		check(!mm_mapping(&w.mm, GUEST_FREE)[0]);
		check(strstr(mm_mapping(&w.mm, GUEST_STACK), " rw-s ") != NULL ||
		      !mm_mapping(&w.mm, GUEST_STACK)[0]);
		if (window_limit(&w) != 0)
			check(window_is_broken(&w));
	}
	window_kill(&w);
	mm_forget(&w.mm);
}

/* With the arguments of an mmap in all registers from which the code may take them. */
static void at_any_byte_of_the_code(void)
{
	unsigned int offset;

	init();
	for (offset = 0; offset < code_length; offset++) {
		test_context("offset %#x", offset);
		window_start(&w);
		window_call_at(&w, STUB_START + offset, SYS_mmap, GUEST_FREE, PAGE, PROT_READ,
			       MAP_FLAGS, STUBGUARD_MEMORY_FD, SECRET * PAGE);
		w.regs.rbx = 1;
		w.regs.r12 = STUB_DATA + offsetof(struct window_control, batch);
		check_eq(window_resume(&w), 0);
		/* In case it loops. */
		window_tick(&w);
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
			       MAP_FLAGS, STUBGUARD_MEMORY_FD, SECRET * PAGE);
		/* Also over an existing mapping, which needs no more address space. */
		check_eq(window_run(&w), -EPROTO);
		check(!strcmp(before, mm_mapping(&w.mm, places[i])));
		window_is_limited(&w);
		window_is_lost(&w);
		window_kill(&w);
		mm_forget(&w.mm);
	}
}

/* It can only set the limit to 0 again. */
static void it_limits_itself(void)
{
	start();
	window_call_at(&w, site(SYS_prlimit64), SYS_prlimit64, 0, RLIMIT_AS,
		       STUB_START + code_length - 32, 0);
	w.regs.rbx = 0;
	window_goes_round(&w);
}

static const struct test tests[] = {
	TEST(it_is_lifted_for_a_batch_that_maps),
	TEST(it_is_lifted_for_nothing_else),
	TEST(a_new_one_gets_it_by_its_first_resume),
	TEST(a_new_one_gets_it_without_a_batch),
	TEST(a_stub_in_the_pool_is_limited),
	TEST(so_is_one_that_never_had_a_guest),
	TEST(a_limit_that_cannot_be_lifted),
	TEST(an_answer_that_is_withdrawn),
	TEST(a_limit_that_is_only_said_to_be_lifted),
	TEST(a_host_that_only_says_that_it_sets_a_limit),
	TEST(a_monitor_with_a_soft_limit),
	TEST(a_monitor_with_a_hard_limit),
	TEST(a_monitor_with_one_limit),
	TEST(a_monitor_without_privileges),
	TEST(at_any_byte_of_the_code),
	TEST(a_map_at_the_site),
	TEST(it_limits_itself),
};

HARNESS_MAIN(tests)
