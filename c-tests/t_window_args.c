// SPDX-License-Identifier: GPL-2.0-only
/* Callers' mistakes in window mode: each is refused, and changes nothing. */
#include "harness.h"
#include "host.h"
#include "window.h"

#include <errno.h>
#include <limits.h>
#include <linux/filter.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static struct window w;

static void start(void)
{
	window_init(STUBGUARD_REQUIRE);
	window_start(&w);
}

static struct stubguard_resume good(void)
{
	return (struct stubguard_resume){
		.own = &w.mm.own,
		.calls = 0,
		.registers = (uint64_t *)&w.regs,
		.fp = w.fp,
	};
}

/* All of them, with what would be good if the library had been started for it. */
static void all_are_refused_with(int expected)
{
	static unsigned char page[PAGE] __attribute__((aligned(8))), before[PAGE];
	struct stubguard_resume how = good();
	struct stubguard_stub stub;
	struct window copy;

	memset(&stub, 0x5a, sizeof(stub));
	w.stub = stub;
	memset(page, 0xaa, sizeof(page));
	memcpy(before, page, sizeof(page));
	copy = w;
	check_eq(stubguard_stub_code(page), expected);
	check(!memcmp(page, before, sizeof(page)));
	check_eq(stubguard_listen(), expected);
	check_eq(raw(SYS_prctl, 39 /* PR_GET_NO_NEW_PRIVS */, 0, 0, 0, 0), 0);
	check_eq(stubguard_stub_attach(&w.stub, (int)raw(SYS_getpid), 0, page), expected);
	check_eq(stubguard_stub_resume(&w.stub, &w.mm, &how), expected);
	check_eq(stubguard_stub_wait(&w.stub, &w.mm, 0, &w.event, (uint64_t *)&w.regs, w.fp,
				     &w.info),
		 expected);
	check(!memcmp(&copy, &w, sizeof(w)));
}

static void before_the_start(void)
{
	all_are_refused_with(-ENODEV);
}

static void in_notify_mode(void)
{
	model_init(STUBGUARD_REQUIRE);
	all_are_refused_with(-EOPNOTSUPP);
}

static void notify_mode_is_as_it_was(void)
{
	static struct mm_id mm;

	model_init(STUBGUARD_REQUIRE);
	check_eq(stubguard_listen(), -EOPNOTSUPP);
	mm_start(&mm);
	check_eq(mm_hijack(&mm, SYS_mmap, 0), -EPERM);
}

static void the_codes_page(void)
{
	static unsigned char page[PAGE + 8] __attribute__((aligned(8))), before[PAGE + 8];

	window_init(STUBGUARD_REQUIRE);
	check_eq(stubguard_stub_code(NULL), -EINVAL);
	check_eq(stubguard_stub_code(page + 4), -EINVAL);
	check(!memcmp(page, before, sizeof(page)));
}

static void resumes(int expected, const struct stubguard_resume *how)
{
	struct stubguard_stub before = w.stub;
	unsigned int sends = host_count(HOST_SEND), lifted = host_count(HOST_PRLIMIT);

	check_eq(stubguard_stub_resume(&w.stub, &w.mm, how), expected);
	check(!memcmp(&before, &w.stub, sizeof(before)));
	check_eq(host_count(HOST_SEND), sends);
	check_eq(host_count(HOST_PRLIMIT), lifted);
}

static void a_resume(void)
{
	static const int calls[] = { -1, INT_MIN, INT_MAX, CALLS_MAX + 1 };
	struct stubguard_resume how;
	struct stubguard_stub none = { 0 };
	size_t i;

	start();
	how = good();
	check_eq(stubguard_stub_resume(NULL, &w.mm, &how), -EINVAL);
	check_eq(stubguard_stub_resume((void *)((char *)&w.stub + 4), &w.mm, &how), -EINVAL);
	check_eq(stubguard_stub_resume(&w.stub, NULL, &how), -EINVAL);
	check_op(stubguard_stub_resume(&none, &w.mm, &how), <, 0);
	resumes(-EINVAL, NULL);
	resumes(-EINVAL, (void *)((char *)&how + 4));
	for (i = 0; i < COUNT(calls); i++) {
		test_context("%d calls", calls[i]);
		how = good();
		how.calls = calls[i];
		resumes(-EINVAL, &how);
		how.registers = NULL;
		resumes(-EINVAL, &how);
	}
	test_context_end();
	how = good();
	how.own = NULL;
	resumes(-EINVAL, &how);
	how.own = (char *)&w.mm.own + 4;
	resumes(-EINVAL, &how);
	how = good();
	how.reserved = 1;
	resumes(-EINVAL, &how);
	how = good();
	how.fp = NULL;
	resumes(-EINVAL, &how);
	how.fp = w.fp + 4;
	resumes(-EINVAL, &how);
	how = good();
	how.registers = (void *)((char *)&w.regs + 4);
	resumes(-EINVAL, &how);
	/* Nothing to do at all. */
	how = good();
	how.registers = NULL;
	resumes(-EINVAL, &how);
	/* What is not needed may be missing. */
	how = good();
	window_guest(&w, "report", 2);
	check_eq(stubguard_stub_resume(&w.stub, &w.mm, &how), 0);
	check_eq(window_wait(&w), 0);
	check_eq(window_result(&w), 2);
	w.mm.calls = 0;
	mm_queue_unmap(&w.mm, GUEST_FREE, PAGE);
	how.calls = 1;
	how.registers = NULL;
	how.fp = NULL;
	check_eq(stubguard_stub_resume(&w.stub, &w.mm, &how), 0);
	w.mm.calls = 0;
	check_eq(window_wait(&w), 0);
	check_eq(w.event.error, 0);
	window_is_sound(&w);
}

