// SPDX-License-Identifier: GPL-2.0-only
/*
 * Each host call of the library in each operation on a stub in notify mode fails once, with each possible error. Then
 * either the stub continues, or the caller learns that it must end the stub. Nothing is mapped that was not granted,
 * and no fd is leaked.
 */
#include "harness.h"
#include "host.h"
#include "model.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#define NOT_GRANTED (GUEST_FREE + 8 * PAGE)

static struct mm_id mm;

/* ---- the operations: each returns a number of answers, or the library's error */

struct deed {
	const char *name;
	/* What the stub does before. */
	void (*before)(void);
	int (*run)(void);
	bool batch;
};

static void call_that_is_granted(void)
{
	mm_steal_fd(&mm);
	mm_hijack_start_mmap(&mm);
}

static void call_that_is_not(void)
{
	mm_steal_fd(&mm);
	mm_hijack_start(&mm, SYS_mmap, NOT_GRANTED, PAGE, PROT_READ, MAP_SHARED | MAP_FIXED, MMAP_FD,
			FRAME_FREE * PAGE);
	mm_wait_notification(&mm);
}

static void batch_of_three(void)
{
	mm_queue_page(&mm, GUEST_FREE, FRAME_FREE, PROT_READ);
	mm_queue_map(&mm, NOT_GRANTED, PAGE, FRAME_FREE + 1, PROT_READ);
	mm_queue_unmap(&mm, GUEST_FREE + PAGE, PAGE);
	mm.own.restart_wait = 1;
	mm_resume(&mm);
	mm_wait_notification(&mm);
}

static int serve(void)
{
	return seccomp_notify_serve(&mm, mm.listener, 0);
}

static int drain(void)
{
	return seccomp_notify_drain(&mm, mm.listener);
}

/* As a monitor does, until nothing is left to answer. */
static int batch(void)
{
	int left = mm.calls, ret;

	while (left > 0 && __atomic_load_n(&mm.shared->futex, __ATOMIC_SEQ_CST) != FUTEX_IN_KERN) {
		ret = serve_batch(&mm, left);
		if (ret == -EINTR)
			continue;
		if (ret < 0)
			return ret;
		left -= ret;
	}
	return 0;
}

static const struct deed deeds[] = {
	{ "a granted call", call_that_is_granted, serve, false },
	{ "a denied call", call_that_is_not, serve, false },
	{ "a drain of a granted call", call_that_is_granted, drain, false },
	{ "a drain of a denied call", call_that_is_not, drain, false },
	{ "a batch", batch_of_three, batch, true },
};

/* ---- */

static unsigned int ended;

static void is_sound(void)
{
	mm_run(&mm, "report", 5);
	check_eq(mm_result(&mm), 5);
}

/* Returns whether there was such a call. */
static bool refuse(const void *which, unsigned int number, int error)
{
	const struct deed *deed = which;
	int ret;
	bool sent;

	mm_start(&mm);
	deed->before();
	ret = host_refuse(deed->name, deed->run, number, error);
	check(!mm_mapping(&mm, NOT_GRANTED)[0]);
	if (!host_swept())
		check_op(ret, >=, 0);
	/* A call that was received and not answered does not come again. */
	sent = host_swept() && !strcmp(host_swept(), host_call_name(HOST_SEND));
	if (sent && error != EINTR) {
		check_eq(ret, -error);
		check(!mm_mapping(&mm, GUEST_FREE)[0] || deed->batch);
		check_eq(stubguard_kill_stub(mm.pid, mm.identity), 0);
		mm_wait_told(&mm);
		check_eq(drain(), -ESRCH);
		ended++;
	} else {
		/* The call is still there, or has been answered. */
		if (deed->batch) {
			check_op(batch(), >=, 0);
			check_eq(mm_wait(&mm), 0);
			check_eq(mm.own.err, 0);
			check(mm_mapping(&mm, GUEST_FREE)[0]);
		} else {
			if (ret <= 0)
				check_eq(drain(), 1);
			check_eq(mm_wait(&mm), 0);
			check_eq(mm_result(&mm),
				 deed->before == call_that_is_granted ? (long)GUEST_FREE : -EPERM);
		}
		check(!mm_mapping(&mm, NOT_GRANTED)[0]);
		is_sound();
	}
	mm_end(&mm);
	return host_swept() != NULL;
}

static void each_refusal(const struct deed *deed)
{
	model_init(STUBGUARD_REQUIRE);
	/* It waits, receives and answers. */
	check_op(host_refuse_each(refuse, deed), >=, 3 * HOST_ERRORS);
	check_op(ended, >=, HOST_ERRORS - 1);
}

CASE(to_answer_what_is_granted, each_refusal(&deeds[0]))
CASE(to_answer_what_is_denied, each_refusal(&deeds[1]))
CASE(to_drain_what_is_granted, each_refusal(&deeds[2]))
CASE(to_drain_what_is_denied, each_refusal(&deeds[3]))
CASE(to_serve_a_batch, each_refusal(&deeds[4]))

static const struct test tests[] = {
	TEST(to_answer_what_is_granted),
	TEST(to_answer_what_is_denied),
	TEST(to_drain_what_is_granted),
	TEST(to_drain_what_is_denied),
	TEST(to_serve_a_batch),
};

HARNESS_MAIN(tests)
