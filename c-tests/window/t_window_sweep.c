// SPDX-License-Identifier: GPL-2.0-only
/*
 * Each host call of the library in each operation on a stub of window mode fails once, with each possible error. Then
 * either nothing is lost, or the stub is lost for good. No fd is leaked, nothing is mapped that was not granted, and
 * the next stub works.
 */
#include "harness.h"
#include "host.h"
#include "window.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

static struct window w;

#define NOT_GRANTED (GUEST_FREE + 8 * PAGE)

/* ---- the operations: each returns 0, or the library's error */

static int attach(void)
{
	int ret = window_attach(&w);

	if (!ret)
		ret = window_wait(&w);
	if (!ret) {
		host_sweep(0, 0);
		window_set_up(&w);
	}
	return ret;
}

static int resume(void)
{
	int ret;

	window_guest(&w, "report", 41);
	ret = window_run(&w);
	if (!ret)
		check_eq(window_result(&w), 41);
	return ret;
}

static int batch(void)
{
	mm_queue_page(&w.mm, GUEST_FREE, FRAME_FREE, PROT_READ);
	mm_queue_map(&w.mm, NOT_GRANTED, PAGE, FRAME_FREE + 1, PROT_READ);
	return window_sync(&w);
}

static int batch_and_guest(void)
{
	int ret;

	mm_queue_page(&w.mm, GUEST_FREE, FRAME_FREE, PROT_READ);
	window_guest(&w, "read", GUEST_FREE);
	ret = window_run(&w);
	if (!ret)
		check_eq(window_result(&w), (long)frame_mark(FRAME_FREE));
	return ret;
}

static int call(void)
{
	int ret;

	window_guest(&w, "call", 0);
	w.regs.rax = SYS_getpid;
	ret = window_run(&w);
	if (!ret)
		check_eq(w.event.notified, 1);
	return ret;
}

static int answer(void)
{
	int ret = call();

	if (!ret)
		ret = window_answer(&w, 77);
	if (!ret)
		ret = window_wait(&w);
	if (!ret)
		check_eq(window_result(&w), 77);
	return ret;
}

static int fetch(void)
{
	int ret = call();

	if (!ret)
		ret = window_fetch(&w);
	if (!ret)
		check_eq(w.regs.rax, SYS_getpid);
	w.regs.rax = 78;
	if (!ret)
		ret = window_run(&w);
	/* A signal that is still to come. */
	if (!ret && w.event.signal == SIGALRM)
		ret = window_run(&w);
	if (!ret)
		check_eq(window_result(&w), 78);
	return ret;
}

static int keep(void)
{
	int ret = stubguard_stub_put(&w.stub, &w.mm, 0);

	if (ret)
		return ret;
	check_eq(stubguard_stub_take(&w.stub), 1);
	ret = stubguard_stub_lives(&w.stub);
	host_sweep(0, 0);
	check(!mm_mapping(&w.mm, GUEST_CODE)[0]);
	w.mm.pte_count = 0;
	window_set_up(&w);
	return ret < 0 ? ret : !ret;
}

static const struct deed {
	const char *name;
	int (*run)(void);
} deeds[] = {
	{ "attach", attach },
	{ "resume", resume },
	{ "batch", batch },
	{ "batch and guest", batch_and_guest },
	{ "answer", answer },
	{ "fetch", fetch },
	{ "keep", keep },
};

/* ---- */

/* All other calls do not wait. */
static bool can_be_interrupted(const char *call)
{
	static const enum host_call calls[] = { HOST_POLL, HOST_RECV, HOST_SEND, HOST_ID_VALID,
						HOST_SET_FLAGS };
	size_t i;

	for (i = 0; i < COUNT(calls); i++)
		if (!strcmp(call, host_call_name(calls[i])))
			return true;
	return false;
}

/* Returns whether there was such a call. */
static bool refuse(const void *which, unsigned int number, int error)
{
	const struct deed *deed = which;
	int ret;

	if (deed->run == attach)
		window_spawn(&w);
	else
		window_start(&w);
	ret = host_refuse(deed->name, deed->run, number, error);
	check(!mm_mapping(&w.mm, NOT_GRANTED)[0]);
	if (!host_swept() || (error == EINTR && can_be_interrupted(host_swept())))
		check_eq(ret, 0);	/* a signal is no failure */
	if (ret && deed->run == attach) {
		window_end(&w);	/* the library does not know it */
	} else {
		if (window_is_broken(&w))
			window_is_lost(&w);
		else
			window_is_sound(&w);
		window_kill(&w);
	}
	return host_swept() != NULL;
}

static void init(void)
{
	struct stubguard_config config = window_config();

	config.flags |= STUBGUARD_REQUIRE;
	config.guest_end = GUEST_END;
	config.pool_size = 1;
	window_init_config(&config);
}

static void each_refusal(const struct deed *deed)
{
	init();
	check_op(host_refuse_each(refuse, deed), >=, 2 * HOST_ERRORS);
	check_eq(stats().breaches, 0);
}

CASE(to_attach, each_refusal(&deeds[0]))
CASE(to_resume, each_refusal(&deeds[1]))
CASE(to_run_a_batch, each_refusal(&deeds[2]))
CASE(to_run_a_batch_and_the_guest, each_refusal(&deeds[3]))
CASE(to_answer_a_call, each_refusal(&deeds[4]))
CASE(to_fetch, each_refusal(&deeds[5]))
CASE(to_keep, each_refusal(&deeds[6]))

static const struct test tests[] = {
	TEST(to_attach),
	TEST(to_resume),
	TEST(to_run_a_batch),
	TEST(to_run_a_batch_and_the_guest),
	TEST(to_answer_a_call),
	TEST(to_fetch),
	TEST(to_keep),
};

HARNESS_MAIN(tests)