static void waits(struct stubguard_event *event, void *registers, void *fp, void *info)
{
	struct stubguard_stub before = w.stub;
	unsigned int receives = host_count(HOST_RECV);

	check_eq(stubguard_stub_wait(&w.stub, &w.mm, 0, event, registers, fp, info), -EINVAL);
	check(!memcmp(&before, &w.stub, sizeof(before)));
	check_eq(host_count(HOST_RECV), receives);
	check_eq(seccomp_wd_exit(0), -EINVAL);
}

static void a_wait(void)
{
	struct stubguard_event event;

	start();
	window_guest(&w, "report", 7);
	check_eq(window_resume(&w), 0);
	check_eq(stubguard_stub_wait(NULL, &w.mm, 0, &event, (void *)&w.regs, w.fp, &w.info),
		 -EINVAL);
	check_eq(stubguard_stub_wait((void *)((char *)&w.stub + 4), &w.mm, 0, &event,
				     (void *)&w.regs, w.fp, &w.info),
		 -EINVAL);
	check_eq(stubguard_stub_wait(&w.stub, NULL, 0, &event, (void *)&w.regs, w.fp, &w.info),
		 -EINVAL);
	waits(NULL, &w.regs, w.fp, &w.info);
	waits((void *)((char *)&event + 4), &w.regs, w.fp, &w.info);
	/* A guest runs, so there is something to tell. */
	waits(&event, NULL, w.fp, &w.info);
	waits(&event, NULL, NULL, NULL);
	waits(&event, (char *)&w.regs + 4, w.fp, &w.info);
	waits(&event, &w.regs, NULL, &w.info);
	waits(&event, &w.regs, w.fp + 4, &w.info);
	waits(&event, &w.regs, w.fp, NULL);
	waits(&event, &w.regs, w.fp, (char *)&w.info + 4);
	check_eq(window_wait(&w), 0);
	check_eq(window_result(&w), 7);
	/* After a batch there is not. */
	mm_queue_unmap(&w.mm, GUEST_FREE, PAGE);
	check_eq(window_resume_batch(&w), 0);
	w.mm.calls = 0;
	check_eq(stubguard_stub_wait(&w.stub, &w.mm, 0, &event, NULL, NULL, NULL), 0);
	check_eq(event.error, 0);
	window_is_sound(&w);
}

/* What is resumed with is copied: it may be gone, or be the next, when the guest runs. */
static void a_request_is_copied(void)
{
	static uint64_t registers[STUBGUARD_REGISTERS];
	static unsigned char fp[PAGE] __attribute__((aligned(64)));
	static struct stub_data own;
	struct stubguard_resume how;

	start();
	mm_set_pte(&w.mm, GUEST_FREE, FRAME_FREE, PROT_READ);
	mm_queue_map(&w.mm, GUEST_FREE, PAGE, FRAME_FREE, PROT_READ);
	window_guest(&w, "read", GUEST_FREE);
	memcpy(registers, &w.regs, sizeof(registers));
	memcpy(fp, w.fp, sizeof(fp));
	own = w.mm.own;
	how = (struct stubguard_resume){ &own, 1, 0, registers, fp, 0, 0 };
	/* The stub does not go on yet. */
	check_eq(raw(SYS_kill, w.mm.pid, SIGSTOP), 0);
	check_eq(stubguard_stub_resume(&w.stub, &w.mm, &how), 0);
	memset(&own, 0xff, sizeof(own));
	memset(registers, 0xff, sizeof(registers));
	memset(fp, 0xff, sizeof(fp));
	memset(&how, 0xff, sizeof(how));
	check_eq(raw(SYS_kill, w.mm.pid, SIGCONT), 0);
	w.mm.calls = 0;
	check_eq(window_wait(&w), 0);
	check_eq(window_result(&w), (long)frame_mark(FRAME_FREE));
}

static void the_filters_length_is_told_and_bounded(void)
{
	window_init(STUBGUARD_REQUIRE);
	check_op(model_filter_length(), >, 30);
	check_eq(stubguard_filter_flags(), 0);
}

/* The filter of a host without FSGSBASE is another, and fits too. */
static bool no_fsgsbase(const long *arg, long *result)
{
	(void)arg;
	*result = 0;
	return true;
}

static void the_longest_filter(void)
{
	struct sock_filter filter[STUBGUARD_FILTER_MAX];

	host_hook_set(HOST_GETAUXVAL, no_fsgsbase);
	window_init(STUBGUARD_REQUIRE);
	check_op(stubguard_filter(filter, STUBGUARD_FILTER_MAX), >, 30);
}

/* Functions of notify mode in a monitor that has none of its stubs. */
static void other_functions(void)
{
	uint64_t identity = 5;

	start();
	/* The stub has no listener of its own. */
	check_op(get_stub_listener(w.mm.pid, &identity), <, 0);
	check_eq(identity, 5);
	check_eq(stubguard_kill_stub(w.mm.pid, w.mm.identity + 1), -ESRCH);
	window_is_sound(&w);
	check_eq(stubguard_kill_stub(w.mm.pid, w.mm.identity), 0);
	check_eq(WTERMSIG(mm_reap(&w.mm)), SIGKILL);
	check_eq(put_stub_listener(w.mm.listener), 0);
	w.mm.listener = -1;
	mm_forget(&w.mm);
}

static const struct test tests[] = {
	TEST(before_the_start),
	TEST(in_notify_mode),
	TEST(notify_mode_is_as_it_was),
	TEST(the_codes_page),
	TEST(a_resume),
	TEST(a_wait),
	TEST(a_request_is_copied),
	TEST(the_filters_length_is_told_and_bounded),
	TEST(the_longest_filter),
	TEST(other_functions),
};

HARNESS_MAIN(tests)
